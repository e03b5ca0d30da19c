//! The keys that `dev` sets: those of the command line, and what makes a manager one for a laptop. Pure.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::Path;

use crate::cli::Cli;
use crate::config::{Config, ValueOrigin};

/// What errors name as the option of a key that only `dev` sets.
const DEV: &str = "dev";

/// Workers and their jobs.
const VERBOSE: &str = "3";

/// A key, the option it is set by, its value.
pub(super) type Setting = (&'static str, &'static str, OsString);

/// The keys to set over those of a configuration file; [`with_crates`] has one more. `home` is a directory of this
/// run's own.
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
    // An author wants to see new code answer at once, not to wait for its canary.
    set("canary_seconds", "0".into());
    set("canary_jobs", "1".into());
    if let Some(address) = server {
        set("host", address.to_string().into());
    }
    // What comes later counts.
    all.extend(given);
    all
}

/// Where crates are served, but for those directories that an option names: in a directory of this run's own, behind
/// those of the configuration file. What is built does not go into these, which production may read. Those that are not
/// `there` are left out: the file may be one for production, and this a laptop.
pub(super) fn with_crates(config: &mut Config, home: &Path, there: impl Fn(&Path) -> bool) -> Option<Setting> {
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
