//! The reply to a status request.

use serde::{Deserialize, Serialize};

use super::failures::FailedReloadStatus;
use super::function_status::FunctionStatus;
use super::queue_status::ServerQueues;
use super::server_status::JobServerStatus;
use super::worker_status::{WorkerCounts, WorkerStatus};

/// The version of the form of a status as JSON. It changes only if a field goes, or changes its meaning or its form;
/// docs/status.schema.json describes it.
pub const STATUS_SCHEMA: u32 = 1;

/// What the manager is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StatusReply {
    /// The version of this form.
    #[serde(default)]
    pub schema: u32,
    /// gm-native's version.
    pub version: String,
    /// The manager's pid.
    pub pid: u32,
    /// The instance's name, from its config file.
    pub instance: String,
    /// The command that addresses it, to which a command is added: `gm-native -c /etc/gm.ini`.
    #[serde(default)]
    pub command: String,
    /// Since the manager's start.
    pub uptime_seconds: u64,
    /// The state of the manager as a whole.
    pub state: ManagerState,
    /// The job servers of the config.
    pub job_servers: Vec<JobServerStatus>,
    /// The functions that are served or should be.
    pub functions: Vec<FunctionStatus>,
    /// Files in worker_dir that are not served.
    pub refused: Vec<RefusedFile>,
    /// Other conditions that need attention, a sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// How many workers there are, by what they do.
    #[serde(default)]
    pub worker_counts: WorkerCounts,
    /// The workers, if the request asks for them.
    #[serde(default)]
    pub workers: Vec<WorkerStatus>,
    /// The last reload, if it failed.
    #[serde(default)]
    pub failed_reload: Option<FailedReloadStatus>,
    /// What waits at the job servers, if `--queues` asked for it; never in the manager's own answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<Vec<ServerQueues>>,
    /// Processes that plugins left behind and that have ended: the manager became their parent.
    #[serde(default)]
    pub orphans_reaped: u64,
}

/// The state of the manager as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ManagerState {
    /// The first workers are not ready yet.
    Starting,
    /// The usual state.
    Running,
    /// It accepts no new jobs, and exits when the running ones have ended.
    Draining,
}

impl ManagerState {
    /// The word in text and JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
        }
    }
}

/// A file in worker_dir that is not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RefusedFile {
    /// The file.
    pub path: String,
    /// Why not, and what to do.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use schemars::generate::SchemaSettings;

    use super::*;

    /// The description is made from the types, so a field cannot be forgotten in it.
    #[test]
    fn the_schema_describes_what_is_printed() {
        let mut schema =
            SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<StatusReply>();
        schema.insert("title".into(), format!("gm-native status --json, schema {STATUS_SCHEMA}").into());
        let made = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/status.schema.json");
        if std::env::var_os("GM_WRITE_DOCS").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        let behind =
            "docs/status.schema.json is behind the types; GM_WRITE_DOCS=1 cargo test --lib the_schema_describes";
        assert!(made == written, "{behind}");
    }
}
