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
    /// The field of that event that says why.
    pub reason: &'static str,
}

/// How a request ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The user does not want to wait.
    Begun,
    /// It is done: the event of success.
    Done(Done),
    /// One sentence.
    Failed(String),
    /// The manager continues; how long the command waited.
    Pending(Duration),
}

/// What was achieved, as the event of success says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Done(Map<String, Value>);

impl Done {
    /// A number of the event, 0 if it has none of that name.
    pub(super) fn number(&self, name: &str) -> u64 {
        number(&self.0, name)
    }

    /// A text of the event, empty if it has none of that name.
    pub(super) fn text(&self, name: &str) -> &str {
        text(&self.0, name)
    }
}

fn number(event: &Map<String, Value>, name: &str) -> u64 {
    event.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn text<'a>(event: &'a Map<String, Value>, name: &str) -> &'a str {
    event.get(name).and_then(Value::as_str).unwrap_or_default()
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
    Ok(Some(Outcome::Failed("the manager ended before it was done".into())))
}

fn outcome_of(event: &EventLine<Map<String, Value>>, awaited: &Awaited) -> Option<Outcome> {
    let event = &event.event;
    if event.get("request").and_then(Value::as_u64) != Some(awaited.request) {
        return None;
    }
    match text(event, "event") {
        name if name == awaited.finished => Some(Outcome::Done(Done(event.clone()))),
        name if name == awaited.failed => Some(Outcome::Failed(text(event, awaited.reason).to_owned())),
        _ => None,
    }
}
