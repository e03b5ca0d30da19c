//! Sends events to the clients that follow them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::PROTOCOL;
use super::messages::line;

/// How many events a follower may be behind before it loses some.
const BEHIND: usize = 1024;

/// How many events are kept for commands that ask later.
const KEPT: usize = 1000;

/// An event as clients get it: its log line and its own fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventLine<E> {
    /// Local time, as in the log.
    pub time: String,
    /// The label of the log line's level.
    pub level: String,
    /// The process it is about.
    pub pid: u32,
    /// The log line's message.
    pub text: String,
    /// The event's own fields, next to these.
    #[serde(flatten)]
    pub event: E,
}

/// Sends events to all followers, each as fast as it reads. Clones share one feed, on one thread.
#[derive(Clone, Debug)]
pub struct Feed(Rc<RefCell<FeedState>>);

#[derive(Debug)]
struct FeedState {
    /// None once the feed is closed.
    sender: Option<broadcast::Sender<Arc<str>>>,
    kept: VecDeque<Arc<str>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self::new()
    }
}

impl Feed {
    /// A feed without followers.
    pub fn new() -> Self {
        let inner = FeedState { sender: Some(broadcast::Sender::new(BEHIND)), kept: VecDeque::new() };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// Sends an event to all followers. Never waits: a follower that is too far behind loses events.
    pub fn publish<E: Serialize>(&self, event: &EventLine<E>) {
        #[derive(Serialize)]
        struct Line<'a, E> {
            v: u32,
            event: &'a EventLine<E>,
        }
        let line: Arc<str> = line(&Line { v: PROTOCOL, event }).into();
        let FeedState { sender, kept } = &mut *self.0.borrow_mut();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&line));
        if let Some(sender) = sender {
            // An error means that there are no followers.
            let _ = sender.send(line);
        }
    }

    /// Ends the feed: followers get what was published, and then the end.
    pub fn close(&self) {
        self.0.borrow_mut().sender = None;
    }

    /// Future events; none once the feed is closed.
    pub(super) fn follow(&self) -> Option<broadcast::Receiver<Arc<str>>> {
        self.0.borrow().sender.as_ref().map(broadcast::Sender::subscribe)
    }

    /// The latest events.
    pub(super) fn latest(&self) -> Vec<Arc<str>> {
        self.0.borrow().kept.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    #[serde(tag = "event", rename_all = "snake_case")]
    enum Event {
        WorkerStarted { function: &'static str },
    }

    fn event(pid: u32) -> EventLine<Event> {
        EventLine {
            time: "2026-11-24 12:00:00.123456".into(),
            level: "PROC".into(),
            pid,
            text: "worker started".into(),
            event: Event::WorkerStarted { function: "sum" },
        }
    }

    #[test]
    fn followers_get_what_is_published_while_they_follow() {
        let feed = Feed::new();
        feed.publish(&event(1));
        let mut follower = feed.follow().unwrap();
        feed.publish(&event(2));
        let line = follower.try_recv().unwrap();
        assert_eq!(
            &*line,
            "{\"v\":1,\"event\":{\"time\":\"2026-11-24 12:00:00.123456\",\"level\":\"PROC\",\"pid\":2,\
             \"text\":\"worker started\",\"event\":\"worker_started\",\"function\":\"sum\"}}\n"
        );
        feed.publish(&event(3));
        feed.close();
        assert!(follower.try_recv().is_ok());
        assert!(matches!(follower.try_recv(), Err(broadcast::error::TryRecvError::Closed)));
        assert!(feed.follow().is_none());
    }

    #[test]
    fn the_latest_are_kept() {
        let feed = Feed::new();
        for pid in 0..KEPT as u32 + 10 {
            feed.publish(&event(pid));
        }
        let latest = feed.latest();
        assert_eq!(latest.len(), KEPT);
        assert!(latest[0].contains("\"pid\":10,"));
    }

    #[test]
    fn a_follower_too_far_behind_gets_a_last_line() {
        let feed = Feed::new();
        let mut follower = feed.follow().unwrap();
        for pid in 0..BEHIND as u32 + 1 {
            feed.publish(&event(pid));
        }
        assert!(matches!(follower.try_recv(), Err(broadcast::error::TryRecvError::Lagged(1))));
    }
}
