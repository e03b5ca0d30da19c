//! A Gearman job server in memory, for laptops and tests; in production you run gearmand.
//!
//! ```text
//! connection (bytes) -> input (packets, lines) -> core (pure) -> answers -> outbox -> connection (bytes)
//! ```
//!
//! [`ServerCore`] is the server without IO and without a clock: a request goes in, replies for any number of
//! connections come out. [`Server`] puts it on TCP. It behaves as gearmand 1.1.20 does, even in what is awkward for
//! workers: it serves the function registered last first, wakes a sleeping worker only once until the worker asks
//! again, and requeues the job in hand when a worker unregisters its function. The same tests run against both. It
//! differs where gearmand is no model:
//!
//! - A foreground job whose clients have all disconnected is dropped at once, not when a worker asks for it, so it can
//!   be submitted again; a job that was also submitted in the background still runs.
//! - A job for a later time wakes a sleeping worker when it is due, as gearmand does since 2.0.
//! - The time limit of `CAN_DO_TIMEOUT` is ignored: in 1.1.20 it corrupts memory.
//! - A packet that breaks the protocol ends its connection, after an `ERROR` that says what is wrong.
//! - What a peer can make it hold is bounded: packets, jobs, names, and bytes that the peer does not read.
//!
//! Invariant: nothing here survives a restart, and nothing here is reachable from another machine unless you ask for
//! it.

mod connection;
mod core;
mod hub;
mod input_buffer;
mod options;
mod outbox;
mod reply;
mod server;

pub use core::{ConnectionId, ServerCore, ServerIdentity, ServerLimits, ServerReplies};
pub use options::{ListenScope, ServerOptions};
pub use reply::ServerReply;
pub use server::Server;
