//! Inputs one after the other, and what they lead to.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::json;

use super::super::request::tests::event;
use super::*;
use crate::control::{WorkerCondition, sample_status};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn key(code: KeyCode) -> Input {
    Input::Key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn control(letter: char) -> Input {
    Input::Key(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL))
}

/// A model that has the status of a manager with `reverse_string` and `sum`.
pub(in super::super) fn connected() -> Model {
    let mut model = Model::new(80, 24);
    model.update(Input::Time, s(0));
    model.update(Input::Status(Box::new(sample_status())), s(0));
    model
}

impl Model {
    /// Presses these keys, and returns the effects.
    pub(in super::super) fn press(&mut self, keys: &str) -> Vec<Effect> {
        let press = |character| match character {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\t' => KeyCode::Tab,
            '\x08' => KeyCode::Backspace,
            '^' => KeyCode::Up,
            'v' => KeyCode::Down,
            character => KeyCode::Char(character),
        };
        keys.chars().flat_map(|character| self.update(key(press(character)), s(0))).collect()
    }

    fn text(&self) -> &str {
        self.message.as_ref().map_or("", |message| &message.text)
    }
}

#[test]
fn the_manager_is_asked_once_a_second() {
    let mut model = Model::new(80, 24);
    let ms = Duration::from_millis;
    assert_eq!(model.update(Input::Time, ms(0)), [Effect::Poll { workers: false }]);
    assert_eq!(model.wakes_at(), None, "an answer is awaited");
    assert_eq!(model.update(Input::Time, s(10)), []);
    for (answered, next) in [(ms(10), ms(1000)), (ms(1010), ms(2000)), (ms(2990), ms(3240)), (ms(9000), ms(9250))] {
        model.update(Input::Status(Box::new(sample_status())), answered);
        assert_eq!(model.wakes_at(), Some(next), "{answered:?}");
        assert_eq!(model.update(Input::Time, next - ms(1)), []);
        assert_eq!(model.update(Input::Time, next), [Effect::Poll { workers: false }]);
    }
}

/// The list of workers may be long.
#[test]
fn workers_are_asked_for_where_they_are_shown() {
    for (keys, workers) in [("", false), ("2", true), ("3", false), ("4", false), ("\n", true)] {
        let mut model = connected();
        model.press(keys);
        assert_eq!(model.update(Input::Time, s(1)), [Effect::Poll { workers }], "{keys:?}");
    }
}

#[test]
fn what_a_worker_printed_is_asked_for_where_it_is_shown() {
    let line = || PrintedLine { seconds_ago: 1.0, stream: "log".into(), text: "hello".into() };
    let mut model = connected();
    model.press("2\n");
    assert_eq!(model.update(Input::Time, s(1)), [Effect::Poll { workers: true }, Effect::ReadOutput(4712)]);
    model.update(Input::Output(4712, vec![line()]), s(1));
    assert_eq!((model.output(4712), model.output(4713)), (&[line()][..], &[][..]));
}

#[test]
fn events_are_followed_once_the_manager_answers_and_again_when_they_end() {
    let mut model = Model::new(80, 24);
    model.update(Input::Time, s(0));
    assert_eq!(model.update(Input::Unreachable("no manager".into()), s(0)), []);
    let status = || Input::Status(Box::new(sample_status()));
    assert_eq!(model.update(status(), s(0)), [Effect::Follow]);
    assert_eq!(model.update(status(), s(0)), []);
    assert_eq!(model.update(Input::EventsEnded, s(0)), []);
    assert_eq!(model.update(status(), s(0)), [Effect::Follow]);
}

#[test]
fn a_manager_that_goes_away_is_waited_for() {
    let mut model = connected();
    for (at, reason) in [(5, "gone"), (6, "still gone")] {
        model.update(Input::Time, s(at));
        model.update(Input::Unreachable(reason.into()), s(at));
        assert_eq!(model.connection, Connection::Lost { since: s(5), reason: reason.into() });
    }
    assert!(model.status.is_some(), "what was known last is still shown");
    model.update(Input::Status(Box::new(StatusReply { pid: 5000, ..sample_status() })), s(7));
    assert_eq!((&model.connection, model.text()), (&Connection::Connected, "another manager answers: process 5000"));
}

#[test]
fn rates_come_from_the_counters() {
    let mut model = connected();
    assert_eq!(model.total_rate(), 0.0);
    let mut status = sample_status();
    status.functions[0].jobs_completed += 6;
    status.functions[0].jobs_failed += 2;
    model.update(Input::Status(Box::new(status.clone())), s(2));
    let rows = model.function_rows();
    assert_eq!((rows[0].rate, rows[1].rate), (Some(4.0), Some(0.0)));
    assert_eq!(model.total_rate(), 4.0);
    status.functions.remove(0);
    model.update(Input::Status(Box::new(status)), s(3));
    assert_eq!(model.total_rate(), 0.0, "a function that is gone has no rate");
}

/// What takes something away is asked before; what is asked names what is done.
#[test]
fn requests() {
    let (reverse, sum) = (|| FunctionName::from("reverse_string"), || FunctionName::from("sum"));
    let cases: [(&str, Vec<Effect>, &str); 18] = [
        ("p", vec![], ""),
        ("py", vec![Effect::Ask(Steering::Pause(reverse()))], "pause reverse_string ..."),
        ("vpy", vec![Effect::Ask(Steering::Pause(sum()))], "pause sum ..."),
        ("pn", vec![], "pause reverse_string: not done"),
        ("p\x1b", vec![], "pause reverse_string: not done"),
        ("p\n", vec![], "pause reverse_string: not done"),
        ("pvy", vec![], ""),
        ("r", vec![Effect::Ask(Steering::Resume(reverse()))], "resume reverse_string ..."),
        ("t", vec![Effect::Ask(Steering::Retry(reverse()))], "retry reverse_string ..."),
        ("dy", vec![Effect::Ask(Steering::Drain(reverse()))], "drain reverse_string ..."),
        ("Ry", vec![Effect::Ask(Steering::Restart(reverse()))], "restart reverse_string ..."),
        ("by", vec![Effect::Ask(Steering::Rollback(reverse()))], "rollback reverse_string ..."),
        ("n12\ny", vec![Effect::Ask(Steering::Scale(reverse(), 12))], "scale reverse_string 12 ..."),
        ("n1x\x08\x084\ny", vec![Effect::Ask(Steering::Scale(reverse(), 4))], "scale reverse_string 4 ..."),
        ("n\n", vec![], "scale reverse_string: not done"),
        ("n3\x1b", vec![], "scale reverse_string: not done"),
        ("K", vec![], "K ends a job: select a worker that runs one"),
        ("2Ky", vec![Effect::Ask(Steering::Kill(4712))], "kill 4712 ..."),
    ];
    for (keys, effects, text) in cases {
        let mut model = connected();
        assert_eq!(model.press(keys), effects, "{keys:?}");
        assert_eq!(model.text(), text, "{keys:?}");
    }
    for (keys, text) in [
        ("2vK", "K ends a job: select a worker that runs one"),
        ("2p", "p is for a function: select one"),
        ("3n", "n scales a function: select one"),
        ("4K", "K ends a job: select a worker that runs one"),
    ] {
        let mut model = connected();
        assert_eq!((model.press(keys), model.text(), &model.dialog), (vec![], text, &None), "{keys:?}");
    }
}

/// Rows may change places between the look and the key.
#[test]
fn a_request_is_for_what_was_selected() {
    let mut model = connected();
    model.press("vp");
    let mut status = sample_status();
    status.functions[1].name = "another".into();
    model.update(Input::Status(Box::new(status)), s(1));
    assert_eq!(model.press("y"), [Effect::Ask(Steering::Pause("sum".into()))]);
    let mut model = connected();
    model.press("ss");
    let mut status = sample_status();
    status.functions[1].jobs_running = 2;
    model.update(Input::Status(Box::new(status)), s(1));
    assert_eq!(model.function_keys()[0], FunctionName::from("sum"));
    assert_eq!(model.press("r"), [Effect::Ask(Steering::Resume("reverse_string".into()))]);
}

#[test]
fn the_end_of_a_request_is_shown_whenever_it_comes() {
    let finished = |request| event(1, "pause sum: done", json!({"event": "request_finished", "request": request}));
    let failed = || event(1, "pause sum failed: no", json!({"event": "request_failed", "request": 7}));
    let answered = |answer| Input::Answered(Steering::Pause("sum".into()), answer);
    let cases: [(Vec<Input>, &str, bool); 6] = [
        (vec![answered(Ok(7))], "pause sum: begun", false),
        (vec![answered(Ok(7)), Input::Events(vec![finished(6)])], "pause sum: begun", false),
        (vec![answered(Ok(7)), Input::Events(vec![finished(7)])], "pause sum: done", false),
        (vec![Input::Events(vec![finished(7)]), answered(Ok(7))], "pause sum: done", false),
        (vec![answered(Ok(7)), Input::Events(vec![failed()])], "pause sum failed: no", true),
        (vec![answered(Err("it is paused".into()))], "pause sum: it is paused", true),
    ];
    for (inputs, text, is_error) in cases {
        let mut model = connected();
        inputs.into_iter().for_each(|input| assert_eq!(model.update(input, s(0)), []));
        assert_eq!(model.message, Some(Message { text: text.into(), is_error }));
    }
    let mut model = connected();
    model.update(Input::Events(vec![finished(7)]), s(0));
    assert_eq!(model.message, None, "another user's request");
}

#[test]
fn screens() {
    for (keys, screen) in [
        ("", Screen::Functions),
        ("2", Screen::Workers),
        ("\t\t", Screen::Events),
        ("\t\t\t\t", Screen::Functions),
        ("\n", Screen::Function("reverse_string".into())),
        ("v\n", Screen::Function("sum".into())),
        ("\n\n", Screen::Worker(4712)),
        ("\n\n\x1b", Screen::Function("reverse_string".into())),
        ("\n\n\x1b\x1b\x1b", Screen::Functions),
        ("2v\n", Screen::Worker(4713)),
        ("2v\n1\x1b", Screen::Functions),
        ("3\n", Screen::Events),
        ("?q", Screen::Functions),
    ] {
        let mut model = connected();
        assert_eq!(model.press(keys), [], "{keys:?}");
        assert_eq!(model.screen, screen, "{keys:?}");
    }
}

#[test]
fn filters() {
    let names = |model: &Model| model.function_keys().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    for (keys, shown, filter) in [
        ("", "reverse_string sum", ""),
        ("/su", "sum", "su"),
        ("/sux", "", "sux"),
        ("/sux\x08", "sum", "su"),
        ("/su\n", "sum", "su"),
        ("/su\n\x1b", "reverse_string sum", ""),
        ("/su\x1b", "reverse_string sum", ""),
        ("/su\n/m\x1b", "sum", "su"),
        ("/qKpy", "", "qKpy"),
    ] {
        let mut model = connected();
        assert_eq!(model.press(keys), [], "{keys:?}");
        assert_eq!((names(&model).as_str(), model.filter()), (shown, filter), "{keys:?}");
    }
    let mut model = connected();
    model.press("/zzz\n");
    assert_eq!((model.press("p"), model.dialog.is_some()), (vec![], false), "nothing is selected");
    let mut model = connected();
    model.press("2/idle\n");
    assert_eq!(model.worker_keys(), [4713]);
}

#[test]
fn control_keys_work_whatever_is_asked() {
    for keys in ["", "?", "/", "p", "n"] {
        for (letter, effect) in [('c', Effect::Quit), ('z', Effect::Suspend), ('l', Effect::Redraw)] {
            let mut model = connected();
            model.press(keys);
            assert_eq!(model.update(control(letter), s(0)), [effect], "{keys:?} {letter}");
        }
    }
    assert_eq!(connected().press("q"), [Effect::Quit]);
}

#[test]
fn events_are_kept_once_and_the_screen_stays_where_it_is() {
    let numbered = |number: usize| event(1, &format!("event {number}"), json!({"event": "server_up", "n": number}));
    let mut model = connected();
    model.update(Input::Events((0..1200).map(numbered).collect()), s(0));
    model.update(Input::Events(vec![numbered(1199), numbered(1200)]), s(0));
    assert_eq!(model.events.len(), EVENTS);
    assert_eq!(model.events.back(), Some(&numbered(1200)));
    model.press("3^^");
    assert_eq!(model.event_list.below, 2);
    model.update(Input::Events(vec![numbered(1201)]), s(0));
    assert_eq!(model.event_list.below, 3, "what is read does not move");
    model.press("vvvv");
    assert_eq!(model.event_list.below, 0);
    model.press("/event 7\n^");
    assert!(model.shown_events().all(|event| event.text.starts_with("event 7")));
}

#[test]
fn workers_of_a_function_are_listed_with_it() {
    let mut status = sample_status();
    status.workers[1].functions = vec!["sum".into()];
    status.workers[1].state = WorkerCondition::Draining;
    let mut model = connected();
    model.update(Input::Status(Box::new(status)), s(1));
    model.press("v\n");
    assert_eq!(model.worker_keys(), [4713]);
    model.press("2");
    assert_eq!(model.worker_keys(), [4712, 4713]);
}
