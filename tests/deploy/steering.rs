//! `restart`, `kill`, `reload`, `stop` and `log-level`: each waits for its effect, its exit code tells the truth, and the
//! log names the user who asked.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use gm_native::gearman::client::JobEvent;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::fixture::{
    Job, QUICK, ask, count_events, hash, of, rename_over, served, stamped, strict_gearmand, version, wait_all,
};
use crate::load::{callers, settle};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::program::Finished;
use crate::support::wait::{DEADLINE, wait_for};

/// Runs a command that must succeed, and returns what it prints.
#[track_caller]
pub fn done(manager: &Manager, verb: &str, args: &[&str]) -> String {
    let done = manager.command(verb, args);
    assert_eq!(done.code(), Some(0), "{done:?}");
    done.out()
}

/// Runs a command that must end with this exit code and these words.
#[track_caller]
pub fn not_done(manager: &Manager, verb: &str, args: &[&str], code: i32, words: &str) -> Finished {
    let done = manager.command(verb, args);
    assert!(done.code() == Some(code) && done.err().contains(words), "{done:?}");
    done
}

/// The processes of the workers that take jobs.
#[track_caller]
pub fn pids(manager: &Manager) -> Vec<i64> {
    let status = manager.status();
    let taking = |worker: &&Value| worker["state"] == "idle" || worker["state"] == "busy";
    let workers = status["workers"].as_array().unwrap().iter().filter(taking);
    workers.map(|worker| worker["pid"].as_i64().unwrap()).collect()
}

/// The user this test runs as.
fn user() -> String {
    let uid = nix::unistd::getuid();
    nix::unistd::User::from_uid(uid).unwrap().map_or_else(|| format!("uid {uid}"), |user| user.name)
}

/// A job that lasts until a file is there, and is running.
#[track_caller]
fn long_job(gearmand: &Gearmand, manager: &Manager) -> (Job, Value) {
    let gate = manager.dir().join("gate");
    let job = Job::start(gearmand, "stamped", "long", &format!("wait {}", gate.display()));
    let worker = manager.wait_status("a busy worker", |status| of(status, "workers", "state", "busy").cloned());
    (job, worker)
}

#[test]
fn a_restart_replaces_every_worker_and_loses_no_job() {
    let (gearmand, manager) = served("dedicated_count = 4");
    let (notes, over) = (manager.dir().join("notes"), AtomicBool::new(false));
    let accounts = std::thread::scope(|scope| {
        let callers = callers(scope, &gearmand, &notes, &over);
        for function in ["stamped", "all"] {
            let before = pids(&manager);
            let said = done(&manager, "restart", &[function]);
            assert!(
                said.starts_with(&format!("restart {function}: 4 workers replaced, 4 workers serve now")),
                "{said}"
            );
            let after = pids(&manager);
            assert!(after.len() == 4 && after.iter().all(|pid| !before.contains(pid)), "{before:?} {after:?}");
        }
        over.store(true, Ordering::Relaxed);
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    settle(accounts, &notes);
    let asked = manager.wait_event("request_received", |event| event["target"] == "stamped");
    assert!(asked["command"] == "restart" && asked["user"] == *user(), "{asked}");
    assert!(asked["text"].as_str().unwrap().ends_with(&format!("requested by {}", user())), "{asked}");
    assert_eq!(manager.events().iter().filter(|event| event["event"] == "request_finished").count(), 2);
}

/// The canary is replaced, too, if it is promoted.
#[test]
fn a_restart_during_a_rollout_and_two_at_once() {
    let (gearmand, manager) = served("dedicated_count = 2\ncanary_seconds = 1h\ncanary_jobs = 1000000");
    rename_over(&manager, &version("v2"));
    manager.wait_event("rollout_started", |_| true);
    let before = pids(&manager);
    std::thread::scope(|scope| {
        let two: Vec<_> = (0..2).map(|_| scope.spawn(|| done(&manager, "restart", &["stamped"]))).collect();
        two.into_iter().for_each(|one| drop(one.join().unwrap()));
    });
    let status = manager.status();
    assert_eq!(of(&status, "functions", "name", "stamped").unwrap()["version"], *hash(&version("v1")));
    assert!(!pids(&manager).iter().any(|pid| before.contains(pid)), "{before:?} {status}");
    assert!(["v1", "v2"].contains(&ask(&gearmand, "stamped").as_str()));
    // The next one is a canary, too.
    manager.wait_event("worker_started", |event| event["generation"].as_u64() > Some(6));
    assert_eq!(
        (count_events(&manager, "rollout_promoted", "stamped"), count_events(&manager, "rollout_started", "stamped")),
        (0, 1)
    );
}

/// The old workers stay.
#[test]
fn a_restart_that_no_worker_survives_fails_and_says_why() {
    let gearmand = strict_gearmand();
    let setup = Setup::new(&[&gearmand.server()]).ini(QUICK);
    let first = setup.dir().join("first");
    std::fs::write(setup.dir().join("workers/stamped.so"), stamped("v1", "first")).unwrap();
    let manager = setup.env("GM_TEST_HINDRANCE", &first).start();
    wait_all(&manager, "stamped", &stamped("v1", "first"));
    let before = pids(&manager);
    not_done(&manager, "restart", &["stamped"], 1, "only one worker can be made");
    assert_eq!(pids(&manager), before);
    assert_eq!(ask(&gearmand, "stamped"), "v1");
    // And now they can be replaced.
    std::fs::remove_file(first).unwrap();
    done(&manager, "restart", &["stamped"]);
}

#[test]
fn what_is_not_there_is_refused_and_the_nearest_is_named() {
    let (_gearmand, manager) = served("");
    not_done(&manager, "restart", &["stampd"], 4, "there is no function stampd (nearest: stamped)");
    not_done(&manager, "restart", &["a/b"], 4, "there is no function a/b");
    not_done(&manager, "kill", &["1"], 4, "process 1 is no worker of this manager");
    not_done(&manager, "kill", &["H:nowhere:1"], 4, "no worker runs a job with the handle H:nowhere:1");
    let idle = pids(&manager)[0].to_string();
    not_done(&manager, "kill", &[&idle], 4, "runs no job; to replace it, use restart");
    not_done(&manager, "log-level", &["6"], 2, "");
    not_done(&manager, "log-level", &["2", "--for", "soon"], 2, "--for");
    assert_eq!(count_events(&manager, "job_ending", "stamped"), 0);
}

#[test]
fn a_killed_job_fails_and_says_who_ended_it() {
    let (gearmand, manager) = served("timeout_grace = 200ms");
    let (job, worker) = long_job(&gearmand, &manager);
    let pid = worker["pid"].as_i64().unwrap();
    let handle = worker["handle"].as_str().unwrap().to_owned();
    // Two at the same time.
    std::thread::scope(|scope| {
        let two = [handle.clone(), pid.to_string()].map(|name| {
            let manager = &manager;
            scope.spawn(move || manager.command("kill", &[&name]))
        });
        let two = two.map(|one| one.join().unwrap());
        assert!(two.iter().all(|done| matches!(done.code(), Some(0 | 4))), "{two:?}");
        assert!(two.iter().any(|done| done.out().contains("has ended, and its job has failed")), "{two:?}");
    });
    let ended = job.end();
    assert!(matches!(&ended, JobEvent::Warning(_) | JobEvent::Fail), "{ended:?}");
    let ending = manager.wait_event("job_ending", |event| event["handle"] == *handle);
    assert_eq!(ending["pid"].as_i64(), Some(pid));
    let died = manager.wait_event("worker_died", |event| event["pid"] == pid);
    assert!(died["text"].as_str().unwrap().contains(", on request;"), "{died}");
    assert_eq!(count_events(&manager, "job_ending", "stamped"), 1);
    assert_eq!(ask(&gearmand, "stamped"), "v1");
}

/// Each job server counts its jobs from 1.
#[test]
fn a_handle_of_two_servers_is_refused_with_a_list() {
    let (one, other) = (strict_gearmand(), strict_gearmand());
    let setup =
        Setup::new(&[&one.server(), &other.server()]).ini(QUICK).ini("dedicated_count = 2\ntimeout_grace = 100ms");
    std::fs::write(setup.dir().join("workers/stamped.so"), version("v1")).unwrap();
    let manager = setup.start();
    wait_all(&manager, "stamped", &version("v1"));
    manager.wait_status("both servers", |status| {
        let all = status["job_servers"].as_array()?;
        all.iter().all(|server| server["workers_connected"] == 2).then_some(())
    });
    let gate = manager.dir().join("gate");
    let jobs = [&one, &other].map(|server| Job::start(server, "stamped", "", &format!("wait {}", gate.display())));
    let busy = manager.wait_status("two busy workers", |status| {
        let busy: Vec<Value> =
            status["workers"].as_array()?.iter().filter(|worker| worker["state"] == "busy").cloned().collect();
        (busy.len() == 2).then_some(busy)
    });
    let handle = busy[0]["handle"].as_str().unwrap();
    assert_eq!(handle, busy[1]["handle"], "the two servers must be on the same host");
    let refused = not_done(&manager, "kill", &[handle], 4, "several workers run a job with the handle");
    for part in [&one.server(), &other.server(), &format!("pid {}", busy[0]["pid"]), &format!("pid {}", busy[1]["pid"])]
    {
        assert!(refused.err().contains(part), "{refused:?}");
    }
    done(&manager, "kill", &[&busy[0]["pid"].to_string()]);
    std::fs::write(&gate, "").unwrap();
    let ends = jobs.map(Job::end);
    assert_eq!(ends.iter().filter(|end| matches!(end, JobEvent::Complete(_))).count(), 1, "{ends:?}");
}

/// A job that heeds the request, or is done in time, is not cut.
#[test]
fn a_job_that_ends_in_time_keeps_its_result() {
    let (gearmand, manager) = served("timeout_grace = 1h");
    let (job, worker) = long_job(&gearmand, &manager);
    let pid = worker["pid"].to_string();
    let said = done(&manager, "kill", &[&pid, "--no-wait"]);
    assert!(said.contains("is being ended"), "{said}");
    not_done(&manager, "kill", &[&pid, "--timeout", "50ms"], 5, "the manager goes on with it");
    std::fs::write(manager.dir().join("gate"), "").unwrap();
    assert_eq!(job.result(), b"v1");
    manager.wait_event("request_finished", |event| event["result"].as_str().unwrap().contains("end by itself"));
}

#[test]
fn a_reload_waits_for_the_new_configuration_or_says_what_is_wrong() {
    let (gearmand, manager) = served("");
    let before = pids(&manager);
    manager.configure(&format!("{QUICK}\ndedicated_count = 3"));
    let said = done(&manager, "reload", &[]);
    assert!(said.starts_with("reload: ") && said.contains("3 workers serve now"), "{said}");
    let after = pids(&manager);
    assert!(after.len() == 3 && !after.contains(&before[0]), "{before:?} {after:?}");
    let reloaded = manager.wait_event("reloaded", |_| true);
    assert_eq!(reloaded["by"], "reload");
    manager.configure("dedicated_count = many");
    not_done(&manager, "reload", &[], 1, "dedicated_count");
    assert_eq!(pids(&manager), after);
    // Two at once are one reload, which both wait for.
    manager.configure(&format!("{QUICK}\ndedicated_count = 2"));
    std::thread::scope(|scope| {
        let two: Vec<_> = (0..2).map(|_| scope.spawn(|| done(&manager, "reload", &[]))).collect();
        two.into_iter().for_each(|one| assert!(one.join().unwrap().contains("2 workers serve now")));
    });
    assert_eq!(ask(&gearmand, "stamped"), "v1");
}

/// The next manager can be started at once.
#[test]
fn a_stop_waits_until_the_manager_is_gone() {
    let (gearmand, mut manager) = served("");
    let (job, _) = long_job(&gearmand, &manager);
    not_done(&manager, "stop", &["--timeout", "50ms"], 5, "it is still there");
    assert!(done(&manager, "stop", &["--no-wait"]).contains("is stopping"));
    for (verb, args) in [("restart", &["all"][..]), ("reload", &[]), ("kill", &["1"]), ("retry", &["stamped"])] {
        not_done(&manager, verb, args, 4, "the manager is stopping");
    }
    std::thread::scope(|scope| {
        // However many wait, none of them counts as a further signal.
        let many: Vec<_> = (0..6).map(|_| scope.spawn(|| manager.command("stop", &[]))).collect();
        let asked = |event: &&Value| event["event"] == "request_received" && event["command"] == "stop";
        wait_for("all to ask", DEADLINE, || (manager.events().iter().filter(asked).count() == 8).then_some(()));
        std::fs::write(manager.dir().join("gate"), "").unwrap();
        many.into_iter().for_each(|one| assert_eq!(one.join().unwrap().code(), Some(0)));
    });
    assert_eq!(job.result(), b"v1");
    for (verb, args) in
        [("stop", &[][..]), ("reload", &[]), ("restart", &["all"]), ("kill", &["1"]), ("log-level", &["1"])]
    {
        not_done(&manager, verb, args, 3, "no manager answers");
    }
    assert!(manager.wait_exit().success());
    manager.start_again();
    assert_eq!(ask(&gearmand, "stamped"), "v1");
}

/// The process hangs: the command says so, and does not hang itself.
#[test]
fn a_suspended_manager_is_a_deadline() {
    let (_gearmand, manager) = served("");
    manager.signal(Signal::SIGSTOP);
    not_done(&manager, "restart", &["all"], 5, "did not answer within");
    manager.signal(Signal::SIGCONT);
}

#[test]
fn a_log_level_is_for_a_while_or_until_the_next_reload() {
    let (gearmand, mut manager) = served("");
    manager.configure(&format!("{QUICK}\nverbose = 0"));
    let finishes = |manager: &Manager| manager.log().matches("DEBUG").count();
    let said = done(&manager, "log-level", &["1", "--for", "100ms"]);
    assert!(said.contains("the log level is 1 for 0.1 s"), "{said}");
    manager.wait_event("log_level_changed", |event| event["log_level"] == 4 && event["seconds"].is_null());
    manager.mark();
    done(&manager, "log-level", &["0"]);
    let before = finishes(&manager);
    assert_eq!(ask(&gearmand, "stamped"), "v1");
    done(&manager, "log-level", &["3"]);
    assert_eq!(ask(&gearmand, "stamped"), "v1");
    manager.wait_log("WORKER");
    assert_eq!(finishes(&manager), before);
    done(&manager, "reload", &[]);
    manager.wait_event("reloaded", |_| true);
}

#[test]
fn managers_are_listed_and_found_by_their_pid_file() {
    let (_gearmand, manager) = served("");
    let bare = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gm-native"));
        command.args(args).current_dir(manager.dir());
        crate::support::program::run(&mut command, b"", DEADLINE).unwrap()
    };
    let listed = bare(&["managers", "--json"]);
    let all: Vec<Value> = serde_json::from_slice(&listed.success()).unwrap();
    let ours = all.iter().find(|one| one["pid"] == manager.pid().as_raw()).unwrap();
    assert!(ours["functions"] == 1 && ours["workers"] == 1, "{ours}");
    let command = ours["command"].as_str().unwrap();
    assert!(command.ends_with(&format!("-c {}", manager.dir().join("gm.ini").display())), "{command}");
    assert!(bare(&["managers"]).out().contains(command));

    for args in [["-P", "gm.pid", "status", "--json"], ["status", "--json", "-P", "gm.pid"]] {
        let status: Value = serde_json::from_slice(&bare(&args).success()).unwrap();
        assert_eq!(status["pid"], manager.pid().as_raw());
    }
    let reports = bare(&["crashes", "-P", "gm.pid"]);
    assert_eq!((reports.code(), reports.out().as_str()), (Some(0), "no crash reports\n"), "{reports:?}");
    assert_eq!(bare(&["-P", "gm.pid", "restart", "stamped"]).code(), Some(0));
    std::fs::write(manager.dir().join("old.pid"), "1\n").unwrap();
    let none = bare(&["-P", "old.pid", "status"]);
    assert!(none.code() == Some(3) && none.err().contains("names process 1, which is no manager"), "{none:?}");
    let none = bare(&["-P", "no.pid", "status"]);
    assert!(none.code() == Some(2) && none.err().contains("cannot be read"), "{none:?}");
    assert_eq!(bare(&["-P", "gm.pid", "submit", "stamped"]).code(), Some(2));

    // One that is not named: it may be the only one of this machine.
    let second = Setup::new(&["127.0.0.1:1"]).start();
    let unnamed = bare(&["status"]);
    assert!(unnamed.code() == Some(2) && unnamed.err().contains(" managers run: name one"), "{unnamed:?}");
    for manager in [&manager, &second] {
        assert!(unnamed.err().contains(&manager.pid().to_string()), "{unnamed:?}");
    }
}

#[test]
fn events_of_a_time_are_printed_and_those_that_follow() {
    let (_gearmand, manager) = served("");
    let all = manager.command("events", &["--json", "--since", "10m"]).out();
    assert!(all.lines().any(|line| line.contains("\"event\":\"started\"")), "{all}");
    assert_eq!(manager.command("events", &["--since", "1ms"]).out(), "");
    not_done(&manager, "events", &["--since", "yesterday"], 2, "--since");
    let mut command = manager.verb("events", &["--json", "--follow", "--since", "10m"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    // It follows before it prints.
    let mut events: Vec<Value> = vec![serde_json::from_str(&lines.next().unwrap()).unwrap()];
    done(&manager, "restart", &["stamped"]);
    done(&manager, "stop", &[]);
    events.extend(lines.map(|line| serde_json::from_str::<Value>(&line).unwrap()));
    assert!(child.wait().unwrap().success());
    let places = ["started", "request_finished", "stopped"].map(|name| {
        let of_name: Vec<usize> = (0..events.len()).filter(|at| events[*at]["event"] == name).collect();
        assert_eq!(of_name.len(), 1, "{name}: {events:?}");
        of_name[0]
    });
    assert!(places.is_sorted(), "{events:?}");
}
