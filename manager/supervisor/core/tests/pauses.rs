//! Pauses, and functions with another number of workers.

use super::*;
use crate::supervisor::pause_records::Pause;

fn pause() -> Pause {
    Pause { by: "alice".into(), since: "2026-11-24 12:00:00".into() }
}

fn paused(request: u64, function: &str, drains: bool) -> Input {
    Input::Request { request, order: Order::Pause { function: function.into(), pause: pause(), drains } }
}

/// Two workers that serve `a` and `b`.
fn two_shared() -> Stage {
    let mut stage = Stage::new("[GearmanManager]\ncount = 2\n");
    stage.input(scan(&[("a", 1), ("b", 1)])).input(found("a", 1)).input(found("b", 1)).serves(1).serves(2);
    stage.take_actions();
    stage
}

fn results(stage: &Stage) -> Vec<(u64, bool)> {
    let ended = |event: &Event| match event {
        Event::RequestFinished(ended) => Some((ended.request, true)),
        Event::RequestFailed(ended) => Some((ended.request, false)),
        _ => None,
    };
    stage.events.iter().filter_map(ended).collect()
}

#[test]
fn all_functions_workers_offer_the_others() {
    let mut stage = two_shared();
    stage.input(paused(1, "a", false)).input(paused(2, "a", true));
    let actions = stage.take_actions();
    assert!(actions[0].starts_with("SavePauses") && actions.len() == 3, "{actions:?}");
    assert!(actions[1..].iter().all(|action| action.starts_with("Offer")), "{actions:?}");
    stage.message(1, WorkerMessage::Offering { number: 1 }).message(2, WorkerMessage::Offering { number: 7 });
    assert_eq!(results(&stage), [], "the second has not carried it out");
    stage.message(2, WorkerMessage::Offering { number: 2 });
    assert_eq!(results(&stage), [(1, true), (2, true)]);
    // Nothing is replaced, and what is started has the other function alone.
    stage.later(Duration::from_secs(60));
    assert_eq!(stage.take_actions(), [""; 0]);
    stage.dies_in_job(1, 10);
    assert!(stage.take_actions().contains(&"start b".to_owned()));
    stage.serves(3);
    stage.take_actions();
    // At resume, the one that has it loaded offers it again, and the other one is replaced.
    stage.input(Input::Request { request: 3, order: Order::Resume("a".into()) });
    let actions = stage.take_actions();
    assert!(actions[1].starts_with("Offer") && actions[2] == "start a+b" && actions.len() == 3, "{actions:?}");
    stage.serves(4).leaves(3);
    assert_eq!(results(&stage).len(), 2);
    stage.message(2, WorkerMessage::Offering { number: 3 });
    assert_eq!(results(&stage).last(), Some(&(3, true)));
}

#[test]
fn dedicated_workers_drain_and_their_jobs_are_run() {
    let mut stage = two_functions();
    stage.input(paused(1, "a", false)).input(paused(2, "a", true));
    assert_eq!(stage.take_actions()[1..], ["leave 2", "leave 1"]);
    for id in [1, 2] {
        stage.message(id, WorkerMessage::Draining { jobs: 1 });
    }
    assert_eq!(results(&stage), [(1, true)]);
    stage.leaves(1).leaves(2);
    assert_eq!(results(&stage), [(1, true), (2, true)]);
    assert!(stage.core.may_roll_back("a").unwrap_err().contains("paused by alice since 2026-11-24 12:00:00"));
    stage.input(Input::Request { request: 3, order: Order::Resume("a".into()) });
    assert_eq!(stage.take_actions()[1..], ["start a", "start a"]);
}

#[test]
fn a_pause_is_logged_every_hour_with_a_rescan() {
    let mut stage = two_shared();
    stage.input(paused(1, "a", false));
    let told = |stage: &Stage| stage.count_events(|event| matches!(event, Event::FunctionPaused(_)));
    assert_eq!(told(&stage), 1);
    for minutes in 1..=125 {
        stage.later(Duration::from_secs(60)).input(Input::Rescan);
        assert_eq!(told(&stage), 1 + minutes / 60);
    }
}

#[test]
fn a_pause_of_an_earlier_manager_holds() {
    let mut stage = Stage::new("[GearmanManager]\n");
    stage.core.restore_pauses(BTreeMap::from([("a".into(), pause())]));
    stage.input(scan(&[("a", 1), ("b", 1)])).input(found("a", 1)).input(found("b", 1)).serves(1);
    let actions = stage.take_actions();
    assert!(actions.contains(&"start b".to_owned()) && !actions.contains(&"start a".to_owned()), "{actions:?}");
}

#[test]
fn a_function_is_scaled_within_what_the_plan_allows() {
    let mut stage = two_shared();
    assert!(stage.core.may_scale("a", 1).unwrap_err().contains("2 workers serve all functions"));
    let order = stage.core.may_scale("a", 3).unwrap();
    stage.input(Input::Request { request: 1, order });
    assert_eq!(stage.take_actions(), ["start a"]);
    stage.serves(3);
    assert_eq!(results(&stage), [(1, true)]);
    let order = stage.core.may_scale("a", 2).unwrap();
    stage.take_actions();
    stage.input(Input::Request { request: 2, order });
    assert_eq!((stage.take_actions(), results(&stage).len()), (vec!["leave 3".to_owned()], 2));
    assert!(two_functions().core.may_scale("a", 0).unwrap_err().contains("use pause"));
}
