//! gm-native.

pub mod commands;
pub mod control;
pub mod logging;
pub mod system;
