//! The process title of a worker in `ps`. All titles are built in advance, so that a change costs only a copy.

use crate::system::proctitle;
use crate::worker::messages::WorkerConfig;

/// The titles of one worker.
pub(super) struct ProcTitle {
    what: String,
    idle: String,
    running: Vec<String>,
}

impl ProcTitle {
    /// Builds the titles, and sets the process's short name.
    pub(super) fn new(config: &WorkerConfig) -> Self {
        let what = match config.functions.as_slice() {
            [only] => format!("gm-native: {} {}", only.name, only.version),
            several => format!("gm-native: {} functions", several.len()),
        };
        let running = match config.functions.as_slice() {
            [_] => vec![format!("{what} [running]")],
            several => several.iter().map(|f| format!("{what} [running {} {}]", f.name, f.version)).collect(),
        };
        proctitle::set_short(&format!("gm:{}", config.functions.first().map_or("", |f| &f.name)));
        Self { idle: format!("{what} [idle]"), running, what }
    }

    /// Loading, connecting.
    pub(super) fn starting(&self) {
        proctitle::set(&format!("{} [starting]", self.what));
    }

    /// Waiting for a job.
    pub(super) fn idle(&self) {
        proctitle::set(&self.idle);
    }

    /// Running a job of the function.
    pub(super) fn running(&self, function: usize) {
        if let Some(title) = self.running.get(function) {
            proctitle::set(title);
        }
    }

    /// Draining.
    pub(super) fn draining(&self) {
        proctitle::set(&format!("{} [leaving]", self.what));
    }
}
