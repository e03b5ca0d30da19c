//! The lists of workers, events and problems, and what lists have in common.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::super::super::status::{age, short};
use super::super::cursor::page_start;
use super::super::model::Model;
use super::super::request::Event;
use super::Theme;
use crate::control::{JobServerState, WorkerCondition, WorkerStatus};
use crate::logging::escape;

/// `2026-11-27 12:00:00.123456`: where the time of day is.
const TIME_OF_DAY: std::ops::Range<usize> = 11..19;

/// Numbers are flush right.
pub(super) fn number(text: impl ToString, width: usize) -> String {
    format!("{:>width$}", text.to_string())
}

/// The rows of the page with the selection, and which of them is selected.
pub(super) fn page<T>(rows: &[T], selected: usize, length: usize) -> impl Iterator<Item = (&T, bool)> {
    let start = page_start(selected, length);
    rows.iter().enumerate().skip(start).take(length).map(move |(index, row)| (row, index == selected))
}

pub(super) fn style(is_selected: bool, theme: Theme) -> Style {
    if is_selected { theme.selected() } else { theme.plain() }
}

/// Says why a list is empty: `text`, unless a filter hides its rows.
pub(super) fn nothing(frame: &mut Frame<'_>, model: &Model, text: &str, area: Rect) {
    let text = match &model.status {
        None => return,
        // The list is asked for when it is to be shown.
        Some(status) if model.shows_workers() && status.workers.is_empty() && status.worker_counts.all > 0 => {
            "asking the manager ..."
        }
        Some(_) if !model.filter().is_empty() => "nothing matches the filter; Esc ends it",
        Some(_) => text,
    };
    let [_, below] = Layout::vertical([Constraint::Length(2), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Paragraph::new(text), below);
}

pub(super) fn workers(frame: &mut Frame<'_>, model: &Model, theme: Theme, area: Rect) {
    let headings = ["    PID", "STATE", "     JOBS", "    AGE", "FUNCTIONS", "   FOR", "JOB"];
    let widths = [
        Constraint::Length(7),
        Constraint::Length(10),
        Constraint::Length(9),
        Constraint::Length(7),
        Constraint::Fill(2),
        Constraint::Length(6),
        Constraint::Fill(2),
    ];
    let all = model.worker_rows();
    let rows = page(&all, model.workers.cursor.index(), model.page())
        .map(|(worker, is_selected)| Row::new(worker_cells(worker, theme)).style(style(is_selected, theme)));
    let table = Table::new(rows, widths).column_spacing(1).header(Row::new(headings).style(theme.heading()));
    frame.render_widget(table, area);
    if all.is_empty() {
        nothing(frame, model, "no worker runs", area);
    }
}

fn worker_cells<'a>(worker: &WorkerStatus, theme: Theme) -> Vec<Cell<'a>> {
    let state = match worker.state {
        WorkerCondition::Busy => theme.good(),
        WorkerCondition::Draining => theme.warning(),
        WorkerCondition::Killed | WorkerCondition::CutOff => theme.error(),
        _ => theme.plain(),
    };
    // Which function it is goes without saying in a worker of one.
    let function = worker.current_function.as_deref().filter(|_| worker.functions.len() != 1);
    let job = [function, worker.handle.as_deref()];
    let job: Vec<String> = job.into_iter().flatten().map(|text| escape(text).into_owned()).collect();
    vec![
        Cell::new(number(worker.pid, 7)),
        Cell::new(Span::styled(worker.state.label(), state)),
        Cell::new(number(worker.jobs, 9)),
        Cell::new(number(age(worker.started_seconds_ago), 7)),
        Cell::new(escape(&worker.functions.join(",")).into_owned()),
        Cell::new(number(worker.job_seconds.map(short).unwrap_or_default(), 6)),
        Cell::new(job.join(" ")),
    ]
}

/// An event as a line: the time of day and the text.
pub(super) fn event_line<'a>(event: &Event, theme: Theme) -> Line<'a> {
    let time = event.time.get(TIME_OF_DAY).unwrap_or(&event.time);
    let text_style = match event.level.as_str() {
        "ERROR" | "CRIT" => theme.error(),
        "WARN" => theme.warning(),
        _ => theme.plain(),
    };
    Line::from(vec![
        Span::styled(format!("{} ", escape(time)), theme.faint()),
        Span::styled(escape(&event.text).into_owned(), text_style),
    ])
}

/// The last events of those given, the latest at the bottom.
pub(super) fn last_events<'a, 'e>(
    events: impl DoubleEndedIterator<Item = &'e Event>,
    below: usize,
    count: usize,
    theme: Theme,
) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = events.rev().skip(below).take(count).map(|event| event_line(event, theme)).collect();
    lines.reverse();
    lines
}

pub(super) fn latest_events(frame: &mut Frame<'_>, model: &Model, theme: Theme, area: Rect) {
    let Some(count) = area.height.checked_sub(1) else { return };
    let mut lines = vec![Line::styled("EVENTS", theme.heading())];
    lines.extend(last_events(model.events.iter(), 0, usize::from(count), theme));
    frame.render_widget(Paragraph::new(lines), area);
}

pub(super) fn events(frame: &mut Frame<'_>, model: &Model, theme: Theme, area: Rect) {
    let lines = last_events(model.shown_events(), model.event_list.below, usize::from(area.height), theme);
    if lines.is_empty() {
        nothing(frame, model, "no event so far", area);
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// What needs attention, a line each.
pub(super) fn problem_lines(model: &Model) -> Vec<String> {
    let Some(status) = &model.status else { return Vec::new() };
    let servers = status.job_servers.iter().filter_map(|server| {
        let what = match &server.state {
            JobServerState::Down { since, why, .. } => format!("down since {since}: {why}"),
            _ if server.workers_connected < server.workers => {
                format!("{} of {} workers connected", server.workers_connected, server.workers)
            }
            _ => return None,
        };
        Some(format!("job server {}: {what}", server.address))
    });
    let functions = status.functions.iter().filter_map(|function| {
        let note = function.note.as_deref()?;
        Some(format!("{}: {note}", function.name))
    });
    let refused = status.refused.iter().map(|file| format!("{}: {}", file.path, file.reason));
    let reload = status.failed_reload.iter().map(|failed| format!("reload failed: {}", failed.reason));
    servers.chain(functions).chain(refused).chain(reload).chain(status.warnings.iter().cloned()).collect()
}

pub(super) fn problems(frame: &mut Frame<'_>, model: &Model, theme: Theme, area: Rect) {
    let lines: Vec<Line<'_>> =
        problem_lines(model).iter().map(|text| Line::styled(escape(text).into_owned(), theme.warning())).collect();
    let paragraph = match lines.is_empty() {
        true => Paragraph::new("none"),
        false => Paragraph::new(lines).wrap(ratatui::widgets::Wrap { trim: false }),
    };
    frame.render_widget(paragraph, area);
}
