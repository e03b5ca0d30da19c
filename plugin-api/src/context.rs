//! What an object is made from.

use std::fmt::Display;
use std::str::FromStr;

use crate::abi::RawContext;
use crate::failure::Failure;
use crate::logging::Log;

/// What `new` is told: the function's name and its settings.
///
/// Settings stand in the function's section of the configuration, as `setting.NAME = value`:
///
/// ```ini
/// [fetch_url]
/// setting.agent = gm-native
/// setting.timeout_ms = 2500
/// ```
///
/// ```
/// use gm_plugin_api::{Context, Failure, Job, JobResult, Log, function};
///
/// struct FetchUrl {
///     agent: String,
///     timeout_ms: u64,
/// }
///
/// #[function(name = "fetch_url")]
/// impl FetchUrl {
///     fn new(cx: &Context) -> Result<Self, Failure> {
///         Ok(Self { agent: cx.required("agent")?.into(), timeout_ms: cx.parse_or("timeout_ms", 5000)? })
///     }
///
///     fn run(&mut self, _job: &Job, _log: &mut Log) -> JobResult {
///         Ok(format!("{} waits {} ms", self.agent, self.timeout_ms).into())
///     }
/// }
/// # use gm_plugin_api::testing::TestObject;
/// # let mut object = TestObject::<FetchUrl>::new(&[("agent", "a")]).unwrap();
/// # assert_eq!(object.run("").text(), "a waits 5000 ms");
/// ```
// As with `Job`: only ever lent.
#[repr(transparent)]
pub struct Context(pub(crate) RawContext<'static>);

impl Context {
    /// The function the object is made for, as registered with the job servers.
    pub fn function(&self) -> &str {
        self.0.function.as_str()
    }

    /// All settings of the function, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.settings.iter().map(|setting| (setting.name.as_str(), setting.value.as_str()))
    }

    /// One setting, where it is there.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// One setting that must be there.
    ///
    /// # Errors
    ///
    /// Where it is not; the message says what to write into which section.
    pub fn required(&self, name: &str) -> Result<&str, Failure> {
        self.setting(name).ok_or_else(|| missing(self.function(), name))
    }

    /// One setting that must be there, as a number or whatever else can be read from text.
    ///
    /// # Errors
    ///
    /// Where it is missing, or not such a value; the message names section and key. The value is not said: it may be a
    /// secret.
    pub fn parse<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, Failure> {
        parse(self.function(), name, self.required(name)?)
    }

    /// The same with a value for where it is missing.
    ///
    /// # Errors
    ///
    /// Where it is there and is not such a value.
    pub fn parse_or<T: FromStr<Err: Display>>(&self, name: &str, default: T) -> Result<T, Failure> {
        self.setting(name).map_or(Ok(default), |value| parse(self.function(), name, value))
    }

    /// A log for what happens outside a job.
    pub fn log(&self) -> Log {
        Log::new(0, self.0.host)
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Names only: a value may be a password.
        let names: Vec<&str> = self.iter().map(|(name, _)| name).collect();
        f.debug_struct("Context").field("function", &self.function()).field("settings", &names).finish()
    }
}

pub(crate) fn missing(function: &str, name: &str) -> Failure {
    Failure::new(format!("setting.{name} is missing: write `setting.{name} = ...` into the section [{function}]"))
}

fn parse<T: FromStr<Err: Display>>(function: &str, name: &str, value: &str) -> Result<T, Failure> {
    value.parse().map_err(|error| malformed(function, name, &error))
}

/// A setting that is there and wrong.
pub(crate) fn malformed(function: &str, name: &str, error: &dyn Display) -> Failure {
    Failure::new(format!("setting.{name} of the section [{function}]: {error}"))
}
