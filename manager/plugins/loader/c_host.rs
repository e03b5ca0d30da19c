//! The worker's functions for a library in C: the table that it calls, and the job or context it calls them with.
//!
//! They check what C lets a library do: a pointer to nothing, or to a job that is over; two results; sizes that were
//! negative. A job whose function has done so fails with that reason. Other calls pass on to the worker's functions for
//! Rust, by the job's number.
//!
//! A job's structs are static, and a job that is over keeps them for a while: a thread that still uses its pointer is
//! refused, and does not read freed memory.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::hint::black_box;
use std::mem::size_of;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use gm_plugin_api::Failure;
use gm_plugin_api::abi::{Host, RSlice, RStr, RawFail, RawJob, RawSetting, level};
use gm_plugin_api::c_abi::{CContext, CHost, CJob, ReleaseFn};

use super::result_bytes::{HandedOver, ResultBytes};

/// What a log record belongs to that belongs to no job.
pub(super) const NO_JOB: u64 = 0;
/// How many jobs keep their struct, the one that runs included.
const SLOTS: usize = 16;

/// The table.
static HOST: CHost = CHost {
    size: size_of::<CHost>(),
    status,
    data,
    warning,
    stopping,
    log_wanted,
    log,
    result,
    result_owned,
    fail,
    exception,
    setting,
    setting_at,
    create_failed,
};

static JOBS: [Slot; SLOTS] = [const { Slot::new() }; SLOTS];
/// The worker's functions for Rust, which all libraries of a process share.
static RUST_HOST: OnceLock<&'static Host> = OnceLock::new();
/// The highest log level wanted.
static LEVEL: AtomicU8 = AtomicU8::new(level::ERROR);
/// A call with a pointer to no job was logged: once is enough.
static STRAY_LOGGED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The slot of the job that this thread runs.
    static RUNS: Cell<Option<usize>> = const { Cell::new(None) };
    /// What this thread makes a state with.
    static CREATES: Cell<*const Creation> = const { Cell::new(ptr::null()) };
}

/// A job's struct, and what its function has said.
#[repr(C)]
struct Slot {
    /// First, so that a pointer to it is one to the slot.
    job: UnsafeCell<CJob>,
    /// The job's number; 0 when it is over. The library cannot change this one.
    number: AtomicU64,
    said: UnsafeCell<Said>,
}

// SAFETY: `job` and `said` are accessed only by the thread that runs the slot's job (`RUNS`). The library is given a
// pointer to `job`, which it may use in the meantime only, on whatever threads; nothing here reads it back.
unsafe impl Sync for Slot {}

/// What a function has said of its job.
struct Said {
    ended: Ended,
    /// What it did that is never right.
    misuse: Option<Box<str>>,
}

enum Ended {
    Not,
    Result(ResultBytes),
    Failed(Box<RawFail>),
}

impl Slot {
    const fn new() -> Self {
        let nothing = CJob {
            size: size_of::<CJob>(),
            host: &raw const HOST,
            number: 0,
            workload: c"".as_ptr(),
            workload_size: 0,
            handle: c"".as_ptr(),
            handle_size: 0,
            unique: c"".as_ptr(),
            unique_size: 0,
            function: c"".as_ptr(),
        };
        let said = Said { ended: Ended::Not, misuse: None };
        Self { job: UnsafeCell::new(nothing), number: AtomicU64::new(0), said: UnsafeCell::new(said) }
    }

    /// The slot that a library's pointer means, whatever it points to.
    fn index(job: *const CJob) -> Option<usize> {
        let offset = (job as usize).checked_sub(JOBS.as_ptr() as usize)?;
        let index = offset / size_of::<Self>();
        (offset % size_of::<Self>() == 0 && index < SLOTS).then_some(index)
    }
}

/// A job that a library is given, on this thread, until [`RunningJob::end`].
pub(super) struct RunningJob(usize);

impl RunningJob {
    /// Begins a job. `function` is the function's name.
    pub(super) fn begin(job: &RawJob<'_>, function: &CStr) -> Self {
        let index = job.number as usize % SLOTS;
        let slot = &JOBS[index];
        let text = |bytes: &RSlice<'_, u8>| bytes.as_ptr().cast::<c_char>();
        // SAFETY: this thread runs the job, and nobody else accesses the struct from here; see `Slot`.
        unsafe {
            *slot.job.get() = CJob {
                size: size_of::<CJob>(),
                host: &raw const HOST,
                number: job.number,
                workload: text(&job.workload),
                workload_size: job.workload.len(),
                handle: text(&job.handle),
                handle_size: job.handle.len(),
                unique: text(&job.unique),
                unique_size: job.unique.len(),
                function: function.as_ptr(),
            };
        }
        slot.number.store(job.number, Relaxed);
        RUNS.set(Some(index));
        Self(index)
    }

    /// What the library gets.
    pub(super) fn pointer(&self) -> *mut CJob {
        JOBS[self.0].job.get()
    }

    /// The job is over: its function returned `code`.
    pub(super) fn end(self, code: c_int) -> Result<ResultBytes, RawFail> {
        RUNS.set(None);
        let slot = &JOBS[self.0];
        slot.number.store(NO_JOB, Relaxed);
        // SAFETY: this thread ran the job.
        let said = unsafe { &mut *slot.said.get() };
        let ended = std::mem::replace(&mut said.ended, Ended::Not);
        match (said.misuse.take(), ended) {
            (Some(misuse), _) => Err(failure(misuse.into())),
            (None, Ended::Failed(fail)) => Err(*fail),
            (None, _) if code != 0 => Err(failure(format!("it returned {code}"))),
            (None, Ended::Result(bytes)) => {
                // The function may have freed it.
                touch(&bytes);
                Ok(bytes)
            }
            (None, Ended::Not) => Ok(ResultBytes::default()),
        }
    }
}

/// A failure with a message.
pub(super) fn failure(message: String) -> RawFail {
    Failure::new(message).into()
}

/// Connects libraries in C to the worker, before the first call into one.
pub(super) fn connect(host: &'static Host) {
    let _ = RUST_HOST.set(host);
}

/// Sets the highest log level wanted.
pub(super) fn set_level(level: u8) {
    LEVEL.store(level, Relaxed);
}

fn log_line(job: u64, level: u8, text: &str) {
    if let Some(host) = RUST_HOST.get() {
        (host.log)(job, level, RStr::from_str(""), RStr::from_str(text));
    }
}

/// A call that is refused, since its job or context is over, or was none.
fn refuse(call: &str) {
    if !STRAY_LOGGED.swap(true, Relaxed) {
        let text = format!(
            "{call} was called with a pointer that is NULL or no longer valid, or on another thread than run's: such \
             calls do nothing (said once)"
        );
        log_line(NO_JOB, level::ERROR, &text);
    }
}

/// The number of the job that a pointer means, while that runs.
fn number(call: &str, job: *const CJob) -> Option<u64> {
    let number = Slot::index(job).map_or(NO_JOB, |index| JOBS[index].number.load(Relaxed));
    if number == NO_JOB {
        refuse(call);
    }
    (number != NO_JOB).then_some(number)
}

/// What the function of this thread's job has said, where the pointer means that job.
fn said(call: &str, job: *const CJob) -> Option<&'static mut Said> {
    let index = Slot::index(job).filter(|index| RUNS.get() == Some(*index));
    if index.is_none() {
        refuse(call);
    }
    // SAFETY: this thread runs the job. Each function below uses it once and calls nothing that uses it, too.
    index.map(|index| unsafe { &mut *JOBS[index].said.get() })
}

/// Bytes that a library names, or what is wrong with them.
///
/// # Safety
/// If `start` is not null, there are `size` bytes that can be read and do not change while the value is used.
unsafe fn bytes<'a>(call: &str, start: *const c_void, size: usize) -> Result<&'a [u8], String> {
    // No packet is longer.
    match (NonNull::new(start.cast_mut().cast::<u8>()), u32::try_from(size)) {
        (_, Err(_)) => Err(format!("{call} was given a size of {size} bytes, which is negative or too large")),
        (None, Ok(0)) => Ok(&[]),
        (None, Ok(_)) => Err(format!("{call} was given NULL and a size of {size} bytes")),
        // SAFETY: the caller promises it.
        (Some(start), Ok(_)) => Ok(unsafe { std::slice::from_raw_parts(start.as_ptr(), size) }),
    }
}

/// Reads a byte of each page of some bytes that are sent later. Where there is no memory, the library crashes here, with
/// its own calls on the stack. At the send, the system's error would look like one of the connection.
fn touch(bytes: &[u8]) {
    const PAGE: usize = 4096;
    for byte in bytes.iter().step_by(PAGE).chain(bytes.last()) {
        black_box(*byte);
    }
}

/// The same as text.
///
/// # Safety
/// As for [`bytes`].
unsafe fn text(call: &str, start: *const c_char, size: usize) -> String {
    // SAFETY: the caller promises it.
    match unsafe { bytes(call, start.cast(), size) } {
        Ok(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Err(wrong) => wrong,
    }
}

extern "C" fn status(job: *const CJob, done: u64, of: u64) -> c_int {
    let (Some(job), Some(host)) = (number("gm_status", job), RUST_HOST.get()) else { return 0 };
    (host.status)(job, done, of).into()
}

unsafe extern "C" fn data(job: *const CJob, start: *const c_void, size: usize) -> c_int {
    // SAFETY: the library's promise, see the header.
    unsafe { part("gm_data", job, start, size, |host| host.data) }
}

unsafe extern "C" fn warning(job: *const CJob, start: *const c_void, size: usize) -> c_int {
    // SAFETY: the library's promise, see the header.
    unsafe { part("gm_warning", job, start, size, |host| host.warning) }
}

type SendPart = extern "C" fn(u64, RSlice<'_, u8>) -> bool;

/// # Safety
/// As for [`bytes`].
unsafe fn part(
    call: &str,
    job: *const CJob,
    start: *const c_void,
    size: usize,
    which: impl FnOnce(&Host) -> SendPart,
) -> c_int {
    let (Some(job), Some(host)) = (number(call, job), RUST_HOST.get()) else { return 0 };
    // SAFETY: the caller promises it.
    match unsafe { bytes(call, start, size) } {
        Ok(bytes) => {
            touch(bytes);
            which(host)(job, RSlice::from_slice(bytes)).into()
        }
        Err(wrong) => {
            log_line(job, level::ERROR, &wrong);
            0
        }
    }
}

extern "C" fn stopping(job: *const CJob) -> c_int {
    match (number("gm_stopping", job), RUST_HOST.get()) {
        (Some(job), Some(host)) => (host.stopping)(job).into(),
        _ => 1,
    }
}

extern "C" fn log_wanted(level: c_int) -> c_int {
    (level <= c_int::from(LEVEL.load(Relaxed))).into()
}

unsafe extern "C" fn log(job: *const CJob, level: c_int, start: *const c_char, size: usize) {
    let number = Slot::index(job).map_or(NO_JOB, |index| JOBS[index].number.load(Relaxed));
    let level = u8::try_from(level.clamp(level::ERROR.into(), level::TRACE.into())).unwrap_or(level::ERROR);
    if log_wanted(level.into()) != 0 {
        // SAFETY: the library's promise, see the header.
        log_line(number, level, &unsafe { text("gm_log", start, size) });
    }
}

/// A result, unless the function has given one or failed already.
fn give(said: &mut Said, bytes: ResultBytes) -> c_int {
    match said.ended {
        Ended::Not => said.ended = Ended::Result(bytes),
        Ended::Result(_) => said.misuse = Some("it gave its job two results".into()),
        Ended::Failed(_) => return 1,
    }
    0
}

unsafe extern "C" fn result(job: *mut CJob, start: *const c_void, size: usize) -> c_int {
    let Some(said) = said("gm_result", job) else { return 1 };
    // SAFETY: the library's promise, see the header.
    match unsafe { bytes("gm_result", start, size) } {
        Ok(bytes) => give(said, bytes.to_vec().into()),
        Err(wrong) => {
            said.misuse = Some(wrong.into());
            1
        }
    }
}

unsafe extern "C" fn result_owned(
    job: *mut CJob,
    start: *mut c_void,
    size: usize,
    release: Option<ReleaseFn>,
) -> c_int {
    // Frees them wherever they are not used.
    let handed_over = NonNull::new(start.cast::<u8>()).map(|start| {
        // SAFETY: the library's promise, see the header. Where `size` is wrong, nothing reads the bytes.
        unsafe { HandedOver::new(start, size, release) }
    });
    let Some(said) = said("gm_result_owned", job) else { return 1 };
    // SAFETY: as above.
    match unsafe { bytes("gm_result_owned", start, size) } {
        Ok(bytes) => {
            touch(bytes);
            give(said, handed_over.map_or_else(ResultBytes::default, ResultBytes::HandedOver))
        }
        Err(wrong) => {
            said.misuse = Some(wrong.into());
            1
        }
    }
}

/// A failure, unless there is one already.
fn set_failed(said: &mut Said, fail: RawFail) -> c_int {
    if !matches!(said.ended, Ended::Failed(_)) {
        said.ended = Ended::Failed(Box::new(fail));
    }
    1
}

unsafe extern "C" fn fail(job: *mut CJob, start: *const c_char, size: usize) -> c_int {
    let Some(said) = said("gm_fail", job) else { return 1 };
    // SAFETY: the library's promise, see the header.
    let mut message = unsafe { text("gm_fail", start, size) };
    if message.is_empty() {
        message.push_str("gm_fail was called without a message");
    }
    set_failed(said, failure(message))
}

unsafe extern "C" fn exception(job: *mut CJob, start: *const c_void, size: usize) -> c_int {
    let Some(said) = said("gm_exception", job) else { return 1 };
    // SAFETY: the library's promise, see the header.
    match unsafe { bytes("gm_exception", start, size) } {
        Ok(bytes) => set_failed(said, Failure::exception(bytes).into()),
        Err(wrong) => {
            said.misuse = Some(wrong.into());
            1
        }
    }
}

/// The settings of a function, as C's strings. A library may keep them until its state is destroyed.
#[derive(Debug)]
pub(super) struct CSettings(Vec<(CString, CString)>);

impl CSettings {
    /// # Errors
    /// A value that holds a NUL, which would end it early.
    pub(super) fn new(settings: &[RawSetting<'_>]) -> Result<Self, RawFail> {
        let text = |name: &RStr<'_>, value: &RStr<'_>| {
            CString::new(value.as_str()).map_err(|_| failure(format!("setting.{name} holds a NUL")))
        };
        let pairs = settings.iter().map(|set| Ok((text(&set.name, &set.name)?, text(&set.name, &set.value)?)));
        pairs.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.0.iter().filter_map(|(name, _)| name.to_str().ok()).collect()
    }
}

/// What `create` is called with.
#[repr(C)]
pub(super) struct Creation<'a> {
    /// First, so that a pointer to it is one to the whole.
    context: CContext,
    settings: &'a CSettings,
    /// The settings that were asked for.
    wanted: RefCell<BTreeSet<String>>,
    message: RefCell<Option<String>>,
}

/// What became of a `create`.
pub(super) struct Created {
    pub(super) message: Option<String>,
    pub(super) wanted: BTreeSet<String>,
}

/// Lends a context to `create`.
pub(super) fn with_context(function: &CStr, settings: &CSettings, create: impl FnOnce(*mut CContext)) -> Created {
    let context = CContext { size: size_of::<CContext>(), host: &raw const HOST, function: function.as_ptr() };
    let mut creation = Creation { context, settings, wanted: RefCell::default(), message: RefCell::default() };
    let pointer = &raw mut creation;
    CREATES.set(pointer.cast_const().cast());
    create(pointer.cast());
    CREATES.set(ptr::null());
    Created { message: creation.message.into_inner(), wanted: creation.wanted.into_inner() }
}

/// What this thread makes a state with, where the pointer means that.
fn creation<'a>(call: &str, context: *const CContext) -> Option<&'a Creation<'a>> {
    let creation = CREATES.get();
    if creation.is_null() || creation.cast() != context {
        refuse(call);
        return None;
    }
    // SAFETY: `with_context` set it on this thread, and takes it back before it ends.
    Some(unsafe { &*creation.cast() })
}

unsafe extern "C" fn setting(context: *const CContext, name: *const c_char) -> *const c_char {
    let Some(creation) = creation("gm_setting", context).filter(|_| !name.is_null()) else { return ptr::null() };
    // SAFETY: the library's promise, see the header: a text with a NUL behind it.
    let name = unsafe { CStr::from_ptr(name) };
    creation.wanted.borrow_mut().insert(name.to_string_lossy().into_owned());
    let found = creation.settings.0.iter().find(|(set, _)| set.as_c_str() == name);
    found.map_or(ptr::null(), |(_, value)| value.as_ptr())
}

unsafe extern "C" fn setting_at(context: *const CContext, index: usize, name: *mut *const c_char) -> *const c_char {
    let found = creation("gm_setting_at", context).and_then(|creation| {
        let found = creation.settings.0.get(index)?;
        creation.wanted.borrow_mut().insert(found.0.to_string_lossy().into_owned());
        Some(found)
    });
    let Some((set, value)) = found else { return ptr::null() };
    if !name.is_null() {
        // SAFETY: the library's promise, see the header: NULL, or room for a pointer.
        unsafe { *name = set.as_ptr() };
    }
    value.as_ptr()
}

unsafe extern "C" fn create_failed(context: *mut CContext, start: *const c_char, size: usize) -> c_int {
    if let Some(creation) = creation("gm_create_failed", context) {
        // SAFETY: the library's promise, see the header.
        let message = unsafe { text("gm_create_failed", start, size) };
        creation.message.borrow_mut().get_or_insert(message);
    }
    1
}
