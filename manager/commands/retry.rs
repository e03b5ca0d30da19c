//! `gm-native retry`: tries a function's file again, and reports the outcome.
//!
//! Exit codes: 0 every planned worker serves it, 1 it is refused or rejected, 2 usage, 3 no manager, 4 refused, 5 not
//! known in time.

use std::process::ExitCode;

use super::outcome::{Awaited, Outcome, ask_and_wait};
use super::output::{fail, finish};
use crate::cli::{Cli, RetryArgs};
use crate::logging::escape;
use crate::supervisor::event::serving;

/// Makes the manager try the function's file again.
pub fn run(cli: &Cli, args: &RetryArgs) -> ExitCode {
    let ask = |client: &mut crate::control::ControlClient| {
        let reply = client.retry(&args.function)?;
        let awaited =
            Awaited { request: reply.request, finished: "retry_finished", failed: "retry_failed", reason: "reason" };
        Ok((awaited, ()))
    };
    ask_and_wait(cli, (args.wait.no_wait, args.wait.timeout.as_ref()), ask, |(), outcome| {
        report(&args.function, outcome)
    })
}

fn report(function: &str, outcome: Outcome) -> ExitCode {
    let function = escape(function);
    match outcome {
        Outcome::Begun => finish(&format!("{function}: its file in worker_dir is tried again\n"), 0),
        Outcome::Done(served) => {
            let (version, old) = (escape(served.text("version")), Outcome::still_draining(served.number("draining")));
            let workers = serving(served.number("workers"));
            let mark = match served.text("rejected") {
                "" => String::new(),
                reason => format!(
                    "; it was rejected before ({}), and keeps that mark, since no job has completed in its canary",
                    escape(reason)
                ),
            };
            finish(&format!("{function}: {workers} version {version}, which its file holds{old}{mark}\n"), 0)
        }
        Outcome::Failed(reason) => fail(&format!("{function}: the retry failed: {}", escape(&reason)), 1),
        Outcome::Pending(waited) => fail(
            &format!(
                "{function}: its file is tried again, and after {waited:?} not every worker serves it yet: it is checked, \
                 and a canary may run for canary_seconds; the manager goes on with it"
            ),
            Outcome::LATE,
        ),
    }
}
