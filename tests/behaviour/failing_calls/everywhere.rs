//! The same call fails in the manager and in each of its children: workers, probes, look-ups and the guardian. strace counts
//! for each process by itself, so the Nth call of every one of them fails, also of those that are started again.
//! Takes minutes: `make long`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::fixture::library;
use crate::support::manager::Setup;
use crate::support::wait::try_wait_for;

/// Call, error. All are made by a child in a run without failures.
const CALLS: [(&str, &str); 24] = [
    ("read", "EIO"),
    ("pread64", "EIO"),
    ("openat", "EMFILE"),
    ("fstat", "EIO"),
    ("statx", "EIO"),
    ("socket", "EMFILE"),
    ("connect", "ENOBUFS"),
    ("setsockopt", "ENOBUFS"),
    ("getsockopt", "ENOBUFS"),
    ("sendmsg", "ENOBUFS"),
    ("recvmsg", "ENOMEM"),
    ("poll", "ENOMEM"),
    ("ppoll", "ENOMEM"),
    ("prctl", "EPERM"),
    ("eventfd2", "EMFILE"),
    ("fcntl", "EIO"),
    ("ftruncate", "EIO"),
    ("fsync", "EIO"),
    ("copy_file_range", "EIO"),
    ("readlink", "EIO"),
    ("dup2", "EMFILE"),
    ("prlimit64", "EPERM"),
    ("lseek", "EIO"),
    ("ioctl", "EIO"),
];

/// Which one of its calls fails in each process: some while it starts, some while it works.
const PLACES: [u32; 5] = [1, 3, 8, 20, 60];

/// How long a manager has whose children fail again and again before it must have reported it.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// M14: service; or a manager that says what fails and stops when asked; or one that ends with a clear line.
#[test]
#[ignore = "takes minutes: make long"]
fn every_call_of_every_process_may_fail() {
    if !strace_works() {
        return;
    }
    let cases: Vec<_> = CALLS.iter().flat_map(|(call, error)| PLACES.map(|place| (*call, *error, place))).collect();
    let (failed, served) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    in_parallel(&cases, |(call, error, place)| {
        let name = format!("{call} {error} at call {place} of each process");
        let outcome = std::panic::catch_unwind(|| one(call, error, *place, &name));
        println!("{name}: {outcome:?}");
        match outcome {
            Ok(Outcome::Served) => drop(served.fetch_add(1, Ordering::Relaxed)),
            Ok(_) => {}
            Err(_) => failed.lock().unwrap().push(name),
        }
    });
    assert_eq!(failed.into_inner().unwrap(), [""; 0]);
    let served = served.into_inner();
    assert!(served > cases.len() / 2, "{served} of {} serve", cases.len());
}

#[derive(Debug)]
enum Outcome {
    Served,
    Ended,
    /// It goes on, and reports why its function is not served.
    ReportsFailure,
}

#[track_caller]
fn one(call: &str, error: &str, place: u32, name: &str) -> Outcome {
    let gearmand = Gearmand::start();
    let ini = "backoff_max = 100ms\nlog_file = gm.log\ngraceful_shutdown_wait_time = 10\nstart_timeout = 5\nprobe_timeout = 5";
    // A name that is looked up, by a child.
    let names = format!("localhost:{}", gearmand.port());
    let manager = Setup::new(&[gearmand.server(), names]).plugin("act", &library()).ini(ini).prepared();
    let mut process = traced(&manager, &format!("-f -e trace={call} -e inject={call}:error={error}:when={place}"));
    let ended = try_wait_for(STOP_DEADLINE, || {
        let serves = gearmand.status("act").is_some_and(|status| status.workers > 0);
        process.ended().map(Some).or(serves.then_some(None))
    });
    let output_of = |process: &ChildGuard| manager.log() + &process.output();
    let outcome = match ended {
        Some(Some(status)) => {
            assert!(matches!(status.code(), Some(1 | 2 | 127)), "{name}: {status}: {}", output_of(&process));
            assert!(!output_of(&process).trim().is_empty(), "{name}: it ended without output");
            Outcome::Ended
        }
        Some(None) => Outcome::Served,
        None => {
            let is_reported = |line: &str| line.contains(" ERROR ") || line.contains(" WARN ");
            assert!(
                output_of(&process).lines().any(is_reported),
                "{name}: nothing is served, nothing reported: {}",
                output_of(&process)
            );
            Outcome::ReportsFailure
        }
    };
    if !matches!(outcome, Outcome::Ended) {
        process.signal(Signal::SIGTERM);
        let status = process.wait_until(DEADLINE);
        assert!(status.is_some(), "{name}: it does not stop: {}", output_of(&process));
    }
    let output = output_of(&process);
    let panics = output.lines().filter(|line| line.contains("panicked") && !line.contains("notify"));
    assert_eq!(panics.count(), 0, "{name}: {output}");
    outcome
}
