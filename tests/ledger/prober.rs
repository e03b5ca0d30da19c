//! Asks each manager for its status all the time, and writes down whether it answered.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use gm_native::control::ControlClient;

use crate::history::{History, Record, now};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// How long an answer is waited for: longer than it may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Asks until it is dropped.
pub struct Prober {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Prober {
    /// Asks the manager at this control socket.
    pub fn start(manager: usize, control: PathBuf, history: Arc<History>) -> Self {
        let (end, ended) = channel::<()>();
        let thread = std::thread::spawn(move || {
            while ended.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                let asked = now();
                let status = ControlClient::connect(&control, TIMEOUT).and_then(|mut client| client.status());
                history.write(Record::Status { manager, asked, answered: status.is_ok() });
            }
        });
        Self { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        drop(self.end.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
