//! The child process that serves functions: a blocking loop on one thread, no runtime.
//!
//! [`main`] reads the orders, loads the plugins and walks `serve::Worker` to its end. A job's way: [`session`] reads
//! it, [`talk`] says what it means, [`job`] runs it through [`plugin`] and `host`, `answer` and [`sender`] send what it
//! came to, and [`pending`] keeps what has no room yet.

mod answer;
mod connections;
mod growth;
mod host;
pub mod job;
mod journal;
mod leave;
pub mod line;
pub mod orders;
pub mod pending;
pub mod plugin;
pub mod quota;
mod ready;
pub mod retry;
mod runs;
pub mod sender;
mod serve;
pub mod session;
mod spin_guard;
mod taken;
pub mod talk;
mod titles;
mod trace;
mod wait;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::plugins::loader::Brought;
use crate::system::channel::Channel;
use crate::system::deny_list::DeniedJobs;
use crate::system::errors::reason;
use crate::system::page::PageWriter;
use crate::system::spawn::{CHANNEL_FD, EXTRA_FD, inherited};
use crate::system::stop_signal::{self, StopSignal};
use crate::system::{clock, exit, fork, handlers, memory};
use orders::{Orders, Word};
use plugin::Function;

/// The hidden argument that makes the program a worker.
pub const ROLE: &str = "--gm-native-worker";

/// Exit code of a worker whose plugin cannot be served; the manager has heard the reason.
pub const CANNOT_SERVE: i32 = 4;

/// Exit code of a worker whose plugin has closed, replaced or shut down its connection to the job server, so that the
/// job in hand cannot be answered. It counts only while a job is answered: in a job a plugin exits with what it likes.
pub const CONNECTION_TAKEN: i32 = 71;

/// A worker's whole life. Returns never: destructors of the process would run after those of the plugin.
pub fn main() -> ! {
    let Some((channel, page, denied, orders)) = inheritance() else {
        eprintln!("gm-native: {ROLE} is how the manager starts its workers; it does nothing by hand");
        exit::now(2);
    };
    let line = line::open(channel, orders.verbosity);
    let (page, denied, stop) = match arrive(&orders, &page, &denied) {
        Ok(all) => all,
        Err(error) => {
            line.say(&Word::CannotServe {
                function: 0,
                reason: format!("the worker could not start: {}", reason(&error)),
            });
            exit::now(CANNOT_SERVE);
        }
    };
    let titles = titles::Titles::new(&orders);
    titles.starting();
    let functions = load(&orders, line);
    memory::give_back();
    line.say(&Word::Loaded);
    let worker = serve::Worker::new(orders, functions, line, stop, Arc::new(page), denied, titles);
    let (functions, stop_timeout) = worker.run();
    stop_signal::kill_after(stop_timeout);
    drop(functions);
    exit::flushed(0);
}

/// What the manager left on the known descriptors.
fn inheritance() -> Option<(Channel, OwnedFd, OwnedFd, Orders)> {
    let channel = Channel::from_fd(inherited(CHANNEL_FD)?);
    let page = inherited(EXTRA_FD)?;
    let orders = std::fs::File::from(inherited(EXTRA_FD + 1)?);
    let denied = inherited(EXTRA_FD + 2)?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut &orders, &mut bytes).ok()?;
    Some((channel, page, denied, orders::decode(&bytes).ok()?))
}

fn arrive(orders: &Orders, page: &OwnedFd, denied: &OwnedFd) -> std::io::Result<(PageWriter, DeniedJobs, StopSignal)> {
    if let Some(most) = orders.limits.max_memory_hard {
        memory::limit(most)?;
    }
    let page = PageWriter::map(page, orders.functions.len())?;
    let denied = DeniedJobs::map(denied)?;
    fork::watch(host::child_came_back)?;
    handlers::catch_broken_pipes()?;
    let stop = StopSignal::install()?;
    stop.outlives(orders.manager, orders.limits.grace)?;
    Ok((page, denied, stop))
}

/// Whether this worker may still serve, now that one more `new()` has run: who takes a function along that has asked its
/// worker to leave would leave again and again, and the others with it.
fn may_go_on(line: &line::Line) -> Result<(), String> {
    line.look_now(clock::now());
    match stop_signal::asked() {
        true => {
            Err("its worker was asked to stop (SIGTERM or SIGINT) or lost its descriptors while its new() ran".into())
        }
        false => Ok(()),
    }
}

/// Loads every function in turn; the first that fails ends the worker, and says which. Returned in the order of CAN_DO.
fn load(orders: &Orders, line: &line::Line) -> Vec<Function> {
    let mut functions = BTreeMap::new();
    let mut brought = Brought::default();
    for (index, order) in orders.load_order.iter().filter_map(|index| Some((*index, orders.functions.get(*index)?))) {
        line.say(&Word::Loading { function: index });
        let loaded = brought.load(&order.library, &order.symbol, &order.beside, &order.elsewhere);
        let loaded = loaded.map_err(|error| error.to_string());
        let made = loaded.and_then(|loaded| {
            line.say(&Word::Making { function: index });
            let made = Function::make(loaded, &order.name, &order.settings, orders.verbosity, &host::HOST)?;
            may_go_on(line).map(|()| made)
        });
        match made {
            Ok(function) => drop(functions.insert(index, function)),
            Err(reason) => {
                line.say(&Word::CannotServe { function: index, reason: line::cut(&reason, line::REASON_CUT) });
                exit::now(CANNOT_SERVE);
            }
        }
    }
    functions.into_values().collect()
}
