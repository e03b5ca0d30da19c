//! The terminal: taken over, and always given back as it was.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::mem::ManuallyDrop;

use nix::sys::signal::{Signal, raise};
use ratatui::Frame;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::style::ResetColor;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::layout::Rect;

use super::view::Theme;

/// How much is written to the terminal at once: a screen.
const BUFFER: usize = 64 * 1024;

/// Why `top` cannot run here, a sentence, if it cannot.
pub(super) fn unsuitable() -> Option<String> {
    unsuitable_with(io::stdout().is_terminal(), std::env::var("TERM").ok().as_deref())
}

fn unsuitable_with(is_terminal: bool, term: Option<&str>) -> Option<String> {
    const INSTEAD: &str = "use gm-native status or gm-native events --follow";
    match term {
        _ if !is_terminal => Some(format!("top draws on a terminal, and standard output is none; {INSTEAD}")),
        None | Some("") => Some(format!("top needs to know the terminal, and TERM is not set; {INSTEAD}")),
        Some("dumb") => Some(format!("top needs a terminal that can move its cursor, and TERM is dumb; {INSTEAD}")),
        Some(_) => None,
    }
}

/// What the environment says about the terminal.
pub(super) fn theme() -> Theme {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(|name| is_set(name));
    let locale = locale.and_then(|name| std::env::var(name).ok()).unwrap_or_default();
    Theme { colours: !is_set("NO_COLOR"), unicode: is_utf8(&locale) }
}

fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// A terminal that is taken over.
pub(super) struct Terminal {
    /// Never dropped: that would print on a terminal that is gone, and panic.
    screen: ManuallyDrop<ratatui::Terminal<CrosstermBackend<BufWriter<Stdout>>>>,
}

impl Terminal {
    /// Takes the terminal over. It is given back when this is dropped, and before the message of a panic.
    pub(super) fn take() -> io::Result<Self> {
        let message = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            message(panic);
            // A thread that is missing would leave a screen that no longer changes.
            std::process::exit(101);
        }));
        let writer = BufWriter::with_capacity(BUFFER, io::stdout());
        let screen = ratatui::Terminal::new(CrosstermBackend::new(writer))?;
        let mut terminal = Self { screen: ManuallyDrop::new(screen) };
        terminal.take_again()?;
        Ok(terminal)
    }

    /// Takes it over after it was given back, and draws nothing yet.
    pub(super) fn take_again(&mut self) -> io::Result<()> {
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        // Not clear(): it asks the terminal where the cursor is, and the thread that reads keys would get the answer.
        let size = self.screen.size()?;
        self.screen.resize(Rect::new(0, 0, size.width, size.height))
    }

    /// Its width and height.
    pub(super) fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.screen.size()?;
        Ok((size.width, size.height))
    }

    /// Draws what has changed.
    pub(super) fn draw(&mut self, view: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.screen.draw(view).map(|_| ())
    }

    /// Gives the terminal back, stops this process as the shell expects, and goes on when it is continued.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        give_back();
        // Does nothing where nobody could continue us: then this goes on at once.
        let _ = raise(Signal::SIGTSTP);
        self.take_again()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// As it was. If the terminal is gone, there is nothing to restore.
fn give_back() {
    let _ = execute!(io::stdout(), ResetColor, LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
    let _ = io::stdout().flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_cannot_run() {
        for (is_terminal, term, expected) in [
            (true, Some("xterm-256color"), None),
            (true, Some("vt100"), None),
            (false, Some("xterm"), Some("standard output is none")),
            (false, None, Some("standard output is none")),
            (true, Some("dumb"), Some("TERM is dumb")),
            (true, Some(""), Some("TERM is not set")),
            (true, None, Some("TERM is not set")),
        ] {
            let text = unsuitable_with(is_terminal, term);
            assert_eq!(text.is_some(), expected.is_some(), "{is_terminal} {term:?}");
            assert!(text.unwrap_or_default().contains(expected.unwrap_or_default()), "{is_terminal} {term:?}");
        }
    }

    #[test]
    fn locales() {
        for (locale, expected) in [("en_US.UTF-8", true), ("C.utf8", true), ("C", false), ("", false)] {
            assert_eq!(is_utf8(locale), expected, "{locale}");
        }
    }
}
