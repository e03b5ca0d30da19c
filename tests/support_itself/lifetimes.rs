//! Nothing a test starts outlives it.

use std::process::Command;
use std::time::Duration;

use nix::unistd::Pid;

use crate::support::child_guard::ChildGuard;
use crate::support::gearmand::Gearmand;
use crate::support::plugins;
use crate::support::program::run;
use crate::support::wait::{DEADLINE, wait_for};
use crate::support::watchdog::{MARK, Watchdog, runs};

fn wait_gone(pid: Pid) {
    wait_for("the end of a process", DEADLINE, || (!runs(pid)).then_some(()));
}

#[test]
fn a_daemon_ends_with_its_handle_also_in_a_panic() {
    let outcome = std::thread::spawn(|| {
        let gearmand = Gearmand::start();
        std::panic::panic_any(gearmand.pid());
    });
    let pid = *outcome.join().unwrap_err().downcast::<Pid>().unwrap();
    wait_gone(pid);
}

#[test]
fn a_daemon_ends_with_its_thread_even_when_its_handle_does_not() {
    let pid = std::thread::spawn(|| {
        let sleeper = ChildGuard::start("sleeper", Command::new("sleep").arg("1000"));
        let pid = sleeper.pid();
        std::mem::forget(sleeper);
        pid
    });
    wait_gone(pid.join().unwrap());
}

/// A process that is not our child any more, and carries that mark.
fn daemonised(mark: &str) -> Pid {
    let mut command = Command::new("sh");
    command.args(["-c", "setsid sleep 1000 > /dev/null 2>&1 & echo $!"]).env(MARK, mark);
    let output = run(&mut command, b"", DEADLINE).unwrap().success();
    Pid::from_raw(String::from_utf8(output).unwrap().trim().parse().unwrap())
}

#[test]
fn a_daemonised_process_ends_with_its_watchdog() {
    let mark = format!("dropped by {}", std::process::id());
    let watchdog = Watchdog::over(&mark);
    let pid = daemonised(&mark);
    drop(watchdog);
    wait_gone(pid);
}

#[test]
fn a_daemonised_process_ends_with_its_test() {
    let mark = format!("let go by {}", std::process::id());
    let mut watchdog = Watchdog::over(&mark);
    let pid = daemonised(&mark);
    wait_for("the sleeper", DEADLINE, || watchdog.marked().contains(&pid).then_some(()));
    watchdog.disarm();
    wait_gone(pid);
}

#[test]
fn a_program_that_hangs_is_ended() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo so far; exec sleep 1000"]);
    let hung = run(&mut command, b"", Duration::from_millis(300)).unwrap_err();
    assert_eq!(hung.stdout, b"so far\n");
}

#[test]
fn a_program_gets_its_input_and_gives_its_output() {
    let mut command = Command::new("sh");
    command.args(["-c", "cat; echo oh >&2; exit 7"]);
    let input = vec![b'x'; 1_000_000];
    let finished = run(&mut command, &input, DEADLINE).unwrap();
    assert_eq!((finished.code(), finished.err().as_str()), (Some(7), "oh\n"));
    assert!(finished.stdout == input);
}

#[test]
fn plugins_are_built_once() {
    const SOURCE: &str = "#[unsafe(no_mangle)]\npub static tiny: u8 = 1;\n";
    let threads: Vec<_> = (0..2).map(|_| std::thread::spawn(|| plugins::rust("tiny", SOURCE))).collect();
    let mut paths: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    paths.dedup();
    assert_eq!(paths.len(), 1);
    paths.push(plugins::c("tiny", "const unsigned char tiny = 1;\n"));
    paths.push(plugins::example("reverse_string"));
    for path in paths {
        assert!(std::fs::read(&path).unwrap().starts_with(b"\x7fELF"), "{}", path.display());
    }
}
