//! `gm-native submit`: submits one job and shows what happens to it.
//!
//! Exit codes: 0 done (in the background: accepted), 1 failed, 2 usage, 3 no job server reachable, 5 deadline.

mod output;
mod unserved;

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::configuration;
use super::output::{fail, finish};
use crate::cli::{Cli, SubmitArgs};
use crate::config::JobServerAddress;
use crate::gearman::ServerError;
use crate::gearman::client::{Client, JobEvent};
use crate::gearman::packet::{Priority, Submission};
use crate::logging::escape;
use crate::system::clock;
use crate::system::errors::{reason, reason_at};
use output::JobOutput;
use unserved::UnservedFunction;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NO_SERVER: u8 = 3;
const DEADLINE: u8 = 5;

/// How long a job server may take to accept a connection, and for each answer except the job's.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// After how much silence about a job to ask the job server whether any worker serves its function.
const UNSERVED_CHECK_AFTER: Duration = Duration::from_millis(300);

/// How long that question may take. Only its own line waits for it.
const UNSERVED_CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait at a time for a job without a deadline.
const LONG: Duration = Duration::from_secs(3600);

/// Results may be as long as a packet can be: memory is allocated only as they arrive.
const MAX_PACKET: usize = u32::MAX as usize;

/// A job, and the servers to submit it to.
struct SubmitRequest<'a> {
    servers: Vec<JobServerAddress>,
    how: Submission,
    function: &'a [u8],
    unique: &'a [u8],
    workload: Vec<u8>,
    /// When to stop waiting, and how long that is from the start.
    deadline: Option<(Instant, Duration)>,
}

/// Why there is no result: the exit code, and a sentence.
struct SubmitError {
    code: u8,
    text: String,
}

impl SubmitError {
    fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// Runs `gm-native submit`.
pub fn run(cli: &Cli, args: &SubmitArgs) -> ExitCode {
    let done = SubmitRequest::read(cli, args).and_then(|order| match order.how {
        Submission::Foreground(_) => order.run_and_print().map(|()| ExitCode::SUCCESS),
        _ => order.run_in_background().map(|handle| finish(&format!("{}\n", escape(&handle)), 0)),
    });
    match done {
        Ok(code) => code,
        Err(SubmitError { code, text }) => fail(&text.replace('\n', "\ngm-native: "), code),
    }
}

impl<'a> SubmitRequest<'a> {
    fn read(cli: &Cli, args: &'a SubmitArgs) -> Result<Self, SubmitError> {
        let usage = |text: String| SubmitError::new(USAGE, text);
        let (config, _) = configuration::load(cli).map_err(usage)?;
        // A job server would accept it, but no worker can serve it.
        if args.function.is_empty() {
            return Err(usage("the function's name is empty: write gm-native submit FUNCTION DATA".into()));
        }
        let timeout = args.timeout.as_ref().map(configuration::timeout).transpose().map_err(usage)?.flatten();
        let priority = match (args.high, args.low) {
            (true, _) => Priority::High,
            (_, true) => Priority::Low,
            _ => Priority::Normal,
        };
        Ok(Self {
            servers: config.hosts,
            how: if args.background { Submission::Background(priority) } else { Submission::Foreground(priority) },
            function: args.function.as_bytes(),
            unique: args.unique.as_deref().unwrap_or_default().as_bytes(),
            workload: workload(args.data.as_deref()).map_err(usage)?,
            deadline: timeout.map(|timeout| (clock::after(timeout), timeout)),
        })
    }

    /// Submits a job to the background; returns its handle.
    fn run_in_background(&self) -> Result<Vec<u8>, SubmitError> {
        let (mut client, server) = self.reach()?;
        let job = self.submit(&mut client)?;
        if let Some(unserved) = self.unserved(server) {
            fail(&format!("{unserved}; the job stays queued until one does"), 0);
        }
        Ok(job)
    }

    /// Submits a job, waits for it and prints its output.
    fn run_and_print(&self) -> Result<(), SubmitError> {
        let mut output = JobOutput::new();
        let (mut client, server) = self.reach()?;
        let job = self.submit(&mut client)?;
        let named = || format!("job {} of {}", escape(&job), escape(self.function));
        let mut ask_at = Some(clock::after(self.silence()));
        loop {
            if ask_at.take_if(|at| Instant::now() >= *at).is_some()
                && let Some(unserved) = self.unserved(server)
            {
                fail(&format!("{unserved}; {}", self.waiting()), 0);
            }
            let until = ask_at.into_iter().chain(self.deadline.map(|(at, _)| at)).min();
            let until = until.unwrap_or_else(|| clock::after(LONG));
            let event = client.next_event(until).map_err(|error| SubmitError::new(FAILED, lost(&named(), &error)))?;
            let news = match event {
                Some(event) if event.handle == job => {
                    // A worker runs it.
                    ask_at = None;
                    event.event
                }
                Some(_) => continue,
                None if self.is_over() => return Err(self.too_late(&format!("the {} did not end", named()))),
                None => continue,
            };
            let shown = match news {
                JobEvent::Status { done, of } => output.progress(done, of),
                JobEvent::Data(data) => output.data(&data),
                JobEvent::Warning(text) => output.warning(&text),
                JobEvent::Complete(data) => return output.data(&data).map_err(unwritten),
                JobEvent::Fail => return Err(SubmitError::new(FAILED, format!("the {} failed", named()))),
                JobEvent::Exception(text) => {
                    let _ = output.warning(&text);
                    return Err(SubmitError::new(FAILED, format!("the {} failed with an exception", named())));
                }
            };
            shown.map_err(unwritten)?;
        }
    }

    /// How long to wait for a first event before asking whether any worker serves the function: well before a deadline.
    fn silence(&self) -> Duration {
        self.deadline.map_or(UNSERVED_CHECK_AFTER, |(_, timeout)| {
            timeout.checked_div(2).map_or(UNSERVED_CHECK_AFTER, |half| UNSERVED_CHECK_AFTER.min(half))
        })
    }

    /// The function, if the job server has no worker for it.
    fn unserved(&self, server: &JobServerAddress) -> Option<UnservedFunction> {
        let timeout = self.timeout(1).map_or(Duration::ZERO, |left| left.min(UNSERVED_CHECK_TIMEOUT));
        UnservedFunction::ask(&server.to_string(), self.function, timeout)
    }

    /// How the wait for a job that may never run ends.
    fn waiting(&self) -> String {
        match self.deadline {
            Some((_, timeout)) => format!("waiting for up to {} s; Ctrl-C stops waiting", timeout.as_secs_f64()),
            None => "waiting; Ctrl-C stops waiting, and --timeout limits it".into(),
        }
    }

    /// Connects to the first job server that answers, and reports why each other one does not.
    fn reach(&self) -> Result<(Client, &JobServerAddress), SubmitError> {
        for (index, server) in self.servers.iter().enumerate() {
            // A silent server must leave the others their share of the time.
            let parts = u32::try_from(self.servers.len() - index).unwrap_or(u32::MAX);
            let Some(timeout) = self.timeout(parts) else { break };
            let client = Client::connect(&server.to_string(), timeout, MAX_PACKET);
            match client.and_then(|mut client| client.greet().map(|()| client)) {
                Ok(client) => return Ok((client, server)),
                Err(error) => {
                    fail(&error.to_string(), NO_SERVER);
                }
            }
        }
        match self.is_over() {
            true => Err(self.too_late("no job server answered")),
            false => Err(SubmitError::new(NO_SERVER, "no job server can be reached; -h HOST[:PORT] names another one")),
        }
    }

    /// How long to wait for one of several servers; `None` when the time is over.
    fn timeout(&self, answers: u32) -> Option<Duration> {
        let Some((at, _)) = self.deadline else { return Some(READ_TIMEOUT) };
        let left = at.saturating_duration_since(Instant::now()).checked_div(answers).unwrap_or_default();
        // In whole milliseconds, for a readable sentence; a socket cannot wait for less.
        let millis = u64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
        (millis > 0).then(|| READ_TIMEOUT.min(Duration::from_millis(millis)))
    }

    fn is_over(&self) -> bool {
        self.timeout(1).is_none()
    }

    /// Submits the job; returns its handle. Does not try another server, since one that closed the connection may have
    /// accepted the job.
    fn submit(&self, client: &mut Client) -> Result<Vec<u8>, SubmitError> {
        let late = || self.too_late("the job was not taken");
        client
            .set_timeout(self.timeout(1).ok_or_else(late)?)
            .map_err(|error| SubmitError::new(FAILED, error.to_string()))?;
        client.submit(self.how, self.function, self.unique, &self.workload).map_err(|error| match error {
            ServerError::Argument { .. } => SubmitError::new(USAGE, error.to_string()),
            ServerError::Deadline { .. } if self.is_over() => late(),
            _ => SubmitError::new(FAILED, error.to_string()),
        })
    }

    fn too_late(&self, what: &str) -> SubmitError {
        let timeout = self.deadline.map_or(0.0, |(_, timeout)| timeout.as_secs_f64());
        SubmitError::new(DEADLINE, format!("{what} within {timeout} s"))
    }
}

/// The connection was lost before the job's end.
fn lost(job: &str, error: &ServerError) -> String {
    let what = match error {
        ServerError::Closed { server, .. } => format!("job server {server} closed the connection"),
        other => other.to_string(),
    };
    format!("{what}; whether the {job} was done is not known")
}

fn unwritten(error: io::Error) -> SubmitError {
    SubmitError::new(FAILED, format!("cannot write to standard output: {}", reason(&error)))
}

/// The workload: the text itself, `-` for standard input, `@FILE` for a file.
fn workload(data: Option<&OsStr>) -> Result<Vec<u8>, String> {
    let Some(data) = data.map(OsStr::as_bytes) else { return Ok(Vec::new()) };
    if data == b"-" {
        let mut bytes = Vec::new();
        io::stdin()
            .read_to_end(&mut bytes)
            .map_err(|error| format!("cannot read standard input: {}", reason(&error)))?;
        return Ok(bytes);
    }
    let Some(path) = data.strip_prefix(b"@") else { return Ok(data.to_vec()) };
    let file = Path::new(OsStr::from_bytes(path));
    std::fs::read(file).map_err(|error| {
        let path = escape(path);
        format!(
            "cannot read {path}: {}; data that begins with \"@\" can come from standard input, as \"-\"",
            reason_at(file, &error)
        )
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn durations_are_those_of_the_configuration() {
        let read = |text: &str| configuration::timeout(&text.into());
        assert_eq!(read("5"), Ok(Some(Duration::from_secs(5))));
        assert_eq!(read("250ms"), Ok(Some(Duration::from_millis(250))));
        assert_eq!(read("none"), Ok(None));
        let error = read("soon").unwrap_err();
        assert!(error.contains("--timeout") && error.contains("\"soon\" is not a duration"), "{error}");
    }

    #[test]
    fn data_is_bytes_or_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, b"in\0file").unwrap();
        let mut at = OsString::from("@");
        at.push(file.path());
        for (data, bytes) in [
            (None, &b""[..]),
            (Some(OsStr::new("")), b""),
            (Some(OsStr::from_bytes(b"\xffx")), b"\xffx"),
            (Some(OsStr::new("a@b")), b"a@b"),
            (Some(&at), b"in\0file"),
        ] {
            assert_eq!(workload(data).as_deref(), Ok(bytes), "{data:?}");
        }
        let error = workload(Some(OsStr::new("@/nowhere/x"))).unwrap_err();
        assert!(error.starts_with("cannot read /nowhere/x: No such file"), "{error}");
    }
}
