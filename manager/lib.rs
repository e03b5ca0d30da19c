//! gm-native.
pub mod gearman;
