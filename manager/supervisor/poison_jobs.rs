//! Remembers which versions each job has killed: a poison job does not count against the canary that it kills. Pure. If
//! this state is lost, at worst a good version is rejected.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::counted_job::CountedJob;
use super::job_disposition::MAX_FINISHED_JOBS;
use crate::plugins::content_hash::ShortHash;

/// What is known of a job is forgotten after this time without another death.
const RETENTION: Duration = Duration::from_secs(3600);
/// How many jobs are remembered; beyond that, the one whose last death is longest ago is forgotten.
const MAX_JOBS: usize = 10_000;

/// The versions, by their hashes, that jobs have killed.
#[derive(Debug, Default)]
pub(crate) struct PoisonJobs(BTreeMap<CountedJob, KilledVersions>);

/// The versions that a job has killed.
#[derive(Debug, Default)]
struct KilledVersions {
    versions: BTreeSet<ShortHash>,
    /// When the last one died.
    at: Duration,
    /// Nobody is to run the job again.
    is_over: bool,
}

impl PoisonJobs {
    /// A worker with this version died in the job.
    pub(crate) fn record_death(&mut self, job: CountedJob, version: ShortHash, now: Duration) {
        self.0.retain(|_, killed| now < killed.at.saturating_add(RETENTION));
        if self.0.len() >= MAX_JOBS && !self.0.contains_key(&job) {
            self.forget_oldest(|_| true);
        }
        let killed = self.0.entry(job).or_default();
        killed.versions.insert(version);
        killed.at = now;
    }

    /// The job is over: nobody is to run it again. Its client may submit it again under the same name, if it has one.
    pub(crate) fn end(&mut self, job: &CountedJob) {
        if let Some(killed) = self.0.get_mut(job).filter(|_| job.is_used_once()) {
            killed.is_over = true;
        }
        if self.0.values().filter(|killed| killed.is_over).count() > MAX_FINISHED_JOBS {
            self.forget_oldest(|killed| killed.is_over);
        }
    }

    fn forget_oldest(&mut self, of: impl Fn(&KilledVersions) -> bool) {
        let oldest = self.0.iter().filter(|(_, killed)| of(killed)).min_by_key(|(_, killed)| killed.at);
        let oldest = oldest.map(|(job, _)| job.clone());
        oldest.map(|job| self.0.remove(&job));
    }

    /// A version other than this one that the job has killed.
    pub(crate) fn other_version_killed(
        &self,
        job: &CountedJob,
        version: ShortHash,
        now: Duration,
    ) -> Option<ShortHash> {
        let KilledVersions { versions, at, .. } = self.0.get(job)?;
        versions.iter().copied().find(|victim| *victim != version).filter(|_| now < at.saturating_add(RETENTION))
    }

    /// No worker is connected to this job server any more: it may give the handles it gave to other jobs.
    pub(crate) fn forget_server(&mut self, server: usize) {
        self.0.retain(|job, _| !job.is_of_server(server));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn job(unique: &str, handle: &str) -> CountedJob {
        match unique {
            "" => CountedJob::Handle { function: "f".into(), server: 0, handle: handle.into() },
            unique => CountedJob::Unique { function: "f".into(), unique: unique.into() },
        }
    }

    #[test]
    fn only_another_version_acquits() {
        let mut lethal = PoisonJobs::default();
        let job = job("", "H:1");
        assert_eq!(lethal.other_version_killed(&job, "v2".into(), NOW), None);
        lethal.record_death(job.clone(), "v2".into(), NOW);
        assert_eq!(lethal.other_version_killed(&job, "v2".into(), NOW), None, "itself only");
        lethal.record_death(job.clone(), "v1".into(), NOW);
        assert_eq!(lethal.other_version_killed(&job, "v2".into(), NOW), Some("v1".into()));
        assert_eq!(lethal.other_version_killed(&job, "v2".into(), NOW + RETENTION), None);
        lethal.forget_server(1);
        assert_eq!(lethal.other_version_killed(&job, "v3".into(), NOW), Some("v1".into()));
        lethal.forget_server(0);
        assert_eq!(lethal.other_version_killed(&job, "v3".into(), NOW), None);
    }

    /// M16.
    #[test]
    fn few_jobs_without_a_name_are_remembered_once_they_are_over() {
        let mut poison = PoisonJobs::default();
        for n in 0..MAX_FINISHED_JOBS + 10 {
            for job in [job("", &n.to_string()), job(&n.to_string(), "H")] {
                poison.record_death(job.clone(), "v1".into(), NOW + Duration::from_millis(n as u64));
                poison.end(&job);
            }
        }
        let killed = |job| poison.other_version_killed(&job, "v2".into(), NOW).is_some();
        assert_eq!([job("", "0"), job("", "200"), job("0", "H")].map(killed), [false, true, true]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut lethal = PoisonJobs::default();
        let id = |n: usize| job(&n.to_string(), "H");
        for n in 0..MAX_JOBS + 10 {
            lethal.record_death(id(n), "v1".into(), NOW + Duration::from_millis(n as u64));
        }
        assert_eq!(lethal.0.len(), MAX_JOBS);
        assert_eq!(lethal.other_version_killed(&id(0), "v2".into(), NOW), None, "the oldest went");
        assert_eq!(lethal.other_version_killed(&id(500), "v2".into(), NOW), Some("v1".into()));
    }
}
