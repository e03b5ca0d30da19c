//! `gm-native events`: prints what the manager decided, the latest or as it happens.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::configuration;
use super::output::{OutputFormat, Printed, fail, fail_of, print};
use crate::cli::EventsArgs;
use crate::control::{ClientError, ControlClient, DEADLINE, EventLine};
use crate::logging::{date, escape};
use crate::system::errors::reason;

/// Prints events of the manager at this control socket, oldest first: the kept ones, or with `follow` those that happen
/// until the manager exits or nothing reads them any more. With `since`, both: all since then.
pub fn run(path: &Path, args: &EventsArgs, format: OutputFormat) -> ExitCode {
    let since = match args.since.as_ref().map(configuration::timeout).transpose() {
        Ok(since) => since.flatten().map(|ago| SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)),
        Err(text) => return fail(&text.replace("--timeout", "--since"), 2),
    };
    match show(path, args.follow, since.map(date).as_deref(), format) {
        Ok(()) => ExitCode::SUCCESS,
        Err(ShowError::Manager(error)) => fail_of(&error),
        Err(ShowError::Output(error)) => fail(&format!("cannot write to standard output: {}", reason(&error)), 1),
    }
}

/// Why no more events are printed.
enum ShowError {
    Manager(ClientError),
    Output(io::Error),
}

impl From<ClientError> for ShowError {
    fn from(error: ClientError) -> Self {
        Self::Manager(error)
    }
}

type Event = EventLine<Map<String, Value>>;

fn show(path: &Path, follow: bool, since: Option<&str>, format: OutputFormat) -> Result<(), ShowError> {
    let connect = || ControlClient::connect(path, DEADLINE);
    // Before the kept ones are read, so that none is missed; what happens in between is in both.
    let coming = follow.then(|| connect()?.follow_events()).transpose()?;
    let mut kept: Vec<Event> = Vec::new();
    if since.is_some() || !follow {
        kept = connect()?.latest_events()?.collect::<Result<_, _>>()?;
        kept.retain(|event| is_since(event, since));
    }
    for event in &kept {
        if print_event(event, format)? == Printed::NobodyReads {
            return Ok(());
        }
    }
    for event in coming.into_iter().flatten() {
        let event = event?;
        if !kept.contains(&event) && print_event(&event, format)? == Printed::NobodyReads {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether it happened since that time. Both are in the same form, with the largest unit first.
fn is_since(event: &Event, since: Option<&str>) -> bool {
    since.is_none_or(|since| event.time.as_str() >= since)
}

fn print_event(event: &Event, format: OutputFormat) -> Result<Printed, ShowError> {
    print(&render(event, format)).map_err(ShowError::Output)
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
    fn events_since_a_time_are_those_of_that_time_and_later() {
        for (since, expected) in [
            (None, true),
            (Some("2026-11-24 12:00:00.123456"), true),
            (Some("2026-11-24 11:59:59.999999"), true),
            (Some("2026-11-24 12:00:00.123457"), false),
            (Some("2027-01-01 00:00:00.000000"), false),
        ] {
            assert_eq!(is_since(&event(), since), expected, "{since:?}");
        }
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
