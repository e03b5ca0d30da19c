//! Where on the screen things are. Pure.

use ratatui::layout::{Constraint, Layout, Rect};

use super::model::Screen;

/// Title, summary and tabs.
const TOP: u16 = 3;
/// The message and the keys.
const BOTTOM: u16 = 2;
/// The names of columns.
const HEADINGS: u16 = 1;
/// The latest events below the functions, with their title.
const LATEST: u16 = 6;
/// The facts about a function, above its workers.
pub(super) const FACTS: u16 = 10;
/// The lowest screen with the latest events below the functions.
const ROOMY: u16 = 20;
/// Below this size there is nothing to see.
pub(super) const SMALLEST: (u16, u16) = (40, 10);

/// The parts of the screen.
pub(super) struct Parts {
    pub(super) title: Rect,
    pub(super) summary: Rect,
    pub(super) tabs: Rect,
    pub(super) body: Rect,
    pub(super) message: Rect,
    pub(super) keys: Rect,
}

pub(super) fn parts(area: Rect) -> Parts {
    let [title, summary, tabs, body, message, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(area);
    Parts { title, summary, tabs, body, message, keys }
}

/// The list of functions, and the latest events below it.
pub(super) fn functions(body: Rect) -> [Rect; 2] {
    let latest = if body.height.saturating_add(TOP).saturating_add(BOTTOM) >= ROOMY { LATEST } else { 0 };
    Layout::vertical([Constraint::Fill(1), Constraint::Length(latest)]).areas(body)
}

/// The facts about a function, and its workers.
pub(super) fn function(body: Rect) -> [Rect; 2] {
    Layout::vertical([Constraint::Length(FACTS), Constraint::Fill(1)]).areas(body)
}

/// How many rows the list of a screen of this height has.
pub(super) fn list_rows(screen: &Screen, height: u16) -> usize {
    let body = height.saturating_sub(TOP).saturating_sub(BOTTOM);
    usize::from(match screen {
        Screen::Functions if height >= ROOMY => body.saturating_sub(HEADINGS).saturating_sub(LATEST),
        Screen::Functions | Screen::Workers => body.saturating_sub(HEADINGS),
        Screen::Function(_) => body.saturating_sub(HEADINGS).saturating_sub(FACTS),
        Screen::Events | Screen::Problems | Screen::Worker(_) => body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_the_rows_that_are_counted() {
        for height in [10, 19, 20, 24, 40] {
            let body = parts(Rect::new(0, 0, 80, height)).body;
            let rows = |list: Rect| usize::from(list.height.saturating_sub(HEADINGS));
            assert_eq!(list_rows(&Screen::Functions, height), rows(functions(body)[0]), "{height}");
            assert_eq!(list_rows(&Screen::Workers, height), rows(body), "{height}");
            assert_eq!(list_rows(&Screen::Function("sum".into()), height), rows(function(body)[1]), "{height}");
            assert_eq!(list_rows(&Screen::Events, height), usize::from(body.height), "{height}");
        }
        assert_eq!(list_rows(&Screen::Workers, 0), 0);
    }
}
