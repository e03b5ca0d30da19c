//! The Gearman protocol: packets without IO, and thin blocking connections over them.
//!
//! A worker's session and the embedded job server read and write [`packet`]s themselves; the commands and the tests use
//! [`client`] and [`admin`]. Nothing here knows about workers, plugins or the manager.

pub mod admin;
pub mod client;
mod dial;
pub mod packet;
pub(crate) mod queues;

pub use dial::ServerError;
