//! The name of a crash report, or of a job in quarantine: `20261124-3` is the third of that day.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The day and a number. They are ordered by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct RecordId {
    /// As a number: 20261124.
    day: u32,
    /// Counts from 1.
    number: u32,
}

/// A text that names no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id has eight digits for the day, a hyphen and a number, as in 20261124-3")]
pub(crate) struct BadRecordId;

impl FromStr for RecordId {
    type Err = BadRecordId;

    fn from_str(text: &str) -> Result<Self, BadRecordId> {
        let (day, number) = text.split_once('-').ok_or(BadRecordId)?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        // Only one text names a record: it is the name of a file.
        if day.len() != 8 || !digits(day) || !digits(number) || number.starts_with('0') {
            return Err(BadRecordId);
        }
        Ok(Self { day: day.parse().map_err(|_| BadRecordId)?, number: number.parse().map_err(|_| BadRecordId)? })
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}-{}", self.day, self.number)
    }
}

impl TryFrom<String> for RecordId {
    type Error = BadRecordId;

    fn try_from(text: String) -> Result<Self, BadRecordId> {
        text.parse()
    }
}

impl From<RecordId> for String {
    fn from(id: RecordId) -> String {
        id.to_string()
    }
}

/// Gives out ids that no record has.
#[derive(Debug, Default)]
pub(crate) struct RecordIds {
    /// The highest number of each day.
    last: BTreeMap<u32, u32>,
}

impl RecordIds {
    /// Beyond the ones in use.
    pub(crate) fn beyond(used: impl IntoIterator<Item = RecordId>) -> Self {
        /// No manager gets there in a day, but a file may have any name: beyond the highest number there is none.
        const MOST: u32 = u32::MAX / 2;
        let mut last = BTreeMap::new();
        for RecordId { day, number } in used.into_iter().filter(|id| id.number <= MOST) {
            let highest: &mut u32 = last.entry(day).or_default();
            *highest = number.max(*highest);
        }
        Self { last }
    }

    /// The next one of this day, which is a number such as 20261124.
    pub(crate) fn next(&mut self, day: u32) -> RecordId {
        let last = self.last.entry(day).or_default();
        *last = last.saturating_add(1);
        RecordId { day, number: *last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_for_each_id() {
        for text in ["20261124-1", "20261124-4294967295", "00000000-1"] {
            assert_eq!(text.parse::<RecordId>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "20261124",
            "20261124-",
            "20261124-0",
            "20261124-01",
            "20261124-+1",
            "+2026112-1",
            "2026112-1",
            "20261124-4294967296",
            "20261124-1.json",
            "../61124-1",
            "20261124-1/",
        ] {
            assert_eq!(text.parse::<RecordId>(), Err(BadRecordId), "{text}");
        }
    }

    #[test]
    fn ids_are_ordered_by_age() {
        let id = |text: &str| text.parse::<RecordId>().unwrap();
        assert!(id("20261124-2") < id("20261124-10") && id("20261124-10") < id("20261125-1"));
    }

    #[test]
    fn no_id_is_given_out_twice() {
        let used = ["20261124-7", "20261124-3", "20261125-1", "20261124-4294967295"].map(|text| text.parse().unwrap());
        let mut ids = RecordIds::beyond(used);
        let next = |ids: &mut RecordIds, day| ids.next(day).to_string();
        assert_eq!(next(&mut ids, 20_261_124), "20261124-8");
        assert_eq!(next(&mut ids, 20_261_126), "20261126-1");
        // The clock was set back.
        assert_eq!(next(&mut ids, 20_261_125), "20261125-2");
        assert_eq!(next(&mut ids, 20_261_126), "20261126-2");
    }
}
