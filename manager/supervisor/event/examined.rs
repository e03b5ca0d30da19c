//! The event of a worker that was examined after its death.

use serde::Serialize;

use super::several;
use crate::crash::record_id::RecordId;
use crate::plugins::name::FunctionName;

/// A worker that died, and what was found out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ExaminedWorker {
    /// Its process.
    #[serde(skip)]
    pub pid: i32,
    /// The function that it was in, or the only one that it served.
    pub function: Option<FunctionName>,
    /// All that it served.
    pub functions: Vec<FunctionName>,
    /// It was ended since its job was past its timeout: the place is where the job was then.
    pub timed_out: bool,
    /// It was ended since `kill` asked for the end of its job.
    #[serde(skip)]
    pub on_request: bool,
    /// Its crash report.
    pub report: RecordId,
    /// Where it was: the library's own innermost call, or else the innermost.
    pub place: Option<String>,
    /// From where that was called.
    pub called_from: Option<String>,
    /// It crashed since its stack was full.
    pub stack_overflow: bool,
    /// Why the place is not known.
    pub unknown: Option<String>,
    /// Why there is no report.
    pub unwritten: Option<String>,
    /// Deaths before this one that were not examined, since too many waited.
    pub left_out: u64,
}

impl ExaminedWorker {
    pub(super) fn line(&self) -> String {
        let Self { pid, report, .. } = self;
        let who = self.function.as_ref().map_or_else(|| several(&self.functions), ToString::to_string);
        let caller = self.called_from.as_ref().map_or(String::new(), |caller| format!(", called from {caller}"));
        let found = match (&self.place, &self.unknown) {
            (Some(place), _) if self.on_request => {
                format!("worker {pid} was in {place}{caller} when its job was ended on request")
            }
            (Some(place), _) if self.timed_out => {
                format!("worker {pid} was in {place}{caller} when its job was past its timeout")
            }
            (Some(place), _) if self.stack_overflow => {
                format!("worker {pid} has overflowed its stack in {place}{caller}")
            }
            (Some(place), _) => format!("worker {pid} crashed in {place}{caller}"),
            (None, Some(unknown)) => format!("where worker {pid} ended is unknown: {unknown}"),
            (None, None) => format!("where worker {pid} ended is unknown"),
        };
        let report = match &self.unwritten {
            Some(reason) => format!("report {report} cannot be written: {reason}"),
            None => format!("report {report}"),
        };
        let left_out = match self.left_out {
            0 => String::new(),
            count => format!("; {count} more deaths before it have no report, since too many came at once"),
        };
        format!("{who}: {found}; {report}{left_out}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_in_words() {
        let examined = ExaminedWorker {
            pid: 4711,
            function: Some("reverse".into()),
            functions: vec!["reverse".into()],
            timed_out: false,
            on_request: false,
            report: "20261124-1".parse().unwrap(),
            place: Some("parse (src/lib.rs:42:9)".into()),
            called_from: None,
            stack_overflow: false,
            unknown: None,
            unwritten: None,
            left_out: 0,
        };
        assert_eq!(examined.line(), "reverse: worker 4711 crashed in parse (src/lib.rs:42:9); report 20261124-1");
        let overflow = ExaminedWorker { stack_overflow: true, ..examined.clone() };
        assert!(overflow.line().contains("worker 4711 has overflowed its stack in parse ("), "{}", overflow.line());
        let called = ExaminedWorker { called_from: Some("run (f.so)".into()), timed_out: true, ..examined.clone() };
        assert_eq!(
            called.line(),
            "reverse: worker 4711 was in parse (src/lib.rs:42:9), called from run (f.so) when its job was past its \
             timeout; report 20261124-1"
        );
        let nowhere = ExaminedWorker {
            place: None,
            unknown: Some("no stack".into()),
            unwritten: Some("no space left".into()),
            left_out: 3,
            ..examined
        };
        assert_eq!(
            nowhere.line(),
            "reverse: where worker 4711 ended is unknown: no stack; report 20261124-1 cannot be written: no space left; \
             3 more deaths before it have no report, since too many came at once"
        );
    }
}
