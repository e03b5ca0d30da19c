//! The manager's event stream, as a test reads it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use serde_json::Value;

use super::mortal::spawn;
use super::wait::DEADLINE;

/// What a following `gm-native events` has printed so far.
pub struct Events {
    child: Child,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

#[derive(Default)]
struct Seen {
    events: Vec<Value>,
    ended: bool,
}

impl Events {
    /// Starts `command`, whose lines are events.
    #[track_caller]
    pub fn follow(command: &mut Command) -> Self {
        let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()));
        let lines = BufReader::new(child.stdout.take().unwrap());
        let seen = Arc::<(Mutex<Seen>, Condvar)>::default();
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                shared.0.lock().unwrap().events.push(event);
                shared.1.notify_all();
            }
            shared.0.lock().unwrap().ended = true;
            shared.1.notify_all();
        });
        Self { child, seen }
    }

    /// All of them.
    pub fn all(&self) -> Vec<Value> {
        self.seen.0.lock().unwrap().events.clone()
    }

    /// How many there are: a place from which [`wait`](Self::wait) can look.
    pub fn count(&self) -> usize {
        self.seen.0.lock().unwrap().events.len()
    }

    /// The first event called `name` from place `from` that is `right`, waiting for it if need be.
    ///
    /// # Panics
    ///
    /// At the deadline, or when the stream ends without it.
    #[track_caller]
    pub fn wait(&self, name: &str, from: usize, right: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + DEADLINE;
        let mut seen = self.seen.0.lock().unwrap();
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
            seen = self.seen.1.wait_timeout(seen, left).unwrap().0;
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
