//! What a job server allows its peers.

/// Limits of a [`Server`](super::Server), and how it presents itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// The longest packet taken, in bytes. Longer ones end their connection.
    pub max_packet: usize,
    /// How many jobs, and clients waiting for them, there may be at a time. A submission beyond is refused with an
    /// `ERROR`.
    pub max_queued: usize,
    /// How many bytes the jobs may hold in all. A submission beyond is refused with an `ERROR`.
    pub max_held: usize,
    /// How many bytes may wait to be read by one peer before the next packet for it ends its connection.
    pub max_backlog: usize,
    /// How many connections there may be; more are closed as soon as they are made.
    pub max_connections: usize,
    /// What the administrative command `version` says.
    pub version: String,
    /// From where it can be reached.
    pub reach: ListenScope,
}

/// From where a job server can be reached. Gearman knows no passwords: who reaches it can run any function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListenScope {
    /// From this machine: addresses that are not loopback are refused.
    #[default]
    Loopback,
    /// From wherever its address can be.
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
            // Workers draw conclusions from the number: this is the server it takes after.
            version: concat!("1.1.20+gm-native-", env!("CARGO_PKG_VERSION")).to_owned(),
            reach: ListenScope::default(),
        }
    }
}
