//! The paused functions in the state directory: a pause survives a restart of the manager.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::plugins::name::FunctionName;
use crate::plugins::state_file::{self, StateRead};

const FORMAT: u32 = 1;

/// The paused functions.
pub(crate) type Pauses = BTreeMap<FunctionName, Pause>;

/// Who has paused a function, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pause {
    /// The user's name.
    pub by: String,
    /// Local time, to the second.
    pub since: String,
}

fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("paused.json")
}

/// What an earlier manager has saved, and a warning if that cannot be used.
pub(crate) fn read(state_dir: &Path) -> (Pauses, Option<String>) {
    let StateRead { content, warning } = state_file::read(&file(state_dir), FORMAT);
    (content, warning)
}

/// Saves them.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write(state_dir: &Path, pauses: &Pauses) -> io::Result<()> {
    state_file::write(&file(state_dir), FORMAT, pauses)
}
