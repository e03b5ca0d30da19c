//! A status for tests.

use super::{
    FailureRateStatus, FunctionState, FunctionStatus, JobServerState, JobServerStatus, LastFailureStatus,
    LastMinuteStatus, ManagerState, RefusedFile, RunTimeStatus, RunningJobStatus, STATUS_SCHEMA, StatusReply,
    WorkerCondition, WorkerCounts, WorkerStatus,
};
use crate::plugins::content_hash::ShortHash;

/// A manager with a bit of everything.
pub(crate) fn sample_status() -> StatusReply {
    let function = |name: &str, ready, completed| FunctionStatus {
        name: name.into(),
        version: ShortHash::from_name("3f2a91c04d11"),
        crate_version: "0.1.0".into(),
        version_stored: Some("2026-11-24 09:46:40".into()),
        pinned: false,
        state: FunctionState::Serving,
        workers_ready: ready,
        workers_planned: 2,
        workers_busy: 0,
        jobs_running: 0,
        longest_job: None,
        last_minute: Some(LastMinuteStatus { seconds: 62.5, completed: 0, failed: 0 }),
        run_time: None,
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
        state_seconds: 90.4,
        functions: vec!["reverse_string".into()],
        versions: vec!["3f2a91c04d11".into()],
        current_function: None,
        handle: None,
        unique: None,
        job_seconds: None,
        generation: 7,
        jobs: 600,
        started_seconds_ago: 3700,
        memory_bytes: Some(5 << 20),
        last_job_ended_seconds_ago: Some(90.4),
        last_server_contact_seconds_ago: Some(2.1),
    };
    StatusReply {
        schema: STATUS_SCHEMA,
        version: "0.1.0".into(),
        pid: 4711,
        instance: "gm-1a2b3c4d".into(),
        command: "gm-native -c /etc/gm.ini".into(),
        uptime_seconds: 7980,
        state: ManagerState::Running,
        job_servers: vec![JobServerStatus {
            address: "127.0.0.1:4730".into(),
            state: JobServerState::Up { since: "2026-11-24 09:47:00".into(), seconds: 7979.2 },
            last_answer_seconds_ago: Some(0.0),
            workers_connected: 2,
            workers: 2,
            lost_wake_ups: 0,
        }],
        functions: vec![
            FunctionStatus {
                workers_busy: 1,
                jobs_running: 1,
                longest_job: Some(RunningJobStatus {
                    pid: 4712,
                    handle: Some("H:host:12".into()),
                    unique: Some("order-77".into()),
                    seconds: 1.204,
                }),
                last_minute: Some(LastMinuteStatus { seconds: 62.5, completed: 125, failed: 3 }),
                run_time: Some(RunTimeStatus {
                    version: "3f2a91c04d11".into(),
                    jobs: 1207,
                    p50_seconds: 0.001_26,
                    p99_seconds: 0.0474,
                }),
                ..function("reverse_string", 2, 1204)
            },
            FunctionStatus {
                state: FunctionState::BackingOff {
                    until: "2026-11-24 12:00:04".into(),
                    seconds: 4.2,
                    why: "new() failed: no database".into(),
                },
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
        worker_counts: WorkerCounts { all: 2, ready: 2, busy: 1, ready_or_busy: 2 },
        workers: vec![
            WorkerStatus {
                current_function: Some("reverse_string".into()),
                state_seconds: 1.204,
                handle: Some("H:host:12".into()),
                unique: Some("order-77".into()),
                job_seconds: Some(1.204),
                ..worker(4712, WorkerCondition::Busy)
            },
            worker(4713, WorkerCondition::Idle),
        ],
        queues: None,
        orphans_reaped: 0,
    }
}
