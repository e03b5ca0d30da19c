//! What an operator asks: status, events, the job server's own list, `ps`.

use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use crate::scene::{Job, gm_native, of, path, pid, served, touch, wait_busy, wait_serving, workers};
use crate::support::gearmand::Gearmand;
use crate::support::mortal::Mortal;
use crate::support::program::run;
use crate::support::wait::{DEADLINE, wait_for};

#[test]
fn status_shows_functions_job_servers_and_workers() {
    let (gearmand, manager) = served("count = 2");
    assert_eq!(Job::act(&gearmand, "", "say done").result(), b"done");
    assert_eq!(Job::act(&gearmand, "", "fail oh").news().len(), 2);
    let gate = path(&manager, "gate");
    let job = Job::act(&gearmand, "", &format!("wait {gate}"));
    let busy = wait_busy(&manager, &job.handle);

    let status = manager.status();
    assert_eq!(status["pid"], manager.pid().as_raw());
    assert_eq!(status["state"], "running");
    let server = of(&status, "job_servers", "address", &gearmand.server()).unwrap();
    assert!(server["workers"] == 2 && server["workers_connected"] == 2, "{server}");
    let function = of(&status, "functions", "name", "act").unwrap();
    let numbers =
        ["workers_ready", "workers_planned", "jobs_completed", "jobs_failed"].map(|key| function[key].as_u64());
    assert_eq!(numbers, [Some(2), Some(2), Some(1), Some(1)], "{function}");
    assert_eq!(function["crate_version"], "1.2.3");
    let worker = of(&status, "workers", "state", "busy").unwrap();
    assert!(
        pid(worker) == busy && worker["current_function"] == "act" && worker["job_seconds"].is_number(),
        "{worker}"
    );

    let text = manager.command("status", &[]).success();
    let text = String::from_utf8(text).unwrap();
    let version = function["version"].as_str().unwrap();
    for part in ["act ", "2/2", version, &gearmand.server(), &busy.to_string(), "busy", "idle", &job.handle] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let check = manager.command("status", &["--check"]);
    assert!(check.code() == Some(0) && check.out().starts_with("ok: 1 functions, 2 workers"), "{check:?}");
    touch(&gate);
    assert_eq!(job.result(), b"");
}

#[test]
fn a_check_says_what_is_missing() {
    // A worker that finds no job server is not ready.
    let library = crate::support::plugins::example("reverse_string");
    let nowhere = crate::support::gearmand::unused_server();
    let mut manager = crate::support::manager::Setup::new(&[&nowhere]).plugin("reverse_string", &library).start();
    manager.wait_status("the start was told", |status| (status["state"] == "running").then_some(()));
    let check = manager.command("status", &["--check"]);
    assert_eq!(check.code(), Some(1), "{check:?}");
    assert!(check.out().starts_with("reverse_string: 0 of 1 workers ready"), "{check:?}");
    let check = manager.command("status", &["--check", "--json"]);
    let status: Value = serde_json::from_slice(&check.stdout).unwrap();
    assert!(check.code() == Some(1) && status["functions"][0]["workers_ready"] == 0, "{check:?}");
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
}

#[test]
fn without_a_manager_every_command_says_so() {
    let (_gearmand, mut manager) = served("");
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    for (verb, args) in [
        ("status", &[][..]),
        ("status", &["--json"]),
        ("status", &["--check"]),
        ("events", &[]),
        ("events", &["--follow"]),
    ] {
        let finished = manager.command(verb, args);
        assert_eq!(finished.code(), Some(3), "{verb} {args:?}: {finished:?}");
        assert!(finished.err().contains("no manager answers at") && finished.out().is_empty(), "{finished:?}");
    }
    // Also after a death that left the socket behind.
    manager.start_again();
    manager.signal(Signal::SIGKILL);
    manager.wait_exit();
    assert!(manager.dir().join("state/control.sock").exists());
    assert_eq!(manager.command("status", &[]).code(), Some(3));
}

#[test]
fn events_are_lines_of_the_log_or_json() {
    let (_gearmand, manager) = served("");
    let text = String::from_utf8(manager.command("events", &[]).success()).unwrap();
    let log = manager.log();
    for line in text.lines() {
        // The column before is the process it is about, and in the log the one that wrote it.
        let told = &line["[2026-11-24 12:00:00.123456]  1234".len()..];
        assert!(log.contains(told), "the log has no {told:?}");
    }
    let lines = String::from_utf8(manager.command("events", &["--json"]).success()).unwrap();
    let names: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].clone()).collect();
    for name in ["starting", "function_found", "worker_started", "server_up", "worker_serving", "started"] {
        assert!(names.iter().any(|found| found == name), "no {name} in {names:?}");
    }
}

/// Followed until the manager ends, and no longer.
#[test]
fn events_are_followed_to_the_managers_end() {
    let (gearmand, mut manager) = served("");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gm-native"));
    command.args(["events", "--follow", "--json", "-c", &path(&manager, "gm.ini")]);
    let mut follower = Mortal::start("gm-native events --follow", &mut command);
    let mark = path(&manager, "mark");
    // It may not be there yet: each death is one more chance to be heard of.
    wait_for("an event to be followed", DEADLINE, || {
        wait_serving(&manager, "act");
        let _ = std::fs::remove_file(&mark);
        assert_eq!(Job::act(&gearmand, "", &format!("first {mark} abort\nsay again")).result(), b"again");
        follower.output().contains("worker_died").then_some(())
    });
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    assert_eq!(follower.wait().code(), Some(0));
    let output = follower.output();
    let last: Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "stopped");
}

/// Host, process, function and version, without a space, which would break the list.
#[test]
fn gearadmin_and_ps_show_who_is_who() {
    let (gearmand, manager) = served("[act]\ndedicated_count = 1");
    let [worker] = workers(&manager)[..] else { panic!("one worker was planned") };
    let version = manager.status()["functions"][0]["version"].as_str().unwrap().to_owned();
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let listed = format!(" {host}/{worker}/act/{version} : act");
    let list = gearadmin(&gearmand, &["--workers"]);
    assert!(list.lines().any(|line| line.ends_with(&listed)), "no {listed:?} in\n{list}");
    let status = gearadmin(&gearmand, &["--status"]);
    assert!(status.lines().any(|line| line == "act\t0\t0\t1"), "{status}");

    let title = format!("gm-native: act {version}");
    assert_eq!(title_of(worker), format!("{title} [idle]"));
    let short = std::fs::read_to_string(format!("/proc/{worker}/comm")).unwrap();
    assert_eq!(short, "gm:act\n");
    let gate = path(&manager, "gate");
    let job = Job::act(&gearmand, "", &format!("wait {gate}"));
    wait_busy(&manager, &job.handle);
    assert_eq!(title_of(worker), format!("{title} [running]"));
    touch(&gate);
    job.result();
    wait_for("the title of an idle worker", DEADLINE, || (title_of(worker) == format!("{title} [idle]")).then_some(()));
}

#[track_caller]
fn gearadmin(server: &Gearmand, args: &[&str]) -> String {
    let mut command = Command::new("gearadmin");
    command.args(["-h", &server.host(), "-p", &server.port().to_string()]).args(args);
    String::from_utf8(run(&mut command, b"", DEADLINE).unwrap().success()).unwrap()
}

/// What `ps` shows of a process.
fn title_of(process: Pid) -> String {
    let bytes = std::fs::read(format!("/proc/{process}/cmdline")).unwrap();
    String::from_utf8(bytes).unwrap().trim_end_matches('\0').to_owned()
}

#[test]
fn help_and_version_are_printed() {
    let dir = tempfile::tempdir().unwrap();
    let version = String::from_utf8(gm_native(dir.path(), &["-V"]).success()).unwrap();
    assert!(version.starts_with(&format!("gm-native {} (", env!("CARGO_PKG_VERSION"))), "{version}");
    let help = String::from_utf8(gm_native(dir.path(), &["-H"]).success()).unwrap();
    for part in ["--daemonize", "--worker-dir", "status", "events"] {
        assert!(help.contains(part), "no {part} in\n{help}");
    }
}

/// Whoever starts a command may have blocked signals: its child's end is seen all the same, as is the user's wish to stop.
#[test]
fn commands_hear_signals_that_whoever_started_them_has_blocked() {
    let library = crate::scene::library();
    for (verb, data, told) in [("check", None, "serves act"), ("call", Some("say done"), "done")] {
        let mut command = Command::new("env");
        command.args(["--block-signal=CHLD", "--block-signal=TERM", env!("CARGO_BIN_EXE_gm-native"), verb]);
        // Of the functions in it, the one that its file is named for.
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("act.so");
        std::fs::copy(&library, &file).unwrap();
        let finished = run(command.arg(&file).args(data), b"", DEADLINE);
        let finished = finished.unwrap_or_else(|hung| panic!("{verb} hung: {hung:?}"));
        assert!(finished.code() == Some(0) && finished.out().contains(told), "{finished:?}");
    }
}
