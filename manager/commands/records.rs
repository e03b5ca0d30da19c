//! What `crashes` and `quarantine` share: finding the directory, and reading it as hostile input.

use std::process::ExitCode;

use super::configuration::{self, Configuration};
use super::output::fail;
use crate::cli::Cli;
use crate::config::{Config, nearest};
use crate::crash::files::{Listing, Record, RecordDir};
use crate::crash::record_id::RecordId;
use crate::logging::escape;
use crate::plugins::display_path::DisplayPath;
use crate::plugins::name::FunctionName;
use crate::plugins::scan;
use crate::system::errors::reason;

const USAGE: u8 = 2;
/// The exit code for a function that is not known, as for commands to a manager.
const REFUSED: u8 = 4;

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
        let configuration = configuration::find_state(cli).map_err(|error| fail(&error.text, error.code))?;
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

/// The records of one function, or all if none is named; `function_of` is the function of a record.
///
/// # Errors
/// The exit code, after the reason was printed: there is neither a record nor a library of that function.
pub(super) fn of_function<T: Record>(
    records: Vec<(RecordId, T)>,
    function: Option<&str>,
    config: &Config,
    function_of: impl Fn(&T) -> Option<&FunctionName>,
) -> Result<Vec<(RecordId, T)>, ExitCode> {
    let Some(function) = function else { return Ok(records) };
    if function.parse::<RecordId>().is_ok() {
        return Err(fail(&format!("{function} is the id of a {}: to see it, write show {function}", T::WHAT), USAGE));
    }
    let is_asked = |record: &T| function_of(record).is_some_and(|name| name == function);
    let (found, others): (Vec<_>, Vec<_>) = records.into_iter().partition(|(_, record)| is_asked(record));
    if found.is_empty() {
        let libraries = scan::scan(&config.worker_dirs).candidates;
        let known = others.iter().filter_map(|(_, record)| function_of(record)).chain(libraries.keys());
        unknown(function, known).map_or(Ok(()), |text| Err(fail(&text, REFUSED)))?;
    }
    Ok(found)
}

/// The sentence that there is no such function, unless it is one of these.
fn unknown<'a>(function: &str, known: impl Iterator<Item = &'a FunctionName> + Clone) -> Option<String> {
    let near = nearest(function, known.clone().map(FunctionName::as_str));
    let near = near.map_or(String::new(), |near| format!(" (nearest: {near})"));
    let text = format!(
        "there is no function {}{near}: nothing of it is kept, and worker_dir has no library",
        escape(function)
    );
    known.into_iter().all(|name| name != function).then_some(text)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_function_is_named_with_the_nearest_known_one() {
        let known: Vec<FunctionName> = vec!["resize".into(), "sum".into()];
        for (function, expected) in [
            ("sum", None),
            ("resiez", Some("there is no function resiez (nearest: resize): nothing of it is kept")),
            ("x\u{1b}", Some("there is no function x\\x1b: nothing of it is kept")),
        ] {
            let text = unknown(function, known.iter());
            assert_eq!(text.as_deref().map(|text| text.split(", and").next().unwrap_or_default()), expected);
        }
    }
}
