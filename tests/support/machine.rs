//! A machine on which no manager has run before, for tests of default paths.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Runs a test with an empty `/var/lib` of its own, as root. Everything that the test starts sees the same; it
/// disappears with the last of these processes. Skips the test if this process may not make such a directory.
pub fn fresh(test: impl FnOnce() + Send) {
    let done = std::thread::scope(|scope| {
        // Only this thread, and what it starts, leaves the shared file systems.
        scope.spawn(|| if prepared() { test() } else { eprintln!("skipped: needs root and a mount of its own") }).join()
    });
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn prepared() -> bool {
    let mount = |args: &[&str]| Command::new("mount").args(args).status().is_ok_and(|status| status.success());
    unshare(CloneFlags::CLONE_NEWNS).is_ok()
        && mount(&["--make-rprivate", "/"])
        && mount(&["-t", "tmpfs", "-o", "mode=755", "gm-native-test", "/var/lib"])
}
