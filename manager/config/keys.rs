//! The table of keys: the one place that defines a key's name, default, meaning and check. Reading, the suggestion for
//! an unknown key, the dump, the comparison of two configurations and the tables of docs/configuration.md all use it.

use std::time::Duration;

use super::choice::{GROUP, LISTEN, LOG_TARGET, LOST_JOB_POLICY, PATH, SURGE, TEXT, USER};
use super::function::FunctionConfig;
use super::host::HOSTS;
use super::list::{DIRECTORIES, NAMES, NAMES_OR_ALL, items};
use super::model::Config;
use super::value::{
    AT_LEAST_ONE, COUNT, JOBS, LIMIT, MICROSECONDS, NONE, NONZERO_SECONDS, NONZERO_SIZE, PACKET, PRIORITY, SECONDS,
    SIZE, SIZE_LIMIT, SWITCH, VERBOSITY, WINDOW, WORKERS, is_unset, number,
};

/// One key.
pub struct ConfigKey {
    /// Its name in an ini.
    pub name: &'static str,
    /// The value if you do not set it: one that could be in the file, or words.
    pub default: &'static str,
    /// What it means to an operator; a clause, without a full stop.
    pub meaning: &'static str,
    /// Whether it may be repeated as `key[] = item`.
    pub list: bool,
    /// Whether a reload cannot apply it.
    pub needs_restart: bool,
    /// Whether 0 means no time at all, so that `none`, by which people mean no limit, needs a warning.
    pub(super) ends_at_zero: bool,
    /// What 0 would do, if no one can want that.
    zero_warning: Option<&'static str>,
    /// Whether it is read and checked but has no effect yet.
    pub not_yet: bool,
    /// The shortest duration above 0; a shorter one would keep the manager, or a worker, busy with nothing else.
    at_least: Option<Duration>,
    /// How it is set in the manager's section.
    pub(super) global: Option<KeyField<Config>>,
    /// How it is set in a function's section.
    pub(super) function: Option<KeyField<FunctionConfig>>,
}

/// The sections a key may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyScope {
    /// Only in `[GearmanManager]`.
    Global,
    /// Only in a function's section.
    Function,
    /// In both; the function's own value overrides.
    Both,
}

/// How a key reaches its field.
pub(super) struct KeyField<T: 'static> {
    /// Sets it from a text; the error says why the text is invalid.
    pub set: fn(&mut T, &str) -> Result<(), String>,
    /// Its text, as in an ini; `None` if a function does not set it.
    pub show: fn(&T) -> Option<String>,
    /// A valid value.
    pub example: &'static str,
}

impl<T: Default> KeyField<T> {
    /// What is wrong with a text; for a list, with each of its items.
    pub(super) fn problems(&self, list: bool, text: &str) -> Vec<String> {
        let problem = |text: &str| (self.set)(&mut T::default(), text).err();
        let items: Vec<&str> = if list { items(text).collect() } else { Vec::new() };
        match items.is_empty() {
            true => problem(text).into_iter().collect(),
            false => items.into_iter().filter_map(problem).collect(),
        }
    }
}

impl ConfigKey {
    const fn new(name: &'static str, default: &'static str, meaning: &'static str) -> ConfigKey {
        ConfigKey {
            name,
            default,
            meaning,
            list: false,
            needs_restart: false,
            ends_at_zero: false,
            zero_warning: None,
            not_yet: false,
            at_least: None,
            global: None,
            function: None,
        }
    }

    const fn global(self, field: KeyField<Config>) -> ConfigKey {
        ConfigKey { global: Some(field), ..self }
    }

    const fn function(self, field: KeyField<FunctionConfig>) -> ConfigKey {
        ConfigKey { function: Some(field), ..self }
    }

    const fn list(self) -> ConfigKey {
        ConfigKey { list: true, ..self }
    }

    const fn needs_restart(self) -> ConfigKey {
        ConfigKey { needs_restart: true, ..self }
    }

    const fn ends_at_zero(self) -> ConfigKey {
        ConfigKey { ends_at_zero: true, ..self }
    }

    const fn warns_at_zero(self, why: &'static str) -> ConfigKey {
        ConfigKey { zero_warning: Some(why), ..self }
    }

    const fn not_yet(self) -> ConfigKey {
        ConfigKey { not_yet: true, ..self }
    }

    const fn at_least_ms(self, millis: u64) -> ConfigKey {
        ConfigKey { at_least: Some(Duration::from_millis(millis)), ..self }
    }

    /// The shortest duration above 0 that is used as written.
    pub fn least(&self) -> Option<String> {
        self.at_least.map(|least| (SECONDS.show)(&least))
    }

    /// The value to use instead of a duration that is too short.
    pub(super) fn raised(&self, text: &str) -> Option<String> {
        // Less than a microsecond parses as 0 microseconds, but does not mean 0.
        let is_zero = |value: Duration| value.is_zero() && !text.contains(|c: char| matches!(c, '1'..='9'));
        let is_short = |least: &Duration| (SECONDS.read)(text).is_ok_and(|value| !is_zero(value) && value < *least);
        self.at_least.filter(is_short).map(|least| (SECONDS.show)(&least))
    }

    /// The warning for a text that is valid in this section, but for which another value is used, or whose effect no
    /// one can want.
    pub(super) fn warning(&self, text: &str, place: &str) -> Option<String> {
        let name = self.name;
        if let Some(taken) = self.raised(text) {
            return Some(format!("{name} = {text}{place} is too short and is taken as {taken}, the least; write that"));
        }
        if self.ends_at_zero && number(text) == "0" && text != "0" {
            return Some(format!("{name} = {text}{place} is 0, no time at all; write 87600h for a long one"));
        }
        let why = self.zero_warning.filter(|_| (SECONDS.read)(text).is_ok_and(|value| value.is_zero()))?;
        Some(format!("{name} = {text}{place} is no time at all: {why}"))
    }

    /// The sections it may be in.
    pub fn scope(&self) -> KeyScope {
        match (&self.global, &self.function) {
            (Some(_), Some(_)) => KeyScope::Both,
            (Some(_), None) => KeyScope::Global,
            (None, _) => KeyScope::Function,
        }
    }
}

/// The key of that name in the manager's section.
pub(super) fn global(name: &str) -> Option<(&'static ConfigKey, &'static KeyField<Config>)> {
    KEYS.iter().filter(|key| key.name == name).find_map(|key| Some((key, key.global.as_ref()?)))
}

/// The key of that name in a function's section.
pub(super) fn function(name: &str) -> Option<(&'static ConfigKey, &'static KeyField<FunctionConfig>)> {
    KEYS.iter().filter(|key| key.name == name).find_map(|key| Some((key, key.function.as_ref()?)))
}

/// A field that always has a value.
macro_rules! plain {
    ($field:ident, $form:expr) => {
        KeyField {
            set: |to, text| {
                to.$field = ($form.read)(text)?;
                Ok(())
            },
            show: |from| Some(($form.show)(&from.$field)),
            example: $form.example,
        }
    };
}

/// A global field that may be unset: `none`, 0 and an empty value unset it.
macro_rules! optional {
    ($field:ident, $form:expr) => {
        KeyField {
            set: |to, text| {
                to.$field = if is_unset(text) { None } else { Some(($form.read)(text)?) };
                Ok(())
            },
            show: |from| Some(from.$field.as_ref().map_or(NONE.into(), $form.show)),
            example: $form.example,
        }
    };
}

/// A function's field that overrides the global one.
macro_rules! own {
    ($field:ident, $form:expr) => {
        KeyField {
            set: |to, text| {
                to.$field = Some(($form.read)(text)?);
                Ok(())
            },
            show: |from| from.$field.as_ref().map($form.show),
            example: $form.example,
        }
    };
}

/// A function's number of workers: 0 means unset, as in GearmanManager.
macro_rules! own_workers {
    ($field:ident) => {
        KeyField {
            set: |to, text| {
                to.$field = Some((WORKERS.read)(text)?).filter(|count| *count != 0);
                Ok(())
            },
            show: |from| from.$field.as_ref().map(WORKERS.show),
            example: WORKERS.example,
        }
    };
}

/// Every key, in the order of the documentation.
pub static KEYS: &[ConfigKey] = &[
ConfigKey::new(
"worker_dir",
"./workers",
"directories the libraries are in; if two have the same function, the one named later is used",
)
.global(plain!(worker_dirs, DIRECTORIES))
.list(),
ConfigKey::new("include", "*", "functions to register; `*` is all").global(plain!(include, NAMES_OR_ALL)).list(),
ConfigKey::new("exclude", "", "functions to leave out, also those in `include`").global(plain!(exclude, NAMES)).list(),
ConfigKey::new("count", "0", "workers that serve all functions except the `dedicated_only` ones")
.global(plain!(count, WORKERS)),
ConfigKey::new("count", "0", "the least number of workers that serve the function, dedicated or not")
.function(own_workers!(count)),
ConfigKey::new(
"dedicated_count",
"1 if `count` is 0, else 0",
"workers for each function that serve only that function, unless its section overrides it",
)
.global(KeyField {
set: |to, text| {
to.dedicated_count = Some((WORKERS.read)(text)?).filter(|count| *count != 0);
Ok(())
},
show: |from| Some(from.default_dedicated_count().to_string()),
example: WORKERS.example,
}),
ConfigKey::new("dedicated_count", "as in `[GearmanManager]`", "workers that serve only this function")
.function(own_workers!(dedicated_count)),
ConfigKey::new("dedicated_only", "0", "only dedicated workers serve the function; needs a `dedicated_count`")
.function(plain!(dedicated_only, SWITCH)),
ConfigKey::new(
"priority",
"0",
"-5 to 5: a worker serves its function with the highest priority first; gearmand 1.1.x only, 2.x takes turns",
)
.function(plain!(priority, PRIORITY)),
ConfigKey::new(
"host",
"127.0.0.1",
"job servers, HOST[:PORT] each; the default port is 4730; `[::1]:4730` for IPv6",
)
.global(plain!(hosts, HOSTS))
.list(),
ConfigKey::new("prefix", "", "prefix of the entry symbols: a library exports this followed by the function's name")
.global(plain!(prefix, TEXT)),
ConfigKey::new("auto_update", "1", "watch the worker directories for new code, and for new and removed functions")
.global(plain!(auto_update, SWITCH)),
ConfigKey::new("max_worker_lifetime", "3600", "how long a worker lives; checked between jobs")
.global(plain!(max_worker_lifetime, SECONDS))
.at_least_ms(1000),
ConfigKey::new("worker_restart_splay", "600", "each worker adds a random part of this to its lifetime")
.global(plain!(worker_restart_splay, SECONDS)),
ConfigKey::new("worker_initial_spawn_splay", "0", "pause between the starts of two workers; a plain number is microseconds")
.global(plain!(worker_initial_spawn_splay, MICROSECONDS)),
ConfigKey::new("max_runs_per_worker", "0", "jobs after which a worker is replaced; 0 is no limit")
.global(plain!(max_runs, JOBS)),
ConfigKey::new("timeout", "none", "how long a job may run")
.global(optional!(timeout, LIMIT))
.function(own!(timeout, LIMIT))
.at_least_ms(1),
ConfigKey::new("timeout_grace", "5", "time from SIGTERM to SIGKILL for a worker whose job is past its `timeout`")
.global(plain!(timeout_grace, SECONDS))
.function(own!(timeout_grace, SECONDS))
.ends_at_zero(),
ConfigKey::new("on_timeout", "fail", "what happens to a job past its `timeout`: `fail` fails it, `retry` requeues it")
.global(plain!(on_timeout, LOST_JOB_POLICY))
.function(own!(on_timeout, LOST_JOB_POLICY)),
ConfigKey::new("on_crash", "retry", "what happens to a job whose worker died before it answered: `retry` requeues it, `fail` fails it")
.global(plain!(on_crash, LOST_JOB_POLICY))
.function(own!(on_crash, LOST_JOB_POLICY)),
ConfigKey::new("max_attempts", "3", "a job that has killed this many workers fails, and its caller gets the cause")
.global(plain!(max_attempts, AT_LEAST_ONE))
.function(own!(max_attempts, AT_LEAST_ONE)),
ConfigKey::new("max_memory", "none", "a worker that uses more memory is replaced between two jobs")
.global(optional!(max_memory, SIZE_LIMIT))
.function(own!(max_memory, SIZE_LIMIT)),
ConfigKey::new("max_memory_hard", "none", "a worker never gets more memory than this; it dies in the job that asks for more")
.global(optional!(max_memory_hard, SIZE_LIMIT))
.function(own!(max_memory_hard, SIZE_LIMIT)),
ConfigKey::new("prefetch", "1", "jobs a worker may hold while its jobs are short, 1 to 1024")
.global(plain!(prefetch, WINDOW))
.function(own!(prefetch, WINDOW)),
ConfigKey::new("prefetch_hold", "1ms", "the longest wait that prefetching may cause: a worker holds only as many jobs as it can finish in this time, and a job that runs longer stops prefetching for a while")
.global(plain!(prefetch_hold, SECONDS))
.function(own!(prefetch_hold, SECONDS)),
ConfigKey::new("prefetch_probation", "1000", "how many jobs in a row have to be shorter than `prefetch_hold` before a worker prefetches")
.global(plain!(prefetch_probation, COUNT))
.function(own!(prefetch_probation, COUNT)),
ConfigKey::new("rollout_surge", "25%", "workers that a rollout may add: a number, or a percentage of the planned workers, rounded up")
.global(plain!(rollout_surge, SURGE))
.function(own!(rollout_surge, SURGE)),
ConfigKey::new("canary_seconds", "5", "how long the canary of a new version is watched before the other workers are replaced")
.global(plain!(canary_seconds, SECONDS))
.function(own!(canary_seconds, SECONDS)),
ConfigKey::new("canary_jobs", "20", "the watch ends earlier after this many jobs; if this or `canary_seconds` is 0, a new version only has to start")
.global(plain!(canary_jobs, JOBS))
.function(own!(canary_jobs, JOBS)),
ConfigKey::new("keep_versions", "3", "earlier versions of a library to keep for a rollback, in addition to those in use")
.global(plain!(keep_versions, AT_LEAST_ONE)),
ConfigKey::new("start_timeout", "30", "limit for each function of a worker to start: loading its library, and its `new()`")
.global(plain!(start_timeout, NONZERO_SECONDS))
.function(own!(start_timeout, NONZERO_SECONDS)),
ConfigKey::new("probe_timeout", "10", "limit for the check of one library").global(plain!(probe_timeout, NONZERO_SECONDS)),
ConfigKey::new("stop_timeout", "5", "how long a worker may take to exit after its last job")
.global(plain!(stop_timeout, SECONDS))
.ends_at_zero(),
ConfigKey::new("graceful_shutdown_wait_time", "60", "time from the stop signal to SIGKILL; also how long a job may go on after \
the manager was killed")
.global(plain!(graceful_shutdown_wait_time, SECONDS))
.ends_at_zero(),
ConfigKey::new("backoff_max", "30", "the longest pause before a worker that keeps dying is started again")
.global(plain!(backoff_max, NONZERO_SECONDS))
.at_least_ms(10),
ConfigKey::new("healthy_after", "60", "a worker that has lived this long resets the pauses between restarts")
.global(plain!(healthy_after, SECONDS))
.at_least_ms(1000)
.warns_at_zero("each worker ends the pauses at once, so one that keeps dying is started again without any; write 60, \
or 87600h for a long one"),
ConfigKey::new("connect_timeout", "5", "limit for connecting to a job server; looking up its name may take twice as long")
.global(plain!(connect_timeout, NONZERO_SECONDS)),
ConfigKey::new("echo_interval", "30", "how often a silent connection is tested with an ECHO; 0 is never")
.global(plain!(echo_interval, SECONDS))
.at_least_ms(100),
ConfigKey::new("echo_timeout", "10", "limit for the answer to that ECHO").global(plain!(echo_timeout, NONZERO_SECONDS)),
ConfigKey::new("response_timeout", "10", "limit for a worker that runs no job to respond to the manager, which then kills and replaces it; \
0 is never")
.global(plain!(response_timeout, SECONDS))
.at_least_ms(100),
ConfigKey::new("queue_check", "30", "how often the queues of the job servers are checked; 0 is never")
.global(plain!(queue_check, SECONDS))
.at_least_ms(100),
ConfigKey::new(
"rescan_interval",
"30",
"how often the worker directories are scanned, in case an event was missed; 0 is never",
)
.global(plain!(rescan_interval, SECONDS))
.at_least_ms(100),
ConfigKey::new("settle_time", "50ms", "how long a file must stay unchanged before it is checked")
.global(plain!(settle_time, SECONDS)),
ConfigKey::new("max_packet", "256M", "the largest workload, result or exception; a job with a larger one fails").global(plain!(max_packet, PACKET)),
ConfigKey::new("max_plugin_size", "1G", "the largest library").global(plain!(max_plugin_size, NONZERO_SIZE)),
ConfigKey::new("crash_workload_max", "64K", "the largest workload to keep when its worker crashes; 0: none")
.global(plain!(crash_workload_max, SIZE)),
ConfigKey::new("crash_keep", "100", "crash reports to keep; 0: none is written").global(plain!(crash_keep, COUNT)),
ConfigKey::new("quarantine_keep", "1000", "jobs to keep in quarantine; 0: none").global(plain!(quarantine_keep, COUNT)),
ConfigKey::new("log_file", "stdout; with `daemon`: syslog", "a file, or the word `syslog` or `stdout`")
.global(plain!(log, LOG_TARGET)),
ConfigKey::new("verbose", "0", "0 to 5, or `v` to `vvvvv`; see Verbosity").global(plain!(verbose, VERBOSITY)),
ConfigKey::new("metrics_listen", "none", "port (of 127.0.0.1) or ADDRESS:PORT of the metrics page").not_yet()
.global(plain!(metrics_listen, LISTEN)),
ConfigKey::new("strict", "0", "a library that is refused, or a function that cannot be served, makes the start fail instead of being left out")
.global(plain!(strict, SWITCH)),
ConfigKey::new("strict_permissions", "0", "refuse libraries that others could change, even if the manager is not root")
.global(plain!(strict_permissions, SWITCH)),
ConfigKey::new("pid_file", "none", "file for the pid of the manager, which locks it")
.global(optional!(pid_file, PATH))
.needs_restart(),
ConfigKey::new("user", "none", "user to run as; needs root").global(optional!(user, USER)).needs_restart(),
ConfigKey::new("daemon", "0", "detach from the terminal").global(plain!(daemon, SWITCH)).needs_restart(),
ConfigKey::new("state_dir", "see Places", "directory for stored libraries, crash reports and the lock")
.global(optional!(state_dir, PATH))
.needs_restart(),
ConfigKey::new("control", "`control.sock` in the state directory", "socket on which the commands talk to the manager")
.global(optional!(control, PATH))
.needs_restart(),
ConfigKey::new("control_group", "none", "group whose members may look at the manager, and not change what it does")
.global(optional!(control_group, GROUP))
.needs_restart(),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Defaults that are words, not a value.
    const IN_WORDS: [&str; 4] = ["dedicated_count", "log_file", "state_dir", "control"];

    #[test]
    fn the_table_and_the_code_have_the_same_defaults() {
        for key in KEYS {
            let Some(field) = &key.global else { continue };
            let mut config = Config::default();
            if IN_WORDS.contains(&key.name) {
                continue;
            }
            let shown = (field.show)(&config);
            (field.set)(&mut config, key.default).unwrap_or_else(|problem| panic!("{}: {problem}", key.name));
            assert_eq!(config, Config::default(), "{}", key.name);
            // The host also shows its port.
            assert!(shown.is_some_and(|shown| shown.starts_with(key.default)), "{}", key.name);
        }
    }

    #[test]
    fn every_key_is_there_once_and_takes_its_example() {
        let mut seen = BTreeSet::new();
        for key in KEYS {
            for section in [key.global.is_some().then_some(0), key.function.is_some().then_some(1)] {
                assert!(section.is_none_or(|section| seen.insert((key.name, section))), "{} twice", key.name);
            }
            if let Some(field) = &key.global {
                assert_eq!((field.set)(&mut Config::default(), field.example), Ok(()), "{}", key.name);
            }
            if let Some(field) = &key.function {
                let mut own = FunctionConfig::default();
                assert_eq!((field.set)(&mut own, field.example), Ok(()), "{}", key.name);
                assert!((field.show)(&own).is_some(), "{}", key.name);
            }
            assert!(!key.meaning.ends_with('.') && !key.meaning.contains('|'), "{}", key.name);
        }
    }
}
