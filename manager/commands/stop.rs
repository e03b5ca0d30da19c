//! `gm-native stop`: running jobs finish, and the manager exits; the command waits until its process is gone.
//!
//! Exit codes: 0 it is gone, 2 usage, 3 no manager, 4 refused, 5 not gone in time.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::outcome::Outcome;
use super::output::{fail, fail_of, finish};
use super::{configuration, with_manager};
use crate::cli::{Cli, StopArgs};
use crate::control::{AcceptedReply, ClientError, ControlClient, ControlRequest, DEADLINE, Events};
use crate::logging::escape;
use crate::system::clock;
use crate::system::exit_watch::ExitWatch;

/// How the wait ended.
enum Waited {
    /// The process is gone.
    Gone,
    /// Not within this time.
    Late(Duration),
}

/// Stops the manager.
pub fn run(cli: &Cli, args: &StopArgs) -> ExitCode {
    let timeout = match args.timeout.as_ref().map_or(Ok(None), configuration::timeout) {
        Ok(timeout) => timeout,
        Err(text) => return fail(&text, 2),
    };
    with_manager(cli, |control| match stop(control, args.no_wait, timeout) {
        Ok((_, Some(Waited::Gone))) => finish("the manager has stopped\n", 0),
        Ok((reply, Some(Waited::Late(waited)))) => fail(
            &format!(
                "{}, but it is still there after {waited:?}: `gm-native status` says what it waits for",
                reply.begun
            ),
            Outcome::LATE,
        ),
        Ok((reply, None)) => finish(&format!("{}\n", escape(&reply.begun)), 0),
        Err(error) => fail_of(&error),
    })
}

fn stop(
    control: &Path,
    no_wait: bool,
    timeout: Option<Duration>,
) -> Result<(AcceptedReply, Option<Waited>), ClientError> {
    let mut client = ControlClient::connect(control, DEADLINE)?;
    // Before the request: afterwards the number may be another process's.
    let process = client.manager_pid().and_then(ExitWatch::of);
    let events = ControlClient::connect(control, DEADLINE)?.follow_events()?;
    let reply = client.request(ControlRequest::Stop)?;
    if no_wait {
        return Ok((reply, None));
    }
    let waited = match process {
        Some(process) => process.wait(timeout),
        None => wait_for_end(events, timeout),
    };
    let waited = if waited { Waited::Gone } else { Waited::Late(timeout.unwrap_or(Duration::MAX)) };
    Ok((reply, Some(waited)))
}

/// Waits for the end of the manager's events, which comes just before its own.
fn wait_for_end(mut events: Events, timeout: Option<Duration>) -> bool {
    if let Some(timeout) = timeout {
        events.wait_until(clock::after(timeout));
    }
    events.all(|event| event.is_ok())
}
