//! `gm-native log-level`: another log level than that of the configuration, for a while or until the next reload.

use std::time::Duration;

use super::Manager;
use crate::control::{Reply, Requester};
use crate::supervisor::event::{Event, seconds};
use crate::system::clock;

/// The highest level.
const MAX_LEVEL: u8 = 5;

impl Manager {
    pub(super) fn change_log_level(
        &mut self,
        level: u8,
        period: Option<Duration>,
        by: &Requester,
    ) -> Result<Reply, String> {
        if level > MAX_LEVEL {
            return Err(format!("the log level is a number from 0 to {MAX_LEVEL}, not {level}"));
        }
        let seconds = period.map(seconds);
        self.received("log-level", Some(level.to_string()), by);
        let event = Event::LogLevelChanged { log_level: level, seconds, is_over: false };
        // At the more verbose of the two levels, so that the line is not lost.
        if level < self.effects.log_level() {
            self.effects.report(&event);
            self.effects.set_log_level(Some(level));
        } else {
            self.effects.set_log_level(Some(level));
            self.effects.report(&event);
        }
        self.log_level_until = period.map(|period| clock::now().saturating_add(period));
        let until = seconds.map_or_else(|| "until the next reload".to_owned(), |seconds| format!("for {seconds} s"));
        Ok(Reply::Done(format!(
            "the log level is {level} {until}; in the configuration it is {}",
            self.effects.config.verbose
        )))
    }

    /// The time is over: the configuration's level is in force again.
    pub(super) fn restore_log_level(&mut self) {
        self.log_level_until = None;
        let log_level = self.effects.config.verbose;
        self.effects.report(&Event::LogLevelChanged { log_level, seconds: None, is_over: true });
        self.effects.set_log_level(None);
    }
}
