//! What happens in one turn of the loop: from each source that has something, once.
//!
//! So a busy sender delays no one: not children that print without end, nor a client that asks without end.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::control::PendingRequest;
use crate::plugins::watcher::{WatchEvent, WatchEvents};
use crate::supervisor::effects::BackgroundResult;
use crate::system::child_poller::ChildPoller;
use crate::system::clock;

/// A signal to the manager.
#[derive(Debug, Clone, Copy)]
pub(super) enum ManagerSignal {
    Child,
    Terminate,
    Interrupt,
    Quit,
    HangUp,
    User1,
}

/// Where signals come in, in the order in which they are dealt with.
pub(super) struct ManagerSignals([(ManagerSignal, Signal); 6]);

impl ManagerSignals {
    pub(super) fn listen() -> std::io::Result<Self> {
        let kind = |caught| match caught {
            ManagerSignal::Child => SignalKind::child(),
            ManagerSignal::Terminate => SignalKind::terminate(),
            ManagerSignal::Interrupt => SignalKind::interrupt(),
            ManagerSignal::Quit => SignalKind::quit(),
            ManagerSignal::HangUp => SignalKind::hangup(),
            ManagerSignal::User1 => SignalKind::user_defined1(),
        };
        let listen = |caught| Ok::<_, std::io::Error>((caught, signal(kind(caught))?));
        Ok(Self([
            listen(ManagerSignal::Child)?,
            listen(ManagerSignal::Terminate)?,
            listen(ManagerSignal::Interrupt)?,
            listen(ManagerSignal::Quit)?,
            listen(ManagerSignal::HangUp)?,
            listen(ManagerSignal::User1)?,
        ]))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Vec<ManagerSignal> {
        let caught = |(caught, signal): &mut (ManagerSignal, Signal)| match signal.poll_recv(context) {
            Poll::Ready(Some(())) => Some(*caught),
            _ => None,
        };
        self.0.iter_mut().filter_map(caught).collect()
    }
}

/// Whatever the loop waits for, but for children and time.
pub(super) struct LoopSources {
    pub signals: ManagerSignals,
    pub found: mpsc::UnboundedReceiver<BackgroundResult>,
    pub requests: mpsc::Receiver<PendingRequest>,
}

/// One turn's news.
#[derive(Default)]
pub(super) struct LoopInput {
    pub caught: Vec<ManagerSignal>,
    /// Whether children have something to say.
    pub children: bool,
    pub request: Option<PendingRequest>,
    pub found: Option<BackgroundResult>,
    pub notice: Option<WatchEvent>,
}

impl LoopInput {
    fn is_empty(&self) -> bool {
        self.caught.is_empty()
            && !self.children
            && self.request.is_none()
            && self.found.is_none()
            && self.notice.is_none()
    }
}

impl LoopSources {
    /// Waits until something happens or `due` has come, which is now if there is work left over. Cancel safe.
    pub(super) async fn next(
        &mut self,
        poller: &mut ChildPoller,
        notices: Option<&WatchEvents>,
        due: Option<Duration>,
    ) -> LoopInput {
        let mut noticed = pin!(noticed(notices));
        let mut time = pin!(until(due));
        poll_fn(|context| {
            let news = LoopInput {
                caught: self.signals.poll(context),
                children: poller.poll(context).is_ready(),
                request: ready(self.requests.poll_recv(context)).flatten(),
                found: ready(self.found.poll_recv(context)).flatten(),
                notice: ready(noticed.as_mut().poll(context)),
            };
            match time.as_mut().poll(context) {
                Poll::Pending if news.is_empty() => Poll::Pending,
                _ => Poll::Ready(news),
            }
        })
        .await
    }
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

async fn noticed(notices: Option<&WatchEvents>) -> WatchEvent {
    match notices {
        Some(notices) => notices.next().await,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Duration>) {
    match due.map(|due| due.saturating_sub(clock::now())) {
        Some(Duration::ZERO) => {}
        Some(left) => sleep_until(Instant::from_std(clock::after(left))).await,
        None => std::future::pending().await,
    }
}
