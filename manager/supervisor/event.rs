//! Every happening the manager decides on, as one value: it makes the log line, the JSON of `gm-native events`, and
//! what tests wait for.

mod death;

use std::time::Duration;

use serde::Serialize;

use super::life::Why;
use crate::logging::{Level, escape};

pub use death::{Death, DeathAt};

/// What happened.
///
/// A pid and a text are not told twice: [`EventLine`](crate::control::EventLine) has them, and a JSON object with a key
/// twice is read by nobody.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The manager begins.
    Starting {
        /// gm-native's version and revision.
        version: String,
        /// What it is called: config file and hash.
        instance: String,
        /// Where versions, lock and control socket are.
        state_dir: String,
    },
    /// Every planned worker is loaded.
    Started {
        /// Workers.
        workers: usize,
        /// Functions.
        functions: usize,
        /// From the manager's start, in seconds.
        seconds: f64,
    },
    /// Something in the configuration that works, and is probably not meant.
    ConfigWarning {
        /// One sentence.
        #[serde(skip)]
        text: String,
    },
    /// A file in worker_dir whose name or kind is not that of a library.
    FileNotTaken {
        /// Where.
        path: String,
        /// Why; follows the path.
        reason: String,
    },
    /// Two files for one function, or a directory named twice.
    FileWarning {
        /// One sentence.
        #[serde(skip)]
        text: String,
    },
    /// A worker_dir cannot be read; what it held before goes on being served.
    DirectoryFailed {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// A worker_dir holds no library any more. Several go on being served until one is there again; a single one goes.
    DirectoryEmptied {
        /// Which.
        path: String,
        /// For how long a single one goes on, in seconds.
        seconds: Option<f64>,
    },
    /// A library that cannot be used.
    LibraryRefused {
        /// Its function.
        function: String,
        /// Where it is.
        path: String,
        /// One sentence.
        reason: String,
        /// The version that goes on being served, if there is one.
        serving: Option<String>,
    },
    /// A library was checked and stored.
    FunctionFound {
        /// Its function.
        function: String,
        /// First 12 hexadecimal digits of its hash.
        version: String,
        /// Version of its crate.
        crate_version: String,
        /// Where it was found.
        path: String,
        /// The version before, if there was one.
        replaces: Option<String>,
    },
    /// A library works, and its author should know something.
    LibraryWarning {
        /// Its function.
        function: String,
        /// One sentence.
        #[serde(skip)]
        text: String,
    },
    /// A new version of a function that is served begins to be tried.
    RolloutStarted {
        /// The function.
        function: String,
        /// The version that is served.
        from: String,
        /// The new one.
        to: String,
    },
    /// A new version has proved good: it replaces the old one, worker by worker.
    RolloutPromoted {
        /// The function.
        function: String,
        /// The new version.
        version: String,
        /// Jobs its canary ran.
        jobs: u64,
        /// How long its canary served, in seconds.
        seconds: f64,
    },
    /// A new version is bad: it is not tried again until its content changes.
    RolloutStopped {
        /// The function.
        function: String,
        /// The bad version.
        version: String,
        /// What happened.
        reason: String,
        /// The version that goes on being served.
        serving: String,
    },
    /// A new version is not tried to the end: something else is asked for meanwhile.
    RolloutWithdrawn {
        /// The function.
        function: String,
        /// The version that is not tried any more.
        version: String,
        /// The version that goes on being served, where the function is still there.
        serving: Option<String>,
    },
    /// The last worker with an old version has gone.
    RolloutFinished {
        /// The function.
        function: String,
        /// The version every worker has now.
        version: String,
        /// Since the promotion, in seconds.
        seconds: f64,
    },
    /// An earlier version is served on request.
    RolledBack {
        /// The function.
        function: String,
        /// The version.
        version: String,
    },
    /// A library was removed: its workers leave.
    FunctionGone {
        /// Its function.
        function: String,
    },
    /// worker_dir holds no library.
    NothingToServe {
        /// The directories.
        dirs: String,
    },
    /// A worker process was started.
    WorkerStarted {
        /// Its process.
        #[serde(skip)]
        pid: i32,
        /// What it is for.
        functions: Vec<String>,
        /// Counts the starts of workers.
        generation: u64,
    },
    /// No process could be started.
    SpawnFailed {
        /// What it was for.
        functions: Vec<String>,
        /// What the system said.
        reason: String,
    },
    /// A worker cannot serve a library: it does not load there, or its `new()` failed.
    CannotServe {
        /// The worker's process.
        #[serde(skip)]
        pid: i32,
        /// Which function.
        function: String,
        /// One sentence.
        reason: String,
    },
    /// A library's `new()` ended its process with the exit code that asks not to be started again.
    GivenUp {
        /// The worker's process.
        #[serde(skip)]
        pid: i32,
        /// Which function.
        function: String,
        /// First 12 hexadecimal digits of its library's hash.
        version: String,
    },
    /// A worker takes jobs.
    WorkerServing {
        /// Its process.
        #[serde(skip)]
        pid: i32,
        /// What it serves.
        functions: Vec<String>,
        /// Counts the starts of workers.
        generation: u64,
        /// From its start, in seconds.
        seconds: f64,
    },
    /// A worker takes no more jobs.
    WorkerLeaving {
        /// Its process.
        #[serde(skip)]
        pid: i32,
        /// Why.
        why: Why,
    },
    /// A worker took leave of its job servers and is gone.
    WorkerLeft {
        /// Its process.
        #[serde(skip)]
        pid: i32,
        /// What it served.
        functions: Vec<String>,
        /// Jobs it ran.
        jobs: u64,
        /// What was not as it should be at its very end.
        note: Option<String>,
    },
    /// A worker is gone that should not be.
    WorkerDied(Death),
    /// A worker is killed by the manager.
    WorkerKilled {
        /// Its process.
        #[serde(skip)]
        pid: i32,
        /// Why.
        why: Why,
    },
    /// A function waits before it is tried again.
    BackingOff {
        /// The function, or the functions of the group.
        function: String,
        /// How long, in seconds.
        seconds: f64,
        /// Failures in a row.
        failures: u32,
    },
    /// A job server answers.
    ServerUp {
        /// As configured.
        server: String,
    },
    /// A job server answers no worker any more, or never did.
    ServerDown {
        /// As configured.
        server: String,
        /// What was seen.
        reason: String,
    },
    /// The configuration was read again and cannot be used.
    ReloadFailed {
        /// One sentence for each mistake.
        reason: String,
    },
    /// The configuration is read again, or the log opened anew.
    Reloaded {
        /// What was done.
        #[serde(skip)]
        text: String,
    },
    /// The manager stops: workers finish their jobs and leave.
    Draining {
        /// The signal.
        by: String,
        /// Workers still there.
        workers: usize,
        /// How long they have, in seconds.
        seconds: f64,
    },
    /// Everything is over.
    Stopped {
        /// From the signal on, in seconds.
        seconds: f64,
    },
    /// Something failed that does not stop the work.
    Trouble {
        /// One sentence.
        #[serde(skip)]
        text: String,
    },
}

impl Event {
    /// From which verbosity on the log shows it.
    pub fn level(&self) -> Level {
        match self {
            Self::LibraryRefused { .. } | Self::CannotServe { .. } | Self::SpawnFailed { .. } => Level::Error,
            Self::GivenUp { .. } => Level::Error,
            Self::WorkerDied(_) | Self::Trouble { .. } | Self::DirectoryFailed { .. } => Level::Error,
            Self::RolloutStopped { .. } => Level::Error,
            Self::RolloutStarted { .. } | Self::RolloutPromoted { .. } | Self::RolloutFinished { .. } => Level::Info,
            Self::RolledBack { .. } | Self::RolloutWithdrawn { .. } => Level::Info,
            Self::DirectoryEmptied { .. } => Level::Warn,
            Self::ServerDown { .. } | Self::BackingOff { .. } | Self::NothingToServe { .. } => Level::Warn,
            Self::ConfigWarning { .. } | Self::FileWarning { .. } | Self::LibraryWarning { .. } => Level::Warn,
            Self::WorkerKilled { why: Why::Replaced | Why::Surplus, .. } => Level::Proc,
            Self::WorkerKilled { .. } => Level::Warn,
            Self::Starting { .. } | Self::Started { .. } | Self::Draining { .. } | Self::Stopped { .. } => Level::Info,
            Self::FunctionFound { .. } | Self::FunctionGone { .. } | Self::ServerUp { .. } => Level::Info,
            Self::Reloaded { .. } => Level::Info,
            Self::ReloadFailed { .. } => Level::Error,
            Self::WorkerStarted { .. } | Self::WorkerServing { .. } | Self::FileNotTaken { .. } => Level::Proc,
            Self::WorkerLeaving { .. } | Self::WorkerLeft { .. } => Level::Proc,
        }
    }

    /// The log line. What came from outside is escaped.
    pub fn line(&self) -> String {
        match self {
            Self::Starting { version, instance, state_dir } => {
                format!("gm-native {version} starts as {instance}; state directory {state_dir}")
            }
            Self::Started { workers, functions, seconds } => {
                format!("started: {workers} workers for {functions} functions loaded after {seconds:.3} s")
            }
            Self::ConfigWarning { text }
            | Self::FileWarning { text }
            | Self::Reloaded { text }
            | Self::Trouble { text } => text.clone(),
            Self::ReloadFailed { reason } => {
                let reasons: Vec<&str> = reason.lines().collect();
                format!("SIGHUP: the configuration cannot be used, so the old one holds: {}", reasons.join("; "))
            }
            Self::FileNotTaken { path, reason } => format!("{} {reason}", escape(path)),
            Self::DirectoryFailed { path, reason } => {
                format!("worker_dir {} cannot be read: {reason}; what it held before goes on", escape(path))
            }
            Self::DirectoryEmptied { path, seconds } => {
                let end =
                    seconds.map_or("until one is there again".into(), |s| format!("for {s} s, if none comes back"));
                format!("worker_dir {} holds no library any more; what it held goes on {end}", escape(path))
            }
            Self::LibraryRefused { function, path, reason, serving } => {
                let goes_on = serving.as_ref().map_or(String::new(), |v| format!("; version {v} goes on being served"));
                format!("{function}: {} cannot be used: {reason}{goes_on}", escape(path))
            }
            Self::FunctionFound { function, version, crate_version, path, replaces } => {
                let replaces = replaces.as_ref().map_or(String::new(), |old| format!(", replaces {old}"));
                format!("{function}: version {version} (crate {crate_version}) from {}{replaces}", escape(path))
            }
            Self::LibraryWarning { function, text } => format!("{function}: {text}"),
            Self::RolloutStarted { function, from, to } => {
                format!("{function}: version {to} is tried by one worker beside version {from}")
            }
            Self::RolloutPromoted { function, version, jobs, seconds } => {
                format!(
                    "{function}: version {version} is good after {jobs} jobs in {seconds:.3} s; every worker gets it"
                )
            }
            Self::RolloutStopped { function, version, reason, serving } => format!(
                "{function}: version {version} is given up: {}; version {serving} goes on; it is not tried again until \
                 the file changes or `gm-native retry {function}` is said",
                escape(reason)
            ),
            Self::RolloutWithdrawn { function, version, serving } => {
                let goes_on = serving.as_ref().map_or(String::new(), |v| format!("; version {v} goes on"));
                format!("{function}: version {version} is not tried any more: it is not what is asked for now{goes_on}")
            }
            Self::RolloutFinished { function, version, seconds } => {
                format!("{function}: every worker has version {version}, {seconds:.3} s after it was found good")
            }
            Self::RolledBack { function, version } => {
                format!("{function}: version {version} is served on request, until the file in worker_dir changes")
            }
            Self::FunctionGone { function } => format!("{function}: its library is gone, its workers leave"),
            Self::NothingToServe { dirs } => {
                format!("no library in {} yet: copy one there and it is served", escape(dirs))
            }
            Self::WorkerStarted { pid, functions, generation } => {
                format!("{}: worker {pid} started, generation {generation}", several(functions))
            }
            Self::SpawnFailed { functions, reason } => {
                format!("{}: no worker could be started: {reason}", several(functions))
            }
            Self::CannotServe { pid, function, reason } => {
                format!("{function}: worker {pid} cannot serve it: {}", escape(reason))
            }
            Self::GivenUp { pid, function, version } => format!(
                "{function}: worker {pid} exited with code 125 in its new(): version {version} is not started again; \
                 another one is, as soon as it is there"
            ),
            Self::WorkerServing { pid, functions, seconds, .. } => {
                format!("{}: worker {pid} serves after {seconds:.3} s", several(functions))
            }
            Self::WorkerLeaving { pid, why } => format!("worker {pid} leaves: {}", words(*why)),
            Self::WorkerLeft { pid, functions, jobs, note } => {
                let note = note.as_ref().map_or(String::new(), |note| format!("; {note}"));
                format!("{}: worker {pid} has left after {jobs} jobs{note}", several(functions))
            }
            Self::WorkerDied(death) => death.line(),
            Self::WorkerKilled { pid, why } => format!("worker {pid} is killed: {}", words(*why)),
            Self::BackingOff { function, seconds, failures } => {
                format!("{function}: failed {failures} times in a row; the next try is in {seconds:.1} s")
            }
            Self::ServerUp { server } => format!("job server {server} answers"),
            Self::ServerDown { server, reason } => {
                format!("job server {server} does not answer: {}; it is tried again and again", escape(reason))
            }
            Self::Draining { by, workers, seconds } => format!(
                "{by}: {workers} workers take no more jobs and finish those they have, for {seconds:.0} s at most"
            ),
            Self::Stopped { seconds } => format!("stopped after {seconds:.3} s"),
        }
    }

    /// The process the line is about, where it is not the manager.
    pub fn pid(&self) -> Option<i32> {
        match self {
            Self::WorkerStarted { pid, .. } | Self::WorkerServing { pid, .. } | Self::CannotServe { pid, .. } => {
                Some(*pid)
            }
            Self::GivenUp { pid, .. } => Some(*pid),
            Self::WorkerLeaving { pid, .. } | Self::WorkerLeft { pid, .. } | Self::WorkerKilled { pid, .. } => {
                Some(*pid)
            }
            Self::WorkerDied(death) => Some(death.pid),
            _ => None,
        }
    }
}

/// A worker's functions, as a line begins.
pub fn several(functions: &[String]) -> String {
    match functions {
        [] => "no function".into(),
        [only] => only.clone(),
        [first, second] => format!("{first}, {second}"),
        [first, .., last] => format!("{first} ... {last} ({} functions)", functions.len()),
    }
}

fn words(why: Why) -> &'static str {
    match why {
        Why::Stop => "the manager stops",
        Why::Replaced => "a newer one takes its place",
        Why::Surplus => "it is one more than planned",
        Why::ByItself => "it was asked to by a signal",
        Why::StartTimeout => "it was not loaded within start_timeout",
        Why::LeaveTimeout => "it did not leave in time",
        Why::CannotServe => "it cannot serve its function",
    }
}

/// Seconds for an event.
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::EventLine;

    fn death(at: DeathAt) -> Event {
        Event::WorkerDied(Death {
            pid: 4711,
            functions: vec!["reverse_string".into()],
            end: "killed by SIGSEGV".into(),
            at,
            version: Some("3f2a91c04d11".into()),
            generation: 7,
            jobs: 812,
            peak_mib: 41,
        })
    }

    #[test]
    fn the_line_of_a_crash() {
        let job = DeathAt::Job {
            function: "reverse_string".into(),
            handle: "H:host:12".into(),
            unique: "u1\nERROR forged".into(),
            seconds: 1.204,
            sending: false,
        };
        assert_eq!(
            death(job).line(),
            "reverse_string: worker 4711 killed by SIGSEGV in job H:host:12 (unique u1\\nERROR forged) after 1.204 s; \
             version 3f2a91c04d11, generation 7, 812 jobs before, peak 41 MiB; handed back"
        );
    }

    /// Through what carries them to followers, which has a pid and a text for every event.
    #[test]
    fn an_event_is_one_flat_json_object() {
        let left = Event::WorkerLeaving { pid: 3, why: Why::LeaveTimeout };
        let sentence = |text: &str| text.to_owned();
        for (event, own) in [
            (left, r#""event":"worker_leaving","why":"leave_timeout""#),
            (Event::Trouble { text: sentence("x") }, r#""event":"trouble""#),
            (
                Event::LibraryWarning { function: "f".into(), text: sentence("x") },
                r#""event":"library_warning","function":"f""#,
            ),
            (Event::ConfigWarning { text: sentence("x") }, r#""event":"config_warning""#),
            (Event::FileWarning { text: sentence("x") }, r#""event":"file_warning""#),
            (Event::Reloaded { text: sentence("x") }, r#""event":"reloaded""#),
        ] {
            let line = EventLine { time: String::new(), level: String::new(), pid: 3, text: "line".into(), event };
            let json = serde_json::to_string(&line).unwrap();
            assert_eq!(json, format!(r#"{{"time":"","level":"","pid":3,"text":"line",{own}}}"#));
        }
        let json = serde_json::to_value(death(DeathAt::Idle)).unwrap();
        assert_eq!([&json["event"], &json["at"], &json["end"]], ["worker_died", "idle", "killed by SIGSEGV"]);
    }

    #[test]
    fn many_functions_are_counted() {
        let names: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        assert_eq!(several(&names[..1]), "a");
        assert_eq!(several(&names[..2]), "a, b");
        assert_eq!(several(&names), "a ... c (3 functions)");
    }
}
