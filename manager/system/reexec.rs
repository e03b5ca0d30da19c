//! For tests of what a process does to itself (fork, change its user): the test runs itself in a process of its own.

use std::process::{Command, Output};

/// The variable that tells a test that it is the child.
const CHILD: &str = "GM_TEST_CHILD";

/// Whether this process was started by [`child`].
pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// A command that runs this test binary for the one test of this full name, as the child.
pub(crate) fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    command
}

/// For a test that gives up root's rights, which belong to the whole process, while other tests need them. True in the
/// child, which continues; the parent returns false after it has seen the child pass, or if it is not root.
pub(crate) fn is_root_child(test: &str) -> bool {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return false;
    }
    if !is_child() {
        passes(&mut child(test));
    }
    is_child()
}

/// Runs the child and asserts that its test passes.
pub(crate) fn passes(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
