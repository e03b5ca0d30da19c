//! The lists: functions, workers, events, problems.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::super::super::status::{age, short};
use super::super::cursor::page_start;
use super::super::model::Model;
use super::super::rates::graph;
use super::super::request::Event;
use super::super::rows::FunctionRow;
use super::Theme;
use crate::control::{FunctionStatus, WorkerCondition, WorkerStatus};
use crate::logging::escape;

/// From this width on, a list has all its columns.
const WIDE: u16 = 110;
/// `2026-11-27 12:00:00.123456`: where the time of day is.
const TIME_OF_DAY: std::ops::Range<usize> = 11..19;

/// Numbers are flush right.
fn number(text: impl ToString, width: usize) -> String {
    format!("{:>width$}", text.to_string())
}

/// The rows of the page with the selection, and which of them is selected.
fn page<T>(rows: &[T], selected: usize, length: usize) -> impl Iterator<Item = (&T, bool)> {
    let start = page_start(selected, length);
    rows.iter().enumerate().skip(start).take(length).map(move |(index, row)| (row, index == selected))
}

fn style(is_selected: bool, theme: Theme) -> Style {
    if is_selected { theme.selected() } else { theme.plain() }
}

pub(super) fn functions(frame: &mut Frame<'_>, model: &Model, theme: Theme, area: Rect) {
    let is_wide = area.width >= WIDE;
    let bars = if is_wide { 24 } else { 14 };
    let mut headings = vec!["FUNCTION", "STATE", "  WORKERS", "RUN", " JOBS/S"];
    let graph_heading = if is_wide { "LAST 2 MINUTES" } else { "LAST 70 S" };
    headings.extend([graph_heading, "  FAILED"]);
    let mut widths = vec![
        Constraint::Fill(2),
        Constraint::Length(11),
        Constraint::Length(9),
        Constraint::Length(4),
        Constraint::Length(7),
        Constraint::Length(bars),
        Constraint::Length(8),
    ];
    if is_wide {
        headings.extend(["VERSION", "NOTE"]);
        widths.extend([Constraint::Length(12), Constraint::Fill(3)]);
    }
    let all = model.function_rows();
    let rows = page(&all, model.functions.cursor.index(), model.page()).map(|(row, is_selected)| {
        let mut cells = function_cells(model, row, usize::from(bars), theme);
        if !is_wide {
            cells.truncate(7);
        }
        Row::new(cells).style(style(is_selected, theme))
    });
    let table = Table::new(rows, widths).column_spacing(1).header(Row::new(headings).style(theme.heading()));
    frame.render_widget(table, area);
    if all.is_empty() {
        nothing(frame, model, "no function is served: copy a library into worker_dir", area);
    }
}

fn function_cells<'a>(model: &Model, row: &FunctionRow<'_>, bars: usize, theme: Theme) -> Vec<Cell<'a>> {
    let FunctionStatus { name, version, workers_ready, workers_planned, note, .. } = row.status;
    let (state, state_style) = function_state(row.status, theme);
    let failed = row.failed();
    let history = model.history(name).map(|history| history.bars(bars)).unwrap_or_default();
    // Now is at the right end.
    let graph = format!("{:>bars$}", graph(&history, theme.unicode));
    vec![
        Cell::new(escape(name.as_str()).into_owned()),
        Cell::new(Span::styled(state, state_style)),
        Cell::new(number(format!("{workers_ready}/{workers_planned}"), 9)),
        Cell::new(number(row.running, 3)),
        Cell::new(number(row.rate.map_or_else(String::new, rate), 7)),
        Cell::new(Span::styled(graph, theme.graph())),
        Cell::new(Span::styled(number(failed, 8), if failed > 0 { theme.warning() } else { theme.plain() })),
        Cell::new(version.map(String::from).unwrap_or_default()),
        Cell::new(note.as_deref().map(|note| escape(note).into_owned()).unwrap_or_default()),
    ]
}

/// Jobs per second, with a decimal while that matters.
pub(super) fn rate(per_second: f64) -> String {
    if per_second < 1000.0 { format!("{per_second:.1}") } else { format!("{per_second:.0}") }
}

/// The state of a function in a word or two.
pub(super) fn function_state(function: &FunctionStatus, theme: Theme) -> (String, Style) {
    let FunctionStatus { workers_ready, workers_planned, .. } = function;
    if function.paused_by.is_some() {
        return ("paused".into(), theme.warning());
    }
    if function.backing_off_seconds.is_some() {
        return ("backing off".into(), theme.error());
    }
    if *workers_ready == 0 {
        return ("not served".into(), theme.error());
    }
    if function.failing.as_ref().is_some_and(|failing| failing.high) {
        return ("failing".into(), theme.error());
    }
    if workers_ready < workers_planned {
        return ("starting".into(), theme.warning());
    }
    ("serving".into(), theme.good())
}

/// Says that a list is empty, and why.
fn nothing(frame: &mut Frame<'_>, model: &Model, text: &str, area: Rect) {
    if model.status.is_none() || area.height < 3 {
        return;
    }
    let text = if model.filter().is_empty() { text } else { "nothing matches the filter; Esc ends it" };
    let below = Rect { y: area.y.saturating_add(2), height: 1, ..area };
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
    let servers = status.job_servers.iter().filter(|server| server.workers_connected < server.workers).map(|server| {
        let (connected, workers) = (server.workers_connected, server.workers);
        format!("job server {}: {connected} of {workers} workers connected", server.address)
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
