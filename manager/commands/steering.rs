//! Commands that change what a running manager does: `restart`, `kill`, `pause`, `drain`, `resume`,
//! `scale`, `reload`, `log-level`.
//!
//! Exit codes: 0 it is done, 1 it failed, 2 usage, 3 no manager, 4 refused, 5 not done in time.

use std::process::ExitCode;

use super::outcome::{Awaited, Outcome, ask_and_wait};
use super::output::{fail, fail_of, finish};
use super::{configuration, with_manager};
use crate::cli::command_args::WaitArgs;
use crate::cli::{Cli, FunctionArgs, KillArgs, LogLevelArgs, ReloadArgs, RestartArgs, ScaleArgs};
use crate::control::{AcceptedReply, ClientError, ControlClient, ControlRequest, DEADLINE};
use crate::logging::escape;

/// What stands for every function.
const ALL: &str = "all";

/// Replaces the workers of a function, or all workers.
pub fn restart(cli: &Cli, args: &RestartArgs) -> ExitCode {
    let command = format!("restart {}", args.function);
    carry_out(cli, &args.wait, &command, |client| {
        let function = match args.function.as_str() {
            ALL => None,
            name => Some(client.function(name)?),
        };
        Ok(ControlRequest::Restart { function })
    })
}

/// Ends a job as its timeout would.
pub fn kill(cli: &Cli, args: &KillArgs) -> ExitCode {
    let job = &args.job;
    // A handle has letters and colons.
    let pid = job.parse().ok();
    let handle = pid.is_none().then(|| job.clone());
    carry_out(cli, &args.wait, &format!("kill {job}"), |_| Ok(ControlRequest::Kill { pid, handle }))
}

/// Reads the configuration again, and replaces all workers.
pub fn reload(cli: &Cli, args: &ReloadArgs) -> ExitCode {
    carry_out(cli, &args.wait, "reload", |_| Ok(ControlRequest::Reload))
}

/// Has no worker take jobs of a function.
pub fn pause(cli: &Cli, args: &FunctionArgs) -> ExitCode {
    carry_out(cli, &args.wait, &format!("pause {}", args.function), |client| {
        Ok(ControlRequest::Pause { function: client.function(&args.function)?, drain: false })
    })
}

/// The same, and waits until no job of it runs.
pub fn drain(cli: &Cli, args: &FunctionArgs) -> ExitCode {
    carry_out(cli, &args.wait, &format!("drain {}", args.function), |client| {
        Ok(ControlRequest::Pause { function: client.function(&args.function)?, drain: true })
    })
}

/// Has workers take jobs of a paused function again.
pub fn resume(cli: &Cli, args: &FunctionArgs) -> ExitCode {
    carry_out(cli, &args.wait, &format!("resume {}", args.function), |client| {
        Ok(ControlRequest::Resume { function: client.function(&args.function)? })
    })
}

/// Changes how many workers serve a function.
pub fn scale(cli: &Cli, args: &ScaleArgs) -> ExitCode {
    let ScaleArgs { function, workers, wait } = args;
    carry_out(cli, wait, &format!("scale {function} {workers}"), |client| {
        Ok(ControlRequest::Scale { function: client.function(function)?, workers: *workers })
    })
}

/// Changes the log level.
pub fn log_level(cli: &Cli, args: &LogLevelArgs) -> ExitCode {
    let period = match args.period.as_ref().map(configuration::timeout).transpose() {
        Ok(period) => period.flatten(),
        Err(text) => return fail(&text.replace("--timeout", "--for"), 2),
    };
    let milliseconds = period.map(|period| u64::try_from(period.as_millis()).unwrap_or(u64::MAX));
    let request = ControlRequest::LogLevel { level: args.level, milliseconds };
    with_manager(cli, |control| {
        match ControlClient::connect(control, DEADLINE).and_then(|mut client| client.tell(request)) {
            Ok(text) => finish(&format!("{}\n", escape(&text)), 0),
            Err(error) => fail_of(&error),
        }
    })
}

/// Sends a request, waits for its effect unless that is not wanted, and reports it.
fn carry_out(
    cli: &Cli,
    wait: &WaitArgs,
    command: &str,
    request: impl FnOnce(&ControlClient) -> Result<ControlRequest, ClientError>,
) -> ExitCode {
    let ask = |client: &mut ControlClient| {
        let request = request(client)?;
        let reply = client.request(request)?;
        let (finished, failed, reason) = ("request_finished", "request_failed", "result");
        Ok((Awaited { request: reply.request, finished, failed, reason }, reply))
    };
    ask_and_wait(cli, (wait.no_wait, wait.timeout.as_ref()), ask, |reply, outcome| report(command, reply, outcome))
}

fn report(command: &str, reply: &AcceptedReply, outcome: Outcome) -> ExitCode {
    let (command, begun) = (escape(command), escape(&reply.begun));
    match outcome {
        Outcome::Begun => finish(&format!("{begun}\n"), 0),
        Outcome::Done(done) => finish(&format!("{command}: {}\n", escape(done.text("result"))), 0),
        Outcome::Failed(reason) => fail(&format!("{command} failed: {}", escape(&reason)), 1),
        Outcome::Pending(waited) => {
            fail(&format!("{begun}, but that is not done after {waited:?}; the manager goes on with it"), Outcome::LATE)
        }
    }
}
