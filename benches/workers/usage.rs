//! What processes have used, from `/proc`.

use std::fs;
use std::time::Duration;

/// Processor time of all threads of a process, in the kernel's nanoseconds.
pub fn processor(pid: i32) -> Duration {
    threads(pid).map(|thread| time_of(&format!("{thread}/schedstat"))).sum()
}

/// Processor time of the calling thread.
pub fn of_this_thread() -> Duration {
    time_of("/proc/thread-self/schedstat")
}

/// How often the threads of a process have gone to sleep: each time something woke them before.
pub fn sleeps(pid: i32) -> u64 {
    let of = |thread: String| {
        let status = fs::read_to_string(format!("{thread}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.map_or(0, |count| count.trim().parse().unwrap())
    };
    threads(pid).map(of).sum()
}

/// Memory of a process in KB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Pages that only this process has.
    pub private: u64,
    /// Those, and its share of the others.
    pub proportional: u64,
}

/// Reads `/proc/PID/smaps_rollup`.
pub fn memory(pid: i32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let field = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |rest| rest.trim().trim_end_matches(" kB").parse().unwrap())
    };
    Memory { private: field("Private_Clean:") + field("Private_Dirty:"), proportional: field("Pss:") }
}

fn threads(pid: i32) -> impl Iterator<Item = String> {
    let all = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    all.map(|entry| entry.path().display().to_string())
}

/// The first number of a `schedstat`.
fn time_of(path: &str) -> Duration {
    let text = fs::read_to_string(path).unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0))
}
