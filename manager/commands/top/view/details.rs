//! One function, one worker.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::super::status::functions::brief;
use super::super::super::status::workers::memory;
use super::super::super::status::{age, short};
use super::super::model::Model;
use super::super::rates::{BAR, graph};
use super::super::request::{Event, is_about_function, is_crash};
use super::Theme;
use super::functions::{rate, state};
use super::lists::last_events;
use crate::control::{FunctionStatus, PrintedLine, WorkerStatus};
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
    let row = model.function_row(status);
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
        head(status, theme),
        fact("WORKERS", workers(status), theme),
        fact("JOBS", jobs(status), theme),
        fact("MINUTE", last_minute(status), theme),
        fact("LONGEST", longest_job(status), theme),
        rates,
        fact("NOTE", note(status), theme),
        fact("EVENT", last_event(model, name, |_| true), theme),
        fact("CRASH", last_event(model, name, is_crash), theme),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

/// Its name, its state and its version.
fn head<'a>(status: &FunctionStatus, theme: Theme) -> Line<'a> {
    let (state, state_style) = state(status, theme);
    let version = status.version.map(String::from).unwrap_or_default();
    let pinned = if status.pinned { ", pinned" } else { "" };
    let version = format!("  version {version} {}{pinned}", status.crate_version);
    Line::from(vec![
        Span::styled(format!("{:<10}", "FUNCTION"), theme.heading()),
        Span::styled(escape(status.name.as_str()).into_owned(), theme.strong()),
        Span::raw("  "),
        Span::styled(state, state_style),
        Span::raw(escape(&version).into_owned()),
    ])
}

fn workers(status: &FunctionStatus) -> String {
    let scaled = status.scaled_to.map_or_else(String::new, |workers| format!(", scaled to {workers}"));
    format!("{} of {} ready, {} busy{scaled}", status.workers_ready, status.workers_planned, status.workers_busy)
}

/// Since the manager's start.
fn jobs(status: &FunctionStatus) -> String {
    let FunctionStatus { jobs_completed, jobs_failed, jobs_crashed, jobs_timed_out, .. } = status;
    format!("{jobs_completed} completed, {jobs_failed} failed, {jobs_crashed} crashed, {jobs_timed_out} timed out")
}

/// What ended in the last minute, and how long jobs run.
fn last_minute(status: &FunctionStatus) -> String {
    let minute =
        status.last_minute.as_ref().map(|minute| format!("{} done, {} failed", minute.completed, minute.failed));
    let times = status
        .run_time
        .as_ref()
        .map(|times| format!("half run {} at most, 99 of 100 {}", brief(times.p50_seconds), brief(times.p99_seconds)));
    [minute, times].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Of the jobs that run, the one that has run longest.
fn longest_job(status: &FunctionStatus) -> String {
    let Some(job) = &status.longest_job else { return "no job runs".into() };
    let names = [job.handle.as_deref(), job.unique.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ");
    escape(&format!("{names} for {} in worker {}", short(job.seconds), job.pid)).into_owned()
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
    let is_listed = model.status.as_ref().is_some_and(|status| !status.workers.is_empty());
    let mut lines = match model.worker(pid) {
        Some(worker) => worker_facts(worker, theme),
        None if is_listed => vec![fact("WORKER", format!("{pid} has exited"), theme)],
        None => vec![fact("WORKER", pid.to_string(), theme)],
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

fn worker_facts<'a>(worker: &WorkerStatus, theme: Theme) -> Vec<Line<'a>> {
    let ago = |seconds: Option<f64>| seconds.map_or_else(|| "none".into(), |seconds| format!("{} ago", short(seconds)));
    let versions: Vec<String> = worker.versions.iter().map(ToString::to_string).collect();
    let (last_job, contact) = (worker.last_job_ended_seconds_ago, worker.last_server_contact_seconds_ago);
    let state = format!("{}  {} for {}", worker.pid, worker.state.label(), short(worker.state_seconds));
    let age = format!("{}, generation {}", age(worker.started_seconds_ago), worker.generation);
    vec![
        fact("WORKER", state, theme),
        fact("AGE", age, theme),
        fact("MEMORY", worker.memory_bytes.map_or_else(|| "not known".into(), memory), theme),
        fact("FUNCTIONS", escape(&worker.functions.join(", ")).into_owned(), theme),
        fact("VERSIONS", versions.join(", "), theme),
        fact("JOBS", format!("{} done, the last one {}", worker.jobs, ago(last_job)), theme),
        fact("JOB", job(worker), theme),
        fact("CONTACT", format!("with a job server: {}", ago(contact)), theme),
    ]
}

/// The job in hand.
fn job(worker: &WorkerStatus) -> String {
    let names = [worker.current_function.as_deref(), worker.handle.as_deref(), worker.unique.as_deref()];
    let names = names.into_iter().flatten().map(|name| escape(name).into_owned());
    let time = worker.job_seconds.map(|seconds| format!("for {}", short(seconds)));
    let texts: Vec<String> = names.chain(time).collect();
    if texts.is_empty() { "none".into() } else { texts.join(" ") }
}
