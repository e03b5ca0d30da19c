//! How long a reader that has stopped reading may hold up the manager.

use std::time::{Duration, Instant};

/// Longest wait for one line.
const WAIT: Duration = Duration::from_millis(100);

/// After a wait that was in vain lines are dropped at once for so long, before one may wait again.
const PAUSE: Duration = Duration::from_secs(1);

/// A busy reader is waited for, since a short wait loses nothing; one that is stuck (a stopped syslogd, a terminal at
/// Ctrl-S) costs at most a tenth of the manager's time, and none of a worker's.
#[derive(Debug, Default)]
pub(super) struct WriteRetry {
    exhausted: Option<Instant>,
}

impl WriteRetry {
    /// How long the next line may wait.
    pub(super) fn left(&self, now: Instant) -> Duration {
        match self.exhausted {
            Some(at) if now.saturating_duration_since(at) < PAUSE => Duration::ZERO,
            _ => WAIT,
        }
    }

    /// A line waited and was not taken.
    pub(super) fn exhaust(&mut self, now: Instant) {
        self.exhausted = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_once_a_second() {
        let start = Instant::now();
        let mut write_retry = WriteRetry::default();
        assert_eq!(write_retry.left(start), WAIT);
        write_retry.exhaust(start);
        assert_eq!(write_retry.left(start), Duration::ZERO);
        assert_eq!(write_retry.left(start + PAUSE - Duration::from_millis(1)), Duration::ZERO);
        assert_eq!(write_retry.left(start + PAUSE), WAIT);
    }
}
