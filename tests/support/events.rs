//! The manager's event stream, for tests.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use gm_native::control::{ControlClient, EventLine};
use serde_json::{Map, Value};

use super::wait::{DEADLINE, wait_for};

/// Every event that the manager had kept, and every later one.
pub struct Events(Arc<(Mutex<Seen>, Condvar)>);

#[derive(Default)]
struct Seen {
    events: Vec<Value>,
    ended: bool,
}

impl Events {
    /// Follows the manager at this control socket. No event is missed once this returns.
    #[track_caller]
    pub fn follow(control: &Path) -> Self {
        let connect = || ControlClient::connect(control, DEADLINE);
        let coming = connect().and_then(ControlClient::follow_events).unwrap();
        let kept: Vec<_> = connect().and_then(ControlClient::latest_events).unwrap().map_while(Result::ok).collect();
        let seen = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
        seen.0.lock().unwrap().events = kept.iter().map(value).collect();
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            // What happened between the two requests is in both answers.
            for event in coming.map_while(Result::ok).filter(|event| !kept.contains(event)) {
                shared.0.lock().unwrap().events.push(value(&event));
                shared.1.notify_all();
            }
            shared.0.lock().unwrap().ended = true;
            shared.1.notify_all();
        });
        Self(seen)
    }

    /// All of them.
    pub fn all(&self) -> Vec<Value> {
        self.0.0.lock().unwrap().events.clone()
    }

    /// All of them, from a manager that has exited.
    #[track_caller]
    pub fn wait_end(&self) -> Vec<Value> {
        wait_for("the end of the event stream", DEADLINE, || self.0.0.lock().unwrap().ended.then_some(()));
        self.all()
    }

    /// A position from which [`wait`](Self::wait) sees only what happens from now on. The stream lags behind the
    /// manager: an event that was already published may still be on its way, and would be taken for a later one.
    #[track_caller]
    pub fn now(&self, control: &Path) -> usize {
        let published = ControlClient::connect(control, DEADLINE).and_then(ControlClient::latest_events);
        // A manager that is gone publishes nothing more.
        let last = published.ok().and_then(|events| events.map_while(Result::ok).last()).map(|event| value(&event));
        let Some(last) = last else { return self.all().len() };
        wait_for("the event stream to catch up", DEADLINE, || {
            let seen = self.0.0.lock().unwrap();
            let place = seen.events.iter().rposition(|event| *event == last).map(|place| place + 1);
            place.or_else(|| seen.ended.then_some(seen.events.len()))
        })
    }

    /// The first event called `name` after position `from` that is `right`; waits for it if necessary.
    ///
    /// # Panics
    ///
    /// At the deadline, or if the stream ends without it.
    #[track_caller]
    pub fn wait(&self, name: &str, from: usize, right: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + DEADLINE;
        let mut seen = self.0.0.lock().unwrap();
        loop {
            let mut new = seen.events.iter().skip(from);
            if let Some(event) = new.find(|event| event["event"] == name && right(event)) {
                return event.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            if seen.ended || left.is_zero() {
                let why = if seen.ended { "the stream ended" } else { "waited in vain" };
                let events = seen.events.iter().skip(from).map(|event| format!("{event}\n")).collect::<String>();
                drop(seen);
                panic!("no event {name}: {why}; there were\n{events}");
            }
            seen = self.0.1.wait_timeout(seen, left).unwrap().0;
        }
    }
}

fn value(event: &EventLine<Map<String, Value>>) -> Value {
    serde_json::to_value(event).unwrap()
}
