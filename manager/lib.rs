//! gm-native.
pub mod system;
