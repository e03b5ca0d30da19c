//! What becomes of a worker's end: who is to blame, and what is told.

use std::time::Duration;

use nix::libc;

use super::jobs::{Decided, how};
use super::{Action, Core, Obituary, Stage, Worker};
use crate::supervisor::event::{Death, DeathAt, Event, seconds, several};
use crate::supervisor::judge::Verdict;
use crate::supervisor::life::{Happening, Life, Why};
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::restart::Outside;
use crate::system::reap::End;

/// The exit code with which a library's `new()` asks not to be started again.
const DO_NOT_START_ME_AGAIN: i32 = 125;

impl Core {
    /// A worker's process is gone.
    pub(super) fn ended(&mut self, id: WorkerId, obituary: &Obituary, now: Duration) {
        let Some(worker) = self.workers.remove(&id) else {
            return self.do_next(Action::Release { worker: id, answer: None });
        };
        self.forget_connections(id);
        let decided = self.settle_job(id, &worker, obituary, now);
        match worker.life {
            // Said in a sentence already, and its function blamed.
            Life::Leaving { why: Why::CannotServe, .. } => return,
            // Killed while it started, and that was said: it had nothing in hand, and nobody is to worry.
            Life::Dying { why: Why::Replaced | Why::Surplus } => return,
            _ => {}
        }
        if obituary.verdict == Verdict::Left {
            if worker.leaves_by_itself() {
                self.leaves_early(&worker, obituary.jobs.max(worker.jobs), now);
            }
            return self.tell(left(&worker, obituary));
        }
        let by_us = worker.ended_by_us(obituary.end).is_some();
        if let Some((function, version)) = asks_not_again(&worker, obituary).filter(|_| !by_us).cloned() {
            return self.give_up(worker.pid.unwrap_or_default(), function, version);
        }
        let death = death(&worker, obituary, decided);
        let (how, line) = (death.how(), Event::WorkerDied(death.clone()).line());
        self.tell(Event::WorkerDied(death));
        if by_us || worker.dies_leaving(obituary) || self.fails_beside_others(&worker, obituary, &how, now) {
            return;
        }
        let lost = match &obituary.verdict {
            Verdict::InJob(lost) | Verdict::Answering(lost) => Some(lost),
            _ => None,
        };
        let in_job = lost.and_then(|lost| worker.functions.get(lost.function));
        let by_kill = obituary.end == End::Signal(libc::SIGKILL);
        if let Some(event) = lost.and_then(|lost| self.acquits(&worker, lost, obituary.server, now)) {
            self.tell(event);
        } else if self.canary_died(&worker, worker.at_start().or(in_job), by_kill, &how, now) {
            return;
        }
        self.last_failure = Some(line);
        if let Some((function, _)) = worker.at_start().or(in_job).or(worker.only()) {
            self.failures.insert(function.clone(), format!("a worker {how}"));
        }
        self.blame_for(&worker, obituary, now);
    }

    /// It died while it loaded or made a function beside others. Not a canary that may have been killed from outside, or
    /// has asked not to be started again.
    fn fails_beside_others(&mut self, worker: &Worker, obituary: &Obituary, how: &str, now: Duration) -> bool {
        let Some(failed) = worker.at_start().cloned() else { return false };
        let ends = [End::Signal(libc::SIGKILL), End::Exit(DO_NOT_START_ME_AGAIN)];
        let fails = !(worker.trial.is_some() && ends.contains(&obituary.end))
            && self.is_isolated_by(worker, &failed, &format!("a worker {how}"), now);
        if fails {
            self.failures.insert(failed.0, format!("a worker {how}"));
        }
        fails
    }

    /// A worker says that it takes no more jobs. A last one may come all the same, so what that says of it is judged at
    /// its end.
    pub(super) fn leaves(&mut self, id: WorkerId, jobs: u64, now: Duration) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.jobs = jobs;
            worker.left.get_or_insert(now);
        }
        self.happens(id, Happening::Leaves, now);
    }

    /// A worker that leaves by itself and has done nothing has failed to start, whatever it exits with. Not in a stop: a
    /// service manager sends SIGTERM to every process.
    fn leaves_early(&mut self, worker: &Worker, jobs: u64, now: Duration) {
        if self.is_draining() || (worker.has_served && jobs > 0) {
            return;
        }
        let event = Event::LeftEarly {
            pid: worker.pid.unwrap_or_default(),
            functions: worker.names(),
            function: worker.at_start().map(|(function, _)| function.clone()),
            served: worker.has_served,
        };
        let (line, how) = (event.line(), "left by itself before it had done a job");
        self.tell(event);
        let failed = worker.at_start().cloned();
        if let Some(failed) =
            failed.filter(|failed| self.is_isolated_by(worker, failed, &format!("a worker {how}"), now))
        {
            self.failures.insert(failed.0, format!("a worker {how}"));
            return;
        }
        if self.canary_died(worker, worker.at_start(), worker.at_start().is_none(), how, now) {
            return;
        }
        self.last_failure = Some(line);
        if let Some((function, _)) = worker.at_start().or(worker.only()) {
            self.failures.insert(function.clone(), format!("a worker {how}"));
        }
        // Its successor may have been started by now, and is to count as well.
        let left = worker.left.unwrap_or(now);
        match worker.stage {
            Stage::Over => self.died_outside_job(worker, worker.outside(), left),
            _ => self.died_at_start(worker, left),
        }
    }

    fn blame_for(&mut self, worker: &Worker, obituary: &Obituary, now: Duration) {
        let function = |index: usize| worker.functions.get(index).map(|(name, _)| name.clone());
        match &obituary.verdict {
            // A worker that has never been ready has had no job, whatever its page says.
            _ if worker.stage != Stage::Over => self.died_at_start(worker, now),
            // A thread it left, or something from outside, ended it while its answer was sent: as dear as any other.
            Verdict::InJob(lost) | Verdict::Answering(lost) => {
                if let Some(function) = function(lost.function) {
                    self.died_in_job(&function, obituary.done, now);
                }
            }
            // It has done work: what ended it says nothing against starting another.
            Verdict::OutsideJob if obituary.jobs > 0 => {}
            Verdict::OutsideJob => self.died_outside_job(worker, worker.outside(), now),
            // At a job, but nobody can say at which: its back-off must not depend on what the page says.
            Verdict::Unknown => match worker.functions.as_slice() {
                [(function, _)] => self.died_in_job(&function.clone(), obituary.done, now),
                _ => self.died_outside_job(worker, Outside::Idle, now),
            },
            Verdict::Left => {}
        }
    }

    /// The function that was loaded or made is to blame; before that, as for any death outside a job.
    fn died_at_start(&mut self, worker: &Worker, now: Duration) {
        match worker.at_start() {
            Some((function, _)) => self.blame(function, Outside::Start, worker.born, now),
            None => self.died_outside_job(worker, Outside::Start, now),
        }
    }

    /// A worker is killed since it was not ready in time.
    pub(super) fn hung(&mut self, id: WorkerId, now: Duration) {
        // Taken out, so that it can be looked at while others are changed.
        let Some(worker) = self.workers.remove(&id) else { return };
        let stage = match worker.stage {
            Stage::Loading(_) => ": its library was being loaded",
            Stage::Making(_) => ": it was in its new()",
            Stage::Begins | Stage::Over => "",
        };
        let reason = format!("not ready within start_timeout{stage}");
        if !self.canary_hangs(&worker, &reason, now) {
            let who = worker.at_start().map_or_else(|| several(&worker.names()), |(function, _)| function.clone());
            self.last_failure = Some(format!("{who}: {reason}"));
            self.failures.insert(who, reason.clone());
            let failed = worker.at_start().cloned();
            if !failed.is_some_and(|failed| self.is_isolated_by(&worker, &failed, &reason, now)) {
                self.died_at_start(&worker, now);
            }
        }
        self.workers.insert(id, worker);
    }

    /// A version is not started again.
    fn give_up(&mut self, pid: i32, function: String, hash: String) {
        let event = Event::GivenUp { pid, function: function.clone(), version: hash.clone() };
        self.last_failure = Some(event.line());
        self.tell(event);
        let note = "its new() exited with code 125, which asks not to be started again until its library changes";
        self.failures.insert(function.clone(), note.into());
        self.given_up.insert(function, hash);
    }
}

impl Worker {
    /// What its death outside a job counts as.
    fn outside(&self) -> Outside {
        if self.has_served { Outside::Idle } else { Outside::Start }
    }

    /// Its function, where it has only one.
    fn only(&self) -> Option<&(String, String)> {
        self.functions.first().filter(|_| self.functions.len() == 1)
    }

    /// Whether nobody has told it to leave, and it does, or did without a word.
    fn leaves_by_itself(&self) -> bool {
        self.life.is_live() || matches!(self.life, Life::Leaving { why: Why::ByItself, .. })
    }

    /// Whether its end will tell that it has failed to start, unless a last job comes.
    pub(super) fn may_have_failed(&self) -> bool {
        !self.life.is_live() && self.leaves_by_itself() && (!self.has_served || self.jobs == 0)
    }

    /// Whether it had been told to leave, and was at no job: somebody has its place by now, or nobody is to have it.
    fn dies_leaving(&self, obituary: &Obituary) -> bool {
        let told = matches!(self.life, Life::Leaving { why, .. } if why != Why::ByItself);
        told && obituary.verdict == Verdict::OutsideJob
    }

    /// The function that its start has come to, where it was never as far as that: said again it changes nothing, or a
    /// plugin that forges these words would never be late.
    pub(super) fn begins_next(&mut self) -> Option<String> {
        let (Stage::Loading(index) | Stage::Making(index)) = self.stage else { return None };
        let place = self.load_order.iter().position(|at| *at == index).filter(|place| *place >= self.begun)?;
        self.begun = place + 1;
        Some(self.functions.get(index)?.0.clone())
    }

    /// The function at which its start is, and its version.
    pub(super) fn at_start(&self) -> Option<&(String, String)> {
        match self.stage {
            Stage::Loading(index) | Stage::Making(index) => self.functions.get(index),
            Stage::Begins | Stage::Over => None,
        }
    }
}

/// The function, and its version, that asked not to be started again. A canary's new version is given up anyway.
fn asks_not_again<'a>(worker: &'a Worker, obituary: &Obituary) -> Option<&'a (String, String)> {
    let Stage::Making(index) = worker.stage else { return None };
    let function = worker.functions.get(index).filter(|_| obituary.end == End::Exit(DO_NOT_START_ME_AGAIN))?;
    let tried = worker.trial.iter().flatten().any(|(name, _)| *name == function.0);
    (!tried).then_some(function)
}

fn left(worker: &Worker, obituary: &Obituary) -> Event {
    let end = obituary.end;
    let note = (!end.is_clean()).then(|| format!("{end} in its destructors, or past stop_timeout in them"));
    Event::WorkerLeft { pid: worker.pid.unwrap_or_default(), functions: worker.names(), jobs: obituary.jobs, note }
}

fn death(worker: &Worker, obituary: &Obituary, decided: Decided) -> Death {
    let (at, of) = at(worker, &obituary.verdict, obituary.end, decided);
    let only = worker.only().map(|(_, version)| version.clone());
    Death {
        pid: worker.pid.unwrap_or_default(),
        functions: worker.names(),
        end: how(obituary),
        at,
        cut_another: obituary.cut_another,
        version: of.or(only),
        generation: worker.generation,
        jobs: obituary.jobs,
        peak_mib: obituary.peak_kib / 1024,
    }
}

/// What a worker was at when it died, and the version of the function concerned.
fn at(worker: &Worker, verdict: &Verdict, end: End, decided: Decided) -> (DeathAt, Option<String>) {
    if let Some((function, version)) = worker.at_start().cloned() {
        let at = match worker.stage {
            Stage::Making(_) => DeathAt::New { function },
            _ => DeathAt::Load { function },
        };
        return (at, Some(version));
    }
    match verdict {
        _ if worker.stage == Stage::Begins => (DeathAt::Start, None),
        Verdict::InJob(lost) | Verdict::Answering(lost) => {
            let (name, version) = worker.functions.get(lost.function).cloned().unzip();
            let at = DeathAt::Job {
                function: name.unwrap_or_default(),
                handle: String::from_utf8_lossy(&lost.handle).into_owned(),
                unique: lost.unique.clone(),
                seconds: seconds(lost.ran),
                sending: matches!(verdict, Verdict::Answering(_)),
                timed_out: worker.timed_out(lost, end),
                fate: decided.fate,
                deaths: decided.deaths.map(|(deaths, _)| deaths),
                max_attempts: decided.deaths.map(|(_, most)| most),
            };
            (at, version)
        }
        Verdict::Unknown => (DeathAt::Unknown, None),
        Verdict::OutsideJob | Verdict::Left => (DeathAt::Idle, None),
    }
}
