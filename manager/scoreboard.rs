//! The scoreboard that a worker and the manager share: what the worker is doing, and how much it has done.
//!
//! The manager creates the memfd and seals its size, so a worker can neither shrink it under the manager (SIGBUS) nor
//! grow it. The worker writes; the manager maps it read-only and takes everything in it as **hostile input**: a plugin
//! can scribble over the scoreboard of its worker. Every word is an atomic, since two processes access it at once.

#![allow(unsafe_code)] // What lies in shared memory; each line says why it is sound.

mod last_failure;
mod recent_jobs;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU32, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence,
};
use std::time::Duration;

use crate::system::crash_area::{self, CrashArea};
use crate::system::shared_memory::{Access, Seal, Shareable, SharedMapping};

use last_failure::FailureSlot;
pub(crate) use last_failure::{FAILURE_TEXT, LastFailure};
pub(crate) use recent_jobs::RecentJob;
use recent_jobs::RecentJobs;

const HANDLE_WORDS: usize = 32;
const UNIQUE_WORDS: usize = 16;
/// Connections in the middle of a packet that are listed one by one.
const SENDING_WORDS: usize = 16;
/// More connections than any worker has in the middle of a packet.
const MAX_SENDING: u32 = 1 << 16;
/// Run times are counted in powers of two: bucket `n` holds the jobs that took under 2^n microseconds.
pub(crate) const BUCKETS: usize = 32;

/// What a worker is doing, by its own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum WorkerActivity {
    /// Loading its plugins, or making their objects.
    Starting = 0,
    /// Waiting for a job.
    Idle = 1,
    /// Inside a plugin's function.
    Running = 2,
    /// The function has returned; its answer is on its way to the job server.
    Answering = 3,
    /// Taking no more jobs.
    Draining = 4,
    /// Disconnected from all job servers; only destructors are left to run.
    Disconnected = 5,
    /// The last job is counted, and its answer still waits for room in the connection.
    AnswerPending = 6,
}

impl WorkerActivity {
    fn from_word(word: u32) -> Self {
        match word {
            1 => Self::Idle,
            2 => Self::Running,
            3 => Self::Answering,
            4 => Self::Draining,
            5 => Self::Disconnected,
            6 => Self::AnswerPending,
            _ => Self::Starting,
        }
    }

    /// Whether a worker writes such a word.
    fn is_word(word: u32) -> bool {
        word <= Self::AnswerPending as u32
    }

    /// Whether there is a job in hand.
    pub(crate) fn has_job(self) -> bool {
        matches!(self, Self::Running | Self::Answering | Self::AnswerPending)
    }
}

#[repr(C)]
struct ScoreboardHeader {
    /// Odd while the words below are being written.
    sequence: AtomicU64,
    activity: AtomicU32,
    function: AtomicU32,
    connection: AtomicU32,
    /// How many connections are between a packet's first byte and its last, beside those named in `sending`.
    unlisted_senders: AtomicU32,
    job: AtomicU64,
    started_ns: AtomicU64,
    handle_len: AtomicU32,
    unique_len: AtomicU32,
    handle: [AtomicU64; HANDLE_WORDS],
    unique: [AtomicU64; UNIQUE_WORDS],
    /// Which connections are; 0 is none.
    sending: [AtomicU32; SENDING_WORDS],
    /// When the worker last polled: monotonic nanoseconds.
    polled_ns: AtomicU64,
    /// When it last received something from a job server, as of its last poll.
    received_ns: AtomicU64,
    /// When its last job ended.
    ended_ns: AtomicU64,
    recent: RecentJobs,
}

impl ScoreboardHeader {
    /// Whether a packet may be half on the wire of this connection, or of any; and whether of another one.
    fn senders(&self, connection: Option<u32>) -> (bool, bool) {
        let has_unlisted = self.unlisted_senders.load(Acquire) > 0;
        let (mut own, mut other) = (has_unlisted, has_unlisted && connection.is_some());
        for number in self.sending.iter().map(|word| word.load(Acquire)).filter(|&number| number != 0) {
            match connection {
                Some(connection) if connection != number => other = true,
                _ => own = true,
            }
        }
        (own, other)
    }
}

#[repr(C)]
struct FunctionBlock {
    completed: AtomicU64,
    failed: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    run_ns: AtomicU64,
    histogram: [AtomicU64; BUCKETS],
}

// SAFETY: atomics, and any bytes are some.
unsafe impl Shareable for ScoreboardHeader {}
// SAFETY: as above.
unsafe impl Shareable for FunctionBlock {}

// SAFETY: as above.
unsafe impl Shareable for FailureSlot {}

/// A header, a block for each function, and then a slot for the last failure of each: the pages of the slots take memory
/// only once a job has failed.
type ScoreboardMapping = SharedMapping<ScoreboardHeader, FunctionBlock, FailureSlot>;

/// Creates a scoreboard for this many functions: the descriptor for the worker, the view for the manager. A crash area
/// with room for workloads of up to `workload_max` bytes lies behind it.
///
/// # Errors
/// The system's, out of descriptors or memory.
pub(crate) fn create(functions: usize, workload_max: usize) -> io::Result<(OwnedFd, ScoreboardView)> {
    let rest = crash_area::size(workload_max)?;
    let (name, access) = (c"gm-native-scoreboard", Access::Read);
    let (fd, mapping) = SharedMapping::create_with_rest(name, functions, access, Seal::Size, rest)?;
    Ok((fd, ScoreboardView { mapping, workload_max }))
}

/// Maps the crash area of an inherited scoreboard, which was created with the same numbers.
///
/// # Errors
/// The system's, or one that says that `fd` is too small.
pub(crate) fn map_crash_area(fd: &OwnedFd, functions: usize, workload_max: usize) -> io::Result<CrashArea> {
    CrashArea::map(fd, ScoreboardMapping::rest_at(functions)?, workload_max)
}

/// The worker's side: the only honest writer. A job costs it a few stores and no system call.
pub(crate) struct ScoreboardWriter {
    mapping: ScoreboardMapping,
    /// What the header's sequence is, unless a plugin has overwritten it.
    sequence: AtomicU64,
}

/// What is known of a job when it starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobStart<'a> {
    /// Index of the function in the worker's configuration.
    pub function: usize,
    /// Counts the worker's jobs from 1.
    pub number: u64,
    /// Number of the connection it came over.
    pub connection: u32,
    /// As the job server gave it.
    pub handle: &'a [u8],
    /// As the client gave it.
    pub unique: &'a [u8],
    /// Monotonic nanoseconds, the clock both sides share.
    pub started_ns: u64,
}

/// What is known of a job when it has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JobEnd {
    /// Which of the worker's functions.
    pub function: usize,
    /// Whether it ended with a result.
    pub succeeded: bool,
    /// Length of its workload.
    pub bytes_in: u64,
    /// Length of its result.
    pub bytes_out: u64,
    /// How long the function ran.
    pub run_ns: u64,
}

impl ScoreboardWriter {
    /// Maps an inherited scoreboard.
    ///
    /// # Errors
    /// The system's, or one that says that `fd` is too small: a later access would be fatal, so the size is checked.
    pub(crate) fn map(fd: &OwnedFd, functions: usize) -> io::Result<Self> {
        let mapping = SharedMapping::map(fd, functions, Access::Write)?;
        Ok(Self { mapping, sequence: AtomicU64::new(0) })
    }

    /// Sets what the worker is doing outside jobs.
    pub(crate) fn activity(&self, activity: WorkerActivity) {
        self.mapping.header().activity.store(activity as u32, Release);
    }

    /// The worker has polled, so it would have read a command.
    pub(crate) fn polled(&self, now: Duration) {
        self.mapping.header().polled_ns.store(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// A job server's last bytes came at this time.
    pub(crate) fn received(&self, at: Duration) {
        self.mapping.header().received_ns.store(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// A job is about to run.
    pub(crate) fn begin(&self, job: &JobStart<'_>) {
        let header = self.mapping.header();
        let sequence = self.sequence.load(Relaxed);
        header.sequence.store(sequence.wrapping_add(1), Relaxed);
        fence(Release);
        header.function.store(job.function as u32, Relaxed);
        header.connection.store(job.connection, Relaxed);
        header.job.store(job.number, Relaxed);
        header.started_ns.store(job.started_ns, Relaxed);
        header.handle_len.store(store_bytes(&header.handle, job.handle), Relaxed);
        header.unique_len.store(store_bytes(&header.unique, job.unique), Relaxed);
        header.recent.store(job);
        header.activity.store(WorkerActivity::Running as u32, Relaxed);
        self.sequence.store(sequence.wrapping_add(2), Relaxed);
        header.sequence.store(sequence.wrapping_add(2), Release);
    }

    /// Whether the header still has what [`begin`](Self::begin) wrote for the job of this number: a plugin that writes
    /// to memory that is not its own may have hit it, and then nothing in this process can be relied on.
    pub(crate) fn is_intact(&self, number: u64) -> bool {
        let header = self.mapping.header();
        header.sequence.load(Relaxed) == self.sequence.load(Relaxed)
            && header.job.load(Relaxed) == number
            && header.activity.load(Relaxed) == WorkerActivity::Running as u32
    }

    /// Restores the sequence after a plugin has overwritten it, so that the manager can read how the worker exits. The
    /// other words stay overwritten.
    pub(crate) fn recover(&self) {
        self.mapping.header().sequence.store(self.sequence.load(Relaxed), Release);
    }

    /// The job's function has returned: how long the rest takes is not its doing.
    pub(crate) fn returned(&self) {
        self.activity(WorkerActivity::Answering);
    }

    /// The same, of a job that ran this long, if the worker ends only later: that time is none of the job's, so its
    /// start is moved.
    pub(crate) fn returned_after(&self, ran: Duration, now: Duration) {
        let started = u64::try_from(now.saturating_sub(ran).as_nanos()).unwrap_or(u64::MAX);
        self.mapping.header().started_ns.store(started, Relaxed);
        self.returned();
    }

    /// A job of this function fails, for this reason. To be called before [`end`](Self::end): who sees the count finds
    /// the reason.
    pub(crate) fn failed(&self, function: usize, failure: &LastFailure) {
        self.mapping.details().get(function).into_iter().for_each(|slot| slot.store(failure));
    }

    /// A job has run, and its answer is with the job server, or waits for room ([`WorkerActivity::AnswerPending`] then).
    pub(crate) fn end(&self, job: &JobEnd, next: WorkerActivity) {
        if let Some(block) = self.mapping.items().get(job.function) {
            add(if job.succeeded { &block.completed } else { &block.failed }, 1);
            add(&block.bytes_in, job.bytes_in);
            add(&block.bytes_out, job.bytes_out);
            add(&block.run_ns, job.run_ns);
            add(&block.histogram[bucket(job.run_ns)], 1);
            let header = self.mapping.header();
            header.ended_ns.store(header.started_ns.load(Relaxed).saturating_add(job.run_ns), Relaxed);
        }
        self.activity(next);
    }

    /// A packet may be half on the wire of this connection for as long as what is returned is kept: nobody else may send
    /// there. The connection's number is not 0.
    pub(crate) fn sending(self: &Arc<Self>, connection: u32) -> SendingGuard {
        let header = self.mapping.header();
        let takes = |word: &AtomicU32| word.compare_exchange(0, connection, AcqRel, Relaxed).is_ok();
        let word = header.sending.iter().position(takes);
        if word.is_none() {
            header.unlisted_senders.fetch_add(1, AcqRel);
        }
        SendingGuard { scoreboard: Arc::clone(self), word }
    }
}

/// One connection between a packet's first byte and its last. Each has a word of its own, as connections overlap: an
/// answer may wait for room on one while a job of another runs. However the sending ends the word is cleared, or it would
/// forbid to answer for every later job of that connection.
#[derive(Debug)]
pub(crate) struct SendingGuard {
    scoreboard: Arc<ScoreboardWriter>,
    /// Which word; none if all were taken.
    word: Option<usize>,
}

impl Drop for SendingGuard {
    fn drop(&mut self) {
        let header = self.scoreboard.mapping.header();
        match self.word.and_then(|word| header.sending.get(word)) {
            Some(word) => word.store(0, Release),
            None => drop(header.unlisted_senders.fetch_sub(1, AcqRel)),
        }
    }
}

impl std::fmt::Debug for ScoreboardWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScoreboardWriter").finish_non_exhaustive()
    }
}

/// Adds without a locked instruction: the worker is the only writer.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
}

fn bucket(run_ns: u64) -> usize {
    let micros = run_ns / 1000;
    ((u64::BITS - micros.leading_zeros()) as usize).min(BUCKETS - 1)
}

/// Stores `bytes` if they fit; what does not fit is stored as unknown (length 0), never cut: a cut handle is
/// another's.
fn store_bytes(words: &[AtomicU64], bytes: &[u8]) -> u32 {
    if bytes.len() > words.len() * 8 {
        return 0;
    }
    for (word, chunk) in words.iter().zip(bytes.chunks(8)) {
        let mut raw = [0; 8];
        raw[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_ne_bytes(raw), Relaxed);
    }
    bytes.len() as u32
}

/// A time in nanoseconds; 0 is none.
fn time(word: &AtomicU64) -> Option<Duration> {
    let at = word.load(Relaxed);
    (at > 0).then(|| Duration::from_nanos(at))
}

fn load_bytes(words: &[AtomicU64], length: u32) -> Option<Vec<u8>> {
    let length = length as usize;
    if length == 0 || length > words.len() * 8 {
        return None;
    }
    let mut bytes: Vec<u8> = words[..length.div_ceil(8)].iter().flat_map(|w| w.load(Relaxed).to_ne_bytes()).collect();
    bytes.truncate(length);
    Some(bytes)
}

/// The manager's side: reads only, and believes nothing.
pub(crate) struct ScoreboardView {
    mapping: ScoreboardMapping,
    /// The longest workload for which the crash area has room.
    workload_max: usize,
}

/// What the scoreboard held at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// What the worker was doing.
    pub activity: WorkerActivity,
    /// Whether a packet may have been half sent on the job's connection; without a job, on any connection.
    pub sending: bool,
    /// Whether one may have been half sent on another connection: most likely the answer to an earlier job.
    pub sending_elsewhere: bool,
    /// The job in hand, if the worker had written it in full.
    pub job: Option<ScoreboardJob>,
    /// It holds what no worker writes, so a plugin has overwritten it. Nothing in it is believed, not even counters.
    pub overwritten: bool,
}

/// The job on a scoreboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScoreboardJob {
    /// Which of the worker's functions; below the number of blocks.
    pub function: usize,
    /// Counts the worker's jobs from 1.
    pub number: u64,
    /// Number of the connection it came over.
    pub connection: u32,
    /// Monotonic nanoseconds at its start.
    pub started_ns: u64,
    /// Its handle, if it fits.
    pub handle: Option<Vec<u8>>,
    /// Its unique id, if it has one that fits.
    pub unique: Option<Vec<u8>>,
}

/// The counters of one function in one worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Jobs that ended with a result.
    pub completed: u64,
    /// Jobs whose function returned a failure or panicked.
    pub failed: u64,
    /// Bytes of workloads.
    pub bytes_in: u64,
    /// Bytes of results.
    pub bytes_out: u64,
    /// Time spent inside the function, in nanoseconds.
    pub run_ns: u64,
}

impl ScoreboardView {
    /// Takes a snapshot. A job is reported only if its words were not being written meanwhile.
    pub(crate) fn read(&self) -> Snapshot {
        let header = self.mapping.header();
        let no_worker_writes =
            |word| !WorkerActivity::is_word(word) || header.unlisted_senders.load(Acquire) > MAX_SENDING;
        for _ in 0..8 {
            let before = header.sequence.load(Acquire);
            let word = header.activity.load(Relaxed);
            let activity = WorkerActivity::from_word(word);
            let job = activity.has_job().then(|| self.job(header)).flatten();
            fence(Acquire);
            if before.is_multiple_of(2) && header.sequence.load(Relaxed) == before {
                let stray = activity.has_job() && job.is_none();
                let overwritten = no_worker_writes(word) || stray;
                let (sending, sending_elsewhere) = header.senders(job.as_ref().map(|job| job.connection));
                return Snapshot { activity, sending, sending_elsewhere, job, overwritten };
            }
        }
        // Torn: the worker died, or its plugin scribbled, between two words. It had a job; which one is unknown.
        let overwritten = no_worker_writes(header.activity.load(Relaxed));
        let (sending, sending_elsewhere) = header.senders(None);
        Snapshot { activity: WorkerActivity::Running, sending, sending_elsewhere, job: None, overwritten }
    }

    fn job(&self, header: &ScoreboardHeader) -> Option<ScoreboardJob> {
        let function = header.function.load(Relaxed) as usize;
        (function < self.mapping.items().len()).then(|| ScoreboardJob {
            function,
            number: header.job.load(Relaxed),
            connection: header.connection.load(Relaxed),
            started_ns: header.started_ns.load(Relaxed),
            handle: load_bytes(&header.handle, header.handle_len.load(Relaxed)),
            unique: load_bytes(&header.unique, header.unique_len.load(Relaxed)),
        })
    }

    /// The counters of one of the worker's functions; zeros if the scoreboard was overwritten.
    pub(crate) fn counters(&self, function: usize) -> Counters {
        if self.read().overwritten { Counters::default() } else { self.intact_counters(function) }
    }

    /// The same of a scoreboard that is known not to be overwritten.
    pub(crate) fn intact_counters(&self, function: usize) -> Counters {
        self.mapping.items().get(function).map_or_else(Counters::default, |block| Counters {
            completed: block.completed.load(Relaxed),
            failed: block.failed.load(Relaxed),
            bytes_in: block.bytes_in.load(Relaxed),
            bytes_out: block.bytes_out.load(Relaxed),
            run_ns: block.run_ns.load(Relaxed),
        })
    }

    /// How many jobs of one of the worker's functions ran how long (see [`BUCKETS`]), if the scoreboard is known not to be
    /// overwritten.
    pub(crate) fn intact_run_times(&self, function: usize) -> [u64; BUCKETS] {
        let block = self.mapping.items().get(function);
        block.map_or([0; BUCKETS], |block| std::array::from_fn(|index| block.histogram[index].load(Relaxed)))
    }

    /// When the worker last polled.
    pub(crate) fn polled(&self) -> Option<Duration> {
        time(&self.mapping.header().polled_ns)
    }

    /// When it last received something from a job server, as of its last poll.
    pub(crate) fn received(&self) -> Option<Duration> {
        time(&self.mapping.header().received_ns)
    }

    /// When its last job ended.
    pub(crate) fn last_job_ended(&self) -> Option<Duration> {
        time(&self.mapping.header().ended_ns)
    }

    /// The job in hand, or the last one: its function, and when it started.
    pub(crate) fn last_job(&self) -> Option<(usize, Duration)> {
        let job = self.job(self.mapping.header()).filter(|job| job.number > 0)?;
        Some((job.function, Duration::from_nanos(job.started_ns)))
    }

    /// The last jobs of a worker that is gone, the newest first, without the one in hand.
    pub(crate) fn recent_jobs(&self) -> Vec<RecentJob> {
        let in_hand = self.read().job.map(|job| job.number);
        let mut jobs = self.mapping.header().recent.load();
        jobs.retain(|job| Some(job.number) != in_hand && job.function < self.mapping.items().len());
        jobs
    }

    /// The last failure of one of the worker's functions. Where no job has failed the slot is not looked at, since that
    /// would make the kernel provide its page.
    pub(crate) fn last_failure(&self, function: usize) -> Option<LastFailure> {
        (self.counters(function).failed > 0).then(|| self.mapping.details().get(function)?.load()).flatten()
    }
}

impl ScoreboardView {
    /// A copy of the crash area, of a worker that is gone; `None` if it saved nothing. What the loop reads meanwhile does
    /// not contain the area, so it is mapped for this.
    ///
    /// # Errors
    /// The system's: out of descriptors or memory.
    pub(crate) fn copy_crash_area(mut self) -> io::Result<Option<OwnedFd>> {
        let area = self.mapping.map_rest(crash_area::size(self.workload_max)?)?;
        // SAFETY: it was mapped just now, with room for such a workload, until `self` is dropped.
        unsafe { crash_area::copy(area, self.workload_max) }
    }
}

impl Counters {
    /// Jobs that have run to their end.
    pub(crate) fn jobs(&self) -> u64 {
        self.completed.saturating_add(self.failed)
    }
}

#[cfg(test)]
mod tests;
