//! A job, as its function sees it.

use std::borrow::Cow;

use crate::abi::{Host, RawJob};
use crate::failure::Failure;

/// One job: its workload and ids, and what can be sent to its caller while it runs.
///
/// It can be used from any thread while the function runs, so scoped threads can report progress, too. For other
/// threads, use [`reporter`](Self::reporter).
///
/// ```
/// use gm_plugin_api::{Failure, Job, JobResult, Log, function};
///
/// #[function]
/// fn count_lines(job: &Job, log: &mut Log) -> JobResult {
///     let lines = job.text()?.lines().count();
///     log.info(format_args!("{lines} lines for {}", job.handle()));
///     Ok(lines.to_string().into())
/// }
/// ```
// Borrowed data stands behind a lifetime that says 'static: the whole is only ever lent, see `glue`, and no method
// returns more than what lives as long as `self`.
#[repr(transparent)]
pub struct Job(pub(crate) RawJob<'static>);

impl Job {
    /// The bytes the client sent.
    pub fn workload(&self) -> &[u8] {
        self.0.workload.as_slice()
    }

    /// The workload as text.
    ///
    /// # Errors
    ///
    /// It is not UTF-8; the message says at which byte.
    pub fn text(&self) -> Result<&str, Failure> {
        std::str::from_utf8(self.workload()).map_err(|error| {
            let at = error.valid_up_to();
            Failure::new(format!("the workload is not UTF-8 text: byte {at} of {}", self.workload().len()))
        })
    }

    /// The name under which the job server knows the function. One library may serve several names.
    pub fn function(&self) -> &str {
        self.0.function.as_str()
    }

    /// The job server's handle of this job, for display: bytes that are not UTF-8 are replaced. A job server reuses
    /// handles after a restart, so a handle does not identify a job permanently.
    pub fn handle(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.0.handle.as_slice())
    }

    /// The unique id that the client gave the job, for display; empty if it gave none. Use
    /// [`unique_bytes`](Self::unique_bytes) as a key.
    pub fn unique(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.unique_bytes())
    }

    /// The bytes of the unique id. A job that runs again has the same one.
    pub fn unique_bytes(&self) -> &[u8] {
        self.0.unique.as_slice()
    }

    /// Reports progress to the caller: `done` of `of`. Waiting clients get it without polling; reports that the job
    /// server does not read in time are merged.
    ///
    /// Returns false if the report was refused because the connection is gone. You may continue or return early.
    pub fn status(&self, done: u64, of: u64) -> bool {
        (self.0.host.status)(self.0.number, done, of)
    }

    /// Sends a part of the result before the job ends. Returns false if it was refused, as for
    /// [`status`](Self::status). May block while the job server reads slowly.
    pub fn data(&self, bytes: impl AsRef<[u8]>) -> bool {
        (self.0.host.data)(self.0.number, bytes.as_ref().into())
    }

    /// Sends the caller a warning. Returns false if it was refused, as for [`status`](Self::status). The `gearman`
    /// command prints warnings unchanged, so end yours with a newline.
    pub fn warning(&self, bytes: impl AsRef<[u8]>) -> bool {
        (self.0.host.warning)(self.0.number, bytes.as_ref().into())
    }

    /// True once the job should end early, because the worker drains or the job is past its timeout. On a stop, the job
    /// is killed after `graceful_shutdown_wait_time`. In a long job, call this now and then, and return early with a
    /// partial result or an error. A call costs a few nanoseconds.
    pub fn stopping(&self) -> bool {
        (self.0.host.stopping)(self.0.number)
    }

    /// A handle that a thread can keep: [`status`](Self::status), [`data`](Self::data) and the like, without the
    /// workload.
    pub fn reporter(&self) -> Reporter {
        Reporter { number: self.0.number, host: self.0.host }
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("handle", &self.handle())
            .field("unique", &self.unique())
            .field("function", &self.function())
            .field("workload", &format_args!("{} bytes", self.workload().len()))
            .finish()
    }
}

/// Sends reports for a job from anywhere: a thread, an async task, a callback. After the job has ended, every call is
/// safely refused.
///
/// ```
/// use gm_plugin_api::{Job, JobResult, Log, function};
///
/// #[function]
/// fn patient(job: &Job, _log: &mut Log) -> JobResult {
///     let reporter = job.reporter();
///     let work = std::thread::spawn(move || reporter.status(1, 2));
///     work.join().expect("the thread ends well");
///     Ok(().into())
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Reporter {
    number: u64,
    host: &'static Host,
}

impl Reporter {
    /// See [`Job::status`]. False also when the job is over.
    pub fn status(&self, done: u64, of: u64) -> bool {
        (self.host.status)(self.number, done, of)
    }

    /// See [`Job::data`]. False also when the job is over.
    pub fn data(&self, bytes: impl AsRef<[u8]>) -> bool {
        (self.host.data)(self.number, bytes.as_ref().into())
    }

    /// See [`Job::warning`]. False also when the job is over.
    pub fn warning(&self, bytes: impl AsRef<[u8]>) -> bool {
        (self.host.warning)(self.number, bytes.as_ref().into())
    }

    /// See [`Job::stopping`].
    pub fn stopping(&self) -> bool {
        (self.host.stopping)(self.number)
    }
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporter").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Scoped threads depend on this.
const _: fn() = || {
    fn shared<T: Sync>() {}
    fn kept<T: Send + Sync + 'static>() {}
    shared::<Job>();
    kept::<Reporter>();
};
