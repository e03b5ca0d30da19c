//! The calls that a manager makes in a real run, one failure each: the first after the start of the program, one in the
//! middle, and the last. Takes minutes: `make test-all`.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;
use crate::fixture::library;
use crate::support::wait::try_wait_for;

/// What a call may fail with on a machine that is short of something, or broken. A call that is made and stands in none
/// of these lists fails the test: it is to be put into one.
const ERRORS: [(&str, &[&str]); 8] = [
    (
        "open openat socket socketpair pipe2 eventfd2 epoll_create1 memfd_create dup dup2 dup3 inotify_init1 accept4 \
         pidfd_open timerfd_create signalfd4",
        &["EMFILE", "ENFILE"],
    ),
    ("clone clone3 fork vfork setsid setpgid", &["EAGAIN"]),
    ("bind listen connect sendmsg recvmsg setsockopt getsockopt getsockname getpeername", &["ENOBUFS"]),
    ("epoll_ctl inotify_add_watch inotify_rm_watch poll ppoll mremap", &["ENOMEM"]),
    (
        "writev pwrite64 ftruncate fallocate mkdir mkdirat rename renameat renameat2 link linkat symlink",
        &["ENOSPC", "EIO"],
    ),
    (
        "read pread64 readv fstat stat lstat newfstatat statx getdents64 lseek readlink readlinkat unlink unlinkat rmdir \
         fsync fdatasync chmod fchmod fchmodat chown fchown statfs fstatfs utimensat copy_file_range sendfile access \
         faccessat faccessat2 flock ioctl fcntl close execve getcwd chdir",
        &["EIO"],
    ),
    ("prctl setrlimit prlimit64 kill tgkill pidfd_send_signal setpriority setuid setgid", &["EPERM"]),
    ("epoll_wait epoll_pwait wait4 waitid nanosleep clock_nanosleep pause", &["EINTR"]),
];

/// They do not fail, or are made by the C library, the loader and Rust's own start, which end the process when they do.
const NEVER: &str = "exit exit_group rt_sigreturn rt_sigaction rt_sigprocmask sigaltstack restart_syscall futex brk mmap \
                     munmap mprotect madvise arch_prctl set_tid_address set_robust_list rseq getrandom getpid getppid \
                     gettid getuid geteuid getgid getegid getpgid getpgrp getsid getresuid getresgid getgroups uname \
                     sysinfo sched_yield sched_getaffinity clock_gettime gettimeofday time getrusage times umask \
                     shutdown";

/// Made on other things too, but also on the runtime's own pipes to itself, which have room and do not break. Tests of
/// the log and of the control socket have these fail where they can.
const MIXED: &str = "sendto recvfrom write";

/// A manager under strace, and its job server.
struct Fixture {
    gearmand: Gearmand,
    manager: Manager,
    process: ChildGuard,
    name: String,
}

/// How far a run came.
#[derive(Debug, PartialEq)]
enum Outcome {
    Served,
    /// Before it served, or later, with this code.
    Ended(Option<i32>),
}

impl Fixture {
    fn start(name: &str, options: &str) -> Self {
        let gearmand = Gearmand::start();
        let ini = "backoff_max = 100ms\nlog_file = gm.log\ngraceful_shutdown_wait_time = 10";
        let manager = acting(&[&gearmand]).ini(ini).prepared();
        let process = traced(&manager, options);
        Self { gearmand, manager, process, name: name.to_owned() }
    }

    fn output(&self) -> String {
        self.manager.log() + &self.process.output()
    }

    /// Up, a job, a request, a deploy, down. What fails may cost the request, or the deploy, which is reported; not the
    /// job.
    fn run(mut self) -> Outcome {
        let outcome = match self.comes_up() {
            Outcome::Served => self.works(),
            outcome => outcome,
        };
        if outcome == Outcome::Served {
            self.process.signal(Signal::SIGTERM);
            let status = self.process.wait_until(DEADLINE);
            assert!(status.is_some(), "{}: it does not stop: {}", self.name, self.output());
        }
        let output = self.output();
        if let Outcome::Ended(code) = outcome {
            assert!(matches!(code, Some(1 | 2)), "{}: {code:?}: {output}", self.name);
            assert!(output.lines().any(|line| line.contains("gm-native")), "{}: {output}", self.name);
        }
        assert!(!output.contains("panicked") || is_the_watchers(&output), "{}: {output}", self.name);
        outcome
    }

    fn comes_up(&mut self) -> Outcome {
        wait_for(&format!("{}: an end or service", self.name), DEADLINE, || {
            let serves = self.gearmand.status("act").is_some_and(|status| status.workers > 0);
            let ended = self.process.ended().map(|status| Outcome::Ended(status.code()));
            ended.or(serves.then_some(Outcome::Served))
        })
    }

    fn works(&mut self) -> Outcome {
        let job = Job::act(&self.gearmand, "", "say well");
        assert_eq!(job.result(), b"well", "{}: {}", self.name, self.output());
        let _ = self.manager.command("status", &[]);
        // It has no function of that name, so there is something to report.
        self.manager.install("late", &library());
        let known = try_wait_for(DEADLINE, || {
            let is_reported = self.output().contains("late: ");
            (is_reported || self.process.ended().is_some()).then_some(())
        });
        assert!(known.is_some(), "{}: nothing is reported of a deploy: {}", self.name, self.output());
        self.process.ended().map_or(Outcome::Served, |status| Outcome::Ended(status.code()))
    }
}

/// The watcher's thread has a panic of its crate's own where it gets no thread or descriptor: it is caught, and printed.
fn is_the_watchers(output: &str) -> bool {
    output.lines().filter(|line| line.contains("panicked")).all(|line| line.contains("notify"))
}

/// How often each call was made: up to the moment when the program read `gm.ini`, and in all.
fn counted(trace: &str) -> BTreeMap<&str, (u32, u32)> {
    let mut calls: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    let mut reads = false;
    let is_name = |name: &str| name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    for (name, arguments) in trace.lines().filter_map(|line| line.split_once('(')).filter(|(name, _)| is_name(name)) {
        reads |= arguments.contains("gm.ini") && name.starts_with("open");
        let (before, all) = calls.entry(name).or_default();
        *before += u32::from(!reads);
        *all += 1;
    }
    assert!(reads, "the manager reads gm.ini: {trace}");
    calls
}

fn errors(call: &str) -> &'static [&'static str] {
    let is_in = |list: &str| list.split_whitespace().any(|known| known == call);
    match ERRORS.iter().find(|(calls, _)| is_in(calls)) {
        Some((_, errors)) => errors,
        None => {
            assert!(is_in(NEVER) || is_in(MIXED), "the manager makes the call {call}: put it into one of the lists");
            &[]
        }
    }
}

/// What is to be tried: call, error, and which one of these calls.
fn cases() -> Vec<(String, &'static str, u32)> {
    let fixture = Fixture::start("a run without failures", "-e trace=all");
    let trace = fixture.manager.dir().join("strace/trace");
    // The directory goes with the fixture, and the trace is written until then.
    let beside = fixture.manager.dir().parent().unwrap().to_owned();
    let kept_in = tempfile::TempDir::with_prefix_in("gm-native-trace-", beside).unwrap();
    let kept = kept_in.path().join("trace");
    wait_for("the trace", DEADLINE, || fs::hard_link(&trace, &kept).ok());
    assert_eq!(fixture.run(), Outcome::Served);
    let trace = fs::read(&kept).unwrap();
    let mut cases = Vec::new();
    for (call, (before, all)) in counted(&String::from_utf8_lossy(&trace)) {
        // Up to there the system's loader and Rust's own start make them.
        let first = before + 1;
        let mut places = vec![first, first.midpoint(all), all];
        places.retain(|place| (first..=all).contains(place));
        places.dedup();
        for error in errors(call) {
            cases.extend(places.iter().map(|place| (call.to_owned(), *error, *place)));
        }
    }
    cases
}

/// M14.
#[test]
#[ignore = "takes minutes: make test-all"]
fn every_call_of_the_manager_may_fail() {
    if !strace_works() {
        return;
    }
    let cases = cases();
    println!("{} failures", cases.len());
    assert!(cases.len() > 50, "{cases:?}");
    let failed = Mutex::new(Vec::new());
    in_parallel(&cases, |(call, error, place)| {
        let name = format!("{call} {error} at call {place}");
        let inject = format!("-e trace={call} -e inject={call}:error={error}:when={place}");
        let outcome = std::panic::catch_unwind(|| Fixture::start(&name, &inject).run());
        println!("{name}: {outcome:?}");
        if outcome.is_err() {
            failed.lock().unwrap().push(name);
        }
    });
    assert_eq!(failed.into_inner().unwrap(), [""; 0]);
}
