//! Identifies a job for counting the deaths in it. Pure.

use super::exit_cause::JobInHand;
use crate::crash::quarantine::is_named;
use crate::crash::workload_hash::WorkloadHash;
use crate::plugins::name::FunctionName;

/// Identifies a job for longer than [`JobKey`](super::job_disposition::JobKey) does, if possible: a client may resubmit
/// it, and it gets a new handle, perhaps on another server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CountedJob {
    /// By its unique id.
    Unique {
        /// Its function.
        function: FunctionName,
        /// Its unique id, as text.
        unique: String,
    },
    /// By its workload, if it has no unique id.
    Workload {
        /// Its function.
        function: FunctionName,
        /// The hash of its workload.
        hash: WorkloadHash,
    },
    /// By its handle, if its workload is unknown as well: after SIGKILL, for example, it was not saved.
    Handle {
        /// Its function.
        function: FunctionName,
        /// Which job server.
        server: usize,
        /// Its handle.
        handle: Vec<u8>,
    },
}

impl CountedJob {
    /// The identity of a job in hand; `None` if it has none.
    pub(crate) fn of(
        function: &FunctionName,
        server: Option<usize>,
        job: &JobInHand,
        workload: Option<WorkloadHash>,
    ) -> Option<Self> {
        let function = function.clone();
        if is_named(&job.unique) {
            return Some(Self::Unique { function, unique: job.unique.clone() });
        }
        if let Some(hash) = workload {
            return Some(Self::Workload { function, hash });
        }
        let server = server.filter(|_| !job.handle.is_empty())?;
        Some(Self::Handle { function, server, handle: job.handle.clone() })
    }

    /// All names under which the deaths in a job may have been counted.
    pub(crate) fn all_names(
        function: &FunctionName,
        unique: &str,
        workload: Option<WorkloadHash>,
        server: Option<usize>,
        handle: &[u8],
    ) -> Vec<Self> {
        let function = || function.clone();
        let unique = is_named(unique).then(|| Self::Unique { function: function(), unique: unique.to_owned() });
        let workload = workload.map(|hash| Self::Workload { function: function(), hash });
        let handle = server.map(|server| Self::Handle { function: function(), server, handle: handle.to_vec() });
        unique.into_iter().chain(workload).chain(handle).collect()
    }

    /// Its function.
    pub(crate) fn function(&self) -> &FunctionName {
        match self {
            Self::Unique { function, .. } | Self::Workload { function, .. } | Self::Handle { function, .. } => function,
        }
    }

    /// Whether the name means nothing once this server has gone: it may give its handles to other jobs.
    pub(crate) fn is_of_server(&self, gone: usize) -> bool {
        matches!(self, Self::Handle { server, .. } if *server == gone)
    }

    /// Whether nobody gets a job of this name again once it is over.
    pub(crate) fn is_used_once(&self) -> bool {
        matches!(self, Self::Handle { .. })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_job_is_known_by_its_unique_id_or_its_workload_or_its_servers_handle() {
        let hash = |text: &str| (!text.is_empty()).then(|| WorkloadHash::of(text.as_bytes(), text.len() as u64));
        let id = |function: &str, server, unique: &str, handle: &str, workload: &str| {
            let job = JobInHand {
                function: 0,
                number: 1,
                connection: 1,
                handle: handle.into(),
                unique: unique.into(),
                ran: Duration::ZERO,
                half_sent: false,
            };
            CountedJob::of(&function.into(), server, &job, hash(workload))
        };
        let first = || id("f", Some(0), "u", "H:1", "w");
        for (name, other, same) in [
            ("requeued", first(), true),
            ("submitted again, elsewhere, with other data", id("f", Some(1), "u", "H:7", "x"), true),
            ("nothing but the unique id is known", id("f", None, "u", "", ""), true),
            ("another function", id("g", Some(0), "u", "H:1", "w"), false),
            ("another unique id", id("f", Some(0), "v", "H:1", "w"), false),
        ] {
            assert_eq!(first() == other, same, "{name}");
        }
        for unique in ["", "-"] {
            let first = || id("f", Some(0), unique, "H:1", "w");
            for (name, other, same) in [
                ("requeued", first(), true),
                ("submitted again, elsewhere", id("f", Some(1), unique, "H:2", "w"), true),
                ("another workload", id("f", Some(0), unique, "H:1", "x"), false),
                ("another function", id("g", Some(0), unique, "H:1", "w"), false),
            ] {
                assert_eq!(first() == other, same, "{name}, unique {unique:?}");
            }
            let first = || id("f", Some(0), unique, "H:1", "");
            for (name, other, same) in [
                ("requeued", first(), true),
                ("another handle", id("f", Some(0), unique, "H:2", ""), false),
                ("another server", id("f", Some(1), unique, "H:1", ""), false),
            ] {
                assert_eq!(first() == other, same, "{name}, unique {unique:?}, no workload");
            }
            assert_eq!(id("f", None, unique, "H:1", ""), None);
            assert_eq!(id("f", Some(0), unique, "", ""), None);
        }
    }
}
