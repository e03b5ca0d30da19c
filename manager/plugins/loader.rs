//! Turns a library file and a symbol in it into a function that can be called.
//!
//! Loading runs the library's constructors, which can do anything: only the probe and the workers load, never the
//! manager. What can be checked without that (a complete file, the right machine, the entry's type and size) was
//! checked before; here it is magic, then versions, then layouts, and only then the first call into the library.
//!
//! Wherever the library's code returns, a process that it has forked is ended.
#![allow(unsafe_code)] // dlopen, and an address from a library that is to be believed step by step.

mod c_host;
mod c_plugin;
mod error;
mod go;
mod result_bytes;

use std::collections::BTreeSet;
use std::ffi::{CStr, OsStr};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use abi_stable::StableAbi;
use abi_stable::library::{AbiHeader, AbiHeaderRef};
use gm_plugin_api::abi::{
    C_MAGIC, Entry, INTERFACE_MAJOR, INTERFACE_MINOR, MAGIC, PluginRef, RErr, ROk, RawContext, RawFail, RawJob,
    RawState, compare_layouts,
};
use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL, RTLD_NOW};
use nix::libc;

use super::content_hash::ContentHash;
use super::siblings::Sibling;
use crate::system::crash_handler::Dispositions;
use crate::system::errors::reason;
use crate::system::fork;
use crate::system::mappings::Mappings;
use c_plugin::{CFunction, CInstance};

pub use c_plugin::CEntryError;
pub use error::LoadError;
pub use result_bytes::ResultBytes;

/// Whether this program, its libraries included, has a symbol of that name: the loader then uses that one for every
/// library that is loaded later and asks for the name.
pub fn is_in_the_program(symbol: &str) -> bool {
    // SAFETY: only the address is looked up, and it is not used.
    unsafe { Library::this().get::<*const ()>(symbol.as_bytes()) }.is_ok()
}

/// Whether a library of that name is loaded: then the loader looks for no other. For a path: whether that very file is.
pub fn is_loaded(name: &OsStr) -> bool {
    // SAFETY: nothing is loaded, so no code runs. It is not closed, since it is in use.
    unsafe { Library::open(Some(name), RTLD_LAZY | libc::RTLD_NOLOAD) }.map(ManuallyDrop::new).is_ok()
}

/// Libraries that the functions of this process bring along. For one name the loader uses one library for all of them,
/// whichever came first, without an error.
#[derive(Debug, Default)]
pub struct LoadedSiblings(Vec<(PathBuf, ContentHash)>);

impl LoadedSiblings {
    /// As [`load`]; also checks that the library got what it brings along, and the libraries it was probed with
    /// (`elsewhere`).
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load(
        &mut self,
        path: &Path,
        symbol: &str,
        siblings: &[Sibling],
        elsewhere: &[String],
    ) -> Result<Loaded, LoadError> {
        let before = if elsewhere.is_empty() { BTreeSet::new() } else { objects() };
        let loaded = load(path, symbol)?;
        self.add(path, siblings)?;
        for library in elsewhere.iter().map(Path::new).filter(|library| !is_loaded(library.as_os_str())) {
            // It may have moved since then, or the library does not need it any more.
            if let Some(instead) = before.iter().find(|other| other.file_name() == library.file_name()) {
                let (path, library, instead) = (path.into(), library.into(), instead.clone());
                return Err(LoadError::AnothersLibrary { path, library, instead });
            }
        }
        Ok(loaded)
    }

    /// Checks that a loaded library got what it brings along, or the same from another library.
    ///
    /// # Errors
    ///
    /// [`LoadError::NotItsOwn`], for the first that it did not get.
    fn add(&mut self, path: &Path, siblings: &[Sibling]) -> Result<(), LoadError> {
        for Sibling { path: name, hash } in siblings {
            self.0.push((path.with_file_name(name), *hash));
            let mut same = self.0.iter().filter(|(_, other)| other == hash);
            if !same.any(|(path, _)| is_loaded(path.as_os_str())) {
                return Err(LoadError::NotItsOwn { path: path.into(), library: name.into() });
            }
        }
        Ok(())
    }
}

/// All libraries that are loaded in this process, by the loader's names.
pub fn objects() -> BTreeSet<PathBuf> {
    unsafe extern "C" fn add(info: *mut libc::dl_phdr_info, _: usize, found: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the loader passes on a description that is valid during the call, and the set that is lent below.
        let (info, found) = unsafe { (&*info, &mut *found.cast::<BTreeSet<PathBuf>>()) };
        if !info.dlpi_name.is_null() {
            // SAFETY: a name of the loader's ends with a NUL.
            let name = unsafe { CStr::from_ptr(info.dlpi_name) };
            found.insert(OsStr::from_bytes(name.to_bytes()).into());
        }
        0
    }
    let mut found = BTreeSet::new();
    // SAFETY: the callback takes the set for what it is, and nobody else has it meanwhile.
    unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut found).cast()) };
    found
}

/// Whether the system has a library of that name in its own directories. If so, it is loaded now.
pub fn is_installed(name: &OsStr) -> bool {
    // SAFETY: as in `open`; the library is one that a plugin needs.
    unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) }.map(ManuallyDrop::new).is_ok()
}

/// The kinds of entries, distinguished by their first bytes before anything else is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EntryKind {
    /// A Rust static, checked by `abi_stable`.
    Rust,
    /// `gm_plugin` of `gm_plugin.h`, plain data that is checked here.
    C,
}

impl EntryKind {
    fn of(magic: &[u8; 32]) -> Option<Self> {
        match *magic {
            MAGIC => Some(Self::Rust),
            C_MAGIC => Some(Self::C),
            _ => None,
        }
    }
}

/// A function of a library. The library stays loaded until the process ends: its threads, destructors and borrowed text
/// may be anywhere, and new code means a new process.
#[derive(Clone, Copy)]
pub struct Loaded(Function);

#[derive(Clone, Copy)]
enum Function {
    Rust(PluginRef),
    C(&'static CFunction),
}

/// Loads a library and finds the function behind `symbol`: the configured prefix followed by the function's name.
///
/// Runs the library's constructors on this thread, which may take any time. What they set for the signals of crashes is
/// undone, unless there is a Go library.
///
/// # Errors
///
/// See [`LoadError`]. The library stays loaded even then.
pub fn load(path: &Path, symbol: &str) -> Result<Loaded, LoadError> {
    let before = Dispositions::current();
    let loaded = load_here(path, symbol);
    fork::exit_if_child();
    if !go::is_loaded() {
        before.restore();
    }
    loaded
}

/// Whether a library of this process brings Go's runtime along. A process can have only one of them.
pub fn has_go() -> bool {
    go::is_loaded()
}

fn load_here(path: &Path, symbol: &str) -> Result<Loaded, LoadError> {
    let library = open(path)?;
    let address = find(&library, path, symbol)?;
    // SAFETY: `find` returns an address with 32 readable bytes, from a library that is never closed.
    match EntryKind::of(unsafe { &*address.cast::<[u8; 32]>() }) {
        Some(EntryKind::Rust) => {
            let entry = checked_entry(address, path, symbol)?;
            check_interface(entry.version_strings().version.as_str(), path)?;
            check_layout(address, path)
        }
        Some(EntryKind::C) => load_c(address, path, symbol),
        None => Err(LoadError::NotAnEntry { path: path.into(), symbol: symbol.into() }),
    }
}

/// A function of a library in C: the version before the rest, as for Rust.
fn load_c(address: *const u8, path: &Path, symbol: &str) -> Result<Loaded, LoadError> {
    let wrong = |wrong| LoadError::CEntry { path: path.into(), symbol: symbol.into(), wrong };
    let mappings = Mappings::current().map_err(|error| wrong(CEntryError::Unchecked(reason(&error))))?;
    let entry = c_plugin::read(address, &mappings).map_err(wrong)?;
    let (major, minor) = c_plugin::interface(&entry);
    check_interface(&format!("{major}.{minor}"), path)?;
    let function = c_plugin::check(&entry, symbol, &mappings).map_err(wrong)?;
    Ok(Loaded(Function::C(Box::leak(Box::new(function)))))
}

/// Opens a library for good. NOW: a missing symbol fails here, and not in the middle of a job. LOCAL: symbols that two
/// libraries export under one name stay separate.
fn open(path: &Path) -> Result<ManuallyDrop<Library>, LoadError> {
    // A name without a slash would be looked up in the system's directories.
    let anchored = if path.components().count() == 1 { Path::new(".").join(path) } else { path.into() };
    // SAFETY: constructors run, and may do anything: that is what a plugin is. The calling process exists for that.
    let library = unsafe { Library::open(Some(anchored), RTLD_NOW | RTLD_LOCAL) };
    library.map(ManuallyDrop::new).map_err(|source| LoadError::Open { path: path.into(), source })
}

/// The address of a symbol that exists and is not null.
fn find(library: &Library, path: &Path, symbol: &str) -> Result<*const u8, LoadError> {
    // SAFETY: the symbol is used only as an address. The file was checked to have an object of an entry's size there (a
    // function's first 32 bytes would be readable too).
    let found = unsafe { library.get::<*const u8>(symbol.as_bytes()) };
    match found.map(|found| *found) {
        Ok(address) if !address.is_null() => Ok(address),
        _ => Err(LoadError::NoEntry { path: path.into(), symbol: symbol.into() }),
    }
}

/// An entry at an address whose magic is right: checks that it is aligned, and that `abi_stable` lays entries out as
/// here.
fn checked_entry(address: *const u8, path: &Path, symbol: &str) -> Result<&'static Entry, LoadError> {
    let not_an_entry = || LoadError::NotAnEntry { path: path.into(), symbol: symbol.into() };
    let entry = address.cast::<Entry>();
    if !entry.is_aligned() {
        return Err(not_an_entry());
    }
    // SAFETY: the magic is that of an entry, which begins with this header in every version of abi_stable.
    let header = unsafe { &*entry.cast::<AbiHeader>() };
    if !header.is_valid() {
        return Err(LoadError::Layout {
            path: path.into(),
            report: format!("abi_stable {}.{} instead of {:?}", header.abi_major, header.abi_minor, AbiHeader::VALUE),
        });
    }
    // SAFETY: the header says that the rest has our layout; the library is never closed.
    Ok(unsafe { &*entry })
}

/// Versions before layouts: "built for 1.3" helps more than two hundred lines about a field.
fn check_interface(built: &str, path: &Path) -> Result<(), LoadError> {
    let refused = match parse_version(built) {
        Some(version) if is_compatible(version, (INTERFACE_MAJOR, INTERFACE_MINOR)) => return Ok(()),
        Some((major, minor)) => format!("{major}.{minor}"),
        None => format!("{built:?}"),
    };
    Err(LoadError::Interface { path: path.into(), built: refused })
}

/// The interface's promise: the same major version, and a minor version up to our own.
fn is_compatible(built: (u32, u32), own: (u32, u32)) -> bool {
    built.0 == own.0 && built.1 <= own.1
}

/// Major and minor of a header's version, such as `1.0.0`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// The first calls into the library, in `abi_stable`'s own order: its tests of the C ABI, the layouts, the table.
fn check_layout(address: *const u8, path: &Path) -> Result<Loaded, LoadError> {
    let differs = |report: String| LoadError::Layout { path: path.into(), report };
    // SAFETY: `AbiHeaderRef` is a transparent reference to the header, which `checked_entry` has checked.
    let header = unsafe { std::mem::transmute::<*const AbiHeader, AbiHeaderRef>(address.cast()) };
    let entry = header.upgrade().map_err(|error| differs(error.to_string()))?;
    let layout = entry.layout().ok_or_else(|| differs("the entry carries no layout".into()))?;
    compare_layouts(layout, PluginRef::LAYOUT).map_err(differs)?;
    // SAFETY: the layouts were compared just now.
    let table = unsafe { entry.unchecked_layout::<PluginRef>() };
    let table = table.map_err(|error| differs(error.into_library_error::<PluginRef>().to_string()))?;
    Ok(Loaded(Function::Rust(table)))
}

impl Loaded {
    /// The function's name in its source, without a prefix. The file's name may differ.
    pub fn name(&self) -> &'static str {
        match self.0 {
            Function::Rust(table) => table.name().as_str(),
            Function::C(function) => &function.name,
        }
    }

    /// The version of the crate, or of the library in C, that defines the function; may be empty.
    pub fn version(&self) -> &'static str {
        match self.0 {
            Function::Rust(table) => table.version().as_str(),
            Function::C(function) => &function.version,
        }
    }

    /// The compiler that built the library; empty if unknown.
    pub fn compiler(&self) -> &'static str {
        match self.0 {
            Function::Rust(table) => table.compiler().as_str(),
            Function::C(function) => &function.compiler,
        }
    }

    /// Major and minor version of the interface the library was built for.
    pub fn interface(&self) -> (u32, u32) {
        match self.0 {
            Function::Rust(table) => (table.interface_major(), table.interface_minor()),
            Function::C(function) => function.interface,
        }
    }

    /// False for a `panic = "abort"` build in Rust: a panic in it ends the worker.
    pub fn unwinds(&self) -> bool {
        match self.0 {
            Function::Rust(table) => table.unwinds(),
            Function::C(_) => true,
        }
    }

    /// True for the object form, which keeps state from job to job.
    pub fn is_object(&self) -> bool {
        match self.0 {
            Function::Rust(table) => table.object(),
            Function::C(function) => function.has_state(),
        }
    }

    /// Sets the highest log level wanted, see [`level`](gm_plugin_api::abi::level), for the whole library; in C, for all
    /// libraries. From any thread.
    pub fn set_level(&self, level: u8) {
        match self.0 {
            Function::Rust(table) => (table.set_level())(level),
            Function::C(_) => c_host::set_level(level),
        }
    }

    /// Prepares the function for jobs: for an object, calls its `new` or `create`, which may take any time.
    ///
    /// # Errors
    ///
    /// What that returned, or its panic.
    pub fn make(&self, context: &RawContext<'_>) -> Result<Instance, RawFail> {
        match self.0 {
            Function::Rust(table) => {
                let made = (table.new())(context);
                fork::exit_if_child();
                Ok(Instance(Made::Rust { table, state: made.into_result()?, on_one_thread: PhantomData }))
            }
            Function::C(function) => Ok(Instance(Made::C(function.make(context)?))),
        }
    }

    /// What an author calls the function that [`Loaded::make`] calls.
    pub fn constructor(&self) -> &'static str {
        match self.0 {
            Function::Rust(_) => "new()",
            Function::C(_) => "create",
        }
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("name", &self.name()).field("version", &self.version()).finish_non_exhaustive()
    }
}

/// A function that is ready for jobs. It stays on the thread that made it.
///
/// Dropping it runs the object's destructor, which may take any time and never unwinds.
pub struct Instance(Made);

enum Made {
    Rust { table: PluginRef, state: RawState, on_one_thread: PhantomData<*mut ()> },
    C(CInstance),
}

impl Instance {
    /// Runs one job to its end, on this thread. Returns the result, in the library's own memory (write it out, do not
    /// copy it).
    ///
    /// # Errors
    ///
    /// How the job failed, which includes a panic unless the library does not unwind.
    pub fn run(&mut self, job: &RawJob<'_>) -> Result<ResultBytes, RawFail> {
        match &mut self.0 {
            Made::Rust { table, state, .. } => {
                let ended = (table.run())(*state, job);
                fork::exit_if_child();
                match ended {
                    ROk(bytes) => Ok(ResultBytes::Vector(bytes)),
                    RErr(fail) => Err(fail),
                }
            }
            Made::C(instance) => instance.run(job),
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Made::Rust { table, state, .. } = &self.0 {
            (table.drop())(*state);
            fork::exit_if_child();
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod matrix;
