//! A function of a library in C: its entry checked, its state made, its jobs run.
//!
//! An entry is plain data that anyone can write wrongly, so nothing in it is used before it is checked: its size and
//! version, and that each pointer leads to what it should lead to.

use std::ffi::{CStr, CString, c_void};
use std::ptr;

use gm_plugin_api::abi::{C_MAGIC, RStr, RawContext, RawFail, RawJob, SETTINGS, level};
use gm_plugin_api::c_abi::{C_ENTRY_SIZE, CEntry, CreateFn, DestroyFn, RunFn, unread_settings};

use super::c_host::{CSettings, NO_JOB, RunningJob, connect, failure, with_context};
use super::result_bytes::ResultBytes;
use crate::system::fork;
use crate::system::mappings::Mappings;

/// The longest text of an entry, in bytes.
const LONGEST: u64 = 4096;

/// What is wrong with an entry: a sentence that follows `the entry NAME in PATH`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CEntryError {
    /// `/proc` cannot be read.
    #[error("cannot be checked, since /proc/self/maps cannot be read: {0}")]
    Unchecked(String),
    /// Anyone can change it.
    #[error("is in writable memory: declare it const, as GM_FUNCTION and GM_OBJECT do, and link without -z norelro")]
    Writable,
    /// Not aligned, or not all there.
    #[error("is not {C_ENTRY_SIZE} bytes of a struct: write it with GM_FUNCTION or GM_OBJECT")]
    NotAStruct,
    /// Another struct.
    #[error("gives its size as {0} bytes instead of {C_ENTRY_SIZE}: build it with the gm_plugin.h of this release")]
    Size(u32),
    /// Nothing to call.
    #[error("has no run function: write it with GM_FUNCTION or GM_OBJECT")]
    NoRun,
    /// A pointer to data, or to nowhere.
    #[error("has a {0} that points to no code of this process: write it with GM_FUNCTION or GM_OBJECT")]
    NotCode(&'static str),
    /// A pointer to nowhere, or to something else.
    #[error("has a {0} that points to no text: write it with GM_FUNCTION or GM_OBJECT")]
    NotText(&'static str),
    /// Another function's.
    #[error("is for a function named {0}: the library's file and its function must have the same name")]
    Name(String),
    /// Nothing to end.
    #[error("has a destroy and no create: without state both are NULL")]
    DestroyOnly,
}

/// An entry that was checked, by value: the library cannot change it any more.
#[derive(Debug)]
pub(super) struct CFunction {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) compiler: String,
    pub(super) interface: (u32, u32),
    create: Option<CreateFn>,
    run: RunFn,
    destroy: Option<DestroyFn>,
}

/// An entry whose magic is right, and its interface version, which has to be checked before the rest.
///
/// # Errors
/// It is no such struct, or can be changed.
pub(super) fn read(address: *const u8, mappings: &Mappings) -> Result<CEntry, CEntryError> {
    if !address.cast::<CEntry>().is_aligned() || !mappings.is_readable(address as u64, C_ENTRY_SIZE as u64) {
        return Err(CEntryError::NotAStruct);
    }
    if !mappings.is_constant(address as u64, C_ENTRY_SIZE as u64) {
        return Err(CEntryError::Writable);
    }
    // SAFETY: aligned, mapped and constant; any bytes are such a struct, but for its function pointers, which only must
    // not be called before they are checked.
    Ok(unsafe { address.cast::<CEntry>().read() })
}

/// Checks the rest of an entry that is exported as `symbol`.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn check(entry: &CEntry, symbol: &str, mappings: &Mappings) -> Result<CFunction, CEntryError> {
    debug_assert_eq!(entry.magic, C_MAGIC);
    if entry.size as usize != C_ENTRY_SIZE {
        return Err(CEntryError::Size(entry.size));
    }
    let run = entry.run.ok_or(CEntryError::NoRun)?;
    let functions = [
        ("create", entry.create.map(|create| create as *const ())),
        ("run", Some(run as *const ())),
        ("destroy", entry.destroy.map(|destroy| destroy as *const ())),
    ];
    if let Some((field, _)) =
        functions.iter().find(|(_, address)| address.is_some_and(|address| !mappings.is_code(address as u64)))
    {
        return Err(CEntryError::NotCode(field));
    }
    if entry.create.is_none() && entry.destroy.is_some() {
        return Err(CEntryError::DestroyOnly);
    }
    let [name, version, compiler] = [("name", entry.name), ("version", entry.version), ("compiler", entry.compiler)]
        .map(|(field, start)| text(start.cast(), mappings).ok_or(CEntryError::NotText(field)));
    let name = name?;
    // The configured prefix is in front of it.
    if name.is_empty() || !symbol.ends_with(&name) {
        return Err(CEntryError::Name(name));
    }
    Ok(CFunction {
        name,
        version: version?,
        compiler: compiler?,
        interface: interface(entry),
        create: entry.create,
        run,
        destroy: entry.destroy,
    })
}

/// Major and minor version of the interface an entry was built for.
pub(super) fn interface(entry: &CEntry) -> (u32, u32) {
    (entry.interface_major.into(), entry.interface_minor.into())
}

/// A text that ends with a NUL, copied.
fn text(start: *const u8, mappings: &Mappings) -> Option<String> {
    let room = mappings.readable_from(start as u64).min(LONGEST) as usize;
    // SAFETY: so many bytes are mapped and readable.
    let bytes = unsafe { std::slice::from_raw_parts(if room == 0 { ptr::dangling() } else { start }, room) };
    CStr::from_bytes_until_nul(bytes).ok()?.to_str().ok().map(ToOwned::to_owned)
}

impl CFunction {
    /// Whether it keeps state from job to job.
    pub(super) fn has_state(&self) -> bool {
        self.create.is_some()
    }

    /// Makes the state.
    ///
    /// # Errors
    /// What `create` said.
    pub(super) fn make(&'static self, context: &RawContext<'_>) -> Result<CInstance, RawFail> {
        connect(context.host);
        let name =
            CString::new(context.function.as_str()).map_err(|_| failure("the function's name holds a NUL".into()))?;
        let settings = CSettings::new(&context.settings)?;
        let mut state = ptr::null_mut();
        let mut wanted = Default::default();
        if let Some(create) = self.create {
            let mut code = 0;
            let created = with_context(&name, &settings, |context| {
                // SAFETY: checked to be code; the pointers are valid during the call.
                code = unsafe { create(context, &raw mut state) };
                fork::exit_if_child();
            });
            match created.message {
                Some(message) => return Err(failure(message)),
                None if code != 0 => return Err(failure(format!("it returned {code}"))),
                None => wanted = created.wanted,
            }
        }
        let reader = if self.create.is_some() { "create" } else { "create: a GM_FUNCTION has no settings" };
        for sentence in unread_settings(&settings.names(), &wanted, reader) {
            (context.host.log)(NO_JOB, level::WARN, SETTINGS.into(), RStr::from_str(&sentence));
        }
        Ok(CInstance { function: self, state, name, _settings: settings })
    }
}

/// A function of a library in C that is ready for jobs.
pub(super) struct CInstance {
    function: &'static CFunction,
    state: *mut c_void,
    name: CString,
    /// The library may keep pointers to them.
    _settings: CSettings,
}

impl CInstance {
    /// Runs a job to its end.
    pub(super) fn run(&mut self, job: &RawJob<'_>) -> Result<ResultBytes, RawFail> {
        let running = RunningJob::begin(job, &self.name);
        // SAFETY: checked to be code; the state is what `create` made, and the job is valid until `end`.
        let code = unsafe { (self.function.run)(self.state, running.pointer()) };
        fork::exit_if_child();
        running.end(code)
    }
}

impl Drop for CInstance {
    fn drop(&mut self) {
        if let Some(destroy) = self.function.destroy {
            // SAFETY: checked to be code; the state is what `create` made, and is not used any more.
            unsafe { destroy(self.state) };
            fork::exit_if_child();
        }
    }
}
