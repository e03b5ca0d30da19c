//! The manager: everything up to its loop, in the order that being root and going to the background ask for.
//!
//! Configuration, user and directories are checked while a mistake can still be said on the terminal; then the process
//! detaches; then, still as root, it opens log, pid file and state and hands them over; then it drops root; and only
//! then it makes its socket and starts anything.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::configuration::{self, Configuration};
use crate::cli::Cli;
use crate::config::{Config, Finding};
use crate::control::Feed;
use crate::logging::{Level, Logger};
use crate::plan::plan;
use crate::plugins::marks::Marks;
use crate::plugins::scan;
use crate::plugins::store::Store;
use crate::supervisor::effects::{Tools, log_target};
use crate::supervisor::{Manager, Reread, Setup};
use crate::system::daemonize::{Announce, close_inherited, daemonize};
use crate::system::errors::{dangling, reason, reason_at};
use crate::system::lock::StateLock;
use crate::system::pid_file::PidFile;
use crate::system::privileges::RunUser;
use crate::system::service::Service;
use crate::system::spawn::Program;

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
        false => ExitCode::from(start(configuration, user.as_ref())),
    }
}

/// As [`run`], with a configuration that was put together by a command. Returns the exit code.
pub fn run_with(configuration: Result<Configuration, String>) -> u8 {
    match checked(configuration) {
        Ok((configuration, user)) => start(configuration, user.as_ref()),
        Err(code) => code,
    }
}

/// Says what is wrong with a configuration, or finds the user to run as.
fn checked(read: Result<Configuration, String>) -> Result<(Configuration, Option<RunUser>), u8> {
    read.and_then(|read| check(&read).map(|user| (read, user))).map_err(|text| {
        text.lines().for_each(|line| eprintln!("gm-native: {line}"));
        USAGE
    })
}

/// Runs a manager with a checked configuration to its end, in the background where that says so.
fn start(configuration: Configuration, user: Option<&RunUser>) -> u8 {
    if configuration.config.daemon {
        close_inherited();
    }
    // Before there is a thread or a child, and by the process that the service manager has started.
    let service = Service::from_env();
    let announce = match configuration.config.daemon.then(daemonize).unwrap_or_else(|| Ok(Announce::foreground())) {
        Ok(announce) => announce,
        Err(error) => {
            eprintln!("gm-native: cannot run in the background: {}", reason(&error));
            return FAILED;
        }
    };
    match prepare(configuration, user, service) {
        Ok(prepared) => serve(prepared, announce),
        Err(text) => {
            announce.failed(FAILED, &format!("gm-native: {text}"));
            FAILED
        }
    }
}

/// What a user can have got wrong outside the file: directories, the user to run as, and what that one may read.
pub(super) fn check(read: &Configuration) -> Result<Option<RunUser>, String> {
    let config = &read.config;
    let user = config.user.as_deref().map(RunUser::lookup).transpose().map_err(|error| said_by(config, "user", &error));
    let user = match (check_directories(config), user) {
        (Ok(()), Ok(user)) => user,
        // Both at once, as all errors of the file.
        (directories, user) => {
            return Err([directories.err(), user.err()].into_iter().flatten().collect::<Vec<_>>().join("\n"));
        }
    };
    if let Some(user) = &user {
        let file = read.origin.file();
        let denied =
            user.try_out(|| denied(&config.worker_dirs, file.as_deref())).map_err(|error| error.to_string())?;
        let sentence = |(what, why): &(String, String)| {
            let advice = "give that user access to it and to the directories above it, or name another user";
            format!("{what} as user {:?} (-u): {why}; {advice}", user.name())
        };
        if !denied.is_empty() {
            return Err(denied.iter().map(sentence).collect::<Vec<_>>().join("\n"));
        }
    }
    Ok(user)
}

/// What cannot be read, and why: worker directories, all of which are scanned again and again, and the configuration,
/// which is read again at SIGHUP.
fn denied(worker_dirs: &[PathBuf], file: Option<&Path>) -> Vec<(String, String)> {
    let mut denied = Vec::new();
    for dir in worker_dirs {
        // A directory that is not there (yet) is nobody's.
        let searched = || match dir.join(".").metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(_) => std::fs::read_dir(dir).map(drop),
        };
        if let Err(error) = searched() {
            denied.push((format!("worker_dir {} cannot be read and searched", dir.display()), reason(&error)));
        }
    }
    if let Some(file) = file
        && let Err(error) = std::fs::File::open(file)
    {
        let what = format!("the configuration {}, which SIGHUP reads again, cannot be read", file.display());
        denied.push((what, reason_at(file, &error)));
    }
    denied
}

fn check_directories(config: &Config) -> Result<(), String> {
    let missing: Vec<&PathBuf> = config.worker_dirs.iter().filter(|dir| !dir.is_dir()).collect();
    if missing.len() == config.worker_dirs.len() {
        let dirs: Vec<String> = missing.iter().map(|dir| missing_directory(dir)).collect();
        let text = format!(
            "worker_dir {}: create it and copy libraries there, or name another with -w DIR",
            dirs.join(" and ")
        );
        return Err(said_by(config, "worker_dir", &text));
    }
    Ok(())
}

fn missing_directory(dir: &Path) -> String {
    match dangling(dir) {
        Some(link) => format!("{} is no directory: {}", dir.display(), link.sentence(dir)),
        None => format!("{} is no directory", dir.display()),
    }
}

/// What is wrong with the value of a key, and where that is from, as the errors of the configuration have it.
fn said_by(config: &Config, key: &str, problem: &impl ToString) -> String {
    Finding { origin: config.origins.of(None, key), text: problem.to_string() }.to_string()
}

/// `-Z`: the effective configuration and the plan, nothing started.
fn dump(configuration: &Configuration) -> ExitCode {
    let config = &configuration.config;
    let found: Vec<String> = scan::scan(&config.worker_dirs).candidates.into_keys().map(String::from).collect();
    let mut text = config.dump();
    text.extend_from_slice(plan(config, &found).to_string().as_bytes());
    configuration.warnings.iter().for_each(|warning| eprintln!("gm-native: warning: {warning}"));
    super::output::finish(&String::from_utf8_lossy(&text), 0)
}

/// What has to be held as long as the manager runs.
struct Prepared {
    setup: Box<dyn FnOnce(Announce) -> Setup>,
    _pid_file: Option<PidFile>,
    _lock: StateLock,
}

/// Opens everything that may need root, hands it over, and drops root.
fn prepare(configuration: Configuration, user: Option<&RunUser>, service: Service) -> Result<Prepared, String> {
    let Configuration { origin, config, warnings, instance, state_dir, control } = configuration;
    let mut logger = Logger::early();
    logger.open(&log_target(&config.log), config.verbose).map_err(|error| said_by(&config, "log_file", &error))?;
    let pid_file = config.pid_file.as_deref().map(PidFile::create).transpose();
    let pid_file = pid_file.map_err(|error| said_by(&config, "pid_file", &error))?;
    make_private(&state_dir, user.map(RunUser::uid)).map_err(|error| said_by(&config, "state_dir", &error))?;
    let lock = StateLock::take(&state_dir).map_err(|error| error.to_string())?;
    if let Some(user) = user {
        hand_over(user, &logger, pid_file.as_ref(), &lock, &state_dir)?;
        user.drop_privileges().map_err(|error| error.to_string())?;
    }
    let (store, notes) = Store::open(&state_dir).map_err(|error| error.to_string())?;
    let (marks, note) = Marks::open(&state_dir);
    notes.iter().chain(&note).for_each(|note| logger.say(Level::Warn, note));
    let program = Program::open()
        .map_err(|error| format!("cannot open its own program: {}; is /proc mounted?", reason(&error)))?;
    // Processes that plugins leave behind become ours, so that they are reaped.
    nix::sys::prctl::set_child_subreaper(true)
        .map_err(|error| format!("cannot become a subreaper: {}", reason(&error)))?;
    let foreground = !config.daemon && std::io::IsTerminal::is_terminal(&std::io::stdin());
    let tools = Tools { config, logger, feed: Feed::new(), program, store, marks };
    let reread: Reread = Box::new(move || {
        let read = origin.read_again()?;
        check_directories(&read.config)?;
        Ok((read.config, read.warnings))
    });
    let setup =
        move |announce| Setup { tools, warnings, announce, service, instance, state_dir, control, foreground, reread };
    Ok(Prepared { setup: Box::new(setup), _pid_file: pid_file, _lock: lock })
}

/// Makes the state directory, for its owner only, or sees that it is one: whoever owns it can put anything in its place,
/// so that has to be us or the user we run as.
fn make_private(dir: &Path, user: Option<nix::unistd::Uid>) -> Result<(), String> {
    let failed = |error: std::io::Error| {
        format!(
            "the state directory {} cannot be made: {}; name another with --state-dir DIR",
            dir.display(),
            reason(&error)
        )
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let meta = std::fs::symlink_metadata(dir).map_err(failed)?;
    if !meta.is_dir() {
        return Err(format!("the state directory {} is no directory but a link or a file", dir.display()));
    }
    let (owner, us) = (nix::unistd::Uid::from_raw(meta.uid()), nix::unistd::geteuid());
    if owner != us && Some(owner) != user {
        return Err(format!(
            "the state directory {} belongs to uid {owner}, not to uid {}: chown it, or name another with --state-dir DIR",
            dir.display(),
            user.unwrap_or(us),
        ));
    }
    if meta.mode() & 0o077 != 0 {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(dir, mode).map_err(failed)?;
    }
    Ok(())
}

fn hand_over(
    user: &RunUser,
    logger: &Logger,
    pid_file: Option<&PidFile>,
    lock: &StateLock,
    state_dir: &Path,
) -> Result<(), String> {
    let (uid, gid) = (user.uid(), user.gid());
    let state = || nix::unistd::chown(state_dir, Some(uid), Some(gid)).map_err(std::io::Error::from);
    let all = logger
        .hand_over(uid, gid)
        .and_then(|()| pid_file.map_or(Ok(()), |file| file.hand_over(uid, gid)))
        .and_then(|()| lock.hand_over(uid, gid))
        .and_then(|()| state());
    all.map_err(|error| {
        format!("log, pid file and state cannot be given to the user {}: {}", user.name(), reason(&error))
    })
}

/// The loop, on the main thread: a worker's death signal follows the thread that started it.
fn serve(prepared: Prepared, announce: Announce) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            announce.failed(FAILED, &format!("gm-native: cannot start its loop: {}", reason(&error)));
            return FAILED;
        }
    };
    let local = tokio::task::LocalSet::new();
    let code = local.block_on(&runtime, Manager::run((prepared.setup)(announce)));
    // A scan of a directory that hangs must not hold up the end.
    runtime.shutdown_background();
    code
}
