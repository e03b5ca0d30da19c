//! What covers the screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::super::model::KEYS;
use super::Theme;

/// The keys, and what they do.
pub(super) fn help(frame: &mut Frame<'_>, theme: Theme, area: Rect) {
    let lines: Vec<Line<'_>> = KEYS
        .iter()
        .map(|(keys, what)| Line::from(vec![Span::styled(format!(" {keys:<13}"), theme.strong()), Span::raw(*what)]))
        .chain([Line::styled(" * asks first", theme.faint())])
        .collect();
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2).min(area.height);
    let centered = area.centered(Constraint::Length(area.width.min(72)), Constraint::Length(height));
    frame.render_widget(Clear, centered);
    let frame_of_help = if theme.unicode { Block::bordered() } else { Block::bordered().border_set(ASCII_BORDER) };
    frame.render_widget(Paragraph::new(lines).block(frame_of_help.title(" Keys ")), centered);
}

const ASCII_BORDER: ratatui::symbols::border::Set<'static> = ratatui::symbols::border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};
