//! What `crashes` and `quarantine` share: finding the directory, and reading it as hostile input.

use std::process::ExitCode;

use super::configuration::{self, Configuration};
use super::output::fail;
use crate::cli::Cli;
use crate::crash::files::{Listing, Record, RecordDir};
use crate::crash::record_id::RecordId;
use crate::logging::escape;
use crate::plugins::display_path::DisplayPath;
use crate::system::errors::reason;

/// The records of one manager.
pub(super) struct Records<T> {
    /// Whose.
    pub configuration: Configuration,
    dir: Option<RecordDir<T>>,
}

impl<T: Record> Records<T> {
    /// Opens the directory of this name in the state directory that the options select.
    ///
    /// # Errors
    /// The exit code, after the reason was printed.
    pub(super) fn open(cli: &Cli, name: &str) -> Result<Self, ExitCode> {
        let configuration = configuration::find_state(cli).map_err(|text| fail(&text, 2))?;
        configuration.warnings.iter().for_each(|warning| eprintln!("gm-native: warning: {warning}"));
        let path = configuration.state_dir.join(name);
        let dir = RecordDir::open(&path)
            .map_err(|error| fail(&format!("{} cannot be read: {}", DisplayPath(&path), reason(&error)), 1))?;
        Ok(Self { configuration, dir })
    }

    /// Everything that is there, the oldest first. What cannot be read is named on standard error.
    ///
    /// # Errors
    /// The exit code, after the reason was printed.
    pub(super) fn list(&self) -> Result<Vec<(RecordId, T)>, ExitCode> {
        let Some(dir) = &self.dir else { return Ok(Vec::new()) };
        let Listing { records, skipped } =
            dir.list().map_err(|error| fail(&format!("the {}s cannot be read: {}", T::WHAT, reason(&error)), 1))?;
        for skipped in skipped {
            eprintln!("gm-native: warning: {} {}: {}", T::WHAT, skipped.id, escape(&skipped.reason));
        }
        Ok(records)
    }

    /// The record that an argument names.
    ///
    /// # Errors
    /// The exit code, after the reason was printed: 2 for what is no id, 1 for what cannot be read.
    pub(super) fn read(&self, argument: &str) -> Result<(RecordId, T), ExitCode> {
        let id: RecordId =
            argument.parse().map_err(|error| fail(&format!("{}: {}", escape(argument), reason(&error)), 2))?;
        let record = match &self.dir {
            Some(dir) => dir.read(id),
            None => Err(format!("there is no {} of that id", T::WHAT)),
        };
        let record = record.map_err(|reason| fail(&format!("{id}: {}", escape(&reason)), 1))?;
        Ok((id, record))
    }

    /// The newest record of this kind. What cannot be read is passed over.
    pub(super) fn find(&self, is_it: impl Fn(&T) -> bool) -> Option<(RecordId, T)> {
        let mut listing = self.dir.as_ref()?.list().ok()?;
        listing.records.reverse();
        listing.records.into_iter().find(|(_, record)| is_it(record))
    }

    /// The whole workload beside a record.
    ///
    /// # Errors
    /// Why there is none: a clause.
    pub(super) fn workload(&self, id: RecordId, size: Option<u64>) -> Result<Vec<u8>, String> {
        let found = self.dir.as_ref().map(|dir| dir.workload(id, size.unwrap_or(u64::MAX - 1)));
        match found {
            Some(Ok(Some(bytes))) if size.is_none_or(|size| bytes.len() as u64 == size) => Ok(bytes),
            Some(Ok(Some(bytes))) => {
                Err(format!("its file has {} bytes, and the workload had {}", bytes.len(), size.unwrap_or_default()))
            }
            Some(Ok(None)) | None => Err("its file is gone".into()),
            Some(Err(error)) => Err(format!("its file cannot be read: {}", reason(&error))),
        }
    }

    /// Removes a record and its workload.
    ///
    /// # Errors
    /// The system's, in words.
    pub(super) fn remove(&self, id: RecordId) -> Result<(), String> {
        let removed = self.dir.as_ref().map_or(Ok(false), |dir| dir.remove(id));
        removed.map(drop).map_err(|error| reason(&error))
    }
}

/// A record as JSON, with the format that it has in its file.
pub(super) fn json_of<T: Record>(record: &T) -> String {
    let mut value = serde_json::to_value(record).unwrap_or_default();
    value["format"] = T::FORMAT.into();
    format!("{}\n", serde_json::to_string_pretty(&value).unwrap_or_default())
}

/// `2026-11-24T10:11:12.345+01:00` as `2026-11-24 10:11:12`.
pub(super) fn when(time: &str) -> String {
    let text: String = time.chars().take(19).collect();
    escape(&text.replace('T', " ")).into_owned()
}
