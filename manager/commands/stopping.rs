//! What a start says of a manager that is in its way and is stopping.

use std::path::Path;
use std::time::Duration;

use crate::control::{ControlClient, ManagerState, StatusReply};
use crate::logging::escape;

/// How long that manager may take to answer. A start waits for it only before it fails anyway.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a start fails, if the manager at this control socket is the one in its way and is stopping. `pid` is the one in
/// the lock, if that is known; `grace` is how long running jobs have.
pub(super) fn stopping(control: &Path, pid: Option<u32>, grace: Duration) -> Option<String> {
    let status = ControlClient::connect(control, ANSWER_TIMEOUT).ok()?.summary().ok()?;
    let is_it = pid.is_none_or(|pid| pid == status.pid);
    (is_it && status.state == ManagerState::Draining).then(|| text(&status, grace))
}

fn text(status: &StatusReply, grace: Duration) -> String {
    let running = match status.worker_counts.busy {
        0 => "no job is running any more".to_owned(),
        1 => format!("1 job is still running, and has up to {} s in all", grace.as_secs_f64()),
        jobs => format!("{jobs} jobs are still running, and have up to {} s in all", grace.as_secs_f64()),
    };
    format!(
        "another gm-native (pid {}) is stopping: {running} (graceful_shutdown_wait_time); to wait for its end, run \
         `{} stop`",
        status.pid,
        escape(&status.command)
    )
}
