//! An output of log lines, as the dispatch in front of it sees it.

use std::io;

/// An output that accepts whole lines.
pub(super) trait LogOutput: Send + 'static {
    /// Writes one line with its line end, or none of it.
    fn write_line(&mut self, line: &[u8]) -> io::Result<()>;

    /// What the output has to report about itself since the last call.
    fn take_notice(&mut self) -> Option<String> {
        None
    }
}
