//! Limits how much is logged about one job server: a flood of errors must not become a flood of log lines. Pure.

use std::time::Duration;

/// Lines allowed in each period.
const LINES: u32 = 10;
/// How long it lasts, from its first line on.
pub(crate) const PERIOD: Duration = Duration::from_secs(10);

/// What is left of a period's lines.
#[derive(Debug, Default)]
pub(crate) struct LogRateLimit {
    began: Duration,
    logged: u32,
    skipped: u64,
}

/// One line may be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogPermit {
    /// How many were suppressed since the line before.
    pub skipped: u64,
    /// It is the last one of this period.
    pub is_last: bool,
}

impl LogRateLimit {
    /// Asks to log a line. `None`: it is counted instead.
    pub(crate) fn ask(&mut self, now: Duration) -> Option<LogPermit> {
        if now >= self.began.saturating_add(PERIOD) {
            self.logged = 0;
        }
        if self.logged == 0 {
            self.began = now;
        }
        if self.logged == LINES {
            self.skipped += 1;
            return None;
        }
        self.logged += 1;
        Some(LogPermit { skipped: std::mem::take(&mut self.skipped), is_last: self.logged == LINES })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S8.
    #[test]
    fn a_flood_is_counted_and_a_new_period_begins_with_its_first_line() {
        let mut log_rate_limit = LogRateLimit::default();
        let start = Duration::from_secs(7);
        let mut flood = |from: Duration| -> Vec<LogPermit> {
            (0..1000).filter_map(|n| log_rate_limit.ask(from + Duration::from_millis(n))).collect()
        };
        let first = flood(start);
        assert_eq!(first.len(), 10);
        assert!(first.iter().enumerate().all(|(n, turn)| turn.skipped == 0 && turn.is_last == (n == 9)), "{first:?}");
        assert_eq!(flood(start + PERIOD - Duration::from_secs(1)), []);
        let next = flood(start + PERIOD * 3);
        assert_eq!((next.len(), next[0].skipped, next[1].skipped), (10, 1990, 0));
    }
}
