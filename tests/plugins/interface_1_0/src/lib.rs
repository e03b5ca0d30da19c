//! A function of interface 1.0, written down as that version's `#[function]` did, against types of its own.
//!
//! What loads and runs today has to load and run in every later gm-native of this major version.
#![allow(unsafe_code)] // The entry is exported by hand.

pub mod abi;

use abi_stable::library::{CheckTypeLayout, LibHeader, RootModuleResult};
use abi_stable::prefix_type::{PrefixRefTrait, WithMetadata};
use abi_stable::std_types::{RErr, ROk, RResult, RVec};

use abi::{Plugin, PluginRef, RawContext, RawFail, RawJob, RawState, level};

/// What is kept from job to job.
struct Object {
    jobs: u64,
    greeting: String,
}

extern "C" fn new(context: &RawContext<'_>) -> RResult<RawState, RawFail> {
    let setting = context.settings.iter().find(|setting| setting.name == "greeting");
    match setting {
        Some(setting) => {
            let object = Object { jobs: 0, greeting: setting.value.to_string() };
            ROk(RawState(Box::into_raw(Box::new(object)).cast()))
        }
        None => RErr(failed(RawFail::FAIL, "setting.greeting is missing")),
    }
}

extern "C" fn run(state: RawState, job: &RawJob<'_>) -> RResult<RVec<u8>, RawFail> {
    // SAFETY: the state is from `new`, and is used on one thread until `drop`.
    let object = unsafe { &mut *state.0.cast::<Object>() };
    object.jobs += 1;
    let (host, number) = (job.host, job.number);
    if job.workload.is_empty() {
        return RErr(failed(RawFail::FAIL, "nothing to do"));
    }
    let told = [
        (host.status)(number, 1, 2),
        (host.data)(number, b"part "[..].into()),
        (host.warning)(number, b"careful"[..].into()),
        (host.stopping)(number),
    ];
    (host.log)(number, level::INFO, "".into(), "a line".into());
    let text = String::from_utf8_lossy(&job.workload);
    ROk(format!("{}, {text}! {} {told:?}", object.greeting, object.jobs).into_bytes().into())
}

extern "C" fn set_level(_: u8) {}

extern "C" fn drop(state: RawState) {
    // SAFETY: the state is from `new`, and this is its end.
    let _ = unsafe { Box::from_raw(state.0.cast::<Object>()) };
}

fn failed(kind: u8, text: &str) -> RawFail {
    RawFail { kind, message: text.into(), payload: RVec::new(), file: "".into(), line: 0 }
}

const TABLE: &WithMetadata<Plugin> = &WithMetadata::new(Plugin {
    interface_major: 1,
    interface_minor: 0,
    unwinds: true,
    object: true,
    name: abi_stable::rstr!("interface_1_0"),
    version: abi_stable::rstr!("1.0.0"),
    compiler: abi_stable::rstr!("rustc of then"),
    new,
    run,
    set_level,
    drop,
});

extern "C" fn construct() -> RootModuleResult {
    // SAFETY: only the type is erased; the loader gives it back after the layout check.
    ROk(unsafe { PluginRef(TABLE.static_as_prefix()).to_prefix_ref().cast() })
}

#[unsafe(export_name = "interface_1_0")]
static ENTRY: LibHeader =
    // SAFETY: `construct` returns an erased `PluginRef`.
    unsafe { LibHeader::from_constructor::<PluginRef>(construct, CheckTypeLayout::Yes) };
