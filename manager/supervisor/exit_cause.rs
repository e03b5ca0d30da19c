//! Determines why a worker exited, from its exit status and its scoreboard, which is untrusted input. Pure.

use std::time::Duration;

use crate::scoreboard::{ScoreboardJob, Snapshot, WorkerActivity};
use crate::system::reap::ExitStatus;

/// The cause of a worker's exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExitCause {
    /// It drained and exited by itself.
    Drained,
    /// It died, or exited early, outside a job.
    OutsideJob,
    /// It died in a job.
    InJob(JobInHand),
    /// It died after the job's function had returned, while the answer was being sent. The death counts, although the
    /// job may be complete.
    Answering(JobInHand),
    /// It had a job, but its scoreboard was torn or overwritten, so it is unknown which.
    Unknown,
}

/// The job a worker has in hand, or had when it died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobInHand {
    /// Index of the function in the worker's list.
    pub function: usize,
    /// Counts the worker's jobs from 1.
    pub number: u64,
    /// The number of the connection it came over.
    pub connection: u32,
    /// Its handle; empty if it did not fit into the scoreboard.
    pub handle: Vec<u8>,
    /// Its unique id, as text.
    pub unique: String,
    /// How long it has run.
    pub ran: Duration,
    /// Half of one of its packets may be on the wire, so nobody else can send an answer over this connection.
    pub half_sent: bool,
}

impl JobInHand {
    /// Reads the job from a scoreboard; `now` is from the same clock as the scoreboard.
    pub(crate) fn of(job: &ScoreboardJob, half_sent: bool, now: Duration) -> Self {
        Self {
            function: job.function,
            number: job.number,
            connection: job.connection,
            handle: job.handle.clone().unwrap_or_default(),
            unique: String::from_utf8_lossy(job.unique.as_deref().unwrap_or_default()).into_owned(),
            ran: now.saturating_sub(Duration::from_nanos(job.started_ns)),
            half_sent,
        }
    }
}

/// Determines the cause. `now` and the scoreboard's times are from the same monotonic clock.
pub(crate) fn judge(end: ExitStatus, scoreboard: &Snapshot, now: Duration) -> ExitCause {
    match (scoreboard.activity, &scoreboard.job) {
        // Its word for having left is worth as much as the rest of it: not enough for an end that was none.
        (WorkerActivity::Disconnected | WorkerActivity::Draining, _) if scoreboard.overwritten && end.is_clean() => {
            ExitCause::Drained
        }
        _ if scoreboard.overwritten => ExitCause::Unknown,
        (WorkerActivity::Disconnected, _) => ExitCause::Drained,
        (WorkerActivity::Running | WorkerActivity::Answering | WorkerActivity::AnswerPending, None) => {
            ExitCause::Unknown
        }
        (WorkerActivity::Running, Some(job)) => ExitCause::InJob(JobInHand::of(job, scoreboard.sending, now)),
        (WorkerActivity::Answering | WorkerActivity::AnswerPending, Some(job)) => {
            ExitCause::Answering(JobInHand::of(job, scoreboard.sending, now))
        }
        (WorkerActivity::Draining, _) if end.is_clean() => ExitCause::Drained,
        _ => ExitCause::OutsideJob,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scoreboard(activity: WorkerActivity, sending: bool) -> Snapshot {
        let job = activity.has_job().then(|| ScoreboardJob {
            function: 0,
            number: 3,
            connection: 1,
            started_ns: 1_000_000_000,
            handle: Some(b"H:a:1".to_vec()),
            unique: None,
        });
        Snapshot { activity, sending, sending_elsewhere: false, job, overwritten: false }
    }

    fn overwritten(activity: WorkerActivity) -> Snapshot {
        Snapshot { overwritten: true, ..scoreboard(activity, true) }
    }

    #[test]
    fn the_exit_cause_follows_from_the_scoreboard() {
        let lost = JobInHand {
            function: 0,
            number: 3,
            connection: 1,
            handle: b"H:a:1".to_vec(),
            unique: String::new(),
            ran: Duration::from_secs(2),
            half_sent: false,
        };
        let cut = JobInHand { half_sent: true, ..lost.clone() };
        let (clean, segv) = (ExitStatus::Exit(0), ExitStatus::Signal(11));
        for (name, end, scoreboard, expected) in [
            ("left", clean, scoreboard(WorkerActivity::Disconnected, false), ExitCause::Drained),
            (
                "left, then a destructor crashed",
                segv,
                scoreboard(WorkerActivity::Disconnected, false),
                ExitCause::Drained,
            ),
            ("crashed in a job", segv, scoreboard(WorkerActivity::Running, false), ExitCause::InJob(lost.clone())),
            (
                "exit(0) in a job is no clean end",
                clean,
                scoreboard(WorkerActivity::Running, false),
                ExitCause::InJob(lost.clone()),
            ),
            (
                "crashed with half a packet sent",
                segv,
                scoreboard(WorkerActivity::Running, true),
                ExitCause::InJob(cut.clone()),
            ),
            (
                "killed while its answer was sent",
                segv,
                scoreboard(WorkerActivity::Answering, true),
                ExitCause::Answering(cut),
            ),
            (
                "killed before or after that",
                segv,
                scoreboard(WorkerActivity::Answering, false),
                ExitCause::Answering(lost),
            ),
            (
                "killed while idle",
                ExitStatus::Signal(9),
                scoreboard(WorkerActivity::Idle, false),
                ExitCause::OutsideJob,
            ),
            ("exit(0) by a thread while idle", clean, scoreboard(WorkerActivity::Idle, false), ExitCause::OutsideJob),
            ("crashed while loading", segv, scoreboard(WorkerActivity::Starting, false), ExitCause::OutsideJob),
            ("random bytes, then a crash", segv, overwritten(WorkerActivity::Starting), ExitCause::Unknown),
            ("random bytes that look like a job", segv, overwritten(WorkerActivity::Running), ExitCause::Unknown),
            ("random bytes, then an exit(0)", clean, overwritten(WorkerActivity::Idle), ExitCause::Unknown),
            ("found out, and left", clean, overwritten(WorkerActivity::Disconnected), ExitCause::Drained),
            ("found out, and crashed", segv, overwritten(WorkerActivity::Disconnected), ExitCause::Unknown),
            (
                "torn scoreboard",
                segv,
                Snapshot { job: None, ..scoreboard(WorkerActivity::Running, false) },
                ExitCause::Unknown,
            ),
        ] {
            assert_eq!(judge(end, &scoreboard, Duration::from_secs(3)), expected, "{name}");
        }
    }
}
