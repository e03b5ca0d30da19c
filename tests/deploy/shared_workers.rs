//! P23: libraries that load alone and not together. No other function loses a worker for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::fixture::{QUICK, ask, of, strict_gearmand};
use crate::support::build::{self, alone, build_dir, fingerprint};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::plugins;
use crate::support::program::run;
use crate::support::wait::{DEADLINE, wait_for};

/// A library in Rust whose functions answer with their names, linked with more.
#[track_caller]
fn linked(functions: &[&str], body: &str, link: &[String]) -> PathBuf {
    let mut source = "use gm_plugin_api::{Context, Failure, Job, Log, function};\n".to_owned();
    source.push_str(body);
    for name in functions {
        source.push_str(&format!(
            "#[allow(non_camel_case_types)]\nstruct {name};\n#[function(name = \"{name}\")]\nimpl {name} {{\n    fn new(cx: \
             &Context) -> Result<Self, Failure> {{\n        let _ = cx;\n        make(cx).map(|()| Self)\n    }}\n    fn \
             run(&mut self, _: &Job, _: &mut Log) -> &'static str {{ \"{name}\" }}\n}}\n"
        ));
    }
    let api = crate::corpus::api();
    let built = fs::metadata(&api).unwrap().modified().unwrap();
    let dir = build_dir().join(fingerprint((&source, link, built)));
    let (file, part, done) = (dir.join("lib.rs"), dir.join("part"), dir.join("lib.so"));
    alone(|| {
        if done.exists() {
            return;
        }
        fs::create_dir_all(&dir).unwrap();
        fs::write(&file, &source).unwrap();
        let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2024", "--crate-type", "cdylib", "-C", "strip=symbols", "-o"]).args([&part, &file]);
        rustc.arg("--extern").arg(format!("gm_plugin_api={}", api.display()));
        rustc.arg("-L").arg(format!("dependency={}", deps.display()));
        rustc.args(link.iter().flat_map(|arg| ["-C".to_owned(), format!("link-arg={arg}")]));
        build::command(&mut rustc);
        fs::rename(&part, &done).unwrap();
    });
    done
}

/// A library with so many bytes of static TLS, of which a program has little left for what it loads while it runs.
fn with_static_tls(functions: &[&str], bytes: usize) -> PathBuf {
    let source = format!(
        "static __thread volatile char block[{bytes}] __attribute__((tls_model(\"initial-exec\")));\n\
         int gm_test_touch(void) {{ block[0] = 1; return block[{bytes} - 1]; }}\n"
    );
    let object = build::c("tls.o", &source, &["-c", "-fPIC"]);
    let body = "unsafe extern \"C\" { fn gm_test_touch() -> i32; }\n\
                fn make(_: &Context) -> Result<(), Failure> { unsafe { gm_test_touch() }; Ok(()) }\n";
    linked(functions, body, &[object.display().to_string()])
}

/// More than two of them find room for, whatever the tunable.
const HEAVY: usize = 12 << 10;
/// More than there is room for without it, and less than there is with it.
const LIGHT: usize = 3 << 10;

/// Libraries that need a helper of the same soname, in two versions that do not go together.
fn with_helper(function: &str, version: u8) -> PathBuf {
    let source = format!("int gm_test_helper_{version}(void) {{ return {version}; }}\n");
    let helper = build::c("libgm_test_helper.so", &source, &["-shared", "-fPIC", "-Wl,-soname,libgm_test_helper.so.1"]);
    let dir = helper.parent().unwrap();
    let _ = std::os::unix::fs::symlink("libgm_test_helper.so", dir.join("libgm_test_helper.so.1"));
    let body = format!(
        "unsafe extern \"C\" {{ fn gm_test_helper_{version}() -> i32; }}\n\
         fn make(_: &Context) -> Result<(), Failure> {{ unsafe {{ gm_test_helper_{version}() }}; Ok(()) }}\n"
    );
    linked(&[function], &body, &[helper.display().to_string(), format!("-Wl,-rpath,{}", dir.display())])
}

/// Functions whose `new()` takes the port that `setting.address` names, for good.
fn with_port(functions: &[&str]) -> PathBuf {
    let body = "fn make(cx: &Context) -> Result<(), Failure> {\n    let taken = \
                std::net::TcpListener::bind(cx.setting(\"address\").unwrap_or_default()).map_err(|error| error.kind().to_string())?;\n    \
                std::mem::forget(taken);\n    Ok(())\n}\n";
    linked(functions, body, &[])
}

fn setup(gearmand: &Gearmand, ini: &str) -> Setup {
    Setup::new(&[&gearmand.server()])
        .ini(QUICK)
        .ini("dedicated_count = 0")
        .ini(ini)
        .plugin("reverse_string", &plugins::example("reverse_string"))
}

/// The functions of every worker that serves, each kind once: `a+b c`.
fn kinds(status: &Value) -> Option<String> {
    let mut kinds = BTreeSet::new();
    for worker in status["workers"].as_array()? {
        let mut names: Vec<&str> = worker["functions"].as_array()?.iter().filter_map(Value::as_str).collect();
        names.sort_unstable();
        if !["idle", "busy"].contains(&worker["state"].as_str()?) {
            return None;
        }
        kinds.insert(names.join("+"));
    }
    Some(kinds.into_iter().collect::<Vec<_>>().join(" "))
}

#[track_caller]
fn wait_kinds(manager: &Manager, expected: &str) {
    manager.wait_status(&format!("workers for {expected}"), |status| {
        kinds(status).filter(|kinds| kinds == expected).map(drop)
    });
}

fn note(manager: &Manager, function: &str) -> String {
    let status = manager.status();
    let function = of(&status, "functions", "name", function).unwrap();
    function["note"].as_str().unwrap_or_default().to_owned()
}

/// Functions that are served all the time, by the job server's own count of their workers.
struct Served<'a>(&'a Gearmand, &'a [&'a str]);

impl Served<'_> {
    #[track_caller]
    fn look(&self) {
        for name in self.1 {
            assert!(self.0.status(name).is_some_and(|status| status.workers > 0), "{name} has no worker");
        }
    }

    /// Waits until the manager is done with what was begun, and looks all the while.
    #[track_caller]
    fn until(&self, manager: &Manager, what: &str, over: impl Fn(&Value) -> bool) {
        wait_for(what, DEADLINE, || {
            self.look();
            over(&manager.try_status()?).then_some(())
        });
    }
}

fn workers(status: &Value) -> Vec<i64> {
    let workers = status["workers"].as_array().unwrap();
    workers.iter().filter_map(|worker| worker["pid"].as_i64()).collect()
}

/// Through a reload, a crash, a deploy and a new start: the same set of functions each time, and none that was served
/// goes without a worker meanwhile.
#[track_caller]
fn goes_on(gearmand: &Gearmand, mut manager: Manager, expected: &str, all: &[&str]) {
    wait_kinds(&manager, expected);
    all.iter().for_each(|name| assert_eq!(ask(gearmand, name), answer(name)));
    let served = Served(gearmand, all);

    let before = workers(&manager.status());
    manager.signal(Signal::SIGHUP);
    served.until(&manager, "every worker replaced by a reload", |status| {
        workers(status).iter().all(|pid| !before.contains(pid)) && kinds(status).as_deref() == Some(expected)
    });

    // A worker for several functions crashes: it comes back with the same ones.
    let status = manager.status();
    let several =
        status["workers"].as_array().unwrap().iter().find(|worker| worker["functions"][1].is_string()).unwrap();
    let pid = several["pid"].as_i64().unwrap();
    let own: Vec<&str> = several["functions"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let others: Vec<&str> = all.iter().filter(|name| !own.contains(name)).copied().collect();
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
    Served(gearmand, &others).until(&manager, "the crashed worker's successor", |status| {
        !workers(status).contains(&pid) && kinds(status).as_deref() == Some(expected)
    });

    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    manager.start_again();
    wait_kinds(&manager, expected);
    all.iter().for_each(|name| assert_eq!(ask(gearmand, name), answer(name)));
}

fn answer(name: &str) -> &str {
    if name == "reverse_string" { "" } else { name }
}

#[test]
fn static_tls_that_is_not_enough_for_all_costs_nobody_a_worker() {
    let gearmand = strict_gearmand();
    let heavy = with_static_tls(&["heavy_a", "heavy_b"], HEAVY);
    let setup = setup(&gearmand, "count = 1").plugin("heavy_a", &heavy).plugin("heavy_b", &heavy);
    let manager = setup.start();
    let isolated = manager.wait_event("function_isolated", |_| true);
    assert_eq!(isolated["function"], "heavy_b", "the last one by name");
    assert!(isolated["reason"].as_str().unwrap().contains("static TLS"), "{isolated}");
    let note = note(&manager, "heavy_b");
    assert!(
        note.starts_with("it has workers of its own, since it fails together with the others")
            && note.contains("static TLS")
    );
    goes_on(&gearmand, manager, "heavy_a+reverse_string heavy_b", &["heavy_a", "heavy_b", "reverse_string"]);
}

/// The commonest case, an allocator or two, needs no workers of its own: also in `call` and `check`.
#[test]
fn a_little_static_tls_finds_room() {
    let gearmand = strict_gearmand();
    let light = with_static_tls(&["light_a", "light_b"], LIGHT);
    let setup = setup(&gearmand, "count = 1").plugin("light_a", &light).plugin("light_b", &light);
    let file = setup.dir().join("workers/light_a.so");
    for args in [vec!["call", file.to_str().unwrap()], vec!["check", file.to_str().unwrap()]] {
        let done = run(Command::new(env!("CARGO_BIN_EXE_gm-native")).args(&args), b"", DEADLINE).unwrap();
        assert!(done.status.success(), "{args:?}: {done:?}");
    }
    let manager = setup.start();
    wait_kinds(&manager, "light_a+light_b+reverse_string");
    let failed = manager.events().into_iter().find(|event| event["event"] == "cannot_serve");
    assert_eq!(failed, None);
}

/// What a plugin starts finds the variable as the manager's parent has set it.
#[test]
fn what_a_plugin_starts_does_not_inherit_the_room() {
    let body = "fn make(_: &Context) -> Result<(), Failure> {\n    let out = std::process::Command::new(\"env\").output()?;\n    \
                let out = String::from_utf8_lossy(&out.stdout).into_owned();\n    \
                let ours: Vec<&str> = out.lines().filter(|line| line.contains(\"GLIBC_TUNABLES\")).collect();\n    \
                Err(format!(\"found {ours:?}\").into())\n}\n";
    let library = linked(&["environment"], body, &[]);
    let asked = |value: Option<&str>| {
        let gearmand = strict_gearmand();
        let setup = setup(&gearmand, "count = 1").plugin("environment", &library);
        let setup = value.into_iter().fold(setup, |setup, value| setup.env("GLIBC_TUNABLES", value));
        let manager = setup.start();
        let refused = manager.wait_event("cannot_serve", |event| event["function"] == "environment");
        refused["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(asked(None), "its new() failed: found []");
    let set = "glibc.malloc.arena_max=1";
    assert_eq!(asked(Some(set)), format!("its new() failed: found [\"GLIBC_TUNABLES={set}\"]"));
}

#[test]
fn two_versions_of_a_soname_are_served_apart() {
    let gearmand = strict_gearmand();
    let setup = setup(&gearmand, "count = 2");
    let setup = setup.plugin("helped_1", &with_helper("helped_1", 1)).plugin("helped_2", &with_helper("helped_2", 2));
    let manager = setup.start();
    wait_kinds(&manager, "helped_1+reverse_string helped_2");
    for function in ["helped_1", "helped_2", "reverse_string"] {
        gearmand.wait_workers(function, 2);
    }
    goes_on(&gearmand, manager, "helped_1+reverse_string helped_2", &["helped_1", "helped_2", "reverse_string"]);
}

/// By name it would be loaded first, and what runs would be the one that fails.
#[test]
fn a_new_library_that_cannot_share_a_worker_does_not_affect_what_runs() {
    let gearmand = strict_gearmand();
    let setup = setup(&gearmand, "count = 1").plugin("helped_2", &with_helper("helped_2", 2));
    let manager = setup.start();
    wait_kinds(&manager, "helped_2+reverse_string");
    let before = workers(&manager.status());
    let served = Served(&gearmand, &["helped_2", "reverse_string"]);
    manager.install("a_helped", &with_helper("a_helped", 1));
    served.until(&manager, "workers of its own", |status| {
        kinds(status).as_deref() == Some("a_helped helped_2+reverse_string")
            && status["functions"][0]["note"].is_string()
    });
    manager.wait_event("function_isolated", |event| event["function"] == "a_helped");
    assert!(before.iter().all(|pid| workers(&manager.status()).contains(pid)), "somebody was replaced for it");

    // It gets a version that fits, and goes back to the others.
    let served = Served(&gearmand, &["a_helped", "helped_2", "reverse_string"]);
    manager.install("a_helped", &with_helper("a_helped", 2));
    served.until(&manager, "workers for all", |status| {
        kinds(status).as_deref() == Some("a_helped+helped_2+reverse_string")
    });
    assert_eq!(note(&manager, "a_helped"), "");
    // And one that does not: it is tried alone, and rolled out so.
    manager.install("a_helped", &with_helper("a_helped", 1));
    served.until(&manager, "workers of its own again", |status| {
        kinds(status).as_deref() == Some("a_helped helped_2+reverse_string")
    });
    manager.remove("a_helped");
    wait_kinds(&manager, "helped_2+reverse_string");
}

/// The conflict is theirs alone: one of the two is served, the same each time, and the other says why it is not.
#[test]
fn a_port_that_two_want_is_the_first_ones() {
    let gearmand = strict_gearmand();
    let address = format!("{}:4799", gearmand.host());
    let ini = format!("count = 1\n[port_p]\nsetting.address = {address}\n[port_q]\nsetting.address = {address}");
    let library = with_port(&["port_p", "port_q"]);
    let setup = setup(&gearmand, &ini).plugin("port_p", &library).plugin("port_q", &library);
    let mut manager = setup.start();
    for _ in 0..3 {
        manager.mark();
        wait_kinds(&manager, "port_p+reverse_string");
        manager.wait_event("backing_off", |event| event["function"] == "port_q");
        assert_eq!(ask(&gearmand, "port_p"), "port_p");
        assert!(note(&manager, "port_q").contains("address in use"), "{}", note(&manager, "port_q"));
        manager.signal(Signal::SIGTERM);
        manager.wait_exit();
        manager.start_again();
    }
    wait_kinds(&manager, "port_p+reverse_string");
    // Its successor cannot have the port: the old worker goes on for it, beside the new one for the others.
    manager.mark();
    manager.signal(Signal::SIGHUP);
    let served = Served(&gearmand, &["port_p", "reverse_string"]);
    served.until(&manager, "workers for all", |status| {
        kinds(status).as_deref() == Some("port_p+reverse_string reverse_string")
    });
    manager.wait_event("backing_off", |event| event["function"] == "port_p");
    served.look();
    assert_eq!(ask(&gearmand, "port_p"), "port_p");
}
