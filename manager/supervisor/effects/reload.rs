//! Applies a reloaded configuration.

use super::Effects;
use std::path::Path;

use crate::config::{Config, LogTarget, NO_STREAM, stream};
use crate::logging::LogDestination;
use crate::worker::messages::Command;

/// How many links are followed to find a stream.
const MAX_LINKS: usize = 8;

impl Effects {
    /// Switches to another configuration. Existing workers are only told the new verbosity; new ones are started with
    /// the new configuration.
    pub(crate) fn reconfigure(&mut self, mut config: Config) -> Config {
        self.event_log.unopened = None;
        let before = self.log_level();
        if config.log != self.config.log
            && let Err(reason) = self.event_log.open(&config)
        {
            let text = format!("{reason}; the log stays where it is");
            self.event_log.unopened = Some(text.clone());
            self.report_error(text);
            config.log = self.config.log.clone();
        }
        self.guardian.set_grace(config.graceful_shutdown_wait_time);
        let (was, is) = (self.config.auto_update, config.auto_update);
        self.config = config;
        self.use_log_level(before);
        if was != is {
            self.watch_again();
        }
        self.config.clone()
    }

    /// The log level that is in force.
    pub(crate) fn log_level(&self) -> u8 {
        self.event_log.level.unwrap_or(self.config.verbose)
    }

    /// Has the log show this level instead of the configuration's; `None`: the configuration's again.
    pub(crate) fn set_log_level(&mut self, level: Option<u8>) {
        let before = self.log_level();
        self.event_log.level = level;
        self.use_log_level(before);
    }

    fn use_log_level(&mut self, before: u8) {
        let level = self.log_level();
        self.event_log.logger.set_verbosity(level);
        if level != before {
            let all: Vec<_> = self.workers.keys().copied().collect();
            all.into_iter().for_each(|id| self.command(id, &Command::Verbosity(level)));
        }
    }
}

/// The log target of a configuration.
///
/// # Errors
/// It leads to a stream that a background manager does not have.
pub(crate) fn log_target(config: &Config) -> Result<LogDestination, String> {
    Ok(match &config.log {
        LogTarget::Stdout => LogDestination::Stdout,
        LogTarget::Syslog => LogDestination::syslog(),
        LogTarget::Stream(number) => LogDestination::Stream(*number),
        LogTarget::File(path) => match linked_stream(path) {
            Some(_) if config.daemon => return Err(format!("log_file {} {NO_STREAM}", path.display())),
            Some(number) => LogDestination::Stream(number),
            None => LogDestination::File(path.clone()),
        },
    })
}

/// The stream that a link leads to: container images often have `gm.log -> /dev/stdout`. Nothing is opened through the
/// link.
fn linked_stream(path: &Path) -> Option<i32> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let to = std::fs::read_link(&path).ok()?;
        path = path.parent()?.join(to);
        if let Some(number) = stream(&path) {
            return Some(number);
        }
    }
    None
}
