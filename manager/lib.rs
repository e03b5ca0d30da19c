//! gm-native.

pub mod plugins;
