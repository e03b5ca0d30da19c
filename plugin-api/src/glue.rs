//! Connects the C functions of the interface with an author's code: what `#[function]` builds on.
//!
//! Everything here is called by the worker on its one thread, except where [`crate::abi`] says otherwise.
#![allow(unsafe_code)] // The table's functions get references and a pointer back that the types cannot vouch for.

use std::error::Error;
use std::marker::PhantomData;

use crate::abi::{Export, Host, Plugin, RErr, ROk, RResult, RStr, RVec, RawContext, RawFail, RawJob, SETTINGS};
use crate::abi::{INTERFACE_MAJOR, INTERFACE_MINOR, RawState, level};
use crate::context::Context;
use crate::failure::Failure;
use crate::job::Job;
use crate::logging::{Log, set_wanted};
use crate::output::{Boxed, Direct, JobResult, Output};
use crate::panics::{NO_JOB, guarded, install_hook};

/// Metadata of a function, from the author's crate.
pub struct About {
    /// The function's name, without a prefix.
    pub name: &'static str,
    /// The crate's version.
    pub version: &'static str,
    /// False in a `panic = "abort"` build.
    pub unwinds: bool,
}

/// Builds an [`About`] where it is expanded, in the author's crate.
#[doc(hidden)]
#[macro_export]
macro_rules! __about {
    ($name:expr) => {
        $crate::__private::About {
            name: $name,
            version: match ::core::option_env!("CARGO_PKG_VERSION") {
                Some(version) => version,
                None => "",
            },
            unwinds: cfg!(panic = "unwind"),
        }
    };
}

impl About {
    const fn table(
        self,
        object: bool,
        new: extern "C" fn(&RawContext<'_>) -> RResult<RawState, RawFail>,
        run: extern "C" fn(RawState, &RawJob<'_>) -> RResult<RVec<u8>, RawFail>,
        drop: extern "C" fn(RawState),
    ) -> Plugin {
        Plugin {
            interface_major: INTERFACE_MAJOR,
            interface_minor: INTERFACE_MINOR,
            unwinds: self.unwinds,
            object,
            name: RStr::from_str(self.name),
            version: RStr::from_str(self.version),
            compiler: RStr::from_str(env!("GM_PLUGIN_COMPILER")),
            new,
            run,
            set_level,
            drop,
        }
    }
}

/// A plain function. Implemented by `#[function]`.
pub trait Plain: 'static {
    /// What it is.
    const ABOUT: About;
    /// Calls it.
    fn run(job: &Job, log: &mut Log) -> JobResult;
}

/// The table of a plain function.
pub struct PlainFunction<F>(PhantomData<F>);

impl<F: Plain> Export for PlainFunction<F> {
    const TABLE: Plugin = F::ABOUT.table(false, new_plain, run_plain::<F>, drop_plain);
}

extern "C" fn new_plain(raw: &RawContext<'_>) -> RResult<RawState, RawFail> {
    prepare(raw.host);
    for setting in raw.settings.iter() {
        let text = format!("setting.{} is never read: a function without new() has no settings", setting.name);
        (raw.host.log)(NO_JOB, level::WARN, SETTINGS.into(), text.as_str().into());
    }
    ROk(RawState(std::ptr::null_mut()))
}

extern "C" fn run_plain<F: Plain>(_: RawState, raw: &RawJob<'_>) -> RResult<RVec<u8>, RawFail> {
    run_with(raw, F::run)
}

extern "C" fn drop_plain(_: RawState) {}

/// Runs one job with a function or an object.
#[inline]
pub(crate) fn run_with(
    raw: &RawJob<'_>,
    serve: impl FnOnce(&Job, &mut Log) -> JobResult,
) -> RResult<RVec<u8>, RawFail> {
    let job = lend_job(raw);
    match guarded(raw.number, || serve(job, &mut Log::new(job.0.number, job.0.host))) {
        Ok(Output(bytes)) => ROk(bytes.into()),
        Err(fail) => RErr(fail),
    }
}

extern "C" fn set_level(level: u8) {
    set_wanted(level);
}

/// The setup that must be done before an author's code runs for the first time.
pub(crate) fn prepare(_host: &'static Host) {
    install_hook();
    #[cfg(feature = "log")]
    crate::forward_log::install(_host);
    #[cfg(feature = "tracing")]
    crate::forward_tracing::install(_host);
}

/// Implemented by `#[function]` on an `impl` block: a type that is made once per worker and runs one job after the
/// other.
///
/// Use it only as a bound in tests (see [`testing::TestObject`](crate::testing::TestObject)); do not implement it
/// yourself.
#[diagnostic::on_unimplemented(message = "`{Self}` is no function", label = "put #[function] on its `impl` block")]
pub trait Object: Sized + 'static {
    /// What it is.
    #[doc(hidden)]
    const ABOUT: About;
    /// Calls `new`.
    #[doc(hidden)]
    fn make(cx: &Context) -> Result<Self, Failure>;
    /// Calls `run`.
    #[doc(hidden)]
    fn serve(&mut self, job: &Job, log: &mut Log) -> JobResult;
}

/// What `new` of the object form may return, besides `Self`.
#[diagnostic::on_unimplemented(
    message = "`new` cannot return `{Self}`",
    label = "return `Self`, or a `Result` of it",
    note = "`fn new(cx: &Context) -> Result<Self, Failure>`"
)]
pub trait Made<T, Kind = Direct> {
    /// The object, or why there is none.
    ///
    /// # Errors
    ///
    /// The author's own, converted.
    fn made(self) -> Result<T, Failure>;
}

impl<T, E: Into<Failure>> Made<T> for Result<T, E> {
    fn made(self) -> Result<T, Failure> {
        self.map_err(Into::into)
    }
}

#[diagnostic::do_not_recommend]
impl<T> Made<T, Boxed> for Result<T, Box<dyn Error + Send + Sync>> {
    fn made(self) -> Result<T, Failure> {
        self.map_err(|error| Failure::from_error(&*error))
    }
}

/// The table of an object.
pub struct ObjectFunction<T>(PhantomData<T>);

impl<T: Object> Export for ObjectFunction<T> {
    const TABLE: Plugin = T::ABOUT.table(true, new_object::<T>, run_object::<T>, drop_object::<T>);
}

/// An object between jobs, and what is needed to make it again.
struct Slot<T> {
    /// `None` after a panic, until it is made again.
    object: Option<T>,
    cx: Context,
}

impl<T: Object> Slot<T> {
    fn make(&mut self, job: u64) -> Result<(), RawFail> {
        self.object = Some(guarded(job, || T::make(&self.cx))?);
        Ok(())
    }

    /// Reports to the worker each setting that `new` has not read.
    fn warn_of_unread_settings(&self) {
        for text in self.cx.unread() {
            (self.cx.host().log)(NO_JOB, level::WARN, SETTINGS.into(), text.as_str().into());
        }
    }

    fn serve(&mut self, raw: &RawJob<'_>) -> RResult<RVec<u8>, RawFail> {
        if self.object.is_none()
            && let Err(fail) = self.make(raw.number)
        {
            return RErr(failed_new(fail));
        }
        let Some(object) = &mut self.object else { return RErr(failed_new(Failure::new("no object").into())) };
        let result = run_with(raw, |job, log| object.serve(job, log));
        if let RErr(fail) = &result
            && fail.kind == RawFail::PANIC
        {
            self.discard(raw.number);
        }
        result
    }

    /// Drops the object. A panic in its destructor is caught and logged.
    fn discard(&mut self, job: u64) {
        let object = self.object.take();
        let dropped = guarded(job, || {
            drop(object);
            Ok(())
        });
        if let Err(fail) = dropped {
            let RawFail { message, file, line, .. } = fail;
            let text = format!("the destructor of {} panicked at {file}:{line}: {message}", self.cx.function());
            (self.cx.host().log)(job, level::ERROR, "".into(), text.as_str().into());
        }
    }
}

/// The failure of a job that was not begun, because there is no object.
fn failed_new(fail: RawFail) -> RawFail {
    let message = format!("after a panic the object could not be created again: {}", fail.message);
    RawFail { kind: RawFail::NO_OBJECT, message: message.into(), ..fail }
}

extern "C" fn new_object<T: Object>(raw: &RawContext<'_>) -> RResult<RawState, RawFail> {
    prepare(raw.host);
    let mut slot = Box::new(Slot::<T> { object: None, cx: Context::new(raw) });
    match slot.make(NO_JOB) {
        Ok(()) => {
            slot.warn_of_unread_settings();
            ROk(RawState(Box::into_raw(slot).cast()))
        }
        Err(fail) => RErr(fail),
    }
}

extern "C" fn run_object<T: Object>(state: RawState, raw: &RawJob<'_>) -> RResult<RVec<u8>, RawFail> {
    // SAFETY: the interface says that `state` is what `new_object::<T>` returned, that it was not dropped, and that no
    // other call with it is under way.
    let slot = unsafe { &mut *state.0.cast::<Slot<T>>() };
    slot.serve(raw)
}

extern "C" fn drop_object<T: Object>(state: RawState) {
    // SAFETY: as for `run_object`; it is the last use of `state`.
    let mut slot = unsafe { Box::from_raw(state.0.cast::<Slot<T>>()) };
    slot.discard(NO_JOB);
}

/// A job as authors see it, borrowed for as long as the raw one.
fn lend_job<'a>(raw: &'a RawJob<'a>) -> &'a Job {
    // SAFETY: `Job` is a transparent wrapper. Its 'static is never seen: it is not `Clone`, its field is private to the
    // crate, and its methods return what lives as long as `self`, which is 'a.
    unsafe { &*std::ptr::from_ref(raw).cast::<Job>() }
}
