//! What jobs run with: the functions, and the places that show the job in hand (scoreboard, process title).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::deny_list::{DeniedJobs, JobIdentity};
use crate::gearman::packet::AssignedJob;
use crate::scoreboard::ScoreboardWriter;
use crate::worker::job::{self, Assignment, FinishedJob};
use crate::worker::job_log::{DEBUG, job_name};
use crate::worker::manager_link::ManagerLink;
use crate::worker::plugin::LoadedFunction;
use crate::worker::plugin_host;
use crate::worker::proctitle::ProcTitle;
use crate::worker::sender::{self, Sender};

/// Runs one job after the other.
pub(super) struct JobRunner {
    pub(super) functions: Vec<LoadedFunction>,
    pub(super) scoreboard: Arc<ScoreboardWriter>,
    pub(super) proctitle: ProcTitle,
    pub(super) manager_link: &'static ManagerLink,
    /// Jobs that no worker may run again.
    pub(super) denied: DeniedJobs,
    pub(super) max_packet: u64,
    pub(super) last: LastNames,
}

/// Number, handle and unique id of the last job. The buffers are reused for each job.
#[derive(Debug, Default)]
pub(super) struct LastNames {
    /// Counts the worker's jobs from 1.
    pub(super) number: u64,
    pub(super) handle: Vec<u8>,
    pub(super) unique: String,
}

/// Where a job came from.
pub(super) struct JobOrigin<'a> {
    /// The job server's name.
    pub(super) server: &'a str,
    /// The connection's number.
    pub(super) connection: u32,
    pub(super) sender: &'a Arc<Mutex<Sender>>,
    /// Whether no other GRAB to this server is unanswered.
    pub(super) is_last: bool,
    /// When the previous connection to this server was lost.
    pub(super) lost_at: Option<Duration>,
    pub(super) now: Duration,
}

/// A job that has run, or was refused.
pub(super) struct JobRun {
    pub(super) finished: FinishedJob,
    /// A line to log about its server.
    pub(super) note: Option<String>,
}

impl JobRunner {
    /// A job has arrived: stores its names, and returns its number.
    pub(super) fn next_job(&mut self, job: &AssignedJob<'_>) -> u64 {
        let LastNames { number, handle, unique } = &mut self.last;
        *number += 1;
        handle.clear();
        handle.extend_from_slice(job.handle);
        unique.clear();
        unique.push_str(&String::from_utf8_lossy(job.unique));
        *number
    }

    /// Runs the job, unless it is denied or too large (then `missing` bytes of it were not read).
    pub(super) fn run(&mut self, job: AssignedJob<'_>, missing: usize, origin: &JobOrigin<'_>) -> JobRun {
        if missing > 0 {
            let (finished, text) = job::refuse_long(&job, missing, self.max_packet);
            return JobRun { finished, note: Some(text) };
        }
        let identity =
            JobIdentity { server: origin.server, function: job.function, handle: job.handle, unique: job.unique };
        if let Some(why) = self.denied.reason(&identity, origin.lost_at, origin.now) {
            self.manager_link.log(2, Some(job::name(&job)), &format!("is not run again, but fails: {why}"));
            return JobRun { finished: job::refused(why), note: None };
        }
        let number = self.last.number;
        if let Some(index) = self.functions.iter().position(|function| function.name.as_bytes() == job.function) {
            let name = &self.functions[index].name;
            self.proctitle.running(index);
            plugin_host::job_begins(number, name, job.handle, origin.sender);
            if self.manager_link.wants(DEBUG) {
                self.manager_link.log_bytes(job_name(name, job.handle), "workload", job.workload);
            }
        }
        sender::lock(origin.sender).job_begins(origin.is_last);
        let assignment = Assignment { job, number, connection: origin.connection };
        let finished = job::run(&assignment, &mut self.functions, &self.scoreboard);
        plugin_host::job_ends();
        JobRun { finished, note: None }
    }
}
