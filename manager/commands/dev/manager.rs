//! The manager that `dev` starts: this program again, with its configuration as arguments.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};

use super::options::Setting;
use crate::commands::{configuration, run};
use crate::config::{KEYS, Overrides};

/// The hidden first argument. It is followed by the pid of the parent, the configuration file or an empty argument, and
/// then key, value, key, value.
pub const ROLE: &str = "--gm-native-dev-manager";

/// What a manager is started with.
pub(super) struct ManagerOptions {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// Keys set over it, already checked.
    pub settings: Vec<Setting>,
}

impl ManagerOptions {
    /// Starts it; only the main thread may call this. It leads its own process group, so that Ctrl-C reaches it once,
    /// by [`send_signal`], and not also from the terminal.
    ///
    /// # Errors
    /// The system's: no more processes, or no `/proc`.
    pub(super) fn start(&self) -> io::Result<Child> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("gm-native").arg(ROLE).arg(std::process::id().to_string());
        command.arg(self.file.as_deref().unwrap_or(Path::new("")));
        for (key, _, value) in &self.settings {
            command.arg(key).arg(value);
        }
        command.process_group(0).stdin(Stdio::null()).spawn()
    }
}

/// Sends a signal to a manager that was not reaped yet.
pub(super) fn send_signal(manager: &Child, signal: Signal) {
    // An error means that it has just ended.
    let _ = kill(Pid::from_raw(manager.id().cast_signed()), signal);
}

/// The manager's main function. It stops as on SIGTERM when its parent dies.
pub fn main() -> ! {
    let mut arguments = std::env::args_os().skip(2);
    let parent = arguments.next();
    let _ = set_pdeathsig(Signal::SIGTERM);
    if parent.as_deref() != Some(OsStr::new(&getppid().to_string())) {
        std::process::exit(1);
    }
    let file = arguments.next().filter(|file| !file.is_empty()).map(PathBuf::from);
    let rest: Vec<OsString> = arguments.collect();
    let code = run::run_for_author(configuration::read_with(file.as_deref(), &overrides(&rest)));
    std::process::exit(code.into())
}

fn overrides(arguments: &[OsString]) -> Overrides {
    let setting = |pair: &[OsString]| {
        let key = KEYS.iter().find(|key| pair[0] == key.name)?;
        Some((key.name, "dev", pair[1].clone()))
    };
    arguments.chunks_exact(2).filter_map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_over_whole() {
        let list: Vec<OsString> = ["host", "a:1", "worker_dir", "b c", "odd", "x"].map(Into::into).into();
        let expected = [("host", "dev", "a:1".into()), ("worker_dir", "dev", "b c".into())];
        assert_eq!(overrides(&list), expected.into_iter().collect());
    }
}
