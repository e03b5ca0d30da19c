//! Runs the manager: everything before its loop, in the order that root's rights and daemonizing require.
//!
//! It checks configuration, user and directories while it can still report a mistake on the terminal. Then the process
//! detaches. Then, still as root, it opens log, pid file and state (`commands/start.rs`). Then it drops root, and only
//! then makes its socket and starts anything.

use std::collections::BTreeMap;
use std::process::ExitCode;

use tokio::runtime::Builder;

use super::configuration::{self, Configuration};
use super::preconditions::check;
use super::start::{PreparedManager, prepare};
use crate::cli::Cli;
use crate::plan::plan;
use crate::plugins::name::FunctionName;
use crate::plugins::scan;
use crate::supervisor::{Audience, Manager};
use crate::system::daemonize::{StartReport, close_inherited, daemonize, keep_own_rights};
use crate::system::errors::{reason, shown};
use crate::system::privileges::RunUser;
use crate::system::runtime;
use crate::system::service::ServiceManager;

/// Wrong usage or configuration.
const USAGE: u8 = 2;
/// Could not start.
const FAILED: u8 = 1;

/// Runs a manager to its end.
pub fn run(cli: &Cli) -> ExitCode {
    let (configuration, user) = match checked(configuration::read(cli)) {
        Ok(both) => both,
        Err(code) => return ExitCode::from(code),
    };
    match cli.manager.dump_config {
        true => dump(&configuration),
        false => ExitCode::from(start(configuration, user.as_ref(), Audience::Operators)),
    }
}

/// As [`run`], for the author of a function, with a configuration that `dev` has made. Returns the exit code.
pub fn run_for_author(configuration: Result<Configuration, String>) -> u8 {
    match checked(configuration) {
        Ok((configuration, user)) => start(configuration, user.as_ref(), Audience::Author),
        Err(code) => code,
    }
}

/// Reports what is wrong with a configuration, or finds the user to run as.
fn checked(read: Result<Configuration, String>) -> Result<(Configuration, Option<RunUser>), u8> {
    let wrong = |text: String| {
        text.lines().for_each(|line| eprintln!("gm-native: {line}"));
        USAGE
    };
    let read = read.map_err(wrong)?;
    let user = check(&read).map_err(|text| {
        // A warning may explain an error.
        read.warnings.iter().for_each(|warning| eprintln!("gm-native: warning: {warning}"));
        wrong(text)
    })?;
    Ok((read, user))
}

/// Runs a manager with a checked configuration to its end, in the background if configured.
fn start(configuration: Configuration, user: Option<&RunUser>, audience: Audience) -> u8 {
    if configuration.config.daemon {
        close_inherited();
    }
    keep_own_rights();
    // Before there is a thread or a child, and in the process that the service manager started.
    let service = ServiceManager::from_env();
    let announce = match configuration.config.daemon.then(daemonize).unwrap_or_else(|| Ok(StartReport::foreground())) {
        Ok(announce) => announce,
        Err(error) => {
            eprintln!("gm-native: cannot run in the background: {}", reason(&error));
            return FAILED;
        }
    };
    match prepare(configuration, user, service, audience) {
        Ok(prepared) => serve(prepared, announce),
        Err(text) => {
            announce.failed(FAILED, &format!("gm-native: {text}"));
            FAILED
        }
    }
}

/// `-Z`: prints the effective configuration and the plan; starts nothing.
fn dump(configuration: &Configuration) -> ExitCode {
    let config = &configuration.config;
    let scan = scan::scan(&config.worker_dirs);
    let found: Vec<FunctionName> = scan.candidates.keys().cloned().collect();
    let plan = plan(config, &found, &BTreeMap::new());
    let mut text = config.dump();
    text.extend_from_slice(plan.to_string().as_bytes());
    let of_files = scan
        .failed_dirs
        .iter()
        .map(|(_, why)| config.written_paths.explain(why))
        .chain(scan.warnings.iter().map(ToString::to_string));
    let missed = scan.unserved_obstacles().map(|obstacle| format!("{} {}", shown(&obstacle.path), obstacle.reason));
    let of_files = of_files.chain(missed);
    let missing = plan.missing.iter().map(ToString::to_string);
    let warnings = configuration.warnings.iter().cloned().chain(of_files).chain(missing);
    warnings.for_each(|warning| eprintln!("gm-native: warning: {warning}"));
    super::output::finish(&String::from_utf8_lossy(&text), 0)
}

/// The loop, on the main thread: a worker's parent-death signal follows the thread that started it.
fn serve(prepared: PreparedManager, announce: StartReport) -> u8 {
    let runtime = match runtime::build(Builder::new_current_thread().max_blocking_threads(1)) {
        Ok(runtime) => runtime,
        Err(error) => {
            announce.failed(FAILED, &format!("gm-native: cannot start its loop: {}", reason(&error)));
            return FAILED;
        }
    };
    let local = tokio::task::LocalSet::new();
    let code = local.block_on(&runtime, Manager::run(prepared(announce)));
    // A scan that hangs in a directory must not delay the exit.
    runtime.shutdown_background();
    code
}
