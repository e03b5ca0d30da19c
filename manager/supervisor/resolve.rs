//! Resolves a job server's name in a child process, because `getaddrinfo` may block for any length of time.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use crate::system::channel::{Channel, ChannelRead, MAX_MESSAGE};
use crate::system::child_exit;
use crate::system::errors::reason;
use crate::system::spawn::{CHANNEL_FD, inherited};
use crate::worker::messages;

/// The hidden argument that makes the program look a name up.
pub(crate) const ROLE: &str = "--gm-native-resolve";

/// Time limit for the request to arrive, and for the answer to be read.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a look-up found: addresses, or a sentence.
pub(crate) type ResolveResult = Result<Vec<SocketAddr>, String>;

/// The child: reads a host and a port, answers, and exits.
pub(crate) fn main() -> ! {
    let Some(channel) = inherited(CHANNEL_FD).map(Channel::from_fd) else {
        eprintln!("gm-native: {ROLE} is how the manager looks names up; it does nothing by hand");
        child_exit::now(2);
    };
    let mut buffer = vec![0; MAX_MESSAGE];
    let Ok(ChannelRead::Message(length, _)) = channel.receive(&mut buffer, DEADLINE) else { child_exit::now(1) };
    let Ok((host, port)) = messages::decode::<(String, u16)>(&buffer[..length]) else { child_exit::now(1) };
    let answer: ResolveResult = match (host.as_str(), port).to_socket_addrs() {
        Ok(addresses) => Ok(addresses.take(64).collect()),
        Err(error) => Err(format!("the name {host} cannot be looked up: {}", reason(&error))),
    };
    let sent = channel.send(&messages::encode(&answer), DEADLINE);
    child_exit::now(i32::from(sent.is_err()));
}
