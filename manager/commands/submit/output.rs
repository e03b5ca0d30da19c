//! What a caller sees of a running job: data on standard output, the rest on standard error.

use std::io::{self, ErrorKind, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::logging::escape;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// As a bar, on a terminal that can erase.
    Bar,
    /// As lines, on one that cannot.
    Lines,
    /// Not at all: standard error is no terminal.
    Nothing,
}

impl Progress {
    /// By whether standard error is a terminal, and by its type in TERM.
    fn on(is_terminal: bool, term: Option<&str>) -> Self {
        match (is_terminal, term) {
            (false, _) => Self::Nothing,
            (true, None | Some("" | "dumb")) => Self::Lines,
            (true, Some(_)) => Self::Bar,
        }
    }
}

/// Standard output and standard error of one job.
pub(super) struct JobOutput {
    progress: Progress,
    /// Exists once there was progress.
    bar: Option<ProgressBar>,
    nobody_reads: bool,
    /// Whether the last line written to a terminal has no end yet.
    open_line: bool,
}

impl JobOutput {
    pub(super) fn new() -> Self {
        let term = std::env::var("TERM").ok();
        let progress = Progress::on(io::stderr().is_terminal(), term.as_deref());
        Self { progress, bar: None, nobody_reads: false, open_line: false }
    }

    /// Shows progress. If `of` is 0, the function does not know the total.
    pub(super) fn progress(&mut self, done: u64, of: u64) -> io::Result<()> {
        match self.progress {
            Progress::Nothing => {}
            // Failing to write to standard error is no reason to stop.
            Progress::Lines => drop(writeln!(io::stderr(), "{done} of {of}")),
            Progress::Bar => {
                // When the bar is erased, it would erase the start of its line.
                self.end_line();
                let bar = self.bar.get_or_insert_with(new_bar);
                match of {
                    0 => bar.unset_length(),
                    of => bar.set_length(of),
                }
                bar.set_position(done);
            }
        }
        Ok(())
    }

    /// Writes data or a result unchanged. A reader that has seen enough (`| head`) does not end the job.
    pub(super) fn data(&mut self, data: &[u8]) -> io::Result<()> {
        if self.nobody_reads {
            return Ok(());
        }
        self.open_line = data.last().map_or(self.open_line, |last| *last != b'\n') && io::stdout().is_terminal();
        if self.open_line {
            self.clear_bar();
        }
        let written = self.beside_the_bar(|| {
            let mut out = io::stdout().lock();
            out.write_all(data).and_then(|()| out.flush())
        });
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.nobody_reads = true;
                Ok(())
            }
            written => written,
        }
    }

    /// Writes a warning as lines that cannot control the terminal.
    pub(super) fn warning(&mut self, text: &[u8]) -> io::Result<()> {
        let lines = lines(text);
        self.end_line();
        self.beside_the_bar(|| drop(io::stderr().write_all(lines.as_bytes())));
        Ok(())
    }

    /// Ends a line that the data has left open on the terminal, so that what comes next, such as a shell's prompt,
    /// starts a new one. Programs get the bytes unchanged.
    fn end_line(&mut self) {
        if std::mem::take(&mut self.open_line) {
            let _ = writeln!(io::stdout());
        }
    }

    fn clear_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn beside_the_bar<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

impl Drop for JobOutput {
    fn drop(&mut self) {
        self.clear_bar();
        self.end_line();
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("[{bar:40}] {pos}/{len} {percent}% {elapsed}") {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

/// Each line escaped, the last one ended.
fn lines(text: &[u8]) -> String {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.split(|byte| *byte == b'\n').map(|line| format!("{}\n", escape(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_for_terminals_that_can() {
        for (is_terminal, term, progress) in [
            (false, Some("xterm"), Progress::Nothing),
            (false, None, Progress::Nothing),
            (true, Some("xterm"), Progress::Bar),
            (true, Some("dumb"), Progress::Lines),
            (true, Some(""), Progress::Lines),
            (true, None, Progress::Lines),
        ] {
            assert_eq!(Progress::on(is_terminal, term), progress, "{is_terminal} {term:?}");
        }
    }

    #[test]
    fn warnings_are_lines_and_steer_nothing() {
        for (text, shown) in [
            ("one", "one\n"),
            ("one\n", "one\n"),
            ("a\nb", "a\nb\n"),
            ("\n\n", "\n\n"),
            ("\x1b[2J", "\\x1b[2J\n"),
            ("", "\n"),
        ] {
            assert_eq!(lines(text.as_bytes()), shown, "{text:?}");
        }
    }

    #[test]
    fn the_bar_has_its_style() {
        assert!(ProgressStyle::with_template("[{bar:40}] {pos}/{len} {percent}% {elapsed}").is_ok());
    }
}
