//! Another configuration, put into effect.

use super::Effects;
use crate::config::{Config, LogTarget};
use crate::logging::Target;
use crate::system::errors::reason;
use crate::worker::orders::Order;

impl Effects {
    /// Goes over to another configuration. Workers that are there only hear of its verbosity; the others will have been
    /// started with it.
    pub fn reconfigure(&mut self, mut config: Config) -> Config {
        if config.log == self.config.log {
            self.logger.set_verbosity(config.verbose);
        } else if let Err(error) = self.logger.open(&log_target(&config.log), config.verbose) {
            self.logger.set_verbosity(config.verbose);
            self.trouble(format!("{}; the log goes on where it is", reason(&error)));
            config.log = self.config.log.clone();
        }
        if config.verbose != self.config.verbose {
            let order = Order::Verbosity(config.verbose);
            let all: Vec<_> = self.workers.keys().copied().collect();
            all.into_iter().for_each(|id| self.order(id, &order));
        }
        let (was, is) = (self.config.auto_update, config.auto_update);
        self.config = config;
        if was != is {
            self.watch = None;
            self.watch();
        }
        self.config.clone()
    }
}

/// Where a configuration wants its log.
pub fn log_target(log: &LogTarget) -> Target {
    match log {
        LogTarget::Stdout => Target::Stdout,
        LogTarget::Syslog => Target::syslog(),
        LogTarget::File(path) => Target::File(path.clone()),
    }
}
