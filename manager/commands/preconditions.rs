//! What has to hold outside the configuration file before a manager starts: directories, the user to run as, and what that
//! user may read.

use std::path::{Path, PathBuf};

use super::configuration::Configuration;
use crate::config::{Config, Diagnostic};
use crate::system::errors::{dangling, reason, reason_at};
use crate::system::group_dir::ReaderGroup;
use crate::system::privileges::RunUser;

/// Checks what may be wrong outside the file: directories, the user to run as, and what that user may read.
pub(super) fn check(read: &Configuration) -> Result<Option<RunUser>, String> {
    let config = &read.config;
    let user =
        config.user.as_deref().map(RunUser::lookup).transpose().map_err(|error| config_error(config, "user", &error));
    let user = match (check_directories(config), user, reader_group(config)) {
        (Ok(()), Ok(user), Ok(_)) => user,
        // Reports all at once, as all errors of the file.
        (directories, user, group) => {
            let errors = [directories.err(), user.err(), group.err()];
            return Err(errors.into_iter().flatten().collect::<Vec<_>>().join("\n"));
        }
    };
    if let Some(user) = &user {
        let file = read.origin.file();
        let denied =
            user.try_out(|| denied(&config.worker_dirs, file.as_deref())).map_err(|error| error.to_string())?;
        let sentence = |(what, why): &(String, String)| {
            let advice = "give that user access to it and to the directories above it, or name another user";
            config.written_paths.explain(&format!("{what} as user {:?} (-u): {why}; {advice}", user.name()))
        };
        if !denied.is_empty() {
            return Err(denied.iter().map(sentence).collect::<Vec<_>>().join("\n"));
        }
    }
    Ok(user)
}

/// What cannot be read, and why: worker directories, which are scanned again and again, and the configuration file,
/// which is read again at SIGHUP.
fn denied(worker_dirs: &[PathBuf], file: Option<&Path>) -> Vec<(String, String)> {
    let mut denied = Vec::new();
    for dir in worker_dirs {
        // A directory that does not exist (yet) has no owner.
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

/// The group whose members may look at the manager, if one is configured.
pub(super) fn reader_group(config: &Config) -> Result<Option<ReaderGroup>, String> {
    let group = config.control_group.as_deref().map(ReaderGroup::lookup).transpose();
    group.map_err(|error| config_error(config, "control_group", &error))
}

pub(super) fn check_directories(config: &Config) -> Result<(), String> {
    let missing: Vec<&PathBuf> = config.worker_dirs.iter().filter(|dir| !dir.is_dir()).collect();
    if missing.len() == config.worker_dirs.len() {
        let advice = "create it and copy libraries there, or name another with -w DIR";
        let sentence = |dir: &&PathBuf| {
            config_error(config, "worker_dir", &format!("worker_dir {}: {advice}", missing_directory(dir)))
        };
        return Err(missing.iter().map(sentence).collect::<Vec<_>>().join("\n"));
    }
    Ok(())
}

fn missing_directory(dir: &Path) -> String {
    match dangling(dir) {
        Some(link) => format!("{} does not exist: {}", dir.display(), link.sentence(dir)),
        None if dir.exists() => format!("{} is not a directory", dir.display()),
        None => format!("{} does not exist", dir.display()),
    }
}

/// What is wrong with the value of a key, and its origin, in the form of the configuration's errors.
pub(super) fn config_error(config: &Config, key: &str, problem: &impl ToString) -> String {
    let text = config.written_paths.explain(&problem.to_string());
    Diagnostic { origin: config.origins.of(None, key), text }.to_string()
}
