//! `gm-native versions`: prints which code is served, and which a rollback can lead to.

use std::path::Path;
use std::process::ExitCode;

use super::output::{OutputFormat, fail_of, finish};
use super::table::Table;
use crate::control::{ControlClient, DEADLINE, VersionStatus};
use crate::logging::escape;

/// Prints the stored versions of the functions of the manager at this control socket.
pub fn list(path: &Path, format: OutputFormat) -> ExitCode {
    let versions = ControlClient::connect(path, DEADLINE).and_then(|mut client| client.versions());
    match (versions, format) {
        (Ok(versions), OutputFormat::Text) => finish(&table(&versions), 0),
        (Ok(versions), OutputFormat::Json) => {
            finish(&format!("{}\n", serde_json::to_string_pretty(&versions).unwrap_or_default()), 0)
        }
        (Err(error), _) => fail_of(&error),
    }
}

fn table(versions: &[VersionStatus]) -> String {
    let mut table = Table::new(["FUNCTION", "VERSION", "CRATE", "STATE", "STORED", "SIZE", "NOTE"]);
    for version in versions {
        table.row([
            escape(version.function.as_str()).into_owned(),
            version.version.to_string(),
            escape(&version.crate_version).into_owned(),
            version.state.label().to_owned(),
            escape(&version.stored).into_owned(),
            version.size.to_string(),
            version.note.as_deref().map(|note| escape(note).into_owned()).unwrap_or_default(),
        ]);
    }
    table.render().trim_start().to_owned()
}
