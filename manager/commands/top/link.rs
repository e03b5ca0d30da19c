//! The manager, as `top` asks it: threads that block on the control socket, so that the screen never waits for it.

use std::path::{Path, PathBuf};
use std::thread;

use tokio::sync::mpsc::Sender;

use super::model::Input;
use super::request::{Event, Steering};
use crate::control::{ClientError, ControlClient, DEADLINE};

/// Where the manager listens, and where its answers go.
pub(super) struct Link {
    control: PathBuf,
    inputs: Sender<Input>,
}

impl Link {
    pub(super) fn new(control: &Path, inputs: Sender<Input>) -> Self {
        Self { control: control.to_owned(), inputs }
    }

    /// Asks for the status, with or without the list of workers; the answer is an input.
    pub(super) fn poll(&self, workers: bool) {
        self.spawn(move |control, inputs| {
            let ask = |mut client: ControlClient| if workers { client.status() } else { client.summary() };
            let status = connect(control).and_then(ask);
            let input = match status {
                Ok(status) => Input::Status(Box::new(status)),
                Err(error) => Input::Unreachable(error.to_string()),
            };
            // An error means that `top` has ended.
            let _ = inputs.blocking_send(input);
        });
    }

    /// Asks for what a worker printed last; the answer is an input. There is none of a worker that has exited.
    pub(super) fn read_output(&self, pid: u32) {
        self.spawn(move |control, inputs| {
            if let Ok(lines) = connect(control).and_then(|mut client| client.output(pid)) {
                let _ = inputs.blocking_send(Input::Output(pid, lines));
            }
        });
    }

    /// Sends a request; the answer is an input, and its end an event.
    pub(super) fn ask(&self, steering: Steering) {
        self.spawn(move |control, inputs| {
            let reply = connect(control).and_then(|mut client| client.request(steering.request()));
            let answer = reply.map(|reply| reply.request).map_err(|error| error.to_string());
            let _ = inputs.blocking_send(Input::Answered(steering, answer));
        });
    }

    /// Follows the events: those that the manager has kept, then each one as it happens.
    pub(super) fn follow(&self) {
        self.spawn(|control, inputs| {
            // Any error shows in the next status as well, after which this is tried again.
            let _ = follow(control, inputs);
            let _ = inputs.blocking_send(Input::EventsEnded);
        });
    }

    fn spawn(&self, work: impl FnOnce(&Path, &Sender<Input>) + Send + 'static) {
        let (control, inputs) = (self.control.clone(), self.inputs.clone());
        thread::spawn(move || work(&control, &inputs));
    }
}

fn connect(control: &Path) -> Result<ControlClient, ClientError> {
    ControlClient::connect(control, DEADLINE)
}

fn follow(control: &Path, inputs: &Sender<Input>) -> Result<(), ClientError> {
    // Before the kept ones are read, so that none is missed.
    let coming = connect(control)?.follow_events()?;
    let kept: Vec<Event> = connect(control)?.latest_events()?.collect::<Result<_, _>>()?;
    let _ = inputs.blocking_send(Input::Events(kept));
    for event in coming {
        if inputs.blocking_send(Input::Events(vec![event?])).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
