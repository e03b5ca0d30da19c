//! A probe as the manager runs one: a process of its own, a socket, a deadline. The process is this test's binary
//! again.

use std::fs;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use gm_native::plugins::name::FunctionName;
use gm_native::plugins::probe;
use gm_native::plugins::probe_result::{ProbeExit, judge_probe};
use gm_native::plugins::rejection::Rejection;
use gm_native::plugins::report::{LoadableLibrary, MAX_MESSAGE, ProbeMessage, ProbeRequest, decode, encode};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair};

/// Set in the process that is a probe.
const CHILD: &str = "GM_NATIVE_TEST_PROBE";

/// How long a probe that has begun to load may load. One that hangs is waited for as long; one that does not, whatever
/// the machine is busy with, has this from its first word on.
const LOADING: Duration = Duration::from_secs(2);

/// Whatever else may take its time.
const DEADLINE: Duration = Duration::from_secs(60);

/// To be called by a test named `probe_child`, and only by it: in a probe's process it serves and ends the process.
pub fn child() {
    if std::env::var_os(CHILD).is_some() {
        // Many of these crash on purpose.
        let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
        std::process::exit(probe::serve(std::io::stdin()));
    }
}

/// The order for a candidate, copied to `copy_to`.
pub fn order(candidate: &Path, function: &str, copy_to: PathBuf) -> ProbeRequest {
    ProbeRequest {
        nonce: format!("{:032x}", fastrand::u128(..)),
        candidate: candidate.to_owned(),
        function: FunctionName::new(function).unwrap(),
        prefix: String::new(),
        copy_to,
        max_size: 1 << 30,
        file_policy: None,
    }
}

/// Runs a probe and judges it.
pub fn run(order: &ProbeRequest) -> Result<LoadableLibrary, Rejection> {
    run_by(order, Command::new(std::env::current_exe().unwrap()))
}

/// As [`run`], with the command that starts this binary given.
pub fn run_by(order: &ProbeRequest, mut command: Command) -> Result<LoadableLibrary, Rejection> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    command.args(["--exact", "probe_child", "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(command);
    let order_bytes = encode(order).unwrap();
    sendmsg::<()>(ours.as_raw_fd(), &[IoSlice::new(&order_bytes)], &[], MsgFlags::MSG_NOSIGNAL, None).unwrap();
    let (ended, messages) = watch(&mut child, &ours);
    let verdict = judge_probe(&order.nonce, ended, &messages);
    if verdict.is_err() {
        let _ = fs::remove_file(&order.copy_to);
    }
    verdict
}

fn watch(child: &mut Child, channel: &OwnedFd) -> (ProbeExit, Vec<Vec<u8>>) {
    let mut messages = Vec::new();
    let mut deadline = Instant::now() + DEADLINE;
    loop {
        // End of file means nothing: a process the library left behind may hold the other end.
        let mut fds = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(10u8)).unwrap();
        let status = child.try_wait().unwrap();
        let heard = messages.len();
        drain(channel, &mut messages);
        if messages[heard..].iter().any(|message| matches!(decode(message), Ok(ProbeMessage::Loading { .. }))) {
            deadline = Instant::now() + LOADING;
        }
        if let Some(status) = status {
            return (ended(status), messages);
        }
        let reported = messages.iter().any(|message| matches!(decode(message), Ok(ProbeMessage::Report(_))));
        if reported || Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            return (if reported { ProbeExit::Stopped } else { ProbeExit::Deadline(LOADING) }, messages);
        }
    }
}

fn drain(channel: &OwnedFd, messages: &mut Vec<Vec<u8>>) {
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        match recv(channel.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) | Err(Errno::EAGAIN | Errno::ECONNRESET) => return,
            Ok(n) => messages.push(buffer[..n].to_vec()),
            Err(e) => panic!("{e}"),
        }
    }
}

fn ended(status: ExitStatus) -> ProbeExit {
    match status.signal() {
        Some(signal) => ProbeExit::Signalled(signal),
        None => ProbeExit::Exited(status.code().unwrap()),
    }
}
