//! Forged histories: what is right is counted, and everything that must not be is found.

use super::{Account, check, faults, unanswered_status};
use crate::history::Expected::{Dies, Done, Fails};
use crate::history::{Answer, ClientKind, Closer, Entry, Expected, Fault, Link, Party, Record, Time};

const WORKER_LINK: Link = Link { party: Party::Manager(0), server: 0 };
const CLIENT_LINK: Link = Link { party: Party::Clients, server: 0 };

/// Each record one microsecond after the one before.
fn history(records: Vec<Record>) -> Vec<Entry> {
    (1..).zip(records).map(|(at, record)| Entry { at, record }).collect()
}

fn account(records: Vec<Record>) -> Account {
    check(&history(records))
}

/// What is found to be wrong.
fn wrong(records: Vec<Record>) -> Vec<String> {
    account(records).violations.into_iter().map(|(_, what)| what).collect()
}

fn submitted(sub: &str, expected: Expected) -> Record {
    submitted_by(sub, expected, ClientKind::Own)
}

fn submitted_by(sub: &str, expected: Expected, by: ClientKind) -> Record {
    Record::Submitted { sub: sub.into(), server: 0, expected, background: false, by }
}

fn background(sub: &str) -> Record {
    Record::Submitted { sub: sub.into(), server: 0, expected: Done, background: true, by: ClientKind::Own }
}

fn assigned(sub: &str, connection: u64) -> Record {
    Record::Assigned { sub: sub.into(), connection }
}

fn opened(connection: u64) -> Record {
    Record::Opened { connection, link: WORKER_LINK }
}

fn closed(connection: u64, by: Closer) -> Record {
    Record::Closed { connection, link: WORKER_LINK, by }
}

fn started(sub: &str, pid: i32) -> Record {
    in_mood(sub, pid, "good")
}

fn in_mood(sub: &str, pid: i32, mood: &str) -> Record {
    Record::Started { sub: sub.into(), pid, version: "1".into(), mood: mood.into() }
}

fn overlap(sub: &str, pid: i32) -> Record {
    Record::Overlap { sub: sub.into(), pid }
}

fn ended(sub: &str, pid: i32) -> Record {
    Record::Ended { sub: sub.into(), pid, how: "done".into() }
}

fn right(sub: &str) -> Record {
    Record::Answered { sub: sub.into(), answer: Answer::Right }
}

fn failed(sub: &str, warnings: &str) -> Record {
    Record::Answered { sub: sub.into(), answer: Answer::Failed(warnings.into()) }
}

fn broken(sub: &str) -> Record {
    Record::Broken { sub: sub.into(), since: 1, why: "end of file".into() }
}

fn died(sub: &str, pid: i32) -> Record {
    died_in(sub, pid, false)
}

fn died_in(sub: &str, pid: i32, on_request: bool) -> Record {
    Record::WorkerDied {
        manager: 0,
        pid,
        generation: 7,
        sub: Some(sub.into()),
        end: "killed by SIGKILL".into(),
        disposition: "requeued".into(),
        on_request,
    }
}

fn accepted(sub: &str) -> Record {
    Record::Accepted { sub: sub.into() }
}

fn plain() -> Vec<Record> {
    vec![
        submitted("1.0", Done),
        accepted("1.0"),
        assigned("1.0", 5),
        started("1.0", 11),
        ended("1.0", 11),
        right("1.0"),
    ]
}

#[test]
fn a_job_that_is_done_is_done() {
    let done_by = [(ClientKind::Own, 1)].into();
    assert_eq!(account(plain()), Account { done: 1, done_by, ..Account::default() });
}

/// Every kind of client is owed the same.
#[test]
fn other_clients_are_judged_alike() {
    for by in [ClientKind::Cli, ClientKind::Php, ClientKind::Perl] {
        let account_with = |answers: Vec<Record>| {
            let ran = [submitted_by("1.0", Done, by), assigned("1.0", 5), started("1.0", 11), ended("1.0", 11)];
            account([ran.to_vec(), answers].concat())
        };
        assert_eq!(account_with(vec![right("1.0")]).done_by, [(by, 1)].into());
        assert_eq!(account_with(vec![]).violations, [("1".into(), "lost: no answer".into())]);
        assert_eq!(account_with(vec![failed("1.0", "")]).violations.len(), 1, "{by:?} was not told why");
        let again = [broken("1.0"), submitted_by("1.1", Done, by), started("1.1", 12), ended("1.1", 12), right("1.1")];
        assert_eq!(account_with(again.to_vec()).violations.len(), 1, "the connection of {by:?} broke without a cause");
        let cut = [vec![Record::Fault(Fault::Cut { link: CLIENT_LINK })], again.to_vec()].concat();
        assert_eq!(account_with(cut).violations, []);
    }
}

/// Jobs have nothing to do with a manager's disk, and nothing with names that are looked up.
#[test]
fn a_full_disk_and_a_mute_resolver_excuse_nothing() {
    for fault in [Fault::DiskFilled { manager: 0 }, Fault::ResolverMuted] {
        let fault = || vec![Record::Fault(fault.clone())];
        let twice = [plain(), vec![assigned("1.0", 6), started("1.0", 12), ended("1.0", 12)]].concat();
        assert_eq!(wrong([fault(), twice].concat()).len(), 1);
        assert_eq!(wrong([fault(), vec![submitted("1.0", Done), failed("1.0", "no space")]].concat()).len(), 1);
        let resent = [submitted("1.0", Done), broken("1.0"), submitted("1.1", Done), started("1.1", 12)];
        let resent = [fault(), resent.to_vec(), vec![ended("1.1", 12), right("1.1")]].concat();
        assert_eq!(wrong(resent).len(), 1);
        let mut status = history(fault());
        status.push(Entry { at: 500, record: Record::Status { manager: 0, asked: 400, answered: false } });
        assert_eq!(unanswered_status(&status, 1000).len(), 1);
    }
}

#[test]
fn a_job_without_an_answer_is_lost() {
    for length in 1..plain().len() {
        let cut = plain().into_iter().take(length).collect();
        assert_eq!(wrong(cut), ["lost: no answer"], "{length}");
    }
}

#[test]
fn answers_that_cannot_be_are_found() {
    let twice = [plain(), vec![right("1.0")]].concat();
    assert_eq!(wrong(twice), ["answered twice"]);
    assert_eq!(wrong(vec![submitted("1.0", Done), right("1.0")]), ["has a result though no run of it has ended"]);
    let torn = Record::Answered { sub: "1.0".into(), answer: Answer::Wrong("xyz".into()) };
    assert_eq!(wrong(vec![submitted("1.0", Done), torn]), ["wrong result: xyz"]);
    assert_eq!(wrong(vec![submitted("1.0", Fails), right("1.0")]), ["has a result and should have failed"]);
    assert_eq!(wrong(vec![started("1.0", 11)]), ["ran though nobody submitted it"]);
}

#[test]
fn failures_have_causes() {
    let cases = [
        (Fails, vec![started("1.0", 11)], "as asked", Some("as asked")),
        (Dies, vec![started("1.0", 11), died("1.0", 11)], "killed", Some("killed its workers, as asked")),
        (Done, vec![in_mood("1.0", 11, "fail")], "this version fails", Some("bad version")),
        (Done, vec![started("1.0", 11), died("1.0", 11)], "killed", Some("its workers died")),
        (Done, vec![died_in("1.0", 11, true)], "ended by an operator: it ran", Some("ended by an operator")),
        (Dies, vec![died_in("1.0", 11, true)], "ended by an operator: it ran", Some("ended by an operator")),
        // Nobody had asked.
        (Done, vec![died("1.0", 11)], "ended by an operator: it ran", None),
        // Without a word to the caller, or a reason in the history.
        (Fails, vec![started("1.0", 11)], "", None),
        (Done, vec![started("1.0", 11)], "it just failed", None),
        (Dies, vec![started("1.0", 11)], "killed", None),
        (Done, vec![started("1.0", 11), died("2.0", 11)], "killed", None),
    ];
    for (expected, between, warnings, cause) in cases {
        let mut records = vec![submitted("2.0", Done), started("2.0", 1), ended("2.0", 1), right("2.0")];
        records.push(submitted("1.0", expected));
        records.extend(between);
        records.push(failed("1.0", warnings));
        let account = account(records);
        let counted = account.failed.iter().map(|(cause, count)| (cause.as_str(), *count)).next();
        assert_eq!(counted, cause.map(|cause| (cause, 1)), "{warnings}: {:?}", account.violations);
        assert_eq!(account.violations.is_empty(), cause.is_some());
    }
}

#[test]
fn a_second_run_needs_a_cause() {
    let kill = Record::Fault(Fault::ManagerKilled { manager: 0 });
    let other_kill = Record::Fault(Fault::ManagerKilled { manager: 1 });
    let slow = Record::Fault(Fault::Disturbed { link: WORKER_LINK, how: "Stall".into() });
    let stop = Record::Fault(Fault::ServerStopped { server: 0 });
    let cases = [
        (vec![died("1.0", 11), closed(5, Closer::Party)], Some("worker died: killed by SIGKILL")),
        (vec![closed(5, Closer::Cut)], Some("connection cut")),
        (vec![slow, closed(5, Closer::Party)], Some("network or server slow")),
        (vec![stop, closed(5, Closer::Party)], Some("network or server slow")),
        (vec![kill.clone(), closed(5, Closer::Party)], Some("manager killed")),
        (vec![], None),
        (vec![closed(5, Closer::Party)], None),
        (vec![closed(5, Closer::Server)], None),
        // Somebody else's.
        (vec![kill], None),
        (vec![other_kill, closed(5, Closer::Party)], None),
        (vec![died("2.0", 11), closed(5, Closer::Party)], None),
        (vec![closed(6, Closer::Cut)], None),
    ];
    for (between, cause) in cases {
        let mut records = vec![submitted("2.0", Fails), started("2.0", 1), failed("2.0", "as asked")];
        records.extend([submitted("1.0", Done), assigned("1.0", 5), started("1.0", 11)]);
        records.extend(between.clone());
        records.extend([assigned("1.0", 6), started("1.0", 12), ended("1.0", 12), right("1.0")]);
        let account = account(records);
        let counted: Vec<_> = account.repeated.keys().map(String::as_str).collect();
        assert_eq!(counted, cause.into_iter().collect::<Vec<_>>(), "{between:?}");
        assert_eq!(account.violations.is_empty(), cause.is_some(), "{between:?}");
    }
}

/// Its workers died, its caller was told, and an operator submits it again: each run has a cause.
#[test]
fn a_job_that_was_submitted_again_from_quarantine_may_run_again() {
    let resubmitted = |sub: &str| Record::Fault(Fault::Resubmitted { manager: 0, sub: sub.into(), output: "".into() });
    let run = |resubmission: Vec<Record>| {
        let before = [submitted("1.0", Dies), assigned("1.0", 5), started("1.0", 11), died("1.0", 11)];
        let after = [assigned("1.0", 6), started("1.0", 12), died("1.0", 12)];
        account([before.to_vec(), vec![failed("1.0", "killed")], resubmission, after.to_vec()].concat())
    };
    let account = run(vec![resubmitted("1.0")]);
    assert_eq!((account.repeated, account.violations), ([("resubmitted from quarantine".into(), 1)].into(), vec![]));
    let other = run(vec![submitted("2.0", Fails), failed("2.0", "as asked"), resubmitted("2.0")]);
    assert!(!other.repeated.contains_key("resubmitted from quarantine"), "{:?}", other.repeated);
    // One resubmission is one run more, and no excuse for two at once.
    let records = vec![
        submitted("1.0", Done),
        assigned("1.0", 5),
        started("1.0", 11),
        resubmitted("1.0"),
        assigned("1.0", 6),
        started("1.0", 12),
        overlap("1.0", 12),
        assigned("1.0", 7),
        started("1.0", 13),
        ended("1.0", 13),
        right("1.0"),
    ];
    let expected = ["1.0 ran 3 times, and 1 causes are known", "two at once, after: resubmitted from quarantine"];
    assert_eq!(wrong(records), expected);
}

#[test]
fn two_at_once_are_excused_by_a_cut_only() {
    let run = |between: Vec<Record>| {
        let mut records = vec![submitted("1.0", Done), assigned("1.0", 5), started("1.0", 11)];
        records.extend(between);
        records.extend([
            assigned("1.0", 6),
            started("1.0", 12),
            overlap("1.0", 12),
            ended("1.0", 11),
            ended("1.0", 12),
            right("1.0"),
        ]);
        account(records)
    };
    let cut = run(vec![closed(5, Closer::Cut)]);
    assert_eq!((cut.excused_overlaps, cut.violations), (1, vec![]));
    let early = run(vec![died("1.0", 11), closed(5, Closer::Cut)]);
    assert_eq!((early.excused_overlaps, early.violations), (1, vec![]));
    let late = run(vec![closed(5, Closer::Cut), died("1.0", 11)]);
    assert_eq!((late.excused_overlaps, late.violations), (1, vec![]));
    let dead = run(vec![died("1.0", 11)]);
    assert_eq!(dead.violations, [("1".into(), "two at once, after: worker died: killed by SIGKILL".into())]);
    let kill = Record::Fault(Fault::ManagerKilled { manager: 0 });
    let orphan = run(vec![kill, closed(5, Closer::Party)]);
    assert_eq!(orphan.violations, [("1".into(), "two at once, after: manager killed".into())]);
}

/// What was cut lay in a worker that was stopped, and runs when it goes on.
#[test]
fn a_job_may_run_late_over_a_connection_that_was_cut() {
    let records = vec![
        submitted("1.0", Done),
        assigned("1.0", 5),
        closed(5, Closer::Cut),
        assigned("1.0", 6),
        started("1.0", 12),
        ended("1.0", 12),
        right("1.0"),
        started("1.0", 11),
        ended("1.0", 11),
    ];
    let account_of = account(records.clone());
    assert_eq!((account_of.done, account_of.violations), (1, vec![]));
    let thrice = [records, vec![started("1.0", 13)]].concat();
    assert_eq!(wrong(thrice), ["1.0 ran 3 times, and 1 causes are known"]);
}

/// The first one waits in a worker that is slow, and runs after the second one.
#[test]
fn a_job_that_was_submitted_again_may_run_twice_at_once_in_any_order() {
    let cut = Record::Fault(Fault::Cut { link: CLIENT_LINK });
    let records = vec![
        submitted("1.0", Done),
        cut,
        broken("1.0"),
        submitted("1.1", Done),
        started("1.1", 12),
        started("1.0", 11),
        overlap("1.0", 11),
        ended("1.1", 12),
        right("1.1"),
    ];
    let account = account(records);
    assert_eq!((account.excused_overlaps, account.violations), (1, vec![]));
}

/// Its GRAB was on its way for long: an orphan gets a job and dies in it. No manager is left to report it.
#[test]
fn the_death_of_an_orphan_is_its_managers() {
    let run = |before: Vec<Record>| {
        let rest = [submitted("1.0", Done), assigned("1.0", 5), started("1.0", 11), closed(5, Closer::Party)];
        let again = [assigned("1.0", 6), started("1.0", 12), ended("1.0", 12), right("1.0")];
        account([before, rest.to_vec(), again.to_vec()].concat())
    };
    let kill = || Record::Fault(Fault::ManagerKilled { manager: 0 });
    let start = || Record::Fault(Fault::ManagerStarted { manager: 0 });
    let orphan = run(vec![opened(5), kill(), start()]);
    assert_eq!((orphan.repeated.get("manager killed"), orphan.violations), (Some(&1), vec![]));
    assert_eq!(run(vec![kill(), start(), opened(5)]).violations.len(), 1, "its manager is another");
}

/// The manager is killed right after it has handed the job of a dead worker back: its report may be lost with it.
#[test]
fn a_manager_that_is_killed_takes_its_last_reports_along() {
    let run = |between: Time| {
        let before = [
            submitted("1.0", Done),
            assigned("1.0", 5),
            started("1.0", 11),
            closed(5, Closer::Party),
            assigned("1.0", 6),
        ];
        let after = [started("1.0", 12), ended("1.0", 12), right("1.0")];
        let kill = Record::Fault(Fault::ManagerKilled { manager: 0 });
        let mut entries = history([before.to_vec(), after.to_vec()].concat());
        entries.push(Entry { at: between, record: kill });
        check(&entries)
    };
    assert_eq!(run(400_000).violations, []);
    assert_eq!(run(600_000).violations.len(), 1, "a report had its time");
}

#[test]
fn a_second_submission_needs_a_broken_connection_and_that_a_cause() {
    let second = || vec![submitted("1.1", Done), started("1.1", 12), ended("1.1", 12), right("1.1")];
    let resent = |between: Vec<Record>| {
        let mut records = vec![submitted("1.0", Done)];
        records.extend(between);
        records.extend(second());
        account(records)
    };
    let cases = [
        (Record::Fault(Fault::ServerKilled { server: 0 }), "server died"),
        (Record::Fault(Fault::Cut { link: CLIENT_LINK }), "client cut off"),
        (Record::Fault(Fault::ServerStopped { server: 0 }), "client's network or server slow"),
    ];
    for (fault, cause) in cases {
        let account = resent(vec![fault.clone(), broken("1.0")]);
        assert_eq!(account.violations, [], "{fault:?}");
        assert_eq!(account.resent.get(cause), Some(&1), "{fault:?}");
        assert_eq!(account.done, 1);
        assert_eq!(resent(vec![fault]).violations.len(), 1, "its connection was whole");
    }
    let elsewhere = Record::Fault(Fault::ServerKilled { server: 1 });
    assert_eq!(resent(vec![elsewhere, broken("1.0")]).violations.len(), 1);
    assert_eq!(resent(vec![broken("1.0")]).violations.len(), 1);
}

#[test]
fn jobs_in_the_background_are_done_when_they_ran_to_their_end() {
    let done = [background("1.0"), accepted("1.0"), started("1.0", 11), ended("1.0", 11)];
    assert_eq!(account(done.to_vec()).done, 1);
    assert_eq!(wrong(done[..3].to_vec()), ["lost: in the background, and never done"]);
    assert_eq!(wrong(done[..1].to_vec()), ["lost: not accepted"]);
    let kill = Record::Fault(Fault::ServerKilled { server: 0 });
    let gone = account([done[..2].to_vec(), vec![kill.clone()]].concat());
    assert_eq!(gone.failed.get("in the background, its server died"), Some(&1));
    // Before it was submitted.
    let start = Record::Fault(Fault::ServerStarted { server: 0 });
    assert_eq!(wrong([vec![kill, start], done[..2].to_vec()].concat()).len(), 1);
}

#[test]
fn status_is_answered_in_time_whenever_the_manager_runs() {
    let status = |at: Time, took: Time, answered: bool| Entry {
        at,
        record: Record::Status { manager: 0, asked: at - took, answered },
    };
    let fault = |at: Time, fault: Fault| Entry { at, record: Record::Fault(fault) };
    let stopped =
        [fault(100, Fault::ManagerStopped { manager: 0 }), fault(200, Fault::ManagerContinued { manager: 0 })];
    let late = |entry: Entry, others: &[Entry]| {
        let mut all = others.to_vec();
        all.push(entry);
        unanswered_status(&all, 50).len()
    };
    assert_eq!(late(status(40, 10, true), &[]), 0);
    assert_eq!(late(status(400, 60, true), &[]), 1);
    assert_eq!(late(status(400, 10, false), &[]), 1);
    assert_eq!(late(status(250, 100, true), &stopped), 0);
    assert_eq!(late(status(150, 10, false), &stopped), 0);
    assert_eq!(late(status(400, 100, false), &stopped), 1);
}

#[test]
fn faults_are_counted_by_name() {
    let link = CLIENT_LINK;
    let all = history(vec![
        Record::Fault(Fault::Cut { link }),
        Record::Fault(Fault::Disturbed { link, how: "Delay(20ms)".into() }),
        Record::Fault(Fault::ChildSignalled { manager: 0, pid: 4, signal: "SIGKILL".into() }),
        Record::Fault(Fault::ExaminationSignalled { manager: 0, pid: 4, signal: "SIGSTOP".into() }),
        Record::Fault(Fault::WorkerFrozen { manager: 0, pid: 4 }),
        Record::Fault(Fault::Steered { manager: 0, command: "scale mails 4".into(), output: "".into() }),
    ]);
    let names: Vec<_> = faults(&all).into_keys().collect();
    assert_eq!(names, ["child SIGKILL", "cut", "delay", "examination SIGSTOP", "scale", "worker frozen"]);
}
