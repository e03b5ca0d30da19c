//! The manager.
pub mod judge;
pub mod life;
pub mod reconcile;
pub mod restart;
