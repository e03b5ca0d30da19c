//! Forwards records of the `log` crate to the manager's log.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use log::{LevelFilter, Metadata, Record};

use crate::abi::{Host, level};
use crate::{logging, panics};

/// Where records go, once a function has been set up.
static HOST: OnceLock<&'static Host> = OnceLock::new();

/// Whether the library's logger is this one.
static OURS: AtomicBool = AtomicBool::new(false);

struct Forward;

/// Installs itself as the library's logger, unless the author has set another one.
pub(crate) fn install(host: &'static Host) {
    if HOST.set(host).is_ok() && log::set_logger(&Forward).is_ok() {
        OURS.store(true, Ordering::Relaxed);
        set_wanted();
    }
}

/// Sets the crate's maximum level, a static that its macros check: an unwanted record costs almost nothing.
pub(crate) fn set_wanted() {
    if !OURS.load(Ordering::Relaxed) {
        return;
    }
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
        if self.enabled(record.metadata())
            && let Some(host) = HOST.get()
        {
            let text = record.args().as_str().map_or_else(|| record.args().to_string().into(), Cow::from);
            (host.log)(panics::current_job(), number(record.level()), record.target().into(), (&*text).into());
        }
    }

    fn flush(&self) {}
}

/// The interface numbers levels as the crate does: errors are 1.
fn number(level: log::Level) -> u8 {
    level as u8
}
