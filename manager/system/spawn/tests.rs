use std::io::{PipeReader, Read};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::{dup2_raw, getpid};

use super::*;
use crate::system::channel::{self, Channel, ChannelRead};
use crate::system::child_poller::output_pipe;

/// Starts this program for its children.
fn program(path: &str) -> Program {
    let own = Executable::lift(File::open(path).unwrap()).unwrap();
    Program { own, worker: None, slots: Slots::reserve().unwrap(), descriptors: (100, 200) }
}

/// Starts a child with a channel and one more descriptor. Returns our ends of the channel and of its standard output,
/// which are read without waiting.
fn start(program: &mut Program, argument: &str) -> (io::Result<Pid>, Channel, PipeReader) {
    let (ours, theirs) = channel::pair().unwrap();
    let (out, child_out) = output_pipe().unwrap();
    let child = ChildCommand {
        role: argument,
        program: ChildProgram::Own,
        channel: theirs.into_fd(),
        extra: vec![file_holding(b"").unwrap()],
        output: (child_out, io::stderr().as_fd().try_clone_to_owned().unwrap()),
        outlives_us: false,
    };
    (program.spawn(child), ours, out.into())
}

/// What a program prints, run with this argument.
fn printed(path: &str, argument: &str) -> (Pid, String) {
    let (pid, _channel, mut out) = start(&mut program(path), argument);
    let pid = pid.unwrap();
    waitpid(pid, None).unwrap();
    // A child that another test starts at the same time has a copy of the child's end until it executes its program.
    let mut end = [PollFd::new(out.as_fd(), PollFlags::empty())];
    assert_eq!(poll(&mut end, PollTimeout::from(60_000_u16)), Ok(1), "we have no copy of the child's end");
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    (pid, text)
}

#[test]
fn a_child_gets_its_descriptors_and_no_others() {
    let file = file_holding(b"").unwrap();
    // SAFETY: no other test uses this number.
    let _inheritable = unsafe { dup2_raw(&file, 300) }.unwrap();
    // 5 is what `ls` reads the directory with.
    assert_eq!(printed("/bin/ls", "/proc/self/fd").1, "0\n1\n2\n3\n4\n5\n");
}

#[test]
fn a_child_leads_a_group_and_gets_the_limit_we_had() {
    let (pid, stat) = printed("/bin/cat", "/proc/self/stat");
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    assert_eq!(fields[1..3], [getpid().to_string(), pid.to_string()]);
    let (_, limits) = printed("/bin/cat", "/proc/self/limits");
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(open_files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["100", "200"]);
}

#[test]
fn a_failed_exec_is_our_error_and_leaves_no_copy_behind() {
    let mut program = program("/proc/self/status");
    let (started, channel, mut out) = start(&mut program, "role");
    assert_eq!(started.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(out.read(&mut [0]).unwrap(), 0);
    assert!(matches!(channel.try_receive(&mut [0]), Ok(ChannelRead::Closed)));
}

#[test]
fn our_own_signals_are_blocked_no_longer_than_before() {
    let before = SigSet::from(Signal::SIGUSR2).thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK).unwrap();
    printed("/bin/cat", "/proc/self/stat");
    assert_eq!(SigSet::thread_get_mask().unwrap(), SigSet::from(Signal::SIGUSR2));
    before.thread_set_mask().unwrap();
}

#[test]
fn more_descriptors_than_a_child_can_get_are_an_error() {
    let file = || file_holding(b"").unwrap();
    let error = Slots::reserve().unwrap().fill(&[(); SLOTS + 1].map(|()| file())).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}
