//! gm-native.
pub mod system;
pub mod worker;
