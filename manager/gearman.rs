//! Gearman as it goes over the wire: packets without IO, and thin blocking connections over them.
//!
//! A worker's session and the embedded job server read and write [`packet`]s themselves; [`client`] and [`admin`] are
//! what the commands and the tests need. Nothing here knows of workers, plugins or the manager.

pub mod admin;
pub mod client;
mod dial;
pub mod packet;

pub use dial::ServerError;
