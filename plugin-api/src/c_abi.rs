//! The interface for C, as `include/gm_plugin.h` has it: the same structs, for the manager's loader.
//!
//! The rules by which it may change are in `docs/plugin-interface.md`. It has the version of the interface for Rust.

use std::ffi::{c_char, c_int, c_void};

use crate::abi::{C_MAGIC, INTERFACE_MAJOR, INTERFACE_MINOR};
pub use crate::context::unread_settings;

/// Size in bytes of an exported entry, a data object under the function's name.
pub const C_ENTRY_SIZE: usize = size_of::<CEntry>();

/// `gm_plugin`: what a library exports for one function.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CEntry {
    /// [`C_MAGIC`].
    pub magic: [u8; 32],
    /// The struct's size, as the library was built.
    pub size: u32,
    /// [`INTERFACE_MAJOR`] as the library was built.
    pub interface_major: u16,
    /// [`INTERFACE_MINOR`] as the library was built.
    pub interface_minor: u16,
    /// The function's name.
    pub name: *const c_char,
    /// The library's version; may be empty.
    pub version: *const c_char,
    /// The compiler; may be empty.
    pub compiler: *const c_char,
    /// Makes the state. Null if there is none.
    pub create: Option<CreateFn>,
    /// Runs a job.
    pub run: Option<RunFn>,
    /// Ends the state.
    pub destroy: Option<DestroyFn>,
}

/// `create`: 0 if it succeeded.
pub type CreateFn = unsafe extern "C" fn(*mut CContext, *mut *mut c_void) -> c_int;
/// `run`: 0 if the job succeeded.
pub type RunFn = unsafe extern "C" fn(*mut c_void, *mut CJob) -> c_int;
/// `destroy`.
pub type DestroyFn = unsafe extern "C" fn(*mut c_void);
/// Frees a result that a library has handed over.
pub type ReleaseFn = unsafe extern "C" fn(*mut c_void);

/// `gm_job`: one job.
#[repr(C)]
pub struct CJob {
    /// The struct's size, as the host knows it.
    pub size: usize,
    /// The worker's functions.
    pub host: *const CHost,
    /// The worker's own number for this job, from 1.
    pub number: u64,
    /// The workload. Never null.
    pub workload: *const c_char,
    /// Its size in bytes.
    pub workload_size: usize,
    /// The job server's handle. Never null.
    pub handle: *const c_char,
    /// Its size in bytes.
    pub handle_size: usize,
    /// The client's unique id. Never null.
    pub unique: *const c_char,
    /// Its size in bytes.
    pub unique_size: usize,
    /// The function as the job server named it, with a NUL behind it.
    pub function: *const c_char,
}

/// `gm_context`: what `create` is given.
#[repr(C)]
pub struct CContext {
    /// The struct's size, as the host knows it.
    pub size: usize,
    /// The worker's functions.
    pub host: *const CHost,
    /// The function's name with the job servers, with a NUL behind it.
    pub function: *const c_char,
}

/// `gm_host`: the worker's functions. Each takes any pointer for a job or a context, and refuses what is none.
#[repr(C)]
#[allow(missing_docs, reason = "the header describes them")]
pub struct CHost {
    pub size: usize,
    pub status: extern "C" fn(*const CJob, u64, u64) -> c_int,
    pub data: unsafe extern "C" fn(*const CJob, *const c_void, usize) -> c_int,
    pub warning: unsafe extern "C" fn(*const CJob, *const c_void, usize) -> c_int,
    pub stopping: extern "C" fn(*const CJob) -> c_int,
    pub log_wanted: extern "C" fn(c_int) -> c_int,
    pub log: unsafe extern "C" fn(*const CJob, c_int, *const c_char, usize),
    pub result: unsafe extern "C" fn(*mut CJob, *const c_void, usize) -> c_int,
    pub result_owned: unsafe extern "C" fn(*mut CJob, *mut c_void, usize, Option<ReleaseFn>) -> c_int,
    pub fail: unsafe extern "C" fn(*mut CJob, *const c_char, usize) -> c_int,
    pub exception: unsafe extern "C" fn(*mut CJob, *const c_void, usize) -> c_int,
    pub setting: unsafe extern "C" fn(*const CContext, *const c_char) -> *const c_char,
    pub setting_at: unsafe extern "C" fn(*const CContext, usize, *mut *const c_char) -> *const c_char,
    pub create_failed: unsafe extern "C" fn(*mut CContext, *const c_char, usize) -> c_int,
}

const _: () = {
    // What the header says.
    assert!(INTERFACE_MAJOR == 1 && INTERFACE_MINOR == 0);
    assert!(C_MAGIC.len() == 32 && C_ENTRY_SIZE == 88);
};
