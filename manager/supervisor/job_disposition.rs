//! What happens to a job whose worker died in it: it is requeued, or it fails and its caller is told. Pure.
//!
//! Gearman delivers at least once, so a job is requeued unless the configuration or the number of workers it has cost
//! says otherwise. Each manager counts by itself, in memory: if the count is lost, the job gets a few more attempts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::counted_job::CountedJob;
use crate::config::LostJobPolicy;
use crate::deny_list::JobIdentity;
use crate::plugins::name::FunctionName;

/// Deaths are forgotten after this time without another one.
const RETENTION: Duration = Duration::from_secs(3600);
/// How many jobs with deaths are remembered; beyond that, the one whose last death is longest ago is forgotten.
const MAX_JOBS: usize = 10_000;
/// The same for jobs that must not run again; draining workers may still receive them.
pub(super) const MAX_FINISHED_JOBS: usize = 256;

/// Identifies a job for as long as its server knows it: another server, or the same one after a restart, reuses
/// handles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobKey {
    /// Which job server.
    pub server: usize,
    /// Its function.
    pub function: FunctionName,
    /// Its handle.
    pub handle: Vec<u8>,
    /// Its unique id, as text.
    pub unique: String,
}

impl JobKey {
    /// Its identity on the deny list; `server` is the name of its job server.
    pub(crate) fn identity<'a>(&'a self, server: &'a str) -> JobIdentity<'a> {
        let (function, unique) = (self.function.as_bytes(), self.unique.as_bytes());
        JobIdentity { server, function, handle: &self.handle, unique }
    }
}

/// How many workers each job has killed.
#[derive(Debug, Default)]
pub(crate) struct DeathCounts(BTreeMap<CountedJob, Deaths>);

#[derive(Debug, Default)]
struct Deaths {
    count: u32,
    /// When the last one happened.
    at: Duration,
    /// The job must not run again.
    is_over: bool,
}

impl DeathCounts {
    /// Counts one more death. Returns the number of deaths in that job so far.
    pub(crate) fn count(&mut self, job: CountedJob, now: Duration) -> u32 {
        self.0.retain(|_, deaths| now < deaths.at.saturating_add(RETENTION));
        if self.0.len() >= MAX_JOBS && !self.0.contains_key(&job) {
            self.forget_oldest(|_| true);
        }
        let deaths = self.0.entry(job).or_default();
        deaths.count = deaths.count.saturating_add(1);
        deaths.at = now;
        deaths.count
    }

    /// The job is over: nobody runs it again. Its client may submit it again, and then its deaths still count.
    pub(crate) fn end(&mut self, job: &CountedJob) {
        if let Some(deaths) = self.0.get_mut(job).filter(|_| job.is_used_once()) {
            deaths.is_over = true;
        }
        if self.0.values().filter(|deaths| deaths.is_over).count() > MAX_FINISHED_JOBS {
            self.forget_oldest(|deaths| deaths.is_over);
        }
    }

    fn forget_oldest(&mut self, of: impl Fn(&Deaths) -> bool) {
        let oldest = self.0.iter().filter(|(_, deaths)| of(deaths)).min_by_key(|(_, deaths)| deaths.at);
        let oldest = oldest.map(|(job, _)| job.clone());
        oldest.map(|job| self.0.remove(&job));
    }

    /// No worker is connected to this job server any more: it has lost its jobs, or given them to others.
    pub(crate) fn forget_server(&mut self, server: usize) {
        self.0.retain(|job, _| !job.is_of_server(server));
    }

    /// The function has another version, which may survive what its jobs did to the last one.
    pub(crate) fn forget_function(&mut self, function: &FunctionName) {
        self.0.retain(|job, _| job.function() != function);
    }

    /// Someone asks for one job of these names to get all its attempts again.
    pub(crate) fn forget_job(&mut self, job: &CountedJob) {
        self.0.remove(job);
    }
}

/// How far a job was when its worker died. A worker that dies while it receives a job has not run it, and one that has
/// sent the answer owes nothing; neither has a job in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobStage {
    /// Its function was running.
    Running,
    /// Its function had returned; the answer may have been sent completely, partly or not at all.
    Answering,
}

/// What happens to the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JobDisposition {
    /// Its server gives it to another worker.
    Requeued,
    /// It fails: its caller gets the reason.
    Failed,
    /// It should fail, but half a packet is on the wire: it is requeued, and the next worker fails it.
    Unanswerable,
    /// Its answer was being sent: if the answer is complete, it arrives, otherwise the job is requeued.
    Unclear,
}

impl JobDisposition {
    /// Whether the job goes on the deny list. That includes jobs that the manager fails at once, because the connection
    /// may be gone, and then the server requeues the job anyway.
    pub(crate) fn denies(self) -> bool {
        matches!(self, Self::Failed | Self::Unanswerable)
    }
}

/// Decides about a job that has killed its `deaths`th worker at this point. `half_sent`: half of one of its packets may
/// be on the wire. A complete answer counts, whatever is sent after it.
pub(crate) fn disposition(
    policy: LostJobPolicy,
    deaths: u32,
    max_attempts: u32,
    point: JobStage,
    half_sent: bool,
) -> JobDisposition {
    let is_over = policy == LostJobPolicy::Fail || deaths >= max_attempts;
    match (is_over, point, half_sent) {
        (false, JobStage::Running, _) => JobDisposition::Requeued,
        (false, JobStage::Answering, _) => JobDisposition::Unclear,
        (true, _, false) => JobDisposition::Failed,
        (true, _, true) => JobDisposition::Unanswerable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(handle: &str) -> CountedJob {
        of_server(0, handle)
    }

    fn of_server(server: usize, handle: &str) -> CountedJob {
        CountedJob::Handle { function: "f".into(), server, handle: handle.into() }
    }

    fn named(function: &str, unique: &str) -> CountedJob {
        CountedJob::Unique { function: function.into(), unique: unique.into() }
    }

    /// Every cell: what is wished for, attempts left or not, in its function or after it, half a packet out or not.
    #[test]
    fn a_job_is_tried_again_until_it_has_cost_too_many_workers() {
        use JobDisposition::{Failed, Requeued, Unanswerable, Unclear};
        use JobStage::{Answering, Running};
        use LostJobPolicy::{Fail, Retry};
        for (policy, deaths, max_attempts, point, between, half) in [
            (Retry, 1, 3, Running, Requeued, Requeued),
            (Retry, 2, 3, Running, Requeued, Requeued),
            (Retry, 3, 3, Running, Failed, Unanswerable),
            (Retry, 4, 3, Running, Failed, Unanswerable),
            (Retry, 1, 1, Running, Failed, Unanswerable),
            (Fail, 1, 3, Running, Failed, Unanswerable),
            (Retry, 1, 3, Answering, Unclear, Unclear),
            (Retry, 2, 3, Answering, Unclear, Unclear),
            (Retry, 3, 3, Answering, Failed, Unanswerable),
            (Retry, 4, 3, Answering, Failed, Unanswerable),
            (Retry, 1, 1, Answering, Failed, Unanswerable),
            (Fail, 1, 3, Answering, Failed, Unanswerable),
        ] {
            for (half_sent, expected) in [(false, between), (true, half)] {
                let disposition = disposition(policy, deaths, max_attempts, point, half_sent);
                assert_eq!(disposition, expected, "{policy:?}, {deaths} of {max_attempts}, {point:?}, {half_sent}");
                assert_eq!(disposition.denies(), policy == Fail || deaths >= max_attempts, "nobody runs it again");
            }
        }
    }

    /// S10, if a handle comes again from a restarted server.
    #[test]
    fn a_server_that_went_takes_its_handles_along() {
        let (mut deaths, now) = (DeathCounts::default(), Duration::from_secs(1));
        let others = || [of_server(1, "H:1"), named("f", "u")];
        for _ in 0..2 {
            deaths.count(job("H:1"), now);
            others().into_iter().for_each(|job| assert!(deaths.count(job, now) > 0));
        }
        deaths.forget_server(0);
        assert_eq!(deaths.count(job("H:1"), now), 1);
        assert_eq!(others().map(|job| deaths.count(job, now)), [3, 3]);
    }

    #[test]
    fn a_new_version_and_a_request_give_jobs_all_their_attempts_again() {
        let (mut deaths, now) = (DeathCounts::default(), Duration::from_secs(1));
        let all = || [job("H:1"), named("f", "u"), named("f", "v"), named("g", "u")];
        all().into_iter().for_each(|job| assert!(deaths.count(job, now) > 0));
        deaths.forget_job(&named("f", "u"));
        assert_eq!(all().map(|job| deaths.count(job, now)), [2, 1, 2, 2]);
        deaths.forget_function(&"f".into());
        assert_eq!(all().map(|job| deaths.count(job, now)), [1, 1, 1, 3]);
    }

    /// S10, too.
    #[test]
    fn deaths_are_counted_job_by_job_and_forgotten_in_time() {
        let (mut deaths, start) = (DeathCounts::default(), Duration::from_secs(100));
        assert_eq!(deaths.count(job("H:1"), start), 1);
        assert_eq!(deaths.count(job("H:1"), start + RETENTION / 2), 2);
        assert_eq!(deaths.count(job("H:2"), start + RETENTION / 2), 1);
        for other in [of_server(1, "H:1"), named("f", "u"), named("g", "u")] {
            assert_eq!(deaths.count(other.clone(), start), 1, "{other:?}");
        }
        assert_eq!(deaths.count(job("H:1"), start + RETENTION), 3, "an hour from the last one");
        assert_eq!(deaths.count(job("H:2"), start + RETENTION * 2), 1);
    }

    /// S10: a client that submits a job again under its old name does not get all attempts again.
    #[test]
    fn the_deaths_of_a_named_job_count_after_it_has_failed() {
        let (mut deaths, now) = (DeathCounts::default(), Duration::from_secs(1));
        for expected in 1..=4 {
            assert_eq!(deaths.count(named("f", "u"), now), expected);
            deaths.end(&named("f", "u"));
        }
    }

    /// M16.
    #[test]
    fn few_jobs_are_remembered_that_nobody_is_to_run_again() {
        let mut deaths = DeathCounts::default();
        deaths.count(job("goes on"), Duration::from_secs(1));
        for n in 0..MAX_FINISHED_JOBS as u64 + 10 {
            let job = job(&n.to_string());
            deaths.count(job.clone(), Duration::from_secs(2 + n));
            deaths.end(&job);
        }
        assert_eq!(deaths.0.len(), 1 + MAX_FINISHED_JOBS);
        let now = Duration::from_secs(500);
        assert_eq!(["0", "200", "goes on"].map(|name| deaths.count(job(name), now)), [1, 2, 2]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut deaths = DeathCounts::default();
        for n in 0..MAX_JOBS as u64 + 10 {
            deaths.count(job(&n.to_string()), Duration::from_secs(1) + Duration::from_millis(n));
        }
        assert_eq!(deaths.0.len(), MAX_JOBS);
        assert_eq!(deaths.count(job("0"), Duration::from_secs(60)), 1, "the oldest went");
        assert_eq!(deaths.count(job("500"), Duration::from_secs(60)), 2);
    }
}
