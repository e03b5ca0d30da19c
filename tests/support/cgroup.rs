//! A control group of the test's own whose memory is limited, where the test may make one.

use std::fs;
use std::path::{Path, PathBuf};

use super::wait::{DEADLINE, wait_for};

/// The group. It is removed when this goes out of scope, once the processes in it have ended.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// A group of version 1 or 2 with this many bytes of memory and no swap. None if this process may not make it.
    pub fn with_memory(name: &str, bytes: u64) -> Option<Self> {
        let mut places = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].iter().map(Path::new);
        let place = places.find(|place| {
            let is_limited = |file: &str| place.join(file).exists();
            is_limited("memory.limit_in_bytes")
                || fs::read_to_string(place.join("cgroup.subtree_control")).is_ok_and(|all| all.contains("memory"))
        })?;
        let group = Self(place.join(format!("gm-native-test-{name}-{}", std::process::id())));
        fs::create_dir(&group.0).ok()?;
        let limits = ["memory.limit_in_bytes", "memory.max"];
        let is_limited = limits.iter().any(|file| group.write(file, &bytes.to_string()));
        let _ = group.write("memory.memsw.limit_in_bytes", &bytes.to_string()) || group.write("memory.swap.max", "0");
        is_limited.then_some(group)
    }

    fn write(&self, file: &str, text: &str) -> bool {
        let file = self.0.join(file);
        file.exists() && fs::write(file, text).is_ok()
    }

    /// Where a process writes its pid to enter the group.
    pub fn entrance(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let removed = || fs::remove_dir(&self.0).is_ok().then_some(());
        // A second panic would hide the first.
        match std::thread::panicking() {
            true => drop(removed()),
            false => wait_for("the end of the processes in the group", DEADLINE, removed),
        }
    }
}
