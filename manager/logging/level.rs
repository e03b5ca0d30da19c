//! The levels of log lines, and the verbosity from which each is shown.

use std::fmt;

/// The level of a log line, least verbose first. Names and order are GearmanManager's, as it documents them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Level {
    /// Something failed and needs attention.
    Error,
    /// Something is wrong, and gm-native continues.
    Warn,
    /// Start-up and shutdown of the manager (`-v`).
    Info,
    /// Starts and exits of processes (`-vv`).
    Proc,
    /// Workers and their jobs (`-vvv`).
    Worker,
    /// For debugging; the first level at which workloads appear (`-vvvv`).
    Debug,
    /// Everything, such as every packet (`-vvvvv`).
    Crazy,
}

impl Level {
    /// Every level, least verbose first.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 7] =
        [Self::Error, Self::Warn, Self::Info, Self::Proc, Self::Worker, Self::Debug, Self::Crazy];

    /// The word for this level in a line.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Proc => "PROC",
            Self::Worker => "WORKER",
            Self::Debug => "DEBUG",
            Self::Crazy => "CRAZY",
        }
    }

    /// The lowest verbosity (the number of `v`s) that shows this level.
    pub(crate) const fn verbosity(self) -> u8 {
        match self {
            Self::Error | Self::Warn => 0,
            Self::Info => 1,
            Self::Proc => 2,
            Self::Worker => 3,
            Self::Debug => 4,
            Self::Crazy => 5,
        }
    }

    /// The nearest level of the `log` crate, which fern uses. On a terminal it selects the colour.
    pub(super) const fn record_level(self) -> log::Level {
        match self {
            Self::Error => log::Level::Error,
            Self::Warn => log::Level::Warn,
            Self::Info | Self::Proc => log::Level::Info,
            Self::Worker | Self::Debug => log::Level::Debug,
            Self::Crazy => log::Level::Trace,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbosity_shows_levels_as_documented() {
        let shown = |verbosity: u8| -> Vec<&str> {
            Level::ALL.iter().filter(|level| level.verbosity() <= verbosity).map(|level| level.label()).collect()
        };
        assert_eq!(shown(0), ["ERROR", "WARN"]);
        assert_eq!(shown(1), ["ERROR", "WARN", "INFO"]);
        assert_eq!(shown(2), ["ERROR", "WARN", "INFO", "PROC"]);
        assert_eq!(shown(3), ["ERROR", "WARN", "INFO", "PROC", "WORKER"]);
        assert_eq!(shown(4), ["ERROR", "WARN", "INFO", "PROC", "WORKER", "DEBUG"]);
        assert_eq!(shown(5), ["ERROR", "WARN", "INFO", "PROC", "WORKER", "DEBUG", "CRAZY"]);
    }
}
