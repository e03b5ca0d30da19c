//! Runs a function with a test job, in the test's own process and without a server.
//!
//! The call works as it does in a worker, including panics; everything that the function sends to its caller and to the
//! log is collected.
//!
//! ```
//! use gm_plugin_api::testing::TestJob;
//! use gm_plugin_api::{Job, JobResult, Log, function};
//!
//! #[function]
//! fn halve(job: &Job, log: &mut Log) -> JobResult {
//!     let number: u64 = job.text()?.parse()?;
//!     job.status(1, 1);
//!     log.push("halved");
//!     Ok((number / 2).to_string().into())
//! }
//!
//! let outcome = TestJob::new("84").run(halve);
//! assert_eq!(outcome.text(), "42");
//! assert_eq!(outcome.status, [(1, 1)]);
//! assert_eq!(outcome.log_texts(), ["halved"]);
//!
//! let outcome = TestJob::new("many").run(halve);
//! assert_eq!(outcome.failure().message, "invalid digit found in string");
//! ```
//!
//! Tests may run in parallel, with one restriction: a `log` or `tracing` record from a thread that a function started
//! is attributed to the most recently started job in the process.

mod host;
mod outcome;

use std::marker::PhantomData;

use crate::abi::{RResult, RVec, RawContext, RawFail, RawJob, RawSetting, RawState, table};
use crate::glue::{self, Object, ObjectFunction};
use crate::{Job, Log, Reply};

pub use self::outcome::{Failed, Outcome, Record, Why};

/// A job for tests.
#[derive(Debug, Clone)]
pub struct TestJob {
    workload: Vec<u8>,
    function: String,
    handle: Vec<u8>,
    unique: Vec<u8>,
    stopping_after: Option<u64>,
    refused: bool,
}

impl TestJob {
    /// A job with this workload; everything else has a default value.
    pub fn new(workload: impl Into<Vec<u8>>) -> Self {
        Self {
            workload: workload.into(),
            function: "test".into(),
            handle: b"H:test:1".to_vec(),
            unique: Vec::new(),
            stopping_after: None,
            refused: false,
        }
    }

    /// Sets the name under which the job server knows the function.
    #[must_use]
    pub fn function(mut self, function: impl Into<String>) -> Self {
        self.function = function.into();
        self
    }

    /// Sets the handle.
    #[must_use]
    pub fn handle(mut self, handle: impl Into<Vec<u8>>) -> Self {
        self.handle = handle.into();
        self
    }

    /// Sets the unique id.
    #[must_use]
    pub fn unique(mut self, unique: impl Into<Vec<u8>>) -> Self {
        self.unique = unique.into();
        self
    }

    /// Simulates a worker that starts to drain: [`Job::stopping`] returns false `calls` times, then true.
    #[must_use]
    pub fn stopping_after(mut self, calls: u64) -> Self {
        self.stopping_after = Some(calls);
        self
    }

    /// Simulates a lost connection: status, data and warnings are refused.
    #[must_use]
    pub fn refused(mut self) -> Self {
        self.refused = true;
        self
    }

    /// Runs a plain function with this job.
    pub fn run<F, R, Kind>(self, function: F) -> Outcome
    where
        F: FnOnce(&Job, &mut Log) -> R,
        R: Reply<Kind>,
    {
        glue::prepare(&host::HOST);
        self.through(|raw| glue::run_with(raw, |job, log| function(job, log).reply()))
    }

    fn through(self, call: impl FnOnce(&RawJob<'_>) -> RResult<RVec<u8>, RawFail>) -> Outcome {
        host::collect(self.stopping_after, self.refused, |number| {
            call(&RawJob {
                size: size_of::<RawJob<'_>>(),
                number,
                handle: self.handle.as_slice().into(),
                unique: self.unique.as_slice().into(),
                function: self.function.as_str().into(),
                workload: self.workload.as_slice().into(),
                host: &host::HOST,
            })
        })
    }
}

impl<T: Into<Vec<u8>>> From<T> for TestJob {
    fn from(workload: T) -> Self {
        Self::new(workload)
    }
}

/// An object, made as a worker would make it, that runs one job after the other. After a panic it is made again.
pub struct TestObject<T: Object> {
    state: RawState,
    of: PhantomData<T>,
}

impl<T: Object> TestObject<T> {
    /// Calls `new` with settings: pairs of name (without `setting.`) and value.
    ///
    /// # Errors
    ///
    /// What `new` returned, or its panic.
    pub fn new(settings: &[(&str, &str)]) -> Result<Self, Failed> {
        let settings: Vec<RawSetting<'_>> =
            settings.iter().map(|(name, value)| RawSetting { name: (*name).into(), value: (*value).into() }).collect();
        let raw = RawContext {
            size: size_of::<RawContext<'_>>(),
            function: T::ABOUT.name.into(),
            settings: settings.as_slice().into(),
            host: &host::HOST,
        };
        let made = (table::<ObjectFunction<T>>().new())(&raw).into_result();
        made.map(|state| Self { state, of: PhantomData }).map_err(Failed::from)
    }

    /// Calls `run` with a job: a [`TestJob`], or just a workload.
    pub fn run(&mut self, job: impl Into<TestJob>) -> Outcome {
        let job = job.into();
        job.through(|raw| (table::<ObjectFunction<T>>().run())(self.state, raw))
    }
}

impl<T: Object> std::fmt::Debug for TestObject<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestObject").field("function", &T::ABOUT.name).finish_non_exhaustive()
    }
}

impl<T: Object> Drop for TestObject<T> {
    fn drop(&mut self) {
        (table::<ObjectFunction<T>>().drop())(self.state);
    }
}
