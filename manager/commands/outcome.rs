//! Requests whose effect is an event: sends them, and waits for the event.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value};

use super::output::{fail, fail_of};
use super::{configuration, with_manager};
use crate::cli::Cli;
use crate::control::{ClientError, ControlClient, DEADLINE, EventLine, Events};
use crate::system::clock;

/// How long to wait by default.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The events that end a request.
pub(super) struct Awaited {
    /// Its number.
    pub request: u64,
    /// The event of success.
    pub finished: &'static str,
    /// The event of failure.
    pub failed: &'static str,
}

/// How a request ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The user does not want to wait.
    Begun,
    /// Every planned worker serves the version.
    Served {
        /// The version.
        version: String,
        /// How many workers serve it.
        workers: u64,
        /// How many others are still draining.
        draining: u64,
    },
    /// One sentence.
    Failed(String),
    /// The manager continues; how long the command waited.
    Pending(Duration),
}

impl Outcome {
    /// The exit code of [`Outcome::Pending`].
    pub(super) const LATE: u8 = 5;

    /// What to print about old workers that are left, after everything else.
    pub(super) fn still_draining(workers: u64) -> String {
        match workers {
            0 => String::new(),
            1 => "; 1 old worker is still draining".into(),
            old => format!("; {old} old workers are still draining"),
        }
    }
}

/// Sends the request, waits for its effect unless that is not wanted, and reports it.
pub(super) fn ask_and_wait<T>(
    cli: &Cli,
    (no_wait, timeout): (bool, Option<&OsString>),
    ask: impl FnOnce(&mut ControlClient) -> Result<(Awaited, T), ClientError>,
    report: impl FnOnce(&T, Outcome) -> ExitCode,
) -> ExitCode {
    let timeout = match timeout.map_or(Ok(Some(TIMEOUT)), configuration::timeout) {
        Ok(timeout) => timeout,
        Err(text) => return fail(&text, 2),
    };
    with_manager(cli, |control| match outcome(control, no_wait, timeout, ask) {
        Ok((reply, outcome)) => report(&reply, outcome),
        Err(error) => fail_of(&error),
    })
}

fn outcome<T>(
    control: &Path,
    no_wait: bool,
    timeout: Option<Duration>,
    ask: impl FnOnce(&mut ControlClient) -> Result<(Awaited, T), ClientError>,
) -> Result<(T, Outcome), ClientError> {
    // Before the request, so that no event is missed.
    let mut events = ControlClient::connect(control, DEADLINE)?.follow_events()?;
    let (awaited, reply) = ask(&mut ControlClient::connect(control, DEADLINE)?)?;
    if no_wait {
        return Ok((reply, Outcome::Begun));
    }
    if let Some(timeout) = timeout {
        events.wait_until(clock::after(timeout));
    }
    let outcome = wait(&mut events, &awaited)?;
    Ok((reply, outcome.unwrap_or(Outcome::Pending(timeout.unwrap_or(Duration::MAX)))))
}

/// Waits for the event that ends the request; `None` if it does not come in time.
fn wait(events: &mut Events, awaited: &Awaited) -> Result<Option<Outcome>, ClientError> {
    for event in events {
        match event {
            Ok(event) => {
                if let Some(outcome) = outcome_of(&event, awaited) {
                    return Ok(Some(outcome));
                }
            }
            Err(ClientError::Deadline { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(Outcome::Failed("the manager ended before every worker served it".into())))
}

fn outcome_of(event: &EventLine<Map<String, Value>>, awaited: &Awaited) -> Option<Outcome> {
    let number = |name: &str| event.event.get(name).and_then(Value::as_u64).unwrap_or_default();
    let text = |name: &str| event.event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = text("event");
    match event.event.get("request").and_then(Value::as_u64) {
        Some(request) if request == awaited.request && name == awaited.finished => {
            Some(Outcome::Served { version: text("version"), workers: number("workers"), draining: number("draining") })
        }
        Some(request) if request == awaited.request && name == awaited.failed => Some(Outcome::Failed(text("reason"))),
        _ => None,
    }
}
