//! One small file per verb.

pub mod events;
pub mod output;
pub mod status;
