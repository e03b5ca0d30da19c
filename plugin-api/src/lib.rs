//! What the author of a plugin sees.

pub mod abi;
