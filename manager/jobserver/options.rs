//! What a job server allows its peers.

/// Limits of a [`Server`](super::Server), and how it presents itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// The longest packet accepted, in bytes. A longer one ends its connection.
    pub max_packet: usize,
    /// How many jobs, and clients waiting for them, there may be. Further submissions are refused with an `ERROR`.
    pub max_queued: usize,
    /// How many bytes the jobs may hold in all. Further submissions are refused with an `ERROR`.
    pub max_held: usize,
    /// How many bytes may be unread by one peer before the next packet for it ends its connection.
    pub max_backlog: usize,
    /// How many connections there may be; further ones are closed as soon as they are made.
    pub max_connections: usize,
    /// The answer to the administrative command `version`.
    pub version: String,
    /// From where it can be reached.
    pub reach: ListenScope,
}

/// From where a job server can be reached. Gearman has no passwords: anyone who reaches it can run any function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListenScope {
    /// From this machine: only loopback addresses are accepted.
    #[default]
    Loopback,
    /// From wherever its address can be reached.
    Anywhere,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            max_packet: 256 << 20,
            max_queued: 100_000,
            max_held: 1 << 30,
            max_backlog: 64 << 20,
            max_connections: 10_000,
            // Workers draw conclusions from the number: it is that of the server this one behaves like.
            version: concat!("1.1.20+gm-native-", env!("CARGO_PKG_VERSION")).to_owned(),
            reach: ListenScope::default(),
        }
    }
}
