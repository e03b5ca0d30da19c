//! Records of the `log` crate, on their way to the manager's log.

use std::sync::OnceLock;

use log::{LevelFilter, Metadata, Record};

use crate::abi::{Host, level};
use crate::{logging, panics};

static FORWARD: OnceLock<Forward> = OnceLock::new();

struct Forward(&'static Host);

/// Takes the place of the library's logger. An author who set another keeps it.
pub(crate) fn install(host: &'static Host) {
    if FORWARD.set(Forward(host)).is_ok()
        && let Some(forward) = FORWARD.get()
        && log::set_logger(forward).is_ok()
    {
        set_wanted();
    }
}

/// Tells the crate's macros, which look at a static of theirs and so cost nothing where a record is not wanted.
pub(crate) fn set_wanted() {
    let filter = match logging::highest() {
        0 => LevelFilter::Off,
        level::ERROR => LevelFilter::Error,
        level::WARN => LevelFilter::Warn,
        level::INFO => LevelFilter::Info,
        level::DEBUG => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    log::set_max_level(filter);
}

impl log::Log for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        logging::wanted(number(metadata.level()))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let text = record.args().as_str().map_or_else(|| record.args().to_string().into(), std::borrow::Cow::from);
            let level = number(record.level());
            (self.0.log)(panics::current_job(), level, record.target().into(), (&*text).into());
        }
    }

    fn flush(&self) {}
}

/// The interface counts as the crate does: errors are 1.
fn number(level: log::Level) -> u8 {
    level as u8
}
