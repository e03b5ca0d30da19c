//! `gm-native crashes`: lists the reports of workers that died, shows one, or runs its job again.

mod replay;
mod show;

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::Serialize;

use super::output::finish;
use super::records::{Records, of_function, when};
use super::table::Table;
use crate::cli::command_args::CrashesCommand;
use crate::cli::{Cli, CrashesArgs};
use crate::crash::files::CRASHES;
use crate::crash::record_id::RecordId;
use crate::crash::report::{CrashReport, Frame};
use crate::logging::escape;

/// Runs the command.
pub fn run(cli: &Cli, args: &CrashesArgs) -> ExitCode {
    let records = match Records::<CrashReport>::open(cli, CRASHES) {
        Ok(records) => records,
        Err(code) => return code,
    };
    let done = match &args.command {
        None => list(&records, args),
        Some(CrashesCommand::Show { id, json }) => show::show(&records, id, *json || args.json),
        Some(CrashesCommand::Replay { id, gdb, verbose }) => replay::replay(&records, id, *gdb, *verbose),
    };
    done.unwrap_or_else(|code| code)
}

/// Crashes with the same function, version and place.
#[derive(Debug, PartialEq, Serialize)]
struct CrashGroup {
    /// The last one's.
    id: RecordId,
    time: String,
    function: Option<String>,
    version: Option<String>,
    end: String,
    /// Where it crashed: the first frame that is the plugin's own, or else the innermost.
    place: Option<String>,
    times: usize,
    /// All of them, the last one first.
    ids: Vec<RecordId>,
}

fn list(records: &Records<CrashReport>, args: &CrashesArgs) -> Result<ExitCode, ExitCode> {
    let config = &records.configuration.config;
    let reports = of_function(records.list()?, args.function.as_deref(), config, |report: &CrashReport| {
        report.function.as_ref()
    })?;
    let groups = groups(&reports, args.all);
    Ok(match args.json {
        true => finish(&format!("{}\n", serde_json::to_string_pretty(&groups).unwrap_or_default()), 0),
        false => finish(&table(&groups), 0),
    })
}

/// The reports, which come the oldest first; each on its own, or those that are the same together. The last one first.
fn groups(reports: &[(RecordId, CrashReport)], all: bool) -> Vec<CrashGroup> {
    let mut groups: Vec<CrashGroup> = Vec::new();
    let mut known = BTreeMap::new();
    for (id, report) in reports.iter().rev() {
        let group = report.group();
        match known.get(&group).filter(|_| !all).and_then(|at: &usize| groups.get_mut(*at)) {
            Some(group) => {
                group.times = group.times.saturating_add(1);
                group.ids.push(*id);
            }
            None => {
                known.insert(group, groups.len());
                groups.push(CrashGroup {
                    id: *id,
                    time: report.time.clone(),
                    function: report.function.as_ref().map(ToString::to_string),
                    version: report.version.as_ref().map(ToString::to_string),
                    end: report.end.clone(),
                    place: report.top_frame().map(Frame::place),
                    times: 1,
                    ids: vec![*id],
                });
            }
        }
    }
    groups
}

fn table(groups: &[CrashGroup]) -> String {
    if groups.is_empty() {
        return "no crash reports\n".into();
    }
    let mut table = Table::new(["ID", "WHEN", "FUNCTION", "VERSION", "TIMES", "CAUSE", "WHERE"]);
    for group in groups {
        let text = |text: &Option<String>| text.as_ref().map_or_else(|| "-".into(), |text| escape(text).into_owned());
        table.row([
            group.id.to_string(),
            when(&group.time),
            text(&group.function),
            text(&group.version),
            group.times.to_string(),
            escape(&group.end).into_owned(),
            text(&group.place),
        ]);
    }
    table.render().trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(number: u32, function: &str, place: &str) -> (RecordId, CrashReport) {
        let frame = Frame { function: Some(place.into()), own: true, ..Frame::default() };
        let report = CrashReport {
            time: "2026-11-24T10:11:12.345+01:00".into(),
            function: Some(function.into()),
            version: Some("v1".into()),
            end: "killed by SIGSEGV".into(),
            frames: if place.is_empty() { Vec::new() } else { vec![frame] },
            ..CrashReport::default()
        };
        (format!("20261124-{number}").parse().unwrap(), report)
    }

    #[test]
    fn the_same_crashes_are_one_line_the_last_one_first() {
        let reports = [report(1, "f", "parse"), report(2, "g", "parse"), report(3, "f", "parse"), report(4, "f", "")];
        let rows = |all| -> Vec<(String, usize)> {
            groups(&reports, all).iter().map(|group| (group.id.to_string(), group.times)).collect()
        };
        let row = |number: u32, times| (format!("20261124-{number}"), times);
        assert_eq!(rows(false), [row(4, 1), row(3, 2), row(2, 1)]);
        assert_eq!(rows(true), [row(4, 1), row(3, 1), row(2, 1), row(1, 1)]);
    }

    #[test]
    fn hostile_text_stays_in_its_cell() {
        let (id, mut hostile) = report(1, "f", "parse\n\x1b[2J");
        hostile.end = "killed\nby".into();
        hostile.time = "\x07now".into();
        let text = table(&groups(&[(id, hostile)], false));
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains(['\x1b', '\x07']), "{text}");
        assert_eq!(table(&[]), "no crash reports\n");
    }
}
