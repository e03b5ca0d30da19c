//! One function, one worker.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::super::status::{age, short};
use super::super::model::Model;
use super::super::rates::{BAR, graph};
use super::super::request::{Event, is_about_function, is_crash};
use super::Theme;
use super::lists::{function_state, last_events, rate};
use crate::control::{FunctionStatus, PrintedLine};
use crate::logging::escape;
use crate::plugins::name::FunctionName;

/// How many bars the graph of one function has at most: five minutes.
const BARS: u16 = 60;

/// The headings of a worker's events and of its output, each after an empty line.
const HEADINGS: usize = 4;

/// A name and what it is.
fn fact<'a>(name: &str, value: String, theme: Theme) -> Line<'a> {
    Line::from(vec![Span::styled(format!("{name:<10}"), theme.heading()), Span::raw(value)])
}

pub(super) fn function(frame: &mut Frame<'_>, model: &Model, name: &FunctionName, theme: Theme, area: Rect) {
    let Some(status) = model.function(name) else {
        let text = format!("{} is not served any more; Esc goes back", escape(name.as_str()));
        frame.render_widget(Paragraph::new(text), area);
        return;
    };
    let FunctionStatus { jobs_completed, jobs_failed, jobs_crashed, jobs_timed_out, .. } = status;
    let row = model.function_row(status);
    let (state, state_style) = function_state(status, theme);
    let version = status.version.map(String::from).unwrap_or_default();
    let head = Line::from(vec![
        Span::styled(format!("{:<10}", "FUNCTION"), theme.heading()),
        Span::styled(escape(name.as_str()).into_owned(), theme.strong()),
        Span::raw("  "),
        Span::styled(state, state_style),
        Span::raw(format!("  version {} {}", escape(&version), escape(&status.crate_version))),
    ]);
    let workers = format!("{} of {} ready, {} run a job", status.workers_ready, status.workers_planned, row.running);
    let jobs =
        format!("{jobs_completed} completed, {jobs_failed} failed, {jobs_crashed} crashed, {jobs_timed_out} timed out");
    let bars = model.history(name).map(|history| history.bars(usize::from(BARS.min(area.width.saturating_sub(30)))));
    let bars = bars.unwrap_or_default();
    let seconds = BAR.as_secs().saturating_mul(bars.len() as u64);
    let rates = Line::from(vec![
        Span::styled(format!("{:<10}", "JOBS/S"), theme.heading()),
        Span::raw(format!("{:<7} ", row.rate.map(rate).unwrap_or_default())),
        Span::styled(graph(&bars, theme.unicode), theme.graph()),
        Span::styled(format!(" {}", age(seconds)), theme.faint()),
    ]);
    let lines = vec![
        head,
        fact("WORKERS", workers, theme),
        fact("JOBS", jobs, theme),
        rates,
        fact("NOTE", note(status), theme),
        fact("EVENT", last_event(model, name, |_| true), theme),
        fact("CRASH", last_event(model, name, is_crash), theme),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

/// What an operator should know, and why the last job failed.
fn note(status: &FunctionStatus) -> String {
    let last = status.last_failure.as_ref();
    let last = last.map(|last| format!("last {} {} ago: {}", last.kind, short(last.seconds_ago), last.reason));
    let paused = status.paused_by.as_ref().map(|by| {
        format!("paused by {by} since {}", status.paused_since.as_deref().unwrap_or("a time that is not known"))
    });
    let texts: Vec<String> = [status.note.clone().or(paused), last].into_iter().flatten().collect();
    escape(&texts.join("; ")).into_owned()
}

/// The last event of a kind about a function.
fn last_event(model: &Model, name: &FunctionName, is_of_kind: fn(&Event) -> bool) -> String {
    let is_meant = |event: &&Event| is_of_kind(event) && is_about_function(event, name.as_str());
    let event = model.events.iter().rev().find(is_meant);
    event.map(|event| escape(&format!("{} {}", event.time, event.text)).into_owned()).unwrap_or_default()
}

pub(super) fn worker(frame: &mut Frame<'_>, model: &Model, pid: u32, theme: Theme, area: Rect) {
    let mut lines = match model.worker(pid) {
        Some(worker) => vec![
            fact("WORKER", format!("{pid}  {}", worker.state.label()), theme),
            fact("AGE", format!("{}, generation {}", age(worker.started_seconds_ago), worker.generation), theme),
            fact("FUNCTIONS", escape(&worker.functions.join(", ")).into_owned(), theme),
            fact("JOBS", format!("{} done", worker.jobs), theme),
            fact("JOB", job(worker), theme),
        ],
        None => vec![fact("WORKER", format!("{pid} has exited"), theme)],
    };
    let left = usize::from(area.height).saturating_sub(lines.len()).saturating_sub(HEADINGS);
    let of_worker = model.events.iter().filter(|event: &&Event| event.pid == pid);
    let events = last_events(of_worker, 0, left / 2, theme);
    lines.extend([Line::default(), Line::styled("EVENTS", theme.heading())]);
    let left = left.saturating_sub(events.len());
    lines.extend(events);
    lines.extend([Line::default(), Line::styled("PRINTED AND LOGGED", theme.heading())]);
    let output = model.output(pid);
    lines.extend(output.iter().skip(output.len().saturating_sub(left)).map(|line| printed_line(line, theme)));
    frame.render_widget(Paragraph::new(lines), area);
}

/// A line that a worker printed: how long ago, where, and the text.
fn printed_line<'a>(line: &PrintedLine, theme: Theme) -> Line<'a> {
    let place = format!("{:>6} {:<6} ", short(line.seconds_ago), escape(&line.stream));
    Line::from(vec![Span::styled(place, theme.faint()), Span::raw(escape(&line.text).into_owned())])
}

/// The job in hand.
fn job(worker: &crate::control::WorkerStatus) -> String {
    let function = worker.current_function.as_ref().map(|function| escape(function.as_str()).into_owned());
    let handle = worker.handle.as_deref().map(|handle| escape(handle).into_owned());
    let time = worker.job_seconds.map(|seconds| format!("for {}", short(seconds)));
    let texts: Vec<String> = [function, handle, time].into_iter().flatten().collect();
    if texts.is_empty() { "none".into() } else { texts.join(" ") }
}
