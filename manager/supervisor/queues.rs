//! Decides what to report about the queues of the job servers. Pure.
//!
//! Each check takes a sample of each function's queue at each server, and a condition is reported when it has held at
//! every check for a [`MINUTE`]: once when it begins, and once when it ends.

use std::collections::VecDeque;
use std::time::Duration;

/// How long a condition must hold before it is reported.
const MINUTE: Duration = Duration::from_secs(60);
/// The pause between two reports that jobs wait for idle workers: those for a later time look the same.
const REPEATS: Duration = Duration::from_secs(3600);

/// A function's queue at one job server, and its workers here that the server answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct QueueSample {
    /// Jobs that wait.
    pub waiting: u64,
    /// Jobs that run, in workers of any host.
    pub running: u64,
    /// Its workers here.
    pub workers: usize,
    /// Those of them that have had no job for a while.
    pub idle: usize,
    /// Jobs that they have ended.
    pub ended: u64,
}

/// What is wrong with a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueProblem {
    /// It grows, and all workers here are busy.
    Growing,
    /// Jobs wait, no job is taken, and workers here are idle.
    NotTaken,
}

/// What the log is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueNotice {
    /// A problem has lasted for this long; the queue at its beginning.
    Begins(QueueProblem, Duration, QueueSample),
    /// A problem is over, this long after its report.
    Ends(QueueProblem, Duration),
}

/// A function's queue at one job server.
#[derive(Debug, Default)]
pub(crate) struct QueueHistory {
    state: QueueState,
    /// Before that, it is not reported that jobs wait for idle workers.
    quiet_until: Duration,
}

#[derive(Debug)]
enum QueueState {
    /// Samples with waiting jobs, up to a minute back.
    Watched(VecDeque<(Duration, QueueSample)>),
    /// A problem that was reported.
    Reported { problem: QueueProblem, since: Duration, most: u64, last: QueueSample },
}

impl Default for QueueState {
    fn default() -> Self {
        Self::Watched(VecDeque::new())
    }
}

impl QueueHistory {
    /// A check: what to report.
    pub(crate) fn observe(&mut self, sample: QueueSample, now: Duration) -> Option<QueueNotice> {
        match &mut self.state {
            QueueState::Watched(samples) => {
                keep(samples, sample, now);
                let (began, first) = *samples.front()?;
                let problem = problem(samples).filter(|_| now.saturating_sub(began) >= MINUTE)?;
                if problem == QueueProblem::NotTaken {
                    if now < self.quiet_until {
                        return None;
                    }
                    self.quiet_until = now.saturating_add(REPEATS);
                }
                self.state = QueueState::Reported { problem, since: now, most: sample.waiting, last: sample };
                Some(QueueNotice::Begins(problem, now.saturating_sub(began), first))
            }
            QueueState::Reported { problem, since, most, last } => {
                let is_over = match problem {
                    QueueProblem::Growing => sample.idle > 0 || sample.waiting <= *most / 2,
                    QueueProblem::NotTaken => sample.waiting == 0 || sample.idle == 0 || has_moved(last, &sample),
                };
                if is_over {
                    let notice = QueueNotice::Ends(*problem, now.saturating_sub(*since));
                    self.state = QueueState::default();
                    return Some(notice);
                }
                (*most, *last) = (sample.waiting.max(*most), sample);
                None
            }
        }
    }

    /// The problem that was reported, and the queue at the last check.
    pub(crate) fn problem(&self) -> Option<(QueueProblem, &QueueSample)> {
        match &self.state {
            QueueState::Watched(_) => None,
            QueueState::Reported { problem, last, .. } => Some((*problem, last)),
        }
    }

    /// Whether there is nothing to remember.
    pub(crate) fn is_empty(&self, now: Duration) -> bool {
        matches!(&self.state, QueueState::Watched(samples) if samples.is_empty()) && now >= self.quiet_until
    }
}

/// Adds a sample, and drops those that are older than the latest one a minute back. Only a queue counts.
fn keep(samples: &mut VecDeque<(Duration, QueueSample)>, sample: QueueSample, now: Duration) {
    if sample.waiting == 0 {
        return samples.clear();
    }
    samples.push_back((now, sample));
    while samples.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= MINUTE) {
        samples.pop_front();
    }
}

/// What holds at all samples.
fn problem(samples: &VecDeque<(Duration, QueueSample)>) -> Option<QueueProblem> {
    let all = || samples.iter().map(|(_, sample)| sample);
    let (first, last) = all().next().zip(all().next_back())?;
    let is_busy = |sample: &QueueSample| sample.workers > 0 && sample.idle == 0;
    let most = all().map(|sample| sample.waiting).max();
    if all().all(is_busy) && last.waiting > first.waiting && Some(last.waiting) == most {
        return Some(QueueProblem::Growing);
    }
    (all().all(|sample| sample.idle > 0 && !has_moved(first, sample))).then_some(QueueProblem::NotTaken)
}

/// Whether a job was taken or ended in between.
fn has_moved(before: &QueueSample, after: &QueueSample) -> bool {
    (before.running, before.ended) != (after.running, after.ended) || after.waiting < before.waiting
}

/// Whether any worker of any host serves a function.
#[derive(Debug, Default)]
pub(crate) struct ServiceHistory {
    unserved: Option<Unserved>,
}

#[derive(Debug)]
struct Unserved {
    since: Duration,
    is_reported: bool,
}

/// What the log is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServiceNotice {
    /// Nobody has served it for this long.
    Unserved(Duration),
    /// Somebody serves it again; nobody did for this long.
    ServedAgain(Duration),
}

impl ServiceHistory {
    /// A check: what to report.
    pub(crate) fn observe(&mut self, is_served: bool, now: Duration) -> Option<ServiceNotice> {
        if is_served {
            let before = self.unserved.take().filter(|unserved| unserved.is_reported)?;
            return Some(ServiceNotice::ServedAgain(now.saturating_sub(before.since)));
        }
        let unserved = self.unserved.get_or_insert(Unserved { since: now, is_reported: false });
        let lasts = now.saturating_sub(unserved.since);
        if unserved.is_reported || lasts < MINUTE {
            return None;
        }
        unserved.is_reported = true;
        Some(ServiceNotice::Unserved(lasts))
    }

    /// Whether it was reported that nobody serves it.
    pub(crate) fn is_reported(&self) -> bool {
        self.unserved.as_ref().is_some_and(|unserved| unserved.is_reported)
    }
}

#[cfg(test)]
mod tests;
