//! What a user can ask of the manager from here: the same requests as those of the commands. Pure.

use serde_json::{Map, Value};

use crate::control::{ControlRequest, EventLine};
use crate::plugins::name::FunctionName;

/// An event, as it comes from the manager.
pub(super) type Event = EventLine<Map<String, Value>>;

/// A request that the user can make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Steering {
    Pause(FunctionName),
    Resume(FunctionName),
    Drain(FunctionName),
    Restart(FunctionName),
    Rollback(FunctionName),
    Retry(FunctionName),
    Scale(FunctionName, u32),
    /// Ends the job of a worker.
    Kill(u32),
}

impl Steering {
    /// The request to the manager.
    pub(super) fn request(&self) -> ControlRequest {
        match self.clone() {
            Self::Pause(function) => ControlRequest::Pause { function, drain: false },
            Self::Drain(function) => ControlRequest::Pause { function, drain: true },
            Self::Resume(function) => ControlRequest::Resume { function },
            Self::Restart(function) => ControlRequest::Restart { function: Some(function) },
            Self::Rollback(function) => ControlRequest::Rollback { function, hash: None, force: false },
            Self::Retry(function) => ControlRequest::Retry { function },
            Self::Scale(function, workers) => ControlRequest::Scale { function, workers },
            Self::Kill(pid) => ControlRequest::Kill { pid: Some(pid), handle: None },
        }
    }

    /// The command that does the same.
    pub(super) fn command(&self) -> String {
        match self {
            Self::Pause(function) => format!("pause {function}"),
            Self::Drain(function) => format!("drain {function}"),
            Self::Resume(function) => format!("resume {function}"),
            Self::Restart(function) => format!("restart {function}"),
            Self::Rollback(function) => format!("rollback {function}"),
            Self::Retry(function) => format!("retry {function}"),
            Self::Scale(function, workers) => format!("scale {function} {workers}"),
            Self::Kill(pid) => format!("kill {pid}"),
        }
    }

    /// What the user has to confirm, or `None` for what takes nothing away.
    pub(super) fn question(&self) -> Option<String> {
        Some(match self {
            Self::Resume(_) | Self::Retry(_) => return None,
            Self::Pause(function) => format!("Pause {function}? Its jobs wait at the job servers until it is resumed."),
            Self::Drain(function) => {
                format!("Drain {function}? It is paused, and this waits until none of its jobs runs.")
            }
            Self::Restart(function) => format!("Restart {function}? Its workers are replaced one after the other."),
            Self::Rollback(function) => format!("Roll {function} back to the version that was served before?"),
            Self::Scale(function, 1) => format!("Scale {function} to 1 worker, until the next reload?"),
            Self::Scale(function, workers) => {
                format!("Scale {function} to {workers} workers, until the next reload?")
            }
            Self::Kill(pid) => {
                format!("End the job of worker {pid}? It is killed if the job goes on after timeout_grace.")
            }
        })
    }
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    /// Its number.
    pub(super) request: u64,
    pub(super) has_failed: bool,
}

/// What an event says about the end of a request.
pub(super) fn ended(event: &Event) -> Option<Ended> {
    let name = event.event.get("event")?.as_str()?;
    let request = event.event.get("request")?.as_u64()?;
    match name {
        "request_finished" | "rollback_finished" | "retry_finished" => Some(Ended { request, has_failed: false }),
        "request_failed" | "rollback_failed" | "retry_failed" => Some(Ended { request, has_failed: true }),
        _ => None,
    }
}

/// Whether an event is about a function.
pub(super) fn is_about_function(event: &Event, function: &str) -> bool {
    let names = |value: &Value| match value {
        Value::String(name) => name == function,
        Value::Array(names) => names.iter().any(|name| name == function),
        _ => false,
    };
    ["function", "functions", "target"].iter().filter_map(|field| event.event.get(*field)).any(names)
}

/// Whether an event says where a worker crashed, and which report has more.
pub(super) fn is_crash(event: &Event) -> bool {
    event.event.get("event").is_some_and(|name| name == "worker_examined")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An event with these fields.
    pub(in super::super) fn event(pid: u32, text: &str, fields: Value) -> Event {
        let Value::Object(event) = fields else { panic!("{fields} is no object") };
        EventLine { time: "2026-11-27 12:00:00.123456".into(), level: "INFO".into(), pid, text: text.into(), event }
    }

    #[test]
    fn each_request_is_that_of_the_command() {
        let sum = || FunctionName::from("sum");
        let cases = [
            (Steering::Pause(sum()), "pause sum", r#"{"drain":false,"function":"sum","request":"pause","v":1}"#),
            (Steering::Drain(sum()), "drain sum", r#"{"drain":true,"function":"sum","request":"pause","v":1}"#),
            (Steering::Resume(sum()), "resume sum", r#"{"function":"sum","request":"resume","v":1}"#),
            (Steering::Restart(sum()), "restart sum", r#"{"function":"sum","request":"restart","v":1}"#),
            (
                Steering::Rollback(sum()),
                "rollback sum",
                r#"{"force":false,"function":"sum","hash":null,"request":"rollback","v":1}"#,
            ),
            (Steering::Retry(sum()), "retry sum", r#"{"function":"sum","request":"retry","v":1}"#),
            (Steering::Scale(sum(), 4), "scale sum 4", r#"{"function":"sum","request":"scale","v":1,"workers":4}"#),
            (Steering::Kill(4711), "kill 4711", r#"{"handle":null,"pid":4711,"request":"kill","v":1}"#),
        ];
        for (steering, command, line) in cases {
            assert_eq!(steering.command(), command);
            assert_eq!(steering.request().to_line().trim_end(), line);
            let asks = !matches!(steering, Steering::Resume(_) | Steering::Retry(_));
            assert_eq!(steering.question().is_some(), asks, "{command}");
        }
    }

    #[test]
    fn ends_of_requests() {
        let end = |has_failed| Some(Ended { request: 7, has_failed });
        for (fields, expected) in [
            (serde_json::json!({"event": "request_finished", "request": 7}), end(false)),
            (serde_json::json!({"event": "rollback_failed", "request": 7}), end(true)),
            (serde_json::json!({"event": "retry_finished", "request": 7}), end(false)),
            (serde_json::json!({"event": "request_received", "request": 7}), None),
            (serde_json::json!({"event": "request_finished"}), None),
            (serde_json::json!({"event": 5, "request": "7"}), None),
            (serde_json::json!({}), None),
        ] {
            assert_eq!(ended(&event(1, "", fields.clone())), expected, "{fields}");
        }
    }

    #[test]
    fn crashes_are_what_was_examined() {
        for (name, expected) in [("worker_examined", true), ("worker_died", false)] {
            assert_eq!(is_crash(&event(1, "", serde_json::json!({"event": name}))), expected, "{name}");
        }
    }

    #[test]
    fn events_of_a_function() {
        for (fields, expected) in [
            (serde_json::json!({"function": "sum"}), true),
            (serde_json::json!({"functions": ["avg", "sum"]}), true),
            (serde_json::json!({"target": "sum"}), true),
            (serde_json::json!({"functions": ["avg"], "reason": "sum"}), false),
            (serde_json::json!({"function": 5}), false),
        ] {
            assert_eq!(is_about_function(&event(1, "", fields.clone()), "sum"), expected, "{fields}");
        }
    }
}
