//! `status --check`: what a monitoring system needs, in one line and an exit code. Pure, except for printing.
//!
//! The codes and the line are those of Nagios plugins, which Icinga, Sensu and others also understand.

use super::failed_reload;
use super::functions::{failures, note};
use crate::control::{
    ClientError, ErrorCode, FunctionStatus, JobServerState, JobServerStatus, ManagerState, StatusReply, WorkerCounts,
};
use crate::logging::{cut, escape};
use crate::supervisor::event::counted;

/// How many findings are named; the others are counted.
const NAMED: usize = 5;
/// How many bytes of each are shown.
const LONGEST: usize = 240;

/// How bad something is; the numbers are the exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// All is well.
    Ok = 0,
    /// Everything is served, but something needs attention.
    Warning = 1,
    /// Something is not served.
    Critical = 2,
    /// It could not be determined.
    Unknown = 3,
}

impl Severity {
    /// The exit code.
    pub(super) fn code(self) -> u8 {
        self as u8
    }

    fn label(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// Something that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub severity: Severity,
    pub text: String,
}

/// What is wrong, the worst first.
pub(super) fn findings(status: &StatusReply) -> Vec<Finding> {
    let warning = |text: String| Finding { severity: Severity::Warning, text };
    let mut all = Vec::new();
    match status.state {
        ManagerState::Running => {}
        ManagerState::Starting => all.push(warning(format!("the manager (pid {}) is starting", status.pid))),
        // Everything else follows from this.
        ManagerState::Draining => return vec![warning(stopping(status))],
    }
    let paused = status.functions.iter().filter_map(paused);
    all.extend(paused.map(warning));
    let planned = || status.functions.iter().filter(|function| function.workers_planned > 0);
    all.extend(planned().filter_map(|function| unserved(function, status)));
    all.extend(planned().filter_map(failing).map(warning));
    let queues = planned().filter(|function| !is_short(function)).flat_map(queues);
    all.extend(queues.map(warning));
    let any_paused = status.functions.iter().any(|function| function.paused_by.is_some());
    if planned().next().is_none() && !any_paused && status.state == ManagerState::Running {
        // Without any library the manager waits for the first one.
        let severity = if status.refused.is_empty() { Severity::Warning } else { Severity::Critical };
        all.push(Finding { severity, text: "no function is served".into() });
    }
    all.extend(silent_servers(status));
    let refused = status.refused.iter();
    all.extend(refused.map(|file| warning(format!("{} {}", escape(&file.path), escape(&file.reason)))));
    all.extend(status.failed_reload.iter().map(|failed| warning(escape(&failed_reload(failed)).into_owned())));
    all.extend(status.warnings.iter().map(|text| warning(escape(text).into_owned())));
    all.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    all
}

/// A manager that is stopping: what it still waits for.
fn stopping(status: &StatusReply) -> String {
    let jobs = match status.worker_counts.busy {
        0 => "no job is running".to_owned(),
        1 => "1 job is still running".to_owned(),
        jobs => format!("{jobs} jobs are still running"),
    };
    format!("the manager (pid {}) is stopping; {jobs}", status.pid)
}

/// Too few workers of a function are ready.
fn unserved(function: &FunctionStatus, status: &StatusReply) -> Option<Finding> {
    let FunctionStatus { name, workers_ready, workers_planned, .. } = function;
    let severity = match workers_ready {
        // Otherwise they are starting; or the successor of a busy one starts when its job is over: `rollout_surge = 0`.
        0 if status.state == ManagerState::Running && function.workers_busy == 0 => Severity::Critical,
        ready if ready < workers_planned => Severity::Warning,
        _ => return None,
    };
    let note = note(function);
    let why = if note.is_empty() { String::new() } else { format!(": {note}") };
    let text = format!("{}: {workers_ready} of {workers_planned} workers ready{why}", escape(name.as_str()));
    Some(Finding { severity, text })
}

/// Job servers without a connection. If that is all of them, nothing is served, however many workers are ready.
fn silent_servers(status: &StatusReply) -> impl Iterator<Item = Finding> {
    let is_silent = |server: &&JobServerStatus| server.workers > 0 && server.workers_connected == 0;
    let all = status.job_servers.iter().all(|server| is_silent(&server)) && status.state == ManagerState::Running;
    let severity = if all { Severity::Critical } else { Severity::Warning };
    status.job_servers.iter().filter(is_silent).map(move |server| {
        let since = match &server.state {
            JobServerState::Down { since, .. } => format!(" since {}", escape(since)),
            JobServerState::Connecting | JobServerState::Up { .. } | JobServerState::Unknown => String::new(),
        };
        let text = format!("job server {} answers no worker{since}", escape(&server.address));
        Finding { severity, text }
    })
}

/// It is paused.
fn paused(function: &FunctionStatus) -> Option<String> {
    let (by, since) = function.paused_by.as_ref().zip(function.paused_since.as_ref())?;
    Some(format!("{}: paused by {} since {}", escape(function.name.as_str()), escape(by), escape(since)))
}

/// Workers are missing: their note includes everything else.
fn is_short(function: &FunctionStatus) -> bool {
    function.workers_ready < function.workers_planned
}

/// What is wrong with its queues.
fn queues(function: &FunctionStatus) -> impl Iterator<Item = String> {
    let name = escape(function.name.as_str());
    function.queue_warnings.iter().map(move |text| format!("{name}: {}", escape(text)))
}

/// Half of its jobs fail, or more.
fn failing(function: &FunctionStatus) -> Option<String> {
    let is_high = function.failing.as_ref().is_some_and(|rate| rate.high);
    let text = failures(function).filter(|_| is_high && !is_short(function))?;
    Some(format!("{}: {text}", escape(function.name.as_str())))
}

/// The result for a status: the exit code, and the line with its performance data.
pub(super) fn outcome(status: &StatusReply) -> (Severity, String) {
    let findings = findings(status);
    let severity = findings.first().map_or(Severity::Ok, |finding| finding.severity);
    let text = if findings.is_empty() { summary(status) } else { named(&findings) };
    (severity, line(severity, &text, Some(&performance(status))))
}

/// The result for an error of the control socket.
pub(super) fn of_error(error: &ClientError) -> (Severity, String) {
    let severity = match error {
        // It runs, but this user cannot ask it, or it has to be asked at another place.
        ClientError::NoManager { elsewhere: Some(_), .. } => Severity::Unknown,
        ClientError::NoManager { elsewhere: None, .. } => Severity::Critical,
        ClientError::Refused { refusal, .. } if refusal.code == ErrorCode::Stopping => Severity::Critical,
        ClientError::NotAllowed { .. }
        | ClientError::Refused { .. }
        | ClientError::Deadline { .. }
        | ClientError::Protocol { .. } => Severity::Unknown,
    };
    (severity, line(severity, &error.to_string(), None))
}

/// One line. What precedes the bar is for people; a bar within it would end it.
pub(super) fn line(severity: Severity, text: &str, performance: Option<&str>) -> String {
    let text = escape(text).replace('|', "/");
    let performance = performance.map_or_else(String::new, |data| format!(" | {data}"));
    format!("{}: {text}{performance}\n", severity.label())
}

fn named(findings: &[Finding]) -> String {
    let mut texts: Vec<String> =
        findings.iter().take(NAMED).map(|finding| cut(&finding.text, LONGEST).into_owned()).collect();
    if findings.len() > NAMED {
        texts.push(format!("and {} more", findings.len() - NAMED));
    }
    texts.join("; ")
}

fn summary(status: &StatusReply) -> String {
    format!("{}, {}", counted(planned(status), "function"), counted(status.worker_counts.ready, "worker"))
}

/// Functions that should be served.
fn planned(status: &StatusReply) -> usize {
    status.functions.iter().filter(|function| function.workers_planned > 0).count()
}

/// `c` marks a number that only grows while the manager runs.
fn performance(status: &StatusReply) -> String {
    let functions = planned(status);
    let WorkerCounts { ready, busy, ready_or_busy: most_busy, .. } = status.worker_counts;
    let sum = |of: fn(&FunctionStatus) -> u64| status.functions.iter().map(of).fold(0, u64::saturating_add);
    format!(
        "functions={functions};;;0 workers={ready};;;0 busy={busy};;;0;{most_busy} completed={}c failed={}c crashed={}c \
         timed_out={}c",
        sum(|function| function.jobs_completed),
        sum(|function| function.jobs_failed),
        sum(|function| function.jobs_crashed),
        sum(|function| function.jobs_timed_out),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{FailedReloadStatus, FailureRateStatus, RefusedFile, RequestError, sample_status};

    const DATA: &str =
        " | functions=2;;;0 workers=2;;;0 busy=1;;;0;2 completed=1204c failed=6c crashed=4c timed_out=2c\n";

    /// The sample with nothing wrong.
    fn well() -> StatusReply {
        let mut status = sample_status();
        let sum = &mut status.functions[1];
        (sum.workers_ready, sum.note, sum.backing_off_seconds) = (2, None, None);
        (sum.failing, sum.last_failure) = (None, None);
        status.refused.clear();
        status.warnings.clear();
        status
    }

    #[track_caller]
    fn expect(change: impl FnOnce(&mut StatusReply), severity: Severity, text: &str) {
        let mut status = well();
        change(&mut status);
        let (found, line) = outcome(&status);
        let (text_found, _) = line.split_once(" | ").unwrap();
        assert_eq!((found, text_found), (severity, format!("{}: {text}", severity.label()).as_str()));
        assert_eq!(line.lines().count(), 1, "{line}");
    }

    #[test]
    fn each_state_has_its_code_and_its_line() {
        use Severity::{Critical, Ok, Warning};
        assert_eq!(outcome(&well()), (Ok, format!("OK: 2 functions, 2 workers{DATA}")));
        expect(|s| s.functions[1].workers_ready = 1, Warning, "sum: 1 of 2 workers ready");
        expect(|s| s.functions[1].workers_ready = 0, Critical, "sum: 0 of 2 workers ready");
        expect(
            |s| (s.functions[1].workers_ready, s.functions[1].note) = (0, Some("no database".into())),
            Critical,
            "sum: 0 of 2 workers ready: no database",
        );
        // Left out on purpose.
        expect(
            |s| (s.functions[1].workers_ready, s.functions[1].workers_planned) = (0, 0),
            Ok,
            "1 function, 2 workers",
        );
        expect(|s| s.functions.clear(), Warning, "no function is served");
        let file = || RefusedFile { path: "/w/b.so".into(), reason: "is text".into() };
        let nothing = |s: &mut StatusReply| (s.functions, s.refused) = (vec![], vec![file()]);
        expect(nothing, Critical, "no function is served; /w/b.so is text");
        expect(
            |s| s.state = ManagerState::Draining,
            Warning,
            "the manager (pid 4711) is stopping; 1 job is still running",
        );
        // What follows from it is not reported as well, nor what was wrong before.
        expect(
            |s| {
                s.state = ManagerState::Draining;
                s.worker_counts = WorkerCounts { all: 3, ready: 0, busy: 2, ready_or_busy: 2 };
                s.functions.iter_mut().for_each(|function| function.workers_ready = 0);
                s.job_servers[0].workers_connected = 0;
                s.refused = vec![RefusedFile { path: "/w/b.so".into(), reason: "is text".into() }];
            },
            Warning,
            "the manager (pid 4711) is stopping; 2 jobs are still running",
        );
        // The last worker of a function finishes its job, and its successor waits for that.
        expect(
            |s| {
                s.worker_counts.ready = 1;
                s.functions[0].workers_ready = 0;
            },
            Warning,
            "reverse_string: 0 of 2 workers ready",
        );
        expect(
            |s| (s.state, s.functions[1].workers_ready) = (ManagerState::Starting, 0),
            Warning,
            "the manager (pid 4711) is starting; sum: 0 of 2 workers ready",
        );
        expect(|s| s.job_servers[0].workers_connected = 0, Critical, "job server 127.0.0.1:4730 answers no worker");
        let second = JobServerStatus {
            address: "b:1".into(),
            state: JobServerState::Down { since: "2026-11-24 12:00:00".into(), seconds: 4.0, why: "refused".into() },
            last_answer_seconds_ago: None,
            workers_connected: 0,
            workers: 2,
            lost_wake_ups: 0,
        };
        let text = "job server b:1 answers no worker since 2026-11-24 12:00:00";
        expect(|s| s.job_servers.push(second), Warning, text);
        let file = RefusedFile { path: "/w/b.so".into(), reason: "is text | or\nso".into() };
        expect(|s| s.refused = vec![file], Warning, "/w/b.so is text / or\\nso");
        expect(|s| s.warnings = vec!["log lines are lost".into()], Warning, "log lines are lost");
        let failed = FailedReloadStatus { seconds_ago: 61.0, reason: "gm.ini:5: no\ngm.ini:6: no".into() };
        expect(
            |s| s.failed_reload = Some(failed),
            Warning,
            "the reload 1m1s ago failed, so the old configuration stays in force: gm.ini:5: no; gm.ini:6: no",
        );
    }

    #[test]
    fn a_function_is_failing_when_half_of_its_jobs_do() {
        let rate = |failed, jobs, high| FailureRateStatus { failed, jobs, seconds: 60.0, high };
        expect(|s| s.functions[0].failing = Some(rate(1, 9, false)), Severity::Ok, "2 functions, 2 workers");
        let text = "reverse_string: 5 of 9 jobs had no result in the last 1m0s";
        expect(|s| s.functions[0].failing = Some(rate(5, 9, true)), Severity::Warning, text);
    }

    #[test]
    fn the_worst_comes_first_and_many_are_counted() {
        let mut status = well();
        let file = |number: usize| RefusedFile { path: format!("/w/{number}.so"), reason: "x".repeat(5000) };
        status.refused = (0..9).map(file).collect();
        status.functions[1].workers_ready = 0;
        let (severity, line) = outcome(&status);
        assert_eq!(severity, Severity::Critical);
        assert!(line.starts_with("CRITICAL: sum: 0 of 2 workers ready; /w/0.so xxx"), "{line}");
        assert!(line.ends_with(&format!("; and 5 more{DATA}")) && line.len() < 2000, "{line}");
    }

    #[test]
    fn a_manager_that_does_not_answer_is_down_or_unknown() {
        let path = || std::path::PathBuf::from("/s/control.sock");
        let io = |kind: std::io::ErrorKind| std::io::Error::from(kind);
        let refused = |code| ClientError::Refused { path: path(), refusal: RequestError { code, text: "no".into() } };
        for (error, expected) in [
            (
                ClientError::NoManager { path: path(), source: io(std::io::ErrorKind::NotFound), elsewhere: None },
                Severity::Critical,
            ),
            (
                ClientError::NoManager {
                    path: path(),
                    source: io(std::io::ErrorKind::NotFound),
                    elsewhere: Some("a manager of user root answers".into()),
                },
                Severity::Unknown,
            ),
            (refused(ErrorCode::Stopping), Severity::Critical),
            (refused(ErrorCode::Forbidden), Severity::Unknown),
            (refused(ErrorCode::Busy), Severity::Unknown),
            (
                ClientError::NotAllowed { text: "no".into(), source: io(std::io::ErrorKind::PermissionDenied) },
                Severity::Unknown,
            ),
            (ClientError::Deadline { path: path(), timeout: std::time::Duration::from_secs(5) }, Severity::Unknown),
            (ClientError::Protocol { path: path(), text: "x".into() }, Severity::Unknown),
        ] {
            let (severity, line) = of_error(&error);
            assert_eq!(severity, expected, "{error}");
            assert!(line.starts_with(&format!("{}: ", severity.label())) && line.ends_with('\n'), "{line}");
        }
    }
}
