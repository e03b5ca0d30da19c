//! The list of functions.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::Span;
use ratatui::widgets::{Cell, Row, Table};

use super::super::super::status::functions::brief;
use super::super::super::status::short;
use super::super::model::Model;
use super::super::rates::graph;
use super::super::rows::FunctionRow;
use super::Theme;
use super::lists::{nothing, number, page, style};
use crate::control::{FunctionState, FunctionStatus};
use crate::logging::escape;

/// From this width on, the list has all its columns.
const WIDE: u16 = 110;

/// The columns after the name: their headings and widths.
const COLUMNS: [(&str, u16); 7] =
    [("STATE", 11), ("WORKERS", 7), (" RUN", 4), ("LONGEST", 7), (" JOBS/S", 7), ("LAST 60 S", 12), (" FAILED", 7)];
/// The same on a wide screen.
const WIDE_COLUMNS: [(&str, u16); 10] = [
    ("STATE", 11),
    ("WORKERS", 7),
    (" RUN", 4),
    ("LONGEST", 7),
    (" JOBS/S", 7),
    ("LAST 2 MINUTES", 24),
    (" FAILED", 7),
    ("   P50", 6),
    ("   P99", 6),
    ("VERSION", 12),
];
/// Which of them is the graph.
const GRAPH: usize = 5;

pub(super) fn list(frame: &mut Frame<'_>, model: &Model, theme: Theme, area: Rect) {
    let columns = if area.width >= WIDE { &WIDE_COLUMNS[..] } else { &COLUMNS[..] };
    let headings = ["FUNCTION"].into_iter().chain(columns.iter().map(|(heading, _)| *heading));
    let widths = columns.iter().map(|(_, width)| Constraint::Length(*width));
    let widths = [Constraint::Fill(1)].into_iter().chain(widths);
    let bars = columns.get(GRAPH).map_or(0, |(_, width)| usize::from(*width));
    let all = model.function_rows();
    let rows = page(&all, model.functions.cursor.index(), model.page()).map(|(row, is_selected)| {
        let mut cells = cells(model, row, bars, theme);
        cells.truncate(columns.len().saturating_add(1));
        Row::new(cells).style(style(is_selected, theme))
    });
    let table = Table::new(rows, widths).column_spacing(1).header(Row::new(headings).style(theme.heading()));
    frame.render_widget(table, area);
    if all.is_empty() {
        nothing(frame, model, "no function is served: copy a library into worker_dir", area);
    }
}

/// The cells of a wide screen.
fn cells<'a>(model: &Model, row: &FunctionRow<'_>, bars: usize, theme: Theme) -> Vec<Cell<'a>> {
    let FunctionStatus { name, version, workers_ready, workers_planned, .. } = row.status;
    let (state, state_style) = state(row.status, theme);
    let failed = row.failed();
    let history = model.history(name).map(|history| history.bars(bars)).unwrap_or_default();
    // Now is at the right end.
    let graph = format!("{:>bars$}", graph(&history, theme.unicode));
    let times = row.status.run_time.as_ref();
    vec![
        Cell::new(escape(name.as_str()).into_owned()),
        Cell::new(Span::styled(state, state_style)),
        Cell::new(number(format!("{workers_ready}/{workers_planned}"), 7)),
        Cell::new(number(row.status.jobs_running, 4)),
        Cell::new(number(row.status.longest_job.as_ref().map_or_else(String::new, |job| short(job.seconds)), 7)),
        Cell::new(number(row.rate.map_or_else(String::new, rate), 7)),
        Cell::new(Span::styled(graph, theme.graph())),
        Cell::new(Span::styled(number(failed, 7), if failed > 0 { theme.warning() } else { theme.plain() })),
        Cell::new(number(times.map_or_else(String::new, |times| brief(times.p50_seconds)), 6)),
        Cell::new(number(times.map_or_else(String::new, |times| brief(times.p99_seconds)), 6)),
        Cell::new(version.map(String::from).unwrap_or_default()),
    ]
}

/// Jobs per second, with a decimal while that matters.
pub(super) fn rate(per_second: f64) -> String {
    if per_second < 1000.0 { format!("{per_second:.1}") } else { format!("{per_second:.0}") }
}

/// The state of a function in a word or two.
pub(super) fn state(function: &FunctionStatus, theme: Theme) -> (String, Style) {
    match &function.state {
        FunctionState::Serving if function.workers_ready < function.workers_planned => {
            ("serving".into(), theme.warning())
        }
        FunctionState::Serving => ("serving".into(), theme.good()),
        FunctionState::Paused { .. } => ("paused".into(), theme.warning()),
        FunctionState::NotOffered { .. } => ("not offered".into(), theme.warning()),
        FunctionState::BackingOff { .. } => ("backing off".into(), theme.error()),
        FunctionState::Starting { .. } => ("starting".into(), theme.warning()),
        FunctionState::Canary { .. } => ("canary".into(), theme.strong()),
        FunctionState::RollingOut { workers_new, workers_planned } => {
            (format!("new {workers_new}/{workers_planned}"), theme.strong())
        }
        FunctionState::Failing { .. } => ("failing".into(), theme.error()),
        FunctionState::Unknown => (String::new(), theme.plain()),
    }
}
