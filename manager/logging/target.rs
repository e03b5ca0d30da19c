//! Where the log goes: the value of the `-l` option and the `log_file` key.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::file::LogFile;
use super::sink::{DateStamp, LevelColor, LineDispatch, Sink};
use super::stdout::Stdout;
use super::syslog::Syslog;
use crate::system::errors::reason;
use crate::system::streams::StandardStream;

/// The socket local programs log to.
const SYSLOG_SOCKET: &str = "/dev/log";

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogDestination {
    /// Standard output: dated and coloured on a terminal, dated under supervisord, plain elsewhere.
    Stdout,
    /// A stream that was open when we were started, by its number; as [`LogDestination::Stdout`] otherwise.
    Stream(i32),
    /// A file that is appended to.
    File(PathBuf),
    /// The local syslog daemon at this socket; see [`LogDestination::syslog`].
    Syslog(PathBuf),
}

/// The log could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {target}: {}", reason(.source))]
pub(crate) struct OpenError {
    target: LogDestination,
    source: io::Error,
}

impl LogDestination {
    /// The local syslog daemon at its usual socket.
    pub(crate) fn syslog() -> Self {
        Self::Syslog(SYSLOG_SOCKET.into())
    }

    /// The same target, whatever the working directory will be.
    pub(super) fn absolute(&self) -> Result<Self, OpenError> {
        let absolute = |path| std::path::absolute(path).map_err(|source| OpenError { target: self.clone(), source });
        Ok(match self {
            Self::Stdout => Self::Stdout,
            Self::Stream(number) => Self::Stream(*number),
            Self::File(path) => Self::File(absolute(path)?),
            Self::Syslog(path) => Self::Syslog(absolute(path)?),
        })
    }

    pub(super) fn open(&self) -> Result<Sink, OpenError> {
        let failed = |source| OpenError { target: self.clone(), source };
        Ok(match self {
            Self::Stdout | Self::Stream(_) => {
                let stdout = match self {
                    Self::Stream(number) => Stdout::inherited(*number),
                    _ => Stdout::open(),
                };
                let stdout = stdout.map_err(failed)?;
                let variable = |name: &str| std::env::var(name).ok();
                let (dated, coloured) = match stdout.is_terminal() {
                    true => (DateStamp::Yes, colours(variable)),
                    false => (dates(variable), LevelColor::No),
                };
                Sink::Stdout(LineDispatch::new(stdout, dated, coloured))
            }
            Self::File(path) => {
                Sink::File(LineDispatch::new(LogFile::open(path).map_err(failed)?, DateStamp::Yes, LevelColor::No))
            }
            Self::Syslog(path) => Sink::Syslog(Syslog::open(path.clone())),
        })
    }
}

impl fmt::Display for LogDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::Stream(number) => write!(f, "{}", StandardStream(*number)),
            Self::File(path) => write!(f, "log file {}", path.display()),
            Self::Syslog(path) => write!(f, "the syslog daemon at {}", path.display()),
        }
    }
}

/// Whether lines carry a date where standard output is no terminal: journald and container runtimes add one, and
/// supervisord, which sets `SUPERVISOR_ENABLED`, does not.
fn dates(variable: impl Fn(&str) -> Option<String>) -> DateStamp {
    if variable("SUPERVISOR_ENABLED").is_some() { DateStamp::Yes } else { DateStamp::No }
}

/// Whether a terminal is to be coloured: `NO_COLOR` (set and not empty) says no, and so does a terminal that cannot.
fn colours(variable: impl Fn(&str) -> Option<String>) -> LevelColor {
    let unwanted = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    let unable = variable("TERM").is_none_or(|value| value == "dumb");
    if unwanted || unable { LevelColor::No } else { LevelColor::Yes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_where_a_terminal_has_them_and_nobody_objects() {
        let cases = [
            (None, Some("xterm"), LevelColor::Yes),
            (Some(""), Some("xterm"), LevelColor::Yes),
            (Some("1"), Some("xterm"), LevelColor::No),
            (None, Some("dumb"), LevelColor::No),
            (None, None, LevelColor::No),
        ];
        for (no_color, term, expected) in cases {
            let variable = |name: &str| if name == "NO_COLOR" { no_color } else { term }.map(str::to_owned);
            assert_eq!(colours(variable), expected, "NO_COLOR={no_color:?} TERM={term:?}");
        }
    }
}
