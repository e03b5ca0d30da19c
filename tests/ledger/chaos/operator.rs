//! What operators do to a manager: they steer it, and submit jobs in quarantine again.

use serde_json::Value;

use super::{Chaos, Lasting};
use crate::history::{Fault, Link, Party, Record, now};
use crate::jobs::FUNCTIONS;
use crate::world::World;

impl Chaos {
    pub(super) fn roll_back(&mut self, world: &mut World) {
        let Some(manager) = self.manager() else { return };
        let function = FUNCTIONS[self.rng.usize(..FUNCTIONS.len())];
        // It may have no earlier version, which the output shows. Nor is it waited for: that could be what is stopped here.
        let finished = world.managers[manager].command("rollback", &["--no-wait", function]);
        let output = String::from_utf8_lossy(&[finished.stdout, finished.stderr].concat()).trim().to_owned();
        world.fault(Fault::RolledBack { manager, function: function.into(), output });
    }

    pub(super) fn pause(&mut self, world: &mut World) {
        let (Some(manager), Some(function)) = (self.manager(), self.rng.choice(FUNCTIONS)) else { return };
        let paused = Lasting::Paused(manager, function);
        if !self.has(|lasting| lasting == paused) && world.steer(manager, "pause", &[function]).is_ok() {
            self.last(paused, 50..1500);
        }
    }

    /// Ends a pause, or tries to again a little later: its manager may be stopped, or its disk full.
    pub(super) fn resume(&mut self, world: &mut World, manager: usize, function: &'static str) {
        let is_stopped = self.has(|lasting| lasting == Lasting::ManagerStopped(manager));
        let resumed = !is_stopped
            && match world.steer(manager, "resume", &[function]) {
                Ok(()) => true,
                // The manager before could not write it down.
                Err(output) => output.contains("is not paused"),
            };
        if !resumed {
            self.last(Lasting::Paused(manager, function), 100..200);
        }
    }

    /// Not below the number of workers that serve all functions.
    pub(super) fn scale(&mut self, world: &mut World) {
        let (Some(manager), Some(function)) = (self.manager(), self.rng.choice(FUNCTIONS)) else { return };
        let workers = self.rng.u32(3..6).to_string();
        let _ = world.steer(manager, "scale", &[function, &workers]);
    }

    pub(super) fn restart_workers(&mut self, world: &mut World) {
        let (Some(manager), Some(function)) = (self.manager(), self.rng.choice(FUNCTIONS)) else { return };
        let which = if self.rng.bool() { "all" } else { function };
        let _ = world.steer(manager, "restart", &[which]);
    }

    /// It may have ended by itself meanwhile.
    pub(super) fn end_job(&mut self, world: &mut World) {
        let Some(manager) = self.manager() else { return };
        let Some(status) = world.managers[manager].try_status() else { return };
        let workers = status["workers"].as_array().into_iter().flatten();
        let busy = workers.filter(|worker| !worker["job_seconds"].is_null());
        let busy: Vec<String> = busy.map(|worker| worker["pid"].to_string()).collect();
        if let Some(pid) = self.rng.choice(&busy) {
            let _ = world.steer(manager, "kill", &[pid]);
        }
    }

    /// A job whose server can be reached: the command would wait for others, and so would everything here.
    pub(super) fn resubmit(&mut self, world: &mut World) {
        let Some(manager) = self.manager() else { return };
        let listed = world.managers[manager].command("quarantine", &["list", "--json"]).success();
        let listed: Vec<Value> = serde_json::from_slice(&listed).unwrap();
        let jobs: Vec<&Value> = listed.iter().filter(|job| self.is_reachable(world, manager, job)).collect();
        let Some(job) = self.rng.choice(jobs) else { return };
        let text = |key: &str| job[key].as_str().unwrap_or_default().to_owned();
        let at = now();
        let finished = world.managers[manager].command("quarantine", &["resubmit", &text("id")]);
        let output = finished.out() + &finished.err();
        let fault = Fault::Resubmitted { manager, sub: text("unique"), output };
        world.history.write_at(at, Record::Fault(fault));
    }

    fn is_reachable(&self, world: &World, manager: usize, job: &Value) -> bool {
        let Some(server) = job["server"].as_str().and_then(|server| world.server_of(manager, server)) else {
            return false;
        };
        let link = Link { party: Party::Manager(manager), server };
        let is_away = [
            Lasting::ServerStopped(server),
            Lasting::ServerDead(server),
            Lasting::Disturbed(link),
            Lasting::ResolverMute,
        ];
        !self.has(|lasting| is_away.contains(&lasting))
    }
}
