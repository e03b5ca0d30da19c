//! M14: a system call that fails, wherever it is made: no panic and no hang, but one clear line and the documented exit
//! code, or service.
//!
//! A few calls of the manager's are tried in every run; [`generated`] tries those that a real run makes.

mod everywhere;
mod generated;

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::fixture::{Job, acting, make_script};
use crate::support::child_guard::ChildGuard;
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;
use crate::support::wait::{DEADLINE, wait_for};

/// Call, error, and which ones of them fail. Some are never made that often: then nothing happens.
const CASES: [(&str, &str, &[u32]); 14] = [
    ("openat", "EMFILE", &[5, 20, 30, 40]),
    ("socket", "EMFILE", &[1, 2]),
    ("socketpair", "ENFILE", &[1, 2, 3]),
    ("clone", "EAGAIN", &[1, 2, 3]),
    ("clone3", "EAGAIN", &[1, 2]),
    ("dup3", "EMFILE", &[1, 10, 20]),
    ("memfd_create", "EMFILE", &[1, 2]),
    ("pipe2", "EMFILE", &[1, 3]),
    ("epoll_ctl", "ENOMEM", &[2, 6, 9]),
    ("sendmsg", "ENOBUFS", &[1, 2]),
    ("recvmsg", "ENOMEM", &[1, 3]),
    ("ftruncate", "EIO", &[1, 2, 3]),
    ("rename", "EIO", &[1]),
    ("inotify_add_watch", "ENOSPC", &[1]),
];

/// Whether tests may trace processes here; prints it if not.
fn strace_works() -> bool {
    let allowed = Command::new("strace").args(["-qq", "-e", "trace=none", "true"]).status();
    let works = allowed.is_ok_and(|status| status.success());
    if !works {
        eprintln!("skipped: strace cannot trace here");
    }
    works
}

/// Does what there is to do, four at a time: most of the time each waits.
fn in_parallel<T: Sync>(cases: &[T], run: impl Fn(&T) + Sync) {
    let run = &run;
    std::thread::scope(|scope| {
        for part in cases.chunks(cases.len().div_ceil(4).max(1)) {
            scope.spawn(move || part.iter().for_each(run));
        }
    });
}

/// A manager under strace with these options, whose output is in `strace/trace`: the manager watches the directories above.
fn traced(manager: &Manager, options: &str) -> ChildGuard {
    let wrapper = manager.dir().join("traced");
    fs::create_dir(manager.dir().join("strace")).unwrap();
    // -D: the manager is this process, and the tracer a child of its own.
    let script =
        format!("#!/bin/sh\nexec strace -D -qq -o strace/trace {options} {} \"$@\"\n", env!("CARGO_BIN_EXE_gm-native"));
    make_script(&wrapper, &script);
    ChildGuard::start("traced", Command::new(&wrapper).args(["-c", "gm.ini"]).current_dir(manager.dir()))
}

#[test]
fn each_ends_in_a_clear_line_or_in_service() {
    if strace_works() {
        in_parallel(&CASES, |(call, error, places)| places.iter().for_each(|place| one(call, error, *place)));
    }
}

/// Linux before 5.9 has no `close_range`: a child then copies all descriptors, and closes them itself.
#[test]
fn an_old_kernel_starts_children_too() {
    if !strace_works() {
        return;
    }
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).prepared();
    let mut process = traced(&manager, "-f -e trace=close_range,unshare -e inject=close_range:error=ENOSYS");
    gearmand.wait_workers("act", 1);
    assert_eq!(Job::act(&gearmand, "", "say well").result(), b"well");
    process.signal(Signal::SIGTERM);
    let status = process.wait_until(DEADLINE);
    assert!(status.is_some_and(|status| status.success()), "{status:?}: {}", process.output());
    let trace = fs::read_to_string(manager.dir().join("strace/trace")).unwrap();
    assert!(trace.contains("close_range(") && trace.contains("unshare(CLONE_FILES)"), "{trace}");
}

#[track_caller]
fn one(call: &str, error: &str, place: u32) {
    let name = format!("{call} {error} at call {place}");
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).ini("backoff_max = 100ms").prepared();
    let mut process = traced(&manager, &format!("-e trace={call} -e inject={call}:error={error}:when={place}"));
    let ended = wait_for(&format!("{name}: an end or service"), DEADLINE, || {
        let serves = gearmand.status("act").is_some_and(|status| status.workers > 0);
        process.ended().map(Some).or(serves.then_some(None))
    });
    let output = match ended {
        Some(status) => {
            let output = process.output();
            assert_eq!(status.code(), Some(1), "{name}: {status}: {output}");
            assert!(output.lines().any(|line| line.contains("gm-native")), "{name}: {output}");
            output
        }
        None => {
            assert_eq!(Job::act(&gearmand, "", "say well").result(), b"well", "{name}");
            process.signal(Signal::SIGTERM);
            let status = process.wait_until(DEADLINE);
            assert!(status.is_some_and(|status| status.success()), "{name}: {status:?}: {}", process.output());
            process.output()
        }
    };
    // The watcher's own thread, between one that was to be had and another: its crate's panic is caught, and printed.
    let is_printed = call == "clone3";
    assert!(is_printed || !output.contains("panicked"), "{name}: {output}");
}
