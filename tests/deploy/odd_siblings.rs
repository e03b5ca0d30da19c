//! Libraries beside a plugin in odd shapes: slow to load, needing the plugin back, passed over by the loader, many.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;

use crate::fixture::{QUICK, ask, put, strict_gearmand, version, wait_all, wait_quiet};
use crate::siblings::{command, current, deep, helper, helper_at, place, plugin, plugin_with, wait_answer};
use crate::support::build;
use crate::support::manager::{Manager, Setup};
use crate::support::wait::{DEADLINE, wait_for};

/// `libdeep.so`, whose constructor prints that it runs, and waits as long as there is a file `$GM_TEST_HINDRANCE`.
fn slow_deep(number: u8) -> Vec<u8> {
    let source = format!(
        "#include <fcntl.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
         __attribute__((constructor)) static void wait_here(void) {{\n\
         \x20   const char *hindrance = getenv(\"GM_TEST_HINDRANCE\");\n\
         \x20   char seen[4096];\n\
         \x20   if (!hindrance) return;\n\
         \x20   snprintf(seen, sizeof seen, \"%s.seen\", hindrance);\n\
         \x20   close(open(seen, O_CREAT | O_WRONLY, 0600));\n\
         \x20   while (access(hindrance, F_OK) == 0) usleep(2000);\n}}\n\
         int deep(void) {{ return {number}; }}\n"
    );
    let args = ["-shared", "-fPIC", "-Wl,-soname,libdeep.so"];
    fs::read(build::c("libdeep.so", &source, &args)).unwrap()
}

/// A library that changes beside a plugin while that is being looked at: what the older look finds is of no interest,
/// also where it ends last.
#[test]
fn the_newest_of_two_looks_at_one_file_wins() {
    let gearmand = strict_gearmand();
    let setup = Setup::new(&[&gearmand.server()]).ini(QUICK).ini("count = 1");
    let hindrance = setup.dir().join("hindrance");
    let mut manager = setup.env("GM_TEST_HINDRANCE", &hindrance).prepared();
    place(&manager, "libdeep.so", &deep(1));
    place(&manager, "libhelper.so.1", &helper(1));
    place(&manager, "beside.so", &plugin("$ORIGIN"));
    manager.start_again();
    wait_answer(&gearmand, &manager, "11");
    let oldest = current(&manager);
    fs::write(&hindrance, "").unwrap();
    place(&manager, "libdeep.so", &slow_deep(2));
    let seen = hindrance.with_extension("seen");
    wait_for("the slow library to be looked at", DEADLINE, || seen.exists().then_some(()));
    place(&manager, "libdeep.so", &deep(3));
    wait_answer(&gearmand, &manager, "13");
    // The canary answers before its version is the function's.
    let newest = wait_for("the promotion", DEADLINE, || Some(current(&manager)).filter(|version| *version != oldest));
    fs::remove_file(&hindrance).unwrap();
    wait_quiet(&manager, 1);
    assert_eq!((ask(&gearmand, "beside"), current(&manager)), ("13".into(), newest));
    let found = manager.events().iter().filter(|event| event["event"] == "function_found").count();
    assert_eq!(found, 2, "what the older look found was taken for news: {}", manager.log());
}

/// The manager, `check` and `call` say the same of it.
#[track_caller]
fn refused(manager: &Manager, words: &str) {
    manager.wait_event("library_refused", |event| {
        event["function"] == "beside" && event["reason"].as_str().unwrap().contains(words)
    });
    for verb in ["check", "call"] {
        let finished = command(&[verb], &manager.worker_dir().join("beside.so"));
        let output = finished.out() + &finished.err();
        assert!(finished.code() == Some(1) && output.contains(words), "{verb} does not say {words:?}: {output}");
    }
}

/// `libdeep.so` that needs another library for nothing.
fn deep_with(number: u8, needed: &str) -> Vec<u8> {
    let source = format!("int deep(void) {{ return {number}; }}\n");
    let args = ["-shared", "-fPIC", "-Wl,-soname,libdeep.so", "-Wl,-rpath,$ORIGIN", "-Wl,--no-as-needed", needed];
    fs::read(build::c("libdeep.so", &source, &args)).unwrap()
}

/// What the loader passes over is passed over; libraries that need each other are found; what leads elsewhere from the
/// store has a sentence of its own.
#[test]
fn what_the_loader_finds_is_found_and_what_the_store_cannot_hold_is_reported() {
    let gearmand = strict_gearmand();
    let manager = Setup::new(&[&gearmand.server()]).ini(QUICK).ini("count = 1").start();
    put(&manager, "f00", &version("v1"));
    wait_all(&manager, "f00", &version("v1"));
    let mut foreign = helper(2);
    // A class of 32 bits, which the loader passes over.
    foreign[4] = 1;
    place(&manager, "libhelper.so.1", &foreign);
    place(&manager, "lib/libhelper.so.1", &helper(1));
    place(&manager, "lib/libdeep.so", &deep(1));
    put(&manager, "beside", &plugin("$ORIGIN/f00.so/x:$ORIGIN:$ORIGIN/lib"));
    wait_answer(&gearmand, &manager, "11");
    for runpath in ["$ORIGIN/$LIB", "$ORIGIN/other/../lib", "lib", ":"] {
        put(&manager, "beside", &plugin(runpath));
        let shown = if runpath == ":" { "looks for it in ," } else { "looks for it in " };
        refused(&manager, shown);
    }
    // A circle of two libraries.
    place(&manager, "lib/libdeep.so", &deep_with(5, &helper_at(1).display().to_string()));
    put(&manager, "beside", &plugin("$ORIGIN/lib"));
    wait_answer(&gearmand, &manager, "15");
    // Two that need the plugin: by its soname, and by what is only the name of its file.
    let stub = build::c("beside.so", "int stub;\n", &["-shared", "-fPIC", "-Wl,-soname,beside.so"]);
    place(&manager, "lib/libdeep.so", &deep_with(6, &stub.display().to_string()));
    place(&manager, "libdeep.so", &deep_with(6, &stub.display().to_string()));
    place(&manager, "libhelper.so.1", &helper(1));
    put(&manager, "beside", &plugin_with("beside", "$ORIGIN", &["-Wl,-soname,beside.so"]));
    wait_answer(&gearmand, &manager, "16");
    put(&manager, "beside", &plugin("$ORIGIN"));
    refused(&manager, "is needed by itself or by a library beside it as beside.so, a name that it loses");
    assert_eq!((ask(&gearmand, "beside"), ask(&gearmand, "f00")), ("16".into(), "v1".into()));
}

/// In one process the loader has one library of a name for all: who wants the system's must not get what another function
/// brings along, nor the other way round.
#[test]
fn each_plugin_gets_its_own_library_of_a_shared_name() {
    // One name is loaded before the other's, one after it.
    for (surge, other) in [("25%", "nearby"), ("0", "nearby"), ("25%", "abroad"), ("0", "abroad")] {
        let gearmand = strict_gearmand();
        let ini = format!("{QUICK}\ncount = 1\nrollout_surge = {surge}");
        let mut manager = Setup::new(&[&gearmand.server()]).ini(&ini).prepared();
        let system = manager.dir().join("sys").display().to_string();
        for (name, bytes) in [("libdeep.so", deep(1)), ("libhelper.so.1", helper(2))] {
            place(&manager, &format!("../sys/{name}"), &bytes);
        }
        place(&manager, "libdeep.so", &deep(1));
        place(&manager, "libhelper.so.1", &helper(1));
        place(&manager, "beside.so", &plugin("$ORIGIN"));
        place(&manager, &format!("{other}.so"), &plugin_with(other, &system, &[]));
        manager.start_again();
        let answers = |expected: &str| {
            wait_for("each function's own answer", DEADLINE, || {
                (ask(&gearmand, other) == "21" && ask(&gearmand, "beside") == expected).then_some(())
            });
        };
        answers("11");
        manager.wait_log("another library of that name is loaded");
        place(&manager, "libhelper.so.1", &helper(3));
        answers("31");
        manager.wait_status("two workers", |status| (status["workers"].as_array()?.len() == 2).then_some(()));
        answers("31");
    }
}

/// Names that are no text, and as long as names can be.
#[test]
fn names_of_any_bytes_are_followed() {
    let gearmand = strict_gearmand();
    let manager = Setup::new(&[&gearmand.server()]).ini(QUICK).ini("count = 1").start();
    put(&manager, "f00", &version("v1"));
    let odd = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let library = |to: &[u8], bytes: Vec<u8>| {
        let at = manager.worker_dir().join(odd(to));
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(manager.dir().join("part"), bytes).unwrap();
        fs::rename(manager.dir().join("part"), at).unwrap();
    };
    let replaced = |bytes: Vec<u8>, from: &[u8], to: &[u8]| -> Vec<u8> {
        let mut bytes = bytes;
        assert_eq!(from.len(), to.len());
        let places: Vec<usize> =
            (0..bytes.len() - from.len()).filter(|at| &bytes[*at..*at + from.len()] == from).collect();
        places.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
        bytes
    };
    let (name, other) = (b"libhelper.so.1".as_slice(), b"libh\xff\n\x1b\"r.so.1".as_slice());
    let other_dir = b"$ORIGIN/l\xff\nb";
    let plugin = replaced(plugin("$ORIGIN/l__b"), b"$ORIGIN/l__b", other_dir);
    put(&manager, "beside", &replaced(plugin, name, other));
    manager.wait_event("library_refused", |event| {
        let reason = event["reason"].as_str().unwrap();
        event["function"] == "beside" && reason.contains("which is neither installed on this machine nor at")
    });
    library(b"l\xff\nb/libdeep.so", deep(1));
    library(&[b"l\xff\nb/".as_slice(), other].concat(), replaced(helper(1), name, other));
    wait_answer(&gearmand, &manager, "11");
    library(b"l\xff\nb/libdeep.so", deep(2));
    wait_answer(&gearmand, &manager, "12");
    assert!(!manager.log().contains('\u{1b}'));
}
