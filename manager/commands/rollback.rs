//! `gm-native rollback`: serves an earlier version, and waits until every planned worker does.
//!
//! Exit codes: 0 it is served, 1 it is not, 2 usage, 3 no manager, 4 refused, 5 it was not served in time.

use std::process::ExitCode;

use nix::unistd::{Uid, User};

use super::outcome::{Awaited, Outcome, ask_and_wait};
use super::output::{fail, finish};
use crate::cli::{Cli, RollbackArgs};
use crate::control::{CalledOffFile, JoinedRollback, RollbackReply};
use crate::logging::escape;
use crate::supervisor::event::serving;

/// Rolls a function back.
pub fn run(cli: &Cli, args: &RollbackArgs) -> ExitCode {
    let ask = |client: &mut crate::control::ControlClient| {
        let reply = client.roll_back(&args.function, args.hash.clone(), args.force)?;
        let (finished, failed, reason) = ("rollback_finished", "rollback_failed", "reason");
        Ok((Awaited { request: reply.request, finished, failed, reason }, reply))
    };
    ask_and_wait(cli, (args.wait.no_wait, args.wait.timeout.as_ref()), ask, |reply, outcome| {
        report(&args.function, reply, outcome)
    })
}

/// Reports how it ended.
fn report(function: &str, reply: &RollbackReply, outcome: Outcome) -> ExitCode {
    let function = escape(function);
    let version = reply.version;
    let joined = reply.joined.as_ref().map_or(String::new(), joined);
    let off = called_off(reply);
    match outcome {
        Outcome::Begun => finish(&format!("{function}: the rollback to version {version} has begun{off}{joined}\n"), 0),
        Outcome::Done(done) => {
            let (workers, draining) = (done.number("workers"), done.number("draining"));
            finish(&format!("{function}: {}{joined}\n", served(reply, workers, draining)), 0)
        }
        Outcome::Failed(reason) => {
            let reason = escape(&reason);
            fail(&format!("{function}: the rollback to version {version} failed: {reason}{off}{joined}"), 1)
        }
        Outcome::Pending(waited) => fail(
            &format!(
                "{function}: the rollback to version {version} has begun, but not every worker serves it after \
                 {waited:?}; the manager goes on with it{off}{joined}"
            ),
            Outcome::LATE,
        ),
    }
}

/// The message about a completed rollback.
fn served(reply: &RollbackReply, workers: u64, draining: u64) -> String {
    let RollbackReply { version, from, rejected, .. } = reply;
    let before = match from {
        Some(from) if from == version => ", as before".to_owned(),
        Some(from) => format!(", and no longer version {from}"),
        None => String::new(),
    };
    let (off, old) = (called_off(reply), Outcome::still_draining(draining));
    let rejected =
        rejected.as_ref().map_or(String::new(), |reason| format!("; it was rejected before: {}", escape(reason)));
    let workers = serving(workers);
    format!("{workers} version {version}{before}, until its file changes{off}{old}{rejected}")
}

fn called_off(reply: &RollbackReply) -> String {
    reply.called_off.as_ref().map_or(String::new(), |CalledOffFile { path, version }| {
        let version = version.as_ref().map_or(String::new(), |version| format!(" (version {version})"));
        format!("; {}{version} is called off", escape(path))
    })
}

/// Someone asked for the same rollback earlier.
fn joined(first: &JoinedRollback) -> String {
    let JoinedRollback { uid, seconds_ago } = first;
    let name = User::from_uid(Uid::from_raw(*uid)).ok().flatten().map(|user| user.name);
    let who = name.map_or_else(|| format!("uid {uid}"), |name| escape(&name).into_owned());
    format!(
        "; this rollback was under way already: {who} asked for it {seconds_ago:.1} s before. To go further back, run \
         rollback again, or name a version"
    )
}
