//! However much workers, probes and their leftovers print or report, the manager serves everyone else.
//!
//! Nothing here is about speed: a manager that does not come to it at all is what a deadline finds.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{Job, acting, library, path, pid, touch, wait_busy, wait_serving, workers};
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;
use crate::support::plugins::{self, example};
use crate::support::wait::{DEADLINE, wait_for};

/// What `pour` can say.
const FLOODS: [&str; 6] = ["short", "long", "empty", "log", "words", "descriptors"];

/// A manager with a worker for each of these floods, and one more; the jobs that pour.
fn pouring(floods: &[&str], ini: &str) -> (Gearmand, Manager, Vec<Job>) {
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).ini(&format!("count = {}\nmax_runs = 0\n{ini}", floods.len() + 1)).start();
    wait_serving(&manager, "act");
    let never = path(&manager, "never");
    let pour = |what: &&str| Job::act(&gearmand, what, &format!("pour {what} {never}"));
    let jobs = floods.iter().map(pour).collect();
    (gearmand, manager, jobs)
}

/// Kills a worker, and waits until that was noticed.
fn is_reaped(manager: &Manager, worker: Pid) {
    kill(worker, Signal::SIGKILL).unwrap();
    manager.wait_event("worker_died", |event| pid(event) == worker);
}

/// P19: commands are answered, children that die are taken in, new libraries are served, and a stop stops.
#[test]
fn workers_that_print_at_full_speed_delay_nobody() {
    let (gearmand, mut manager, jobs) = pouring(&FLOODS, "graceful_shutdown_wait_time = 500ms");
    let busy: Vec<Pid> = jobs.iter().map(|job| wait_busy(&manager, &job.handle)).collect();
    let idle = workers(&manager).into_iter().find(|worker| !busy.contains(worker)).unwrap();
    is_reaped(&manager, idle);
    manager.install("reverse_string", &example("reverse_string"));
    manager.wait_event("function_found", |event| event["function"] == "reverse_string");
    assert_eq!(Job::act(&gearmand, "", "say served").result(), b"served");
    for _ in 0..10 {
        manager.status();
    }
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.wait_exit().code(), Some(0));
}

/// P19: a job that prints all it can has its timeout like any other.
#[test]
fn jobs_that_print_at_full_speed_time_out() {
    let (_gearmand, _manager, jobs) = pouring(&FLOODS, "timeout = 1s\ntimeout_grace = 100ms");
    for job in jobs {
        let message = job.failure();
        assert!(message.starts_with("timed out"), "{message}");
    }
}

/// A library whose constructor prints this forever.
fn constructor(name: &str, statement: &str) -> PathBuf {
    let entry = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/plugins/entry.h");
    let source = format!(
        "#include <stdio.h>\n#include <string.h>\n#include <unistd.h>\n#include <sys/socket.h>\n#include \"{entry}\"\n\
         ENTRY({name});\nstatic char text[4096];\nAT_LOAD say(void) {{\n    for (;;) {{ {statement} }}\n}}\n"
    );
    plugins::c(name, &source)
}

/// P19: constructors that print, in as many probes as there are at a time.
#[test]
fn constructors_that_print_at_full_speed_delay_nobody() {
    let print = "memset(text, '\\n', sizeof text); for (int i = 0; i < 4096; i += 2) text[i] = 'a'; \
                 if (write(1, text, sizeof text) < 0) _exit(1);";
    let errors = "memset(text, 'x', sizeof text); if (write(2, text, sizeof text) < 0) _exit(1);";
    let words = "if (send(3, text, sizeof text, MSG_NOSIGNAL) < 0) pause();";
    let gearmand = Gearmand::start();
    let mut manager = acting(&[&gearmand]).ini("probe_timeout = 1h\nhealthy_after = 1").start();
    wait_serving(&manager, "act");
    for (name, statement) in [("prints", print), ("prints_errors", errors), ("sends", words)] {
        manager.install(name, &constructor(name, statement));
    }
    manager.wait_log("prints (probe): stdout: a");
    is_reaped(&manager, workers(&manager)[0]);
    assert_eq!(Job::act(&gearmand, "", "say served").result(), b"served");
    manager.wait_event("library_refused", |event| event["function"] == "sends");
    manager.status();
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.wait_exit().code(), Some(0));
}

/// P19: a worker has died, and what it left behind goes on printing into its pipe, or sending into its channel.
#[test]
fn output_of_inherited_pipes_does_not_delay_a_workers_end() {
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).ini("count = 1\nmax_attempts = 1").start();
    wait_serving(&manager, "act");
    let never = path(&manager, "never");
    for what in ["short", "long", "empty", "words", "descriptors"] {
        let message = Job::act(&gearmand, what, &format!("heir {what} {never}")).failure();
        assert!(message.contains("SIGABRT"), "{what}: {message}");
        wait_serving(&manager, "act");
        assert_eq!(Job::act(&gearmand, "", "say served").result(), b"served", "{what}");
    }
}

/// The last lines of a worker that printed more than one turn takes are not lost.
#[test]
fn what_a_worker_printed_before_its_end_is_logged() {
    const LINES: usize = 2000;
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).ini("max_attempts = 1").start();
    wait_serving(&manager, "act");
    // While it is stopped nothing is read; the pipe holds it all.
    let gate = path(&manager, "gate");
    let lines: Vec<String> = (0..LINES).map(|line| format!("print last line {line}")).collect();
    let job = Job::act(&gearmand, "", &format!("wait {gate}\n{}\nabort", lines.join("\n")));
    let worker = wait_busy(&manager, &job.handle);
    manager.signal(Signal::SIGSTOP);
    touch(&gate);
    wait_for("the end of the worker", DEADLINE, || {
        fs::read_to_string(format!("/proc/{worker}/stat")).unwrap().contains(") Z ").then_some(())
    });
    manager.signal(Signal::SIGCONT);
    assert!(job.failure().contains("SIGABRT"));
    manager.wait_log(&format!("last line {}", LINES - 1));
    let log = manager.log();
    let logged =
        (0..LINES).filter(|line| log.lines().any(|l| l.ends_with(&format!("stdout: last line {line}")))).count();
    assert_eq!(logged, LINES);
}

/// A message may carry more descriptors than the manager takes: none of them stays open.
#[test]
fn unexpected_descriptors_do_not_stay_open() {
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).ini("count = 1").start();
    wait_serving(&manager, "act");
    let open = || fs::read_dir(format!("/proc/{}/fd", manager.pid())).unwrap().count();
    let before = open();
    assert_eq!(Job::act(&gearmand, "", "descriptors 50\nlog they are sent").result(), b"");
    manager.wait_log("they are sent");
    // A command's own connection may be among them.
    wait_for("no descriptor more", DEADLINE, || (open() <= before + 2).then_some(()));
}

/// A worker whose manager does not read for a while is no orphan.
#[test]
fn a_stopped_manager_is_not_mistaken_for_a_dead_one() {
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).ini("count = 1").start();
    wait_serving(&manager, "act");
    let [worker] = workers(&manager)[..] else { panic!("one worker was planned") };
    manager.signal(Signal::SIGSTOP);
    // The channel fills up; lines are counted instead.
    let lines = vec!["log a line nobody reads"; 2000].join("\n");
    assert_eq!(Job::act(&gearmand, "", &format!("{lines}\nsay done")).result(), b"done");
    assert_eq!(Job::act(&gearmand, "", "pid").result(), worker.to_string().into_bytes());
    manager.signal(Signal::SIGCONT);
    // The count comes with the first line that is read again.
    wait_for("the count of the lines", DEADLINE, || {
        assert_eq!(Job::act(&gearmand, "", "log read again").result(), b"");
        manager.log().contains("log lines of worker").then_some(())
    });
    assert_eq!(workers(&manager), [worker]);
}

/// Times without end in every setting that takes one: nothing is added up beyond what a clock can count.
#[test]
fn times_that_no_clock_can_count_are_no_times_at_all() {
    let gearmand = Gearmand::start();
    let keys = [
        "timeout",
        "timeout_grace",
        "start_timeout",
        "probe_timeout",
        "stop_timeout",
        "connect_timeout",
        "echo_interval",
        "echo_timeout",
        "rescan_interval",
        "backoff_max",
        "healthy_after",
        "canary_seconds",
        "max_worker_lifetime",
        "settle_time",
        "prefetch_hold",
        "worker_restart_splay",
        "graceful_shutdown_wait_time",
    ];
    let ini: Vec<String> = keys.iter().map(|key| format!("{key} = 1000000000000000000")).collect();
    let setup = acting(&[&gearmand]).ini(&ini.join("\n"));
    let mut manager = setup.start();
    wait_serving(&manager, "act");
    assert_eq!(Job::act(&gearmand, "", "take 5\nsay done").result(), b"done");
    is_reaped(&manager, workers(&manager)[0]);
    wait_serving(&manager, "act");
    manager.install("act", &library());
    manager.signal(Signal::SIGHUP);
    manager.wait_event("worker_exited", |_| true);
    wait_serving(&manager, "act");
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.wait_exit().code(), Some(0));
}
