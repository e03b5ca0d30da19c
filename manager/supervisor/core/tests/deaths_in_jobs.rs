//! Workers that die in a job while they drain, or while they answer: what is counted, and what is to blame.

use super::jobs::{GRACE, INI, TIMEOUT, job, one};
use super::*;
use crate::supervisor::job_disposition::JobDisposition;

/// Reads the configuration again.
fn reload(stage: &mut Stage, ini: &str) {
    let source = ConfigFile { path: "gm.ini".as_ref(), bytes: ini.as_bytes() };
    let (config, _) = load(Some(source), &Overrides::default(), &|_| None).unwrap();
    stage.input(Input::Reload(Box::new(config), Vec::new()));
}

/// M21: a worker that was ordered to drain and then dies by itself died in its job, whatever the reason to drain was.
#[test]
fn a_draining_worker_that_crashes_in_its_job_died_in_its_job() {
    const FAIL: &str = "[GearmanManager]\ncount = 1\ndedicated_count = 0\non_crash = fail\nworker_restart_splay = 0\n\
    max_worker_lifetime = 10\nmax_runs_per_worker = 9\n";
    type Way = (&'static str, fn(&mut Stage));
    let ways: [Way; 8] = [
        ("a reload", |stage| {
            reload(stage, FAIL);
            stage.serves(2);
        }),
        ("a deploy", |stage| {
            stage.input(scan(&[("a", 2)])).input(found("a", 2)).serves(2).counts(2, 20, 0).serves(3);
        }),
        ("its lifetime", |stage| {
            stage.later(Duration::from_secs(10)).serves(2);
        }),
        ("max_runs_per_worker", |stage| {
            stage
                .message(1, WorkerMessage::FewJobsLeft)
                .serves(2)
                .message(1, WorkerMessage::NoJobsLeft)
                .message(2, WorkerMessage::Serving);
        }),
        ("max_memory", |stage| {
            stage.message(1, WorkerMessage::MemoryLimitExceeded { bytes: 1 << 30 }).serves(2);
        }),
        ("fewer are planned", |stage| reload(stage, &format!("{FAIL}exclude = a\n"))),
        ("its library is removed", |stage| {
            stage.input(scan(&[])).later(Duration::from_secs(1)).input(scan(&[])).later(Duration::from_secs(1));
            stage.input(scan(&[]));
        }),
        ("a stop", |stage| {
            stage.input(Input::Stop { by: "SIGTERM" });
        }),
    ];
    for (name, leave) in ways {
        let mut stage = one(FAIL);
        leave(&mut stage);
        assert!(stage.take_actions().contains(&"leave 1".to_owned()), "{name}");
        stage.ends_in_job(1, ExitStatus::Signal(11), 3);
        assert_eq!(stage.dispositions(), [(JobDisposition::Failed, Some(1))], "{name}");
        assert_eq!(stage.take_actions()[0], "answer worker killed by SIGSEGV in this job after 1.000 s", "{name}");
    }
}

/// M21: back-off and strikes, too.
#[test]
fn poison_jobs_are_counted_in_draining_workers_too() {
    let mut stage = one("[GearmanManager]\ncount = 1\ndedicated_count = 0\nmax_attempts = 3\n");
    for id in 1..=6 {
        reload(&mut stage, "[GearmanManager]\ncount = 1\ndedicated_count = 0\nmax_attempts = 3\n");
        stage.serves(id + 1).take_actions();
        stage.ends_in_job(id, ExitStatus::Exit(0), 0);
    }
    let (back, failed) = (JobDisposition::Requeued, JobDisposition::Failed);
    let expected = [(back, 1), (back, 2), (failed, 3)].map(|(disposition, deaths)| (disposition, Some(deaths)));
    let more = [4, 5, 6].map(|deaths| (failed, Some(deaths)));
    assert_eq!(stage.dispositions(), [expected, more].concat());
    assert_eq!(stage.count_events(|event| matches!(event, Event::BackingOff { .. })), 0, "a reload forgets");
    let mut stage = two_functions();
    let mut id = 1;
    for version in 2..=8 {
        stage.ends_in_job(id, ExitStatus::Signal(6), 0);
        id = stage.ids().into_iter().max().unwrap();
        stage.serves(id);
        stage.core.workers.change(WorkerId(id), |worker| worker.retirement.at = stage.now).unwrap();
        stage.later(Duration::ZERO);
        let successor = stage.ids().into_iter().max().unwrap();
        assert!(successor > id || version > 6, "a successor of {id}");
        stage.serves(successor);
    }
    assert_ne!(stage.count_events(|event| matches!(event, Event::BackingOff { .. })), 0);
}

/// What we did to it is not its job's doing; what it does itself is, also when the time for its job was over.
#[test]
fn what_the_end_of_a_draining_worker_counts_against() {
    let ini = |keys: &str| format!("{INI}{keys}");
    let (segv, term) = (ExitStatus::Signal(11), ExitStatus::Signal(15));
    for (name, keys, end, expected) in [
        ("ended at its timeout", "on_timeout = retry\non_crash = fail\n", term, JobDisposition::Requeued),
        ("ended at its timeout", "on_timeout = fail\non_crash = retry\n", term, JobDisposition::Failed),
        ("crashed in its grace", "on_timeout = retry\non_crash = fail\n", segv, JobDisposition::Failed),
        ("crashed in its grace", "on_timeout = fail\non_crash = retry\n", segv, JobDisposition::Failed),
        ("crashed in its grace", "on_timeout = retry\non_crash = retry\n", segv, JobDisposition::Requeued),
    ] {
        let mut stage = one(&ini(keys));
        stage.until_look();
        stage.sees(1, job(1, TIMEOUT)).ends_in_job(1, end, 3);
        assert_eq!(stage.dispositions(), [(expected, Some(1))], "{name}, {keys}");
    }
    // Killed at the deadline of a stop; and one that crashed just before.
    for (end, expected) in [(KILLED, (JobDisposition::Requeued, None)), (segv, (JobDisposition::Failed, Some(1)))] {
        let mut stage = one("[GearmanManager]\ncount = 1\non_crash = fail\n");
        stage.input(Input::Stop { by: "SIGTERM" }).later(Duration::from_secs(60));
        assert!(stage.take_actions().contains(&"kill 1".to_owned()));
        stage.ends_in_job(1, end, 3);
        assert_eq!(stage.dispositions(), [expected]);
    }
}

/// P20: half a packet on the wire forbids an answer. The death counts, here and for the back-off.
#[test]
fn half_a_packet_forbids_an_answer_and_nothing_else() {
    let mut stage = one("[GearmanManager]\ncount = 1\nmax_attempts = 2\n");
    let lost = |half_sent| JobInHand { half_sent, ..job(1, Duration::from_secs(1)).unwrap() };
    for (id, half_sent) in [(1, true), (2, true), (3, true), (4, false)] {
        stage.take_actions();
        stage.ends(id, exit_report(KILLED, ExitCause::InJob(lost(half_sent)), 3));
        let answered = stage.take_actions().iter().any(|line| line.starts_with("answer"));
        assert_eq!(answered, !half_sent, "death {id}");
        stage.serves(id + 1);
    }
    assert_eq!(stage.denied, ["H:a:1"; 3], "from the second death on");
    let dispositions =
        [JobDisposition::Requeued, JobDisposition::Unanswerable, JobDisposition::Unanswerable, JobDisposition::Failed];
    let counted = [1, 2, 3, 4].map(Some);
    assert_eq!(stage.dispositions(), dispositions.into_iter().zip(counted).collect::<Vec<_>>());
    let line = Event::WorkerDied(stage.deaths().remove(1)).line();
    let words = "requeued (death 2 of 2) unless its whole answer arrives; half of a packet may have been sent";
    assert!(line.contains(words), "{line}");
}

/// Five in a row are free, whether they came before the function returned or after.
#[test]
fn deaths_while_the_answer_is_sent_have_their_back_off() {
    for exit_cause in [ExitCause::InJob, ExitCause::Answering] {
        let mut stage = one("[GearmanManager]\ncount = 1\nmax_attempts = 1000\n");
        for id in 1..=6 {
            assert_eq!(stage.count_events(|event| matches!(event, Event::BackingOff { .. })), 0, "death {id}");
            stage.ends(id, exit_report(KILLED, exit_cause(job(1, Duration::from_secs(1)).unwrap()), 3)).serves(id + 1);
        }
        assert_eq!(stage.count_events(|event| matches!(event, Event::BackingOff { .. })), 1);
    }
}

/// A timeout speaks against a canary as a crash does, and is excused as one.
#[test]
fn a_job_too_long_for_the_old_version_does_not_count_against_the_canary() {
    let mut stage = one(&format!("{INI}on_timeout = retry\n"));
    stage.until_look();
    stage.sees(1, job(7, TIMEOUT)).serves(2);
    stage.now += GRACE;
    stage.sees(1, job(7, TIMEOUT + GRACE)).dies_in_job(1, 3);
    stage.input(scan(&[("a", 2)])).input(found("a", 2)).serves(3);
    stage.now += TIMEOUT;
    stage.sees(3, job(1, TIMEOUT));
    assert_eq!(stage.count_events(|event| matches!(event, Event::RolloutStopped { .. })), 0);
    assert_eq!(stage.count_events(|event| matches!(event, Event::CanaryContinued { .. })), 1);
    stage.now += GRACE;
    stage.take_actions();
    stage.sees(3, job(1, TIMEOUT + GRACE)).dies_in_job(3, 3);
    assert_eq!(stage.count_events(|event| matches!(event, Event::RolloutStopped { .. })), 0);
    assert!(stage.core.workers.values().any(|worker| worker.canary.is_some()), "it is tried on");
}
