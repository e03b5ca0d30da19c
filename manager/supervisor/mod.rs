//! The manager's loop: inputs to the pure [`core`], its actions to the [`effects`] beside it.
//!
//! ```text
//! signals, children, timer, scans, control socket -> Input -> Core::handle -> Action -> Effects::perform
//! ```

pub mod catalog;
pub mod core;
pub mod effects;
pub mod event;
pub mod fate;
pub mod guardian;
pub mod hand_back;
pub mod judge;
pub mod lethal;
pub mod life;
mod manager;
pub mod output;
pub mod reconcile;
pub mod resolve;
pub mod restart;
pub mod rollout;

pub use manager::{Held, Manager, Reread, Setup};
