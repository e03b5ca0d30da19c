//! `gm-native events`: prints what the manager decided, the latest or as it happens.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value};

use super::output::{OutputFormat, Printed, fail, fail_of, print};
use crate::control::{ClientError, ControlClient, DEADLINE, EventLine, Events};
use crate::logging::escape;
use crate::system::errors::reason;

/// Prints the latest events kept by the manager at this control socket, oldest first.
pub fn latest(path: &Path, format: OutputFormat) -> ExitCode {
    show(ControlClient::connect(path, DEADLINE).and_then(ControlClient::latest_events), format)
}

/// Prints events as they happen, until the manager exits or nothing reads them any more.
pub fn follow(path: &Path, format: OutputFormat) -> ExitCode {
    show(ControlClient::connect(path, DEADLINE).and_then(ControlClient::follow_events), format)
}

fn show(events: Result<Events, ClientError>, format: OutputFormat) -> ExitCode {
    let events = match events {
        Ok(events) => events,
        Err(error) => return fail_of(&error),
    };
    for event in events {
        let line = match event.map(|event| render(&event, format)) {
            Ok(line) => line,
            Err(error) => return fail_of(&error),
        };
        match print(&line) {
            Ok(Printed::Read) => {}
            Ok(Printed::NobodyReads) => break,
            Err(error) => return fail(&format!("cannot write to standard output: {}", reason(&error)), 1),
        }
    }
    ExitCode::SUCCESS
}

/// An event as a line: as in the log, or as the JSON object received.
fn render(event: &EventLine<Map<String, Value>>, format: OutputFormat) -> String {
    match format {
        OutputFormat::Text => {
            let EventLine { time, level, pid, text, .. } = event;
            format!("[{}] {pid:>5} {:<6} {}\n", escape(time), escape(level), escape(text))
        }
        OutputFormat::Json => format!("{}\n", serde_json::to_string(event).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> EventLine<Map<String, Value>> {
        let mut fields = Map::new();
        fields.insert("event".into(), "worker_ready".into());
        fields.insert("functions".into(), serde_json::json!(["sum"]));
        EventLine {
            time: "2026-11-24 12:00:00.123456".into(),
            level: "PROC".into(),
            pid: 1234,
            text: "worker ready".into(),
            event: fields,
        }
    }

    #[test]
    fn text_is_the_line_of_the_log() {
        assert_eq!(render(&event(), OutputFormat::Text), "[2026-11-24 12:00:00.123456]  1234 PROC   worker ready\n");
        let forged = EventLine { text: "a\nb\x1b[2J".into(), ..event() };
        assert!(render(&forged, OutputFormat::Text).ends_with("PROC   a\\nb\\x1b[2J\n"));
    }

    #[test]
    fn json_is_one_object_a_line() {
        let line = render(&event(), OutputFormat::Json);
        assert_eq!(
            line,
            "{\"time\":\"2026-11-24 12:00:00.123456\",\"level\":\"PROC\",\"pid\":1234,\"text\":\"worker ready\",\
             \"event\":\"worker_ready\",\"functions\":[\"sum\"]}\n"
        );
    }
}
