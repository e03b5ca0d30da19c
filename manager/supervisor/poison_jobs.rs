//! Which versions of their function jobs have killed: a poison job does not count against the canary it kills. Pure, in
//! memory: losing it costs a good version its rollout at worst.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::exit_cause::JobInHand;
use super::job_disposition::OVER_REMEMBERED;
use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;

/// What is known of a job is forgotten after this time without another death.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// Jobs that are remembered. Beyond, those that are nearest to being forgotten are.
const REMEMBERED: usize = 10_000;

/// Names a job for longer than [`JobKey`](super::job_disposition::JobKey), where that can be: a client may submit it
/// again with its unique id, and gets another handle, perhaps on another server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PoisonJobKey {
    /// By what its client calls it.
    Unique {
        /// Its function.
        function: FunctionName,
        /// Its unique id, as text.
        unique: String,
    },
    /// By what its server calls it, where its client has no name for it.
    Handle {
        /// Its function.
        function: FunctionName,
        /// Which job server.
        server: usize,
        /// Its handle.
        handle: Vec<u8>,
    },
}

impl PoisonJobKey {
    /// The name of a job in hand; `None` where it has none.
    pub(crate) fn of(function: &FunctionName, server: Option<usize>, job: &JobInHand) -> Option<Self> {
        let function = function.clone();
        // "-" has a server make one of the workload.
        if !job.unique.is_empty() && job.unique != "-" {
            return Some(Self::Unique { function, unique: job.unique.clone() });
        }
        let server = server.filter(|_| !job.handle.is_empty())?;
        Some(Self::Handle { function, server, handle: job.handle.clone() })
    }
}

/// The versions, by their hashes, that jobs have killed.
#[derive(Debug, Default)]
pub(crate) struct PoisonJobs(BTreeMap<PoisonJobKey, Victims>);

/// What a job has killed.
#[derive(Debug, Default)]
struct Victims {
    versions: BTreeSet<ShortHash>,
    /// When the last one died.
    at: Duration,
    /// Nobody is to run the job again.
    is_over: bool,
}

impl PoisonJobs {
    /// A worker with this version died in the job.
    pub(crate) fn record_death(&mut self, job: PoisonJobKey, version: ShortHash, now: Duration) {
        self.0.retain(|_, victims| now < victims.at.saturating_add(FORGOTTEN));
        if self.0.len() >= REMEMBERED && !self.0.contains_key(&job) {
            self.forget_oldest(|_| true);
        }
        let victims = self.0.entry(job).or_default();
        victims.versions.insert(version);
        victims.at = now;
    }

    /// The job is over: nobody is to run it again. Its client may submit it again under the same name, if it has one.
    pub(crate) fn end(&mut self, job: &PoisonJobKey) {
        if let (PoisonJobKey::Handle { .. }, Some(victims)) = (job, self.0.get_mut(job)) {
            victims.is_over = true;
        }
        if self.0.values().filter(|victims| victims.is_over).count() > OVER_REMEMBERED {
            self.forget_oldest(|victims| victims.is_over);
        }
    }

    fn forget_oldest(&mut self, of: impl Fn(&Victims) -> bool) {
        let oldest = self.0.iter().filter(|(_, victims)| of(victims)).min_by_key(|(_, victims)| victims.at);
        let oldest = oldest.map(|(job, _)| job.clone());
        oldest.map(|job| self.0.remove(&job));
    }

    /// Another version than this one that the job has killed.
    pub(crate) fn other_version_killed(
        &self,
        job: &PoisonJobKey,
        version: ShortHash,
        now: Duration,
    ) -> Option<ShortHash> {
        let Victims { versions, at, .. } = self.0.get(job)?;
        versions.iter().copied().find(|victim| *victim != version).filter(|_| now < at.saturating_add(FORGOTTEN))
    }

    /// No worker is connected to this job server any more: it may give the handles it gave to other jobs.
    pub(crate) fn forget_server(&mut self, server: usize) {
        self.0.retain(|job, _| !matches!(job, PoisonJobKey::Handle { server: of, .. } if *of == server));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn job(unique: &str, handle: &str) -> JobInHand {
        JobInHand {
            function: 0,
            number: 1,
            connection: 1,
            handle: handle.into(),
            unique: unique.into(),
            ran: Duration::ZERO,
            half_sent: false,
        }
    }

    #[test]
    fn a_job_is_known_by_its_unique_id_or_by_its_servers_handle() {
        let id =
            |function: &str, server, unique, handle| PoisonJobKey::of(&function.into(), server, &job(unique, handle));
        let first = || id("f", Some(0), "u", "H:1");
        for (name, other, same) in [
            ("requeued", first(), true),
            ("submitted again, elsewhere", id("f", Some(1), "u", "H:7"), true),
            ("no server known", id("f", None, "u", ""), true),
            ("another function", id("g", Some(0), "u", "H:1"), false),
            ("another unique id", id("f", Some(0), "v", "H:1"), false),
        ] {
            assert_eq!(first() == other, same, "{name}");
        }
        for unique in ["", "-"] {
            let first = || id("f", Some(0), unique, "H:1");
            for (name, other, same) in [
                ("requeued", first(), true),
                ("another handle", id("f", Some(0), unique, "H:2"), false),
                ("another server", id("f", Some(1), unique, "H:1"), false),
            ] {
                assert_eq!(first() == other, same, "{name}, unique {unique:?}");
            }
            assert_eq!(id("f", None, unique, "H:1"), None);
            assert_eq!(id("f", Some(0), unique, ""), None);
        }
    }

    #[test]
    fn only_another_version_acquits() {
        let mut lethal = PoisonJobs::default();
        let job = PoisonJobKey::of(&"f".into(), Some(0), &job("", "H:1")).unwrap();
        assert_eq!(lethal.other_version_killed(&job, "v2".into(), NOW), None);
        lethal.record_death(job.clone(), "v2".into(), NOW);
        assert_eq!(lethal.other_version_killed(&job, "v2".into(), NOW), None, "itself only");
        lethal.record_death(job.clone(), "v1".into(), NOW);
        assert_eq!(lethal.other_version_killed(&job, "v2".into(), NOW), Some("v1".into()));
        assert_eq!(lethal.other_version_killed(&job, "v2".into(), NOW + FORGOTTEN), None);
        lethal.forget_server(1);
        assert_eq!(lethal.other_version_killed(&job, "v3".into(), NOW), Some("v1".into()));
        lethal.forget_server(0);
        assert_eq!(lethal.other_version_killed(&job, "v3".into(), NOW), None);
    }

    /// M16.
    #[test]
    fn few_jobs_without_a_name_are_remembered_once_they_are_over() {
        let id = |unique: &str, handle: &str| PoisonJobKey::of(&"f".into(), Some(0), &job(unique, handle)).unwrap();
        let mut poison = PoisonJobs::default();
        for n in 0..OVER_REMEMBERED + 10 {
            for job in [id("", &n.to_string()), id(&n.to_string(), "H")] {
                poison.record_death(job.clone(), "v1".into(), NOW + Duration::from_millis(n as u64));
                poison.end(&job);
            }
        }
        let killed = |job| poison.other_version_killed(&job, "v2".into(), NOW).is_some();
        assert_eq!([id("", "0"), id("", "200"), id("0", "H")].map(killed), [false, true, true]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut lethal = PoisonJobs::default();
        let id = |n: usize| PoisonJobKey::of(&"f".into(), Some(0), &job(&n.to_string(), "H")).unwrap();
        for n in 0..REMEMBERED + 10 {
            lethal.record_death(id(n), "v1".into(), NOW + Duration::from_millis(n as u64));
        }
        assert_eq!(lethal.0.len(), REMEMBERED);
        assert_eq!(lethal.other_version_killed(&id(0), "v2".into(), NOW), None, "the oldest went");
        assert_eq!(lethal.other_version_killed(&id(500), "v2".into(), NOW), Some("v1".into()));
    }
}
