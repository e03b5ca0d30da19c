//! The manager's loop: inputs to the pure [`core`], its actions to the effects beside it.

pub mod catalog;
pub mod core;
pub mod event;
pub mod hand_back;
pub mod judge;
pub mod life;
pub mod output;
pub mod reconcile;
pub mod resolve;
pub mod restart;
