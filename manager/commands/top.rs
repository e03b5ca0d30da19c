//! `gm-native top`: a running manager, live in a terminal.
//!
//! ```text
//! keys, resizes ----.
//! signals            v
//! manager -> link -> Input -> model (pure) -> Effect -> link, terminal
//!                               `-> view (pure) -> terminal
//! ```
//!
//! Exit codes: 0 the user quits, 1 the terminal cannot be used, 2 there is none, 3 no manager, 128 + N signal N.

mod cursor;
mod layout;
mod link;
mod model;
mod rates;
mod request;
mod rows;
mod terminal;
mod view;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::SIGCONT;
use ratatui::crossterm::event::{self, Event as TerminalEvent};
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::sleep;

use super::output::{fail, fail_of};
use crate::control::{ControlClient, DEADLINE};
use crate::system::clock;
use crate::system::errors::reason;
use link::Link;
use model::{Effect, Input, Model};
use terminal::Terminal;
use view::Theme;

/// How many inputs may wait: keys and events that come faster than they are drawn.
const INPUTS: usize = 256;
/// How long after a screen the next one is drawn, unless a key asks for it.
const CALM: Duration = Duration::from_millis(250);

/// Shows the manager at this control socket until the user quits.
pub fn run(control: &Path) -> ExitCode {
    if let Some(text) = terminal::unsuitable() {
        return fail(&text, 2);
    }
    // A manager that does not exist is not waited for; one that goes away later is.
    if let Err(error) = ControlClient::connect(control, DEADLINE) {
        return fail_of(&error);
    }
    match show(control, terminal::theme()) {
        Ok(code) => code,
        Err(error) => fail(&format!("the terminal cannot be used: {}", reason(&error)), 1),
    }
}

fn show(control: &Path, theme: Theme) -> io::Result<ExitCode> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, inputs) = channel(INPUTS);
    let code = runtime.block_on(async {
        let signals = Signals::new()?;
        let terminal = Terminal::take()?;
        let (width, height) = terminal.size()?;
        thread::spawn({
            let sender = sender.clone();
            move || read_terminal(&sender)
        });
        let link = Link::new(control, sender);
        let top = Top { model: Model::new(width, height), terminal, link, theme, started: Instant::now() };
        top.run(inputs, signals).await
    });
    // A thread may still wait for the terminal or for the manager.
    runtime.shutdown_background();
    code
}

/// Passes on keys and resizes until the terminal is gone.
fn read_terminal(inputs: &Sender<Input>) {
    while let Ok(event) = event::read() {
        let input = match event {
            TerminalEvent::Key(key) => Input::Key(key),
            TerminalEvent::Resize(width, height) => Input::Resized { width, height },
            _ => continue,
        };
        if inputs.blocking_send(input).is_err() {
            return;
        }
    }
}

/// The signals that end it, and the one that says that it goes on.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
    continued: Signal,
}

/// What a signal asks for.
enum Signalled {
    /// To end, with this exit code.
    End(u8),
    Continue,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            continued: signal(SignalKind::from_raw(SIGCONT))?,
        })
    }

    async fn next(&mut self) -> Signalled {
        tokio::select! {
            _ = self.hangup.recv() => Signalled::End(129),
            _ = self.interrupt.recv() => Signalled::End(130),
            _ = self.terminate.recv() => Signalled::End(143),
            _ = self.continued.recv() => Signalled::Continue,
        }
    }
}

struct Top {
    model: Model,
    terminal: Terminal,
    link: Link,
    theme: Theme,
    started: Instant,
}

impl Top {
    async fn run(mut self, mut inputs: Receiver<Input>, mut signals: Signals) -> io::Result<ExitCode> {
        // When the next screen is due; `None` if nothing has changed.
        let mut draws_at = Some(Duration::ZERO);
        loop {
            let now = self.started.elapsed();
            if draws_at.is_some_and(|at| now >= at) {
                draws_at = None;
                self.draw(now)?;
            }
            let wakes_at = [draws_at, self.model.wakes_at()].into_iter().flatten().min();
            let wait = wakes_at.map_or(clock::FAR, |at| at.saturating_sub(now));
            let input = tokio::select! {
                biased;
                signal = signals.next() => match signal {
                    Signalled::End(code) => return Ok(ExitCode::from(code)),
                    Signalled::Continue => {
                        self.terminal.take_again()?;
                        Input::Time
                    }
                },
                input = inputs.recv() => match input {
                    Some(input) => input,
                    None => return Ok(ExitCode::FAILURE),
                },
                () = sleep(wait) => Input::Time,
            };
            let now = self.started.elapsed();
            let is_awaited = matches!(input, Input::Key(_) | Input::Resized { .. });
            let changes = !matches!(input, Input::Time);
            for effect in self.model.update(input, now) {
                match effect {
                    Effect::Quit => return Ok(ExitCode::SUCCESS),
                    effect => self.carry_out(effect)?,
                }
            }
            if changes {
                let at = if is_awaited { now } else { now.saturating_add(CALM) };
                draws_at = Some(draws_at.map_or(at, |before| before.min(at)));
            }
        }
    }

    fn draw(&mut self, now: Duration) -> io::Result<()> {
        let Self { model, terminal, theme, .. } = self;
        terminal.draw(|frame| view::draw(frame, model, *theme, now))
    }

    fn carry_out(&mut self, effect: Effect) -> io::Result<()> {
        match effect {
            Effect::Poll { workers } => self.link.poll(workers),
            Effect::ReadOutput(pid) => self.link.read_output(pid),
            Effect::Follow => self.link.follow(),
            Effect::Ask(steering) => self.link.ask(steering),
            Effect::Redraw => self.terminal.take_again()?,
            Effect::Suspend => self.terminal.suspend()?,
            Effect::Quit => {}
        }
        Ok(())
    }
}
