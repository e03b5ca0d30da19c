//! `max_memory`: detects that a worker exceeds its limit. The manager replaces it.
//!
//! What counts is resident memory, as `top` shows it. It is read between jobs, at intervals: most jobs cost only a
//! comparison of two times.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use crate::system::process::resident_in;
use crate::worker::messages::WorkerMessage;

/// The interval between two readings. Jobs may exceed the limit in between: that is what `max_memory_hard` is for.
const PAUSE: Duration = Duration::from_millis(100);

/// A worker's check of its own memory.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    most: u64,
    statm: Option<File>,
    next: Duration,
}

impl MemoryLimit {
    /// For a worker that has just loaded its functions and may use `most` bytes; `None`: no limit.
    pub(super) fn watch(most: Option<u64>) -> (Self, Option<WorkerMessage>) {
        let statm = most.and_then(|_| File::open("/proc/self/statm").ok());
        let mut memory_limit = Self { most: most.unwrap_or(u64::MAX), statm, next: Duration::ZERO };
        let fresh = memory_limit.resident().and_then(|bytes| memory_limit.beyond(bytes));
        (memory_limit, fresh.map(|bytes| WorkerMessage::MemoryLimitExceededAtStart { bytes }))
    }

    /// The message for the manager after a job, if any; at most one in all.
    pub(super) fn due_message(&mut self, now: Duration) -> Option<WorkerMessage> {
        if self.statm.is_none() || now < self.next {
            return None;
        }
        self.next = now.saturating_add(PAUSE);
        let bytes = self.resident()?;
        self.beyond(bytes).map(|bytes| WorkerMessage::MemoryLimitExceeded { bytes })
    }

    /// The size, if it exceeds the limit. After that it is not read again.
    fn beyond(&mut self, bytes: u64) -> Option<u64> {
        let beyond = bytes > self.most;
        if beyond {
            self.statm = None;
        }
        beyond.then_some(bytes)
    }

    fn resident(&self) -> Option<u64> {
        let mut text = [0; 128];
        let length = self.statm.as_ref()?.read_at(&mut text, 0).ok()?;
        resident_in(std::str::from_utf8(&text[..length]).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_limit_nothing_is_read() {
        let (mut memory_limit, message) = MemoryLimit::watch(None);
        assert!(message.is_none() && memory_limit.statm.is_none() && memory_limit.due_message(PAUSE).is_none());
    }

    #[test]
    fn a_worker_over_its_limit_at_start_reports_only_that() {
        let (mut memory_limit, message) = MemoryLimit::watch(Some(1));
        assert!(
            matches!(message, Some(WorkerMessage::MemoryLimitExceededAtStart { bytes }) if bytes > 1 << 16),
            "{message:?}"
        );
        assert_eq!(memory_limit.due_message(PAUSE), None, "or it would be replaced for ever");
    }

    #[test]
    fn growth_is_reported_once_and_checked_no_more_often_than_needed() {
        let (mut memory_limit, message) = MemoryLimit::watch(Some(u64::MAX - 1));
        assert_eq!((message, memory_limit.due_message(PAUSE)), (None, None));
        memory_limit.most = 1;
        assert_eq!(memory_limit.due_message(PAUSE * 2 - Duration::from_nanos(1)), None, "too soon");
        assert!(matches!(memory_limit.due_message(PAUSE * 2), Some(WorkerMessage::MemoryLimitExceeded { .. })));
        assert_eq!(memory_limit.due_message(PAUSE * 9), None);
    }
}
