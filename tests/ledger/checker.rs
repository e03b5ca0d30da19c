//! Sorts every job of a history: done, failed with a cause, repeated with a cause, or lost. Pure.

use std::collections::BTreeMap;

use crate::history::{Answer, ClientKind, Closer, Entry, Expected, Fault, Link, Party, Record, Time};

mod windows;

use windows::Windows;

/// How long after a worker's death, in microseconds, its manager may say so. The job may run again before that.
const LOG_DELAY: Time = 500_000;

/// A job's number.
pub type Job = String;

/// What became of all jobs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// How many were done, with the right answer to the client.
    pub done: usize,
    /// How many of these each kind of client had submitted.
    pub done_by: BTreeMap<ClientKind, usize>,
    /// How many failed, by cause.
    pub failed: BTreeMap<String, usize>,
    /// How many runs were repetitions, by cause.
    pub repeated: BTreeMap<String, usize>,
    /// How many were submitted again, by cause.
    pub resent: BTreeMap<String, usize>,
    /// How many ran twice at once, where that cannot be helped.
    pub excused_overlaps: usize,
    /// Everything that must not be, with the job's number.
    pub violations: Vec<(Job, String)>,
}

/// The run of a function, as its plugin has written it down.
struct Run<'a> {
    sub: &'a str,
    pid: i32,
    mood: &'a str,
    overlaps: bool,
}

/// What a manager reported about a worker that died in a job.
struct Death<'a> {
    sub: &'a str,
    at: Time,
    end: &'a str,
    on_request: bool,
}

/// The end of a client's connection.
struct Break<'a> {
    since: Time,
    at: Time,
    why: &'a str,
}

/// Everything about one job, in the order of time.
#[derive(Default)]
struct Story<'a> {
    subs: Vec<(&'a str, usize, Time)>,
    by: Option<ClientKind>,
    expected: Option<Expected>,
    background: bool,
    accepted: bool,
    runs: Vec<Run<'a>>,
    done_runs: usize,
    answer: Option<(&'a str, &'a Answer)>,
    answers: usize,
    broken: BTreeMap<&'a str, Break<'a>>,
    deaths: Vec<Death<'a>>,
    /// Over which connections each submission was given to a worker, and when.
    assignments: BTreeMap<&'a str, Vec<(u64, Time)>>,
}

/// What became of the jobs of this history, which is in the order of time.
pub fn check(history: &[Entry]) -> Account {
    let windows = Windows::of(history);
    let mut account = Account::default();
    for (job, story) in stories(history) {
        let mut judge = Judge { job: &job, windows: &windows, account: &mut account };
        judge.answer(&story);
        judge.repetitions(&story);
    }
    account
}

/// The job of a submission.
pub fn job_of(sub: &str) -> &str {
    sub.split('.').next().unwrap_or_default()
}

/// Which job a record is about.
pub fn sub_of(record: &Record) -> Option<&str> {
    match record {
        Record::Submitted { sub, .. }
        | Record::Accepted { sub }
        | Record::Assigned { sub, .. }
        | Record::Started { sub, .. }
        | Record::Overlap { sub, .. }
        | Record::Ended { sub, .. }
        | Record::Answered { sub, .. }
        | Record::Broken { sub, .. } => Some(sub),
        Record::WorkerDied { sub, .. } => sub.as_deref(),
        _ => None,
    }
}

fn stories(history: &[Entry]) -> BTreeMap<Job, Story<'_>> {
    let mut stories: BTreeMap<Job, Story<'_>> = BTreeMap::new();
    for Entry { at, record } in history {
        let Some(sub) = sub_of(record) else { continue };
        stories.entry(job_of(sub).to_owned()).or_default().add(sub, *at, record);
    }
    stories
}

impl<'a> Story<'a> {
    fn add(&mut self, sub: &'a str, at: Time, record: &'a Record) {
        match record {
            Record::Submitted { server, expected, background, by, .. } => {
                self.by = Some(*by);
                self.subs.push((sub, *server, at));
                self.expected = Some(*expected);
                self.background = *background;
            }
            Record::Accepted { .. } => self.accepted = true,
            Record::Assigned { connection, .. } => self.assignments.entry(sub).or_default().push((*connection, at)),
            Record::Started { pid, mood, .. } => {
                self.runs.push(Run { sub, pid: *pid, mood, overlaps: false });
            }
            Record::Overlap { pid, .. } => {
                let run = self.runs.iter_mut().rev().find(|run| run.sub == sub && run.pid == *pid);
                if let Some(run) = run {
                    run.overlaps = true;
                }
            }
            Record::Ended { how, .. } => self.done_runs += usize::from(how == "done"),
            Record::Answered { answer, .. } => {
                self.answer = Some((sub, answer));
                self.answers += 1;
            }
            Record::Broken { since, why, .. } => {
                self.broken.insert(sub, Break { since: *since, at, why });
            }
            Record::WorkerDied { end, on_request, .. } => {
                self.deaths.push(Death { sub, at, end, on_request: *on_request });
            }
            _ => {}
        }
    }
}

/// Why a job ran again.
struct Cause {
    text: String,
    /// Whether the first run may still be going on: the server cannot know.
    excuses_two_at_once: bool,
}

/// Judges one job.
struct Judge<'a> {
    job: &'a str,
    windows: &'a Windows,
    account: &'a mut Account,
}

impl Judge<'_> {
    fn violation(&mut self, what: impl Into<String>) {
        self.account.violations.push((self.job.to_owned(), what.into()));
    }

    fn done(&mut self, story: &Story<'_>) {
        self.account.done += 1;
        if let Some(by) = story.by {
            *self.account.done_by.entry(by).or_default() += 1;
        }
    }

    /// Its client's answer, and whether that is right.
    fn answer(&mut self, story: &Story<'_>) {
        if story.answers > 1 {
            self.violation("answered twice");
        }
        match (story.answer, story.expected) {
            (_, None) => self.violation("ran though nobody submitted it"),
            (Some((_, Answer::Wrong(result))), _) => self.violation(format!("wrong result: {result}")),
            (Some((_, Answer::Right)), Some(Expected::Done)) if story.done_runs == 0 => {
                self.violation("has a result though no run of it has ended");
            }
            (Some((_, Answer::Right)), Some(Expected::Done)) => self.done(story),
            (Some((_, Answer::Right)), Some(_)) => self.violation("has a result and should have failed"),
            (Some((sub, Answer::Failed(warnings))), Some(expected)) => match failure(story, sub, warnings, expected) {
                Some(cause) => count(&mut self.account.failed, cause),
                None => self.violation(format!("failed without a cause: {warnings:?}")),
            },
            (None, Some(_)) => self.unanswered(story),
        }
    }

    /// Of a job in the background nobody hears. Of another one it means that it is lost.
    fn unanswered(&mut self, story: &Story<'_>) {
        let Some((sub, server, at)) = story.subs.last() else { return };
        let died = self.windows.server_died(*server, *at, Time::MAX);
        let dead_of = story.deaths.iter().find(|death| death.sub == *sub);
        match story.expected {
            _ if !story.background => self.violation("lost: no answer"),
            _ if !story.accepted => self.violation("lost: not accepted"),
            Some(Expected::Done) if story.done_runs > 0 => self.done(story),
            Some(Expected::Fails) if !story.runs.is_empty() => count(&mut self.account.failed, "as asked"),
            _ if dead_of.is_some() => count(&mut self.account.failed, "in the background, its worker died"),
            _ if story.runs.iter().any(|run| run.mood != "good") => {
                count(&mut self.account.failed, "in the background, by a bad version");
            }
            _ if died => count(&mut self.account.failed, "in the background, its server died"),
            _ => self.violation("lost: in the background, and never done"),
        }
    }

    /// Whether each submission and each run after the first has a cause.
    fn repetitions(&mut self, story: &Story<'_>) {
        for (sub, server, _) in story.subs.iter().take(story.subs.len().saturating_sub(1)) {
            match self.break_cause(story, sub, *server) {
                Ok(cause) => count(&mut self.account.resent, cause),
                Err(why) => self.violation(format!("{sub} was submitted again without a cause: {why}")),
            }
        }
        let excused = |causes: &[Cause]| causes.iter().any(|cause| cause.excuses_two_at_once);
        for (sub, ..) in &story.subs {
            let runs: Vec<&Run<'_>> = story.runs.iter().filter(|run| run.sub == *sub).collect();
            let causes = self.repeat_causes(story, sub);
            let repeated = runs.len().saturating_sub(1);
            causes.iter().take(repeated).for_each(|cause| count(&mut self.account.repeated, &cause.text));
            if causes.len() < repeated {
                self.violation(format!("{sub} ran {} times, and {} causes are known", runs.len(), causes.len()));
            }
            for _ in runs.iter().filter(|run| run.overlaps) {
                // A job that was submitted again is another one to its server, in whichever order the two run.
                if story.subs.len() > 1 || excused(&causes) {
                    self.account.excused_overlaps += 1;
                } else {
                    let causes: Vec<&str> = causes.iter().map(|cause| cause.text.as_str()).collect();
                    self.violation(format!("two at once, after: {}", causes.join(", ")));
                }
            }
        }
    }

    /// Why a client's connection broke: it may have been idle then, and be found broken by the next job.
    fn break_cause(&self, story: &Story<'_>, sub: &str, server: usize) -> Result<&'static str, String> {
        let Some(Break { since, at, why }) = story.broken.get(sub) else {
            return Err("its connection was whole".into());
        };
        let link = Link { party: Party::Clients, server };
        if self.windows.server_died(server, *since, *at) {
            Ok("server died")
        } else if self.windows.was_cut(link, *since, *at) {
            Ok("client cut off")
        } else if self.windows.was_slow(link, *since, *at) {
            Ok("client's network or server slow")
        } else {
            Err((*why).to_owned())
        }
    }

    /// Why a submission was given to a worker again, each time that a cause is known.
    fn repeat_causes(&self, story: &Story<'_>, sub: &str) -> Vec<Cause> {
        let none = Vec::new();
        let assignments = story.assignments.get(sub).unwrap_or(&none);
        assignments.windows(2).filter_map(|pair| self.repeat_cause(story, sub, pair[0], pair[1].1)).collect()
    }

    /// Why a submission that was given to a worker was given to another one at `again`.
    fn repeat_cause(
        &self,
        story: &Story<'_>,
        sub: &str,
        (connection, assigned): (u64, Time),
        again: Time,
    ) -> Option<Cause> {
        let ended = self.windows.end_of(connection);
        if ended.is_some_and(|ended| ended.by == Closer::Cut && ended.at <= again) {
            return Some(Cause { text: "connection cut".into(), excuses_two_at_once: true });
        }
        if self.windows.was_resubmitted(sub, assigned, again) {
            return Some(Cause { text: "resubmitted from quarantine".into(), excuses_two_at_once: false });
        }
        let span = assigned..=again.saturating_add(LOG_DELAY);
        if let Some(death) = story.deaths.iter().find(|death| death.sub == sub && span.contains(&death.at)) {
            return Some(Cause { text: format!("worker died: {}", death.end), excuses_two_at_once: false });
        }
        let link = ended?.link;
        if self.windows.was_slow(link, assigned, again) {
            return Some(Cause { text: "network or server slow".into(), excuses_two_at_once: true });
        }
        let Party::Manager(manager) = link.party else { return None };
        // No manager reports an orphan's death, even if the manager was dead when the orphan got the job. And what a
        // manager reported shortly before it was killed may not have reached us.
        let begun = self.windows.begin_of(connection).unwrap_or(assigned);
        let died = self.windows.manager_died(manager, begun, again.saturating_add(LOG_DELAY));
        died.then(|| Cause { text: "manager killed".into(), excuses_two_at_once: false })
    }
}

/// Why a job failed.
fn failure(story: &Story<'_>, sub: &str, warnings: &str, expected: Expected) -> Option<&'static str> {
    let ran_bad = story.runs.iter().any(|run| run.sub == sub && run.mood != "good");
    let died = story.deaths.iter().any(|death| death.sub == sub);
    let was_asked = story.deaths.iter().any(|death| death.sub == sub && death.on_request);
    match expected {
        _ if warnings.is_empty() => None,
        _ if warnings.contains("ended by an operator") => was_asked.then_some("ended by an operator"),
        Expected::Fails => Some("as asked"),
        Expected::Dies if died => Some("killed its workers, as asked"),
        _ if ran_bad => Some("bad version"),
        _ if died => Some("its workers died"),
        _ => None,
    }
}

fn count(counts: &mut BTreeMap<String, usize>, cause: &str) {
    *counts.entry(cause.to_owned()).or_default() += 1;
}

/// Whether every manager answered `status` within the deadline, whenever it ran.
pub fn unanswered_status(history: &[Entry], deadline: Time) -> Vec<String> {
    let windows = Windows::of(history);
    let late = |entry: &Entry| {
        let Record::Status { manager, asked, answered } = entry.record else { return None };
        let took = entry.at - asked;
        let wrong = (!answered || took > deadline) && !windows.manager_was_away(manager, asked, entry.at);
        wrong.then(|| {
            let what = if answered { "answered `status` after" } else { "did not answer `status` within" };
            format!("manager {manager} {what} {took} µs at {asked}")
        })
    };
    history.iter().filter_map(late).collect()
}

/// What was done on purpose, by name.
pub fn faults(history: &[Entry]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for entry in history {
        let Record::Fault(fault) = &entry.record else { continue };
        count(&mut counts, &name(fault));
    }
    counts
}

fn name(fault: &Fault) -> String {
    match fault {
        Fault::ChildSignalled { signal, .. } => format!("child {signal}"),
        Fault::ExaminationSignalled { signal, .. } => format!("examination {signal}"),
        Fault::ManagerSignalled { signal, .. } => format!("manager {signal}"),
        Fault::Steered { command, .. } => command.split(' ').next().unwrap_or_default().to_owned(),
        Fault::Disturbed { how, .. } => how.split(['(', ' ']).next().unwrap_or_default().to_lowercase(),
        Fault::Deployed { mood, .. } => format!("deploy {mood}"),
        other => {
            let value = serde_json::to_value(other).unwrap();
            value["fault"].as_str().unwrap_or_default().replace('_', " ")
        }
    }
}

#[cfg(test)]
mod tests;
