//! A machine on which no manager has run before, for tests of default paths.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Runs a test with a `/var/lib` of its own, as root with nothing in it. All that the test starts sees the same; it ends
/// with the last of these processes. Where this process may not make one the test is skipped.
pub fn fresh(test: impl FnOnce() + Send) {
    let done = std::thread::scope(|scope| {
        // Only this thread, and what it starts, leaves the others' file systems.
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
