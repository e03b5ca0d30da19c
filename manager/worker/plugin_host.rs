//! What a plugin can call: progress, data, warnings, log, and whether to stop.
//!
//! Plugins may call these from any thread at any time; after the end of the job they are refused. No call unwinds, and
//! a job that makes no calls pays nothing.
//!
//! They are C functions that all plugins share, and take no pointer of ours, only a job's number. So their state is
//! static, here and nowhere else in the worker.
//!
//! A process that the plugin has forked may log, and nothing else: the connections, the commands and the scoreboard
//! belong to its parent, and a lock may be held by a thread that does not exist in the child.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::Duration;

use gm_plugin_api::abi::{Host, RSlice, RStr, SETTINGS};

use crate::gearman::packet::{ArgumentError, encode};
use crate::logging::excerpt;
use crate::system::fork;
use crate::worker::job_log::job_name;
use crate::worker::manager_link::ManagerLink;
use crate::worker::messages::{JobName, WorkerMessage};
use crate::worker::sender::{Sender, lock, send_part};

/// How long a plugin's data waits for a job server that does not read.
const DATA_TIMEOUT: Duration = Duration::from_secs(60);
/// A sentence about a setting is truncated to this many bytes.
const SENTENCE: usize = 512;
/// Log level of an error.
const ERROR: u8 = 1;

/// The table that every plugin gets.
pub(super) static HOST: Host = Host { size: size_of::<Host>(), status, data, warning, log, stopping };

/// Held briefly, never while sending, because logging needs it, too.
static CURRENT: Mutex<CurrentJob> =
    Mutex::new(CurrentJob { number: 0, function: String::new(), handle: Vec::new(), sender: None });

static CONNECTED: OnceLock<Connected> = OnceLock::new();

/// What the worker's main function provides for the calls.
struct Connected {
    manager_link: &'static ManagerLink,
    /// The largest packet that may be sent.
    max_packet: u64,
}

/// The job in hand. Its buffers are kept from job to job.
struct CurrentJob {
    number: u64,
    function: String,
    handle: Vec<u8>,
    sender: Option<Arc<Mutex<Sender>>>,
}

fn current() -> MutexGuard<'static, CurrentJob> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connects plugins to this manager, and to job servers with packets of at most `max_packet` bytes. To be
/// called once, before the first plugin is loaded.
pub(super) fn connect(manager_link: &'static ManagerLink, max_packet: u64) {
    let _ = CONNECTED.set(Connected { manager_link, max_packet: max_packet.min(u64::from(u32::MAX)) });
}

fn manager_link() -> Option<&'static ManagerLink> {
    CONNECTED.get().map(|connected| connected.manager_link)
}

/// A job begins: calls with its number are let through to its connection.
pub(super) fn job_begins(number: u64, function: &str, handle: &[u8], sender: &Arc<Mutex<Sender>>) {
    let mut current = current();
    current.number = number;
    if current.function != function {
        function.clone_into(&mut current.function);
    }
    current.handle.clear();
    current.handle.extend_from_slice(handle);
    current.sender = Some(Arc::clone(sender));
}

/// The job is over: calls with its number are refused from now on. A packet that is being sent has already begun, so
/// the answer follows it.
pub(super) fn job_ends() {
    let mut current = current();
    current.number = 0;
    current.sender = None;
}

/// Whether this job is in hand. Code that sends for it asks while it holds the sender, which the answer needs in turn.
fn is_in_hand(job: u64) -> bool {
    job != 0 && current().number == job
}

/// The sender for packets of the job in hand, and its handle; `None` if `job` is not in hand, or in a forked child.
fn reporting(job: u64) -> Option<(Arc<Mutex<Sender>>, Vec<u8>)> {
    if fork::is_child() {
        return None;
    }
    let current = current();
    let sender = current.sender.as_ref().filter(|_| job != 0 && current.number == job)?;
    Some((Arc::clone(sender), current.handle.clone()))
}

extern "C" fn status(job: u64, done: u64, of: u64) -> bool {
    let Some((sender, handle)) = reporting(job) else { return false };
    let mut packet = Vec::with_capacity(96);
    if encode::work_status(&mut packet, &handle, done, of).is_err() {
        return false;
    }
    let mut sender = lock(&sender);
    is_in_hand(job) && sender.send_status(&packet)
}

extern "C" fn data(job: u64, bytes: RSlice<'_, u8>) -> bool {
    part(job, &bytes, "data", encode::work_data_head)
}

extern "C" fn warning(job: u64, bytes: RSlice<'_, u8>) -> bool {
    part(job, &bytes, "a warning", encode::work_warning_head)
}

type Head = fn(&mut Vec<u8>, &[u8], usize) -> Result<(), ArgumentError>;

fn part(job: u64, bytes: &[u8], what: &str, head: Head) -> bool {
    let Some((sender, handle)) = reporting(job) else { return false };
    let most = CONNECTED.get().map_or(u64::from(u32::MAX), |connected| connected.max_packet);
    let mut packet = Vec::with_capacity(96);
    if (handle.len() + 1 + bytes.len()) as u64 > most || head(&mut packet, &handle, bytes.len()).is_err() {
        let text = format!("{what} of {} bytes is larger than max_packet, {most} bytes: it is not sent", bytes.len());
        log_line(job, ERROR, &text);
        return false;
    }
    send_part(&sender, [&packet, bytes], || is_in_hand(job), DATA_TIMEOUT)
}

extern "C" fn log(job: u64, level: u8, target: RStr<'_>, text: RStr<'_>) {
    match manager_link() {
        // Every worker of the function reports the same, so the manager logs it once.
        Some(manager_link) if target == SETTINGS && !fork::is_child() => {
            manager_link.send(&WorkerMessage::UnreadSetting { text: excerpt(text.as_bytes(), SENTENCE).into_owned() });
        }
        _ => log_line(job, level, text.as_str()),
    }
}

fn log_line(job: u64, level: u8, text: &str) {
    let Some(manager_link) = manager_link().filter(|manager_link| manager_link.wants(level)) else { return };
    if fork::is_child() {
        manager_link.log_in_child(level, text);
    } else {
        manager_link.log(level, name_of(job), text);
    }
}

/// How a log line names the job, if it is still in hand.
fn name_of(job: u64) -> Option<JobName> {
    let current = current();
    (job != 0 && current.number == job).then(|| job_name(&current.function, &current.handle))
}

extern "C" fn stopping(_job: u64) -> bool {
    manager_link().is_none_or(
        |manager_link| {
            if fork::is_child() { manager_link.was_stopping() } else { manager_link.is_stopping() }
        },
    )
}

/// What a forked child that returned from the plugin does before it ends: it reports itself for the log.
pub(super) fn forked_child_returned() {
    let Some(manager_link) = manager_link() else { return };
    let current = match CURRENT.try_lock() {
        Ok(current) => Some(current),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    };
    let job = current.as_ref().filter(|current| current.number != 0);
    manager_link.forked_child_returned(job.map(|job| (job.function.as_str(), job.handle.as_slice())));
}
