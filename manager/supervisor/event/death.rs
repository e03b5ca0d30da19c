//! The event of a worker that died.

use serde::Serialize;

use super::line::job_name;
use super::several;
use crate::crash::record_id::RecordId;
use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;
use crate::supervisor::job_disposition::JobDisposition;
use crate::supervisor::out_of_memory::OutOfMemory;

/// What an exit in a job means: code 0 is no success.
pub(crate) const LIBRARY_EXITED: &str = "the library called exit";

/// A worker that died.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Death {
    /// Its process.
    #[serde(skip)]
    pub pid: i32,
    /// What it served.
    pub functions: Vec<FunctionName>,
    /// How it ended, as text.
    pub end: String,
    /// Whether it exited, which in a job only its library can have asked for.
    #[serde(skip)]
    pub exited: bool,
    /// What it was doing.
    #[serde(flatten)]
    pub at: DeathContext,
    /// It was still sending an earlier answer to another job server: that job may be done, or be requeued.
    pub cut_another: bool,
    /// The library version of the job's function, or of its only function.
    pub version: Option<ShortHash>,
    /// Number of its start.
    pub generation: u64,
    /// Jobs it had run.
    pub jobs: u64,
    /// The most memory it had, in MiB.
    pub peak_mib: u64,
    /// The id of its crash report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<RecordId>,
    /// It got no more memory, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_of_memory: Option<OutOfMemory>,
}

/// What a worker was doing when it died.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub(crate) enum DeathContext {
    /// Starting, before it loaded anything.
    Start,
    /// Loading a library.
    Load {
        /// Whose.
        function: FunctionName,
    },
    /// In a library's `new()`.
    New {
        /// Whose.
        function: FunctionName,
    },
    /// Waiting for a job.
    Idle,
    /// Running a job.
    Job {
        /// The job's function.
        function: FunctionName,
        /// The job's handle.
        handle: String,
        /// The job's unique id.
        unique: String,
        /// How long it had run, in seconds.
        seconds: f64,
        /// The answer was on its way: the job may be done.
        sending: bool,
        /// The job was past its timeout, or was to end on request.
        timed_out: bool,
        /// `kill` asked for its end.
        on_request: bool,
        /// What happens to the job.
        disposition: JobDisposition,
        /// Workers it has killed, this one included, if deaths are counted.
        deaths: Option<u32>,
        /// How many it may kill.
        max_attempts: Option<u32>,
    },
    /// Unknown: its scoreboard was overwritten.
    Unknown,
}

impl DeathContext {
    /// As it is serialized.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Load { .. } => "load",
            Self::New { .. } => "new",
            Self::Idle => "idle",
            Self::Job { .. } => "job",
            Self::Unknown => "unknown",
        }
    }

    /// The function that it was in.
    pub(crate) fn function(&self) -> Option<&FunctionName> {
        match self {
            Self::Load { function } | Self::New { function } | Self::Job { function, .. } => Some(function),
            Self::Start | Self::Idle | Self::Unknown => None,
        }
    }

    /// What happens to the job, as text.
    fn disposition(&self) -> String {
        let Self::Job { disposition, deaths, max_attempts, .. } = self else { return String::new() };
        let count = match (deaths, max_attempts) {
            (Some(deaths), Some(most)) => format!(" (death {deaths} of {most})"),
            _ => String::new(),
        };
        match disposition {
            JobDisposition::Unclear => {
                format!("its answer was being sent: the job is requeued{count} unless the whole answer arrives")
            }
            JobDisposition::Requeued => format!("requeued{count}"),
            JobDisposition::Failed => format!("failed{count}"),
            JobDisposition::Unanswerable => {
                format!(
                    "requeued{count} unless its whole answer arrives; half of a packet may have been sent, so its caller \
                     cannot be told before another worker gets the job and fails it"
                )
            }
        }
    }
}

impl Death {
    /// How it ended and what it was doing, in a few words.
    pub(crate) fn how(&self) -> String {
        let end = &self.end;
        match &self.at {
            DeathContext::Job { handle, on_request: true, .. } => {
                format!("{end} in {}, which was ended on request", job_name(handle, ""))
            }
            DeathContext::Job { handle, timed_out: true, .. } => {
                format!("{end} in {}, which was past its timeout", job_name(handle, ""))
            }
            DeathContext::Job { handle, .. } => format!("{end} in {}", job_name(handle, "")),
            DeathContext::Start => format!("{end} before it loaded anything"),
            DeathContext::Load { .. } => format!("{end} while its library was loaded"),
            DeathContext::New { .. } => format!("{end} in its new()"),
            DeathContext::Idle | DeathContext::Unknown => format!("{end} outside a job"),
        }
    }

    pub(super) fn line(&self) -> String {
        let another = if self.cut_another {
            "; it was still sending an earlier answer to another job server: that job is requeued unless the whole answer \
             arrives"
        } else {
            ""
        };
        let report = self.report.map_or(String::new(), |report| format!("; report {report}"));
        self.own_line() + another + &report
    }

    fn own_line(&self) -> String {
        let Self { pid, functions, end, generation, jobs, peak_mib, .. } = self;
        let version = self.version.as_ref().map_or(String::new(), |version| format!("version {version}, "));
        let limit = self.out_of_memory.as_ref().map(OutOfMemory::limit_clause).unwrap_or_default();
        let rest = format!("{version}generation {generation}, {jobs} jobs before, peak {peak_mib} MiB{limit}");
        match &self.at {
            DeathContext::Job { function, handle, unique, seconds, timed_out, on_request, .. } => {
                let job = job_name(handle, unique);
                let late = match (on_request, timed_out) {
                    (true, _) => ", on request",
                    (false, true) => ", past its timeout",
                    (false, false) => "",
                };
                let end = if self.exited { format!("{end} ({LIBRARY_EXITED})") } else { end.clone() };
                let disposition = self.at.disposition();
                format!(
                    "{function}: worker {pid} {end} in {job} after {seconds:.3} s{late}; {rest}; \
                     {disposition}"
                )
            }
            DeathContext::Load { function } | DeathContext::New { function } => {
                format!("{function}: worker {pid} {}; {rest}", self.how())
            }
            DeathContext::Start | DeathContext::Idle => {
                format!("{}: worker {pid} {}; {rest}", several(functions), self.how())
            }
            DeathContext::Unknown => format!(
                "{}: worker {pid} {end}; what it was doing is unknown, since its scoreboard was overwritten; {rest}; \
                 requeued",
                several(functions)
            ),
        }
    }
}
