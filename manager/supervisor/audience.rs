//! Who a manager works for: operators of a service, or the author of a function, who runs it with `gm-native dev`.

use std::collections::BTreeMap;

use super::event::Event;
use crate::logging::Level;
use crate::plugins::name::FunctionName;

/// Whoever reads the log and stops the manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// They know what a canary is, and want to see each step.
    Operators,
    /// It was started by `dev`, which sends SIGHUP when the configuration file was saved.
    Author,
}

impl Audience {
    /// How many stop signals kill the remaining workers.
    pub(crate) fn signals_that_kill(self) -> u32 {
        match self {
            // As in GearmanManager: anyone who presses Ctrl-C five times means it.
            Self::Operators => 5,
            // No one who edits a function wants to press Ctrl-C five times.
            Self::Author => 2,
        }
    }

    /// The log for this audience.
    pub(crate) fn log(self) -> AudienceLog {
        match self {
            Self::Operators => AudienceLog::Operators,
            Self::Author => AudienceLog::Author(AuthorLog::default()),
        }
    }
}

/// Which line of the log an event makes. `gm-native events` is the same for everyone.
#[derive(Debug)]
pub(crate) enum AudienceLog {
    Operators,
    Author(AuthorLog),
}

impl AudienceLog {
    /// The line of an event that happens at `time`.
    pub(crate) fn line(&mut self, event: &Event, time: &str) -> (Level, String) {
        match self {
            Self::Operators => (event.level(), event.line()),
            Self::Author(log) => log.line(event, time),
        }
    }
}

/// For an author, the steps of a deploy are one line: which code a function is served with.
#[derive(Debug, Default)]
pub(crate) struct AuthorLog {
    /// When the code was found that a function is not served with yet.
    found: BTreeMap<FunctionName, String>,
}

impl AuthorLog {
    fn line(&mut self, event: &Event, time: &str) -> (Level, String) {
        match event {
            Event::FunctionFound { function, replaces, .. } => {
                self.found.insert(function.clone(), time.to_owned());
                let level = if replaces.is_some() { Level::Debug } else { event.level() };
                (level, event.line())
            }
            Event::RolloutFinished { function, .. } => match self.found.remove(function) {
                Some(time) => (Level::Info, format!("{function}: serves the code of {time}")),
                None => (event.level(), event.line()),
            },
            Event::RolloutStopped { function, .. } | Event::LibraryRefused { function, .. } => {
                self.found.remove(function);
                (event.level(), event.line())
            }
            Event::Reloaded { .. } | Event::ReloadFailed { .. } => {
                let line = event.line();
                (event.level(), line.strip_prefix("SIGHUP: ").unwrap_or(&line).to_owned())
            }
            _ if is_step(event) => (Level::Debug, event.line()),
            _ => (event.level(), event.line()),
        }
    }
}

/// What happens on the way to the result that the author waits for.
fn is_step(event: &Event) -> bool {
    match event {
        Event::RolloutStarted { .. } | Event::RolloutPromoted { .. } => true,
        Event::WorkerStarted { .. } | Event::WorkerServing { .. } => true,
        Event::WorkerDraining { limit, .. } => limit.is_none(),
        Event::WorkerExited { note, .. } => note.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_reads_one_line_about_new_code() {
        let (f, old, new) = (|| FunctionName::from("f"), "3f2a91c04d11".into(), "0123456789ab".into());
        let found = |replaces| Event::FunctionFound {
            function: f(),
            version: new,
            crate_version: String::new(),
            path: "/w/f.so".into(),
            replaces,
        };
        let finished = Event::RolloutFinished { function: f(), version: new, seconds: 0.1 };
        let story = [
            found(Some(old)),
            Event::RolloutStarted { function: f(), from: old, to: new, has_canary: false },
            Event::WorkerStarted { pid: 1, functions: vec![f()], generation: 2 },
            Event::RolloutPromoted { function: f(), version: new, jobs: 0, seconds: 0.0, has_canary: false },
            finished.clone(),
        ];
        let mut log = Audience::Author.log();
        let lines: Vec<_> = story.iter().map(|event| log.line(event, "12:34:59")).collect();
        let shown: Vec<_> = lines.iter().filter(|(level, _)| *level < Level::Debug).map(|(_, text)| text).collect();
        assert_eq!(shown, ["f: serves the code of 12:34:59"]);
        assert_eq!(log.line(&finished, "12:35:00").1, finished.line(), "a rollback");
        assert!(log.line(&found(None), "12:35:01").0 < Level::Debug, "the first version is announced");
        assert_eq!(Audience::Operators.log().line(&finished, "12:35:02"), (finished.level(), finished.line()));
    }

    #[test]
    fn an_author_has_sent_no_signal() {
        let read = Event::Reloaded { by: "SIGHUP", changes: vec![] };
        let (_, line) = Audience::Author.log().line(&read, "");
        assert!(line.starts_with("the configuration was read again"), "{line}");
    }
}
