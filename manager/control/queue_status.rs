//! What a status says about queues: `gm-native status --queues` asks the job servers for it.

use serde::{Deserialize, Serialize};

/// The queues at one job server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ServerQueues {
    /// Host and port as configured.
    pub address: String,
    /// What it answered.
    pub answer: QueuesAnswer,
}

/// Whether a job server said what is queued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum QueuesAnswer {
    /// It did.
    Queues {
        /// The manager's functions, if the server knows them.
        functions: Vec<QueueStatus>,
    },
    /// It did not.
    None {
        /// Why not.
        why: String,
    },
}

/// The queue of a function at one job server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct QueueStatus {
    /// The function.
    pub function: String,
    /// Jobs that no worker runs yet, including those for a later time.
    pub waiting: u64,
    /// Jobs that a worker runs or holds, of whichever manager.
    pub running: u64,
    /// Connections of workers that offer it, of whichever manager.
    pub workers: u64,
}
