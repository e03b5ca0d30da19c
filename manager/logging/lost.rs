//! Lines that could not be written.

use super::Target;

/// How many lines were lost since the target last worked, and why the first of them was.
#[derive(Debug, Default)]
pub(super) struct Lost {
    lines: u64,
    reason: String,
}

impl Lost {
    /// Counts one more. Of an outage the first reason is the one to know.
    pub(super) fn count(&mut self, reason: impl ToString) {
        if self.lines == 0 {
            self.reason = reason.to_string();
        }
        self.lines += 1;
    }

    /// The sentence for the log, where lines were lost.
    pub(super) fn sentence(&self, target: Option<&Target>) -> Option<String> {
        let Self { lines, reason } = self;
        let target = target.map_or_else(|| "the log".into(), ToString::to_string);
        match lines {
            0 => None,
            1 => Some(format!("1 log line was lost: {target}: {reason}")),
            _ => Some(format!("{lines} log lines were lost: {target}: {reason}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_keeps_the_first_reason() {
        let mut lost = Lost::default();
        assert_eq!(lost.sentence(None), None);
        lost.count("No space left on device");
        assert_eq!(lost.sentence(None).unwrap(), "1 log line was lost: the log: No space left on device");
        lost.count("Input/output error");
        let target = Target::File("/var/log/gm.log".into());
        assert_eq!(
            lost.sentence(Some(&target)).unwrap(),
            "2 log lines were lost: log file /var/log/gm.log: No space left on device"
        );
    }
}
