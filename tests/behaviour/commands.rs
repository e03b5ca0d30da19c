//! What an operator asks: status, events, the job server's own list, `ps`.

use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use crate::fixture::{Job, gm_native, of, path, pid, served, touch, wait_busy, wait_serving, workers};
use crate::support::child_guard::ChildGuard;
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;
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
    assert!(function["pinned"] == false && function["version_stored"].is_string(), "{function}");
    let longest = &function["longest_job"];
    assert!(function["jobs_running"] == 1 && longest["handle"] == job.handle.as_str(), "{function}");
    assert!(longest["pid"] == busy.as_raw() && longest["seconds"].as_f64().unwrap() > 0.0, "{longest}");
    let minute = &function["last_minute"];
    assert!(minute["completed"] == 1 && minute["failed"] == 1, "{minute}");
    let times = &function["run_time"];
    assert!(times["version"] == function["version"] && times["jobs"] == 2, "{times}");
    assert!(times["p50_seconds"].as_f64().unwrap() <= times["p99_seconds"].as_f64().unwrap(), "{times}");
    assert!(server["state"]["kind"] == "up" && server["state"]["since"].is_string(), "{server}");
    assert_eq!(server["last_answer_seconds_ago"], 0.0);
    let worker = of(&status, "workers", "state", "busy").unwrap();
    assert!(
        pid(worker) == busy && worker["current_function"] == "act" && worker["job_seconds"].is_number(),
        "{worker}"
    );
    assert_eq!(worker["versions"][0], function["version"]);
    assert!(worker["state_seconds"].as_f64() <= worker["job_seconds"].as_f64(), "{worker}");
    assert!(worker["memory_bytes"].as_u64() > Some(100_000), "{worker}");
    assert!(worker["last_server_contact_seconds_ago"].is_number(), "{worker}");
    let ended = status["workers"].as_array().unwrap().iter().filter(|of| of["last_job_ended_seconds_ago"].is_number());
    assert_ne!(ended.count(), 0, "{status}");

    let version = function["version"].as_str().unwrap();
    let text = manager.command("status", &[]).out();
    for part in ["act ", "2/2", version, &gearmand.server(), "2 workers: 2 ready, 1 busy"] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(!text.contains(&job.handle), "{text}");
    let text = manager.command("status", &["--workers"]).out();
    for part in [&busy.to_string(), "busy", "idle", version, &job.handle] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let check = manager.command("status", &["--check"]);
    let line =
        "OK: 1 function, 2 workers | functions=1;;;0 workers=2;;;0 busy=1;;;0;2 completed=1c failed=1c crashed=0c";
    let line = format!("{line} timed_out=0c\n");
    // One of the two jobs has failed, and that is half of them.
    assert!(check.code() == Some(1) && check.out().starts_with("WARNING: act: 1 of "), "{check:?}");
    assert_eq!(check.out().split_once(" | ").unwrap().1, line.split_once(" | ").unwrap().1);
    touch(&gate);
    assert_eq!(job.result(), b"");
}

#[test]
fn a_check_that_finds_nothing_is_one_line_with_performance_data() {
    let (gearmand, manager) = served("count = 2\nexclude = reverse_string,broken");
    manager.install("reverse_string", &crate::support::plugins::example("reverse_string"));
    std::fs::write(manager.worker_dir().join("broken.so"), "no library\n").unwrap();
    manager.wait_event("library_refused", |event| event["function"] == "broken");
    manager.wait_event("function_found", |event| event["function"] == "reverse_string");
    assert_eq!(Job::act(&gearmand, "", "say done").result(), b"done");
    let line = wait_for("the job to be counted", DEADLINE, || {
        let check = manager.command("status", &["--check"]);
        assert_eq!(check.code(), Some(0), "{check:?}");
        Some(check.out()).filter(|line| line.contains("completed=1c"))
    });
    let data = "functions=1;;;0 workers=2;;;0 busy=0;;;0;2 completed=1c failed=0c crashed=0c timed_out=0c";
    assert_eq!(line, format!("OK: 1 function, 2 workers | {data}\n"));
}

/// The line for a monitoring system, with the exit codes of a Nagios plugin and no others.
#[test]
fn a_check_has_the_exit_codes_of_a_nagios_plugin() {
    let (gearmand, mut manager) = served("count = 2");
    let check = |manager: &Manager, args: &[&str]| {
        let checked = manager.command("status", args);
        assert_eq!(checked.out().lines().count(), 1, "{checked:?}");
        (checked.code(), checked.out())
    };
    let expect = |manager: &Manager, code, start: &str| {
        let found = wait_for(&format!("{start:?}"), DEADLINE, || {
            Some(check(manager, &["--check"])).filter(|(_, line)| line.starts_with(start))
        });
        assert_eq!(found.0, Some(code), "{}", found.1);
    };
    expect(&manager, 0, "OK: ");
    // A file that is not served, and one that was removed.
    std::fs::write(manager.worker_dir().join("text.so"), "hello\n").unwrap();
    expect(&manager, 1, &format!("WARNING: {} ", path(&manager, "workers/text.so")));
    manager.remove("text");
    manager.install("other", &crate::support::plugins::example("reverse_string"));
    expect(&manager, 1, &format!("WARNING: {} ", path(&manager, "workers/other.so")));
    manager.remove("other");
    expect(&manager, 0, "OK: ");
    manager.install("reverse_string", &crate::support::plugins::example("reverse_string"));
    wait_serving(&manager, "reverse_string");
    manager.remove("reverse_string");
    manager.wait_event("function_removed", |event| event["function"] == "reverse_string" && event["level"] == "WARN");
    expect(&manager, 1, "WARNING: reverse_string: its library ");
    // The operator who reloads has seen it.
    manager.signal(Signal::SIGHUP);
    expect(&manager, 0, "OK: ");
    drop(gearmand);
    expect(&manager, 2, "CRITICAL: job server ");
    let (code, line) = check(&manager, &["--check=live"]);
    assert!(code == Some(0) && line.starts_with("OK: the manager (pid "), "{line}");
    // What could not be found out is unknown.
    manager.signal(Signal::SIGSTOP);
    for args in [["--check"], ["--check=live"]] {
        let (code, line) = check(&manager, &args);
        assert!(code == Some(3) && line.starts_with("UNKNOWN: the manager at "), "{line}");
    }
    manager.signal(Signal::SIGCONT);
    for args in [&["--check=dead"][..], &["--check", "--bogus"]] {
        let (code, line) = check(&manager, args);
        assert!(code == Some(3) && line.starts_with("UNKNOWN: "), "{line}");
    }
    let elsewhere = tempfile::tempdir().unwrap();
    for args in [["-c", "none.ini", "status", "--check"], ["status", "-c", "none.ini", "--check=live"]] {
        let checked = gm_native(elsewhere.path(), &args);
        assert!(checked.code() == Some(3) && checked.out().starts_with("UNKNOWN: "), "{checked:?}");
    }
    manager.signal(Signal::SIGKILL);
    manager.wait_exit();
    for args in [["--check"], ["--check=live"]] {
        let (code, line) = check(&manager, &args);
        assert!(code == Some(2) && line.starts_with("CRITICAL: no manager answers at "), "{line}");
    }
}

#[test]
fn a_check_names_what_is_missing() {
    // A worker that finds no job server is not ready.
    let library = crate::support::plugins::example("reverse_string");
    let nowhere = crate::support::gearmand::unused_server();
    let mut manager = crate::support::manager::Setup::new(&[&nowhere]).plugin("reverse_string", &library).start();
    manager.wait_status("the start was reported", |status| (status["state"] == "running").then_some(()));
    let check = manager.command("status", &["--check"]);
    assert_eq!(check.code(), Some(2), "{check:?}");
    assert!(check.out().starts_with("CRITICAL: reverse_string: 0 of 1 workers ready"), "{check:?}");
    let check = manager.command("status", &["--check", "--json"]);
    let status: Value = serde_json::from_slice(&check.stdout).unwrap();
    assert!(check.code() == Some(2) && status["functions"][0]["workers_ready"] == 0, "{check:?}");
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
}

/// Not what comes of the stop, and not what was wrong before: what it waits for.
#[test]
fn a_check_while_the_manager_stops_counts_the_jobs_that_still_run() {
    let (gearmand, mut manager) = served("count = 3");
    manager.install("reverse_string", &crate::support::plugins::example("reverse_string"));
    wait_serving(&manager, "reverse_string");
    // An old crash, which has nothing to do with it.
    let mark = path(&manager, "mark");
    assert_eq!(Job::act(&gearmand, "", &format!("first {mark} abort\nsay again")).result(), b"again");
    wait_serving(&manager, "act");
    let gates = ["a", "b"].map(|name| path(&manager, name));
    let jobs = gates.each_ref().map(|gate| Job::act(&gearmand, "", &format!("wait {gate}")));
    for job in &jobs {
        wait_busy(&manager, &job.handle);
    }
    manager.mark();
    manager.signal(Signal::SIGTERM);
    manager.wait_event("worker_exited", |_| true);
    let manager_is = format!("the manager (pid {}) is stopping", manager.pid());
    let data = |busy: usize| format!("functions=2;;;0 workers=0;;;0 busy={busy};;;0;{busy} completed=");
    let expect = |what: &str, busy| {
        let line = wait_for(what, DEADLINE, || {
            let check = manager.command("status", &["--check"]);
            assert_eq!(check.code(), Some(1), "{check:?}");
            Some(check.out()).filter(|line| line.contains(what))
        });
        assert!(line.starts_with(&format!("WARNING: {manager_is}; {what} | {}", data(busy))), "{line}");
    };
    expect("2 jobs are still running", 2);
    let status = manager.status();
    for function in status["functions"].as_array().unwrap() {
        assert!(function["note"] == "the manager is stopping" && function["workers_ready"] == 0, "{function}");
    }
    assert_eq!(of(&status, "workers", "state", "draining").unwrap()["current_function"], "act");
    touch(&gates[0]);
    expect("1 job is still running", 1);
    touch(&gates[1]);
    manager.wait_exit();
}

/// A rolling restart while jobs run: they are counted, and nothing is missing.
#[test]
fn a_check_during_a_rolling_restart_counts_the_jobs_of_draining_workers() {
    let (gearmand, manager) = served("count = 2");
    let gate = path(&manager, "gate");
    let jobs = [(); 2].map(|()| Job::act(&gearmand, "", &format!("wait {gate}")));
    for job in &jobs {
        wait_busy(&manager, &job.handle);
    }
    manager.signal(Signal::SIGHUP);
    manager.wait_status("successors beside the old ones", |status| {
        let states = status["workers"].as_array()?.iter().map(|worker| worker["state"].as_str());
        let mut states: Vec<_> = states.collect();
        states.sort_unstable();
        (states == [Some("draining"), Some("draining"), Some("idle"), Some("idle")]).then_some(())
    });
    let check = manager.command("status", &["--check"]);
    let line = "OK: 1 function, 2 workers | functions=1;;;0 workers=2;;;0 busy=2;;;0;4 completed=";
    assert!(check.code() == Some(0) && check.out().starts_with(line), "{check:?}");
    touch(&gate);
    jobs.into_iter().for_each(|job| assert_eq!(job.result(), b""));
}

/// With `rollout_surge = 0` the successor waits for the job: that is as asked for, and pages nobody.
#[test]
fn a_check_while_the_only_worker_drains_is_a_warning() {
    let (gearmand, manager) = served("[act]\ndedicated_count = 1\nrollout_surge = 0");
    let gate = path(&manager, "gate");
    let job = Job::act(&gearmand, "", &format!("wait {gate}"));
    wait_busy(&manager, &job.handle);
    manager.signal(Signal::SIGHUP);
    manager.wait_status("the worker to drain", |status| of(status, "workers", "state", "draining").map(drop));
    let line = "WARNING: act: 0 of 1 workers ready: the worker before it is still draining | functions=1;;;0 workers=0;;;0 \
                busy=1;;;0;1 completed=";
    wait_for(line, DEADLINE, || {
        let check = manager.command("status", &["--check"]);
        assert_eq!(check.code(), Some(1), "{check:?}");
        check.out().starts_with(line).then_some(())
    });
    touch(&gate);
    assert_eq!(job.result(), b"");
    wait_serving(&manager, "act");
}

#[test]
fn without_a_manager_every_command_reports_it() {
    let (_gearmand, mut manager) = served("");
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    for (verb, args) in [("status", &[][..]), ("status", &["--json"]), ("events", &[]), ("events", &["--follow"])] {
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
        let entry = &line["[2026-11-24 12:00:00.123456]  1234".len()..];
        assert!(log.contains(entry), "the log has no {entry:?}");
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
    let mut follower = ChildGuard::start("gm-native events --follow", &mut command);
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

/// The parent of a command may have blocked signals: its child's end is seen all the same, as is the user's wish to
/// stop.
#[test]
fn commands_receive_signals_that_their_parent_had_blocked() {
    let library = crate::fixture::library();
    for (verb, data, expected) in [("check", None, "serves act"), ("call", Some("say done"), "done")] {
        let mut command = Command::new("env");
        command.args(["--block-signal=CHLD", "--block-signal=TERM", env!("CARGO_BIN_EXE_gm-native"), verb]);
        // Of the functions in it, the one that its file is named for.
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("act.so");
        std::fs::copy(&library, &file).unwrap();
        let finished = run(command.arg(&file).args(data), b"", DEADLINE);
        let finished = finished.unwrap_or_else(|hung| panic!("{verb} hung: {hung:?}"));
        assert!(finished.code() == Some(0) && finished.out().contains(expected), "{finished:?}");
    }
}
