//! Which deaths are examined, and when.

use super::super::exits::is_examined;
use super::jobs::one;
use super::*;
use crate::supervisor::event::DeathContext;
use crate::supervisor::worker_state::ExitReason;

#[test]
fn deaths_in_jobs_and_crashes_are_examined_unless_we_caused_them() {
    let (segv, killed, exit) = (ExitStatus::Signal(11), KILLED, ExitStatus::Exit(1));
    for (name, ended_by_us, at, end, expected) in [
        ("a crash while idle", None, DeathContext::Idle, segv, true),
        ("an exit while idle", None, DeathContext::Idle, exit, false),
        ("an exit in new()", None, DeathContext::New { function: "a".into() }, exit, false),
        ("a crash in new()", None, DeathContext::New { function: "a".into() }, segv, true),
        ("an exit in what may be a job", None, DeathContext::Unknown, exit, true),
        ("a start that took too long", Some(ExitReason::StartTimeout), DeathContext::Start, killed, false),
        ("a drain that took too long", Some(ExitReason::DrainTimeout), DeathContext::Idle, killed, false),
        ("a job past its timeout", Some(ExitReason::JobTimeout), DeathContext::Idle, killed, true),
    ] {
        assert_eq!(is_examined(ended_by_us, &at, end), expected, "{name}");
    }
}

/// Its line has the report's id, and what it has left is there until then.
#[test]
fn a_worker_is_examined_after_its_death_was_reported_and_before_its_job_goes_back() {
    let mut stage = one("[GearmanManager]\ncount = 1\ndedicated_count = 0\n");
    stage.ends_in_job(1, ExitStatus::Signal(11), 3);
    assert_eq!(stage.examined, [(1, "killed by SIGSEGV in job H:a:1".to_owned())]);
    let lines: Vec<String> = stage.events.iter().map(Event::line).collect();
    assert!(lines.iter().any(|line| line.ends_with("; report 20261124-1")), "{lines:?}");
}

/// What had no room, or is switched off.
#[test]
fn a_death_without_an_id_is_not_examined() {
    let mut stage = one("[GearmanManager]\ncount = 1\ndedicated_count = 0\n");
    stage.ends(1, ExitReport { report: None, ..exit_report(ExitStatus::Signal(11), ExitCause::OutsideJob, 3) });
    assert_eq!(stage.examined, []);
}
