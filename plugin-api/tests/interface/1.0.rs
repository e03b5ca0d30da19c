//! A library of interface 1.0 that stands for itself: the types as they were in that version, and one function written
//! by hand over them. It depends on `abi_stable` alone, so that nothing done to gm-plugin-api can change it.
//!
//! `tests/author/matrix.rs` builds it as a package called gm-plugin-api, since a type's package is part of its layout,
//! and has every manager serve it. `tests/interface.rs` compares it with the present types. It never changes.
#![allow(dead_code, missing_docs, unsafe_code)]

use std::sync::atomic::{AtomicU8, Ordering};

use abi_stable::library::{CheckTypeLayout, LibHeader, RootModule, RootModuleResult};
use abi_stable::prefix_type::{PrefixRefTrait, WithMetadata};
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RErr, ROk, RResult, RSlice, RStr, RString, RVec};
use abi_stable::{StableAbi, declare_root_module_statics};

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRef, prefix_fields = PluginPrefix)))]
pub struct Plugin {
    pub interface_major: u32,
    pub interface_minor: u32,
    pub unwinds: bool,
    pub object: bool,
    pub name: RStr<'static>,
    pub version: RStr<'static>,
    pub compiler: RStr<'static>,
    pub new: extern "C" fn(&RawContext<'_>) -> RResult<RawState, RawFail>,
    pub run: extern "C" fn(RawState, &RawJob<'_>) -> RResult<RVec<u8>, RawFail>,
    pub set_level: extern "C" fn(u8),
    #[sabi(last_prefix_field)]
    pub drop: extern "C" fn(RawState),
}

impl RootModule for PluginRef {
    declare_root_module_statics! {PluginRef}
    const BASE_NAME: &'static str = "gm_native_plugin";
    const NAME: &'static str = "gm_native_plugin";
    const VERSION_STRINGS: VersionStrings = VersionStrings::new("1.0.0");
}

#[repr(transparent)]
#[derive(StableAbi, Clone, Copy)]
pub struct RawState(pub *mut ());

#[repr(C)]
#[derive(StableAbi)]
pub struct RawContext<'a> {
    pub size: usize,
    pub function: RStr<'a>,
    pub settings: RSlice<'a, RawSetting<'a>>,
    pub host: &'static Host,
}

#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct RawSetting<'a> {
    pub name: RStr<'a>,
    pub value: RStr<'a>,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct RawJob<'a> {
    pub size: usize,
    pub number: u64,
    pub handle: RSlice<'a, u8>,
    pub unique: RSlice<'a, u8>,
    pub function: RStr<'a>,
    pub workload: RSlice<'a, u8>,
    pub host: &'static Host,
}

#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Host {
    pub size: usize,
    pub status: extern "C" fn(job: u64, done: u64, of: u64) -> bool,
    pub data: extern "C" fn(job: u64, bytes: RSlice<'_, u8>) -> bool,
    pub warning: extern "C" fn(job: u64, bytes: RSlice<'_, u8>) -> bool,
    pub log: extern "C" fn(job: u64, level: u8, target: RStr<'_>, text: RStr<'_>),
    pub stopping: extern "C" fn(job: u64) -> bool,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct RawFail {
    pub kind: u8,
    pub message: RString,
    pub payload: RVec<u8>,
    pub file: RString,
    pub line: u32,
}

const FAIL: u8 = 0;
const EXCEPTION: u8 = 1;
const PANIC: u8 = 2;
const INFO: u8 = 3;

static LEVEL: AtomicU8 = AtomicU8::new(INFO);

extern "C" fn set_level(level: u8) {
    LEVEL.store(level, Ordering::Relaxed);
}

fn failed(kind: u8, message: &str, payload: &[u8]) -> RawFail {
    let (file, line) = if kind == PANIC { ("old.rs", 7) } else { ("", 0) };
    RawFail { kind, message: message.into(), payload: payload.into(), file: file.into(), line }
}

/// A counter that begins at `setting.start`.
extern "C" fn new(context: &RawContext<'_>) -> RResult<RawState, RawFail> {
    if context.size < size_of::<RawContext<'_>>() || context.host.size < size_of::<Host>() {
        return RErr(failed(FAIL, "a host shorter than that of 1.0", b""));
    }
    let start = context.settings.iter().find(|setting| setting.name.as_str() == "start");
    match start.and_then(|setting| setting.value.as_str().parse::<u64>().ok()) {
        Some(start) => ROk(RawState(Box::into_raw(Box::new(start)).cast())),
        None => RErr(failed(FAIL, "start is no number", b"")),
    }
}

extern "C" fn run(state: RawState, job: &RawJob<'_>) -> RResult<RVec<u8>, RawFail> {
    // SAFETY: what `new` made, and the interface promises one call at a time.
    let count = unsafe { &mut *state.0.cast::<u64>() };
    match job.workload.as_slice() {
        b"fail" => return RErr(failed(FAIL, "asked to fail", b"")),
        b"exception" => return RErr(failed(EXCEPTION, "", b"a payload")),
        b"panic" => return RErr(failed(PANIC, "asked to", b"")),
        b"tell" => {
            let sent = [(job.host.data)(job.number, job.unique), (job.host.warning)(job.number, b"careful"[..].into())];
            let text = format!("{sent:?} {} {}", (job.host.stopping)(job.number), job.function);
            return ROk(text.into_bytes().into());
        }
        _ => {}
    }
    (job.host.status)(job.number, 1, 2);
    if INFO <= LEVEL.load(Ordering::Relaxed) {
        (job.host.log)(job.number, INFO, "".into(), "counted".into());
    }
    *count += 1;
    let mut result = format!("{count} ").into_bytes();
    result.extend_from_slice(&job.workload);
    ROk(result.into())
}

extern "C" fn drop_counter(state: RawState) {
    // SAFETY: what `new` made, for the last time.
    drop(unsafe { Box::from_raw(state.0.cast::<u64>()) });
}

const TABLE: &WithMetadata<Plugin> = &WithMetadata::new(Plugin {
    interface_major: 1,
    interface_minor: 0,
    unwinds: true,
    object: true,
    name: RStr::from_str("interface_1_0"),
    version: RStr::from_str("1.0.0"),
    compiler: RStr::from_str("rustc of that time"),
    new,
    run,
    set_level,
    drop: drop_counter,
});

extern "C" fn construct() -> RootModuleResult {
    // SAFETY: only the type is erased; the loader gives it back after it has compared the layouts.
    ROk(unsafe { PluginRef(TABLE.static_as_prefix()).to_prefix_ref().cast() })
}

#[unsafe(export_name = "interface_1_0")]
pub static ENTRY: LibHeader =
    // SAFETY: `construct` returns an erased `PluginRef`.
    unsafe { LibHeader::from_constructor::<PluginRef>(construct, CheckTypeLayout::Yes) };
