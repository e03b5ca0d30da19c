//! `gm-native managers`: the managers that this user may ask, and the one that a command means if it names none.
//!
//! Exit codes: 0 they are listed, even if there is none, 1 the list cannot be printed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use super::configuration::default_state_dirs;
use super::output::{OutputFormat, finish};
use super::status::age;
use super::table::Table;
use crate::config::{self, ManagerCommand};
use crate::control::{ClientError, ControlClient, StatusReply, listening_sockets};
use crate::logging::escape;

/// How long a manager may take to answer. One that is suspended holds up no list.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A manager that this user may ask.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct RunningManager {
    /// Its control socket.
    pub control: PathBuf,
    /// What it says; `None` if it did not answer in time.
    #[serde(flatten)]
    answer: Option<ManagerSummary>,
}

/// What a manager says about itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct ManagerSummary {
    instance: String,
    pid: u32,
    /// The command that addresses it, to which a command is added.
    command: String,
    uptime_seconds: u64,
    functions: usize,
    workers: usize,
}

impl ManagerSummary {
    fn of(status: StatusReply) -> Self {
        let StatusReply { instance, pid, command, uptime_seconds, functions, worker_counts, .. } = status;
        Self { instance, pid, command, uptime_seconds, functions: functions.len(), workers: worker_counts.all }
    }
}

impl RunningManager {
    /// The manager at a socket, if there is one that this user may ask.
    fn at(control: PathBuf) -> Option<Self> {
        let asked = ControlClient::connect(&control, ANSWER_TIMEOUT).and_then(|mut client| client.summary());
        match asked {
            Ok(status) => Some(Self { control, answer: Some(ManagerSummary::of(status)) }),
            Err(ClientError::Deadline { .. }) => Some(Self { control, answer: None }),
            Err(_) => None,
        }
    }

    /// The hint that this manager was started by `command` and options that lead to another place.
    pub(super) fn elsewhere(&self, command: &ManagerCommand) -> Option<String> {
        let theirs = &self.answer.as_ref()?.command;
        let is_alike = theirs.strip_prefix(&command.to_string()).is_some_and(|rest| rest.starts_with(' '));
        is_alike.then(|| format!("a manager with this configuration was started as `{}`", escape(theirs)))
    }

    /// Its process, if it answers.
    pub(super) fn pid(&self) -> Option<u32> {
        self.answer.as_ref().map(|answer| answer.pid)
    }
}

/// The managers that this user may ask, by their sockets. All are asked at the same time.
pub(super) fn running() -> Vec<RunningManager> {
    let usual = default_state_dirs().into_iter().map(|dir| config::default_control(&dir)).filter(|path| path.exists());
    let sockets: BTreeSet<PathBuf> = usual.chain(listening_sockets()).collect();
    std::thread::scope(|scope| {
        let asked: Vec<_> = sockets.into_iter().map(|path| scope.spawn(move || RunningManager::at(path))).collect();
        asked.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    })
}

/// The manager that a command means if it names none: the only one.
///
/// # Errors
/// A sentence and a list: there are several.
pub(super) fn only(mut managers: Vec<RunningManager>) -> Result<Option<PathBuf>, String> {
    match managers.len() {
        0 | 1 => Ok(managers.pop().map(|manager| manager.control)),
        count => {
            Err(format!("{count} managers run: name one with -c FILE, -P FILE or --control PATH{}", table(&managers)))
        }
    }
}

/// Lists them.
pub fn list(format: OutputFormat) -> ExitCode {
    let managers = running();
    match format {
        OutputFormat::Json => finish(&format!("{}\n", serde_json::to_string_pretty(&managers).unwrap_or_default()), 0),
        OutputFormat::Text if managers.is_empty() => finish("no manager runs that this user may ask\n", 0),
        OutputFormat::Text => finish(table(&managers).trim_start_matches('\n'), 0),
    }
}

fn table(managers: &[RunningManager]) -> String {
    let mut table = Table::new(["INSTANCE", "PID", "UP", "FUNCTIONS", "WORKERS", "COMMAND"]);
    for RunningManager { control, answer } in managers {
        table.row(match answer {
            Some(answer) => [
                escape(&answer.instance).into_owned(),
                answer.pid.to_string(),
                age(answer.uptime_seconds),
                answer.functions.to_string(),
                answer.workers.to_string(),
                escape(&answer.command).into_owned(),
            ],
            None => silent(control),
        });
    }
    table.render()
}

/// The row of a manager that does not answer.
fn silent(control: &Path) -> [String; 6] {
    let unknown = || "?".to_owned();
    let command = format!("does not answer: --control {}", control.display());
    [unknown(), unknown(), unknown(), unknown(), unknown(), escape(&command).into_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_manager_is_meant_and_several_are_listed() {
        let manager = |name: &str, answers: bool| RunningManager {
            control: format!("/run/{name}/control.sock").into(),
            answer: answers.then(|| ManagerSummary {
                instance: name.into(),
                pid: 4711,
                command: format!("gm-native -c /etc/{name}.ini"),
                uptime_seconds: 3700,
                functions: 8,
                workers: 40,
            }),
        };
        assert_eq!(only(Vec::new()), Ok(None));
        assert_eq!(only(vec![manager("a", true)]), Ok(Some("/run/a/control.sock".into())));
        let several = only(vec![manager("a", true), manager("b", false)]).unwrap_err();
        for part in ["2 managers run", "gm-native -c /etc/a.ini", "4711", "1h1m", "does not answer: --control /run/b/"]
        {
            assert!(several.contains(part), "{several}");
        }
    }
}
