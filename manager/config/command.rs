//! The `gm-native` command that addresses one manager, so that commands in messages can be copied.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::system::shell::for_shell;

/// `gm-native` with the options that select a manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerCommand(String);

impl Default for ManagerCommand {
    fn default() -> Self {
        Self("gm-native".into())
    }
}

impl ManagerCommand {
    /// With these options, in this order. Options with `None` are left out.
    pub fn with<'a>(options: impl IntoIterator<Item = (&'a str, Option<&'a Path>)>) -> Self {
        let mut command = Self::default().0;
        for (option, value) in options.into_iter().filter_map(|(option, value)| Some((option, value?))) {
            command = format!("{command} {option} {}", for_shell(value.as_os_str()));
        }
        Self(command)
    }

    /// The command that does this to a function.
    pub fn on_function(&self, verb: &str, function: &str) -> String {
        format!("{self} {verb} {}", for_shell(OsStr::new(function)))
    }
}

impl fmt::Display for ManagerCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Several directories as one value of `-w`.
pub fn joined(dirs: &[PathBuf]) -> PathBuf {
    let dirs: Vec<&OsStr> = dirs.iter().map(|dir| dir.as_os_str()).collect();
    dirs.join(OsStr::new(",")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_that_a_reader_needs() {
        let command = ManagerCommand::with([("-c", Some(Path::new("/a b/gm.ini"))), ("--control", None)]);
        assert_eq!(command.on_function("retry", "sum"), "gm-native -c '/a b/gm.ini' retry sum");
        assert_eq!(ManagerCommand::default().on_function("retry", "two words"), "gm-native retry 'two words'");
        assert_eq!(joined(&["/a".into(), "/b".into()]), Path::new("/a,/b"));
    }
}
