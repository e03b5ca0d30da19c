//! Requests of commands: when they are complete, and when they fail.

use super::*;
use crate::supervisor::event::EndedRequest;

impl Stage {
    fn order(&mut self, request: u64, order: Order) -> &mut Self {
        self.input(Input::Request { request, order })
    }

    /// The requests that have ended, with their results.
    fn ended(&self) -> Vec<(u64, bool, &str)> {
        fn ended(event: &Event) -> Option<(u64, bool, &str)> {
            match event {
                Event::RequestFinished(EndedRequest { request, result, .. }) => Some((*request, true, result)),
                Event::RequestFailed(EndedRequest { request, result, .. }) => Some((*request, false, result)),
                _ => None,
            }
        }
        self.events.iter().filter_map(ended).collect()
    }
}

fn reading(worker: u64, number: u64) -> ScoreboardReading {
    let job = JobInHand {
        function: 0,
        number,
        connection: 1,
        handle: b"H:a:1".to_vec(),
        unique: "u".into(),
        ran: Duration::from_secs(3),
        half_sent: false,
    };
    ScoreboardReading { worker: WorkerId(worker), job: Some(job), server: Some(0), overwritten: false }
}

#[test]
fn a_restart_is_complete_when_others_serve_in_place_of_all() {
    let mut stage = two_functions();
    stage.order(1, Order::Restart(Some("a".into())));
    assert_eq!(stage.take_actions(), ["start a"]);
    stage.serves(5);
    assert_eq!(stage.take_actions(), ["go 5", "leave 1"]);
    assert_eq!(stage.ended(), []);
    // Another one, for everything, begins meanwhile; what the first has started is old to it.
    stage.order(2, Order::Restart(None)).serves(6).leaves(1);
    let mut next = 7;
    while stage.ended().len() < 2 && next < 20 {
        stage.serves(next);
        next += 1;
    }
    assert_eq!(
        stage.ended().iter().map(|(request, done, _)| (*request, *done)).collect::<Vec<_>>(),
        [(1, true), (2, true)]
    );
    assert!(stage.ended()[0].2.starts_with("2 workers replaced, 2 workers serve now"), "{:?}", stage.ended());
    assert!(stage.ended()[1].2.starts_with("4 workers replaced, 4 workers serve now"), "{:?}", stage.ended());
}

#[test]
fn a_restart_fails_when_no_worker_can_be_started_and_the_old_ones_stay() {
    let mut stage = two_functions();
    stage.order(1, Order::Restart(Some("a".into()))).input(Input::Spawned { worker: WorkerId(5), pid: 105 });
    stage.message(5, WorkerMessage::Making { function: 0 });
    stage.message(5, WorkerMessage::CannotServe { function: 0, reason: "no database".into() });
    assert_eq!(stage.ended(), [(1, false, "a: no database")]);
    assert_eq!(stage.core.serving("a"), 2);
}

#[test]
fn a_stop_ends_every_request() {
    let mut stage = two_functions();
    stage.order(1, Order::Restart(None)).input(Input::Stop { by: "stop" });
    assert_eq!(stage.ended(), [(1, false, "the manager is stopping")]);
    assert!(stage.core.may_restart(None).is_err());
}

fn end_job() -> Order {
    Order::EndJob { pid: 101, seen: reading(1, 1) }
}

/// Its own line, and the timeout's end.
#[test]
fn a_job_ends_on_request_as_at_its_timeout() {
    let mut stage = two_functions();
    let grace = stage.core.config.timeout_grace("a");
    assert_eq!(stage.core.may_end_job(&reading(1, 1)), Ok(()));
    stage.order(1, end_job()).order(2, end_job());
    assert_eq!(stage.take_actions(), ["leave 1", "terminate 1", "start a"], "once");
    assert_eq!(stage.count_events(|event| matches!(event, Event::JobEnding(_))), 1);
    stage.later(grace).input(Input::ScoreboardRead(reading(1, 1)));
    assert!(stage.take_actions().contains(&"kill 1".to_owned()));
    stage.dies_in_job(1, 0);
    let answers = stage.take_actions();
    assert!(
        answers.iter().any(|action| action.starts_with("answer ended by an operator: it had run for")),
        "{answers:?}"
    );
    let ended = "worker 101 has ended, and its job has failed";
    assert_eq!(stage.ended(), [(1, true, ended), (2, true, ended)]);
    assert_eq!(stage.core.job_totals("a", 0, 0).timed_out, 1);
}

#[test]
fn only_a_worker_with_a_job_can_end_it() {
    let mut stage = two_functions();
    let idle = ScoreboardReading { job: None, ..reading(1, 1) };
    assert!(stage.core.may_end_job(&idle).unwrap_err().starts_with("worker 101 runs no job"));
    let overwritten = ScoreboardReading { overwritten: true, ..idle };
    assert_eq!(stage.core.may_end_job(&overwritten), Ok(()));
    stage.order(1, Order::EndJob { pid: 101, seen: overwritten });
    assert!(stage.take_actions().contains(&"terminate 1".to_owned()));
    stage.leaves(1);
    assert!(stage.ended()[0].2.contains("by itself"), "{:?}", stage.ended());
    assert!(stage.core.may_end_job(&reading(1, 1)).is_err());
}
