//! Whole stories told to the core with a clock of our own: what it does, in order.

mod jobs;
mod memory;
mod reload;
mod servers;
mod starts;

use super::*;
use crate::config::{Overrides, Source, load};
use crate::plugins::name::FunctionName;
use crate::plugins::scan::Candidate;
use crate::supervisor::judge::{JobLost, Verdict};
use crate::supervisor::rollout::Tally;
use crate::system::reap::End;
use crate::worker::orders::Word;

/// A core whose workers do as they are told, unless a test says otherwise.
struct Stage {
    core: Core,
    now: Duration,
    started: Vec<Start>,
    log: Vec<String>,
    remembered: Vec<String>,
    events: Vec<Event>,
}

fn identity(ino: u64) -> Identity {
    Identity { dev: 1, ino, size: 2, mtime: (0, 0), ctime: (0, 0) }
}

fn candidate(name: &str, ino: u64) -> Candidate {
    let function = FunctionName::new(name).unwrap();
    Candidate { function, dir: "/w".into(), path: format!("/w/{name}.so").into(), identity: identity(ino) }
}

fn scan(files: &[(&str, u64)]) -> Input {
    let candidates = files.iter().map(|(name, ino)| (FunctionName::new(name).unwrap(), candidate(name, *ino)));
    Input::Scanned(Scan { candidates: candidates.collect(), ..Scan::default() })
}

fn version(name: &str, ino: u64) -> Version {
    Version { hash: format!("{name}-{ino}"), library: "/s".into(), crate_version: "1.0.0".into(), warning: None }
}

fn found(name: &str, ino: u64) -> Input {
    Input::Probed { function: name.into(), identity: identity(ino), result: Ok(version(name, ino)) }
}

fn obituary(end: End, verdict: Verdict, done: u64) -> Obituary {
    Obituary { end, server: Some(0), verdict, jobs: done, peak_kib: 2048, done }
}

const KILLED: End = End::Signal(9);

impl Stage {
    fn new(ini: &str) -> Self {
        let source = Source { path: "gm.ini".as_ref(), bytes: ini.as_bytes() };
        let (config, _) = load(Some(source), &Overrides::default(), &|_| None).unwrap();
        let now = Duration::from_secs(1000);
        let (core, first) = Core::new(config, Memory::default(), 7, now);
        let mut stage =
            Self { core, now, started: Vec::new(), log: Vec::new(), remembered: Vec::new(), events: Vec::new() };
        stage.take(first);
        stage
    }

    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start(start) => {
                    self.log.push(format!("start {}", names(&start)));
                    self.started.push(start);
                }
                Action::Tell(event) => self.events.push(event),
                Action::Probe(candidate) => self.log.push(format!("probe {}", candidate.function)),
                Action::Go(id) => self.log.push(format!("go {}", id.0)),
                Action::Leave(id) => self.log.push(format!("leave {}", id.0)),
                Action::Kill(id) => self.log.push(format!("kill {}", id.0)),
                Action::Fail(code, text) => self.log.push(format!("fail {code}: {text}")),
                Action::MarkGood { function, version } if self.core.announced => {
                    self.log.push(format!("good {function} {}", version.hash));
                }
                Action::MarkGood { .. } | Action::Forgive { .. } | Action::Release { answer: None, .. } => {}
                Action::Release { answer: Some(answer), .. } => self.log.push(format!("answer {}", answer.text)),
                Action::Terminate(id) => self.log.push(format!("terminate {}", id.0)),
                Action::MarkBad { function, hash, .. } => self.remembered.push(format!("bad {function} {hash}")),
                Action::Pin { function, pin: Some((hash, _)) } => self.log.push(format!("pin {function} {hash}")),
                Action::Pin { function, pin: None } => self.log.push(format!("unpin {function}")),
                Action::Announce(note) => self.log.push(format!("announce {note:?}")),
                other => self.log.push(format!("{other:?}")),
            }
        }
    }

    fn input(&mut self, input: Input) -> &mut Self {
        let actions = self.core.handle(input, self.now);
        self.take(actions);
        self
    }

    fn later(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self.input(Input::Timer)
    }

    fn says(&mut self, id: u64, word: Word) -> &mut Self {
        self.input(Input::Said { worker: WorkerId(id), word })
    }

    /// A worker loads, finds its job server and serves.
    fn serves(&mut self, id: u64) -> &mut Self {
        self.input(Input::Spawned { worker: WorkerId(id), pid: 100 + id as i32 });
        self.says(id, Word::Loaded).says(id, Word::ServerUp { server: 0 }).says(id, Word::Ready).says(id, Word::Serving)
    }

    fn ends(&mut self, id: u64, obituary: Obituary) -> &mut Self {
        self.input(Input::Ended { worker: WorkerId(id), obituary })
    }

    /// A canary of one new version has run so many jobs, of which some failed.
    fn counts(&mut self, id: u64, jobs: u64, failed: u64) -> &mut Self {
        let tally = Tally { done: jobs - failed, failed, old_done: 100, old_failed: 0 };
        let tallies = vec![tally; self.core.workers[&WorkerId(id)].trial.as_ref().map_or(0, Vec::len)];
        self.input(Input::Counted(Counted { worker: WorkerId(id), tallies }))
    }

    fn leaves(&mut self, id: u64) -> &mut Self {
        self.ends(id, obituary(End::Exit(0), Verdict::Left, 0))
    }

    fn dies_in_job(&mut self, id: u64, done: u64) -> &mut Self {
        self.ends_in_job(id, KILLED, done)
    }

    fn ends_in_job(&mut self, id: u64, end: End, done: u64) -> &mut Self {
        let functions = self.core.workers.get(&WorkerId(id)).map(|worker| worker.names()).unwrap_or_default();
        let lost = JobLost {
            function: functions.iter().position(|name| name == "a").unwrap_or_default(),
            connection: 1,
            handle: b"H:a:1".to_vec(),
            unique: "u".into(),
            ran: Duration::from_secs(1),
        };
        self.ends(id, obituary(end, Verdict::InJob(lost), done))
    }

    /// What was done since the last call.
    fn did(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    /// How many were told to leave since they had come to this limit.
    fn left_at(&self, key: Option<&str>) -> usize {
        self.told(|event| matches!(event, Event::WorkerLeaving { limit, .. } if *limit == key))
    }

    fn told(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| is(event)).count()
    }

    fn ids(&self) -> Vec<u64> {
        self.core.workers.keys().map(|id| id.0).collect()
    }
}

fn names(start: &Start) -> String {
    let mut names: Vec<&str> = start.functions.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.join("+")
}

/// Two functions with two dedicated workers each, all serving.
fn two_functions() -> Stage {
    let mut stage = Stage::new("[GearmanManager]\ndedicated_count = 2\n");
    stage.input(scan(&[("a", 1), ("b", 1)])).input(found("a", 1)).input(found("b", 1));
    for id in 1..=4 {
        stage.serves(id);
    }
    stage.did();
    stage
}

#[test]
fn a_start_from_scan_to_announcement() {
    let mut stage = Stage::new("[GearmanManager]\ndedicated_count = 1\n");
    assert_eq!(stage.did(), ["Scan"]);
    stage.input(scan(&[("a", 1), ("b", 1)]));
    assert_eq!(stage.did(), ["probe a", "probe b"]);
    stage.input(found("a", 1));
    assert_eq!(stage.did(), [""; 0], "nothing starts before everything is known");
    stage.input(found("b", 1));
    assert_eq!(stage.did(), ["start a", "start b"]);
    stage.serves(1);
    assert_eq!(stage.did(), ["go 1"]);
    stage.serves(2);
    assert_eq!(stage.did(), ["go 2", "announce None"]);
    assert_eq!(stage.told(|event| matches!(event, Event::Started { workers: 2, functions: 2, .. })), 1);
}

#[test]
fn a_start_without_a_job_server_is_announced_with_a_note() {
    let mut stage = Stage::new("[GearmanManager]\nhost = 127.0.0.1:4731\n");
    stage.input(scan(&[("a", 1)])).input(found("a", 1)).says(1, Word::Loaded);
    stage.says(1, Word::ServerDown { server: 0, reason: "connection refused".into() });
    let note = stage.did().pop().unwrap();
    assert!(note.contains("job server 127.0.0.1:4731 does not answer yet"), "{note}");
    stage.later(Duration::from_secs(3600));
    assert_eq!(stage.ids(), [1], "a loaded worker that finds no job server is not the library's fault");
}

#[test]
fn starts_that_come_to_nothing() {
    let refused = |name: &str| Input::Probed {
        function: name.into(),
        identity: identity(1),
        result: Err("it is a text file".into()),
    };
    let mut only_bad = Stage::new("[GearmanManager]\n");
    only_bad.input(scan(&[("a", 1)])).input(refused("a"));
    assert!(only_bad.did().pop().unwrap().starts_with("fail 1: nothing in ./workers can be served: a: /w/a.so: it is"));
    let mut empty = Stage::new("[GearmanManager]\nauto_update = 0\n");
    empty.input(scan(&[]));
    assert!(empty.did().pop().unwrap().starts_with("fail 1: no library in"));
    let mut waits = Stage::new("[GearmanManager]\n");
    waits.input(scan(&[]));
    assert!(waits.did().pop().unwrap().starts_with("announce Some(\"no library in"));
    waits.input(scan(&[("a", 1)])).input(found("a", 1));
    assert_eq!(waits.did(), ["probe a", "good a a-1", "start a"]);
    let mut one_bad = Stage::new("[GearmanManager]\n");
    one_bad.input(scan(&[("a", 1), ("b", 1)])).input(refused("a")).input(found("b", 1)).serves(1);
    assert!(one_bad.did().pop().unwrap().contains("announce Some(\"a: /w/a.so: it is a text file\")"));
    let mut strict = Stage::new("[GearmanManager]\nstrict = 1\n");
    strict.input(scan(&[("a", 1), ("b", 1)])).input(refused("a")).input(found("b", 1));
    assert!(strict.did().pop().unwrap().starts_with("fail 1: strict is set"));
}

#[test]
fn a_library_that_fails_in_new_is_tried_again_and_again_while_the_others_work() {
    let mut stage = Stage::new("[GearmanManager]\ncount = 2\n");
    stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("bad", 1)).input(found("good", 1));
    assert_eq!(stage.did()[3..], ["start bad+good", "start bad+good"]);
    stage.later(Duration::from_millis(1));
    for id in [1, 2] {
        let function = stage.started[id as usize - 1].functions.iter().position(|(name, _)| name == "bad").unwrap();
        stage.says(id, Word::CannotServe { function, reason: "its new() failed: no database".into() });
        stage.ends(id, obituary(End::Exit(4), Verdict::OutsideJob, 0));
    }
    assert_eq!(stage.did(), ["start good", "start good"], "without the one that fails");
    assert_eq!(stage.told(|event| matches!(event, Event::BackingOff { .. })), 1, "both starts were one failure");
    stage.serves(3).serves(4);
    assert!(stage.did().pop().unwrap().starts_with("announce"), "what can be served is served");
    stage.later(Duration::from_secs(1));
    assert_eq!(stage.did(), ["start bad+good"], "one at a time, beside the workers that serve");
    stage.serves(5);
    assert_eq!(stage.did(), ["go 5", "leave 3"]);
}

#[test]
fn a_worker_killed_while_idle_is_replaced_soon_and_one_in_a_job_at_once() {
    let mut stage = two_functions();
    stage.dies_in_job(1, 1);
    assert_eq!(stage.did(), ["start a"]);
    stage.serves(5).did();
    stage.later(Duration::from_secs(100)).ends(3, obituary(KILLED, Verdict::OutsideJob, 5));
    assert_eq!(stage.did(), ["start b"], "it had done work");
    for (id, starts) in [(6, 1), (7, 1), (8, 1), (9, 0)] {
        stage.serves(id).did();
        stage.later(Duration::from_millis(1)).ends(id, obituary(KILLED, Verdict::OutsideJob, 0));
        assert_eq!(stage.did().len(), starts, "the death of {id}, which had done nothing");
    }
    stage.later(Duration::from_millis(500));
    assert_eq!(stage.did(), ["start b"]);
    assert_eq!(stage.told(|event| matches!(event, Event::WorkerDied(_))), 6);
}

#[test]
fn a_poisonous_function_is_slowed_down_and_the_others_are_not() {
    let mut stage = Stage::new("[GearmanManager]\ncount = 1\nmax_attempts = 1000\n");
    stage.input(scan(&[("a", 1), ("b", 1)])).input(found("a", 1)).input(found("b", 1)).serves(1);
    stage.did();
    for id in 1..=5 {
        stage.dies_in_job(id, 0);
        assert_eq!(stage.did(), ["start a+b"], "death {id} is free");
        stage.serves(id + 1);
        stage.did();
    }
    stage.dies_in_job(6, 0);
    assert_eq!(stage.did(), ["start b"], "the other goes on without it");
    stage.serves(7).later(Duration::from_millis(150));
    assert_eq!(stage.did(), ["go 7", "start a+b"], "and after 100 ms it is tried again");
}

#[test]
fn a_start_that_hangs_is_killed_at_its_deadline() {
    let mut stage = Stage::new("[GearmanManager]\nstart_timeout = 3\n");
    stage.input(scan(&[("a", 1)])).input(found("a", 1)).input(Input::Spawned { worker: WorkerId(1), pid: 11 });
    assert_eq!(stage.core.next_due(stage.now), Some(stage.now + Duration::from_secs(3)));
    stage.did();
    stage.later(Duration::from_secs(3));
    assert_eq!(stage.did(), ["kill 1", "fail 1: a: not ready within start_timeout"]);
}

/// The moment for job servers to answer is over for the one, and the other has until its deadline to load.
#[test]
fn what_was_due_and_still_waits_for_something_else_is_not_due_again() {
    let mut stage = Stage::new("[GearmanManager]\nstart_timeout = 30\n");
    stage.input(scan(&[("a", 1), ("b", 1)])).input(found("a", 1)).input(found("b", 1));
    let deadline = stage.now + Duration::from_secs(30);
    stage.input(Input::Spawned { worker: WorkerId(1), pid: 11 }).says(1, Word::Loaded);
    assert_eq!(stage.core.next_due(stage.now), Some(stage.now + Duration::from_secs(1)));
    stage.later(Duration::from_secs(6));
    assert_eq!(stage.core.next_due(stage.now), Some(deadline));
}

#[test]
fn new_code_is_tried_by_a_canary_then_rolled_out_worker_by_worker_and_never_below_the_plan() {
    let mut stage = two_functions();
    stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2));
    assert_eq!(stage.did(), ["probe a", "start a"]);
    stage.serves(5);
    assert_eq!(stage.did(), ["go 5"], "a surplus worker: nobody leaves for it");
    stage.counts(5, 19, 0).counts(5, 20, 0);
    assert_eq!(stage.did(), ["good a a-2", "leave 1"]);
    stage.leaves(1);
    assert_eq!(stage.did(), ["start a"]);
    stage.serves(6);
    assert_eq!(stage.did(), ["go 6", "leave 2"]);
    assert_eq!(stage.told(|event| matches!(event, Event::RolloutFinished { .. })), 0);
    stage.leaves(2);
    assert_eq!(stage.told(|event| matches!(event, Event::RolloutFinished { .. })), 1);
    assert_eq!(stage.ids(), [3, 4, 5, 6]);
}

#[test]
fn a_function_without_traffic_is_promoted_on_time_alone() {
    let mut stage = two_functions();
    stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2)).serves(5);
    stage.did();
    let looked_at =
        |stage: &Stage, ms| assert_eq!(stage.core.canary_due(), Some(stage.now + Duration::from_millis(ms)));
    looked_at(&stage, 5);
    stage.now += Duration::from_millis(40);
    stage.counts(5, 0, 0);
    looked_at(&stage, 10);
    stage.now += Duration::from_millis(4_959);
    stage.counts(5, 0, 0);
    looked_at(&stage, 50);
    assert_eq!(stage.did(), [""; 0]);
    stage.now += Duration::from_millis(1);
    stage.counts(5, 0, 0);
    assert_eq!(stage.did(), ["good a a-2", "leave 1"]);
}

#[test]
fn a_bad_version_is_given_up_and_nothing_else_happens() {
    let fails = |stage: &mut Stage| drop(stage.serves(5).counts(5, 10, 4).did());
    let crashes = |stage: &mut Stage| drop(stage.serves(5).ends_in_job(5, End::Signal(11), 0).did());
    let dies_idle =
        |stage: &mut Stage| drop(stage.serves(5).ends(5, obituary(End::Signal(11), Verdict::OutsideJob, 0)).did());
    let refuses = |stage: &mut Stage| {
        stage.input(Input::Spawned { worker: WorkerId(5), pid: 105 });
        stage.says(5, Word::CannotServe { function: 0, reason: "its new() failed: no table".into() });
        stage.ends(5, obituary(End::Exit(4), Verdict::OutsideJob, 0)).did();
    };
    let hangs = |stage: &mut Stage| drop(stage.later(Duration::from_secs(30)).did());
    type Way = (&'static str, fn(&mut Stage));
    let ways: [Way; 5] = [
        ("jobs fail", fails),
        ("crash in a job", crashes),
        ("crash while idle", dies_idle),
        ("new() fails", refuses),
        ("new() hangs", hangs),
    ];
    for (name, bad) in ways {
        let mut stage = two_functions();
        stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2));
        assert_eq!(stage.did(), ["probe a", "start a"]);
        bad(&mut stage);
        assert_eq!(stage.told(|event| matches!(event, Event::RolloutStopped { version, serving, .. } if version == "a-2" && serving == "a-1")), 1, "{name}");
        assert!(stage.remembered.contains(&"bad a a-2".to_owned()), "{name}");
        stage.ends(5, obituary(End::Exit(0), Verdict::Left, 0)).did();
        stage.later(Duration::from_secs(600));
        let kept: Vec<u64> = stage.ids().into_iter().filter(|id| *id <= 4).collect();
        assert_eq!(
            (kept, stage.did().len()),
            (vec![1, 2, 3, 4], 0),
            "{name}: the old ones go on, and nobody tries again"
        );
        stage.input(scan(&[("a", 3), ("b", 1)])).input(found("a", 3));
        assert_eq!(stage.did(), ["probe a", "start a"], "{name}: new content is tried");
    }
}

#[test]
fn a_canary_killed_from_outside_is_started_again_but_not_for_ever() {
    let mut stage = two_functions();
    stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2)).did();
    for id in 5..=6 {
        stage.did();
        stage.serves(id).ends(id, obituary(KILLED, Verdict::OutsideJob, 0));
        assert_eq!(stage.did().pop().unwrap(), "start a");
    }
    stage.serves(7).ends(7, obituary(KILLED, Verdict::OutsideJob, 0));
    assert_eq!(stage.told(|event| matches!(event, Event::RolloutStopped { .. })), 1);
}

/// Every rollout that was told of comes to an end that is told of, and what is tried again is told again.
#[test]
fn a_version_that_is_replaced_while_it_is_tried_is_withdrawn() {
    let withdrawn = |stage: &Stage, hash: &str| {
        stage.told(|event| matches!(event, Event::RolloutWithdrawn { version, .. } if version == hash))
    };
    let tried =
        |stage: &Stage, hash: &str| stage.told(|event| matches!(event, Event::RolloutStarted { to, .. } if to == hash));
    let mut stage = two_functions();
    let file = |stage: &mut Stage, ino: u64, content: u64| {
        let result = Ok(version("a", content));
        stage.input(scan(&[("a", ino), ("b", 1)]));
        stage.input(Input::Probed { function: "a".into(), identity: identity(ino), result });
    };
    file(&mut stage, 2, 2);
    stage.serves(5).ends(5, obituary(KILLED, Verdict::OutsideJob, 0));
    stage.serves(6).ends(6, obituary(KILLED, Verdict::OutsideJob, 0));
    file(&mut stage, 3, 3);
    assert_eq!((withdrawn(&stage, "a-2"), tried(&stage, "a-3")), (1, 1), "by a newer one");
    stage.serves(8).ends(8, obituary(KILLED, Verdict::OutsideJob, 0));
    assert_eq!(stage.told(|event| matches!(event, Event::RolloutStopped { .. })), 0, "the kills were another's");
    file(&mut stage, 4, 1);
    assert_eq!(withdrawn(&stage, "a-3"), 1, "by what is served");
    file(&mut stage, 5, 3);
    assert_eq!(tried(&stage, "a-3"), 2);
    let result = Err("it is a text file".into());
    stage.input(scan(&[("a", 6), ("b", 1)]));
    stage.input(Input::Probed { function: "a".into(), identity: identity(6), result });
    assert_eq!(withdrawn(&stage, "a-3"), 2, "by rubbish");
    stage.later(Duration::from_secs(1));
    assert_eq!((withdrawn(&stage, "a-3"), withdrawn(&stage, "a-2")), (2, 1), "said once");
}

/// A deploy on the heels of another is an everyday thing: no warning, no error.
#[test]
fn a_canary_that_is_not_needed_any_more_is_no_death() {
    let mut stage = two_functions();
    stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2));
    stage.input(Input::Spawned { worker: WorkerId(5), pid: 105 }).did();
    stage.input(scan(&[("a", 3), ("b", 1)])).input(found("a", 3));
    assert_eq!(stage.did(), ["probe a", "kill 5", "start a"]);
    stage.ends(5, obituary(KILLED, Verdict::OutsideJob, 0));
    assert!(stage.events.iter().all(|event| event.level() > crate::logging::Level::Warn), "{:?}", stage.events);
}

#[test]
fn several_new_versions_share_one_canary_until_one_of_them_is_at_fault() {
    let mut stage = Stage::new("[GearmanManager]\ncount = 2\n");
    let all = |ino| scan(&[("a", ino), ("b", ino), ("c", ino)]);
    stage.input(all(1)).input(found("a", 1)).input(found("b", 1)).input(found("c", 1)).serves(1).serves(2);
    stage.did();
    stage.input(scan(&[("a", 2), ("b", 1), ("c", 1)])).input(found("a", 2));
    assert_eq!(stage.did().pop().unwrap(), "start a+b+c");
    stage.input(scan(&[("a", 2), ("b", 2), ("c", 2)])).input(found("c", 1));
    assert_eq!(stage.did(), ["probe b", "probe c"], "what is copied together is tried together");
    stage.input(found("b", 2));
    assert_eq!(stage.did(), [""; 0]);
    stage.input(Input::Probed { function: "c".into(), identity: identity(2), result: Ok(version("c", 1)) });
    assert_eq!(stage.did(), ["kill 3", "start a+b+c"], "what was found meanwhile goes with it");
    stage.serves(4).ends(4, obituary(End::Signal(11), Verdict::OutsideJob, 0));
    assert_eq!(stage.did(), ["go 4", "start a+b+c"], "nobody knows whose fault it was: one at a time");
    let tried = |start: &Start| {
        let new = |(name, version): &(String, Version)| version.hash.ends_with("-2").then(|| name.clone());
        start.functions.iter().filter_map(new).collect::<Vec<_>>()
    };
    assert_eq!(tried(stage.started.last().unwrap()), ["a"]);
    stage.serves(5).counts(5, 20, 0);
    assert!(stage.did().contains(&"good a a-2".to_owned()));
    assert!(stage.started.iter().any(|start| tried(start) == ["b"] || tried(start).contains(&"b".to_owned())));
}

#[test]
fn a_rollback_is_rolled_out_without_a_canary_and_holds_until_the_file_changes() {
    let mut stage = two_functions();
    let earlier = Version { hash: "a-0".into(), library: "/s".into(), crate_version: String::new(), warning: None };
    stage.input(Input::Rollback { function: "a".into(), version: earlier });
    assert_eq!(stage.did(), ["pin a a-0", "good a a-0", "start a"]);
    stage.serves(5);
    assert_eq!(stage.did(), ["go 5", "leave 1"]);
    stage.leaves(1).serves(6).leaves(2).did();
    stage.did();
    stage.input(scan(&[("a", 9), ("b", 1)])).input(found("a", 9));
    assert_eq!(stage.did(), ["probe a", "unpin a", "start a"]);
}

#[test]
fn a_removed_library_drains_its_workers() {
    let mut stage = two_functions();
    stage.input(scan(&[("b", 1)]));
    assert_eq!(stage.did(), [""; 0], "half of a replacement looks the same");
    assert_eq!(stage.core.next_due(stage.now), Some(stage.now + Duration::from_millis(50)));
    stage.later(Duration::from_millis(50));
    assert_eq!(stage.did(), ["Scan"]);
    stage.input(scan(&[("b", 1)]));
    assert_eq!(stage.did(), ["leave 1", "leave 2"]);
    stage.leaves(1).leaves(2);
    assert_eq!(stage.ids(), [3, 4]);
}

#[test]
fn an_old_worker_is_replaced_before_it_leaves() {
    let ini = "[GearmanManager]\nmax_worker_lifetime = 100\nworker_restart_splay = 0\n";
    let mut stage = Stage::new(ini);
    stage.input(scan(&[("a", 1)])).input(found("a", 1)).serves(1);
    stage.did();
    stage.later(Duration::from_secs(99));
    assert_eq!(stage.did(), [""; 0]);
    stage.later(Duration::from_secs(1));
    assert_eq!(stage.did(), ["start a"]);
    stage.serves(2);
    assert_eq!(stage.did(), ["go 2", "leave 1"]);
    assert_eq!(stage.left_at(Some("max_worker_lifetime")), 1);
}

/// Old workers finish what they have, however long it takes; a stop has the time it was given.
#[test]
fn only_a_stop_cuts_a_job() {
    let mut stage = two_functions();
    stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2)).serves(5).counts(5, 20, 0);
    assert_eq!(stage.did().pop().unwrap(), "leave 1");
    stage.input(scan(&[("a", 2)])).later(Duration::from_millis(50)).input(scan(&[("a", 2)]));
    assert!(stage.did().contains(&"leave 3".to_owned()), "its library was removed");
    let cut = |stage: &mut Stage| {
        let did = stage.did();
        ["kill 1", "kill 3"].map(|kill| did.contains(&kill.to_owned()))
    };
    stage.later(Duration::from_secs(36_000));
    assert_eq!(cut(&mut stage), [false; 2]);
    stage.input(Input::Stop { by: "SIGTERM" }).later(Duration::from_secs(60));
    assert_eq!(cut(&mut stage), [true; 2]);
}

#[test]
fn a_stop_drains_waits_and_kills_what_is_left() {
    let mut stage = two_functions();
    stage.input(Input::Stop { by: "SIGTERM" });
    assert_eq!(stage.did(), ["leave 1", "leave 2", "leave 3", "leave 4"]);
    for id in 1..=3 {
        stage.leaves(id);
    }
    stage.input(Input::Stop { by: "SIGTERM" }).later(Duration::from_secs(30));
    assert_eq!(stage.did(), [""; 0], "a second signal does not start the clock anew");
    stage.later(Duration::from_secs(30));
    assert_eq!(stage.did(), ["kill 4"]);
    stage.dies_in_job(4, 0);
    assert_eq!(stage.did(), ["Finish"]);
}

#[test]
fn the_fifth_signal_kills_at_once() {
    let mut stage = two_functions();
    for _ in 0..4 {
        stage.input(Input::Stop { by: "SIGINT" });
    }
    stage.did();
    stage.input(Input::Stop { by: "SIGINT" });
    assert_eq!(stage.did(), ["kill 1", "kill 2", "kill 3", "kill 4"]);
}

#[test]
fn at_most_sixteen_workers_connect_at_once() {
    let mut stage = Stage::new("[GearmanManager]\ncount = 40\ndedicated_count = 0\n");
    stage.input(scan(&[("a", 1)])).input(found("a", 1));
    assert_eq!(stage.started.len(), 16);
    stage.serves(1);
    assert_eq!(stage.started.len(), 17);
}

/// M3: later each time until one can be, and of those that were decided on together only one is told of.
#[test]
fn processes_that_cannot_be_started_are_tried_again_later_and_later() {
    let refused = |id| Input::SpawnFailed { worker: WorkerId(id), reason: "resource temporarily unavailable".into() };
    let mut stage = Stage::new("[GearmanManager]\ncount = 3\ndedicated_count = 0\n");
    stage.input(scan(&[("a", 1)])).input(found("a", 1));
    stage.did();
    let mut told = 0;
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        for id in stage.ids() {
            stage.input(refused(id));
        }
        told += 1;
        assert_eq!(stage.told(|event| matches!(event, Event::SpawnFailed { .. })), told);
        stage.later(Duration::from_secs(pause) - Duration::from_millis(1));
        assert_eq!(stage.did(), [""; 0], "{pause} s");
        stage.later(Duration::from_millis(1));
        assert_eq!(stage.did(), ["start a"; 3]);
    }
    let ids = stage.ids();
    stage.input(Input::Spawned { worker: WorkerId(ids[0]), pid: 7 }).input(refused(ids[1]));
    stage.later(Duration::from_secs(1));
    assert_eq!(stage.did(), ["start a"]);
}

/// Whatever happens, in whatever order: no panic, no worker more than plan and surge, and after a stop it ends.
#[test]
fn random_walks_keep_the_invariants() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut stage = Stage::new("[GearmanManager]\ncount = 2\ndedicated_count = 1\n[b]\ndedicated_count = 3\n");
        stage.input(scan(&[("a", 1), ("b", 1)])).input(found("a", 1)).input(found("b", 1));
        // Before that a failure would be a failed start, which ends the manager.
        for id in stage.ids() {
            stage.serves(id);
        }
        let mut versions = 1;
        for _ in 0..300 {
            let ids = stage.ids();
            let id = if ids.is_empty() { 1 } else { ids[random.usize(..ids.len())] };
            match random.u8(..12) {
                0..=4 => {
                    stage.serves(id);
                }
                5 => {
                    stage.leaves(id);
                }
                6 => {
                    stage.dies_in_job(id, random.u64(..5));
                }
                7 => {
                    stage.ends(id, obituary(KILLED, Verdict::OutsideJob, 0));
                }
                8 => {
                    versions += 1;
                    stage.input(scan(&[("a", versions), ("b", 1)])).input(found("a", versions));
                }
                9 if random.bool() => {
                    let word = Word::Making { function: random.usize(..3) };
                    let end = if random.bool() { End::Exit(1) } else { KILLED };
                    stage.says(id, word).ends(id, obituary(end, Verdict::OutsideJob, 0));
                }
                9 => {
                    stage.says(id, Word::CannotServe { function: random.usize(..3), reason: "no".into() });
                }
                _ => {
                    stage.later(Duration::from_millis(random.u64(..5000)));
                }
            }
            let live = stage.core.workers.values().filter(|worker| worker.life.is_live()).count();
            assert!(live <= 6 + 3 + 2, "seed {seed}: {live} workers, planned 6, a surge of one a group, canaries");
        }
        for _ in 0..200 {
            stage.later(Duration::from_secs(31));
            for (canary, _) in stage.core.canaries() {
                stage.counts(canary.0, 0, 0);
            }
            for id in stage.ids() {
                stage.serves(id);
            }
            let leaving = stage.core.workers.iter().filter(|(_, worker)| !worker.life.is_live()).map(|(id, _)| id.0);
            for id in leaving.collect::<Vec<_>>() {
                stage.leaves(id);
            }
        }
        let serving = stage.core.workers.values().filter(|worker| worker.life.is_serving()).count();
        assert_eq!(serving, 6, "seed {seed}: as planned in the end");
        stage.input(Input::Stop { by: "SIGTERM" }).later(Duration::from_secs(60));
        for id in stage.ids() {
            stage.leaves(id);
        }
        assert_eq!(stage.did().pop().unwrap(), "Finish", "seed {seed}");
    }
}
