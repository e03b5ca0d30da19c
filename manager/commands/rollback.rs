//! `gm-native rollback`: serves an earlier version, and waits until every planned worker does.
//!
//! Exit codes: 0 it is served, 1 it is not, 2 usage, 3 no manager there, 4 refused, 5 it was not served in time.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value};

use super::configuration;
use super::output::{fail, fail_of, finish};
use super::with_manager;
use crate::cli::{Cli, RollbackArgs};
use crate::control::{CalledOffFile, ClientError, ControlClient, DEADLINE, EventLine, Events, RollbackReply};
use crate::logging::escape;
use crate::system::clock;

/// How long the version may take to be served.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The rollback has begun, and is not complete.
const LATE: u8 = 5;

/// How a rollback ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// How many workers serve the version, and how many others are still draining.
    Served { workers: u64, draining: u64 },
    /// One sentence.
    Failed(String),
    /// The manager goes on with it.
    Pending,
}

/// Rolls a function back.
pub fn run(cli: &Cli, args: &RollbackArgs) -> ExitCode {
    let timeout = args.timeout.as_ref().map_or(Ok(Some(TIMEOUT)), configuration::timeout);
    match timeout {
        Ok(timeout) => with_manager(cli, |control| roll_back(control, args, timeout)),
        Err(text) => fail(&text, 2),
    }
}

fn roll_back(control: &Path, args: &RollbackArgs, timeout: Option<Duration>) -> ExitCode {
    // Before the request, so that no event is missed.
    let events = ControlClient::connect(control, DEADLINE).and_then(ControlClient::follow_events);
    let begun = events.and_then(|events| {
        let mut client = ControlClient::connect(control, DEADLINE)?;
        Ok((events, client.roll_back(args.function.clone(), args.hash.clone(), args.force)?))
    });
    let (mut events, reply) = match begun {
        Ok(both) => both,
        Err(error) => return fail_of(&error),
    };
    if let Some(timeout) = timeout {
        events.wait_until(clock::after(timeout));
    }
    let function = escape(&args.function);
    let version = escape(&reply.version);
    match wait(&mut events, &args.function, &reply) {
        Ok(outcome @ Outcome::Served { .. }) => finish(&format!("{function}: {}\n", served(&reply, &outcome)), 0),
        Ok(Outcome::Failed(reason)) => {
            fail(&format!("{function}: the rollback to version {version} failed: {}", escape(&reason)), 1)
        }
        Ok(Outcome::Pending) => {
            let waited = timeout.unwrap_or(Duration::MAX);
            fail(
                &format!(
                    "{function}: the rollback to version {version} has begun, but not every worker serves it after \
                     {waited:?}; the manager goes on with it"
                ),
                LATE,
            )
        }
        Err(error) => fail_of(&error),
    }
}

/// Waits for the rollback's end.
fn wait(events: &mut Events, function: &str, reply: &RollbackReply) -> Result<Outcome, ClientError> {
    let mut has_begun = false;
    for event in events {
        let event = match event {
            Ok(event) => event,
            Err(ClientError::Deadline { .. }) => return Ok(Outcome::Pending),
            Err(error) => return Err(error),
        };
        if event.event.get("function") != Some(&function.into()) {
            continue;
        }
        match outcome(&event, &reply.version) {
            // An earlier rollback to the same version is not ours.
            _ if !has_begun => has_begun = is(&event, "rolled_back", &reply.version),
            None => {}
            Some(outcome) => return Ok(outcome),
        }
    }
    Ok(Outcome::Failed("the manager ended before every worker served it".into()))
}

fn outcome(event: &EventLine<Map<String, Value>>, version: &str) -> Option<Outcome> {
    let number = |name: &str| event.event.get(name).and_then(Value::as_u64).unwrap_or_default();
    if is(event, "rollback_finished", version) {
        return Some(Outcome::Served { workers: number("workers"), draining: number("draining") });
    }
    let failed = is(event, "rollback_failed", version);
    let reason = || event.event.get("reason").and_then(Value::as_str).unwrap_or_default().to_owned();
    failed.then(|| Outcome::Failed(reason()))
}

fn is(event: &EventLine<Map<String, Value>>, name: &str, version: &str) -> bool {
    let has = |key: &str, value: &str| event.event.get(key).and_then(Value::as_str) == Some(value);
    has("event", name) && has("version", version)
}

/// The message about a completed rollback.
fn served(reply: &RollbackReply, outcome: &Outcome) -> String {
    let RollbackReply { version, from, rejected, called_off } = reply;
    let (workers, draining) = match outcome {
        Outcome::Served { workers, draining } => (*workers, *draining),
        Outcome::Failed(_) | Outcome::Pending => (0, 0),
    };
    let before = match from {
        Some(from) if from == version => ", as before".to_owned(),
        Some(from) => format!(", and no longer version {}", escape(from)),
        None => String::new(),
    };
    let old = match draining {
        0 => String::new(),
        1 => "; 1 old worker is still draining".into(),
        old => format!("; {old} old workers are still draining"),
    };
    let rejected =
        rejected.as_ref().map_or(String::new(), |reason| format!("; it was rejected before: {}", escape(reason)));
    let off = called_off.as_ref().map_or(String::new(), |CalledOffFile { path, version }| {
        let version = version.as_ref().map_or(String::new(), |version| format!(" (version {})", escape(version)));
        format!("; {}{version} is called off", escape(path))
    });
    format!("{workers} workers serve version {}{before}, until its file changes{off}{old}{rejected}", escape(version))
}
