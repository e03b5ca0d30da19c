//! Checks a finished run of rollouts: the manager's event stream, and what became of the jobs. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Events after which a worker serves no more.
const ENDS_OF_SERVICE: [&str; 5] = ["worker_draining", "worker_killed", "worker_died", "worker_exited", "exited_early"];

/// Events that have no place in a run in which every version is good.
const FAILURES: [&str; 10] = [
    "worker_died",
    "exited_early",
    "spawn_failed",
    "cannot_serve",
    "backing_off",
    "library_refused",
    "rollout_stopped",
    "rollout_withdrawn",
    "function_failing",
    "manager_error",
];

/// What a run has to show: a manager with one function, and its versions one after the other.
#[derive(Debug)]
pub struct ExpectedRun<'a> {
    pub function: &'a str,
    /// Workers of the plan.
    pub planned: usize,
    /// Hashes of the deployed versions, the first deploy first. The version of the start is not one of them.
    pub versions: &'a [String],
}

/// What a run showed: how many workers served, and what was wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RunReport {
    /// The smallest number of workers that served, from the moment when the plan was first reached. A canary does not
    /// count.
    pub fewest: Option<usize>,
    /// The largest number of workers that served, with the canary.
    pub most: usize,
    /// Rollouts that finished with the expected version.
    pub finished: usize,
    pub violations: Vec<String>,
}

/// How far the rollout in hand is.
#[derive(Debug)]
enum Rollout {
    None,
    /// A canary tries the version.
    Started(String),
    /// It replaces the old one.
    Promoted(String),
}

struct RunChecker<'a> {
    expected: &'a ExpectedRun<'a>,
    serving: BTreeSet<u64>,
    /// The worker that tries a version serves beside the plan, until that version is promoted.
    canary: Option<u64>,
    rollout: Rollout,
    report: RunReport,
}

/// Checks the events from a manager's start to its stop, or to the end of the stream.
pub fn check_events(events: &[Value], expected: &ExpectedRun<'_>) -> RunReport {
    let (serving, canary) = (BTreeSet::new(), None);
    let mut checker = RunChecker { expected, serving, canary, rollout: Rollout::None, report: RunReport::default() };
    // A manager that stops lets all workers go.
    events.iter().take_while(|event| event["event"] != "draining").for_each(|event| checker.event(event));
    checker.end()
}

impl RunChecker<'_> {
    fn event(&mut self, event: &Value) {
        let name = event["event"].as_str().unwrap_or_default();
        if FAILURES.contains(&name) {
            self.wrong("is not expected", event);
        }
        self.count(name, event);
        if name.starts_with("rollout_") && event["function"] == self.expected.function {
            self.rollout(name, event);
        }
    }

    fn count(&mut self, name: &str, event: &Value) {
        let Some(pid) = event["pid"].as_u64() else { return };
        let serves =
            || event["functions"].as_array().is_some_and(|all| all.iter().any(|f| *f == self.expected.function));
        let (planned, before) = (self.expected.planned, self.counted());
        if name == "worker_serving" && serves() {
            if !self.serving.insert(pid) {
                self.wrong("comes twice", event);
            }
            if matches!(self.rollout, Rollout::Started(_)) {
                self.canary.get_or_insert(pid);
            }
        } else if ENDS_OF_SERVICE.contains(&name) {
            self.serving.remove(&pid);
        }
        let now = self.counted();
        self.report.most = self.report.most.max(self.serving.len());
        if self.report.fewest.is_some() || now >= planned {
            self.report.fewest = Some(self.report.fewest.map_or(now, |fewest| fewest.min(now)));
        }
        if self.report.fewest.is_some() && now < planned && now < before {
            self.wrong(&format!("leaves {now} serving workers of {planned}"), event);
        }
    }

    /// Workers that serve, without the canary.
    fn counted(&self) -> usize {
        self.serving.iter().filter(|pid| Some(**pid) != self.canary).count()
    }

    fn rollout(&mut self, name: &str, event: &Value) {
        if name == "rollout_started" && self.report.fewest.is_none() {
            self.wrong("comes before the plan was reached", event);
        }
        let version = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let next = self.expected.versions.get(self.report.finished);
        self.rollout = match (name, std::mem::replace(&mut self.rollout, Rollout::None)) {
            ("rollout_started", Rollout::None) if next.is_some_and(|next| event["to"] == **next) => {
                Rollout::Started(version("to"))
            }
            ("rollout_promoted", Rollout::Started(it)) if event["version"] == *it => {
                self.canary = None;
                Rollout::Promoted(it)
            }
            ("rollout_finished", Rollout::Promoted(it)) if event["version"] == *it => {
                self.report.finished += 1;
                Rollout::None
            }
            (_, was) => {
                self.wrong(&format!("is out of turn, with the rollout {was:?} and {next:?} to come"), event);
                was
            }
        };
    }

    fn wrong(&mut self, what: &str, event: &Value) {
        let finished = self.report.finished;
        self.report.violations.push(format!("after {finished} rollouts, {} {what}: {event}", event["event"]));
    }

    fn end(mut self) -> RunReport {
        if self.report.fewest.is_none() {
            self.report.violations.push(format!("there were never {} serving workers", self.expected.planned));
        }
        let (finished, all) = (self.report.finished, self.expected.versions.len());
        if finished < all {
            self.report
                .violations
                .push(format!("{finished} of {all} rollouts finished, the next is {:?}", self.rollout));
        }
        self.report
    }
}

/// How a job ended for its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEnd {
    /// This version answered.
    Answer(String),
    Failed,
    /// Nothing came.
    Lost,
}

/// Each job's unique id, and how it ended.
pub type JobEnds = Vec<(String, JobEnd)>;

/// Checks that each job ended with an answer of one of these versions, and that a worker ran it once. `runs` has the
/// unique ids that the workers noted. Returns what was wrong.
pub fn check_jobs(ends: &[(String, JobEnd)], runs: &[String], versions: &[&str]) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = ends.iter().map(|(unique, _)| (unique.as_str(), 0)).collect();
    let mut wrong = Vec::new();
    for unique in runs {
        match counts.get_mut(unique.as_str()) {
            Some(count) => *count += 1,
            None => wrong.push(format!("{unique} was run and not submitted")),
        }
    }
    for (unique, end) in ends {
        match end {
            JobEnd::Answer(version) if versions.contains(&version.as_str()) => {}
            other => wrong.push(format!("{unique} ended with {other:?}")),
        }
        match counts[unique.as_str()] {
            1 => {}
            count => wrong.push(format!("{unique} was run {count} times")),
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn serving(pid: u64) -> Value {
        json!({"event": "worker_serving", "pid": pid, "functions": ["f"]})
    }

    fn of(event: &str, pid: u64) -> Value {
        json!({"event": event, "pid": pid})
    }

    fn started(version: &str) -> Value {
        json!({"event": "rollout_started", "pid": 1, "function": "f", "from": "x", "to": version})
    }

    fn rollout(step: &str, version: &str) -> Value {
        json!({"event": format!("rollout_{step}"), "pid": 1, "function": "f", "version": version})
    }

    /// Two workers at the start, and a rollout that replaces both.
    fn good() -> Vec<Value> {
        vec![
            serving(10),
            serving(11),
            started("b"),
            serving(12),
            rollout("promoted", "b"),
            of("worker_draining", 10),
            of("worker_exited", 10),
            serving(13),
            of("worker_draining", 11),
            of("worker_exited", 11),
            rollout("finished", "b"),
        ]
    }

    fn check(events: &[Value], versions: &[&str]) -> RunReport {
        let versions: Vec<String> = versions.iter().map(|version| (*version).to_owned()).collect();
        check_events(events, &ExpectedRun { function: "f", planned: 2, versions: &versions })
    }

    #[test]
    fn a_rollout_that_keeps_the_plan_is_right() {
        let right = RunReport { fewest: Some(2), most: 3, finished: 1, violations: Vec::new() };
        assert_eq!(check(&good(), &["b"]), right);
        // The stop ends the check, and workers of other functions are no concern.
        let other = json!({"event": "worker_serving", "pid": 20, "functions": ["g"]});
        let around = [&[other, of("worker_draining", 20)], &*good(), &[of("draining", 1), of("worker_draining", 12)]];
        assert_eq!(check(&around.concat(), &["b"]), right);
        // A process id that comes back is another worker.
        let again = [serving(10), of("worker_draining", 12)];
        assert!(check(&[&*good(), &again].concat(), &["b"]).violations.is_empty());
    }

    #[test]
    fn each_fault_is_one_violation() {
        let changed = |change: &dyn Fn(&mut Vec<Value>)| {
            let mut events = good();
            change(&mut events);
            events
        };
        let table: [(&str, Vec<Value>, &[&str], &str); 14] = [
            ("drains before its successor serves", changed(&|e| e.swap(7, 8)), &["b"], "leaves 1 serving workers of 2"),
            ("one more drains", changed(&|e| e.insert(3, of("worker_draining", 10))), &["b"], "leaves 1 serving"),
            (
                "drains beside a canary",
                changed(&|e| e.insert(4, of("worker_draining", 10))),
                &["b"],
                "leaves 1 serving",
            ),
            ("killed", changed(&|e| e.insert(2, of("worker_killed", 11))), &["b"], "leaves 1 serving workers of 2"),
            ("exits unannounced", changed(&|e| e.push(of("worker_exited", 13))), &["b"], "leaves 1 serving"),
            ("never serves", changed(&|e| drop(e.remove(1))), &["b"], "before the plan was reached"),
            ("no plan", vec![serving(10)], &[], "never 2 serving workers"),
            ("serves twice", changed(&|e| e.insert(2, serving(11))), &["b"], "comes twice"),
            ("not finished", changed(&|e| drop(e.pop())), &["b"], "0 of 1 rollouts finished"),
            ("not deployed", good(), &["b", "a"], "1 of 2 rollouts finished"),
            ("another version", changed(&|e| e[10] = rollout("finished", "a")), &["b"], "is out of turn"),
            ("finished twice", changed(&|e| e.push(rollout("finished", "b"))), &["b"], "is out of turn"),
            ("one too many", changed(&|e| e.push(started("a"))), &["b"], "is out of turn"),
            ("backs off", changed(&|e| e.push(of("backing_off", 1))), &["b"], "is not expected"),
        ];
        for (name, events, versions, violation) in table {
            let report = check(&events, versions);
            assert!(report.violations.iter().any(|wrong| wrong.contains(violation)), "{name}: {report:?}");
        }
        let stopped = changed(&|e| e[4] = rollout("stopped", "b"));
        assert!(check(&stopped, &["b"]).violations[0].contains("is not expected"));
        let died = changed(&|e| e.insert(4, of("worker_died", 12)));
        assert_eq!(check(&died, &["b"]).fewest, Some(1), "the canary that died took no place of the plan");
    }

    #[test]
    fn every_job_has_one_answer_and_one_run() {
        let answer = |unique: &str, version: &str| (unique.to_owned(), JobEnd::Answer(version.into()));
        let ended = |unique: &str, end| (unique.to_owned(), end);
        let table: [(&str, JobEnds, &[&str], &[&str]); 7] = [
            ("right", vec![answer("1", "a"), answer("2", "b")], &["2", "1"], &[]),
            ("failed", vec![ended("1", JobEnd::Failed)], &["1"], &["1 ended with Failed"]),
            ("lost", vec![ended("1", JobEnd::Lost)], &["1"], &["1 ended with Lost"]),
            ("wrong answer", vec![answer("1", "c")], &["1"], &["1 ended with Answer(\"c\")"]),
            ("not run", vec![answer("1", "a")], &[], &["1 was run 0 times"]),
            ("run twice", vec![answer("1", "a")], &["1", "1"], &["1 was run 2 times"]),
            ("run for nobody", vec![answer("1", "a")], &["1", "2"], &["2 was run and not submitted"]),
        ];
        for (name, ends, runs, wrong) in table {
            let runs: Vec<String> = runs.iter().map(|run| (*run).to_owned()).collect();
            assert_eq!(check_jobs(&ends, &runs, &["a", "b"]), wrong, "{name}");
        }
    }
}
