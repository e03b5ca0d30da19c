//! The jobs that no worker may run again. Their last runs killed workers, and the manager may have been unable to answer
//! their callers: half a packet was sent, or the connection was gone. A worker that receives such a job fails it.
//!
//! The manager writes to memory that every worker maps read-only, before it lets the job server give the job to another
//! worker, so no worker can miss it. While the list is empty it costs a job one load.

#![allow(unsafe_code)] // What lies in shared memory; each line says why it is sound.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};
use std::time::Duration;

use crate::system::shared_memory::{Access, Seal, Shareable, SharedMapping};

/// Room for this many jobs; a new one replaces the oldest.
const SLOTS: usize = 1024;
/// Length of a reason in words of 8 bytes; longer ones are cut.
const TEXT_WORDS: usize = 30;
/// A job is on the list for this long.
const EXPIRES: Duration = Duration::from_secs(3600);

/// Names a job while its server knows it. The server is named too: two of them give the same handles.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobIdentity<'a> {
    /// As configured, HOST:PORT.
    pub server: &'a str,
    /// Its function.
    pub function: &'a [u8],
    /// Its handle.
    pub handle: &'a [u8],
    /// Its unique id: a restarted server starts its handles again from the beginning, clients rarely do.
    pub unique: &'a [u8],
}

impl JobIdentity<'_> {
    /// A 64-bit key for the job. Both ends are the same binary, so they hash alike; 0 marks a free slot.
    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.server, self.function, self.handle, String::from_utf8_lossy(self.unique)).hash(&mut hasher);
        hasher.finish().max(1)
    }
}

#[repr(C)]
struct Table {
    /// Slots used since the list was last empty.
    used: AtomicU64,
    keys: [AtomicU64; SLOTS],
    details: [Details; SLOTS],
}

#[repr(C)]
struct Details {
    /// In nanoseconds on the monotonic clock that both sides share.
    added: AtomicU64,
    length: AtomicU64,
    text: [AtomicU64; TEXT_WORDS],
}

// SAFETY: atomics, and any bytes are some.
unsafe impl Shareable for Table {}

/// The manager's side.
pub(crate) struct DenyList {
    fd: OwnedFd,
    mapping: SharedMapping<Table>,
    /// The server of the job in each slot.
    servers: Vec<String>,
    next: usize,
}

impl DenyList {
    /// An empty list.
    ///
    /// # Errors
    /// The system's, out of descriptors or memory.
    pub(crate) fn new() -> io::Result<Self> {
        // A plugin in one worker cannot write to what the others read.
        let (fd, mapping) = SharedMapping::create(c"gm-native-denied", 0, Access::Write, Seal::LaterWrites)?;
        Ok(Self { fd, mapping, servers: Vec::new(), next: 0 })
    }

    /// A copy of the descriptor, for a worker.
    ///
    /// # Errors
    /// The system's, out of descriptors.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Denies the job; its caller gets `reason`.
    pub(crate) fn add(&mut self, job: &JobIdentity<'_>, reason: &str, now: Duration) {
        let table = self.mapping.header();
        let key = job.key();
        let known = table.keys[..self.servers.len()].iter().position(|of| of.load(Relaxed) == key);
        let slot = known.unwrap_or(self.next);
        // A reader must not match the old key with the new text.
        table.keys[slot].store(0, Relaxed);
        fence(Release);
        let details = &table.details[slot];
        details.added.store(nanos(now), Relaxed);
        let text = &reason.as_bytes()[..reason.len().min(TEXT_WORDS * 8)];
        details.length.store(text.len() as u64, Relaxed);
        for (word, chunk) in details.text.iter().zip(text.chunks(8)) {
            let mut raw = [0; 8];
            raw[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_ne_bytes(raw), Relaxed);
        }
        table.keys[slot].store(key, Release);
        if known.is_none() {
            match self.servers.get_mut(slot) {
                Some(server) => job.server.clone_into(server),
                None => self.servers.push(job.server.to_owned()),
            }
            self.next = (slot + 1) % SLOTS;
        }
        table.used.store(self.servers.len() as u64, Release);
    }

    /// Denies the job no more, if it was denied.
    pub(crate) fn remove(&mut self, job: &JobIdentity<'_>) {
        let key = job.key();
        let keys = &self.mapping.header().keys[..self.servers.len()];
        keys.iter().filter(|of| of.load(Relaxed) == key).for_each(|of| of.store(0, Release));
    }

    /// The job server may have been restarted, and then gives the same handles to other jobs.
    pub(crate) fn forget_server(&mut self, server: &str) {
        let table = self.mapping.header();
        for (key, _) in table.keys.iter().zip(&self.servers).filter(|(_, of)| *of == server) {
            key.store(0, Release);
        }
        if self.servers.iter().zip(&table.keys).all(|(_, key)| key.load(Relaxed) == 0) {
            self.servers.clear();
            self.next = 0;
            table.used.store(0, Release);
        }
    }
}

/// A worker's side.
pub(crate) struct DeniedJobs(SharedMapping<Table>);

impl DeniedJobs {
    /// Maps an inherited list.
    ///
    /// # Errors
    /// The system's, if `fd` is not a deny list.
    pub(crate) fn map(fd: &OwnedFd) -> io::Result<Self> {
        Ok(Self(SharedMapping::map(fd, 0, Access::Read)?))
    }

    /// Why the job may not run; `None` for nearly every job.
    ///
    /// Where the worker lost an earlier connection to this server at `lost`, the server may have been restarted. What was
    /// denied before then meant other jobs, even if the manager has not heard of the loss yet.
    pub(crate) fn reason(&self, job: &JobIdentity<'_>, lost: Option<Duration>, now: Duration) -> Option<String> {
        let table = self.0.header();
        let used = table.used.load(Acquire);
        if used == 0 {
            return None;
        }
        let used = usize::try_from(used).unwrap_or(SLOTS).min(SLOTS);
        let key = job.key();
        let slot = table.keys[..used].iter().position(|of| of.load(Acquire) == key)?;
        let details = &table.details[slot];
        let length = usize::try_from(details.length.load(Relaxed)).unwrap_or(0).min(TEXT_WORDS * 8);
        let mut text: Vec<u8> = details.text.iter().flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect();
        text.truncate(length);
        let added = Duration::from_nanos(details.added.load(Relaxed));
        let is_over = now >= added.saturating_add(EXPIRES) || lost.is_some_and(|lost| added <= lost);
        fence(Acquire);
        let is_same = table.keys[slot].load(Relaxed) == key;
        (is_same && !is_over).then(|| String::from_utf8_lossy(&text).into_owned())
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn job(handle: &str) -> JobIdentity<'_> {
        JobIdentity { server: "a:4730", function: b"f", handle: handle.as_bytes(), unique: b"u" }
    }

    fn both() -> (DenyList, DeniedJobs) {
        let list = DenyList::new().unwrap();
        let denied = DeniedJobs::map(&list.share().unwrap()).unwrap();
        (list, denied)
    }

    #[test]
    fn only_the_job_that_was_denied_is_and_for_a_time() {
        let (mut list, denied) = both();
        assert_eq!(denied.reason(&job("H:1"), None, NOW), None);
        list.add(&job("H:1"), "a reason", NOW);
        assert_eq!(denied.reason(&job("H:1"), None, NOW).as_deref(), Some("a reason"));
        for other in [
            job("H:2"),
            JobIdentity { server: "b:4730", ..job("H:1") },
            JobIdentity { function: b"g", ..job("H:1") },
            JobIdentity { unique: b"v", ..job("H:1") },
        ] {
            assert_eq!(denied.reason(&other, None, NOW), None, "{other:?}");
        }
        list.add(&job("H:1"), &"x".repeat(1000), NOW + EXPIRES / 2);
        assert_eq!(
            denied.reason(&job("H:1"), None, NOW + EXPIRES),
            Some("x".repeat(TEXT_WORDS * 8)),
            "denied again, and cut"
        );
        assert_eq!(denied.reason(&job("H:1"), None, NOW + EXPIRES * 2), None);
    }

    /// S10.
    #[test]
    fn what_was_denied_before_the_connection_was_lost_is_forgotten() {
        let (mut list, denied) = both();
        list.add(&job("H:1"), "a", NOW);
        let before = NOW.saturating_sub(Duration::from_nanos(1));
        assert_eq!(denied.reason(&job("H:1"), Some(before), NOW).as_deref(), Some("a"), "denied since");
        assert_eq!(denied.reason(&job("H:1"), Some(NOW), NOW), None);
    }

    /// S10.
    #[test]
    fn a_server_that_went_takes_its_handles_along() {
        let (mut list, denied) = both();
        let elsewhere = JobIdentity { server: "b:4730", ..job("H:1") };
        list.add(&job("H:1"), "a", NOW);
        list.add(&elsewhere, "b", NOW);
        list.forget_server("a:4730");
        assert_eq!(
            (denied.reason(&job("H:1"), None, NOW), denied.reason(&elsewhere, None, NOW)),
            (None, Some("b".into()))
        );
        list.forget_server("b:4730");
        assert_eq!((denied.reason(&elsewhere, None, NOW), list.mapping.header().used.load(Relaxed)), (None, 0));
        list.add(&job("H:2"), "c", NOW);
        assert_eq!(denied.reason(&job("H:2"), None, NOW).as_deref(), Some("c"));
    }

    #[test]
    fn workers_read_it_and_nothing_else() {
        let (list, _denied) = both();
        let fd = list.share().unwrap();
        assert!(SharedMapping::<Table>::map(&fd, 0, Access::Write).is_err());
        assert!(nix::unistd::write(&fd, &[0]).is_err());
        assert!(nix::unistd::ftruncate(&fd, 0).is_err());
    }

    #[test]
    fn a_job_may_be_allowed_again() {
        let (mut list, denied) = both();
        list.remove(&job("H:1"));
        list.add(&job("H:1"), "a", NOW);
        list.add(&job("H:2"), "b", NOW);
        list.remove(&job("H:1"));
        assert_eq!(
            (denied.reason(&job("H:1"), None, NOW), denied.reason(&job("H:2"), None, NOW)),
            (None, Some("b".into()))
        );
        list.add(&job("H:1"), "c", NOW);
        assert_eq!(denied.reason(&job("H:1"), None, NOW).as_deref(), Some("c"));
    }

    #[test]
    fn the_list_is_bounded() {
        let (mut list, denied) = both();
        for number in 0..SLOTS + 10 {
            list.add(&job(&number.to_string()), "r", NOW);
        }
        assert_eq!(denied.reason(&job("9"), None, NOW), None, "the oldest went");
        assert!([10, SLOTS + 9].iter().all(|number| denied.reason(&job(&number.to_string()), None, NOW).is_some()));
    }
}
