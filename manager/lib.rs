//! gm-native.

pub mod cli;
pub mod config;
pub mod plan;
