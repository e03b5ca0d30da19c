//! What `ps` shows of a worker. Every title is made beforehand, so that a change costs a copy.

use crate::system::title;
use crate::worker::orders::Orders;

/// The titles of one worker.
pub struct Titles {
    what: String,
    idle: String,
    running: Vec<String>,
}

impl Titles {
    /// Makes them, and gives the process its short name.
    pub fn new(orders: &Orders) -> Self {
        let what = match orders.functions.as_slice() {
            [only] => format!("gm-native: {} {}", only.name, only.version),
            several => format!("gm-native: {} functions", several.len()),
        };
        let running = match orders.functions.as_slice() {
            [_] => vec![format!("{what} [running]")],
            several => several.iter().map(|f| format!("{what} [running {} {}]", f.name, f.version)).collect(),
        };
        title::set_short(&format!("gm:{}", orders.functions.first().map_or("", |f| &f.name)));
        Self { idle: format!("{what} [idle]"), running, what }
    }

    /// Loading, connecting.
    pub fn starting(&self) {
        title::set(&format!("{} [starting]", self.what));
    }

    /// Waiting for a job.
    pub fn idle(&self) {
        title::set(&self.idle);
    }

    /// Running a job of the function.
    pub fn running(&self, function: usize) {
        if let Some(title) = self.running.get(function) {
            title::set(title);
        }
    }

    /// Taking leave.
    pub fn leaving(&self) {
        title::set(&format!("{} [leaving]", self.what));
    }
}
