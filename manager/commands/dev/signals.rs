//! The signals that `dev` handles.

use std::fs::File;
use std::io;

use nix::libc;
use nix::sys::signal::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::system::handlers;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DevSignal {
    /// A child has exited.
    Child,
    /// Stop, as the manager does on this signal.
    Stop(Number),
    /// Read the configuration again.
    Reload,
}

pub(super) struct DevSignals {
    child: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    hang_up: Signal,
    /// Whether there was a terminal at the start whose end is to stop `dev`: not under `nohup`.
    on_terminal: bool,
}

impl DevSignals {
    pub(super) fn listen() -> io::Result<Self> {
        let outlives_terminal = handlers::is_ignored(libc::SIGHUP);
        Ok(Self {
            child: signal(SignalKind::child())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            on_terminal: !outlives_terminal && has_terminal(),
        })
    }

    /// The next one. Cancel safe.
    pub(super) async fn next(&mut self) -> DevSignal {
        tokio::select! {
            _ = self.child.recv() => DevSignal::Child,
            _ = self.interrupt.recv() => DevSignal::Stop(Number::SIGINT),
            _ = self.quit.recv() => DevSignal::Stop(Number::SIGQUIT),
            _ = self.terminate.recv() => DevSignal::Stop(Number::SIGTERM),
            // The kernel takes the terminal away before it sends SIGHUP because of that.
            _ = self.hang_up.recv() => match self.on_terminal && !has_terminal() {
                true => DevSignal::Stop(Number::SIGTERM),
                false => DevSignal::Reload,
            },
        }
    }
}

/// Whether this process has a controlling terminal.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}
