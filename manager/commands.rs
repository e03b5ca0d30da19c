//! One small file per command, and the dispatch to it.

pub mod call;
pub mod check;
mod child;
mod configuration;
pub mod crashes;
pub mod dev;
pub mod events;
pub mod managers;
pub mod new;
mod outcome;
pub mod output;
mod preconditions;
pub mod quarantine;
mod records;
pub mod retry;
pub mod rollback;
pub mod run;
mod sibling;
mod start;
pub mod status;
pub mod steering;
pub mod stop;
mod stopping;
pub mod submit;
mod table;
pub mod top;
pub mod versions;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use nix::sys::signal::SigSet;

use crate::cli::{Cli, Command, StatusArgs};
use crate::config::nearest;
use crate::plugins::probe;
use crate::post_mortem;
use crate::supervisor::{guardian, resolve};
use crate::system::{file_size_limit, handlers, tunables};
use crate::worker;
use output::OutputFormat;

/// If a manager started this program as one of its children, becomes that child and never returns.
pub fn run_if_child(first_argument: Option<&OsStr>) {
    run_if_worker(first_argument);
    match first_argument.and_then(OsStr::to_str) {
        Some(probe::ROLE) => probe::main(),
        Some(resolve::ROLE) => resolve::main(),
        Some(post_mortem::ROLE) => post_mortem::main(),
        Some(call::ROLE) => call::main(),
        Some(dev::ROLE) => dev::main(),
        _ => {}
    }
}

/// The same for the children that the worker program is for.
pub fn run_if_worker(first_argument: Option<&OsStr>) {
    // A manager starts its children with all signals blocked. Whoever started a manager or a command may have blocked
    // some too: then it would miss its own signals and its children's ends. Unblocking fails only for signals that do
    // not exist.
    let _ = SigSet::all().thread_unblock();
    tunables::restore();
    match first_argument.and_then(OsStr::to_str) {
        Some(worker::ROLE) => worker::main(),
        Some(guardian::ROLE) => guardian::main(),
        _ => {}
    }
}

/// Runs the command line.
pub fn run(cli: &Cli) -> ExitCode {
    handlers::restore_interrupts();
    // It cannot fail for a signal that exists.
    let _ = file_size_limit::catch();
    let format = |json| if json { OutputFormat::Json } else { OutputFormat::Text };
    match &cli.command {
        None => run::run(cli),
        Some(Command::Status(StatusArgs { check: Some(level), json, .. })) => match find_manager(cli) {
            Ok(control) => status::check(&control, *level, format(*json)),
            Err(error) => status::unknown(&error.text),
        },
        Some(Command::Status(args)) => with_manager(cli, |control| status::show(control, args, format(args.json))),
        Some(Command::Dev(args)) => dev::run(cli, args),
        Some(Command::Submit(args)) => submit::run(cli, args),
        Some(Command::Versions(args)) => with_manager(cli, |control| versions::list(control, format(args.json))),
        Some(Command::Rollback(args)) => rollback::run(cli, args),
        Some(Command::Retry(args)) => retry::run(cli, args),
        Some(Command::Restart(args)) => steering::restart(cli, args),
        Some(Command::Kill(args)) => steering::kill(cli, args),
        Some(Command::Pause(args)) => steering::pause(cli, args),
        Some(Command::Resume(args)) => steering::resume(cli, args),
        Some(Command::Drain(args)) => steering::drain(cli, args),
        Some(Command::Scale(args)) => steering::scale(cli, args),
        Some(Command::Reload(args)) => steering::reload(cli, args),
        Some(Command::Stop(args)) => stop::run(cli, args),
        Some(Command::LogLevel(args)) => steering::log_level(cli, args),
        Some(Command::Events(args)) => with_manager(cli, |control| events::run(control, args, format(args.json))),
        Some(Command::Top) => with_manager(cli, top::run),
        Some(Command::Managers(args)) => managers::list(format(args.json)),
        Some(Command::Crashes(args)) => crashes::run(cli, args),
        Some(Command::Quarantine(args)) => quarantine::run(cli, args),
        Some(Command::Call(args)) => call::call(cli, args),
        Some(Command::Check(args)) => check::check(cli, args, format(args.json)),
        Some(Command::New(args)) => new::new(args),
    }
}

/// Prints what is wrong with a command line, or help or version. `status --check` prints it in a monitoring system's
/// form: there, exit code 2 would mean that something is down.
pub fn refuse(error: &clap::Error, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    if code == 0 {
        // If nothing reads it, there is nowhere to report that.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let arguments: Vec<OsString> = arguments.skip(1).collect();
    match is_check(&arguments) {
        true => status::unknown(text),
        false => output::fail(text.trim_end(), code),
    }
}

/// Whether a monitoring system asks, perhaps with a misspelt `--check`.
fn is_check(arguments: &[OsString]) -> bool {
    let is_option = |argument: &OsString| {
        let name = argument.to_str().and_then(|text| text.strip_prefix("--")?.split('=').next());
        name.is_some_and(|name| nearest(name, ["check"].into_iter()).is_some())
    };
    arguments.iter().any(|argument| argument == "status") && arguments.iter().any(is_option)
}

/// Finds the manager that the options select.
fn find_manager(cli: &Cli) -> Result<std::path::PathBuf, configuration::NotSelected> {
    let (control, mut warnings) = configuration::find(cli)?;
    if matches!(cli.command, Some(Command::Reload(_))) {
        // The manager reads the file itself, and its answer says what is wrong with it.
        warnings.clear();
    }
    warnings.iter().for_each(|warning| eprintln!("gm-native: warning: {warning}"));
    Ok(control)
}

/// Finds the manager that the options select, and talks to it.
fn with_manager(cli: &Cli, talk: impl FnOnce(&std::path::Path) -> ExitCode) -> ExitCode {
    match find_manager(cli) {
        Ok(control) => talk(&control),
        Err(error) => {
            error.text.lines().for_each(|line| eprintln!("gm-native: {line}"));
            ExitCode::from(error.code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_check_is_still_a_check() {
        for (line, expected) in [
            ("status --check", true),
            ("-c gm.ini status --check=life", true),
            ("status --chek", true),
            ("--cehck status", true),
            ("status --control x --jsno", false),
            ("-c gm.ini --config x status -x", false),
            ("status --help", false),
            ("check --check", false),
            ("status check", false),
        ] {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(is_check(&arguments), expected, "{line}");
        }
    }
}
