//! The loader against a library with functions of every kind, and entries that are wrong in every way.

use std::cell::RefCell;
use std::path::PathBuf;

use gm_plugin_api::abi::{Host, RSlice, RStr, RawSetting, level};

use super::*;

/// A library that cargo built as a dev-dependency, beside the tests.
fn built(name: &str) -> PathBuf {
    std::env::current_exe().unwrap().with_file_name(format!("lib{name}.so"))
}

fn fixture(symbol: &str) -> Result<Loaded, LoadError> {
    load(&built("gm_plugin_fixtures"), symbol)
}

thread_local! {
    /// The calls to the functions of `HOST`, which come on this thread.
    static RECORDED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn record(what: String) {
    RECORDED.with_borrow_mut(|records| records.push(what));
}

static HOST: Host = {
    extern "C" fn status(job: u64, done: u64, of: u64) -> bool {
        record(format!("{job} status {done}/{of}"));
        true
    }
    extern "C" fn data(job: u64, bytes: RSlice<'_, u8>) -> bool {
        record(format!("{job} data {}", String::from_utf8_lossy(bytes.as_slice())));
        true
    }
    extern "C" fn warning(job: u64, bytes: RSlice<'_, u8>) -> bool {
        record(format!("{job} warning {}", String::from_utf8_lossy(bytes.as_slice())));
        false
    }
    extern "C" fn log(job: u64, level: u8, target: RStr<'_>, text: RStr<'_>) {
        record(format!("{job} log {level} {target:?} {text}"));
    }
    extern "C" fn stopping(_: u64) -> bool {
        true
    }
    Host { size: size_of::<Host>(), status, data, warning, log, stopping }
};

pub(super) fn make(loaded: &Loaded, settings: &[(&str, &str)]) -> Result<Instance, RawFail> {
    let settings: Vec<RawSetting<'_>> =
        settings.iter().map(|(name, value)| RawSetting { name: (*name).into(), value: (*value).into() }).collect();
    loaded.make(&RawContext {
        size: size_of::<RawContext<'_>>(),
        function: loaded.name().into(),
        settings: settings.as_slice().into(),
        host: &HOST,
    })
}

pub(super) fn run(instance: &mut Instance, workload: &[u8]) -> Result<Vec<u8>, RawFail> {
    let job = RawJob {
        size: size_of::<RawJob<'_>>(),
        number: 7,
        handle: b"H:a:1"[..].into(),
        unique: b"u1"[..].into(),
        function: "called".into(),
        workload: workload.into(),
        host: &HOST,
    };
    instance.run(&job).map(|bytes| bytes.to_vec())
}

#[test]
fn the_example_works() {
    let loaded = load(&built("reverse_string"), "reverse_string").unwrap();
    assert_eq!((loaded.name(), loaded.version()), ("reverse_string", env!("CARGO_PKG_VERSION")));
    assert!(loaded.unwinds() && !loaded.is_object());
    assert_eq!(loaded.interface(), (INTERFACE_MAJOR, INTERFACE_MINOR));
    assert!(loaded.compiler().starts_with("rustc "), "{}", loaded.compiler());
    let mut function = make(&loaded, &[]).unwrap();
    assert_eq!(run(&mut function, b"abc\0").unwrap(), b"\0cba");
}

#[test]
fn every_report_crosses_the_interface() {
    let loaded = fixture("talk").unwrap();
    assert_eq!(loaded.version(), "7.8.9");
    loaded.set_level(level::ERROR);
    let mut function = make(&loaded, &[]).unwrap();
    assert_eq!(run(&mut function, b"").unwrap(), b"[true, true, false, true] called H:a:1 u1");
    let expected = ["7 status 1/2", "7 data part", "7 warning careful", "7 log 1 \"\" an error"];
    assert_eq!(RECORDED.take(), expected);
    loaded.set_level(level::TRACE);
    run(&mut function, b"").unwrap();
    assert_eq!(RECORDED.take().pop().unwrap(), "7 log 4 \"\" a detail");
}

#[test]
fn no_name_is_taken() {
    let mut function = make(&fixture("write").unwrap(), &[]).unwrap();
    assert_eq!(run(&mut function, b"as it was").unwrap(), b"as it was");
    assert_eq!(fixture("x_Image::re-size").unwrap().name(), "Image::re-size");
}

#[test]
fn failures_cross_with_their_kind() {
    let failed =
        |symbol: &str, workload: &[u8]| run(&mut make(&fixture(symbol).unwrap(), &[]).unwrap(), workload).unwrap_err();
    let fail = failed("fail", b"");
    assert_eq!((fail.kind, fail.message.as_str()), (RawFail::FAIL, "No such file or directory (os error 2)"));
    let fail = failed("exception", b"\0payload");
    assert_eq!((fail.kind, fail.payload.as_slice()), (RawFail::EXCEPTION, &b"\0payload"[..]));
    for (workload, message) in
        [(&b""[..], "asked to"), (b"any", "a panic whose payload is no text"), (b"thread", "joined")]
    {
        let fail = failed("panic", workload);
        assert_eq!((fail.kind, fail.message.as_str()), (RawFail::PANIC, message));
        assert!(fail.file.ends_with("fixtures/src/lib.rs") && fail.line > 0, "{}:{}", fail.file, fail.line);
    }
}

#[test]
fn an_object_keeps_its_state_is_made_again_and_dropped() {
    let loaded = fixture("Counter").unwrap();
    assert!(loaded.is_object());
    let missing = make(&loaded, &[]).err().unwrap();
    assert!(missing.message.contains("setting.step is missing"), "{}", missing.message);
    let mark = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let path = mark.to_str().unwrap().to_owned();
    let mut counter = make(&loaded, &[("step", "2"), ("mark", &path)]).unwrap();
    assert_eq!(run(&mut counter, b"").unwrap(), b"2");
    assert_eq!(run(&mut counter, b"").unwrap(), b"4");
    assert_eq!(run(&mut counter, b"panic").unwrap_err().kind, RawFail::PANIC);
    assert!(!mark.exists(), "dropped after the panic");
    std::fs::write(&path, "").unwrap();
    assert_eq!(run(&mut counter, b"").unwrap(), b"2");
    assert!(mark.exists());
    drop(counter);
    assert!(!mark.exists(), "dropped at the end");
}

/// The sentence for a symbol, without the path it names.
fn rejection(symbol: &str) -> (String, LoadError) {
    let error = fixture(symbol).unwrap_err();
    let path = built("gm_plugin_fixtures").display().to_string();
    assert!(error.to_string().contains(&path), "{error}");
    (error.to_string().replace(&path, "PATH"), error)
}

#[test]
fn each_refusal_is_one_sentence() {
    for (symbol, sentence) in [
        (
            "nothing",
            "PATH exports no `nothing`: a library serves the functions it was built with, so its file's name and the \
             name of a #[function] in it must be the same",
        ),
        ("nul\0inside", "PATH exports no `nul\0inside`: a library serves"),
        ("text", "`text` in PATH is no entry of a gm-native plugin: build the library with gm-plugin-api"),
        // From a library that ours needs.
        ("getpid", "`getpid` in PATH is no entry of a gm-native plugin: build the library with gm-plugin-api"),
        (
            "for_c",
            "the entry `for_c` in PATH gives its size as 0 bytes instead of 88: build it with the gm_plugin.h of this \
             release",
        ),
        (
            "newer",
            "PATH is built for interface 1.3, this manager knows 1.0: update gm-native, or build with an older \
             gm-plugin-api",
        ),
        (
            "newer_major",
            "PATH is built for interface 2.0, this manager knows 1.0: update gm-native, or build with an older \
             gm-plugin-api",
        ),
        (
            "older_major",
            "PATH is built for interface 0.9, this manager knows 1.0: rebuild it with the gm-plugin-api of this \
             release",
        ),
        ("no_version", "PATH is built for interface \"one\", this manager knows 1.0: rebuild it"),
        (
            "other_abi_stable",
            "PATH differs from interface 1.0, which it claims to be built for: rebuild it with the gm-plugin-api of \
             this release",
        ),
        (
            "other_layout",
            "PATH differs from interface 1.0, which it claims to be built for: rebuild it with the gm-plugin-api of \
             this release",
        ),
    ] {
        let (found, error) = rejection(symbol);
        assert!(found.starts_with(sentence), "{symbol}: {found}");
        assert_eq!(error.detail().is_some(), matches!(error, LoadError::Layout { .. }));
    }
}

#[test]
fn errors_of_dlopen_are_passed_on() {
    let missing = load(Path::new("/nowhere/at_all.so"), "at_all").unwrap_err();
    let sentence = "cannot load /nowhere/at_all.so: /nowhere/at_all.so: cannot open shared object file: No such file";
    assert!(missing.to_string().starts_with(sentence), "{missing}");
    // Not the system's library of that name: a bare name is a file here.
    assert!(matches!(load(Path::new("libc.so.6"), "write"), Err(LoadError::Open { .. })));
}

#[test]
fn versions() {
    for (text, version) in [
        ("1.0.0", Some((1, 0))),
        ("1.12.0", Some((1, 12))),
        ("2.1", Some((2, 1))),
        ("", None),
        ("1", None),
        ("a.b", None),
        ("1.-1.0", None),
        ("99999999999.0.0", None),
    ] {
        assert_eq!(parse_version(text), version, "{text}");
    }
}

#[test]
fn which_versions_suit() {
    for (built, own, suit) in [
        ((1, 0), (1, 0), true),
        ((1, 0), (1, 2), true),
        ((1, 2), (1, 2), true),
        ((1, 3), (1, 2), false),
        ((2, 0), (1, 2), false),
        ((1, 0), (2, 0), false),
        ((0, 9), (1, 2), false),
    ] {
        assert_eq!(is_compatible(built, own), suit, "{built:?} {own:?}");
    }
}
