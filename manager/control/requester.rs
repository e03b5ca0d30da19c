//! The user who sent a request.

use std::fmt;
use std::time::Duration;

use nix::unistd::{Uid, User};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long to wait for a user's name, which may come from a directory service.
const NAME_TIMEOUT: Duration = Duration::from_secs(1);

/// The user who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requester {
    /// As the kernel says.
    pub uid: u32,
    /// The name, if it was looked up and there is one.
    pub name: Option<String>,
}

impl Requester {
    /// A user whose name does not matter.
    pub(super) fn unnamed(uid: u32) -> Self {
        Self { uid, name: None }
    }

    /// Looks up the name, in another thread: a directory service may not answer.
    pub(super) async fn named(uid: u32) -> Self {
        let look_up = move || User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
        let name = timeout(NAME_TIMEOUT, spawn_blocking(look_up)).await.ok().and_then(Result::ok).flatten();
        Self { uid, name }
    }
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "uid {}", self.uid),
        }
    }
}
