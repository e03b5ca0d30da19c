//! Jobs that are too long, and jobs that cost workers.

use super::*;
use crate::supervisor::event::{Death, DeathContext};
use crate::supervisor::job_disposition::JobDisposition;
use crate::worker::messages::WaitingJob;

pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const GRACE: Duration = Duration::from_secs(5);
pub(super) const INI: &str = "[GearmanManager]\ncount = 1\ntimeout = 10\ntimeout_grace = 5\n";

/// One worker for one function, serving.
pub(super) fn one(ini: &str) -> Stage {
    let mut stage = Stage::new(ini);
    stage.input(scan(&[("a", 1)])).input(found("a", 1)).serves(1);
    stage.take_actions();
    stage
}

pub(super) fn job(number: u64, ran: Duration) -> Option<JobInHand> {
    Some(JobInHand {
        function: 0,
        number,
        connection: 1,
        handle: b"H:a:1".to_vec(),
        unique: "u".into(),
        ran,
        half_sent: false,
    })
}

impl Stage {
    /// Lets time go by until a look is due; returns how long that was.
    pub(super) fn until_look(&mut self) -> Duration {
        let due = self.core.scoreboard_due().expect("a look is due some time");
        let waited = due.saturating_sub(self.now);
        self.now = due;
        assert_eq!(self.core.scoreboards_due(self.now).len(), 1);
        waited
    }

    pub(super) fn sees(&mut self, id: u64, job: Option<JobInHand>) -> &mut Self {
        self.input(Input::ScoreboardRead(ScoreboardReading {
            worker: WorkerId(id),
            job,
            server: Some(0),
            overwritten: false,
        }))
    }

    pub(super) fn sees_nonsense(&mut self, id: u64) -> &mut Self {
        self.input(Input::ScoreboardRead(ScoreboardReading {
            worker: WorkerId(id),
            job: None,
            server: None,
            overwritten: true,
        }))
    }

    pub(super) fn deaths(&self) -> Vec<Death> {
        let death = |event: &Event| if let Event::WorkerDied(death) = event { Some(death.clone()) } else { None };
        self.events.iter().filter_map(death).collect()
    }

    pub(super) fn dispositions(&self) -> Vec<(JobDisposition, Option<u32>)> {
        let of = |death: Death| match death.at {
            DeathContext::Job { disposition, deaths, .. } => (disposition, deaths),
            other => panic!("{other:?}"),
        };
        self.deaths().into_iter().map(of).collect()
    }
}

#[test]
fn a_scoreboard_is_read_no_sooner_than_a_job_can_be_late() {
    let mut stage = one(INI);
    assert_eq!(stage.until_look(), TIMEOUT);
    stage.sees(1, None);
    assert_eq!(stage.until_look(), TIMEOUT, "idle");
    stage.sees(1, job(1, TIMEOUT / 4));
    assert_eq!(stage.until_look(), TIMEOUT / 4 * 3, "at a job");
    stage.sees(1, job(2, Duration::ZERO));
    assert_eq!(stage.until_look(), TIMEOUT, "at another one");
    assert_eq!(stage.count_events(|event| matches!(event, Event::JobOverdue { .. })), 0);
    for ini in ["[GearmanManager]\ncount = 1", "[GearmanManager]\ncount = 1\ntimeout = 10\n[a]\ntimeout = none"] {
        assert_eq!(one(ini).core.scoreboard_due(), None, "{ini}");
    }
}

/// P15: nobody can say how long its job has run, so it gets all that a job may have, and no more.
#[test]
fn a_worker_whose_scoreboard_was_overwritten_is_replaced_in_time() {
    let mut stage = one(INI);
    stage.until_look();
    stage.sees_nonsense(1);
    assert_eq!(stage.take_actions(), ["leave 1", "terminate 1", "start a"]);
    assert_eq!(stage.until_look(), TIMEOUT + GRACE);
    stage.sees_nonsense(1);
    assert_eq!(stage.take_actions(), ["kill 1"]);
}

#[test]
fn a_job_past_its_timeout_is_stopped_then_killed_and_its_caller_answered() {
    let mut stage = one(INI);
    stage.until_look();
    stage.sees(1, job(7, TIMEOUT));
    assert_eq!(stage.take_actions(), ["leave 1", "terminate 1", "start a"]);
    assert_eq!(
        stage.count_events(
            |event| matches!(event, Event::JobOverdue { job, .. } if job.seconds == 10.0 && job.grace == 5.0)
        ),
        1
    );
    assert_eq!(stage.until_look(), GRACE);
    stage.sees(1, job(7, TIMEOUT + GRACE));
    assert_eq!(stage.take_actions(), ["kill 1"]);
    stage.dies_in_job(1, 3);
    assert_eq!(
        stage.take_actions(),
        ["answer timed out: it ran for 1.000 s; its timeout is 10 s, and timeout_grace 5 s"]
    );
    assert_eq!(stage.dispositions(), [(JobDisposition::Failed, Some(1))]);
    let line = Event::WorkerDied(stage.deaths().remove(0)).line();
    assert!(line.contains("past its timeout") && line.contains("; failed"), "{line}");
}

#[test]
fn with_on_timeout_retry_it_is_requeued_until_max_attempts() {
    let mut stage = one(&format!("{INI}on_timeout = retry\nmax_attempts = 2\n"));
    for (id, disposition) in [(1, JobDisposition::Requeued), (2, JobDisposition::Failed)] {
        stage.until_look();
        stage.sees(id, job(7, TIMEOUT)).serves(id + 1);
        stage.now += GRACE;
        stage.sees(id, job(7, TIMEOUT + GRACE)).dies_in_job(id, 3);
        assert_eq!(stage.dispositions().last(), Some(&(disposition, Some(u32::try_from(id).unwrap()))));
    }
}

/// S10: a job server that went and came back starts its handles again, so the same one is another job.
#[test]
fn a_handle_reused_by_a_restarted_server_is_another_job() {
    let mut stage = one(INI);
    stage.unique = "";
    stage.dies_in_job(1, 3).serves(2);
    stage.dies_in_job(2, 3).serves(3);
    stage.message(3, WorkerMessage::ServerDown { server: 0, reason: "it closed the connection".into() });
    stage.message(3, WorkerMessage::ServerUp { server: 0 }).dies_in_job(3, 3);
    let deaths: Vec<_> = stage.dispositions().into_iter().map(|(_, deaths)| deaths).collect();
    assert_eq!(deaths, [Some(1), Some(2), Some(1)]);
    stage.serves(4).dies_in_job(4, 3).serves(5).dies_in_job(5, 3).serves(6);
    assert_eq!(stage.denied.len(), 1);
    stage.message(6, WorkerMessage::ServerUp { server: 0 });
    stage.message(6, WorkerMessage::ServerDown { server: 0, reason: "it closed the connection".into() });
    assert!(stage.denied.is_empty(), "nor is it denied");
}

/// P30: a job that its client has named is the same wherever it comes from, and goes into quarantine once it has cost as
/// many workers as it may; each one more that it costs does so again.
#[test]
fn a_named_job_goes_into_quarantine_once_it_has_cost_too_many_workers() {
    let mut stage = one(&format!("{INI}max_attempts = 2\n"));
    stage.dies_in_job(1, 3).serves(2);
    stage.message(2, WorkerMessage::ServerDown { server: 0, reason: "it closed the connection".into() });
    stage.message(2, WorkerMessage::ServerUp { server: 0 });
    assert!(!stage.take_actions().iter().any(|action| action.starts_with("quarantine")));
    for id in [2, 3] {
        stage.dies_in_job(id, 3).serves(id + 1);
        assert!(stage.take_actions().contains(&"quarantine".to_owned()), "{id}");
    }
    let mut stage = one(&format!("{INI}on_crash = fail\n"));
    stage.dies_in_job(1, 3);
    assert!(!stage.take_actions().iter().any(|action| action.starts_with("quarantine")), "it has cost one only");
}

/// P30: a new version may survive the job.
#[test]
fn a_new_version_gives_a_job_all_its_attempts_again() {
    let mut stage = one(INI);
    stage.dies_in_job(1, 3).serves(2).dies_in_job(2, 3).serves(3);
    stage.input(scan(&[("a", 2)])).input(found("a", 2)).serves(4).counts(4, 20, 0);
    stage.dies_in_job(4, 3);
    let deaths: Vec<_> = stage.dispositions().into_iter().map(|(_, deaths)| deaths).collect();
    assert_eq!(deaths, [Some(1), Some(2), Some(1)]);
}

/// S10: a worker in a long job does not see that its server went. The other one's word is enough for what would fail a
/// job that was never run; deaths go on being counted.
#[test]
fn losing_a_connection_ends_what_is_denied_on_its_server() {
    let mut stage = one("[GearmanManager]\ncount = 2\non_crash = fail\n");
    stage.serves(2).message(1, WorkerMessage::ServerUp { server: 0 }).message(2, WorkerMessage::ServerUp { server: 0 });
    stage.dies_in_job(1, 3).serves(3).message(3, WorkerMessage::ServerUp { server: 0 });
    assert_eq!(stage.denied, ["H:a:1"]);
    stage.message(3, WorkerMessage::ServerDown { server: 0, reason: "it closed the connection".into() });
    assert!(stage.denied.is_empty());
    stage.dies_in_job(3, 3);
    assert_eq!(stage.dispositions(), [(JobDisposition::Failed, Some(1)), (JobDisposition::Failed, Some(2))]);
}

/// An answer that waits for room is lost with its worker, whatever that was at, and counts nowhere. With half of it out
/// nobody can say more, so if the job may not run twice it is denied; not if we ended the worker for another
/// reason.
#[test]
fn a_job_whose_answer_waited_is_not_run_twice_where_it_may_not_be() {
    let fail = "[GearmanManager]\ncount = 1\non_crash = fail\n";
    let retry = "[GearmanManager]\ncount = 1\nmax_attempts = 1\n";
    let waits = |job| WorkerMessage::AnswerPending { server: 0, job };
    let job = || Some(WaitingJob { function: 0, handle: b"H:b:2".to_vec(), unique: "u".into() });
    for (ini, words, denied) in [
        (fail, vec![waits(job())], &["H:b:2"][..]),
        (fail, vec![waits(job()), waits(None)], &[]),
        (fail, vec![WorkerMessage::AnswerPending { server: 9, job: job() }], &[]),
        (fail, vec![waits(job().map(|job| WaitingJob { function: 9, ..job }))], &[]),
        (retry, vec![waits(job())], &[]),
    ] {
        let mut stage = one(ini);
        for word in words.clone() {
            stage.message(1, word);
        }
        stage.ends(1, exit_report(KILLED, ExitCause::OutsideJob, 3));
        assert_eq!(
            (stage.denied.iter().map(String::as_str).collect::<Vec<_>>(), stage.deaths().len()),
            (denied.to_vec(), 1),
            "{ini}, {words:?}"
        );
    }
    let mut stopped = one(fail);
    stopped.message(1, waits(job())).input(Input::Stop { by: "SIGTERM" });
    stopped.now += Duration::from_secs(3600);
    stopped.later(Duration::ZERO).ends(1, exit_report(KILLED, ExitCause::OutsideJob, 3));
    assert!(stopped.denied.is_empty());
}

#[test]
fn a_job_that_ends_within_its_grace_is_not_counted_and_not_confused_with_the_next() {
    for next in [None, job(8, Duration::from_secs(1))] {
        let mut stage = one(INI);
        stage.until_look();
        stage.sees(1, job(7, TIMEOUT));
        stage.take_actions();
        stage.until_look();
        stage.sees(1, next);
        assert_eq!(stage.take_actions(), Vec::<String>::new(), "no kill");
        stage.later(Duration::ZERO).leaves(1);
        assert_eq!(stage.count_events(|event| matches!(event, Event::WorkerDied(_))), 0);
    }
}

#[test]
fn a_timeout_holds_while_a_worker_drains() {
    let mut stage = one(INI);
    stage.input(Input::Stop { by: "SIGTERM" });
    stage.take_actions();
    stage.until_look();
    stage.sees(1, job(7, TIMEOUT));
    assert_eq!(stage.take_actions(), ["leave 1", "terminate 1"]);
    stage.until_look();
    stage.sees(1, job(7, TIMEOUT + GRACE));
    assert_eq!(stage.take_actions(), ["kill 1"]);
    stage.dies_in_job(1, 3);
    assert_eq!(stage.dispositions(), [(JobDisposition::Failed, Some(1))]);
}

#[test]
fn a_new_timeout_holds_for_jobs_that_run() {
    let mut stage = one("[GearmanManager]\ncount = 1\ntimeout = 1000\n");
    let source = ConfigFile { path: "gm.ini".as_ref(), bytes: INI.as_bytes() };
    let (config, _) = load(Some(source), &Overrides::default(), &|_| None).unwrap();
    stage.input(Input::Reload(Box::new(config), Vec::new()));
    assert_eq!(stage.core.scoreboard_due(), Some(stage.now + TIMEOUT));
}

#[test]
fn a_job_that_kills_every_worker_fails_after_max_attempts() {
    let mut stage = one("[GearmanManager]\ncount = 1\nmax_attempts = 3\n");
    for id in 1..=4 {
        stage.take_actions();
        stage.dies_in_job(id, 3).serves(id + 1);
    }
    let (back, failed) = (JobDisposition::Requeued, JobDisposition::Failed);
    // A worker that has it after that has it because its server never got the answer.
    assert_eq!(stage.dispositions(), [(back, Some(1)), (back, Some(2)), (failed, Some(3)), (failed, Some(4))]);
    assert_eq!(stage.denied, ["H:a:1"; 2], "nobody runs it again");
    let line = Event::WorkerDied(stage.deaths().remove(2)).line();
    assert!(line.contains("; failed (death 3 of 3); report"), "{line}");
}

#[test]
fn with_on_crash_fail_the_job_fails_at_the_first_death() {
    let mut stage = one("[GearmanManager]\ncount = 1\non_crash = fail\n");
    stage.ends_in_job(1, ExitStatus::Signal(11), 3);
    assert_eq!(stage.take_actions()[0], "answer worker killed by SIGSEGV in this job after 1.000 s");
    assert_eq!(stage.dispositions(), [(JobDisposition::Failed, Some(1))]);
}

/// A job that nobody can name, or that a stop cut short, has no answer of ours: its server decides.
#[test]
fn what_is_requeued_without_counting() {
    let lost = |handle: &str| JobInHand {
        function: 0,
        number: 1,
        connection: 1,
        handle: handle.into(),
        unique: String::new(),
        ran: Duration::from_secs(2),
        half_sent: false,
    };
    let on_crash = "[GearmanManager]\ncount = 1\non_crash = fail\n";
    for (name, exit_cause, disposition) in [
        ("no handle", ExitCause::InJob(lost("")), Some(JobDisposition::Requeued)),
        ("no handle, answering", ExitCause::Answering(lost("")), Some(JobDisposition::Unclear)),
        ("a scoreboard without sense", ExitCause::Unknown, None),
    ] {
        let mut stage = one(on_crash);
        stage.ends(1, exit_report(KILLED, exit_cause, 3));
        assert!(!stage.take_actions().iter().any(|line| line.starts_with("answer")), "{name}");
        assert_eq!(
            disposition.map(|disposition| (disposition, None)),
            disposition.and_then(|_| stage.dispositions().first().copied()),
            "{name}"
        );
    }
    let mut unknown_server = one(on_crash);
    unknown_server.ends(1, ExitReport { server: None, ..exit_report(KILLED, ExitCause::InJob(lost("H:a:1")), 3) });
    assert_eq!(unknown_server.dispositions(), [(JobDisposition::Requeued, None)]);
    let mut stopped = one(on_crash);
    stopped.input(Input::Stop { by: "SIGTERM" });
    stopped.now += Duration::from_secs(3600);
    stopped.later(Duration::ZERO).dies_in_job(1, 3);
    assert_eq!(stopped.dispositions(), [(JobDisposition::Requeued, None)]);
    assert_eq!((unknown_server.denied.len(), stopped.denied.len()), (0, 0));
}

/// A job whose function has returned is counted as one in its function; a whole answer that was out counts before ours.
#[test]
fn deaths_while_a_job_is_answered_are_counted() {
    let fail = "[GearmanManager]\ncount = 1\non_crash = fail\n";
    let retry = "[GearmanManager]\ncount = 1\nmax_attempts = 2\n";
    let (unclear, failed, mute) = (JobDisposition::Unclear, JobDisposition::Failed, JobDisposition::Unanswerable);
    for (ini, half_sent, expected) in [
        (fail, false, &[(failed, Some(1))][..]),
        (fail, true, &[(mute, Some(1))]),
        (retry, false, &[(unclear, Some(1)), (failed, Some(2))]),
        (retry, true, &[(unclear, Some(1)), (mute, Some(2))]),
    ] {
        let mut stage = one(ini);
        let lost = JobInHand { half_sent, ..job(1, Duration::from_secs(1)).unwrap() };
        for id in 1..=expected.len() as u64 {
            assert!(stage.denied.is_empty(), "{ini}, {half_sent}");
            stage.take_actions();
            stage.ends(id, exit_report(KILLED, ExitCause::Answering(lost.clone()), 3)).serves(id + 1);
        }
        assert_eq!((stage.dispositions().as_slice(), stage.denied.len()), (expected, 1), "{ini}, {half_sent}");
        let answers: Vec<_> = stage.take_actions().into_iter().filter(|line| line.starts_with("answer")).collect();
        let words = "answer worker killed by SIGKILL after this job had run for 1.000 s, before its answer was sent";
        assert_eq!(answers.len(), usize::from(!half_sent), "{ini}");
        assert!(answers.iter().all(|answer| answer.starts_with(words)), "{answers:?}");
    }
}

/// Its library may hang after each run of the job. A worker that was given a job after all, when it was killed, says
/// nothing about that job.
#[test]
fn a_worker_that_stops_responding_before_its_answer_is_sent_counts_against_the_job() {
    for (exit_cause, deaths) in [(ExitCause::Answering as fn(_) -> _, Some(1)), (ExitCause::InJob, None)] {
        let mut stage = one("[GearmanManager]\ncount = 1\nmax_attempts = 1\n");
        stage.silent.insert(1, (stage.now, RunState::Stopped));
        for _ in 0..120 {
            stage.later(Duration::from_secs(1));
        }
        stage.take_actions();
        stage.ends(1, exit_report(KILLED, exit_cause(job(1, Duration::from_secs(1)).unwrap()), 3));
        let answers: Vec<_> = stage.take_actions().into_iter().filter(|line| line.starts_with("answer")).collect();
        assert_eq!(stage.dispositions()[0].1, deaths);
        assert_eq!((answers.len(), stage.denied.len()), (deaths.map_or((0, 0), |_| (1, 1))), "{answers:?}");
        let words = "answer the worker stopped responding after this job had run, before its answer was sent";
        assert!(answers.iter().all(|answer| answer.starts_with(words)), "{answers:?}");
    }
}

/// Why a worker gave up, which its exit code says only once its function has returned.
#[test]
fn a_worker_whose_connection_was_broken_is_reported_as_such() {
    let end = ExitStatus::Exit(crate::worker::CONNECTION_BROKEN);
    let words = "exited, since the library had closed, replaced or shut down its connection to the job server,";
    for (exit_cause, words) in [
        (ExitCause::Answering as fn(_) -> _, words),
        (ExitCause::InJob, "exited with code 71 (the library called exit)"),
    ] {
        let mut stage = one("[GearmanManager]\ncount = 1\n");
        stage.ends(1, exit_report(end, exit_cause(job(1, Duration::from_secs(1)).unwrap()), 3));
        let line = Event::WorkerDied(stage.deaths().remove(0)).line();
        assert!(line.starts_with(&format!("a: worker 101 {words} in job H:a:1 (unique u) after")), "{line}");
    }
}

#[test]
fn a_canary_whose_job_times_out_is_rejected_at_once() {
    let mut stage = one(INI);
    stage.input(scan(&[("a", 2)])).input(found("a", 2)).serves(2);
    stage.take_actions();
    stage.now += TIMEOUT;
    stage.sees(2, job(1, TIMEOUT));
    let stopped = stage.events.iter().find_map(|event| match event {
        Event::RolloutStopped { reason, .. } => Some(reason.as_str()),
        _ => None,
    });
    assert_eq!(stopped, Some("its job H:a:1 was past its timeout"));
    assert_eq!(stage.take_actions(), ["leave 2", "terminate 2"]);
    stage.now += GRACE;
    stage.sees(2, job(1, TIMEOUT + GRACE)).dies_in_job(2, 1);
    assert_eq!(stage.take_actions()[0], "kill 2");
    assert!(!stage.take_actions().iter().any(|line| line.starts_with("start")), "the old version goes on");
}
