//! gm-native.
pub mod gearman;
pub mod system;
pub mod worker;
