//! Screens, as text.

use std::fmt::Write;

use ratatui::Terminal;
use ratatui::backend::{CrosstermBackend, TestBackend};
use ratatui::style::Color;
use serde_json::json;

use super::super::model::Input;
use super::super::request::tests::event;
use super::*;
use crate::control::{PrintedLine, StatusReply, WorkerStatus, sample_status};
use crate::plugins::name::FunctionName;

const PLAIN: Theme = Theme { colours: false, unicode: true };

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A model of this size that has seen ten seconds of a manager, and a rollout.
fn model(width: u16, height: u16) -> Model {
    let mut model = Model::new(width, height);
    let mut status = sample_status();
    for second in 0..=10 {
        status.functions[0].jobs_completed += second;
        model.update(Input::Status(Box::new(status.clone())), s(second));
    }
    model.update(
        Input::Events(vec![
            event(
                4711,
                "reverse_string: version 3f2a91c04d11 is tried",
                json!({"event": "rollout_started", "function": "reverse_string"}),
            ),
            event(4712, "worker ready", json!({"event": "worker_serving", "functions": ["reverse_string"]})),
        ]),
        s(10),
    );
    let printed =
        |seconds_ago, stream: &str, text: &str| PrintedLine { seconds_ago, stream: stream.into(), text: text.into() };
    model.update(
        Input::Output(4712, vec![printed(61.5, "stderr", "a warning"), printed(2.5, "log", "job begun")]),
        s(10),
    );
    model
}

/// What is drawn, without spaces at the ends of lines.
fn screen(model: &Model, width: u16, height: u16, theme: Theme) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, theme, s(12))).unwrap();
    let buffer = terminal.backend().buffer();
    let mut out = String::new();
    for y in 0..height {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        writeln!(out, "{}", line.trim_end()).unwrap();
    }
    out
}

/// Compares a screen with the file that holds it. `GM_WRITE_DOCS=1` writes the file.
#[track_caller]
fn assert_screen(name: &str, keys: &str, width: u16, height: u16) {
    let mut model = model(width, height);
    model.press(keys);
    let screen = screen(&model, width, height, PLAIN);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manager/commands/top/view/screens").join(name);
    if std::env::var_os("GM_WRITE_DOCS").is_some() {
        std::fs::write(&path, &screen).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert!(screen == expected, "{} differs; GM_WRITE_DOCS=1 accepts this:\n{screen}", path.display());
}

#[test]
fn screens_of_80_by_24() {
    for (name, keys) in [
        ("functions-80.txt", ""),
        ("workers-80.txt", "2"),
        ("events-80.txt", "3"),
        ("problems-80.txt", "4"),
        ("function-80.txt", "\n"),
        ("worker-80.txt", "\n\n"),
        ("confirm-80.txt", "vp"),
        ("filter-80.txt", "/sum"),
        ("scale-80.txt", "n12"),
        ("help-80.txt", "?"),
    ] {
        assert_screen(name, keys, 80, 24);
    }
}

#[test]
fn screens_of_120_by_40() {
    for (name, keys) in [("functions-120.txt", ""), ("workers-120.txt", "2"), ("function-120.txt", "\n")] {
        assert_screen(name, keys, 120, 40);
    }
}

#[test]
fn no_size_is_too_small_to_draw() {
    for keys in ["", "2", "3", "4", "\n", "\n\n", "?", "p", "/x"] {
        for (width, height) in [(0, 0), (1, 1), (39, 24), (40, 10), (41, 11), (80, 5), (500, 3), (300, 200)] {
            let mut model = model(width, height);
            model.press(keys);
            let text = screen(&model, width, height, PLAIN);
            let fits = width >= SMALLEST.0 && height >= SMALLEST.1;
            // The help covers it.
            assert!(keys == "?" || text.contains("4711") == fits, "{keys:?} {width}x{height}\n{text}");
        }
    }
}

#[test]
fn a_manager_that_does_not_answer() {
    let mut model = model(80, 24);
    model.update(Input::Unreachable("no manager answers at /a\x1b[2J".into()), s(10));
    let text = screen(&model, 80, 24, PLAIN);
    assert!(text.contains("no answer for 2s, trying again: no manager answers at /a\\x1b[2J"), "{text}");
    let text = screen(&Model::new(80, 24), 80, 24, PLAIN);
    assert!(text.contains("asking the manager"), "{text}");
}

/// All bytes that a terminal gets of a model, one screen after the other.
fn bytes(screens: &[&Model], theme: Theme) -> Vec<Vec<u8>> {
    let viewport = ratatui::Viewport::Fixed(Rect::new(0, 0, 80, 24));
    let written = SharedBytes::default();
    let backend = CrosstermBackend::new(written.clone());
    let mut terminal = Terminal::with_options(backend, ratatui::TerminalOptions { viewport }).unwrap();
    let mut draw_one = |model: &&Model| {
        terminal.draw(|frame| draw(frame, model, theme, s(12))).unwrap();
        written.0.take()
    };
    screens.iter().map(&mut draw_one).collect()
}

#[test]
fn hostile_text_stays_text() {
    const HOSTILE: &str = "\x1b]0;owned\x07\x1b[2J\u{9b}31m\r\n\u{202e}x";
    let mut status = sample_status();
    status.functions[0].name = FunctionName::from("a\u{202e}\u{feff}b");
    status.functions[0].note = Some(HOSTILE.into());
    status.functions[0].crate_version = HOSTILE.into();
    status.functions[0].last_failure = status.functions[1].last_failure.clone();
    status.functions[0].last_failure.as_mut().unwrap().reason = HOSTILE.into();
    status.functions[0].paused_by = Some(HOSTILE.into());
    status.instance = HOSTILE.into();
    status.warnings = vec![HOSTILE.into()];
    status.refused[0].path = HOSTILE.into();
    status.job_servers[0].address = HOSTILE.into();
    let worker = WorkerStatus {
        handle: Some(HOSTILE.into()),
        functions: vec!["a\u{202e}b".into()],
        unique: Some(HOSTILE.into()),
        ..status.workers[0].clone()
    };
    status.workers = vec![worker];
    for keys in ["", "2", "3", "4", "\n", "\n\n", "p", "n", "t", "2K", "/\u{202e}"] {
        let mut model = Model::new(80, 24);
        model.update(Input::Status(Box::new(status.clone())), s(1));
        let mut hostile = event(4712, HOSTILE, json!({"function": "a\u{202e}\u{feff}b"}));
        hostile.time = HOSTILE.into();
        model.update(Input::Events(vec![hostile]), s(1));
        let line = PrintedLine { seconds_ago: 1.0, stream: HOSTILE.into(), text: HOSTILE.into() };
        model.update(Input::Output(4712, vec![line]), s(1));
        model.press(keys);
        let text = screen(&model, 80, 24, PLAIN);
        let shown = text.chars().find(|character| *character != '\n' && *character != crate_escape(*character));
        assert_eq!(shown, None, "{keys:?}\n{text}");
    }
}

/// A character as it may be shown: one that escaping changes is none.
fn crate_escape(character: char) -> char {
    let text = character.to_string();
    if escape(&text) == text { character } else { '\0' }
}

#[test]
fn without_colours_there_are_none() {
    for keys in ["", "2", "3", "4", "\n", "p", "?"] {
        let mut model = model(80, 24);
        model.press(keys);
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw(frame, &model, PLAIN, s(12))).unwrap();
        let cells = &terminal.backend().buffer().content;
        assert!(cells.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset), "{keys:?}");
    }
    let ascii = screen(&model(80, 24), 80, 24, Theme { colours: false, unicode: false });
    assert!(ascii.is_ascii(), "{ascii}");
}

/// Only what has changed is written: over a line of 9600 baud, a second's screen takes a fraction of it.
#[test]
fn little_is_written_when_little_changes() {
    let status = |jobs| {
        let mut status = sample_status();
        status.functions[0].jobs_completed += jobs;
        status.uptime_seconds += jobs;
        status
    };
    let at = |jobs: u64| -> Model {
        let mut model = Model::new(80, 24);
        for second in 0..=jobs {
            model.update(Input::Status(Box::new(status(second))), s(second));
        }
        model
    };
    let (first, second, third): (Model, Model, Model) = (at(3), at(4), at(4));
    let written: Vec<usize> = bytes(&[&first, &second, &third], PLAIN).iter().map(Vec::len).collect();
    assert!(written[0] < 4000, "a screen: {written:?}");
    assert!(written[1] < 200, "a second later: {written:?}");
    assert!(written[2] < 40, "nothing changed: {written:?}");
}

/// A writer whose bytes can be taken out again.
#[derive(Default, Clone)]
struct SharedBytes(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

impl std::io::Write for SharedBytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_hundred_functions_and_four_thousand_workers() {
    let mut status: StatusReply = sample_status();
    let function = status.functions[0].clone();
    let worker = status.workers[0].clone();
    status.functions = (0..100)
        .map(|n| crate::control::FunctionStatus {
            name: FunctionName::from(format!("f{n:02}").as_str()),
            ..function.clone()
        })
        .collect();
    status.worker_counts.all = 4000;
    status.workers = (0..4000).map(|pid| WorkerStatus { pid, ..worker.clone() }).collect();
    let mut model = Model::new(80, 24);
    model.update(Input::Status(Box::new(status)), s(1));
    assert!(screen(&model, 80, 24, PLAIN).contains("f00"));
    model.press("G");
    assert!(screen(&model, 80, 24, PLAIN).contains("f99"));
    model.press("2G");
    assert!(screen(&model, 80, 24, PLAIN).contains(" 3999 "));
}
