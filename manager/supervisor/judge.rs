//! What the manager makes of a worker that is gone: from its end and from its page, which is hostile input. Pure.

use std::time::Duration;

use crate::system::page::{Doing, JobSeen, Snapshot};
use crate::system::reap::End;

/// What is held to have happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It took leave of every server and exited by itself.
    Left,
    /// It died, or exited, without being at a job.
    OutsideJob,
    /// It died in a job.
    InJob(JobInHand),
    /// It died after the job's function had returned, while the answer was on its way: it counts, although the job may even
    /// be done.
    Answering(JobInHand),
    /// Its page was torn or scribbled over: at a job, but nobody can say at which.
    Unknown,
}

/// The job a worker has in hand, or had when it died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobInHand {
    /// Which of the worker's functions.
    pub function: usize,
    /// Counts the worker's jobs from 1.
    pub number: u64,
    /// The number of the connection it came over.
    pub connection: u32,
    /// Its handle; empty where it did not fit the page.
    pub handle: Vec<u8>,
    /// Its unique id, as text.
    pub unique: String,
    /// How long it has run.
    pub ran: Duration,
    /// One of its packets may be half on the wire: nobody else may send there, so nobody can answer for it.
    pub half_sent: bool,
}

impl JobInHand {
    /// As a page tells of it; `now` is of the page's clock.
    pub fn of(job: &JobSeen, half_sent: bool, now: Duration) -> Self {
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

/// Judges an end. `now` and the page's clock are the same monotonic one.
pub fn judge(end: End, page: &Snapshot, now: Duration) -> Verdict {
    match (page.doing, &page.job) {
        // Its word for having left is worth as much as the rest of it: not enough for an end that was none.
        (Doing::Left | Doing::Leaving, _) if page.overwritten && end.is_clean() => Verdict::Left,
        _ if page.overwritten => Verdict::Unknown,
        (Doing::Left, _) => Verdict::Left,
        (Doing::Running | Doing::Answering, None) => Verdict::Unknown,
        (Doing::Running, Some(job)) => Verdict::InJob(JobInHand::of(job, page.sending, now)),
        (Doing::Answering, Some(job)) => Verdict::Answering(JobInHand::of(job, page.sending, now)),
        (Doing::Leaving, _) if end.is_clean() => Verdict::Left,
        _ => Verdict::OutsideJob,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(doing: Doing, sending: bool) -> Snapshot {
        let job = doing.has_job().then(|| JobSeen {
            function: 0,
            number: 3,
            connection: 1,
            started_ns: 1_000_000_000,
            handle: Some(b"H:a:1".to_vec()),
            unique: None,
        });
        Snapshot { doing, sending, sending_elsewhere: false, job, overwritten: false }
    }

    fn overwritten(doing: Doing) -> Snapshot {
        Snapshot { overwritten: true, ..page(doing, true) }
    }

    #[test]
    fn an_end_is_what_the_page_says_it_is() {
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
        let (clean, segv) = (End::Exit(0), End::Signal(11));
        for (name, end, page, expected) in [
            ("left", clean, page(Doing::Left, false), Verdict::Left),
            ("left, then a destructor crashed", segv, page(Doing::Left, false), Verdict::Left),
            ("crashed in a job", segv, page(Doing::Running, false), Verdict::InJob(lost.clone())),
            ("exit(0) in a job is no clean end", clean, page(Doing::Running, false), Verdict::InJob(lost.clone())),
            ("crashed with half a packet sent", segv, page(Doing::Running, true), Verdict::InJob(cut.clone())),
            ("killed while its answer was sent", segv, page(Doing::Answering, true), Verdict::Answering(cut)),
            ("killed before or after that", segv, page(Doing::Answering, false), Verdict::Answering(lost)),
            ("killed while idle", End::Signal(9), page(Doing::Idle, false), Verdict::OutsideJob),
            ("exit(0) by a thread while idle", clean, page(Doing::Idle, false), Verdict::OutsideJob),
            ("crashed while loading", segv, page(Doing::Starting, false), Verdict::OutsideJob),
            ("random bytes, then a crash", segv, overwritten(Doing::Starting), Verdict::Unknown),
            ("random bytes that look like a job", segv, overwritten(Doing::Running), Verdict::Unknown),
            ("random bytes, then an exit(0)", clean, overwritten(Doing::Idle), Verdict::Unknown),
            ("found out, and left", clean, overwritten(Doing::Left), Verdict::Left),
            ("found out, and crashed", segv, overwritten(Doing::Left), Verdict::Unknown),
            ("torn page", segv, Snapshot { job: None, ..page(Doing::Running, false) }, Verdict::Unknown),
        ] {
            assert_eq!(judge(end, &page, Duration::from_secs(3)), expected, "{name}");
        }
    }
}
