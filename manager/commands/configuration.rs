//! The configuration as a command needs it: reads the file, applies the options, makes every path absolute, and finds
//! the manager's state directory and socket.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use nix::libc;

use super::managers;
use super::sibling::{ParallelManager, same_file};
use crate::cli::{Cli, ManagerLocation};
use crate::config::{self, Config, ConfigFile, InstanceIdentity, ManagerCommand, Overrides, ValueOrigin};
use crate::system::errors::{reason, reason_at};

/// The longest configuration file accepted: it is read completely.
const LONGEST: u64 = 16 << 20;

/// What it takes to read a configuration again, from any working directory.
#[derive(Clone)]
pub struct ConfigSource {
    path: Option<PathBuf>,
    overrides: Overrides,
    here: PathBuf,
    /// Determined once: read again as another user, or with other worker directories, it would be another manager's.
    found: Option<(InstanceIdentity, Option<PathBuf>)>,
}

impl ConfigSource {
    /// The file's path, valid in any working directory.
    pub fn file(&self) -> Option<PathBuf> {
        self.path.as_ref().map(|path| absolute(&self.here, path))
    }

    /// Reads it again.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read_again(&self) -> Result<Configuration, String> {
        read_from(Self { path: self.file(), ..self.clone() })
    }
}

/// A configuration and where it leads.
pub struct Configuration {
    /// Where from.
    pub origin: ConfigSource,
    /// Checked, with absolute paths.
    pub config: Config,
    /// Probable mistakes, one sentence each.
    pub warnings: Vec<String>,
    /// What identifies the manager.
    pub identity: InstanceIdentity,
    /// Its state directory.
    pub state_dir: PathBuf,
    /// Whether that is this manager's default, and no option names another.
    pub usual_place: bool,
    /// Its control socket.
    pub control: PathBuf,
}

/// Reads the configuration that a command line names.
///
/// # Errors
/// One sentence for each mistake, for the terminal; the exit code is 2.
pub(super) fn read(cli: &Cli) -> Result<Configuration, String> {
    read_with(cli.place.config.as_deref(), &cli.overrides().into_iter().collect())
}

/// As [`read`], from a file and options that come from another command than an operator's.
///
/// # Errors
/// As [`read`].
pub(super) fn read_with(path: Option<&Path>, overrides: &Overrides) -> Result<Configuration, String> {
    read_from(origin(path, overrides)?)
}

/// The default state directories of managers that this user has started, whether they run or not.
pub(super) fn default_state_dirs() -> Vec<PathBuf> {
    let Some(beside) = default_state_dir("") else { return Vec::new() };
    let entries = std::fs::read_dir(beside).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Why no manager is selected, and the exit code of the command.
pub(super) struct NotSelected {
    /// One sentence for each reason, a line each.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

impl From<String> for NotSelected {
    /// Wrong usage, or a file that cannot be used.
    fn from(text: String) -> Self {
        Self { text, code: 2 }
    }
}

/// The manager whose pid is in a file.
fn by_pid_file(path: &Path) -> Result<PathBuf, NotSelected> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("pid file {} cannot be read: {}", path.display(), reason_at(path, &error)))?;
    let none = |text: String| NotSelected { text, code: 3 };
    let Ok(pid) = text.trim().parse::<u32>() else {
        return Err(none(format!("pid file {} names no process: its manager has stopped", path.display())));
    };
    let manager = managers::running().into_iter().find(|manager| manager.pid() == Some(pid));
    let unknown =
        || none(format!("pid file {} names process {pid}, which is no manager that you may ask", path.display()));
    manager.map(|manager| manager.control).ok_or_else(unknown)
}

/// The control socket of the manager that a command line selects. Errors in the file must not stop you from asking a
/// manager that was started before: they become warnings.
///
/// # Errors
/// As [`read`], but only for a file that cannot be read at all, or an invalid option.
pub(super) fn find(cli: &Cli) -> Result<(PathBuf, Vec<String>), NotSelected> {
    let place = &cli.place;
    let is_named = names_manager(place);
    if let Some(path) = place.pid_file.as_ref().filter(|_| !is_named) {
        return Ok((by_pid_file(Path::new(path))?, Vec::new()));
    }
    let mut found = find_leniently(cli)?;
    if !is_named
        && found.control.symlink_metadata().is_err()
        && let Some(control) = managers::only(managers::running())?
    {
        return Ok((control, Vec::new()));
    }
    let control = match found.control.symlink_metadata() {
        // It was started by another path to the same file.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            found.sibling().map(|sibling| config::default_control(&sibling.state_dir))
        }
        _ => None,
    };
    let control = control.unwrap_or(found.control);
    if place.state_dir.is_none() && place.control.is_none() && control.symlink_metadata().is_err() {
        let others = managers::running().into_iter().filter_map(|manager| manager.elsewhere(&found.config.command));
        found.warnings.extend(others);
    }
    Ok((control, found.warnings))
}

/// Whether the options say which manager is meant, other than by its pid file.
fn names_manager(place: &ManagerLocation) -> bool {
    place.config.is_some() || !place.worker_dir.is_empty() || place.state_dir.is_some() || place.control.is_some()
}

/// The state directory of a running manager with this control socket.
fn state_dir_of(control: &Path) -> Result<PathBuf, String> {
    let dir = control.parent().filter(|dir| config::default_control(dir) == control);
    dir.map(Path::to_owned).ok_or_else(|| {
        format!(
            "where the manager at {} keeps its state is not known: name that directory with --state-dir DIR",
            control.display()
        )
    })
}

/// The state directory of the manager that a command line selects, whether it runs or not; with the configuration as far
/// as it can be used.
///
/// # Errors
/// As [`find`].
pub(super) fn find_state(cli: &Cli) -> Result<Configuration, NotSelected> {
    let mut found = find_leniently(cli)?;
    if let Some(path) = cli.place.pid_file.as_ref().filter(|_| !names_manager(&cli.place)) {
        found.control = by_pid_file(Path::new(path))?;
        found.state_dir = state_dir_of(&found.control)?;
        return Ok(found);
    }
    if !found.state_dir.exists()
        && let Some(sibling) = found.sibling()
    {
        found.control = config::default_control(&sibling.state_dir);
        found.state_dir = sibling.state_dir;
    }
    Ok(found)
}

/// Reads the configuration that a command line names, where what is wrong with the file becomes warnings.
fn find_leniently(cli: &Cli) -> Result<Configuration, String> {
    let origin = origin(cli.place.config.as_deref(), &cli.overrides().into_iter().collect())?;
    let path = origin.path.as_deref();
    let bytes = path.map(read_file).transpose()?;
    let source = path.zip(bytes.as_deref()).map(|(path, bytes)| ConfigFile { path, bytes });
    let (config, errors) = config::load_valid_values(source, &origin.overrides, &environment);
    if errors.errors.iter().any(|error| matches!(error.origin, ValueOrigin::Option(_))) {
        return Err(errors.to_string());
    }
    let warnings = errors.errors.iter().map(ToString::to_string).collect();
    located(origin, config, warnings)
}

impl Configuration {
    /// A manager that runs with this configuration under another name.
    pub fn sibling(&self) -> Option<ParallelManager> {
        self.usual_place.then(|| ParallelManager::find(&self.state_dir, &self.identity)).flatten()
    }
}

fn origin(path: Option<&Path>, overrides: &Overrides) -> Result<ConfigSource, String> {
    let here = working_directory().map_err(|error| {
        format!("the working directory cannot be found: {}; change to one that exists", reason(&error))
    })?;
    Ok(ConfigSource { path: path.map(Path::to_owned), overrides: overrides.clone(), here, found: None })
}

fn read_from(origin: ConfigSource) -> Result<Configuration, String> {
    let (config, warnings) = load_with(origin.path.as_deref(), &origin.overrides)?;
    located(origin, config, warnings)
}

/// The working directory by the path its user took: through the link of a release it stays the same.
fn working_directory() -> std::io::Result<PathBuf> {
    let is_here = |path: &Path| same_file(path, Path::new("."));
    match config::logical_directory(std::env::var_os("PWD").as_deref(), is_here) {
        Some(here) => Ok(here),
        None => std::env::current_dir(),
    }
}

/// Removes `.` and `//`, and `..` after a directory, which may be an old release that will be removed. Keeps links, and
/// a `..` after one, since a link's parent is not what precedes it in the path.
fn absolute(here: &Path, path: &Path) -> PathBuf {
    let mut at = PathBuf::new();
    for part in here.join(path).components() {
        let leads_back = part == Component::ParentDir
            && at.file_name().is_some()
            && at.symlink_metadata().is_ok_and(|found| found.is_dir());
        if leads_back {
            at.pop();
        } else {
            at.push(part);
        }
    }
    at
}

/// Makes paths absolute, and determines the manager's name, state directory and socket.
fn located(mut origin: ConfigSource, mut config: Config, warnings: Vec<String>) -> Result<Configuration, String> {
    config.resolve_paths(&origin.here, |path| absolute(&origin.here, path));
    let (identity, usual) = origin.found.take().unwrap_or_else(|| {
        let identity = origin
            .file()
            .map_or_else(|| InstanceIdentity::WorkerDirs(config.worker_dirs.clone()), InstanceIdentity::Config);
        let usual = default_state_dir(&identity.instance());
        (identity, usual)
    });
    let awaiting_storage = "there is no place for the state: HOME is not set; set it, or give --state-dir DIR";
    let usual_place = config.state_dir.is_none();
    let state_dir = config.state_dir.clone().or_else(|| usual.clone()).ok_or(awaiting_storage)?;
    let control = config.control.clone().unwrap_or_else(|| config::default_control(&state_dir));
    config.command = command(origin.file().as_deref(), &config);
    config.state_dir = Some(state_dir.clone());
    config.control = Some(control.clone());
    origin.found = Some((identity.clone(), usual));
    Ok(Configuration { origin, config, warnings, identity, state_dir, usual_place, control })
}

/// The `gm-native` command that addresses the manager of a configuration with absolute paths: with the file, and with
/// the location options of the command line.
fn command(file: Option<&Path>, config: &Config) -> ManagerCommand {
    let given = |key: &str| matches!(config.origins.of(None, key), ValueOrigin::Option(_));
    let control = config.control.as_deref().filter(|_| given("control"));
    let state_dir = config.state_dir.as_deref().filter(|_| given("state_dir") && control.is_none());
    // Without any of these the worker directories identify the manager.
    let dirs = config::joined(&config.worker_dirs);
    let worker_dir = Some(dirs.as_path()).filter(|_| file.is_none() && control.is_none() && state_dir.is_none());
    ManagerCommand::with([("-c", file), ("-w", worker_dir), ("--state-dir", state_dir), ("--control", control)])
}

/// Only the configuration, for commands that need no manager: its values and its warnings.
///
/// # Errors
/// As [`read`].
pub(super) fn load(cli: &Cli) -> Result<(Config, Vec<String>), String> {
    load_with(cli.place.config.as_deref(), &cli.overrides().into_iter().collect())
}

fn load_with(path: Option<&Path>, overrides: &Overrides) -> Result<(Config, Vec<String>), String> {
    let bytes = path.map(read_file).transpose()?;
    let source = path.zip(bytes.as_deref()).map(|(path, bytes)| ConfigFile { path, bytes });
    let (config, warnings) = config::load(source, overrides, &environment).map_err(|errors| errors.to_string())?;
    Ok((config, warnings.iter().map(ToString::to_string).collect()))
}

/// The value of `--timeout`, in the form of the key of that name: `5`, `5s`, `500ms`; `none` means none.
///
/// # Errors
/// It is not a duration.
pub(super) fn timeout(text: &OsString) -> Result<Option<Duration>, String> {
    let options: Overrides = [("timeout", "--timeout", text.clone())].into_iter().collect();
    let (config, _) = config::load(None, &options, &|_| None).map_err(|errors| errors.to_string())?;
    Ok(config.timeout)
}

/// A variable of the environment, as a configuration reads it.
fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| config::decode(value.as_encoded_bytes()))
}

fn default_state_dir(instance: &str) -> Option<PathBuf> {
    let (xdg, home) = (std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"));
    let euid = nix::unistd::geteuid().as_raw();
    config::default_state_dir(euid, xdg.as_deref(), home.as_deref(), instance)
}

/// Reads a regular file. Opens it without blocking, since a FIFO would wait for a writer.
fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| {
        format!("{}: the configuration cannot be read: {}", path.display(), reason_at(path, &error))
    };
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(format!("{}: the configuration has to be a regular file", path.display()));
    }
    if meta.len() > LONGEST {
        return Err(format!("{}: {} bytes are too many for a configuration", path.display(), meta.len()));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// H10: a release that the path enters only to leave it again may be removed.
    #[test]
    fn what_need_not_be_on_the_way_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("releases/1")).unwrap();
        std::os::unix::fs::symlink("releases/1", root.join("current")).unwrap();
        for (path, expected) in [
            ("releases/1/../../current/gm.ini", "current/gm.ini"),
            ("./releases/.././/gm.ini", "gm.ini"),
            ("current/../gm.ini", "current/../gm.ini"),
            ("current/../../gm.ini", "current/../../gm.ini"),
            ("gone/../gm.ini", "gone/../gm.ini"),
        ] {
            assert_eq!(absolute(&root, Path::new(path)), root.join(expected), "{path}");
        }
        assert_eq!(absolute(&root, Path::new("/../gm.ini")), Path::new("/../gm.ini"));
    }

    /// A configuration may be deployed by changing a link: the manager stays the same.
    #[test]
    fn read_again_it_is_the_same_manager() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("gm.ini");
        for (name, text) in [("one.ini", "count = 1\n"), ("two.ini", "count = 2\n")] {
            std::fs::write(dir.path().join(name), format!("[GearmanManager]\n{text}")).unwrap();
        }
        std::os::unix::fs::symlink("one.ini", &link).unwrap();
        let first = read_with(Some(&link), &Overrides::default()).unwrap();
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("two.ini", &link).unwrap();
        let again = first.origin.read_again().unwrap();
        assert_eq!(again.config.count, 2);
        assert_eq!((&again.identity, &again.state_dir), (&first.identity, &first.state_dir));
        assert_eq!(again.control, first.control);
    }
}
