//! A Gearman job server in memory, for laptops and tests; in production you run gearmand.
//!
//! ```text
//! connection (bytes) -> input (packets, lines) -> core (pure) -> answers -> outbox -> connection (bytes)
//! ```
//!
//! [`ServerCore`] is the server without IO and without a clock: a request goes in, answers for any number of
//! connections come out. [`Server`] puts it on TCP. It behaves as gearmand 1.1.20 does, down to what workers have to
//! look out for: the function offered last is served first, a sleeper is woken once until it asks again, taking an
//! offer back queues the job in hand again. One body of tests runs against both. It differs where gearmand is no model:
//!
//! - A foreground job whose clients have all gone is dropped at once, not when a worker comes by, so it can be submitted
//!   again; a job that was also submitted in the background is run all the same.
//! - A job for a later time wakes a sleeper when its time has come, as gearmand does from 2.0 on.
//! - A time limit of `CAN_DO_TIMEOUT` is not kept: in 1.1.20 it corrupts memory.
//! - A packet that breaks the protocol ends its connection, after an `ERROR` that says what is wrong.
//! - What a peer can make it hold is bounded: packets, jobs, names, and bytes that nobody reads.
//!
//! Invariant: nothing here survives a restart, and nothing here is reachable from another machine unless asked for.

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
