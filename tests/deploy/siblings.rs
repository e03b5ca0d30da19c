//! Libraries that a plugin has the loader look for beside itself: part of its version in everything.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::corpus;
use crate::fixture::{QUICK, ask, count_events, of, put, strict_gearmand, version, wait_all};
use crate::support::build::{self, alone, build_dir, fingerprint};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::program::{Finished, run};
use crate::support::wait::{DEADLINE, wait_for};

const SOURCE: &str = "use gm_plugin_api::{Job, JobResult, Log, function};
unsafe extern \"C\" { fn helper() -> i32; }
#[function]
fn NAME(_: &Job, _: &mut Log) -> JobResult { Ok(unsafe { helper() }.to_string().into_bytes().into()) }
";

/// Where the plugin has the loader look. Replaced in the finished library by others of the same length.
pub const RUNPATH: &str = "$ORIGIN:${ORIGIN}/lib///////////////////////////";

/// `libdeep.so`, which returns this number.
pub fn deep(number: u8) -> Vec<u8> {
    fs::read(deep_at(number)).unwrap()
}

pub fn deep_at(number: u8) -> PathBuf {
    let source = format!("int deep(void) {{ return {number}; }}\n");
    build::c("libdeep.so", &source, &["-shared", "-fPIC", "-Wl,-soname,libdeep.so"])
}

/// `libhelper.so.1`, which returns ten times this number more than `libdeep.so`, and needs that beside itself.
pub fn helper(number: u8) -> Vec<u8> {
    fs::read(helper_at(number)).unwrap()
}

pub fn helper_at(number: u8) -> PathBuf {
    let source = format!("int deep(void);\nint helper(void) {{ return {number} * 10 + deep(); }}\n");
    let needs = deep_at(1).display().to_string();
    let args = ["-shared", "-fPIC", "-Wl,-soname,libhelper.so.1", "-Wl,-rpath,$ORIGIN", &needs];
    build::c("libhelper.so.1", &source, &args)
}

/// The plugin, which looks for `libhelper.so.1` along this path.
pub fn plugin(runpath: &str) -> Vec<u8> {
    plugin_of("beside", runpath)
}

/// The same with another function.
pub fn plugin_of(function: &str, runpath: &str) -> Vec<u8> {
    plugin_with(function, runpath, &[])
}

/// The same, linked with more.
pub fn plugin_with(function: &str, runpath: &str, link: &[&str]) -> Vec<u8> {
    // Not within what is built alone: it is built so itself.
    let (api, helper) = (corpus::api(), helper_at(1));
    let key = fingerprint((function, SOURCE, RUNPATH, link, fs::metadata(&api).unwrap().modified().unwrap()));
    let dir = build_dir().join(format!("beside-{key}"));
    let done = dir.join("beside.so");
    alone(|| {
        if done.exists() {
            return;
        }
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("source.rs"), SOURCE.replace("NAME", function)).unwrap();
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", function, "-o"]);
        rustc.args([&dir.join("part"), &dir.join("source.rs")]).arg("-L").arg(dependencies(&api));
        rustc.arg("--extern").arg(format!("gm_plugin_api={}", api.display()));
        rustc.arg("-C").arg(format!("link-arg={}", helper.display()));
        rustc.arg("-C").arg(format!("link-arg=-Wl,--enable-new-dtags,-rpath,{RUNPATH}"));
        rustc.args(link.iter().map(|arg| format!("-Clink-arg={arg}")));
        build::command(&mut rustc);
        fs::rename(dir.join("part"), &done).unwrap();
    });
    let mut bytes = fs::read(&done).unwrap();
    let at = bytes.windows(RUNPATH.len()).position(|window| window == RUNPATH.as_bytes()).unwrap();
    let padded = format!("{runpath:/<width$}", width = RUNPATH.len());
    assert_eq!(padded.len(), RUNPATH.len());
    bytes[at..at + padded.len()].copy_from_slice(padded.as_bytes());
    bytes
}

fn dependencies(api: &Path) -> String {
    format!("dependency={}", api.parent().unwrap().display())
}

/// Puts a file somewhere in worker_dir, in one step.
pub fn place(manager: &Manager, name: &str, bytes: &[u8]) {
    let at = manager.worker_dir().join(name);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(manager.dir().join("part"), bytes).unwrap();
    fs::rename(manager.dir().join("part"), at).unwrap();
}

#[track_caller]
pub fn wait_answer(gearmand: &Gearmand, manager: &Manager, answer: &str) {
    manager.wait_status("the function to be served", |status| {
        let about = of(status, "functions", "name", "beside")?;
        (about["workers_ready"] != 0).then_some(())
    });
    wait_for(&format!("the answer {answer}"), DEADLINE, || (ask(gearmand, "beside") == answer).then_some(()));
}

/// A manager that serves `f00`, and `beside` from `workers/beside.so`, `lib/libhelper.so.1`, `lib/libdeep.so`.
fn served() -> (Gearmand, Manager) {
    let gearmand = strict_gearmand();
    let manager = Setup::new(&[&gearmand.server()]).ini(QUICK).ini("count = 1").start();
    put(&manager, "f00", &version("v1"));
    wait_all(&manager, "f00", &version("v1"));
    // As libraries are installed: the name it is needed by is a link.
    place(&manager, "lib/libdeep.so", &deep(1));
    place(&manager, "lib/libhelper.so.1.0", &helper(1));
    symlink("libhelper.so.1.0", manager.worker_dir().join("lib/libhelper.so.1")).unwrap();
    put(&manager, "beside", &plugin(RUNPATH));
    wait_answer(&gearmand, &manager, "11");
    (gearmand, manager)
}

pub fn current(manager: &Manager) -> String {
    let status = manager.status();
    of(&status, "functions", "name", "beside").unwrap()["version"].as_str().unwrap().to_owned()
}

pub fn command(args: &[&str], file: &Path) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gm-native"));
    run(command.arg(args[0]).arg(file).args(&args[1..]), b"", DEADLINE).unwrap()
}

#[test]
fn they_are_stored_hashed_watched_and_rolled_back_with_it() {
    let (gearmand, mut manager) = served();
    let file = manager.worker_dir().join("beside.so");
    let first = current(&manager);
    let checked = command(&["check", "--json"], &file);
    let checked: serde_json::Value = serde_json::from_str(&checked.out()).unwrap();
    assert_eq!((checked["version"].as_str(), &checked["beside"][0]), (Some(&*first), &"lib/libhelper.so.1".into()));
    assert_eq!(command(&["call"], &file).out(), "11");
    let stored = manager.dir().join("state/store").join(&first);
    for name in ["beside.so", "lib/libhelper.so.1", "lib/libdeep.so"] {
        assert!(stored.join(name).is_file(), "{name}");
    }

    // A changed one is a deploy, also one that only another needs, and a whole new set.
    place(&manager, "lib/libdeep.so", &deep(2));
    wait_answer(&gearmand, &manager, "12");
    place(&manager, "lib/libhelper.so.1.0", &helper(2));
    wait_answer(&gearmand, &manager, "22");
    // One that would be found before.
    place(&manager, "libdeep.so", &deep(7));
    place(&manager, "libhelper.so.1", &helper(3));
    wait_answer(&gearmand, &manager, "37");
    let newest = current(&manager);
    manager.command("rollback", &["beside", &first]).success();
    wait_answer(&gearmand, &manager, "11");
    manager.command("retry", &["beside"]).success();
    wait_answer(&gearmand, &manager, "37");
    let listed = manager.command("versions", &[]).out();
    assert!(!listed.contains("helper") && !listed.contains("deep"), "{listed}");
    assert_eq!(manager.status()["refused"], serde_json::json!([]));

    // Changed in the store: seen before it is loaded, and made again.
    let stored = manager.dir().join("state/store").join(&newest).join("libdeep.so");
    fs::set_permissions(&stored, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(&stored, "rubbish").unwrap();
    let status = manager.status();
    let pids = status["workers"].as_array().unwrap().iter().map(|worker| worker["pid"].as_i64().unwrap());
    pids.for_each(|pid| kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap());
    manager.wait_log("was changed in the store");
    wait_answer(&gearmand, &manager, "37");
    assert_eq!(fs::read(&stored).unwrap(), deep(7));

    // The next manager has the last good version with all of it, and when it goes, all of it goes.
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    fs::write(manager.worker_dir().join("libdeep.so"), &deep(8)[..500]).unwrap();
    manager.start_again();
    let event = manager.wait_event("library_refused", |event| event["function"] == "beside");
    assert_eq!(event["serving"], *newest, "{event}");
    wait_answer(&gearmand, &manager, "37");
    manager.remove("beside");
    manager.wait_event("function_removed", |event| event["function"] == "beside");
    let store = manager.dir().join("state/store");
    wait_for("its versions to be gone", DEADLINE, || {
        let left = fs::read_dir(&store).unwrap().flatten().filter(|dir| dir.path().join("beside.so").exists());
        (left.count() == 0 && !stored.parent().unwrap().exists()).then_some(())
    });
    assert_eq!(ask(&gearmand, "f00"), "v1");
}

/// In one process the loader has one library of a name for all: never another version's than the function was tried with.
#[test]
fn each_has_its_own_version_of_a_library_that_several_bring_along() {
    let gearmand = strict_gearmand();
    let mut manager = Setup::new(&[&gearmand.server()]).ini(QUICK).ini("count = 1").prepared();
    for (name, bytes) in [("libdeep.so", deep(1)), ("libhelper.so.1", helper(1))] {
        place(&manager, name, &bytes);
        place(&manager, &format!("lib/{name}"), &bytes);
    }
    place(&manager, "beside.so", &plugin("$ORIGIN"));
    place(&manager, "nearby.so", &plugin_of("nearby", "$ORIGIN/lib"));
    manager.start_again();
    let answers = |expected: [&str; 2]| {
        for (function, answer) in ["beside", "nearby"].into_iter().zip(expected) {
            let is_it = || (ask(&gearmand, function) == answer).then_some(());
            wait_for(&format!("{answer} from {function}"), DEADLINE, is_it);
        }
    };
    let workers = |count| {
        manager.wait_status(&format!("{count} workers"), |status| {
            (status["workers"].as_array()?.len() == count).then_some(())
        });
    };
    answers(["11", "11"]);
    // The same in two places is no reason to be kept apart.
    workers(1);
    assert!(!manager.log().contains("brings"), "{}", manager.log());
    place(&manager, "lib/libhelper.so.1", &helper(2));
    answers(["11", "21"]);
    manager.wait_log("brings lib/libhelper.so.1 along, and another library of that name is loaded");
    workers(2);
    answers(["11", "21"]);
    place(&manager, "libhelper.so.1", &helper(2));
    answers(["21", "21"]);
    workers(1);
}

/// Nobody complains of what has no function, wherever it lies.
#[test]
fn what_others_need_is_not_reported_as_a_function() {
    for place_of_it in ["", "lib/"] {
        let gearmand = strict_gearmand();
        let mut manager = Setup::new(&[&gearmand.server()]).ini(QUICK).args(&["--strict"]).prepared();
        // One has the name of a function's library, the other a version.
        let needed = ["libdeep.so", "libhelper.so.1"].map(|name| format!("{place_of_it}{name}"));
        place(&manager, &needed[0], &deep(1));
        place(&manager, &needed[1], &helper(1));
        place(&manager, "beside.so", &plugin(RUNPATH));
        manager.start_again();
        wait_answer(&gearmand, &manager, "11");
        let about =
            |line: &&str| line.contains("libdeep.so") || line.contains("libhelper.so") || line.contains("/lib ");
        assert_eq!(manager.log().lines().find(about), None);
        assert_eq!(manager.status()["refused"], serde_json::json!([]));
        // All go together: the only function of the directory was removed, not several.
        needed.iter().for_each(|name| fs::remove_file(manager.worker_dir().join(name)).unwrap());
        manager.remove("beside");
        manager.wait_event("function_removed", |event| event["function"] == "beside");
        assert_eq!(count_events(&manager, "function_removed", "deep"), 0);
    }
}

/// `check`, `call` and the manager say the same, and what is mended is served.
#[test]
fn one_that_is_missing_or_wrong_has_a_true_sentence() {
    let gearmand = strict_gearmand();
    let manager = Setup::new(&[&gearmand.server()]).ini(QUICK).start();
    // A start that finds nothing it can serve is none.
    put(&manager, "f00", &version("v1"));
    wait_all(&manager, "f00", &version("v1"));
    let workers = manager.worker_dir();
    let at = |name: &str| workers.join(name).display().to_string();
    let remove = |name: &str| fs::remove_file(workers.join(name)).unwrap();
    let refused = |words: &str| {
        manager.wait_event("library_refused", |event| {
            event["function"] == "beside" && event["reason"].as_str().unwrap().contains(words)
        });
        for verb in ["check", "call"] {
            let finished = command(&[verb], &workers.join("beside.so"));
            let output = finished.out() + &finished.err();
            assert!(finished.code() == Some(1) && output.contains(words), "{verb} does not say {words:?}: {output}");
        }
    };
    place(&manager, "libdeep.so", &deep(1));
    put(&manager, "beside", &plugin(RUNPATH));
    refused(&format!(
        "needs libhelper.so.1, which is neither installed on this machine nor at {} or ",
        at("libhelper.so.1")
    ));
    place(&manager, "libhelper.so.1", &helper(1)[..1000]);
    refused(&format!("needs libhelper.so.1 beside it, but {} was cut short", at("libhelper.so.1")));
    place(&manager, "libhelper.so.1", b"a text\n");
    refused(&format!("{} is text, not a library", at("libhelper.so.1")));
    remove("libhelper.so.1");
    place(&manager, "../elsewhere/libhelper.so.1", &helper(1));
    symlink("../elsewhere/libhelper.so.1", workers.join("libhelper.so.1")).unwrap();
    refused("is a link out of that directory, to ../elsewhere/libhelper.so.1");
    remove("libhelper.so.1");
    put(&manager, "beside", &plugin("$ORIGIN/../elsewhere"));
    refused("/../elsewhere/libhelper.so.1, outside its own directory");
    put(&manager, "beside", &plugin("/nowhere/at/all"));
    place(&manager, "libhelper.so.1", &helper(1));
    refused(&format!("{} is not on its search path: link with -Wl,-rpath,'$ORIGIN'", at("libhelper.so.1")));
    put(&manager, "beside", &plugin(RUNPATH));
    wait_answer(&gearmand, &manager, "11");
    // What breaks later leaves the version that is served alone.
    place(&manager, "libdeep.so", b"a text\n");
    refused(&format!("needs libdeep.so beside it, but {} is text", at("libdeep.so")));
    assert_eq!(ask(&gearmand, "beside"), "11");
}
