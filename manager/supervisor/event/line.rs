//! The log line of an event.

use std::fmt::Display;

use super::{Event, WITH_GO};
use crate::config::on_one_line;
use crate::logging::escape;
use crate::plugins::name::FunctionName;
use crate::supervisor::rollback::PendingFile;
use crate::supervisor::worker_state::ExitReason;

impl Event {
    /// The log line. It is one line, whatever a file, a plugin or a job server has put into it.
    pub(crate) fn line(&self) -> String {
        escape(&self.text()).into_owned()
    }

    fn text(&self) -> String {
        match self {
            Self::Starting { version, instance, state_dir } => {
                format!("gm-native {version} starts as {instance}; state directory {state_dir}")
            }
            Self::EarlierManagerDied { earlier_pid, grace } => format!(
                "the last manager (pid {earlier_pid}) did not stop: it was killed or crashed, or the machine did; what \
                 it knew of versions is used, and workers of it that are left finish their jobs, within {grace} s"
            ),
            Self::FunctionExcluded { function, reason } => format!("{function}: not served, since {reason}"),
            Self::Started { workers, functions, seconds } => {
                let (workers, functions) = (counted(*workers, "worker"), counted(*functions, "function"));
                format!("started: {workers} for {functions} loaded after {seconds:.3} s")
            }
            Self::ConfigWarning { text } | Self::FileWarning { text } | Self::ManagerError { text } => text.clone(),
            Self::FunctionPaused(paused) => paused.line(),
            Self::RequestReceived(request) => request.line(),
            Self::RequestFinished(request) => request.finished_line(),
            Self::RequestFailed(request) => request.failed_line(),
            Self::LogLevelChanged { log_level, seconds, is_over } => {
                let for_a_while = seconds.map_or(String::new(), |seconds| format!(" for {seconds} s"));
                let again = if *is_over { " again" } else { "" };
                format!("the log level is {log_level}{again}{for_a_while}")
            }
            Self::Reloaded { by, changes } => {
                let changes = if changes.is_empty() { "nothing in it has changed".into() } else { changes.join("; ") };
                format!(
                    "{by}: the configuration was read again: {changes}; new workers replace the old ones one by one"
                )
            }
            Self::ReloadFinished { seconds } => {
                format!(
                    "the reload is complete: every worker has the new configuration, {seconds:.3} s after it was read"
                )
            }
            Self::ReloadIgnored => "SIGHUP: the configuration is not read again, since the manager is draining".into(),
            Self::LogReopened { by } => format!("{by}: the log was reopened"),
            Self::LogNotReopened { by, log } => format!("{by}: there is no log file to reopen: the log is {log}"),
            Self::ReloadFailed { by, reason } => {
                format!("{by}: the configuration cannot be used, so the old one holds: {}", on_one_line(reason))
            }
            Self::FileSkipped { path, reason, .. } => format!("{path} {reason}"),
            Self::DirectoryFailed { reason, .. } => format!("{reason}; the functions it held stay in service"),
            Self::DirectoryEmptied { path, seconds } => {
                let end =
                    seconds.map_or("until it holds one again".into(), |s| format!("for {s} s unless one comes back"));
                format!("worker_dir {path} no longer holds a library; the functions it held stay in service {end}")
            }
            Self::LibraryRefused { function, path, reason, serving, again, .. } => {
                let goes_on = serving.as_ref().map_or(String::new(), |v| format!("; version {v} keeps serving"));
                let again =
                    again.map_or(String::new(), |s| format!("; next attempt in {s} s, then less and less often"));
                format!("{function}: {path} cannot be used: it {reason}{goes_on}{again}")
            }
            Self::FunctionFound { function, version, crate_version, path, replaces } => {
                let replaces = replaces.as_ref().map_or(String::new(), |old| format!(", replaces {old}"));
                // A library in C need not have one.
                let of_crate =
                    if crate_version.is_empty() { String::new() } else { format!(" (crate {crate_version})") };
                format!("{function}: version {version}{of_crate} from {path}{replaces}")
            }
            Self::LibraryWarning { function, text } => format!("{function}: {text}"),
            Self::JobQuarantined(job) => job.line(),
            Self::FunctionFailing(failing) => failing.line(),
            Self::WorkerExamined(examined) => examined.line(),
            Self::FunctionRecovered(recovered) => recovered.line(),
            Self::RolloutStarted { function, from, to, has_canary: true } => {
                format!("{function}: canary: one worker runs version {to} alongside version {from}")
            }
            Self::RolloutStarted { function, from, to, has_canary: false } => {
                format!("{function}: version {to} replaces version {from} as soon as a worker has started with it")
            }
            Self::RolloutPromoted { function, version, has_canary: false, .. } => {
                format!("{function}: a worker has started with version {version}: every worker gets it")
            }
            Self::RolloutPromoted { function, version, jobs, seconds, has_canary: true } => {
                format!(
                    "{function}: version {version} is promoted after {} in {seconds:.3} s: every worker gets it",
                    counted(*jobs, "job")
                )
            }
            Self::RolloutStopped { function, version, reason, serving, retry } => format!(
                "{function}: version {version} is rejected: {reason}; version {serving} keeps serving; it is not tried \
                 again until the file changes or you run `{retry}`"
            ),
            Self::RolloutWithdrawn { function, version, serving } => {
                let goes_on = serving.as_ref().map_or(String::new(), |v| format!("; version {v} keeps serving"));
                format!("{function}: version {version} is withdrawn: another version is wanted now{goes_on}")
            }
            Self::RolloutFinished { function, version, seconds } => {
                format!("{function}: every worker has version {version}, {seconds:.3} s after it was promoted")
            }
            Self::CanaryContinued { function, version, handle, unique, killed } => format!(
                "{function}: the canary of version {version} continues: {}, which killed its worker, had killed version \
                 {killed} too",
                job_name(handle, unique)
            ),
            Self::RolledBack { function, version, from, called_off, .. } => {
                let off = called_off.as_ref().map_or(String::new(), |PendingFile { path, version }| {
                    let version = version.map_or(String::new(), |version| format!(" (version {version})"));
                    format!("; {path}{version} is called off")
                });
                let what = match from {
                    Some(from) if from == version => format!("version {version} stays in service"),
                    Some(from) => format!("rolled back from version {from} to version {version}"),
                    None => format!("rolled back to version {version}"),
                };
                format!("{function}: {what}, until the file in worker_dir changes{off}")
            }
            Self::RollbackFinished(served) => served.line("rollback"),
            Self::RollbackFailed { function, version, reason, .. } => {
                format!("{function}: rollback to version {version} failed: {reason}")
            }
            Self::RetryFinished(served) => served.line("retry"),
            Self::RetryFailed { function, reason, .. } => format!("{function}: retry failed: {reason}"),
            Self::FunctionRemoved { function, path, is_expected: true } => {
                format!("{function}: its library {path} is no longer in a worker_dir")
            }
            Self::FunctionRemoved { function, path, is_expected: false } => {
                format!("{function}: its library {path} was removed; its workers are draining")
            }
            Self::NothingToServe { dirs, is_empty: true } => {
                format!("no library in {dirs} yet: copy one there and it is served")
            }
            Self::NothingToServe { dirs, is_empty: false } => {
                format!(
                    "nothing in {dirs} can be served yet, for the reasons above; each file is tried again when it changes"
                )
            }
            Self::WorkerStarted { pid, functions, generation } => {
                format!("{}: worker {pid} started, generation {generation}", several(functions))
            }
            Self::SpawnFailed { functions, reason } => {
                format!("{}: no worker could be started: {reason}", several(functions))
            }
            Self::CannotServe { pid, function, reason } => {
                format!("{function}: worker {pid} cannot serve it: {reason}")
            }
            Self::FunctionIsolated { function, reason } => format!(
                "{function}: starts alone, but not in one process with the other functions, so it gets workers of its own: \
                 {reason}"
            ),
            Self::FunctionHasGo { function } => format!("{function}: gets workers of its own: {WITH_GO}"),
            Self::FunctionRejoined { function } => {
                format!(
                    "{function}: starts in one process with the other functions again and no longer needs workers of its own"
                )
            }
            Self::NotRestarted { pid, function, version } => format!(
                "{function}: worker {pid} exited with code 125 in its new(): version {version} is not started again; \
                 a new version will be"
            ),
            Self::WorkerServing { pid, functions, seconds, .. } => {
                format!("{}: worker {pid} is serving after {seconds:.3} s", several(functions))
            }
            Self::WorkerDraining { pid, functions, reason, limit } => {
                let limit = limit.map_or(String::new(), |key| format!("it reached {key}; "));
                format!("{}: worker {pid} is draining: {limit}{}", several(functions), reason_text(*reason))
            }
            Self::WorkerExited { pid, functions, jobs, note } => {
                let note = note.as_ref().map_or(String::new(), |note| format!("; {note}"));
                format!("{}: worker {pid} exited after {}{note}", several(functions), counted(*jobs, "job"))
            }
            Self::MemoryLimitExceeded { pid, functions, mib } => {
                format!(
                    "{}: worker {pid} has grown to {mib} MiB, beyond max_memory: it will be replaced",
                    several(functions)
                )
            }
            Self::WorkerCutOff { pid, functions, server, workers_connected, reason } => format!(
                "{}: worker {pid} reaches no job server, although {server} answers {}: {reason}; it will be replaced",
                several(functions),
                counted(*workers_connected, "other worker")
            ),
            Self::MemoryLimitTooLow { functions, mib, max_mib } => format!(
                "{}: a worker takes {mib} MiB as soon as it has loaded its functions, more than max_memory, {max_mib} MiB; \
                 it is not replaced for that (give max_memory what its jobs need besides)",
                several(functions)
            ),
            Self::JobOverdue { job, timeout } => job.overdue_line(*timeout),
            Self::WorkerUnresponsive(worker) => worker.line(),
            Self::JobEnding(job) => job.on_request_line(),
            Self::ExitedEarly { pid, functions, function, served } => {
                let who = function.as_ref().map_or_else(|| several(functions), FunctionName::to_string);
                let when = if *served { "without finishing a job" } else { "before it served" };
                format!(
                    "{who}: worker {pid} exited by itself {when}, which counts as a failed start: it received SIGTERM or SIGINT \
                     (from the library, or from outside), or the library closed the worker's descriptors"
                )
            }
            Self::WorkerDied(death) => death.line(),
            Self::WorkerKilled { pid, functions, reason } => {
                format!("{}: worker {pid} is killed: {}", several(functions), reason_text(*reason))
            }
            Self::BackingOff { function, seconds, failures: 1 } => {
                format!("{function}: failed; next attempt in {seconds:.1} s")
            }
            Self::BackingOff { function, seconds, failures } => {
                format!("{function}: failed {failures} times in a row; next attempt in {seconds:.1} s")
            }
            Self::ServerUp { server } => format!("job server {server} answers"),
            Self::ServerDown { server, reason } => {
                format!("job server {server} does not answer: {reason}; retrying")
            }
            Self::ServerUnresponsive { server, workers_connected } => format!(
                "job server {server} answers {workers_connected} of the workers and ignores the connections of others: it has \
                 probably run out of file descriptors (the soft limit counts); raise LimitNOFILE of its service, or \
                 `ulimit -n` before it starts"
            ),
            Self::WakeUpLost { server, jobs } => format!(
                "job server {server} had {} for sleeping workers and had not woken any of those that took them: a wake-up \
                 was lost, and the workers asked by themselves, as they do every echo_interval (gearmand 1.1 wakes nobody \
                 for a job that was submitted for a later time)",
                counted(*jobs, "job")
            ),
            Self::QueueGrowing(queue) => queue.line(),
            Self::JobsNotTaken(jobs) => jobs.line(),
            Self::FunctionUnserved(function) => function.line(),
            Self::QueueRecovered(recovered) => recovered.line(),
            Self::Draining { by, workers, seconds, kills_at } => format!(
                "{by}: draining {}, for {seconds:.0} s at most; the {} signal kills what is left",
                counted(*workers, "worker"),
                ordinal(*kills_at)
            ),
            Self::AlreadyDraining { by, seconds, kills_at, .. } => format!(
                "{by}: already draining; workers that are left are killed in {seconds:.0} s, or at the {} signal",
                ordinal(*kills_at)
            ),
            Self::WaitingForWorker { pid, functions, doing, job: None } => {
                format!("{}: waiting for worker {pid}, which is {doing}", several(functions))
            }
            Self::WaitingForWorker { pid, functions, doing, job: Some(job) } => {
                let function = job.function.as_ref().map_or_else(|| several(functions), ToString::to_string);
                let handle = if job.handle.is_empty() { String::new() } else { format!(": {}", job.handle) };
                let seconds = job.seconds;
                format!("{function}: waiting for worker {pid}, which is {doing}{handle}, for {seconds:.1} s so far")
            }
            Self::Stopped { seconds } => format!("stopped after {seconds:.3} s"),
        }
    }
}

/// A job by its handle and its unique id, as far as it has them: `-` stands for none. A handle that is too long is unknown.
pub(super) fn job_name(handle: &str, unique: &str) -> String {
    let job = if handle.is_empty() { "a job".into() } else { format!("job {}", escape(handle)) };
    if matches!(unique, "" | "-") { job } else { format!("{job} (unique {})", escape(unique)) }
}

/// A worker's functions, for the start of a line.
pub(crate) fn several(functions: &[FunctionName]) -> String {
    match functions {
        [] => "no function".into(),
        [only] => only.to_string(),
        [first, second] => format!("{first}, {second}"),
        [first, second, third] => format!("{first}, {second}, {third}"),
        [first, second, rest @ ..] => format!("{first}, {second} and {} more functions", rest.len()),
    }
}

/// A number of things: `1 worker`, `2 workers`.
pub(crate) fn counted<N: Display + PartialEq + From<u8>>(number: N, thing: &str) -> String {
    let plural = if number == N::from(1) { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// The beginning of a sentence about a version: `1 worker serves`.
pub(crate) fn serving<N: Display + PartialEq + From<u8>>(workers: N) -> String {
    let verb = if workers == N::from(1) { "serves" } else { "serve" };
    format!("{} {verb}", counted(workers, "worker"))
}

pub(super) fn still_draining(workers: usize) -> String {
    match workers {
        0 => String::new(),
        old => format!("; {} with another version still draining", counted(old, "worker")),
    }
}

fn ordinal(number: u32) -> String {
    match number {
        2 => "second".into(),
        5 => "fifth".into(),
        number => format!("{number}th"),
    }
}

fn reason_text(reason: ExitReason) -> &'static str {
    match reason {
        ExitReason::Stop => "the manager is stopping",
        ExitReason::Replaced => "replaced by a new worker",
        ExitReason::Surplus => "one worker more than planned",
        ExitReason::ByItself => "it stopped taking jobs by itself",
        ExitReason::StartTimeout => "it did not start within start_timeout",
        ExitReason::DrainTimeout => "it did not exit in time",
        ExitReason::StopSignals => "you sent the stop signal that kills what is left",
        ExitReason::CannotServe => "it cannot serve its function",
        ExitReason::JobTimeout => "its job did not end within timeout_grace after its timeout",
        ExitReason::Unresponsive => "it did not respond",
    }
}
