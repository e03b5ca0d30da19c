//! What is logged about job servers, and asked of them.

use super::*;
use crate::gearman::admin::ServerVersion;

#[test]
fn a_job_server_is_reported_down_once_and_up_once_however_many_workers_see_it() {
    let mut stage = two_functions();
    let down = |event: &Event| matches!(event, Event::ServerDown { .. });
    let up = |event: &Event| matches!(event, Event::ServerUp { .. });
    assert_eq!((stage.count_events(up), stage.count_events(down)), (1, 0));
    for id in 1..=4 {
        stage.message(id, WorkerMessage::ServerDown { server: 0, reason: "it closed the connection".into() });
    }
    for id in 1..=4 {
        stage.message(id, WorkerMessage::ServerUp { server: 0 });
    }
    assert_eq!((stage.count_events(up), stage.count_events(down)), (2, 1));
}

/// S15: reported once, while it serves others; not of a server that is silent to all.
#[test]
fn a_job_server_unresponsive_to_some_workers_only_is_reported_once() {
    let mute = |event: &Event| matches!(event, Event::ServerUnresponsive { workers_connected: 3, .. });
    let any = |event: &Event| matches!(event, Event::ServerUnresponsive { .. });
    let mut stage = two_functions();
    for id in [2, 3, 4] {
        stage.message(id, WorkerMessage::ServerUp { server: 0 });
    }
    stage.message(1, WorkerMessage::ServerDown { server: 0, reason: "it closed the connection".into() });
    for _ in 0..3 {
        stage.message(1, WorkerMessage::ServerUnresponsive { server: 0 });
    }
    assert_eq!((stage.count_events(mute), stage.count_events(any)), (1, 1));
    stage.message(1, WorkerMessage::ServerUp { server: 0 });
    for id in [1, 2, 3, 4] {
        stage.message(id, WorkerMessage::ServerDown { server: 0, reason: "mute".into() });
        stage.message(id, WorkerMessage::ServerUnresponsive { server: 0 });
    }
    assert_eq!(stage.count_events(any), 2, "once more, since all had been answered meanwhile");
}

/// S23: counted each time, and reported now and then.
#[test]
fn lost_wake_ups_are_counted_and_reported_now_and_then() {
    let mut stage = two_functions();
    for id in [1, 2, 1] {
        stage.message(id, WorkerMessage::WakeUpLost { server: 0 });
    }
    let reported = |jobs| move |event: &Event| matches!(event, Event::WakeUpLost { jobs: n, .. } if *n == jobs);
    assert_eq!((stage.count_events(reported(1)), stage.core.servers[0].lost_wake_ups()), (1, 3));
    stage.now += Duration::from_secs(600);
    stage.message(2, WorkerMessage::WakeUpLost { server: 0 });
    stage.message(2, WorkerMessage::WakeUpLost { server: 7 });
    assert_eq!((stage.count_events(reported(3)), stage.core.servers[0].lost_wake_ups()), (1, 4));
}

/// M20.
#[test]
fn a_name_that_is_not_answered_for_holds_up_no_worker_of_other_servers() {
    let mut stage = Stage::new("[GearmanManager]\nhost = 127.0.0.1, somewhere\n");
    stage.input(scan(&[("f", 1)])).input(found("f", 1));
    assert_eq!(stage.started.len(), 0, "a name that is answered for soon is waited for");
    let due = stage.core.next_due(stage.now).unwrap();
    assert_eq!(due, stage.now + Duration::from_secs(1));
    stage.later(Duration::from_secs(1));
    let servers = |start: &WorkerStart| start.servers.iter().map(|(_, addresses)| addresses.len()).collect::<Vec<_>>();
    assert_eq!(stage.started.iter().map(servers).collect::<Vec<_>>(), [[1, 0]]);
    stage.serves(1).take_actions();
    let address = "127.0.0.2:4730".parse().unwrap();
    stage.input(Input::Resolved { server: 1, result: Ok(vec![address]) });
    assert_eq!(stage.take_actions(), ["Addresses(WorkerId(1), 1, [127.0.0.2:4730])"]);
}

const PRIORITIES: &str = "[GearmanManager]\ncount = 4\n[slow]\npriority = -5\n[urgent]\npriority = 5\n";

fn asked(stage: &mut Stage) -> usize {
    stage.take_actions().iter().filter(|line| line.starts_with("AskVersion")).count()
}

fn is_version(major: u32) -> Input {
    let version = ServerVersion { text: format!("{major}.0.1"), major: Some(major) };
    Input::Version { server: 0, version: Some(version) }
}

fn served(ini: &str, functions: &[(&str, u64)]) -> Stage {
    let mut stage = Stage::new(ini);
    stage.input(scan(functions));
    for (name, ino) in functions {
        stage.input(found(name, *ino));
    }
    stage.serves(1);
    stage
}

#[test]
fn a_job_server_is_asked_its_version_where_priorities_matter_and_each_time_it_comes_up() {
    let three = [("plain", 1), ("slow", 2), ("urgent", 3)];
    let mut stage = served(PRIORITIES, &three);
    assert_eq!(asked(&mut stage), 1);
    stage.message(2, WorkerMessage::ServerUp { server: 0 });
    assert_eq!(asked(&mut stage), 0, "it is known");
    stage.message(1, WorkerMessage::ServerDown { server: 0, reason: "gone".into() });
    stage.message(2, WorkerMessage::ServerDown { server: 0, reason: "gone".into() });
    stage.message(2, WorkerMessage::ServerUp { server: 0 });
    assert_eq!(asked(&mut stage), 1, "it may be another one");
    for (name, ini, functions) in [
        ("no priorities", "[GearmanManager]\ncount = 4", &three[..]),
        ("one function has nothing to be before", PRIORITIES, &three[2..]),
        ("equal ones", "[GearmanManager]\ncount = 4\n[slow]\npriority = 2\n[urgent]\npriority = 2\n", &three[1..]),
    ] {
        assert_eq!(asked(&mut served(ini, functions)), 0, "{name}");
    }
}

#[test]
fn priorities_that_come_with_a_reload_are_asked_about() {
    let mut stage = served("[GearmanManager]\ncount = 4", &[("plain", 1), ("urgent", 2)]);
    assert_eq!(asked(&mut stage), 0);
    let source = ConfigFile { path: "gm.ini".as_ref(), bytes: PRIORITIES.as_bytes() };
    let (config, _) = load(Some(source), &Overrides::default(), &|_| None).unwrap();
    stage.input(Input::Reload(Box::new(config), Vec::new()));
    assert_eq!(asked(&mut stage), 1);
}

#[test]
fn only_a_server_that_ignores_priorities_is_warned_of_by_name() {
    for (version, warns) in [(is_version(1), false), (is_version(2), true), (is_version(3), true)] {
        let mut stage = served(PRIORITIES, &[("plain", 1), ("slow", 2), ("urgent", 3)]);
        let before = stage.events.len();
        stage.input(version);
        let texts: Vec<String> = stage.events[before..].iter().map(Event::line).collect();
        assert_eq!(texts.len(), usize::from(warns), "{texts:?}");
        let names = |text: &String| ["127.0.0.1:4730", ".0.1", "slow, urgent"].iter().all(|part| text.contains(part));
        assert!(texts.iter().all(names), "{texts:?}");
    }
    let mut silent = served(PRIORITIES, &[("slow", 2), ("urgent", 3)]);
    let before = silent.events.len();
    silent.input(Input::Version { server: 0, version: None });
    assert_eq!(silent.events.len(), before);
}

/// S24: a worker that alone reaches no job server is replaced; one whose servers are down is not.
#[test]
fn a_worker_that_is_cut_off_is_told_apart_from_one_whose_servers_are_down() {
    let still_down = || WorkerMessage::ServerStillDown { server: 0, reason: "no".into() };
    let cut_off = |event: &Event| matches!(event, Event::WorkerCutOff { pid: 102, workers_connected: 3, .. });
    let mut stage = two_functions();
    let all = 1..=4;
    for id in all.clone() {
        stage.message(id, WorkerMessage::ServerDown { server: 0, reason: "no".into() });
    }
    for id in all.clone().chain(all) {
        stage.message(id, still_down()).message(id, still_down());
    }
    assert!((1..=4).all(|id| !stage.core.is_cut_off(WorkerId(id))), "the server is down");
    assert_eq!(stage.take_actions(), [""; 0]);
    for id in [1, 3, 4] {
        stage.message(id, WorkerMessage::ServerUp { server: 0 });
    }
    assert!(stage.core.is_cut_off(WorkerId(2)) && !stage.core.is_cut_off(WorkerId(1)));
    stage.message(2, still_down());
    assert_eq!((stage.take_actions(), stage.count_events(cut_off)), (vec![], 0), "it may be about to reconnect");
    stage.message(2, still_down()).message(2, still_down());
    assert_eq!((stage.take_actions(), stage.count_events(cut_off)), (vec!["start a".to_owned()], 1));
    stage.serves(5).later(Duration::from_secs(1));
    let log = stage.take_actions();
    assert!(log.contains(&"leave 2".into()), "its replacement has found a server: {log:?}");
    assert_eq!(stage.left_at(None), 1);
}

/// S24: what a worker reports before its server answers it again does not count later.
#[test]
fn reports_of_being_cut_off_start_over_when_a_server_answers() {
    let still_down = || WorkerMessage::ServerStillDown { server: 0, reason: "no".into() };
    let mut stage = two_functions();
    for _ in 0..5 {
        stage.message(2, WorkerMessage::ServerDown { server: 0, reason: "no".into() }).message(2, still_down());
        stage.message(2, WorkerMessage::ServerUp { server: 0 });
    }
    assert_eq!(stage.count_events(|event| matches!(event, Event::WorkerCutOff { .. })), 0);
}
