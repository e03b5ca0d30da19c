//! What gm-native and the original both do, as one suite that runs against either.
//!
//! `cargo test --test compat` tests gm-native. `GM_UNDER_TEST=theirs GEARMAN_MANAGER_DIR=DIR cargo test --test compat`
//! tests a checkout of GearmanManager, which is not part of this repository; it needs php-cli and php-gearman. What
//! differs on purpose is named in `differences.rs`. Which test shows which row of the contract: `ROWS.md`.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod differences;
mod life;
mod plans;
mod process;
mod subject;
