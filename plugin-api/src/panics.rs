//! A panic ends a job, not the worker.
//!
//! What `catch_unwind` returns has neither file nor line, so a panic hook records them while the panic happens. A
//! library has its own copy of std, and therefore its own hook: the worker's is not affected.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::abi::RawFail;
use crate::failure::Failure;

/// The value of `JOB` on a thread that is not in one of our calls.
const NO_CALL: u64 = u64::MAX;

/// The number for calls outside a job: `new`, `drop`.
pub(crate) const NO_JOB: u64 = 0;

thread_local! {
    /// The job that this thread runs.
    static JOB: Cell<u64> = const { Cell::new(NO_CALL) };
    /// The panic in progress on this thread.
    static NOTED: RefCell<Option<Noted>> = const { RefCell::new(None) };
}

/// The running job, for records from threads that it started. A worker runs one job at a time.
static RUNNING: AtomicU64 = AtomicU64::new(NO_JOB);

/// What the hook recorded.
struct Noted {
    message: String,
    file: String,
    line: u32,
}

/// The job to which output of this thread belongs; [`NO_JOB`] between jobs.
#[cfg(any(feature = "log", feature = "tracing"))]
pub(crate) fn current_job() -> u64 {
    match JOB.get() {
        NO_CALL => RUNNING.load(Ordering::Relaxed),
        job => job,
    }
}

/// Runs an author's code, and turns a panic into a failure.
#[inline]
pub(crate) fn guarded<T>(job: u64, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, RawFail> {
    let outer = JOB.replace(job);
    RUNNING.store(job, Ordering::Relaxed);
    // The caller discards whatever a panic leaves in an inconsistent state: the author's object is not used again.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    RUNNING.store(NO_JOB, Ordering::Relaxed);
    JOB.set(outer);
    match outcome {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(failure)) => Err(failure.into()),
        Err(payload) => Err(describe(payload)),
    }
}

#[cold]
fn describe(payload: Box<dyn Any + Send>) -> RawFail {
    let text = text_of(&*payload);
    let noted = NOTED.take();
    // The payload's destructor can panic: then the payload of that panic is leaked.
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(another);
    }
    NOTED.take();
    // The author has set another hook, or the panic was resumed from another thread: the location is unknown, and an
    // older record is about another panic.
    let (file, line) = noted
        .filter(|noted| text.as_ref().is_none_or(|text| *text == noted.message))
        .map_or_else(Default::default, |noted| (noted.file, noted.line));
    RawFail {
        kind: RawFail::PANIC,
        message: text.unwrap_or_else(|| NO_TEXT.into()).into(),
        payload: Default::default(),
        file: file.into(),
        line,
    }
}

const NO_TEXT: &str = "a panic whose payload is no text";

fn text_of(payload: &(dyn Any + Send)) -> Option<String> {
    payload.downcast_ref::<&str>().map(ToString::to_string).or_else(|| payload.downcast_ref::<String>().cloned())
}

/// Sets the hook, once for the library.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Silent only if the panic will be caught here and logged by the manager.
            if !note(info) {
                before(info);
            }
        }));
    });
}

/// Stores a panic's message. False if nobody will read it: on another thread, in a build that aborts, or in a second
/// panic during the first, which also aborts.
fn note(info: &PanicHookInfo<'_>) -> bool {
    if JOB.get() == NO_CALL || cfg!(not(panic = "unwind")) {
        return false;
    }
    let message = info.payload_as_str().unwrap_or(NO_TEXT).to_owned();
    let (file, line) = info.location().map_or(("", 0), |place| (place.file(), place.line()));
    let noted = Noted { message, file: file.to_owned(), line };
    if let Some(Noted { message, file, line }) = NOTED.replace(Some(noted)) {
        let _ = writeln!(std::io::stderr(), "panicked at {file}:{line}: {message}; and before that was over:");
        return false;
    }
    // Only if RUST_BACKTRACE asks for it: it is long, and takes 200 microseconds.
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        let _ = writeln!(std::io::stderr(), "{info}\n{trace}");
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(work: impl FnOnce()) -> RawFail {
        install_hook();
        guarded(7, || {
            work();
            Ok(())
        })
        .unwrap_err()
    }

    #[test]
    fn says_what_and_where() {
        let line = line!() + 1;
        let failed = fails(|| panic!("no {}", "luck"));
        assert_eq!((failed.kind, failed.message.as_str()), (RawFail::PANIC, "no luck"));
        assert_eq!((failed.file.as_str(), failed.line), (file!(), line));
    }

    #[test]
    fn payloads_of_every_kind() {
        struct Awkward;
        impl Drop for Awkward {
            fn drop(&mut self) {
                panic!("a payload's destructor");
            }
        }
        let line = line!() + 1;
        let failed = fails(|| std::panic::panic_any(42));
        assert_eq!((failed.message.as_str(), failed.line), (NO_TEXT, line));
        assert_eq!(fails(|| std::panic::panic_any(Awkward)).message.as_str(), NO_TEXT);
        let failed = fails(|| std::panic::resume_unwind(Box::new("carried over")));
        assert_eq!((failed.message.as_str(), failed.line), ("carried over", 0));
    }

    #[test]
    fn in_a_joined_thread() {
        let failed = fails(|| std::thread::spawn(|| panic!("inside")).join().unwrap());
        assert!(failed.message.contains("unwrap()"), "{}", failed.message);
        assert_eq!(failed.file.as_str(), file!());
    }

    #[test]
    fn a_panic_the_author_caught_is_not_the_place_of_the_next() {
        let failed = fails(|| {
            let _ = catch_unwind(|| panic!("caught"));
            std::panic::resume_unwind(Box::new("carried over"));
        });
        assert_eq!((failed.message.as_str(), failed.line), ("carried over", 0));
    }
}
