//! A child process of a command, from its start to its end.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::sys::signal::{Signal as Number, kill, killpg};
use nix::unistd::Pid;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::yield_now;

use crate::system::channel::{self, Channel, ChannelRead, MAX_MESSAGE};
use crate::system::child_poller::{ChildFd, ChildId, ChildPoller};
use crate::system::reap::{self, Reaped};
use crate::system::spawn::{self, ChildProgram, Program};

/// How many messages to read in a row.
const MESSAGES_PER_READ: usize = 64;
/// How many messages to read of an exited child: more than the kernel queues, unless the child enlarged the queue.
const LAST_MESSAGES: usize = 1024;

/// A child that was started.
pub(super) struct HelperProcess {
    pid: Pid,
    channel: Channel,
    poller: ChildPoller,
    ended: Signal,
    interrupted: Signal,
    terminated: Signal,
    quit: Signal,
    buffer: Vec<u8>,
    seen: VecDeque<HelperEvent>,
}

/// An event of the child, or for it.
#[derive(Debug)]
pub(super) enum HelperEvent {
    /// It sent a message.
    Message(Vec<u8>),
    /// The user asked to stop: Ctrl-C, TERM, or QUIT.
    StopRequested,
    /// It has exited. All its messages came before.
    Ended(Reaped),
}

impl HelperProcess {
    /// Starts this program in another role. What the child prints, even on standard output, goes to this process's
    /// standard error. Call it inside a runtime, on the main thread.
    ///
    /// # Errors
    /// The system's: no more processes or descriptors, or no `/proc`.
    pub(super) fn start(program: &mut Program, role: &str, extra: Vec<OwnedFd>) -> io::Result<Self> {
        // Before the child starts, so that none of its signals is missed.
        let [ended, interrupted, terminated, quit] =
            [SignalKind::child(), SignalKind::interrupt(), SignalKind::terminate(), SignalKind::quit()].map(signal);
        let (ended, interrupted, terminated, quit) = (ended?, interrupted?, terminated?, quit?);
        let (ours, theirs) = channel::pair()?;
        let poller = ChildPoller::new()?;
        poller.listen(&ours, ChildId(0), ChildFd::Channel)?;
        let output = || io::stderr().as_fd().try_clone_to_owned();
        let child = spawn::ChildCommand {
            role,
            program: ChildProgram::Own,
            channel: theirs.into_fd(),
            extra,
            output: (output()?, output()?),
            outlives_us: false,
        };
        let pid = program.spawn(child)?;
        let (buffer, seen) = (vec![0; MAX_MESSAGE], VecDeque::new());
        Ok(Self { pid, channel: ours, poller, ended, interrupted, terminated, quit, buffer, seen })
    }

    /// Sends a message; it must fit the socket's buffer, since the child does not read yet.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn send(&self, message: &[u8]) -> io::Result<()> {
        self.channel.send(message, Duration::ZERO)
    }

    /// Waits for the next event. Cancel safe.
    ///
    /// # Errors
    /// The system's; none is known.
    pub(super) async fn next(&mut self) -> io::Result<HelperEvent> {
        loop {
            if let Some(seen) = self.seen.pop_front() {
                return Ok(seen);
            }
            tokio::select! {
                biased;
                _ = self.ended.recv() => self.reap(),
                _ = self.interrupted.recv() => return Ok(HelperEvent::StopRequested),
                _ = self.terminated.recv() => return Ok(HelperEvent::StopRequested),
                _ = self.quit.recv() => return Ok(HelperEvent::StopRequested),
                () = poll_fn(|context| self.poller.poll(context)) => {
                    // A real yield: a child that keeps sending must not starve signals and timers.
                    yield_now().await;
                    while self.poller.next_ready().is_some() {}
                    self.read_messages(MESSAGES_PER_READ);
                }
            }
        }
    }

    /// Asks it to stop, as a manager would.
    pub(super) fn request_stop(&self) {
        // An error means that it has just ended.
        let _ = kill(self.pid, Number::SIGTERM);
    }

    /// Kills it and whatever it started in its process group.
    pub(super) fn kill(&self) {
        // An error means that the group is empty.
        let _ = killpg(self.pid, Number::SIGKILL);
    }

    /// Reads at most `most` messages.
    fn read_messages(&mut self, most: usize) {
        for _ in 0..most {
            match self.channel.try_receive(&mut self.buffer) {
                Ok(ChannelRead::Message(length, _)) => {
                    self.seen.push_back(HelperEvent::Message(self.buffer[..length].to_vec()))
                }
                Ok(ChannelRead::Nothing) => return,
                // The end of its messages is not its own end.
                Ok(ChannelRead::Closed) | Err(_) => return self.poller.forget(&self.channel),
            }
        }
    }

    fn reap(&mut self) {
        while let Some(reaped) = reap::next() {
            if reaped.pid == self.pid.as_raw() {
                self.kill();
                self.channel.take_no_more();
                self.read_messages(LAST_MESSAGES);
                self.seen.push_back(HelperEvent::Ended(reaped));
            }
        }
    }
}

/// A runtime for one child.
///
/// # Errors
/// The system's: out of descriptors.
pub(super) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    crate::system::runtime::build(&mut tokio::runtime::Builder::new_current_thread())
}
