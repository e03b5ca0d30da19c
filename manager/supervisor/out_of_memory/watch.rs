//! Reads what the kernel says about processes that it has killed for lack of memory: when a worker was killed, and now and
//! then, so that an earlier kill is not taken for the next one.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{KillEvidence, KillScope, OutOfMemory, judge, killed_process};
use crate::system::kernel_log::KernelLog;
use crate::system::memory_cgroup::{MemoryCgroup, OutOfMemoryCounts};

/// Processes that the log has named and whose ends have not been taken in yet.
const MAX_NAMED: usize = 64;
/// A killed process is reaped within this time.
const REAPED_WITHIN: Duration = Duration::from_secs(1);
/// The kernel counts a kill, kills, and only then writes its log: so often the log is read again if the count says that
/// there was a kill.
const LATE_LOOKS: u32 = 20;
/// The pause before each of these. Together they stay below what a turn of the loop may take.
const LATE_PAUSE: Duration = Duration::from_millis(2);

/// Where the kernel says that, and what it has said so far.
#[derive(Debug)]
pub(crate) struct OutOfMemoryWatch {
    root: PathBuf,
    log: Option<KernelLog>,
    named: VecDeque<(i32, KillScope)>,
    /// The group of this process, and so of its workers.
    cgroup: Option<MemoryCgroup>,
    /// What it had counted when the last death was taken in, or a while ago.
    counted: OutOfMemoryCounts,
    /// What it had counted at an earlier look, and when that was.
    seen: Option<(Duration, OutOfMemoryCounts)>,
}

impl OutOfMemoryWatch {
    /// From now on, as it is seen below this root directory.
    pub(crate) fn new(root: &Path) -> Self {
        let mut watch = Self {
            root: root.to_owned(),
            log: KernelLog::open(root),
            named: VecDeque::new(),
            cgroup: None,
            counted: OutOfMemoryCounts::default(),
            seen: None,
        };
        watch.find_cgroup();
        watch
    }

    /// Kills that the kernel counted a while ago belong to no worker that dies from now on. A process that was killed just
    /// now may still have to be reaped.
    pub(crate) fn look(&mut self, now: Duration) {
        match self.seen {
            Some((at, _)) if now.saturating_sub(at) < REAPED_WITHIN => return,
            Some((_, counts)) if counts.kills > self.counted.kills => self.counted = counts,
            _ => {}
        }
        self.seen = self.counts().map(|counts| (now, counts));
    }

    /// A process is started: what the log says about an earlier one with this number does not concern it.
    pub(crate) fn starts(&mut self, pid: i32) {
        self.named.retain(|(named, _)| *named != pid);
    }

    /// A worker was killed by SIGKILL that the manager did not send: whether that was for lack of memory, if it is known.
    pub(crate) fn killed(&mut self, pid: i32) -> Option<OutOfMemory> {
        let mut log_is_complete = self.read_log();
        let mut named = self.take_named(pid);
        for _ in 0..LATE_LOOKS {
            if named.is_some() || !log_is_complete || !self.counts_new_kills() {
                break;
            }
            std::thread::sleep(LATE_PAUSE);
            log_is_complete = self.read_log();
            named = self.take_named(pid);
        }
        let (new_kills, limit_reached) = self.count(named.is_some() || !log_is_complete);
        judge(KillEvidence {
            named,
            log_is_complete,
            new_kills,
            limit_reached,
            cgroup_limit: self.cgroup.as_ref().and_then(MemoryCgroup::limit),
        })
    }

    fn take_named(&mut self, pid: i32) -> Option<KillScope> {
        let place = self.named.iter().position(|(named, _)| *named == pid)?;
        self.named.remove(place).map(|(_, scope)| scope)
    }

    /// Whether a process of the group was killed since the last look.
    fn counts_new_kills(&self) -> bool {
        self.counts().is_some_and(|counts| counts.kills > self.counted.kills)
    }

    fn counts(&self) -> Option<OutOfMemoryCounts> {
        self.cgroup.as_ref().and_then(MemoryCgroup::counts)
    }

    /// Whether the log can be read, and nothing was missed.
    fn read_log(&mut self) -> bool {
        let Some(log) = &mut self.log else { return false };
        let reading = log.read();
        self.named.extend(reading.records.iter().filter_map(|record| killed_process(record)));
        self.named.drain(..self.named.len().saturating_sub(MAX_NAMED));
        reading.is_complete
    }

    /// How many processes were killed in the group since the last look, of which one is this death's, if it is any's; and
    /// whether its limit was reached.
    fn count(&mut self, takes_one: bool) -> (u64, bool) {
        if self.cgroup.as_ref().is_some_and(|cgroup| !cgroup.is_current()) {
            // The manager was moved, so nothing is known of what was counted before.
            self.find_cgroup();
            return (0, false);
        }
        let Some(counts) = self.counts() else { return (0, false) };
        let new_kills = counts.kills.saturating_sub(self.counted.kills);
        let limit_reached = counts.limit_reached > self.counted.limit_reached;
        if takes_one && new_kills > 1 {
            // The others are of deaths that are yet to be taken in, and the limit was theirs, too.
            self.counted.kills = self.counted.kills.saturating_add(1);
        } else {
            self.counted = counts;
        }
        (new_kills, limit_reached)
    }

    fn find_cgroup(&mut self) {
        self.cgroup = MemoryCgroup::of_this_process(&self.root);
        self.counted = self.counts().unwrap_or_default();
        self.seen = None;
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::supervisor::out_of_memory::MemoryLimitName;

    const MOUNTS: &str = "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n";
    const GROUP: &str = "sys/fs/cgroup/gm";

    /// A root directory with a group whose limit is 64 MiB, and a kernel's log.
    struct Kernel(tempfile::TempDir);

    impl Kernel {
        fn new() -> Self {
            let kernel = Self(tempfile::tempdir().unwrap());
            for dir in ["proc/self/ns", "dev", GROUP] {
                fs::create_dir_all(kernel.0.path().join(dir)).unwrap();
            }
            kernel.write("proc/self/mountinfo", MOUNTS);
            kernel.write("proc/self/cgroup", "0::/gm\n");
            kernel.write(&format!("{GROUP}/memory.max"), "67108864\n");
            symlink("pid:[4026531836]", kernel.0.path().join("proc/self/ns/pid")).unwrap();
            kernel.write("dev/kmsg", "");
            kernel.counts(0, 0);
            kernel
        }

        fn without_log() -> Self {
            let kernel = Self::new();
            fs::remove_file(kernel.0.path().join("dev/kmsg")).unwrap();
            kernel
        }

        fn write(&self, path: &str, text: &str) {
            fs::write(self.0.path().join(path), text).unwrap();
        }

        fn counts(&self, limit_reached: u64, kills: u64) {
            self.write(&format!("{GROUP}/memory.events"), &format!("oom {limit_reached}\noom_kill {kills}\n"));
        }

        fn logs(&self, pid: i32) {
            let mut log = OpenOptions::new().append(true).open(self.0.path().join("dev/kmsg")).unwrap();
            writeln!(log, "3,1,2,-;Memory cgroup out of memory: Killed process {pid} (x)").unwrap();
        }

        fn watch(&self) -> OutOfMemoryWatch {
            OutOfMemoryWatch::new(self.0.path())
        }
    }

    #[test]
    fn the_log_names_the_worker() {
        let kernel = Kernel::new();
        let mut watch = kernel.watch();
        kernel.logs(7);
        kernel.logs(8);
        kernel.counts(2, 2);
        assert!(watch.killed(9).is_none(), "it was killed from outside");
        let found = watch.killed(8).unwrap();
        assert_eq!((found.limit, found.limit_mib), (Some(MemoryLimitName::Cgroup), Some(64)));
        assert!(watch.killed(8).is_none(), "once for each time that it was named");
        assert!(watch.killed(7).is_some(), "whatever was asked before");
        kernel.logs(7);
        assert!(watch.killed(1).is_none());
        watch.starts(7);
        assert!(watch.killed(7).is_none(), "the number is another process's by now");
    }

    #[test]
    fn without_the_log_the_count_is_taken_once_for_each_kill() {
        let kernel = Kernel::without_log();
        kernel.counts(5, 5);
        let mut watch = kernel.watch();
        assert!(watch.killed(7).is_none(), "these were before the manager's time");
        kernel.counts(6, 7);
        for pid in [7, 8] {
            let found = watch.killed(pid).unwrap();
            assert_eq!((found.limit, found.limit_mib), (Some(MemoryLimitName::Cgroup), Some(64)));
        }
        assert!(watch.killed(9).is_none());
        kernel.counts(6, 8);
        let found = watch.killed(10).unwrap();
        assert_eq!(found.limit, None, "not the group's limit: it was not reached again");
        kernel.counts(6, 9);
        watch.look(Duration::from_secs(10));
        watch.look(Duration::from_millis(10_900));
        assert!(watch.killed(11).is_some(), "it may have been killed just before it was looked");
        kernel.counts(6, 10);
        watch.look(Duration::from_secs(20));
        watch.look(Duration::from_secs(21));
        assert!(watch.killed(12).is_none(), "a process that a job started had been killed a while ago");
    }

    #[test]
    fn nothing_is_known_in_a_group_that_the_manager_has_just_been_moved_to() {
        let kernel = Kernel::without_log();
        let mut watch = kernel.watch();
        fs::rename(kernel.0.path().join(GROUP), kernel.0.path().join("sys/fs/cgroup/other")).unwrap();
        kernel.write("proc/self/cgroup", "0::/other\n");
        kernel.write("sys/fs/cgroup/other/memory.events", "oom 3\noom_kill 3\n");
        assert!(watch.killed(7).is_none());
        kernel.write("sys/fs/cgroup/other/memory.events", "oom 4\noom_kill 4\n");
        assert!(watch.killed(7).is_some());
    }

    #[test]
    fn where_the_kernel_says_nothing_nothing_is_known() {
        let mut watch = OutOfMemoryWatch::new(Path::new("/nowhere"));
        watch.look(Duration::ZERO);
        assert!(watch.killed(7).is_none());
    }
}
