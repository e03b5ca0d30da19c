//! What `new` gets: the function's name and settings.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::abi::{Host, RawContext};
use crate::failure::Failure;
use crate::logging::Log;

/// What `new` is given: the function's name and its settings.
///
/// Settings are in the function's section of the configuration, as `setting.NAME = value`:
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
///
/// A setting that `new` never reads is probably misspelled: gm-native logs a warning with its name and the closest name
/// that `new` did read.
pub struct Context {
    function: String,
    settings: Vec<(String, String)>,
    host: &'static Host,
    /// The names that were read, whether they were set or not.
    wanted: Mutex<BTreeSet<String>>,
}

impl Context {
    pub(crate) fn new(raw: &RawContext<'_>) -> Self {
        let settings = raw.settings.iter().map(|setting| (setting.name.to_string(), setting.value.to_string()));
        Self {
            function: raw.function.to_string(),
            settings: settings.collect(),
            host: raw.host,
            wanted: Mutex::default(),
        }
    }

    pub(crate) fn host(&self) -> &'static Host {
        self.host
    }

    /// The function the object is made for, as registered with the job servers.
    pub fn function(&self) -> &str {
        &self.function
    }

    /// All settings of the function, in no particular order. All of them then count as read.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs().inspect(|(name, _)| self.want(name))
    }

    /// The same, without counting them as read.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// One setting, if it is set.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.want(name);
        self.pairs().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// A required setting.
    ///
    /// # Errors
    ///
    /// It is missing; the message says what to write into which section.
    pub fn required(&self, name: &str) -> Result<&str, Failure> {
        self.setting(name).ok_or_else(|| {
            let text =
                format!("setting.{name} is missing: write `setting.{name} = ...` into the section [{}]", self.function);
            Failure::new(text + &self.misspelling(name))
        })
    }

    /// A required setting, parsed as any type that implements `FromStr`, such as a number.
    ///
    /// # Errors
    ///
    /// If the setting is missing or cannot be parsed. The message names the section and the key, but not the value,
    /// which may be a secret.
    pub fn parse<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, Failure> {
        parse(self.function(), name, self.required(name)?)
    }

    /// The same, with a default for a setting that is missing.
    ///
    /// # Errors
    ///
    /// If the setting is set but cannot be parsed.
    pub fn parse_or<T: FromStr<Err: Display>>(&self, name: &str, default: T) -> Result<T, Failure> {
        self.setting(name).map_or(Ok(default), |value| parse(self.function(), name, value))
    }

    /// A log for what happens outside a job.
    pub fn log(&self) -> Log {
        Log::new(0, self.host)
    }

    /// Records that a setting was read.
    pub(crate) fn want(&self, name: &str) {
        let mut wanted = self.wanted();
        if !wanted.contains(name) {
            wanted.insert(name.to_owned());
        }
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sentence for each setting that was never read.
    pub(crate) fn unread(&self) -> Vec<String> {
        let names: Vec<&str> = self.pairs().map(|(name, _)| name).collect();
        unread_settings(&names, &self.wanted(), "new()")
    }

    /// A hint for an error about a missing setting: the one that is set and was probably meant.
    pub(crate) fn misspelling(&self, name: &str) -> String {
        let wanted = self.wanted();
        let unread = self.pairs().map(|(set, _)| set).filter(|set| !wanted.contains(*set));
        nearest(name, unread).map_or(String::new(), |set| format!("; is setting.{set} misspelt?"))
    }
}

/// A sentence for each of the settings `names` that is not among those `wanted` in `reader`, the function that reads
/// settings.
pub fn unread_settings(names: &[&str], wanted: &BTreeSet<String>, reader: &str) -> Vec<String> {
    let absent = || wanted.iter().map(String::as_str).filter(|name| !names.contains(name));
    let sentence = |name: &str| match nearest(name, absent()) {
        Some(meant) => format!("setting.{name} is never read; did you mean setting.{meant}?"),
        None => format!("setting.{name} is never read; remove it, or read it in {reader}"),
    };
    names.iter().filter(|name| !wanted.contains(**name)).map(|name| sentence(name)).collect()
}

/// How similar two names must be for one to count as a misspelling of the other, as for configuration keys.
const ALIKE: f64 = 0.8;

/// The most similar name, if any is similar enough.
fn nearest<'a>(name: &str, others: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_ascii_lowercase().replace('-', "_");
    let name = plain(name);
    let scored = others.map(|other| (strsim::jaro_winkler(&name, &plain(other)), other));
    scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, other)| other)
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Names only: a value may be a password.
        let names: Vec<&str> = self.pairs().map(|(name, _)| name).collect();
        f.debug_struct("Context").field("function", &self.function()).field("settings", &names).finish()
    }
}

fn parse<T: FromStr<Err: Display>>(function: &str, name: &str, value: &str) -> Result<T, Failure> {
    value.parse().map_err(|error| malformed(function, name, &error))
}

/// The error for a setting that is set but invalid.
pub(crate) fn malformed(function: &str, name: &str, error: &dyn Display) -> Failure {
    Failure::new(format!("setting.{name} of the section [{function}]: {error}"))
}
