//! For tests of what a process does to itself (fork, set its user): the test runs itself in a process of its own.

use std::process::{Command, Output};

/// Says to a test that it is the child.
const CHILD: &str = "GM_TEST_CHILD";

/// Whether this process was started by [`child`].
pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// This test binary again, to run the one test of this full name, as child.
pub(crate) fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    command
}

/// For a test that gives up root's rights, which are the process's: other tests must not lose theirs meanwhile. True in
/// the child, which goes on; its parent has seen it pass, and without root there is none.
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

/// Runs the child and expects its test to pass.
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
