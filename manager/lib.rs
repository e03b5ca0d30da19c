//! gm-native.

pub mod logging;
pub mod system;
