//! Write a function, build a library, copy it into a directory: gm-native serves it as a Gearman function.
//!
//! ```
//! use gm_plugin_api::{function, Job, JobResult, Log};
//!
//! #[function]
//! fn reverse_string(job: &Job, log: &mut Log) -> JobResult {
//!     let reversed: Vec<u8> = job.workload().iter().rev().copied().collect();
//!     log.push("Success");
//!     Ok(reversed.into())
//! }
//! # use gm_plugin_api::testing::TestJob;
//! # assert_eq!(TestJob::new("hello").run(reverse_string).text(), "olleh");
//! ```
//!
//! With `crate-type = ["cdylib", "rlib"]` in its `Cargo.toml` this is a plugin. The full guide is the project's
//! `docs/writing-plugins.md`; in short:
//!
//! - [`Job`] is a job's workload, unique id and handle, and what can be sent to its caller while it runs
//!   (status, data, warnings). [`Log`] writes to the manager's log.
//! - A function returns any type that implements [`Reply`]: bytes, text, nothing, or a `Result` of those. `?` turns any
//!   error into a [`Failure`].
//! - A panic fails the job, but the worker keeps running (unless you build with `panic = "abort"`).
//! - To keep state between jobs, put [`function`] on the `impl` block of a type with `new` and `run`. `new` gets a
//!   [`Context`] with the function's settings.
//! - [`testing`] runs functions without a server.
//!
//! # Features
//!
//! All of them are off by default.
//!
//! | feature | what it does |
//! |---|---|
//! | `json` | `Job::json` reads the workload as a type, `Json` writes a type as the result |
//! | `serde` | `Context::settings` reads the settings as a struct |
//! | `log` | records of the `log` crate go to the manager's log |
//! | `tracing` | events of the `tracing` crate go to the manager's log |

#[doc(hidden)]
pub mod abi;
#[doc(hidden)]
pub mod c_abi;
mod context;
mod failure;
#[cfg(feature = "log")]
mod forward_log;
#[cfg(feature = "tracing")]
mod forward_tracing;
mod glue;
mod job;
#[cfg(feature = "json")]
mod json;
mod logging;
#[cfg(not(feature = "json"))] // which turns `serde` on
mod missing;
mod output;
mod panics;
#[cfg(feature = "serde")]
mod settings;
pub mod testing;

/// Turns a `fn`, or a type with state, into a Gearman function.
///
/// # A function
///
/// Takes a job and a log, and returns a [`Reply`]. Its name is the name of the Gearman function. The library file must
/// have the same name, with or without `lib` in front.
///
/// ```
/// # use gm_plugin_api::{function, Job, Log};
/// #[function]
/// fn shout(job: &Job, _log: &mut Log) -> Vec<u8> {
///     job.workload().to_ascii_uppercase()
/// }
/// ```
///
/// # A type with state
///
/// Put the attribute on an `impl` block with `new` and `run` (and any other methods). `new` is called once in each
/// worker, before its first job, and `run` for each job. The object is dropped when the worker exits. After a panic in
/// `run`, the object is dropped, and `new` is called again before the next job. The type's name is the name of the
/// Gearman function.
///
/// ```
/// # use gm_plugin_api::{function, Context, Failure, Job, JobResult, Log};
/// struct Count {
///     jobs: u64,
/// }
///
/// #[function]
/// impl Count {
///     fn new(cx: &Context) -> Result<Self, Failure> {
///         Ok(Self { jobs: cx.parse_or("start", 0)? })
///     }
///
///     fn run(&mut self, _job: &Job, _log: &mut Log) -> JobResult {
///         self.jobs += 1;
///         Ok(self.jobs.to_string().into())
///     }
/// }
/// ```
///
/// `new` may return `Self`, or a `Result` of it whose error is `Into<Failure>`.
///
/// # Options
///
/// - `name = "fetch-url"`: another name. ASCII letters, digits, `_`, `-`, `.` and `::`.
/// - `prefix = "x_"`: a prefix for the exported symbol, for `gm-native -p x_`. The function is registered without it.
///
/// # What it adds
///
/// The item itself does not change, and can be called and tested as written. The attribute adds an exported static, by
/// which the manager finds the function. With `cfg(test)`, nothing is exported.
pub use gm_plugin_macros::function;

pub use crate::context::Context;
pub use crate::failure::Failure;
pub use crate::glue::Object;
pub use crate::job::{Job, Reporter};
#[cfg(feature = "json")]
pub use crate::json::Json;
pub use crate::logging::Log;
pub use crate::output::{JobResult, Output, Reply};

/// The code that `#[function]` generates depends on this. Do not use it yourself: it may change without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::__about as about;
    pub use crate::glue::{About, Made, ObjectFunction, Plain, PlainFunction};
}

/// The code in the guide is compiled and run with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/writing-plugins.md")]
pub struct Guide;

/// So is the guide for PHP users.
#[cfg(doctest)]
#[doc = include_str!("../../docs/migrating.md")]
pub struct Migrating;

/// And the page that a registry shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
