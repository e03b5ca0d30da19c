//! P28: workers that hold more than one job: every job runs once, also those in hand when something happens to the worker.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use gm_native::gearman::client::{Client, JobEvent};
use gm_native::gearman::packet::{Priority, Submission};
use nix::sys::signal::{Signal, kill};

use crate::fixture::{Job, acting, background, library, lines, path, pid, touch, wait_done, wait_serving, workers};
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;
use crate::support::wait::{DEADLINE, wait_for};

/// Any job counts as short, and the first one opens the window. So a job may wait for something, and hold up others.
const OPEN: &str = "prefetch = 8\nprefetch_hold = 1h\nprefetch_probation = 1\n";
/// As many as `OPEN` allows.
const WINDOW: u64 = 8;
/// Jobs behind the one that waits.
const HELD: usize = 12;

/// A job server of this kind, and one worker that holds several jobs.
fn holding(args: &[&str], ini: &str) -> (Gearmand, Manager) {
    let gearmand = Gearmand::with_args(args);
    let manager = acting(&[&gearmand]).ini(&format!("{OPEN}{ini}")).start();
    wait_serving(&manager, "act");
    (gearmand, manager)
}

/// A client's jobs, queued while the only worker is busy.
struct Queue<'a> {
    gearmand: &'a Gearmand,
    manager: &'a Manager,
    client: Client,
    jobs: usize,
}

impl<'a> Queue<'a> {
    fn new(gearmand: &'a Gearmand, manager: &'a Manager) -> Self {
        Self { gearmand, manager, client: gearmand.client(), jobs: 0 }
    }

    /// Each job leaves a note that it ran.
    fn submit(&mut self, unique: &str, workload: &str) {
        let workload = format!("note {}\n{workload}", path(self.manager, "notes"));
        let how = Submission::Foreground(Priority::Normal);
        self.client.submit(how, b"act", unique.as_bytes(), workload.as_bytes()).unwrap();
        self.jobs += 1;
    }

    /// The worker is in the job `running`, which ends with `end` once there is the file `gate`, and holds as many jobs as
    /// it may: so many, that one included. The others say `held`.
    fn fill(&mut self, end: &str, held: &str, window: u64) {
        let (first, gate) = (path(self.manager, "first"), path(self.manager, "gate"));
        self.submit("first", &format!("wait {first}"));
        self.wait_running(1);
        (0..6).for_each(|number| self.submit(&format!("before-{number}"), "say before"));
        self.submit("running", &format!("wait {gate}\n{end}"));
        (0..HELD).for_each(|number| self.submit(&format!("held-{number}"), held));
        touch(&first);
        wait_for("the job that waits", DEADLINE, || self.ran().contains(&"running".to_owned()).then_some(()));
        self.wait_running(window);
    }

    fn wait_running(&self, count: u64) {
        wait_for(&format!("{count} jobs to run"), DEADLINE, || {
            (self.gearmand.status("act")?.running == count).then_some(())
        });
    }

    fn open_gate(&self) {
        touch(&path(self.manager, "gate"));
    }

    /// The jobs that ran.
    fn ran(&self) -> Vec<String> {
        lines(&path(self.manager, "notes"))
    }

    /// Waits for the end of every job; how many of them failed.
    #[track_caller]
    fn failures(&mut self) -> usize {
        let (mut done, mut failed) = (0, 0);
        while done + failed < self.jobs {
            match self.client.next_event(Instant::now() + DEADLINE).unwrap().expect("all jobs to end").event {
                JobEvent::Complete(_) => done += 1,
                JobEvent::Fail => failed += 1,
                JobEvent::Warning(_) => {}
                other => panic!("{other:?}"),
            }
        }
        failed
    }

    /// Every job has ended, and was run, once.
    #[track_caller]
    fn all_ran_once(&mut self) {
        assert_eq!(self.failures(), 0);
        let ran = self.ran();
        assert_eq!((ran.len(), ran.iter().collect::<BTreeSet<_>>().len()), (self.jobs, self.jobs), "{ran:?}");
    }
}

/// A job that goes before all others that nobody holds, and waits for a file.
fn wait_urgently(gearmand: &Gearmand, gate: &str) -> Job {
    let mut client = gearmand.client();
    let how = Submission::Foreground(Priority::High);
    let handle = client.submit(how, b"act", b"", format!("wait {gate}").as_bytes()).unwrap();
    Job { client, handle: String::from_utf8(handle).unwrap() }
}

fn deaths(manager: &Manager) -> usize {
    manager.events().iter().filter(|event| event["event"] == "worker_died").count()
}

#[test]
fn a_drained_queue_has_run_every_job_once() {
    const JOBS: usize = 2_000;
    for window in [8, 64] {
        let gearmand = Gearmand::start();
        let setup = acting(&[&gearmand]).ini(&format!("prefetch = {window}\nprefetch_probation = 20"));
        let manager = setup.verbosity("").prepared();
        let notes = path(&manager, "notes");
        (0..JOBS).for_each(|number| background(&gearmand, &number.to_string(), &format!("note {notes}")));
        let mut manager = manager;
        manager.start_again();
        wait_done(&gearmand);
        let ran = lines(&notes);
        assert_eq!((ran.len(), ran.iter().collect::<BTreeSet<_>>().len()), (JOBS, JOBS), "prefetch = {window}");
    }
}

/// Only the job that ran counts, although its worker had others in hand.
#[test]
fn a_crash_blames_the_job_that_ran_only() {
    let (gearmand, manager) = holding(&[], "max_attempts = 1\nbackoff_max = 10ms");
    let mut queue = Queue::new(&gearmand, &manager);
    queue.fill("abort", "say held", WINDOW);
    queue.open_gate();
    assert_eq!(queue.failures(), 1);
    let died = manager.wait_event("worker_died", |_| true);
    assert_eq!((died["unique"].as_str(), died["disposition"].as_str()), (Some("running"), Some("failed")));
    assert_eq!((queue.ran().len(), deaths(&manager)), (queue.jobs, 1));
}

/// What prefetch costs: gearmand counts an attempt for each job that was in hand, and with `-j 1` it fails them. None of
/// them has run, and gm-native blames only the one that did.
#[test]
fn a_crash_costs_each_job_in_hand_an_attempt() {
    let (gearmand, manager) = holding(&["-j", "1"], "backoff_max = 10ms");
    let mut queue = Queue::new(&gearmand, &manager);
    queue.fill("abort", "say held", WINDOW);
    queue.open_gate();
    assert_eq!(queue.failures() as u64, WINDOW);
    assert_eq!(queue.ran().len() as u64, queue.jobs as u64 - (WINDOW - 1));
    let died = manager.wait_event("worker_died", |_| true);
    assert_eq!((died["unique"].as_str(), died["disposition"].as_str()), (Some("running"), Some("requeued")));
    assert_eq!(deaths(&manager), 1);
}

/// The jobs in hand run, and no other: under `-j 1` one that was given back would fail.
#[test]
fn a_draining_worker_runs_the_jobs_in_hand() {
    for end in ["worker", "stop", "reload", "deploy"] {
        let gearmand = Gearmand::with_args(&["-j", "1"]);
        let setup = acting(&[&gearmand]).ini(&format!("{OPEN}canary_seconds = 0\nmax_worker_lifetime = 1h"));
        let mut manager = setup.start();
        wait_serving(&manager, "act");
        let worker = workers(&manager)[0];
        let gate = path(&manager, "gate");
        let (client, jobs) = {
            let mut queue = Queue::new(&gearmand, &manager);
            queue.fill("say ran", "say held", WINDOW);
            (queue.client, queue.jobs)
        };
        match end {
            "worker" => kill(worker, Signal::SIGTERM).unwrap(),
            "stop" => manager.signal(Signal::SIGTERM),
            "reload" => manager.signal(Signal::SIGHUP),
            _ => {
                let other = manager.dir().join("other");
                fs::write(&other, [fs::read(library()).unwrap(), vec![0]].concat()).unwrap();
                manager.install("act", &other);
            }
        }
        match end {
            "worker" => {}
            "stop" => drop(manager.wait_event("draining", |_| true)),
            _ => drop(manager.wait_event("worker_draining", |event| pid(event) == worker)),
        }
        touch(&gate);
        let left = manager.wait_event("worker_exited", |event| pid(event) == worker);
        // The first one, six before, and the window.
        assert_eq!(left["jobs"], 7 + WINDOW, "{end}");
        if end == "stop" {
            assert_eq!(manager.wait_exit().code(), Some(0));
            manager.start_again();
        }
        Queue { gearmand: &gearmand, manager: &manager, client, jobs }.all_ran_once();
        assert_eq!(deaths(&manager), 0, "{end}");
    }
}

#[test]
fn a_worker_takes_no_more_jobs_than_it_may_run() {
    let (gearmand, manager) = holding(&["-j", "1"], "max_runs_per_worker = 21");
    let mut queue = Queue::new(&gearmand, &manager);
    (0..200).for_each(|number| queue.submit(&number.to_string(), "say done"));
    queue.all_ran_once();
    let exited: Vec<_> = manager.events().into_iter().filter(|event| event["event"] == "worker_exited").collect();
    assert!(exited.len() >= 8 && exited.iter().all(|event| event["jobs"] == 21), "{exited:?}");
}

/// A job's time begins when it does, and one that is late is the only one that pays for it.
#[test]
fn a_timeout_is_the_running_jobs_own() {
    let (gearmand, manager) = holding(&[], "timeout = 2\ntimeout_grace = 100ms");
    let mut queue = Queue::new(&gearmand, &manager);
    queue.fill("say ran", "take 400", WINDOW);
    queue.open_gate();
    // The last one of the window waits for seven others, nearly three seconds.
    queue.all_ran_once();
    assert_eq!(manager.events().iter().filter(|event| event["event"] == "job_overdue").count(), 0);
}

#[test]
fn a_job_past_its_timeout_does_not_count_against_those_behind_it() {
    let (gearmand, manager) = holding(&[], "timeout = 2\ntimeout_grace = 100ms");
    let mut queue = Queue::new(&gearmand, &manager);
    queue.fill("say never", "say held", WINDOW);
    assert_eq!(queue.failures(), 1);
    assert_eq!(queue.ran().len(), queue.jobs);
    let overdue = manager.wait_event("job_overdue", |_| true);
    assert_eq!(overdue["unique"], "running");
}

/// Those in hand still run behind it; then the worker holds one job, until enough short ones have followed.
#[test]
fn a_long_job_narrows_the_window_to_one() {
    let gearmand = Gearmand::start();
    let ini = "prefetch = 8\nprefetch_hold = 3\nprefetch_probation = 7";
    let manager = acting(&[&gearmand]).ini(ini).start();
    wait_serving(&manager, "act");
    let mut queue = Queue::new(&gearmand, &manager);
    queue.fill("take 3000", "say held", WINDOW);
    let second = path(&manager, "second");
    let urgent = wait_urgently(&gearmand, &second);
    queue.open_gate();
    queue.wait_running(1);
    touch(&second);
    queue.all_ran_once();
    assert_eq!(urgent.result(), b"");
}

/// The window is divided among the servers that have work.
#[test]
fn several_servers_share_the_window() {
    let (one, other) = (Gearmand::start(), Gearmand::start());
    let manager = acting(&[&one, &other]).ini(OPEN).start();
    wait_serving(&manager, "act");
    let mut queue = Queue::new(&one, &manager);
    let first = path(&manager, "first");
    queue.submit("first", &format!("wait {first}"));
    queue.wait_running(1);
    let mut others = Queue::new(&other, &manager);
    (0..1_500).for_each(|number| others.submit(&format!("other-{number}"), "say other"));
    (0..300).for_each(|number| queue.submit(&format!("before-{number}"), "say before"));
    queue.submit("running", &format!("wait {}", path(&manager, "gate")));
    (0..HELD).for_each(|number| queue.submit(&format!("held-{number}"), "say held"));
    touch(&first);
    wait_for("the job that waits", DEADLINE, || queue.ran().contains(&"running".to_owned()).then_some(()));
    queue.wait_running(WINDOW / 2);
    others.wait_running(WINDOW / 2);
    queue.open_gate();
    assert_eq!((queue.failures(), others.failures()), (0, 0));
    let ran = queue.ran();
    let once: BTreeSet<_> = ran.iter().collect();
    assert_eq!((ran.len(), once.len()), (queue.jobs + others.jobs, queue.jobs + others.jobs));
}

/// It may turn out bad; and once it is promoted, it is a worker like any other.
#[test]
fn a_canary_holds_one_job_until_it_is_promoted() {
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).ini(&format!("{OPEN}canary_seconds = 1h\ncanary_jobs = 5")).start();
    wait_serving(&manager, "act");
    let mut queue = Queue::new(&gearmand, &manager);
    queue.fill("say ran", "say held", WINDOW);
    let (second, third) = (path(&manager, "second"), path(&manager, "third"));
    let other = manager.dir().join("other");
    fs::write(&other, [fs::read(library()).unwrap(), vec![0]].concat()).unwrap();
    let urgent = wait_urgently(&gearmand, &second);
    manager.install("act", &other);
    queue.wait_running(WINDOW + 1);
    // It has run one job, which would have opened the window of another worker.
    let next = wait_urgently(&gearmand, &third);
    touch(&second);
    assert_eq!(urgent.result(), b"");
    queue.wait_running(WINDOW + 1);
    touch(&third);
    assert_eq!(next.result(), b"");
    manager.wait_event("rollout_promoted", |_| true);
    queue.open_gate();
    queue.all_ran_once();
}

/// Jobs in hand belong to a server that has forgotten them: they do not run, and the worker goes on.
#[test]
fn jobs_in_hand_of_a_server_that_is_gone_do_not_run() {
    let (mut gearmand, manager) = holding(&[], "");
    let worker = workers(&manager)[0];
    let ran = {
        let mut queue = Queue::new(&gearmand, &manager);
        queue.fill("say ran", "say held", WINDOW);
        queue.ran()
    };
    gearmand.kill();
    touch(&path(&manager, "gate"));
    manager.wait_event("server_down", |_| true);
    gearmand.restart_same_port();
    assert_eq!(Job::act(&gearmand, "", "pid").result(), worker.to_string().into_bytes());
    // A first send to a server that is gone succeeds, so that one more job may run.
    assert!(lines(&path(&manager, "notes")).len() <= ran.len() + 1);
    assert_eq!(deaths(&manager), 0);
}

/// The connection was replaced in one of several jobs whose answers nobody confirmed, and which one is unknown: none is
/// blamed. The next worker holds one job, so it can tell.
#[test]
fn a_job_that_takes_the_connection_is_blamed_once_it_is_alone() {
    const PROBATION: usize = 20;
    let gearmand = Gearmand::start();
    let open = format!("prefetch = {WINDOW}\nprefetch_hold = 1h\nprefetch_probation = {PROBATION}");
    let ini = format!("{open}\necho_timeout = 1\nmax_attempts = 2\nbackoff_max = 10ms");
    let manager = acting(&[&gearmand]).ini(&ini).start();
    wait_serving(&manager, "act");
    let mut queue = Queue::new(&gearmand, &manager);
    let first = path(&manager, "first");
    queue.submit("first", &format!("wait {first}"));
    queue.wait_running(1);
    (0..PROBATION + 4).for_each(|number| queue.submit(&format!("before-{number}"), "say before"));
    queue.submit("running", &format!("wait {}", path(&manager, "gate")));
    (0..3).for_each(|number| queue.submit(&format!("ahead-{number}"), "say ahead"));
    queue.submit("guilty", "coversockets socket\nsay done");
    (0..6).for_each(|number| queue.submit(&format!("behind-{number}"), "say behind"));
    touch(&first);
    wait_for("the job that waits", DEADLINE, || queue.ran().contains(&"running".to_owned()).then_some(()));
    queue.wait_running(WINDOW);
    queue.open_gate();
    assert_eq!(queue.failures(), 1);
    wait_for("three deaths", DEADLINE, || (deaths(&manager) == 3).then_some(()));
    let died: Vec<_> = manager.events().into_iter().filter(|event| event["event"] == "worker_died").collect();
    let at: Vec<_> = died.iter().map(|event| (event["at"].as_str(), event["unique"].as_str())).collect();
    let alone = (Some("job"), Some("guilty"));
    assert_eq!(at, [(Some("idle"), None), alone, alone], "{died:?}");
    assert_eq!(died.iter().map(|event| event["deaths"].as_u64()).collect::<Vec<_>>(), [None, Some(1), Some(2)]);
    assert!(died[0]["end"].as_str().unwrap().contains("one of its last jobs had closed, replaced"), "{died:?}");
    // None of them ran as long as its worker waited for the job server.
    assert!(died[1..].iter().all(|event| event["seconds"].as_f64().unwrap() < 1.0), "{died:?}");
    assert_eq!(queue.ran().iter().filter(|unique| *unique == "guilty").count(), 3);
    manager.wait_log("jobs, the library closed, replaced or shut down the worker's connection to job server");
}
