//! `gm-native crashes show`: a report for people, or as it is.

use std::fmt::Display;
use std::process::ExitCode;

use crate::commands::output::finish;
use crate::commands::records::{Records, json_of, when};
use crate::config::ManagerCommand;
use crate::crash::files::CRASHES;
use crate::crash::record_id::RecordId;
use crate::crash::report::{CrashReport, JobFacts, SnapshotFacts, SnapshotMoment};
use crate::logging::escape;
use crate::plugins::display_path::DisplayPath;

pub(super) fn show(records: &Records<CrashReport>, id: &str, json: bool) -> Result<ExitCode, ExitCode> {
    let (id, report) = records.read(id)?;
    if json {
        return Ok(finish(&json_of(&report), 0));
    }
    let workload = records.configuration.state_dir.join(CRASHES).join(format!("{id}.workload"));
    let command = &records.configuration.config.command;
    Ok(finish(&text(id, &report, &DisplayPath(&workload).to_string(), command), 0))
}

/// A report as text. All of it is hostile: each value stays on its line.
fn text(id: RecordId, report: &CrashReport, workload: &str, command: &ManagerCommand) -> String {
    let mut page = Page(format!("crash report {id}\n{}\n\n", escape(&report.cause)));
    page.field("when", Some(when(&report.time)));
    page.field("function", function(report));
    page.field("library", report.library.as_ref().map(|path| path.display().to_string()));
    if let Some(snapshot) = &report.snapshot {
        page.field("signal", Some(signal(snapshot)));
        page.field("thread", Some(thread(snapshot)));
    }
    if let Some(job) = &report.job {
        page.field("job", Some(job_line(job)));
        page.field("workload", Some(workload_line(id, job, workload, command)));
        page.field("quarantine", job.quarantine.map(|id| format!("{command} quarantine show {id}")));
    }
    let before = report.recent_jobs.iter().map(|job| format!("{} {}", job.function, job.handle));
    let before = before.collect::<Vec<_>>().join(", ");
    page.field("jobs before", Some(before).filter(|before| !before.is_empty()));
    let usage = &report.usage;
    page.field(
        "used",
        Some(format!(
            "{} MiB of memory at its peak, {:.3} s of processor time in {:.3} s",
            usage.peak_kib / 1024,
            usage.cpu_seconds,
            usage.lived_seconds
        )),
    );
    page.field("limit", report.limit.clone());
    let versions = &report.versions;
    page.field(
        "system",
        Some(format!("gm-native {}, Linux {}, glibc {}", versions.manager, versions.kernel, versions.glibc)),
    );
    for (name, value) in &report.settings {
        page.field("setting", Some(format!("{name} = {value}")));
    }
    for note in &report.notes {
        page.field("note", Some(note.clone()));
    }
    frames(&mut page, report);
    output(&mut page, report);
    page.0
}

struct Page(String);

impl Page {
    fn field(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.line(format_args!("{name:<11} {}", escape(&value)));
        }
    }

    fn line(&mut self, line: impl Display) {
        self.0.push_str(&format!("{line}\n"));
    }
}

fn function(report: &CrashReport) -> Option<String> {
    let function = report.function.as_ref()?;
    let version = report.version.as_ref().map_or(String::new(), |version| format!(", version {version}"));
    let known = report.crate_version.as_ref().filter(|version| !version.is_empty());
    let of_crate = known.map_or(String::new(), |version| format!(" (crate {version})"));
    Some(format!("{function}{version}{of_crate}"))
}

fn signal(snapshot: &SnapshotFacts) -> String {
    let meaning = if snapshot.meaning.is_empty() { String::new() } else { format!(": {}", snapshot.meaning) };
    let address = snapshot.fault_address.map_or(String::new(), |address| format!(", address {address:#x}"));
    let sender = snapshot.sender.filter(|pid| *pid > 0).map_or(String::new(), |pid| format!(", from process {pid}"));
    format!("{}{meaning}{address}{sender}", snapshot.signal_name)
}

fn thread(snapshot: &SnapshotFacts) -> String {
    let which = if snapshot.is_main_thread { "the main thread, which runs the jobs" } else { "not the main thread" };
    format!("{} {} ({which})", snapshot.thread, snapshot.thread_name)
}

fn job_line(job: &JobFacts) -> String {
    let unique = if job.unique.is_empty() { String::new() } else { format!(" (unique {})", job.unique) };
    let server = job.server.as_ref().map_or(String::new(), |server| format!(" of {server}"));
    let deaths = match (job.deaths, job.max_attempts) {
        (Some(deaths), Some(most)) => format!(" (death {deaths} of {most})"),
        _ => String::new(),
    };
    format!("{}{unique}{server}, ran for {:.3} s; {}{deaths}", job.handle, job.seconds, job.disposition)
}

fn workload_line(id: RecordId, job: &JobFacts, path: &str, command: &ManagerCommand) -> String {
    let size = job.workload_size.map_or("unknown size".into(), |size| format!("{size} bytes"));
    match (&job.workload_note, job.workload_kept) {
        (_, true) => format!("{size}, in {path}; `{command} crashes replay {id}` runs it again"),
        (Some(note), false) => format!("{size}, not kept: {note}"),
        (None, false) => format!("{size}, not kept"),
    }
}

fn frames(page: &mut Page, report: &CrashReport) {
    page.line("");
    let is_late = report.snapshot.as_ref().is_some_and(|snapshot| snapshot.taken == SnapshotMoment::Timeout);
    let moment = if is_late { "when the job was past its timeout" } else { "when it crashed" };
    match report.frames.is_empty() {
        true => page.line(format_args!("no calls: {}", escape(report.frames_note.as_deref().unwrap_or("unknown")))),
        false => page.line(format_args!("calls {moment}, the innermost first; * is the library's own code")),
    }
    for (number, frame) in report.frames.iter().enumerate() {
        let own = if frame.own { '*' } else { ' ' };
        let inlined = if frame.inlined { " (inlined)" } else { "" };
        page.line(format_args!("{own} {number:>2}  {}{inlined}", escape(&frame.place())));
    }
    if let Some(note) = report.frames_note.as_ref().filter(|_| !report.frames.is_empty()) {
        page.line(format_args!("      {}", escape(note)));
    }
}

fn output(page: &mut Page, report: &CrashReport) {
    page.line("");
    if report.output.is_empty() {
        return page.line("it printed and logged nothing");
    }
    page.line("what it printed and logged last, with the seconds before its end");
    for line in &report.output {
        page.line(format_args!("  -{:.3} {}: {}", line.seconds_before, escape(&line.stream), escape(&line.text)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash::report::{Frame, OutputLine};

    fn id() -> RecordId {
        "20261124-3".parse().unwrap()
    }

    fn report() -> CrashReport {
        CrashReport {
            cause: "f: worker 3 killed by SIGSEGV".into(),
            time: "2026-11-24T10:11:12.345+01:00".into(),
            function: Some("f".into()),
            snapshot: Some(SnapshotFacts {
                signal_name: "SIGSEGV".into(),
                meaning: "address not mapped".into(),
                fault_address: Some(16),
                thread: 3,
                thread_name: "gm:f".into(),
                is_main_thread: true,
                ..SnapshotFacts::default()
            }),
            frames: vec![
                Frame { function: Some("memcpy".into()), ..Frame::default() },
                Frame { function: Some("parse".into()), own: true, inlined: true, ..Frame::default() },
            ],
            job: Some(JobFacts {
                handle: "H:1".into(),
                workload_size: Some(3),
                workload_kept: true,
                disposition: "requeued".into(),
                deaths: Some(1),
                max_attempts: Some(3),
                ..JobFacts::default()
            }),
            output: vec![OutputLine { seconds_before: 0.5, stream: "stdout".into(), text: "hello".into() }],
            ..CrashReport::default()
        }
    }

    #[test]
    fn a_report_for_people() {
        let text = text(id(), &report(), "/s/crashes/20261124-3.workload", &ManagerCommand::default());
        for expected in [
            "crash report 20261124-3\nf: worker 3 killed by SIGSEGV\n\nwhen        2026-11-24 10:11:12\n",
            "\nsignal      SIGSEGV: address not mapped, address 0x10\n",
            "\nthread      3 gm:f (the main thread, which runs the jobs)\n",
            "\njob         H:1, ran for 0.000 s; requeued (death 1 of 3)\n",
            "\nworkload    3 bytes, in /s/crashes/20261124-3.workload; `gm-native crashes replay 20261124-3` runs it again\n",
            "\n   0  memcpy ()\n*  1  parse () (inlined)\n",
            "\n  -0.500 stdout: hello\n",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in {text}");
        }
    }

    #[test]
    fn what_is_not_known_is_named_and_hostile_text_stays_on_its_line() {
        let mut report = report();
        report.frames.clear();
        report.frames_note = Some("nothing saves\na thread".into());
        report.cause = "a\nb\x1b[2J".into();
        report.output[0].text = "x\ny".into();
        report.job.as_mut().unwrap().workload_kept = false;
        report.job.as_mut().unwrap().workload_note = Some("too\nlong".into());
        let text = text(id(), &report, "", &ManagerCommand::default());
        for expected in ["a\\nb\\x1b[2J", "no calls: nothing saves\\na thread", "not kept: too\\nlong", "x\\ny"] {
            assert!(text.contains(expected), "{expected:?} is not in {text}");
        }
    }
}
