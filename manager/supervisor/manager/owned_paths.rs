//! What a manager holds at paths as long as it runs: its pid file, its state directory with the lock, its control socket.
//! Anyone who tidies up may remove them; the manager then logs it once, and makes them again if it may.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;

use tokio::sync::mpsc;

use super::Manager;
use crate::control::{Access, ControlListener, ControlServer, Feed, PendingRequest};
use crate::supervisor::event::Event;
use crate::system::errors::reason;
use crate::system::lock::PathCheck;
use crate::system::pid_file::PidFile;
use crate::system::state_lock::StateLock;

/// What was taken before root was dropped.
#[derive(Debug)]
pub(crate) struct HeldPaths {
    /// Where one is wanted.
    pub pid_file: Option<PidFile>,
    /// On the state directory.
    pub lock: StateLock,
}

/// A control socket, and what it takes to have another.
#[derive(Debug)]
pub(super) struct ControlSocket {
    server: ControlServer,
    path: PathBuf,
    access: Access,
    feed: Feed,
    requests: mpsc::Sender<PendingRequest>,
}

impl ControlSocket {
    /// Binds the socket and serves it.
    pub(super) fn open(
        path: PathBuf,
        access: Access,
        feed: Feed,
        requests: mpsc::Sender<PendingRequest>,
    ) -> Result<Self, String> {
        let listener = ControlListener::bind(&path, access).map_err(|error| error.to_string())?;
        let server = ControlServer::start(listener, feed.clone(), requests.clone())
            .map_err(|error| format!("cannot serve its control socket: {}", reason(&error)))?;
        Ok(Self { server, path, access, feed, requests })
    }

    /// Makes the socket again if it was removed. In the place of another one none is made: whose it is may take long
    /// to find out.
    fn renew(&mut self) -> Result<PathCheck, String> {
        if self.server.is_in_place() {
            return Ok(PathCheck::InPlace);
        }
        let path = self.path.display();
        match self.path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let made = Self::open(self.path.clone(), self.access, self.feed.clone(), self.requests.clone());
                *self = made.map_err(|reason| format!("control socket {path} was removed: {reason}"))?;
                Ok(PathCheck::MadeAgain)
            }
            Err(error) => Err(format!("control socket {path} cannot be looked at: {}", reason(&error))),
            Ok(_) => Err(format!(
                "control socket {path} was replaced by something else: no command reaches this manager there until that \
                 is removed"
            )),
        }
    }

    /// As [`ControlServer::close`].
    pub(super) async fn close(self) {
        self.server.close().await;
    }
}

/// All of it.
#[derive(Debug)]
pub(super) struct OwnedPaths {
    pub held: HeldPaths,
    pub sockets: Vec<ControlSocket>,
    /// What cannot be recreated, as it was reported.
    reported: BTreeSet<String>,
}

impl OwnedPaths {
    pub(super) fn new(held: HeldPaths, sockets: Vec<ControlSocket>) -> Self {
        Self { held, sockets, reported: BTreeSet::new() }
    }

    /// What cannot be made again, a sentence each.
    pub(super) fn failures(&self) -> impl Iterator<Item = &String> {
        self.reported.iter()
    }

    /// Recreates what was removed. A failure is reported once while it lasts.
    fn renew(&mut self) -> Renewed {
        let HeldPaths { pid_file, lock } = &mut self.held;
        let mut renewed = Renewed::default();
        let mut failed = BTreeSet::new();
        let mut note = |kept: Result<PathCheck, String>, what: String| match kept {
            Ok(PathCheck::InPlace) => false,
            Ok(PathCheck::MadeAgain) => {
                renewed.made.push(format!("{what} was removed; it was made again"));
                true
            }
            Err(reason) => {
                failed.insert(reason);
                false
            }
        };
        if let Some(pid_file) = pid_file {
            note(pid_file.renew(), format!("pid file {}", pid_file.path().display()));
        }
        let state = note(lock.renew(), format!("state directory {}, or its lock,", lock.dir().display()));
        for socket in &mut self.sockets {
            note(socket.renew(), format!("control socket {}", socket.path.display()));
        }
        renewed.state = state;
        renewed.failed = failed.difference(&self.reported).cloned().collect();
        self.reported = failed;
        renewed
    }
}

/// What was found.
#[derive(Debug, Default)]
struct Renewed {
    /// Whether the state directory is a new one.
    state: bool,
    made: Vec<String>,
    failed: Vec<String>,
}

impl Manager {
    /// Looks after the places, at the slow tick and whenever somebody has the manager look after its files.
    pub(super) fn keep_places(&mut self) {
        let Renewed { state, made, failed } = self.places.renew();
        if state {
            self.effects.save_records();
        }
        made.into_iter().for_each(|text| self.effects.report(&Event::FileWarning { text }));
        failed.into_iter().for_each(|text| self.effects.report_error(text));
    }
}
