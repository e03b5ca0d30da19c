//! What the jobs live in: job servers, managers, the network between them, and the history.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{Local, NaiveDateTime};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::history::{Fault, History, Link, Party, Record, Time};
use crate::jobs::FUNCTIONS;
use crate::machine::{Disk, Machine};
use crate::proxy::Network;
use crate::support::gearmand::{Gearmand, unused_server};
use crate::support::manager::{Manager, Setup};
use crate::support::plugins;
use crate::support::wait::{DEADLINE, wait_for};

/// How many job servers there are.
pub const SERVERS: usize = 3;

/// How many managers there are.
pub const MANAGERS: usize = 2;

/// What stands before version and mood in the library.
const MARK: &[u8] = b"gm-native ledger st.: ";

/// Failures show soon, and nothing waits long.
const INI: &str = "count = 3\ntimeout = 4\ntimeout_grace = 500ms\ngraceful_shutdown_wait_time = 20\n\
    canary_seconds = 500ms\ncanary_jobs = 5\nsettle_time = 20ms\nbackoff_max = 1\nmax_runs_per_worker = 200\n\
    worker_restart_splay = 50\nrescan_interval = 1\nmax_memory = 300M\necho_interval = 1\n\
    response_timeout = 2\nstop_timeout = 2\n";

/// What the second manager has besides: its workers hold several jobs, long ones too, from their fourth one on.
fn prefetching(manager: usize) -> String {
    let jobs = std::env::var("LEDGER_PREFETCH").unwrap_or_else(|_| "8".into());
    match manager {
        1 => format!("prefetch = {jobs}\nprefetch_hold = 10\nprefetch_probation = 3\n"),
        _ => String::new(),
    }
}

/// All of it. Fields end in their order.
pub struct World {
    /// The managers.
    pub managers: Vec<Manager>,
    /// What has their state and logs, where they have disks of their own.
    pub disks: Vec<Disk>,
    /// What the managers' machine has.
    pub machine: Machine,
    /// The job servers.
    pub servers: Vec<Gearmand>,
    /// What is between all of them, and the clients.
    pub network: Network,
    /// Where everything is written.
    pub history: Arc<History>,
    /// HOST:PORT of each server as clients reach it.
    pub for_clients: Vec<String>,
    /// The same as each manager reaches it.
    for_managers: Vec<Vec<String>>,
    library: Vec<u8>,
    versions: usize,
    dir: TempDir,
}

impl World {
    /// Starts everything, and waits until every worker serves. `verbosity` is the managers'.
    pub fn start(verbosity: &str) -> Self {
        let dir = TempDir::with_prefix("gm-ledger-").unwrap();
        for name in ["locks", "once"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let machine = Machine::prepare(dir.path());
        let history = Arc::new(History::open(&dir.path().join("history")));
        let servers: Vec<Gearmand> = (0..SERVERS).map(|_| Gearmand::start()).collect();
        let mut network = Network::start(Arc::clone(&history));
        let mut addresses = |party| -> Vec<String> {
            let link = |(server, gearmand): (usize, &Gearmand)| {
                let address = unused_server();
                network.link(Link { party, server }, &address, &gearmand.server());
                address
            };
            servers.iter().enumerate().map(link).collect()
        };
        let for_clients = addresses(Party::Clients);
        let for_managers: Vec<_> = (0..MANAGERS).map(|manager| addresses(Party::Manager(manager))).collect();
        let library = fs::read(plugins::example("gm_test_ledger")).unwrap();
        let (managers, disks, versions) = (Vec::new(), Vec::new(), 0);
        let mut world = Self {
            managers,
            disks,
            machine,
            servers,
            network,
            history,
            for_clients,
            for_managers,
            library,
            versions,
            dir,
        };
        for number in 0..MANAGERS {
            let addresses = world.for_managers[number].clone();
            let ini = format!("{INI}{}", prefetching(number));
            let setup = Setup::new(&world.named(addresses)).ini(&ini).verbosity(verbosity);
            let state = setup.dir().join("state");
            world.disks.extend(world.machine.disk(&state));
            let setup = setup.log(state.join("gm.log").to_str().unwrap()).env("GM_LEDGER", world.dir.path());
            world.managers.push(setup.prepared());
            for function in FUNCTIONS {
                world.deploy(number, function, "good");
            }
            world.managers[number].start_again();
        }
        world.wait_plan();
        world
    }

    /// The servers at these addresses, as a manager's ini has them: all but the first by name, if names are looked up.
    fn named(&self, addresses: Vec<String>) -> Vec<String> {
        let name = |(number, address): (usize, String)| match address.rsplit_once(':') {
            Some((_, port)) if number > 0 && self.machine.resolver.is_some() => format!("js{number}.test:{port}"),
            _ => address,
        };
        addresses.into_iter().enumerate().map(name).collect()
    }

    /// Where the history is.
    pub fn history_file(&self) -> PathBuf {
        self.dir.path().join("history")
    }

    /// Keeps the history, and prints where it is.
    pub fn keep(self) -> PathBuf {
        drop(self.managers);
        self.dir.keep()
    }

    /// Writes down what is about to be done.
    pub fn fault(&self, fault: Fault) {
        self.history.write(Record::Fault(fault));
    }

    /// Whether names are looked up in vain.
    pub fn set_resolver_mute(&self, mute: bool) {
        self.machine.resolver.iter().for_each(|resolver| resolver.set_mute(mute));
    }

    /// Gives a manager another version for a function.
    pub fn deploy(&mut self, manager: usize, function: &str, mood: &str) {
        self.versions += 1;
        let version = format!("v{}", self.versions);
        let at = self.library.windows(MARK.len()).position(|window| window == MARK).unwrap() + MARK.len();
        self.library[at..at + 16].copy_from_slice(format!("{version:8}{mood:8}").as_bytes());
        self.fault(Fault::Deployed { manager, function: function.into(), version, mood: mood.into() });
        let part = self.dir.path().join("part");
        fs::write(&part, &self.library).unwrap();
        self.managers[manager].install(function, &part);
    }

    /// Gives every manager a good version of every function.
    pub fn deploy_good(&mut self) {
        for manager in 0..MANAGERS {
            for function in FUNCTIONS {
                self.deploy(manager, function, "good");
            }
        }
    }

    /// The processes that a manager has started: workers, probes and its guardian.
    pub fn children(&self, manager: usize) -> Vec<Pid> {
        let pid = self.managers[manager].pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok().map(Pid::from_raw)).collect()
    }

    /// The workers of a manager.
    pub fn workers(&self, manager: usize) -> Vec<Pid> {
        let is_worker = |pid: &Pid| {
            let title = title(*pid);
            title.starts_with("gm-native: ") && !title.starts_with("gm-native: guardian")
        };
        self.children(manager).into_iter().filter(is_worker).collect()
    }

    /// The process that examines a dead worker for a manager, if there is one.
    pub fn examination(&self, manager: usize) -> Option<Pid> {
        self.children(manager).into_iter().find(|pid| title(*pid).contains("--gm-native-postmortem"))
    }

    /// Has a manager do something, without waiting until it is done: that could wait for what is stopped here. An error is
    /// what the command said.
    pub fn steer(&self, manager: usize, verb: &str, args: &[&str]) -> Result<(), String> {
        let finished = self.managers[manager].command(verb, &[&["--no-wait"], args].concat());
        let output = (finished.out() + &finished.err()).trim().to_owned();
        let command = format!("{verb} {}", args.join(" "));
        self.fault(Fault::Steered { manager, command, output: output.clone() });
        if finished.status.success() { Ok(()) } else { Err(output) }
    }

    /// The number of the server that a manager knows by this name.
    pub fn server_of(&self, manager: usize, name: &str) -> Option<usize> {
        let (_, port) = name.rsplit_once(':')?;
        self.for_managers[manager].iter().position(|address| address.rsplit_once(':').is_some_and(|(_, of)| of == port))
    }

    /// Sends a child of a manager's a signal. It may have gone.
    pub fn signal_child(&self, manager: usize, pid: Pid, signal: Signal) {
        self.fault(Fault::ChildSignalled { manager, pid: pid.as_raw(), signal: signal.to_string() });
        let _ = kill(pid, signal);
    }

    /// Kills a manager, and starts another in its place.
    pub fn kill_manager(&mut self, manager: usize) {
        self.fault(Fault::ManagerKilled { manager });
        self.managers[manager].signal(Signal::SIGKILL);
        self.managers[manager].wait_exit();
        self.write_events(manager);
        self.managers[manager].start_again();
        self.fault(Fault::ManagerStarted { manager });
    }

    /// Ends a manager as an operator does, and starts another in its place; returns the exit code of the one that ended.
    pub fn restart_manager(&mut self, manager: usize, signal: Signal) -> Option<i32> {
        let code = self.end_manager(manager, signal);
        self.managers[manager].start_again();
        self.fault(Fault::ManagerStarted { manager });
        code
    }

    /// Ends a manager as an operator does; returns its exit code.
    pub fn end_manager(&mut self, manager: usize, signal: Signal) -> Option<i32> {
        self.fault(Fault::ManagerEnding { manager });
        self.managers[manager].signal(signal);
        let status = self.managers[manager].wait_exit();
        self.write_events(manager);
        self.managers[manager].wait_gone();
        status.code()
    }

    /// Has every manager replace all of its workers.
    pub fn reload(&self) {
        self.managers.iter().for_each(|manager| manager.signal(Signal::SIGHUP));
    }

    /// Waits until every manager serves each function with as many workers as planned, and with no other one.
    pub fn wait_plan(&self) {
        for manager in &self.managers {
            manager.wait_status("all workers to serve", |status| {
                let functions = status["functions"].as_array()?;
                let is_served = |function: &Value| {
                    function["workers_planned"] != 0 && function["workers_ready"] == function["workers_planned"]
                };
                let serves = |worker: &Value| worker["state"] == "idle" || worker["state"] == "busy";
                let all = functions.len() == FUNCTIONS.len() && functions.iter().all(is_served);
                (all && status["workers"].as_array()?.iter().all(serves)).then_some(())
            });
        }
    }

    /// Waits until the servers have no job left.
    pub fn wait_queues_empty(&self) {
        for server in &self.servers {
            wait_for("the queues to be empty", DEADLINE, || {
                let is_empty = |function: &&str| {
                    server.status(function).is_none_or(|status| status.running == 0 && status.total == 0)
                };
                FUNCTIONS.iter().all(is_empty).then_some(())
            });
        }
    }

    /// Adds the events of a manager that has ended to the history.
    fn write_events(&self, manager: usize) {
        for event in self.managers[manager].wait_last_events() {
            if let Some((at, record)) = worker_record(manager, &event) {
                self.history.write_at(at, record);
            }
        }
    }

    /// What a manager holds: descriptors, and KiB of memory of its own.
    pub fn holds(&self, manager: usize) -> Holds {
        let proc = Path::new("/proc").join(self.managers[manager].pid().to_string());
        let status = fs::read_to_string(proc.join("status")).unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        let kib = memory.trim().trim_end_matches(" kB").parse().unwrap();
        Holds { descriptors: fs::read_dir(proc.join("fd")).unwrap().count(), kib }
    }
}

/// The command line of a process, which a worker replaces by what it does.
fn title(pid: Pid) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).into_owned()
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
pub struct Holds {
    /// Open descriptors.
    pub descriptors: usize,
    /// KiB of memory of its own.
    pub kib: usize,
}

/// An event about a worker, for the history.
fn worker_record(manager: usize, event: &Value) -> Option<(Time, Record)> {
    let text = |key: &str| event[key].as_str().map(str::to_owned);
    let pid = i32::try_from(event["pid"].as_i64()?).ok()?;
    let generation = || event["generation"].as_u64();
    let record = match event["event"].as_str()? {
        "worker_started" => Record::WorkerStarted { manager, pid, generation: generation()? },
        "worker_died" => {
            let (end, disposition) = (text("end")?, text("disposition").unwrap_or_default());
            let on_request = event["on_request"] == true;
            Record::WorkerDied {
                manager,
                pid,
                generation: generation()?,
                sub: text("unique"),
                end,
                disposition,
                on_request,
            }
        }
        _ => return None,
    };
    let time = NaiveDateTime::parse_from_str(event["time"].as_str()?, "%Y-%m-%d %H:%M:%S%.f").ok()?;
    let micros = time.and_local_timezone(Local).latest()?.timestamp_micros();
    Some((u64::try_from(micros).ok()?, record))
}
