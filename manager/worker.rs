//! The child process that serves functions: a blocking loop on one thread, no runtime.
//!
//! [`main`] reads its configuration, loads the plugins and runs the loop of `serve::Worker`. The path of a job: `grab`
//! asks for it, [`session`] reads its bytes, `receive` takes the packet, `server_connection` interprets it,
//! `job_runner` and [`job`] run it through [`plugin`], `answer` and [`sender`] send the result, and [`pending`] keeps
//! what does not fit into the socket buffer yet.

mod answer;
mod broken_connection;
pub(crate) mod connections;
mod failures;
mod grab;
pub(crate) mod job;
mod job_limit;
mod job_log;
mod job_runner;
pub(crate) mod log_rate_limit;
pub(crate) mod manager_link;
mod memory_limit;
pub(crate) mod messages;
pub(crate) mod pending;
pub(crate) mod plugin;
mod plugin_host;
mod prefetch;
mod proctitle;
mod ready;
pub(crate) mod receive;
pub(crate) mod reconnect_backoff;
mod renewal;
pub(crate) mod sender;
mod serve;
pub(crate) mod server_connection;
pub(crate) mod session;
pub(crate) mod shutdown;
mod spin_guard;
mod trace;
mod wait;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::deny_list::DeniedJobs;
use crate::plugins::loader::LoadedSiblings;
use crate::scoreboard::{self, ScoreboardWriter};
use crate::system::channel::Channel;
use crate::system::errors::reason;
use crate::system::spawn::{CHANNEL_FD, EXTRA_FD, inherited};
use crate::system::stop_signal::{self, StopSignal};
use crate::system::{child_exit, clock, crash_handler, fork, handlers, memory, orphan_output};
use manager_link::ManagerLink;
use messages::{WorkerConfig, WorkerMessage};
use plugin::LoadedFunction;

/// The hidden argument that makes the program a worker.
pub(crate) const ROLE: &str = "--gm-native-worker";

/// Exit code of a worker whose plugin cannot be served; the manager has received the reason.
pub(crate) const CANNOT_SERVE: i32 = 4;

/// Exit code of a worker whose plugin has closed, replaced or shut down its connection to the job server, so that the
/// job in hand cannot be answered. It has this meaning only outside a job's function: inside one, a plugin may exit
/// with any code.
pub(crate) const CONNECTION_BROKEN: i32 = 71;

/// Runs a worker from start to exit. Never returns, since the process's destructors would run after the plugin's.
pub(crate) fn main() -> ! {
    let Some((channel, scoreboard, denied, config)) = inheritance() else {
        eprintln!("gm-native: {ROLE} is how the manager starts its workers; it does nothing by hand");
        child_exit::now(2);
    };
    let manager_link: &ManagerLink = Box::leak(Box::new(ManagerLink::new(channel, config.verbosity)));
    plugin_host::connect(manager_link, config.limits.max_packet);
    let (scoreboard, denied, stop) = match prepare_process(&config, &scoreboard, &denied) {
        Ok(all) => all,
        Err(error) => {
            manager_link.send(&WorkerMessage::CannotServe {
                function: 0,
                reason: format!("the worker could not start: {}", reason(&error)),
            });
            child_exit::now(CANNOT_SERVE);
        }
    };
    let proctitle = proctitle::ProcTitle::new(&config);
    proctitle.starting();
    let functions = load(&config, manager_link);
    memory::give_back();
    manager_link.send(&WorkerMessage::Loaded);
    let worker = serve::Worker::new(config, functions, manager_link, stop, Arc::new(scoreboard), denied, proctitle);
    let (functions, stop_timeout) = worker.run();
    stop_signal::kill_after(stop_timeout);
    drop(functions);
    child_exit::flushed(0);
}

/// What the manager left on the known descriptors.
fn inheritance() -> Option<(Channel, OwnedFd, OwnedFd, WorkerConfig)> {
    let channel = Channel::from_fd(inherited(CHANNEL_FD)?);
    let scoreboard = inherited(EXTRA_FD)?;
    let config = std::fs::File::from(inherited(EXTRA_FD + 1)?);
    let denied = inherited(EXTRA_FD + 2)?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut &config, &mut bytes).ok()?;
    Some((channel, scoreboard, denied, messages::decode(&bytes).ok()?))
}

fn prepare_process(
    config: &WorkerConfig,
    scoreboard: &OwnedFd,
    denied: &OwnedFd,
) -> std::io::Result<(ScoreboardWriter, DeniedJobs, StopSignal)> {
    if let Some(most) = config.limits.max_memory_hard {
        memory::limit(most)?;
    }
    let functions = config.functions.len();
    let workload_max = usize::try_from(config.limits.crash_workload_max).unwrap_or(usize::MAX);
    let crash_area = scoreboard::map_crash_area(scoreboard, functions, workload_max)?;
    let scoreboard = ScoreboardWriter::map(scoreboard, functions)?;
    let denied = DeniedJobs::map(denied)?;
    fork::watch(plugin_host::forked_child_returned)?;
    handlers::catch_broken_pipes()?;
    crash_handler::install(crash_area)?;
    orphan_output::keep_open()?;
    let stop = StopSignal::install()?;
    stop.outlives(config.manager, config.limits.grace)?;
    Ok((scoreboard, denied, stop))
}

/// An error if a stop was requested during this `new()`: a function whose `new()` itself requests a stop would
/// otherwise stop each new worker, and the other functions with it.
fn check_stop_requested(manager_link: &ManagerLink) -> Result<(), String> {
    manager_link.read_commands(clock::now());
    match stop_signal::asked() {
        true => {
            Err("its worker was asked to stop (SIGTERM or SIGINT) or lost its descriptors while its new() ran".into())
        }
        false => Ok(()),
    }
}

/// Loads every function in turn; the first failure is reported and ends the worker. Returns the functions in CAN_DO
/// order.
fn load(config: &WorkerConfig, manager_link: &ManagerLink) -> Vec<LoadedFunction> {
    let mut functions = BTreeMap::new();
    let mut brought = LoadedSiblings::default();
    for (index, function) in config.load_order.iter().filter_map(|index| Some((*index, config.functions.get(*index)?)))
    {
        manager_link.send(&WorkerMessage::Loading { function: index });
        let loaded = brought.load(&function.library, &function.symbol, &function.beside, &function.elsewhere);
        let loaded = loaded.map_err(|error| error.to_string());
        let made = loaded.and_then(|loaded| {
            manager_link.send(&WorkerMessage::Making { function: index });
            let made =
                LoadedFunction::make(loaded, &function.name, &function.settings, config.verbosity, &plugin_host::HOST)?;
            check_stop_requested(manager_link).map(|()| made)
        });
        match made {
            Ok(function) => drop(functions.insert(index, function)),
            Err(reason) => {
                manager_link.send(&WorkerMessage::CannotServe {
                    function: index,
                    reason: manager_link::cut(&reason, manager_link::REASON_CUT),
                });
                child_exit::now(CANNOT_SERVE);
            }
        }
    }
    functions.into_values().collect()
}
