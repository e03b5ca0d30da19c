//! What a manager opens before its loop: with root's rights if it was started as root, which it then drops.

use std::path::{Path, PathBuf};

use nix::libc;

use super::configuration::Configuration;
use super::preconditions::{check_directories, config_error, reader_group};
use super::sibling::ParallelManager;
use super::stopping::stopping;
use crate::config::{Config, default_control};
use crate::control::{Access, Feed, read_only_socket};
use crate::logging::{Level, Logger, OpenError};
use crate::plugins::library_copy::is_noexec;
use crate::plugins::store::Store;
use crate::supervisor::effects::{EffectResources, log_target};
use crate::supervisor::{Audience, ConfigReader, HeldPaths, ManagerSetup};
use crate::system::daemonize::StartReport;
use crate::system::errors::reason;
use crate::system::pid_file::{PidFile, PidFileError};
use crate::system::privileges::RunUser;
use crate::system::service::ServiceManager;
use crate::system::spawn::Program;
use crate::system::state_lock::{LockSeen, StateLock, StateLockError};
use crate::system::worker_program::NoWorkerProgram;
use crate::system::{directory, group_dir, handlers, private_dir};

/// A manager that is ready to run and only needs the caller to report to.
pub(super) type PreparedManager = Box<dyn FnOnce(StartReport) -> ManagerSetup>;

/// Opens everything that may need root, tries what the user to run as needs, and drops root.
pub(super) fn prepare(
    configuration: Configuration,
    user: Option<&RunUser>,
    service: ServiceManager,
    audience: Audience,
) -> Result<PreparedManager, String> {
    let mut logger = Logger::early();
    open_log(&mut logger, &configuration.config, user)?;
    let pid_file = open_pid_file(&mut logger, &configuration, user)?;
    let lock = open_state(&configuration, user)?;
    let read_only = open_to_group(&mut logger, &configuration, user)?;
    let Configuration { origin, config, mut warnings, identity, state_dir, usual_place: _, control } = configuration;
    if let Some(user) = user {
        user.drop_privileges().map_err(|error| error.to_string())?;
    }
    warnings.extend(logger.cannot_recreate().map(|log| config_error(&config, "log_file", &cannot_recreate_log(log))));
    let (store, notes) = Store::open(&state_dir).map_err(|error| error.to_string())?;
    notes.iter().for_each(|note| logger.log(Level::Warn, note));
    let mut program = Program::open()
        .map_err(|error| format!("cannot open its own program: {}; is /proc mounted?", reason(&error)))?;
    if let Err(why) = program.open_worker_program() {
        let level = if matches!(why, NoWorkerProgram::Missing(_)) { Level::Info } else { Level::Warn };
        logger.log(level, &format!("{why}: workers run gm-native itself, and each takes about 80 KiB more"));
    }
    // Processes that plugins leave behind become ours, so that they are reaped.
    nix::sys::prctl::set_child_subreaper(true)
        .map_err(|error| format!("cannot become a subreaper: {}", reason(&error)))?;
    let outlives_terminal = config.daemon || handlers::is_ignored(libc::SIGHUP);
    let foreground = !outlives_terminal && std::io::IsTerminal::is_terminal(&std::io::stdin());
    let tools = EffectResources { config, logger, audience, feed: Feed::new(), program, store };
    let reread: ConfigReader = Box::new(move || {
        let read = origin.read_again()?;
        check_directories(&read.config)?;
        Ok((read.config, read.warnings))
    });
    let instance = identity.instance();
    let held = HeldPaths { pid_file, lock };
    let readers = read_only.map(|path| (path, Access::ReadOnly));
    let sockets = std::iter::once((control, Access::Full)).chain(readers).collect();
    Ok(Box::new(move |announce| ManagerSetup {
        resources: tools,
        warnings,
        announce,
        service,
        instance,
        held,
        sockets,
        foreground,
        reread,
    }))
}

/// The warning for a log in a directory that the manager's user may not write to.
fn cannot_recreate_log(log: &Path) -> String {
    format!(
        "the user the manager runs as cannot create the log {} again, since it may not write to its directory: logrotate \
         has to create the new file (create MODE USER GROUP) or to truncate the old one (copytruncate)",
        log.display()
    )
}

/// Acts with the rights of the user to run as, if there is one.
fn as_user<T>(user: Option<&RunUser>, act: impl FnOnce() -> T) -> Result<T, String> {
    match user {
        Some(user) => user.try_out(act).map_err(|error| error.to_string()),
        None => Ok(act()),
    }
}

/// Opens the log as the user to run as if that is allowed, else as root, who then gives it to the user.
fn open_log(logger: &mut Logger, config: &Config, user: Option<&RunUser>) -> Result<(), String> {
    let target = log_target(config).map_err(|text| config_error(config, "log_file", &text))?;
    let failed = |error: OpenError| config_error(config, "log_file", &error);
    if let Some(user) = user {
        if as_user(Some(user), || logger.open(&target, config.verbose))?.is_ok() {
            return Ok(());
        }
        logger.open(&target, config.verbose).map_err(failed)?;
        let handed = logger.hand_over(user.uid(), user.gid());
        return handed
            .map_err(|error| format!("the log cannot be given to the user {}: {}", user.name(), reason(&error)));
    }
    logger.open(&target, config.verbose).map_err(failed)
}

/// Takes the pid file, and warns if it is not safe from the user to run as.
fn open_pid_file(
    logger: &mut Logger,
    configuration: &Configuration,
    user: Option<&RunUser>,
) -> Result<Option<PidFile>, String> {
    let config = &configuration.config;
    let Some(path) = config.pid_file.as_deref() else { return Ok(None) };
    let file = PidFile::create(path).map_err(|error| {
        let stops = match error {
            PidFileError::Held { pid, .. } => stopping(&configuration.control, pid, config.graceful_shutdown_wait_time),
            PidFileError::Failed { .. } => None,
        };
        stops.unwrap_or_else(|| config_error(config, "pid_file", &error))
    })?;
    if let Some(user) = user.filter(|user| !user.uid().is_root())
        && let Some(dir) = as_user(Some(user), || directory::replaceable_in(path))?
    {
        let (path, dir, name) = (path.display(), dir.display(), user.name());
        logger.log(
            Level::Warn,
            &format!(
                "pid file {path}: user {name} (-u) may write to {dir}, and so put a file there with which root kills \
                 another process; name one in a directory that only root may write, such as /run"
            ),
        );
    }
    Ok(Some(file))
}

/// Creates and locks the state directory as the user to run as, so that missing rights of that user show here.
fn open_state(configuration: &Configuration, user: Option<&RunUser>) -> Result<StateLock, String> {
    let Configuration { config, identity, state_dir, control, .. } = configuration;
    let grace = config.graceful_shutdown_wait_time;
    let refusal = |sibling: ParallelManager| {
        stopping(&default_control(&sibling.state_dir), None, grace).unwrap_or_else(|| sibling.refusal())
    };
    let alone = || configuration.sibling().map_or(Ok(()), |sibling| Err(refusal(sibling)));
    alone()?;
    // Whoever it belongs to: a message about the directory would not help.
    if let Some(seen) = LockSeen::inspect(state_dir).filter(LockSeen::is_held) {
        if let Some(text) = stopping(control, seen.pid, grace) {
            return Err(text);
        }
        return Err(config_error(config, "state_dir", &StateLockError::Held { dir: state_dir.clone(), pid: seen.pid }));
    }
    private_dir::state(state_dir, user).map_err(|refusal| {
        let remedy = refusal.remedy(state_dir).map_or(String::new(), |remedy| format!("{remedy}, or "));
        let text =
            format!("the state directory {} {refusal}; {remedy}name another with --state-dir DIR", state_dir.display());
        config_error(config, "state_dir", &text)
    })?;
    let record = identity.record();
    let taken = as_user(user, || StateLock::take(state_dir, &record).map_err(|error| why(state_dir, user, error)))?;
    let lock = taken.map_err(|text| config_error(config, "state_dir", &text))?;
    // Otherwise it would refuse one good library after the other.
    if is_noexec(state_dir) {
        let text = format!(
            "the state directory {} is on a file system mounted noexec, and workers load libraries from it; name another \
             with --state-dir DIR, or mount that file system with exec",
            state_dir.display()
        );
        return Err(config_error(config, "state_dir", &text));
    }
    // If two start at once, each may have checked before the other was there.
    alone()?;
    Ok(lock)
}

/// Makes the directory of the read-only socket, with root's rights: the user to run as need not be a member of the group.
/// Returns the socket's path, if one is wanted.
fn open_to_group(
    logger: &mut Logger,
    configuration: &Configuration,
    user: Option<&RunUser>,
) -> Result<Option<PathBuf>, String> {
    let Configuration { config, control, .. } = configuration;
    let Some(group) = reader_group(config)? else { return Ok(None) };
    let (dir, socket) = read_only_socket(control);
    group_dir::make(&dir, user, &group).map_err(|refused| {
        let text = format!("the directory {} for the group {:?} {refused}", dir.display(), group.name());
        config_error(config, "control_group", &text)
    })?;
    if let Some(closed) = group_dir::closed_to(&dir, &group) {
        let text = format!(
            "the members of the group {:?} cannot reach {}: {} is closed to them; chmod o+x that, or name another place \
             with control",
            group.name(),
            socket.display(),
            closed.display()
        );
        logger.log(Level::Warn, &config_error(config, "control_group", &text));
    }
    Ok(Some(socket))
}

/// Why the state directory could not be locked, from its user's point of view.
fn why(state_dir: &Path, user: Option<&RunUser>, error: StateLockError) -> String {
    match (user, directory::closed_on_the_way(state_dir)) {
        (Some(user), Some(closed)) => format!(
            "user {:?} (-u) cannot reach the state directory {}: {} is closed to it; chmod o+x that, or name another \
             with --state-dir DIR",
            user.name(),
            state_dir.display(),
            closed.display()
        ),
        _ => error.to_string(),
    }
}
