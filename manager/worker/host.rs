//! What a plugin can call: progress, data, warnings, log, and whether to stop.
//!
//! Callable from any thread and at any time, also after the job's end, when it is refused. No call unwinds, and none is
//! on a job's path unless the plugin makes it.
//!
//! A process that the plugin has forked may log and nothing else: the connections, the orders and the page are its
//! parent's, and a lock may have been held by a thread that the child does not have.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use gm_plugin_api::abi::{Host, RSlice, RStr};

use crate::gearman::packet::encode;
use crate::system::fork;
use crate::worker::line;
use crate::worker::orders::JobName;
use crate::worker::sender::Sender;

/// A plugin's data waits this long for a job server that does not read.
const PATIENCE: Duration = Duration::from_secs(60);

/// The table every plugin is given.
pub static HOST: Host = Host { size: size_of::<Host>(), status, data, warning, log, stopping };

static CURRENT: Mutex<Current> =
    Mutex::new(Current { number: 0, function: String::new(), handle: Vec::new(), sender: None, packet: Vec::new() });

/// The job in hand. Its buffers are kept from job to job.
struct Current {
    number: u64,
    function: String,
    handle: Vec<u8>,
    sender: Option<Arc<Mutex<Sender>>>,
    packet: Vec<u8>,
}

fn current() -> MutexGuard<'static, Current> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A job begins: calls with its number are let through to its connection.
pub fn job_begins(number: u64, function: &str, handle: &[u8], sender: &Arc<Mutex<Sender>>) {
    let mut current = current();
    current.number = number;
    if current.function != function {
        function.clone_into(&mut current.function);
    }
    current.handle.clear();
    current.handle.extend_from_slice(handle);
    current.sender = Some(Arc::clone(sender));
}

/// The job is over: calls with its number are refused from now on. Waits for one that is under way.
pub fn job_ends() {
    let mut current = current();
    current.number = 0;
    current.sender = None;
}

/// Sends a packet of the job in hand; false where `job` is not that, and in a forked child.
fn send(job: u64, send: impl FnOnce(&mut Sender, &[u8], &mut Vec<u8>) -> bool) -> bool {
    if fork::is_child() {
        return false;
    }
    let mut current = current();
    if job == 0 || current.number != job {
        return false;
    }
    let Current { handle, sender: Some(sender), packet, .. } = &mut *current else { return false };
    packet.clear();
    send(&mut sender.lock().unwrap_or_else(PoisonError::into_inner), handle, packet)
}

extern "C" fn status(job: u64, done: u64, of: u64) -> bool {
    send(job, |sender, handle, packet| {
        encode::work_status(packet, handle, done, of).is_ok() && sender.send_status(packet)
    })
}

extern "C" fn data(job: u64, bytes: RSlice<'_, u8>) -> bool {
    send(job, |sender, handle, packet| {
        encode::work_data_head(packet, handle, bytes.len()).is_ok() && sender.send_part([packet, &bytes], PATIENCE)
    })
}

extern "C" fn warning(job: u64, bytes: RSlice<'_, u8>) -> bool {
    send(job, |sender, handle, packet| {
        encode::work_warning_head(packet, handle, bytes.len()).is_ok() && sender.send_part([packet, &bytes], PATIENCE)
    })
}

extern "C" fn log(job: u64, level: u8, _target: RStr<'_>, text: RStr<'_>) {
    let Some(line) = line::get().filter(|line| line.wants(level)) else { return };
    if fork::is_child() {
        line.log_in_child(level, text.as_str());
    } else {
        line.log(level, name_of(job), text.as_str());
    }
}

/// What a log line calls the job, where it is still in hand.
fn name_of(job: u64) -> Option<JobName> {
    let current = current();
    (job != 0 && current.number == job).then(|| JobName {
        function: current.function.clone(),
        handle: String::from_utf8_lossy(&current.handle).into_owned(),
    })
}

extern "C" fn stopping(_job: u64) -> bool {
    line::get().is_none_or(|line| if fork::is_child() { line.was_stopping() } else { line.is_stopping() })
}

/// What a forked child that came back from the plugin does before it ends: the log is to say so.
pub fn child_came_back() {
    let Some(line) = line::get() else { return };
    let current = match CURRENT.try_lock() {
        Ok(current) => Some(current),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    };
    let job = current.as_ref().filter(|current| current.number != 0);
    line.child_came_back(job.map(|job| (job.function.as_str(), job.handle.as_slice())));
}
