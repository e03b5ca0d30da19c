//! What is drawn of a model. Pure: the same model gives the same screen. All text from outside goes through [`escape`].

mod details;
mod dialogs;
mod functions;
mod lists;
mod theme;

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::status::age;
use super::layout::{self, SMALLEST};
use super::model::{Connection, Dialog, Model, Screen};
use crate::control::{ManagerState, StatusReply, WorkerCounts};
use crate::logging::escape;

pub(super) use theme::Theme;

/// Draws it.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, theme: Theme, now: Duration) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let text = format!("gm-native top needs at least {} x {} characters; q quits", SMALLEST.0, SMALLEST.1);
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let parts = layout::parts(area);
    frame.render_widget(title(model, theme), parts.title);
    frame.render_widget(summary(model, theme, now), parts.summary);
    frame.render_widget(tabs(model, theme), parts.tabs);
    body(frame, model, theme, parts.body);
    frame.render_widget(message(model, theme), parts.message);
    frame.render_widget(keys(model, theme), parts.keys);
    if model.dialog == Some(Dialog::Help) {
        dialogs::help(frame, theme, area);
    }
}

fn body(frame: &mut Frame<'_>, model: &Model, theme: Theme, area: Rect) {
    match &model.screen {
        Screen::Functions => {
            let [list, latest] = layout::functions(area);
            functions::list(frame, model, theme, list);
            lists::latest_events(frame, model, theme, latest);
        }
        Screen::Workers => lists::workers(frame, model, theme, area),
        Screen::Events => lists::events(frame, model, theme, area),
        Screen::Problems => lists::problems(frame, model, theme, area),
        Screen::Function(name) => {
            let [facts, list] = layout::function(area);
            details::function(frame, model, name, theme, facts);
            lists::workers(frame, model, theme, list);
        }
        Screen::Worker(pid) => details::worker(frame, model, *pid, theme, area),
    }
}

/// Which manager it is.
fn title<'a>(model: &Model, theme: Theme) -> Line<'a> {
    let text = match &model.status {
        Some(status) => format!(
            "gm-native {}  {}  pid {}  {}  up {}",
            escape(&status.version),
            escape(&status.instance),
            status.pid,
            status.state.label(),
            age(status.uptime_seconds),
        ),
        None => "gm-native top".into(),
    };
    let style = match &model.status {
        Some(status) if status.state != ManagerState::Running => theme.warning(),
        _ => theme.strong(),
    };
    Line::styled(text, style)
}

/// What it does, or that it does not answer.
fn summary<'a>(model: &Model, theme: Theme, now: Duration) -> Line<'a> {
    match (&model.connection, &model.status) {
        (Connection::Lost { since, reason }, _) => {
            let seconds = now.saturating_sub(*since).as_secs();
            Line::styled(format!("no answer for {}, trying again: {}", age(seconds), escape(reason)), theme.error())
        }
        (_, Some(status)) => {
            let WorkerCounts { busy, all, .. } = status.worker_counts;
            let text = format!("{:.1} jobs/s  {busy} of {all} workers busy", model.total_rate());
            let mut spans = vec![Span::raw(text)];
            spans.extend(servers(status, theme));
            Line::from(spans)
        }
        _ => Line::raw("asking the manager ..."),
    }
}

/// The job servers, and how many workers each has.
fn servers<'a>(status: &StatusReply, theme: Theme) -> Vec<Span<'a>> {
    let server = |server: &crate::control::JobServerStatus| {
        let text = format!("  {} {}/{}", escape(&server.address), server.workers_connected, server.workers);
        let style = match server.workers_connected {
            0 => theme.error(),
            connected if connected < server.workers => theme.warning(),
            _ => theme.plain(),
        };
        Span::styled(text, style)
    };
    status.job_servers.iter().map(server).collect()
}

fn tabs<'a>(model: &Model, theme: Theme) -> Line<'a> {
    let status = model.status.as_ref();
    let problems = lists::problem_lines(model).len();
    let names = [
        format!("1 Functions {}", status.map_or(0, |status| status.functions.len())),
        format!("2 Workers {}", status.map_or(0, |status| status.worker_counts.all)),
        "3 Events".to_owned(),
        format!("4 Problems {problems}"),
    ];
    let selected = match &model.screen {
        Screen::Functions | Screen::Function(_) => 0,
        Screen::Workers | Screen::Worker(_) => 1,
        Screen::Events => 2,
        Screen::Problems => 3,
    };
    let mut spans = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        let style = match index {
            index if index == selected => theme.selected(),
            3 if problems > 0 => theme.warning(),
            _ => theme.plain(),
        };
        spans.extend([Span::styled(format!(" {name} "), style), Span::raw(" ")]);
    }
    spans.push(Span::styled(shown(model), theme.faint()));
    Line::from(spans)
}

/// How the list is sorted and filtered.
fn shown(model: &Model) -> String {
    let (order, reversed) = match &model.screen {
        Screen::Functions => (model.functions.order.label(), model.functions.reversed),
        Screen::Workers | Screen::Function(_) => (model.workers.order.label(), model.workers.reversed),
        _ => ("", false),
    };
    let order = if order.is_empty() { String::new() } else { format!(" by {order}") };
    let reversed = if reversed { ", reversed" } else { "" };
    let filter = match model.filter() {
        "" => String::new(),
        filter => format!("  /{}", escape(filter)),
    };
    format!("{order}{reversed}{filter}")
}

fn message<'a>(model: &Model, theme: Theme) -> Line<'a> {
    match (&model.dialog, &model.message) {
        (Some(Dialog::Confirm(steering)), _) => {
            Line::styled(escape(&steering.question().unwrap_or_default()).into_owned(), theme.warning())
        }
        (_, Some(message)) => {
            let style = if message.is_error { theme.error() } else { theme.strong() };
            Line::styled(escape(&message.text).into_owned(), style)
        }
        _ => Line::default(),
    }
}

/// What the keys do now, or what is being typed.
fn keys<'a>(model: &Model, theme: Theme) -> Line<'a> {
    let text = match &model.dialog {
        Some(Dialog::Help) => "any key: back".into(),
        Some(Dialog::Confirm(_)) => "y: do it   any other key: do nothing".into(),
        Some(Dialog::Filter { .. }) => {
            return typed(&format!("filter: {}", escape(model.filter())), "Enter: keep   Esc: as before", theme);
        }
        Some(Dialog::Scale { function, digits }) => {
            let text = format!("number of workers for {}: {digits}", escape(function.as_str()));
            return typed(&text, "Enter: go on   Esc: do nothing", theme);
        }
        None => match &model.screen {
            Screen::Functions | Screen::Function(_) => {
                "q quit  ? help  / filter  s sort  Enter details  p pause  r resume  R restart"
            }
            Screen::Workers => "q quit  ? help  / filter  s sort  Enter details  K end its job",
            Screen::Worker(_) => "q quit  ? help  Esc back  K end its job",
            Screen::Events => "q quit  ? help  / filter  Up Down PgUp PgDn scroll  End latest",
            Screen::Problems => "q quit  ? help",
        }
        .into(),
    };
    Line::styled::<String, _>(text, theme.faint())
}

/// Text that is being typed, with a cursor.
fn typed<'a>(text: &str, hint: &str, theme: Theme) -> Line<'a> {
    let cursor = Span::styled(" ", theme.selected());
    Line::from(vec![Span::raw(text.to_owned()), cursor, Span::styled(format!("   {hint}"), theme.faint())])
}

#[cfg(test)]
mod tests;
