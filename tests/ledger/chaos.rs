//! Everything that people and machines do, drawn from a seed.

use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::history::{Fault, Link};
use crate::jobs::FUNCTIONS;
use crate::proxy::{Condition, Cut};
use crate::support::wait::{DEADLINE, try_wait_for, wait_for};
use crate::world::{MANAGERS, SERVERS, World};

mod operator;

/// Within this time of a worker's death there is mostly a process that examines it.
const EXAMINATION: Duration = Duration::from_millis(300);

/// Draws what happens next, does it, and undoes it when its time is over.
pub struct Chaos {
    rng: Rng,
    /// Faults that last, each until when.
    lasting: Vec<(Instant, Lasting)>,
    /// Workers that are stopped for good, until their managers have replaced them.
    frozen: Vec<(usize, Pid)>,
}

/// A fault that lasts, and whom it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lasting {
    /// A worker or another child of a manager's is stopped.
    ChildStopped(usize, Pid),
    ManagerStopped(usize),
    ServerStopped(usize),
    ServerDead(usize),
    Disturbed(Link),
    DiskFull(usize),
    ResolverMute,
    Removed(usize, &'static str),
    Paused(usize, &'static str),
}

/// What brings a fault about, where there is something that can have it.
type Act = fn(&mut Chaos, &mut World);

/// Kinds of faults, and how often each comes.
const KINDS: [(u32, Act); 22] = [
    (10, Chaos::kill_child),
    (4, Chaos::stop_child),
    (3, Chaos::freeze_worker),
    (4, Chaos::disturb_examination),
    (2, Chaos::kill_manager),
    (3, Chaos::stop_manager),
    (1, Chaos::restart_manager),
    (4, Chaos::signal_manager),
    (2, Chaos::kill_server),
    (3, Chaos::stop_server),
    (6, Chaos::cut),
    (8, Chaos::disturb),
    (5, Chaos::deploy),
    (2, Chaos::remove),
    (2, Chaos::roll_back),
    (3, Chaos::pause),
    (2, Chaos::scale),
    (1, Chaos::restart_workers),
    (3, Chaos::end_job),
    (4, Chaos::resubmit),
    (2, Chaos::fill_disk),
    (2, Chaos::mute_resolver),
];

impl Chaos {
    /// The chaos with this seed.
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed), lasting: Vec::new(), frozen: Vec::new() }
    }

    /// Does the next thing. Returns after how many more answers the one after that is due, and when at the latest.
    pub fn step(&mut self, world: &mut World) -> (u64, Instant) {
        self.undo(world, Instant::now());
        let mut drawn = self.rng.u32(..KINDS.iter().map(|(weight, _)| weight).sum::<u32>());
        for (weight, act) in KINDS {
            if drawn < weight {
                act(self, world);
                break;
            }
            drawn -= weight;
        }
        let latest = Instant::now() + Duration::from_millis(self.rng.u64(50..400));
        let next = self.lasting.iter().map(|(until, _)| *until).min();
        (self.rng.u64(5..60), next.map_or(latest, |next| next.min(latest)))
    }

    /// Ends everything that lasts, and waits until no worker is frozen any more.
    pub fn heal(&mut self, world: &mut World) {
        while let Some(next) = self.lasting.iter().map(|(until, _)| *until).min() {
            self.undo(world, next);
        }
        wait_for("frozen workers to be replaced", DEADLINE, || self.thaw().is_empty().then_some(()));
    }

    /// Ends what lasts until `now`.
    fn undo(&mut self, world: &mut World, now: Instant) {
        let (due, later) = std::mem::take(&mut self.lasting).into_iter().partition(|(until, _)| *until <= now);
        self.lasting = later;
        let mut due: Vec<(Instant, Lasting)> = due;
        // A manager that goes on answers commands again.
        due.sort_by_key(|(_, lasting)| !matches!(lasting, Lasting::ManagerStopped(_)));
        for (_, lasting) in due {
            match lasting {
                Lasting::ChildStopped(manager, pid) => world.signal_child(manager, pid, Signal::SIGCONT),
                Lasting::ManagerStopped(manager) => {
                    world.managers[manager].signal(Signal::SIGCONT);
                    world.fault(Fault::ManagerContinued { manager });
                }
                Lasting::ServerStopped(server) => {
                    world.servers[server].cont();
                    world.fault(Fault::ServerContinued { server });
                }
                Lasting::ServerDead(server) => {
                    world.servers[server].restart_same_port();
                    world.fault(Fault::ServerStarted { server });
                }
                Lasting::Disturbed(link) => {
                    world.network.set(link, Condition::Pass);
                    world.fault(Fault::Healed { link });
                }
                Lasting::DiskFull(manager) => {
                    world.disks[manager].free();
                    world.fault(Fault::DiskFreed { manager });
                }
                Lasting::ResolverMute => {
                    world.set_resolver_mute(false);
                    world.fault(Fault::ResolverAnswers);
                }
                Lasting::Removed(manager, function) => world.deploy(manager, function, "good"),
                Lasting::Paused(manager, function) => self.resume(world, manager, function),
            }
        }
    }

    fn last(&mut self, lasting: Lasting, millis: std::ops::Range<u64>) {
        self.lasting.push((Instant::now() + Duration::from_millis(self.rng.u64(millis)), lasting));
    }

    fn has(&self, is: impl Fn(Lasting) -> bool) -> bool {
        self.lasting.iter().any(|(_, lasting)| is(*lasting))
    }

    /// The workers that are still frozen.
    fn thaw(&mut self) -> &[(usize, Pid)] {
        self.frozen.retain(|(_, pid)| is_stopped(*pid));
        &self.frozen
    }

    /// A manager that is not stopped.
    fn manager(&mut self) -> Option<usize> {
        let manager = self.rng.usize(..MANAGERS);
        (!self.has(|lasting| lasting == Lasting::ManagerStopped(manager))).then_some(manager)
    }

    /// A server that neither is stopped nor dead.
    fn server(&mut self) -> Option<usize> {
        let server = self.rng.usize(..SERVERS);
        let is_away = [Lasting::ServerStopped(server), Lasting::ServerDead(server)];
        (!self.has(|lasting| is_away.contains(&lasting))).then_some(server)
    }

    fn link(&mut self, world: &World) -> Option<Link> {
        let link = self.rng.choice(world.network.links())?;
        (!self.has(|lasting| lasting == Lasting::Disturbed(link))).then_some(link)
    }

    /// A function of a manager's that has its library.
    fn function(&mut self) -> Option<(usize, &'static str)> {
        let (manager, function) = (self.rng.usize(..MANAGERS), self.rng.choice(FUNCTIONS)?);
        (!self.has(|lasting| lasting == Lasting::Removed(manager, function))).then_some((manager, function))
    }

    fn kill_child(&mut self, world: &mut World) {
        let manager = self.rng.usize(..MANAGERS);
        let Some(pid) = self.rng.choice(world.children(manager)) else { return };
        let signals = [Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGTERM, Signal::SIGQUIT];
        world.signal_child(manager, pid, signals[self.rng.usize(..signals.len())]);
    }

    fn stop_child(&mut self, world: &mut World) {
        let manager = self.rng.usize(..MANAGERS);
        let Some(pid) = self.rng.choice(world.children(manager)) else { return };
        world.signal_child(manager, pid, Signal::SIGSTOP);
        self.last(Lasting::ChildStopped(manager, pid), 20..3000);
    }

    /// Stops a worker, and lets nobody continue it.
    fn freeze_worker(&mut self, world: &mut World) {
        let manager = self.rng.usize(..MANAGERS);
        let Some(pid) = self.rng.choice(world.workers(manager)) else { return };
        world.fault(Fault::WorkerFrozen { manager, pid: pid.as_raw() });
        let _ = kill(pid, Signal::SIGSTOP);
        self.frozen.push((manager, pid));
    }

    /// Has a worker crash, and kills or stops what examines it.
    fn disturb_examination(&mut self, world: &mut World) {
        let Some(manager) = self.manager() else { return };
        let Some(worker) = self.rng.choice(world.workers(manager)) else { return };
        world.signal_child(manager, worker, Signal::SIGSEGV);
        let signal = if self.rng.bool() { Signal::SIGKILL } else { Signal::SIGSTOP };
        let Some(pid) = try_wait_for(EXAMINATION, || world.examination(manager)) else { return };
        world.fault(Fault::ExaminationSignalled { manager, pid: pid.as_raw(), signal: signal.to_string() });
        let _ = kill(pid, signal);
    }

    fn kill_manager(&mut self, world: &mut World) {
        if let Some(manager) = self.manager() {
            world.kill_manager(manager);
        }
    }

    fn stop_manager(&mut self, world: &mut World) {
        let Some(manager) = self.manager() else { return };
        world.fault(Fault::ManagerStopped { manager });
        world.managers[manager].signal(Signal::SIGSTOP);
        self.last(Lasting::ManagerStopped(manager), 20..2000);
    }

    /// Not while a worker of its is stopped: a stop waits for that, and so would everything here. A frozen one is not
    /// replaced during a stop, but killed at its end.
    fn restart_manager(&mut self, world: &mut World) {
        let Some(manager) = self.manager() else { return };
        let is_frozen = self.thaw().iter().any(|(of, _)| *of == manager);
        if is_frozen || self.has(|lasting| matches!(lasting, Lasting::ChildStopped(of, _) if of == manager)) {
            return;
        }
        let signals = [Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGINT];
        let code = world.restart_manager(manager, signals[self.rng.usize(..signals.len())]);
        assert_eq!(code, Some(0), "manager {manager} was asked to stop");
    }

    fn signal_manager(&mut self, world: &mut World) {
        let Some(manager) = self.manager() else { return };
        let signals = [Signal::SIGHUP, Signal::SIGUSR1];
        let signal = signals[self.rng.usize(..signals.len())];
        world.fault(Fault::ManagerSignalled { manager, signal: signal.to_string() });
        world.managers[manager].signal(signal);
    }

    fn kill_server(&mut self, world: &mut World) {
        let Some(server) = self.server() else { return };
        world.fault(Fault::ServerKilled { server });
        world.servers[server].kill();
        self.last(Lasting::ServerDead(server), 0..1500);
    }

    fn stop_server(&mut self, world: &mut World) {
        let Some(server) = self.server() else { return };
        world.fault(Fault::ServerStopped { server });
        world.servers[server].stop();
        self.last(Lasting::ServerStopped(server), 20..2000);
    }

    fn cut(&mut self, world: &mut World) {
        let Some(link) = self.rng.choice(world.network.links()) else { return };
        let how = if self.rng.bool() { Cut::Close } else { Cut::Reset };
        world.fault(Fault::Cut { link });
        world.network.cut(link, how);
    }

    fn disturb(&mut self, world: &mut World) {
        let Some(link) = self.link(world) else { return };
        let condition = match self.rng.u32(..5) {
            0 => Condition::Delay(Duration::from_millis(self.rng.u64(1..50))),
            1 => Condition::Throttle(1 << self.rng.u32(4..12)),
            2 => Condition::Split(self.rng.usize(1..40)),
            3 => Condition::Stall,
            _ => Condition::Refuse,
        };
        world.fault(Fault::Disturbed { link, how: format!("{condition:?}") });
        world.network.set(link, condition);
        self.last(Lasting::Disturbed(link), 20..2000);
    }

    fn deploy(&mut self, world: &mut World) {
        let Some((manager, function)) = self.function() else { return };
        let moods = ["good", "good", "good", "slow", "crash", "fail", "new"];
        world.deploy(manager, function, moods[self.rng.usize(..moods.len())]);
    }

    fn remove(&mut self, world: &mut World) {
        let Some((manager, function)) = self.function() else { return };
        world.fault(Fault::Removed { manager, function: function.into() });
        world.managers[manager].remove(function);
        self.last(Lasting::Removed(manager, function), 20..1000);
    }

    fn fill_disk(&mut self, world: &mut World) {
        let manager = self.rng.usize(..MANAGERS);
        if manager >= world.disks.len() || self.has(|lasting| lasting == Lasting::DiskFull(manager)) {
            return;
        }
        world.fault(Fault::DiskFilled { manager });
        world.disks[manager].fill();
        self.last(Lasting::DiskFull(manager), 100..3000);
    }

    /// Names are looked up where a manager starts, and where a server is away.
    fn mute_resolver(&mut self, world: &mut World) {
        if world.machine.resolver.is_none() || self.has(|lasting| lasting == Lasting::ResolverMute) {
            return;
        }
        world.fault(Fault::ResolverMuted);
        world.set_resolver_mute(true);
        self.last(Lasting::ResolverMute, 100..3000);
    }
}

/// Whether a process is there, and stopped.
fn is_stopped(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
}
