//! Where the manager's events and the lines of its children go.

use crate::config::Config;
use crate::control::{EventLine, Feed};
use crate::logging::{Logger, date};
use crate::supervisor::audience::AudienceLog;
use crate::supervisor::event::Event;

use super::reload::log_target;

/// The log, and those who follow the events.
pub(in crate::supervisor) struct EventLog {
    pub(in crate::supervisor) logger: Logger,
    audience: AudienceLog,
    feed: Feed,
    /// Why the log could not be moved at the last reload, if that failed.
    pub(super) unopened: Option<String>,
    /// A log level that is in force in place of the configuration's.
    pub(super) level: Option<u8>,
    /// The event that ends the log, held back until there is nothing else to report.
    last: Option<Event>,
}

impl EventLog {
    pub(super) fn new(logger: Logger, audience: AudienceLog, feed: Feed) -> Self {
        Self { logger, audience, feed, unopened: None, level: None, last: None }
    }

    /// Logs an event and sends it to followers.
    pub(super) fn report(&mut self, event: &Event) {
        let pid = event.pid().and_then(|pid| u32::try_from(pid).ok()).unwrap_or_else(std::process::id);
        let time = date(std::time::SystemTime::now());
        let (_, since_midnight) = time.split_once(' ').unwrap_or_default();
        let (level, text) = self.audience.line(event, since_midnight.split('.').next().unwrap_or_default());
        self.logger.line(level, std::process::id(), &text);
        let (level, text) = (event.level(), event.line());
        self.feed.publish(&EventLine { time, level: level.label().into(), pid, text, event });
    }

    /// Keeps the event that ends the log.
    pub(super) fn report_last(&mut self, event: Event) {
        self.last = Some(event);
    }

    /// Reports the event that ends the log.
    pub(super) fn finish(mut self) -> Logger {
        self.last.take().into_iter().for_each(|event| self.report(&event));
        self.logger
    }

    /// Opens the log of a configuration.
    ///
    /// # Errors
    /// It cannot be opened: a clause. The old one stays.
    pub(super) fn open(&mut self, config: &Config) -> Result<(), String> {
        let target = log_target(config)?;
        self.logger.open(&target, config.verbose).map_err(|error| error.to_string())
    }
}
