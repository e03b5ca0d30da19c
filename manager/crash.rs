//! What is known of a worker that crashed, or whose job is past its timeout. Pure, but for reading descriptors.
//!
//! The worker's handler (`system::crash_handler`) leaves a snapshot of the thread in the crash area, a part of
//! its scoreboard's memory. The manager copies the area after the worker's death, and another process makes sense of it.

#[allow(dead_code)] // Its reader follows.
pub(crate) mod snapshot;
