//! Joins the core to the connections' tasks: each request enters under one borrow, each reply goes into its outbox.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::sleep;

use super::core::{ConnectionId, ServerCore, ServerReplies};
use super::input_buffer::ReceivedInput;
use super::outbox::Outbox;
use super::reply::ServerReply;

/// The clock that delayed jobs use may be set: check again after at most this long.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What the tasks of one server share. They run on one thread, and none of them awaits while it borrows.
pub(super) struct Hub {
    core: RefCell<ServerCore>,
    mailboxes: RefCell<HashMap<ConnectionId, Rc<Mailbox>>>,
    last: Cell<u64>,
    max_backlog: usize,
    /// Another job may be due first.
    put_off: Notify,
}

/// A connection's outbox, and the notification that wakes its task.
pub(super) struct Mailbox {
    pub(super) outbox: RefCell<Outbox>,
    pub(super) bell: Notify,
}

impl Mailbox {
    pub(super) fn put(&self, answer: ServerReply) {
        // Its task finds that the peer is too slow.
        let _ = self.outbox.borrow_mut().push(answer);
        self.bell.notify_one();
    }
}

impl Hub {
    pub(super) fn new(core: ServerCore, max_backlog: usize) -> Self {
        Self {
            core: RefCell::new(core),
            mailboxes: RefCell::default(),
            last: Cell::new(0),
            max_backlog,
            put_off: Notify::new(),
        }
    }

    /// A connection was made.
    pub(super) fn open(&self, peer: SocketAddr) -> (ConnectionId, Rc<Mailbox>) {
        self.last.set(self.last.get() + 1);
        let id = ConnectionId(self.last.get());
        let mailbox = Rc::new(Mailbox { outbox: RefCell::new(Outbox::new(self.max_backlog)), bell: Notify::new() });
        self.mailboxes.borrow_mut().insert(id, Rc::clone(&mailbox));
        self.core.borrow_mut().opened(id, peer.ip());
        (id, mailbox)
    }

    /// A connection has ended, or is about to: its jobs go to others at once.
    pub(super) fn close(&self, id: ConnectionId) {
        self.mailboxes.borrow_mut().remove(&id);
        let answers = self.core.borrow_mut().closed(id);
        self.deliver(answers);
    }

    /// A packet or a line arrived.
    pub(super) fn receive(&self, from: ConnectionId, received: ReceivedInput<'_>) {
        let answers = match received {
            ReceivedInput::Request(request) => self.core.borrow_mut().handle(from, request),
            ReceivedInput::Line(line) => vec![(from, self.core.borrow().command(&line))],
        };
        self.deliver(answers);
        if self.due_in().is_some() {
            self.release_due();
            self.put_off.notify_one();
        }
    }

    /// Queues delayed jobs when they are due. Never ends, and sleeps while there are none.
    pub(super) async fn release_in_time(&self) {
        loop {
            match self.due_in() {
                None => self.put_off.notified().await,
                Some(left) => tokio::select! {
                    () = sleep(left.min(LONGEST_SLEEP)) => self.release_due(),
                    () = self.put_off.notified() => {}
                },
            }
        }
    }

    fn due_in(&self) -> Option<Duration> {
        let due = Duration::from_secs(self.core.borrow().next_due()?);
        Some(due.saturating_sub(since_1970()))
    }

    fn release_due(&self) {
        let answers = self.core.borrow_mut().release(since_1970().as_secs());
        self.deliver(answers);
    }

    fn deliver(&self, answers: ServerReplies) {
        let mailboxes = self.mailboxes.borrow();
        for (to, answer) in answers {
            if let Some(mailbox) = mailboxes.get(&to) {
                mailbox.put(answer);
            }
        }
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
