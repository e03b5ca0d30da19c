//! The ABI between a worker and a plugin: C layouts, C functions, plain data.
//!
//! This file and the manager's loader are the only two that use `abi_stable`. It is public because the host needs it;
//! plugin authors never do. The rules by which it may change are in `docs/plugin-interface.md`:
//!
//! - [`Plugin`] grows only at its end, and accessors know whether an older library has a field.
//! - [`Host`], [`RawJob`] and [`RawContext`] carry their size. A later minor version puts its additions into a new
//!   struct that begins with this one, and readers compare `size` first. The structs here never change.
//! - Both raise [`INTERFACE_MINOR`]; any other change raises [`INTERFACE_MAJOR`].
// Exporting a table needs one unsafe promise to abi_stable: see `entry`.
#![allow(unsafe_code)]

use abi_stable::abi_stability::abi_checking::{AbiInstability, check_layout_compatibility};
use abi_stable::library::{AbiHeader, CheckTypeLayout, LibHeader, RootModule, RootModuleResult};
use abi_stable::marker_type::ErasedPrefix;
use abi_stable::prefix_type::{PrefixRefTrait, WithMetadata};
use abi_stable::sabi_types::VersionStrings;
use abi_stable::type_layout::TypeLayout;
use abi_stable::{StableAbi, declare_root_module_statics};

pub use abi_stable::std_types::{RErr, ROk, RResult, RSlice, RStr, RString, RVec};

/// Libraries and managers of different major versions refuse each other.
pub const INTERFACE_MAJOR: u32 = 1;

/// A manager loads libraries of its own major version and of every minor version up to its own.
pub const INTERFACE_MINOR: u32 = 0;

/// The version in the header of an exported entry. `abi_stable` requires three numbers; the last is always 0.
const INTERFACE: &str = "1.0.0";

/// The first bytes of an exported entry, by which it is recognised before anything else in it is read.
pub const MAGIC: [u8; 32] = AbiHeader::VALUE.magic_string;

/// The first bytes of the other kind of entry, the one for C: see [`c_abi`](crate::c_abi).
pub const C_MAGIC: [u8; 32] = *b"gm-native plugin entry for C    ";

/// Size in bytes of an exported entry, a data object under the function's name.
pub const ENTRY_SIZE: usize = size_of::<Entry>();

/// An exported entry: magic, versions, layout of every type below, and a constructor that returns the [`PluginRef`].
pub type Entry = LibHeader;

/// The table that a library provides for one function.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRef, prefix_fields = PluginPrefix)))]
pub struct Plugin {
    /// The [`INTERFACE_MAJOR`] that the library was built with.
    pub interface_major: u32,
    /// The [`INTERFACE_MINOR`] that the library was built with.
    pub interface_minor: u32,
    /// False in a `panic = "abort"` build: there a panic ends the worker.
    pub unwinds: bool,
    /// True for the object form: `new` returns an object that `run` uses from job to job.
    pub object: bool,
    /// The function's name, without the prefix of its symbol.
    pub name: RStr<'static>,
    /// Version of the crate that defines the function.
    pub version: RStr<'static>,
    /// The compiler that built the library; empty if unknown.
    pub compiler: RStr<'static>,
    /// Makes the object (a null state for a plain function). Called once before the first job, on the thread of `run`.
    pub new: extern "C" fn(&RawContext<'_>) -> RResult<RawState, RawFail>,
    /// Runs one job to its end, on the calling thread. Never unwinds.
    pub run: extern "C" fn(RawState, &RawJob<'_>) -> RResult<RVec<u8>, RawFail>,
    /// The highest log level wanted, see [`level`]; kept in the library so that an unwanted record costs one load.
    pub set_level: extern "C" fn(u8),
    /// Drops what `new` made. The state must not be used afterwards. Never unwinds: a panic in a destructor is caught.
    #[sabi(last_prefix_field)]
    pub drop: extern "C" fn(RawState),
}

impl RootModule for PluginRef {
    declare_root_module_statics! {PluginRef}
    const BASE_NAME: &'static str = "gm_native_plugin";
    const NAME: &'static str = "gm_native_plugin";
    // The interface's own version: the crate's, as abi_stable would have it, would refuse every plugin at 0.1 -> 0.2.
    const VERSION_STRINGS: VersionStrings = VersionStrings::new(INTERFACE);
}

/// What `new` returned: an opaque pointer for the host. Null for a plain function.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawState(pub *mut ());

/// What `new` is given. Valid during the call only.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawContext<'a> {
    /// Size in bytes of the struct that the host passes: this one, or a longer one that begins with it.
    pub size: usize,
    /// The function the object is made for, as registered with the job servers.
    pub function: RStr<'a>,
    /// The `setting.*` keys of the function's section, without that prefix.
    pub settings: RSlice<'a, RawSetting<'a>>,
    /// Functions that call back into the worker. A library may keep the reference until the process exits.
    pub host: &'static Host,
}

/// One `setting.NAME = value`.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct RawSetting<'a> {
    /// The name, without `setting.`.
    pub name: RStr<'a>,
    /// The value, as written in the configuration.
    pub value: RStr<'a>,
}

/// One job. Valid during `run` only.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawJob<'a> {
    /// Size in bytes of the struct that the host passes: this one, or a longer one that begins with it.
    pub size: usize,
    /// The worker's own number for this job, from 1; what [`Host`]'s functions are passed.
    pub number: u64,
    /// The job server's handle.
    pub handle: RSlice<'a, u8>,
    /// The client's unique id; may be empty.
    pub unique: RSlice<'a, u8>,
    /// The function as the job server named it.
    pub function: RStr<'a>,
    /// The workload.
    pub workload: RSlice<'a, u8>,
    /// Functions that call back into the worker. A library may keep the reference until the process exits.
    pub host: &'static Host,
}

/// The worker's functions for a plugin. They may be called from any thread, even after the end of the job; job number 0
/// means outside a job. `status`, `data` and `warning` return false if they were refused, because the job is over or
/// its connection is gone.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Host {
    /// Size in bytes of the struct that the host passes: this one, or a longer one that begins with it.
    pub size: usize,
    /// Progress: `done` of `of`. Passed on unchanged.
    pub status: extern "C" fn(job: u64, done: u64, of: u64) -> bool,
    /// A part of the result, sent before the job ends.
    pub data: extern "C" fn(job: u64, bytes: RSlice<'_, u8>) -> bool,
    /// A warning for the job's caller.
    pub warning: extern "C" fn(job: u64, bytes: RSlice<'_, u8>) -> bool,
    /// One record for the manager's log, see [`level`]. `target` may be empty; `text` may have several lines.
    pub log: extern "C" fn(job: u64, level: u8, target: RStr<'_>, text: RStr<'_>),
    /// True once the job should end early, because its worker has to drain or the job is past its timeout.
    pub stopping: extern "C" fn(job: u64) -> bool,
}

/// Log levels as they cross the interface: the smaller the more severe. 0 as a limit means none.
pub mod level {
    /// The function did not do what it was asked.
    pub const ERROR: u8 = 1;
    /// Something is wrong, but the work continues.
    pub const WARN: u8 = 2;
    /// Something worth knowing during normal operation.
    pub const INFO: u8 = 3;
    /// For the plugin's author.
    pub const DEBUG: u8 = 4;
    /// Everything.
    pub const TRACE: u8 = 5;
}

/// The target of log records with which a library warns about settings that it never reads, once per object for each.
/// The host decides how to show them.
pub const SETTINGS: &str = "gm_plugin_api::settings";

/// How a job, or the making of an object, failed.
#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq, Eq)]
pub struct RawFail {
    /// One of [`RawFail`]'s constants; an unknown one means [`RawFail::FAIL`].
    pub kind: u8,
    /// For people: the error with its causes, or the panic's message.
    pub message: RString,
    /// For [`RawFail::EXCEPTION`]: the bytes the caller gets. Else empty.
    pub payload: RVec<u8>,
    /// For a panic: the source file, if known; else empty.
    pub file: RString,
    /// For a panic: the line in `file`, from 1; 0 if unknown.
    pub line: u32,
}

impl RawFail {
    /// The function returned an error.
    pub const FAIL: u8 = 0;
    /// The function asks that its caller gets an exception with `payload`.
    pub const EXCEPTION: u8 = 1;
    /// The function panicked.
    pub const PANIC: u8 = 2;
    /// The job was not begun, because the object could not be made again after a panic. The worker should be replaced.
    pub const NO_OBJECT: u8 = 3;
}

/// A function that can be exported. Implemented by what `#[function]` writes.
pub trait Export: 'static {
    /// The table that [`entry`] hands out.
    const TABLE: Plugin;
}

/// The entry of a function, for a static that is exported under its name.
pub const fn entry<E: Export>() -> Entry {
    // SAFETY: `construct` returns an erased `PluginRef`, the root module named here.
    unsafe { LibHeader::from_constructor::<PluginRef>(construct::<E>, CheckTypeLayout::Yes) }
}

/// A constant that borrows a table must be an associated constant.
struct Table<E>(E);

impl<E: Export> Table<E> {
    const VALUE: &'static WithMetadata<Plugin> = &WithMetadata::new(E::TABLE);
}

extern "C" fn construct<E: Export>() -> RootModuleResult {
    // SAFETY: only the type is erased; the loader restores it after the layout check.
    ROk(unsafe { table::<E>().to_prefix_ref().cast::<ErasedPrefix>() })
}

/// The table of a function in this program, as a loader would get it from a library.
pub fn table<E: Export>() -> PluginRef {
    PluginRef(Table::<E>::VALUE.static_as_prefix())
}

/// Whether a library's table can be used through `own`'s layout, type by type: names, sizes, fields, parameters.
///
/// `abi_stable` lets a library be newer than its host; we promise the reverse. So we swap the two: the library's layout
/// is the expected one, and the host's may have more fields at the end. `abi_stable` also compares the versions of the
/// crates that define the types (always this crate), and would refuse every plugin when 0.1 becomes 0.2: we ignore that
/// difference.
///
/// # Errors
///
/// The difference, in some 200 lines for maintainers of this interface.
pub fn compare_layouts(library: &'static TypeLayout, own: &'static TypeLayout) -> Result<(), String> {
    let Err(report) = check_layout_compatibility(library, own) else { return Ok(()) };
    let about_layout = |error: &AbiInstability| !matches!(error, AbiInstability::PackageVersion(_));
    // A type that contains a wrong one is listed too, with no error of its own.
    if report.errors.iter().flat_map(|error| &error.errs).any(about_layout) { Err(report.to_string()) } else { Ok(()) }
}

const _: () = {
    // The constants by which a library is recognised and refused must stay in sync with the version.
    let text = INTERFACE.as_bytes();
    assert!(text.len() == 5 && text[0] == b'0' + INTERFACE_MAJOR as u8 && text[2] == b'0' + INTERFACE_MINOR as u8);
};
