//! `status --watch`: the status again each second. A terminal is redrawn; anything else gets one status after the other.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use ratatui::crossterm::terminal;

use crate::commands::output::{OutputFormat, Printed, fail, fail_of, print};
use crate::control::{ClientError, ErrorCode};
use crate::logging::escape;
use crate::system::errors::reason;

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// What a terminal without a size is taken for.
const USUAL: (usize, usize) = (80, 24);

/// Where it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Screen {
    /// A terminal, which is redrawn.
    Terminal,
    /// A file or a pipe, with an empty line between two statuses.
    Text,
    /// A reader of JSON: one line each, and nothing else.
    Json,
}

impl Screen {
    fn of(format: OutputFormat) -> Self {
        match format {
            OutputFormat::Json => Self::Json,
            OutputFormat::Text if io::stdout().is_terminal() => Self::Terminal,
            OutputFormat::Text => Self::Text,
        }
    }
}

/// Shows what `ask` returns until Ctrl-C. A manager that is gone is waited for.
pub(super) fn run(ask: impl Fn() -> Result<String, ClientError>, format: OutputFormat) -> ExitCode {
    let screen = Screen::of(format);
    end_at_interrupt(screen);
    let (mut is_first, mut was_gone) = (true, false);
    loop {
        let (shown, is_gone) = match ask() {
            Ok(text) => (text, false),
            Err(error) if may_come_back(&error) => (format!("{}; waiting for it\n", escape(&error.to_string())), true),
            Err(error) => return fail_of(&error),
        };
        let printed = match screen {
            Screen::Terminal => print(&redrawn(&shown, size(), is_first)),
            // It is said once.
            Screen::Text | Screen::Json if is_gone && was_gone => Ok(Printed::Read),
            Screen::Json if is_gone => {
                eprint!("gm-native: {shown}");
                Ok(Printed::Read)
            }
            Screen::Text if !is_first => print(&format!("\n{shown}")),
            Screen::Text | Screen::Json => print(&shown),
        };
        match printed {
            Ok(Printed::Read) => (is_first, was_gone) = (false, is_gone),
            Ok(Printed::NobodyReads) => return ExitCode::SUCCESS,
            Err(error) => return fail(&format!("cannot write to standard output: {}", reason(&error)), 1),
        }
        thread::sleep(INTERVAL);
    }
}

/// Ctrl-C ends the command as any other end would: with 0, at the start of a line.
fn end_at_interrupt(screen: Screen) {
    let interrupt = SigSet::from(Signal::SIGINT);
    // It cannot fail for a signal that exists.
    let _ = interrupt.thread_block();
    thread::spawn(move || {
        let _ = interrupt.wait();
        if screen == Screen::Terminal {
            let _ = print("\n");
        }
        std::process::exit(0);
    });
}

/// Whether the manager may answer the next time. One that belongs to another user will not.
fn may_come_back(error: &ClientError) -> bool {
    match error {
        ClientError::NoManager { .. } | ClientError::Deadline { .. } | ClientError::Protocol { .. } => true,
        ClientError::Refused { refusal, .. } => {
            matches!(refusal.code, ErrorCode::Stopping | ErrorCode::Busy | ErrorCode::Deadline)
        }
        ClientError::NotAllowed { .. } => false,
    }
}

fn size() -> (usize, usize) {
    terminal::size().map_or(USUAL, |(columns, rows)| (columns.into(), rows.into()))
}

/// What redraws a terminal with as much of the text as fits: each line is cut, since a line that wraps moves all others.
fn redrawn(text: &str, (columns, rows): (usize, usize), is_first: bool) -> String {
    let lines: Vec<&str> = text.lines().collect();
    // The cursor has the last row.
    let room = rows.saturating_sub(1).max(1);
    let shown = if lines.len() > room { room - 1 } else { lines.len() };
    let rest = (lines.len() > shown).then(|| format!("... and {} lines more", lines.len() - shown));
    let mut out = String::from(if is_first { "\x1b[2J\x1b[H" } else { "\x1b[H" });
    for line in lines[..shown].iter().copied().chain(rest.as_deref()) {
        out.extend(line.chars().take(columns));
        out.push_str("\x1b[K\n");
    }
    out.push_str("\x1b[J");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_what_fits() {
        for (text, size, expected) in [
            ("", (80, 24), ""),
            ("one\ntwo\n", (80, 24), "one|two|"),
            ("one\ntwo\nthree\n", (3, 24), "one|two|thr|"),
            ("one\ntwo\nthree\n", (80, 4), "one|two|three|"),
            ("one\ntwo\nthree\n", (80, 3), "one|... and 2 lines more|"),
            ("one\ntwo\n", (80, 1), "... and 2 lines more|"),
            ("one\ntwo\n", (0, 0), "|"),
            ("gr\u{fc}n\n", (3, 24), "gr\u{fc}|"),
        ] {
            let drawn = redrawn(text, size, false);
            let expected = format!("\x1b[H{}\x1b[J", expected.replace('|', "\x1b[K\n"));
            assert_eq!(drawn, expected, "{text:?} in {size:?}");
        }
        assert!(redrawn("", (80, 24), true).starts_with("\x1b[2J"));
    }
}
