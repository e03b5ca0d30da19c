//! Signals that workers receive as well as the manager, and a manager that is process 1.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{Job, acting, make_script, path, served, touch, wait_busy, wait_serving, workers};
use crate::support::gearmand::Gearmand;
use crate::support::wait::{DEADLINE, wait_for};

/// A container's runtime or a terminal may send the signal to everybody at once: what runs is finished all the same.
#[test]
fn a_signal_to_every_process_is_a_normal_stop() {
    for signal in [Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGINT] {
        let (gearmand, mut manager) = served("count = 3");
        let gate = path(&manager, "gate");
        let job = Job::act(&gearmand, "", &format!("wait {gate}\nsay done"));
        wait_busy(&manager, &job.handle);
        for worker in workers(&manager) {
            kill(worker, signal).unwrap();
        }
        manager.signal(signal);
        manager.wait_event("draining", |event| event["by"] == signal.as_str());
        touch(&gate);
        assert_eq!(job.result(), b"done", "{signal}");
        assert_eq!(manager.wait_exit().code(), Some(0), "{signal}");
        manager.wait_gone();
        // One that was started for a worker which left before the manager heard of the stop is killed.
        let died = |event: &serde_json::Value| event["event"] == "worker_died" && event["at"] == "job";
        let died: Vec<_> = manager.events().into_iter().filter(died).collect();
        assert!(died.is_empty(), "{signal}: {died:?}");
    }
}

/// The first process of a namespace, as in a container: what others leave behind is reaped, and QUIT ends it.
#[test]
fn the_first_process_of_a_namespace_stops_and_leaves_no_zombie() {
    let possible = std::process::Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).output();
    if !possible.is_ok_and(|possible| possible.status.success()) {
        eprintln!("skipped: needs a namespace of its own");
        return;
    }
    for signal in [Signal::SIGQUIT, Signal::SIGTERM] {
        let gearmand = Gearmand::start();
        let setup = acting(&[&gearmand]);
        let program = setup.dir().join("gm-native");
        let ours = env!("CARGO_BIN_EXE_gm-native");
        // Commands are not to be the first of a namespace each.
        let text = format!(
            "#!/bin/sh\ncase $1 in -c) exec unshare --pid --fork --mount-proc '{ours}' \"$@\";; esac\nexec '{ours}' \"$@\"\n"
        );
        make_script(&program, &text);
        let mut manager = setup.program(program).start();
        wait_serving(&manager, "act");
        let first = children(manager.pid())[0];
        let gate = path(&manager, "gate");
        assert_eq!(Job::act(&gearmand, "", &format!("fork {gate}")).result(), b"");
        // The worker dies, and what it has left becomes the manager's child and ends.
        assert_eq!(
            Job::act(&gearmand, "", &format!("first {} exit 0\nsay on", path(&manager, "mark"))).result(),
            b"on"
        );
        touch(&gate);
        manager.wait_status("the orphan's end", |status| (status["orphans_reaped"] == 1).then_some(()));
        let zombies = || children(first).into_iter().filter(|child| state(*child) == Some('Z')).count();
        wait_for("no zombie", DEADLINE, || (zombies() == 0).then_some(()));
        let held = path(&manager, "held");
        let job = Job::act(&gearmand, "", &format!("wait {held}\nsay done"));
        manager.wait_status("the job to run", |status| {
            status["workers"].as_array()?.iter().find(|worker| worker["handle"] == job.handle.as_str()).map(|_| ())
        });
        kill(first, signal).unwrap();
        manager.wait_event("draining", |event| event["by"] == signal.as_str());
        touch(&held);
        assert_eq!(job.result(), b"done", "{signal}");
        assert_eq!(manager.wait_exit().code(), Some(0), "{signal}");
    }
}

/// The children of all threads of a process.
fn children(of: Pid) -> Vec<Pid> {
    let listed = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    listed.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
}

fn state(process: Pid) -> Option<char> {
    fs::read_to_string(format!("/proc/{process}/stat")).ok()?.rsplit_once(") ")?.1.chars().next()
}
