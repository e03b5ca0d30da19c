//! The network between managers, clients and servers: a TCP proxy in this process, for every connection.
//!
//! Each [`Link`] has an address of its own, and conditions of its own. Delays are the proxy's timers. An end of file is
//! passed on as such, in one direction: who shuts its sending side down can still read.

mod tap;

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, broadcast, watch};

use crate::history::{Closer, History, Link, Record};
use tap::Tap;

/// How the connections of a link behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// What comes is passed on.
    Pass,
    /// Each piece later.
    Delay(Duration),
    /// So many bytes a millisecond, each way.
    Throttle(usize),
    /// In pieces of so many bytes.
    Split(usize),
    /// Nothing is passed on, and new connections wait.
    Stall,
    /// New connections are ended at once.
    Refuse,
}

/// How connections are ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// With an end of file, both ways.
    Close,
    /// With a reset, both ways.
    Reset,
}

/// The most that is passed on at once.
const PIECE: usize = 64 * 1024;

/// All links, served by one thread.
pub struct Network {
    handle: Handle,
    end: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
    history: Arc<History>,
    links: BTreeMap<Link, Control>,
}

/// What changes a link's connections.
#[derive(Clone)]
struct Control {
    condition: watch::Sender<Condition>,
    cut: broadcast::Sender<Cut>,
}

impl Network {
    /// A network without links.
    pub fn start(history: Arc<History>) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (handle, end) = (runtime.handle().clone(), Arc::new(Notify::new()));
        let ended = Arc::clone(&end);
        let thread = std::thread::spawn(move || runtime.block_on(ended.notified()));
        Self { handle, end, thread: Some(thread), history, links: BTreeMap::new() }
    }

    /// Serves `address`, and leads what connects there to the server at `upstream`. Both are HOST:PORT.
    pub fn link(&mut self, link: Link, address: &str, upstream: &str) {
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("cannot listen at {address}: {error}"));
        listener.set_nonblocking(true).unwrap();
        let (condition, cut) = (watch::Sender::new(Condition::Pass), broadcast::Sender::new(16));
        let control = Control { condition, cut };
        self.links.insert(link, control.clone());
        let (history, upstream) = (Arc::clone(&self.history), upstream.to_owned());
        self.handle.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                // Too many open files: those that are open will go.
                let Ok((near, _)) = listener.accept().await else { continue };
                tokio::spawn(connection(near, upstream.clone(), control.clone(), Arc::clone(&history), link));
            }
        });
    }

    /// Changes how a link's connections behave, those that are open and those to come.
    pub fn set(&self, link: Link, condition: Condition) {
        self.links[&link].condition.send_replace(condition);
    }

    /// Ends all open connections of a link.
    pub fn cut(&self, link: Link, how: Cut) {
        // Where nobody listens there is no connection.
        let _ = self.links[&link].cut.send(how);
    }

    /// All links.
    pub fn links(&self) -> impl ExactSizeIterator<Item = Link> {
        self.links.keys().copied()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.end.notify_one();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// One connection, from its beginning to its end.
async fn connection(near: TcpStream, upstream: String, control: Control, history: Arc<History>, link: Link) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let first = OnceLock::new();
    let (mut condition, mut cut) = (control.condition.subscribe(), control.cut.subscribe());
    if *condition.borrow_and_update() == Condition::Refuse {
        return;
    }
    let Ok(far) = TcpStream::connect(&upstream).await else { return };
    history.write(Record::Opened { connection: number, link });
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (mut near, mut far) = (near, far);
    let cut = {
        let (near_read, near_write) = near.split();
        let (far_read, far_write) = far.split();
        let tap = |from| Tap::new(&history, number, from);
        let (near_end, far_end) = (Closer::Party, Closer::Server);
        let up = pump((near_read, near_end), (far_write, far_end), condition.clone(), tap(near_end), &first);
        let down = pump((far_read, far_end), (near_write, near_end), condition, tap(far_end), &first);
        tokio::select! {
            how = cut.recv() => how.ok(),
            _ = async { tokio::try_join!(up, down) } => None,
        }
    };
    if cut == Some(Cut::Reset) {
        let _ = (near.set_zero_linger(), far.set_zero_linger());
    }
    let by = if cut.is_some() { Closer::Cut } else { *first.get_or_init(|| Closer::Party) };
    history.write(Record::Closed { connection: number, link, by });
}

/// Passes one direction on until its end. The first end that goes is kept in `first`.
async fn pump(
    (mut from, source): (impl AsyncRead + Unpin, Closer),
    (mut to, target): (impl AsyncWrite + Unpin, Closer),
    mut condition: watch::Receiver<Condition>,
    mut tap: Tap<'_>,
    first: &OnceLock<Closer>,
) -> io::Result<()> {
    let note = |closer| {
        first.get_or_init(|| closer);
    };
    let mut buffer = vec![0; PIECE];
    loop {
        let count = from.read(&mut buffer).await.inspect_err(|_| note(source))?;
        if count == 0 {
            passing(&mut condition).await;
            note(source);
            tap.end();
            return to.shutdown().await;
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            // The condition may have changed meanwhile.
            passing(&mut condition).await;
            let (most, delay) = pace(*condition.borrow());
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let (piece, later) = rest.split_at(most.min(rest.len()));
            rest = later;
            tap.see(piece);
            to.write_all(piece).await.inspect_err(|_| note(target))?;
            tokio::task::yield_now().await;
        }
    }
}

/// Waits until something may pass.
async fn passing(condition: &mut watch::Receiver<Condition>) {
    // An error means that the network ends.
    let _ = condition.wait_for(|condition| *condition != Condition::Stall).await;
}

/// The most that is passed on at once, and how long that takes.
fn pace(condition: Condition) -> (usize, Duration) {
    match condition {
        Condition::Pass | Condition::Refuse | Condition::Stall => (PIECE, Duration::ZERO),
        Condition::Delay(delay) => (PIECE, delay),
        // As much as passes in two milliseconds.
        Condition::Throttle(bytes) => ((2 * bytes).clamp(1, PIECE), Duration::from_millis(2)),
        Condition::Split(most) => (most, Duration::ZERO),
    }
}

#[cfg(test)]
mod tests;
