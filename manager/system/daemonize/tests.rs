use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, raise};
use nix::unistd::{getpgrp, getsid};

use super::*;
use crate::system::reexec;

/// Runs this test as a child that daemonizes, in a directory of its own; the test's body is what the child does then.
fn call(test: &str, dir: &Path) -> Output {
    let mut child = reexec::child(&format!("system::daemonize::tests::{test}"));
    child.current_dir(dir).env("GM_TEST_DIR", dir);
    child.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Reads what the detached process writes some time after its caller has ended.
fn read_when_there(path: &Path) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Ok(text) = fs::read_to_string(path) {
            return text;
        }
        assert!(Instant::now() < deadline, "{} was not written", path.display());
        std::thread::yield_now();
    }
}

/// Writes a file in one step, so that a reader sees all of it or none.
fn publish(name: &str, text: &str) {
    let path = PathBuf::from(std::env::var_os("GM_TEST_DIR").unwrap()).join(name);
    fs::write(path.with_extension("new"), text).unwrap();
    fs::rename(path.with_extension("new"), path).unwrap();
}

#[test]
fn ready_detaches_and_the_caller_exits_with_0() {
    if reexec::is_child() {
        umask(Mode::empty());
        let announce = daemonize().unwrap();
        publish("before", &std::env::current_dir().unwrap().display().to_string());
        announce.ready(Some("no job server can be reached yet"), None).unwrap();
        let streams: Vec<String> = ["0", "1", "2"]
            .iter()
            .map(|stream| fs::read_link(format!("/proc/self/fd/{stream}")).unwrap().display().to_string())
            .collect();
        let (pid, session) = (getpid(), getsid(None).unwrap());
        let detached = session != pid && getpgrp() == session;
        let mask = umask(Mode::empty()).bits();
        let cwd = std::env::current_dir().unwrap();
        publish("after", &format!("{} {detached} {mask:03o} {}", cwd.display(), streams.join(" ")));
        exit_at_once(0);
    }
    let dir = tempfile::tempdir().unwrap();
    let output = call("ready_detaches_and_the_caller_exits_with_0", dir.path());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "no job server can be reached yet\n");
    let canonical = dir.path().canonicalize().unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("before")).unwrap(), canonical.display().to_string());
    assert_eq!(read_when_there(&dir.path().join("after")), "/ true 022 /dev/null /dev/null /dev/null");
}

#[test]
fn failed_gives_the_caller_code_and_text() {
    if reexec::is_child() {
        let announce = daemonize().unwrap();
        announce.failed(2, "gm.ini:3: bad value\ngm.ini:7: bad value");
        exit_at_once(2);
    }
    let dir = tempfile::tempdir().unwrap();
    let output = call("failed_gives_the_caller_code_and_text", dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), "gm.ini:3: bad value\ngm.ini:7: bad value\n");
}

#[test]
fn a_text_longer_than_a_pipe_arrives() {
    if reexec::is_child() {
        daemonize().unwrap().failed(1, &"x".repeat(1 << 20));
        exit_at_once(1);
    }
    let dir = tempfile::tempdir().unwrap();
    let output = call("a_text_longer_than_a_pipe_arrives", dir.path());
    assert_eq!((output.status.code(), output.stderr.len()), (Some(1), (1 << 20) + 1));
}

#[test]
#[expect(clippy::zombie_processes, reason = "the orphan is what is tested; it ends with the test's pipe")]
fn death_without_a_report_is_a_failure_that_names_the_exit_status() {
    if reexec::is_child() {
        let announce = daemonize().unwrap();
        match std::env::var("GM_TEST_END").unwrap().as_str() {
            "signal" => raise(Signal::SIGKILL).unwrap(),
            "exit" => exit_at_once(7),
            "orphan" => {
                // It lives until the test closes its end of our stdin, which is after the caller has ended.
                Command::new("cat")
                    .stdin(Stdio::inherit())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                exit_at_once(8);
            }
            _ => drop(announce),
        }
        exit_at_once(0);
    }
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        ("signal", "gm-native: the manager ended before it was up: killed by SIGKILL"),
        ("exit", "gm-native: the manager ended before it was up: exit code 7"),
        ("orphan", "gm-native: the manager ended before it was up: exit code 8"),
        ("drop", "gave up its start without a reason"),
    ];
    for (end, expected) in cases {
        let test = "system::daemonize::tests::death_without_a_report_is_a_failure_that_names_the_exit_status";
        let mut child = reexec::child(test);
        child.env("GM_TEST_DIR", dir.path()).env("GM_TEST_END", end);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        assert_eq!(output.status.code(), Some(1), "{end}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{end}: {}", stderr(&output));
    }
}

#[test]
fn a_caller_that_is_gone_does_not_stop_the_manager() {
    if reexec::is_child() {
        let announce = daemonize().unwrap();
        publish("before", "detached");
        // The caller's stdin is the test's pipe, and so is ours until we are ready: its end means that the caller is
        // dead.
        io::stdin().read_to_end(&mut Vec::new()).unwrap();
        announce.ready(None, None).unwrap();
        publish("after", "went on");
        exit_at_once(0);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = reexec::child("system::daemonize::tests::a_caller_that_is_gone_does_not_stop_the_manager");
    child.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut caller = child.env("GM_TEST_DIR", dir.path()).spawn().unwrap();
    let stdin = caller.stdin.take();
    read_when_there(&dir.path().join("before"));
    caller.kill().unwrap();
    assert_eq!(caller.wait().unwrap().signal(), Some(9));
    drop(stdin);
    assert_eq!(read_when_there(&dir.path().join("after")), "went on");
}

#[test]
fn in_the_foreground_nothing_changes() {
    if reexec::is_child() {
        StartReport::foreground().ready(Some("a note for the log"), None).unwrap();
        StartReport::foreground().failed(2, "the reason");
        drop(StartReport::foreground());
        publish("after", &std::env::current_dir().unwrap().display().to_string());
        std::process::exit(2);
    }
    let dir = tempfile::tempdir().unwrap();
    let output = call("in_the_foreground_nothing_changes", dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), "the reason\n");
    let canonical = dir.path().canonicalize().unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("after")).unwrap(), canonical.display().to_string());
}
