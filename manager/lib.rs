//! gm-native.
