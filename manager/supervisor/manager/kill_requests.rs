//! `gm-native kill`: finds the job that is meant, by its worker's process or by its handle.

use super::Manager;
use crate::control::{Reply, Requester};
use crate::logging::escape;
use crate::supervisor::core::Order;
use crate::supervisor::effects::RunningJob;
use crate::supervisor::event::seconds;

impl Manager {
    /// Ends a job as its timeout would.
    pub(super) fn end_job(&mut self, pid: Option<u32>, handle: Option<&str>, by: &Requester) -> Result<Reply, String> {
        self.core.may_request()?;
        let found = match (pid, handle) {
            (Some(pid), None) => self.job_of_process(pid),
            (None, Some(handle)) => self.job_with_handle(handle),
            _ => Err("name a job by the process of its worker or by its handle, not both".into()),
        }?;
        self.core.may_end_job(&found.reading)?;
        let begun = match &found.reading.job {
            Some(job) => format!(
                "{}: job {}, which has run for {:.3} s in worker {}, is being ended",
                found.function(),
                found.handle(),
                seconds(job.ran),
                found.pid
            ),
            None => {
                format!("worker {} is being ended; its scoreboard was overwritten, so its job is unknown", found.pid)
            }
        };
        Ok(self.order(Order::EndJob { pid: found.pid, seen: found.reading }, begun, by))
    }

    fn job_of_process(&self, pid: u32) -> Result<RunningJob, String> {
        let found = self.effects.running_jobs().find(|found| found.pid.cast_unsigned() == pid);
        found.ok_or_else(|| format!("process {pid} is no worker of this manager (pid {})", std::process::id()))
    }

    fn job_with_handle(&self, handle: &str) -> Result<RunningJob, String> {
        let mut found: Vec<RunningJob> = self
            .effects
            .running_jobs()
            .filter(|found| found.reading.job.is_some() && found.handle() == handle)
            .collect();
        let handle = escape(handle);
        match found.len() {
            0 => Err(format!("no worker runs a job with the handle {handle}")),
            1 => found.pop().ok_or_else(String::new),
            _ => {
                let each = |found: &RunningJob| {
                    format!(
                        "pid {} ({} for {})",
                        found.pid,
                        found.function(),
                        self.core.job_server_of(&found.reading).unwrap_or("an unknown server")
                    )
                };
                let list: Vec<String> = found.iter().map(each).collect();
                Err(format!(
                    "several workers run a job with the handle {handle}: name one by its {}",
                    list.join(", or ")
                ))
            }
        }
    }
}
