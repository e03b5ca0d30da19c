//! The keys that `dev` sets: those of its command line, and those that suit a laptop. Pure.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::Path;

use crate::cli::Cli;
use crate::config::{Config, ValueOrigin};

/// How errors name the origin of a key that only `dev` sets.
const DEV: &str = "dev";

/// Logs workers and their jobs.
const VERBOSE: &str = "3";

/// A key, the option that sets it, and its value.
pub(super) type Setting = (&'static str, &'static str, OsString);

/// The keys to set over those of a configuration file; [`with_projects`] has one more. `home` is a directory for this
/// run.
pub(super) fn options(cli: &Cli, home: &Path, server: Option<SocketAddr>) -> Vec<Setting> {
    let given = cli.overrides();
    let state = match &cli.place.state_dir {
        Some(dir) => Path::new(dir).to_owned(),
        None => home.join("state"),
    };
    let mut all: Vec<Setting> = Vec::new();
    let mut set = |key, value: OsString| all.push((key, DEV, value));
    // A manager in production with the same file must not be disturbed.
    set("daemon", "0".into());
    set("log_file", "stdout".into());
    set("pid_file", "none".into());
    set("user", "none".into());
    set("state_dir", state.clone().into());
    set("control", state.join("control.sock").into());
    set("verbose", VERBOSE.into());
    // An author wants new code to answer at once, not after its canary.
    set("canary_seconds", "0".into());
    set("canary_jobs", "1".into());
    if let Some(address) = server {
        set("host", address.to_string().into());
    }
    // Later ones override.
    all.extend(given);
    all
}

/// Adds a directory of this run's own for projects after the worker directories of the configuration file, unless options
/// name the directories. Builds are not put into the file's directories, which production may read; those that are not
/// `there` are left out, since the file may be for production, and this a laptop.
pub(super) fn with_projects(config: &mut Config, home: &Path, there: impl Fn(&Path) -> bool) -> Option<Setting> {
    let origin = config.origins.of(None, "worker_dir");
    match origin {
        ValueOrigin::Option(_) => return None,
        ValueOrigin::Default => config.worker_dirs.clear(),
        _ => config.worker_dirs.retain(|dir| there(dir)),
    }
    config.worker_dirs.push(home.join("workers"));
    let dirs: Vec<&OsStr> = config.worker_dirs.iter().map(|dir| dir.as_os_str()).collect();
    Some(("worker_dir", DEV, dirs.join(OsStr::new(","))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(line: &str, key: &str) -> String {
        let cli = Cli::parse_args(std::iter::once("gm-native").chain(line.split(' ')), "1").unwrap();
        let all = options(&cli, Path::new("/tmp/x"), Some(([127, 0, 0, 1], 7).into()));
        let found = all.into_iter().rev().find(|(found, ..)| *found == key);
        found.map(|(.., value)| value.into_string().unwrap()).unwrap_or_default()
    }

    #[test]
    fn the_command_line_counts_most() {
        for (line, key, expected) in [
            ("dev", "verbose", "3"),
            ("dev -v", "verbose", "1"),
            ("dev", "worker_dir", ""),
            ("dev -w w", "worker_dir", "w"),
            ("dev crate -w w", "worker_dir", "w"),
            ("dev", "host", "127.0.0.1:7"),
            ("dev", "state_dir", "/tmp/x/state"),
            ("dev", "control", "/tmp/x/state/control.sock"),
            ("dev --state-dir /s", "control", "/s/control.sock"),
            ("dev --state-dir /s --control /c", "control", "/c"),
            ("dev", "pid_file", "none"),
        ] {
            assert_eq!(value(line, key), expected, "{line}: {key}");
        }
    }
}
