//! What `top` knows and shows, and how that changes. Pure: state and input lead to the next state, and to effects.

mod keys;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ratatui::crossterm::event::KeyEvent;

use super::cursor::Cursor;
use super::layout;
use super::rates::RateHistory;
use super::request::{self, Event, Steering};
use super::rows::{FunctionOrder, FunctionRow, WorkerOrder, matches, sort_functions, sort_workers, worker_matches};
use crate::control::{FunctionStatus, PrintedLine, StatusReply, WorkerStatus};
use crate::plugins::name::FunctionName;

pub(super) use keys::KEYS;

/// How often the manager is asked at most.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a manager that answers late is left alone.
const PAUSE: Duration = Duration::from_millis(250);
/// How many events are kept: as many as a manager keeps.
const EVENTS: usize = 1000;

/// What happens to `top`.
#[derive(Debug)]
pub(super) enum Input {
    Key(KeyEvent),
    Resized {
        width: u16,
        height: u16,
    },
    /// The manager's answer to [`Effect::Poll`].
    Status(Box<StatusReply>),
    /// It did not come: why, a sentence.
    Unreachable(String),
    /// What a worker printed last: the answer to [`Effect::ReadOutput`].
    Output(u32, Vec<PrintedLine>),
    /// Events, oldest first.
    Events(Vec<Event>),
    /// No more of them come.
    EventsEnded,
    /// The manager's answer to a request: the number of what has begun, or why it is refused.
    Answered(Steering, Result<u64, String>),
    /// Time has passed.
    Time,
}

/// What `top` does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Ask for the status, with the list of workers if that is shown: it may be long.
    Poll {
        workers: bool,
    },
    /// Follow the manager's events.
    Follow,
    /// Ask for what a worker printed last.
    ReadOutput(u32),
    /// Send a request.
    Ask(Steering),
    /// Draw the whole screen.
    Redraw,
    /// Give the terminal back, and stop until the user continues this process.
    Suspend,
    Quit,
}

/// What the screen shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Screen {
    Functions,
    Workers,
    Events,
    Problems,
    /// One function, with its workers.
    Function(FunctionName),
    /// One worker.
    Worker(u32),
}

/// What the user is asked or told before anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dialog {
    Help,
    /// A filter is typed; this one was there before.
    Filter {
        before: String,
    },
    Confirm(Steering),
    /// A number of workers is typed.
    Scale {
        function: FunctionName,
        digits: String,
    },
}

/// Whether the manager answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Connection {
    /// It has not answered yet.
    Connecting,
    Connected,
    Lost {
        since: Duration,
        reason: String,
    },
}

/// A list: what is selected, and what of it is shown in which order.
#[derive(Debug, Clone)]
pub(super) struct Listing<K, O> {
    pub(super) cursor: Cursor<K>,
    pub(super) order: O,
    pub(super) reversed: bool,
    pub(super) filter: String,
}

impl<K, O: Default> Default for Listing<K, O> {
    fn default() -> Self {
        Self { cursor: Cursor::default(), order: O::default(), reversed: false, filter: String::new() }
    }
}

/// The events that are shown.
#[derive(Debug, Clone, Default)]
pub(super) struct EventListing {
    /// How many of the latest are below the screen.
    pub(super) below: usize,
    pub(super) filter: String,
}

/// A sentence about the last request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) text: String,
    pub(super) is_error: bool,
}

/// When the manager is asked for its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Poll {
    Due(Duration),
    /// It was asked then, and has not answered yet.
    Asked(Duration),
}

/// All of it.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) connection: Connection,
    pub(super) status: Option<StatusReply>,
    pub(super) events: VecDeque<Event>,
    pub(super) screen: Screen,
    /// The screens that led to this one.
    back: Vec<Screen>,
    pub(super) functions: Listing<FunctionName, FunctionOrder>,
    pub(super) workers: Listing<u32, WorkerOrder>,
    pub(super) event_list: EventListing,
    pub(super) dialog: Option<Dialog>,
    pub(super) message: Option<Message>,
    /// What the worker that was looked at last has printed.
    output: Option<(u32, Vec<PrintedLine>)>,
    rates: BTreeMap<FunctionName, RateHistory>,
    /// Requests of ours that have begun.
    pending: Vec<u64>,
    poll: Poll,
    follows_events: bool,
    size: (u16, u16),
}

impl Model {
    pub(super) fn new(width: u16, height: u16) -> Self {
        Self {
            connection: Connection::Connecting,
            status: None,
            events: VecDeque::new(),
            screen: Screen::Functions,
            back: Vec::new(),
            functions: Listing::default(),
            workers: Listing::default(),
            event_list: EventListing::default(),
            dialog: None,
            message: None,
            output: None,
            rates: BTreeMap::new(),
            pending: Vec::new(),
            poll: Poll::Due(Duration::ZERO),
            follows_events: false,
            size: (width, height),
        }
    }

    /// When [`Input::Time`] is due; `None` while an answer is awaited.
    pub(super) fn wakes_at(&self) -> Option<Duration> {
        match self.poll {
            Poll::Due(at) => Some(at),
            Poll::Asked(_) => None,
        }
    }

    /// The next state.
    pub(super) fn update(&mut self, input: Input, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Key(key) => effects.extend(self.key(key)),
            Input::Resized { width, height } => self.size = (width, height),
            Input::Status(status) => {
                self.answered(now);
                self.status(*status, now);
                if !self.follows_events {
                    self.follows_events = true;
                    effects.push(Effect::Follow);
                }
            }
            Input::Unreachable(reason) => {
                self.answered(now);
                let since = match self.connection {
                    Connection::Lost { since, .. } => since,
                    _ => now,
                };
                self.connection = Connection::Lost { since, reason };
            }
            Input::Events(events) => events.into_iter().for_each(|event| self.event(event)),
            Input::Output(pid, lines) => self.output = Some((pid, lines)),
            Input::EventsEnded => self.follows_events = false,
            Input::Answered(steering, answer) => self.answer(&steering, answer),
            Input::Time => {}
        }
        if let Poll::Due(at) = self.poll
            && now >= at
        {
            self.poll = Poll::Asked(now);
            effects.push(Effect::Poll { workers: self.shows_workers() });
            if let Screen::Worker(pid) = self.screen {
                effects.push(Effect::ReadOutput(pid));
            }
        }
        self.follow_rows();
        effects
    }

    /// The manager has answered, or will not: it is asked again a second after it was asked last, but not at once.
    fn answered(&mut self, now: Duration) {
        if let Poll::Asked(at) = self.poll {
            self.poll = Poll::Due(at.saturating_add(INTERVAL).max(now.saturating_add(PAUSE)));
        }
    }

    fn status(&mut self, status: StatusReply, now: Duration) {
        let before = self.status.as_ref().map(|status| status.pid);
        if before.is_some_and(|pid| pid != status.pid) {
            self.rates.clear();
            self.pending.clear();
            self.say(format!("another manager answers: process {}", status.pid));
        }
        self.connection = Connection::Connected;
        self.rates.retain(|name, _| status.functions.iter().any(|function| function.name == *name));
        for function in &status.functions {
            self.rates.entry(function.name.clone()).or_default().add(now, ended_jobs(function));
        }
        self.status = Some(status);
    }

    fn event(&mut self, event: Event) {
        if self.events.contains(&event) {
            return;
        }
        if let Some(ended) = request::ended(&event)
            && let Some(at) = self.pending.iter().position(|number| *number == ended.request)
        {
            self.pending.swap_remove(at);
            self.message = Some(Message { text: event.text.clone(), is_error: ended.has_failed });
        }
        if self.event_list.below > 0 && event_matches(&event, &self.event_list.filter) {
            self.event_list.below = self.event_list.below.saturating_add(1);
        }
        self.events.push_back(event);
        while self.events.len() > EVENTS {
            self.events.pop_front();
        }
    }

    fn answer(&mut self, steering: &Steering, answer: Result<u64, String>) {
        let command = steering.command();
        match answer {
            Err(reason) => self.message = Some(Message { text: format!("{command}: {reason}"), is_error: true }),
            Ok(request) => {
                // Its end may have been read before its answer.
                let end = self.events.iter().rev().find_map(|event| {
                    let ended = request::ended(event).filter(|ended| ended.request == request)?;
                    Some(Message { text: event.text.clone(), is_error: ended.has_failed })
                });
                if end.is_none() {
                    self.pending.push(request);
                }
                self.message = Some(end.unwrap_or(Message { text: format!("{command}: begun"), is_error: false }));
            }
        }
    }

    fn say(&mut self, text: String) {
        self.message = Some(Message { text, is_error: false });
    }

    /// Keeps the selections on their rows.
    fn follow_rows(&mut self) {
        let functions = self.function_keys();
        self.functions.cursor.follow(&functions);
        let workers = self.worker_keys();
        self.workers.cursor.follow(&workers);
        let shown = self.shown_events().count();
        self.event_list.below = self.event_list.below.min(shown.saturating_sub(self.page()));
    }

    /// Whether this screen lists workers.
    pub(super) fn shows_workers(&self) -> bool {
        matches!(self.screen, Screen::Workers | Screen::Function(_) | Screen::Worker(_))
    }

    /// How many rows the list of this screen has.
    pub(super) fn page(&self) -> usize {
        layout::list_rows(&self.screen, self.size.1)
    }

    /// The functions as they are listed.
    pub(super) fn function_rows(&self) -> Vec<FunctionRow<'_>> {
        let functions = self.status.iter().flat_map(|status| &status.functions);
        let shown = functions.filter(|function| matches(function.name.as_str(), &self.functions.filter));
        let mut rows: Vec<FunctionRow<'_>> = shown.map(|status| self.function_row(status)).collect();
        sort_functions(&mut rows, self.functions.order, self.functions.reversed);
        rows
    }

    /// A function with what is computed from several statuses.
    pub(super) fn function_row<'a>(&self, status: &'a FunctionStatus) -> FunctionRow<'a> {
        let rate = self.history(&status.name).and_then(RateHistory::per_second);
        FunctionRow { status, rate }
    }

    /// The jobs of a function over the last minutes.
    pub(super) fn history(&self, function: &FunctionName) -> Option<&RateHistory> {
        self.rates.get(function)
    }

    /// Jobs per second of all functions.
    pub(super) fn total_rate(&self) -> f64 {
        self.rates.values().filter_map(RateHistory::per_second).sum()
    }

    /// The workers as they are listed: all, or those of the function that is shown.
    pub(super) fn worker_rows(&self) -> Vec<&WorkerStatus> {
        let workers = self.status.iter().flat_map(|status| &status.workers);
        let of_function = |worker: &&WorkerStatus| match &self.screen {
            Screen::Function(name) => worker.functions.contains(name),
            _ => true,
        };
        let mut rows: Vec<&WorkerStatus> =
            workers.filter(of_function).filter(|worker| worker_matches(worker, &self.workers.filter)).collect();
        sort_workers(&mut rows, self.workers.order, self.workers.reversed);
        rows
    }

    fn function_keys(&self) -> Vec<FunctionName> {
        self.function_rows().iter().map(|row| row.status.name.clone()).collect()
    }

    fn worker_keys(&self) -> Vec<u32> {
        self.worker_rows().iter().map(|worker| worker.pid).collect()
    }

    /// The events of the list, oldest first.
    pub(super) fn shown_events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter().filter(|event| event_matches(event, &self.event_list.filter))
    }

    /// A function of the last status.
    pub(super) fn function(&self, name: &FunctionName) -> Option<&FunctionStatus> {
        self.status.as_ref()?.functions.iter().find(|function| function.name == *name)
    }

    /// What a worker has printed, oldest first.
    pub(super) fn output(&self, pid: u32) -> &[PrintedLine] {
        self.output.as_ref().filter(|(of, _)| *of == pid).map_or(&[], |(_, lines)| lines)
    }

    /// A worker of the last status.
    pub(super) fn worker(&self, pid: u32) -> Option<&WorkerStatus> {
        self.status.as_ref()?.workers.iter().find(|worker| worker.pid == pid)
    }
}

/// The jobs of a function that have ended since the manager's start.
fn ended_jobs(function: &FunctionStatus) -> u64 {
    let FunctionStatus { jobs_completed, jobs_failed, jobs_crashed, jobs_timed_out, .. } = function;
    [jobs_failed, jobs_crashed, jobs_timed_out].into_iter().fold(*jobs_completed, |sum, jobs| sum.saturating_add(*jobs))
}

fn event_matches(event: &Event, filter: &str) -> bool {
    matches(&event.text, filter) || matches(&event.pid.to_string(), filter)
}

#[cfg(test)]
mod tests;
