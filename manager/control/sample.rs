//! A status for tests.

use super::{
    FailureRateStatus, FunctionStatus, JobServerStatus, LastFailureStatus, ManagerState, RefusedFile, StatusReply,
    WorkerCondition, WorkerStatus,
};
use crate::plugins::content_hash::ShortHash;

/// A manager with a bit of everything.
pub(crate) fn sample_status() -> StatusReply {
    let function = |name: &str, ready, completed| FunctionStatus {
        name: name.into(),
        version: ShortHash::from_name("3f2a91c04d11"),
        crate_version: "0.1.0".into(),
        workers_ready: ready,
        workers_planned: 2,
        jobs_completed: completed,
        jobs_failed: 3,
        jobs_crashed: 2,
        jobs_timed_out: 1,
        failing: None,
        last_failure: None,
        backing_off_seconds: None,
        ignored_files: Vec::new(),
        paused_by: None,
        paused_since: None,
        scaled_to: None,
        queue_warnings: Vec::new(),
        note: None,
    };
    let worker = |pid, state| WorkerStatus {
        pid,
        state,
        functions: vec!["reverse_string".into()],
        current_function: None,
        handle: None,
        job_seconds: None,
        generation: 7,
        jobs: 600,
        started_seconds_ago: 3700,
    };
    StatusReply {
        version: "0.1.0".into(),
        pid: 4711,
        instance: "gm-1a2b3c4d".into(),
        command: "gm-native -c /etc/gm.ini".into(),
        uptime_seconds: 7980,
        state: ManagerState::Running,
        job_servers: vec![JobServerStatus {
            address: "127.0.0.1:4730".into(),
            workers_connected: 2,
            workers: 2,
            lost_wake_ups: 0,
        }],
        functions: vec![
            function("reverse_string", 2, 1204),
            FunctionStatus {
                backing_off_seconds: Some(4.2),
                note: Some("new() failed: no database".into()),
                failing: Some(FailureRateStatus { failed: 3, jobs: 4, seconds: 59.6, high: true }),
                last_failure: Some(LastFailureStatus {
                    kind: "failed".into(),
                    seconds_ago: 2.3,
                    handle: "H:host:12".into(),
                    version: "3f2a91c04d11".into(),
                    reason: "no such table".into(),
                }),
                ..function("sum", 0, 0)
            },
        ],
        refused: vec![RefusedFile { path: "/srv/workers/bad.so".into(), reason: "is no ELF file".into() }],
        warnings: vec!["log lines are lost".into()],
        failed_reload: None,
        workers: vec![
            WorkerStatus {
                current_function: Some("reverse_string".into()),
                handle: Some("H:host:12".into()),
                job_seconds: Some(1.204),
                ..worker(4712, WorkerCondition::Busy)
            },
            worker(4713, WorkerCondition::Idle),
        ],
        orphans_reaped: 0,
    }
}
