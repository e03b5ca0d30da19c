//! Workers that take too much memory.

use super::*;

fn served() -> Stage {
    let mut stage = Stage::new("[GearmanManager]\ncount = 2\nmax_memory = 10M\n");
    stage.input(scan(&[("a", 1)])).input(found("a", 1)).serves(1).serves(2);
    stage.take_actions();
    stage
}

#[test]
fn a_worker_over_its_limit_is_replaced_before_it_drains() {
    let mut stage = served();
    stage.message(1, WorkerMessage::MemoryLimitExceeded { bytes: 11 << 20 });
    assert_eq!(stage.take_actions(), ["start a"]);
    assert_eq!(stage.count_events(|event| matches!(event, Event::MemoryLimitExceeded { pid: 101, mib: 11, .. })), 1);
    stage.serves(3);
    assert_eq!(stage.take_actions(), ["go 3", "leave 1"]);
    assert_eq!(stage.left_at(Some("max_memory")), 1);
}

#[test]
fn a_worker_over_its_limit_at_start_is_reported_once_and_kept() {
    let mut stage = served();
    stage
        .message(1, WorkerMessage::MemoryLimitExceededAtStart { bytes: (40 << 20) + 1 })
        .message(2, WorkerMessage::MemoryLimitExceededAtStart { bytes: 40 << 20 });
    assert_eq!(stage.take_actions(), Vec::<String>::new());
    assert_eq!(stage.count_events(|event| matches!(event, Event::MemoryLimitTooLow { .. })), 1);
    let exact = Event::MemoryLimitTooLow { functions: vec!["a".into()], mib: 41, max_mib: 10 };
    assert_eq!(stage.count_events(|event| *event == exact), 1, "{:?}", stage.events);
}
