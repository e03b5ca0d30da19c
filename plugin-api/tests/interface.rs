//! The interface's promise: a type that changes, changes the number.
#![allow(clippy::wrong_self_convention)] // A table's field becomes a method: `new`.
#![allow(unsafe_code)] // Deriving the layout of a table, and reading one as another, is what is tested.

use std::fmt::Write;

use abi_stable::StableAbi;
use abi_stable::std_types::UTypeId;
use abi_stable::type_layout::TypeLayout;
use gm_plugin_api::abi::{self, INTERFACE_MAJOR, INTERFACE_MINOR, compare_layouts};

/// A library of the first version, with the types written out.
#[path = "interface/1.0.rs"]
mod first;

#[test]
fn the_library_that_is_kept_of_1_0_is_of_1_0_and_suits_this_host() {
    let mut found = String::new();
    describe(first::PluginRef::LAYOUT, &mut Vec::new(), &mut found);
    assert_eq!(found, include_str!("interface/1.0.txt"), "it never changes");
    assert_eq!(compare_layouts(first::PluginRef::LAYOUT, abi::PluginRef::LAYOUT), Ok(()));
}

#[test]
fn every_type_is_as_noted_for_its_version() {
    let noted = include_str!("interface/1.0.txt");
    assert_eq!((INTERFACE_MAJOR, INTERFACE_MINOR), (1, 0), "note the new version in tests/interface, and read that");
    let mut found = String::new();
    describe(abi::PluginRef::LAYOUT, &mut Vec::new(), &mut found);
    assert!(
        found == noted,
        "a type of the interface changed and its number did not. See docs/plugin-interface.md for which number to \
         raise; the file of a version that was released never changes. Found:\n{found}"
    );
}

/// A type, and after it each one it leads to, as lines of names, sizes and types.
fn describe(layout: &'static TypeLayout, seen: &mut Vec<UTypeId>, out: &mut String) {
    if seen.contains(&layout.get_utypeid()) {
        return;
    }
    seen.push(layout.get_utypeid());
    let _ = writeln!(out, "{}: {} bytes, aligned to {}", layout.full_type(), layout.size(), layout.alignment());
    let mut next = Vec::new();
    for field in layout.get_fields().into_iter().flatten().chain(layout.phantom_fields()) {
        match field.function_range().iter().next() {
            Some(function) => {
                let _ = writeln!(out, "    {} {}", field.name(), function.to_string().replace('\n', " "));
                next.extend(function.param_type_layouts.iter().map(|of| of()));
                next.extend(function.return_type_layout().map(|of| of()));
            }
            None => {
                let _ = writeln!(out, "    {} {}", field.name(), field.layout().full_type());
                next.push(field.layout());
            }
        }
    }
    for layout in next {
        describe(layout, seen, out);
    }
}

/// What version 1.1 may look like: a field at the table's end, and a longer table of the worker's functions.
#[allow(dead_code)] // Layouts are compared; few fields are read.
mod next {
    use super::StableAbi;
    use gm_plugin_api::abi::*;

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
        pub idle: extern "C" fn(RawState, &LongerHost),
    }

    #[repr(C)]
    #[derive(StableAbi)]
    pub struct LongerHost {
        pub first: Host,
        pub cancelled: extern "C" fn(u64) -> bool,
    }
}

/// What would be version 2: a parameter that a function did not have.
#[allow(dead_code)]
mod other {
    use super::StableAbi;
    use gm_plugin_api::abi::*;

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
        pub set_level: extern "C" fn(u8, u8),
        #[sabi(last_prefix_field)]
        pub drop: extern "C" fn(RawState),
    }
}

#[test]
fn an_older_library_suits_a_newer_host_and_no_other_difference_passes() {
    let (old, new, other) = (abi::PluginRef::LAYOUT, next::PluginRef::LAYOUT, other::PluginRef::LAYOUT);
    assert_eq!(compare_layouts(old, old), Ok(()));
    assert_eq!(compare_layouts(old, new), Ok(()), "the host has a field more");
    let report = compare_layouts(new, old).unwrap_err();
    assert!(report.contains("too many fields"), "{report}");
    let report = compare_layouts(other, old).unwrap_err();
    assert!(report.contains("set_level"), "{report}");
}

#[test]
fn a_newer_host_sees_that_an_older_library_lacks_a_field() {
    use abi_stable::prefix_type::PrefixRefTrait;

    struct Nothing;
    impl gm_plugin_api::__private::Plain for Nothing {
        const ABOUT: gm_plugin_api::__private::About = gm_plugin_api::__private::about!("nothing");
        fn run(_: &gm_plugin_api::Job, _: &mut gm_plugin_api::Log) -> gm_plugin_api::JobResult {
            Ok(().into())
        }
    }
    let old = abi::table::<gm_plugin_api::__private::PlainFunction<Nothing>>();
    assert_eq!(old.name(), "nothing");
    assert_eq!(compare_layouts(abi::PluginRef::LAYOUT, next::PluginRef::LAYOUT), Ok(()), "else it must not be read");
    // SAFETY: the layouts were compared just now.
    let seen_by_newer = next::PluginRef(unsafe { old.to_prefix_ref().cast() });
    assert_eq!(seen_by_newer.name(), "nothing");
    assert!(seen_by_newer.idle().is_none());
}
