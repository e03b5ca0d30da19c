//! The guardian: a process that sleeps while its manager lives. If the manager dies without killing its children, the
//! guardian kills those that are left. An orphan normally exits by itself once its job is done; the guardian is for one
//! that never returns from a plugin and ignores signals.
//!
//! It has neither a runtime nor a log. It notices the manager's death by EOF on its channel, which a suspended manager
//! keeps open, and finds the children in a table in shared memory.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, chdir, setsid};

use crate::system::channel::{self, Channel, ChannelRead};
use crate::system::child_table::{ChildList, ChildTable, OrphanGrace};
use crate::system::process::Process;
use crate::system::spawn::{self, CHANNEL_FD, ChildProgram, EXTRA_FD, Program, inherited};
use crate::system::{child_exit, clock, limits, memory, proctitle, reap};

/// The hidden argument that makes the program a guardian.
pub(crate) const ROLE: &str = "--gm-native-guardian";

/// The pause before a guardian that has died is replaced.
const PAUSE: Duration = Duration::from_secs(1);

/// The manager's side: the current guardian, and the table of children.
pub(crate) struct Guardian {
    table: ChildTable,
    state: GuardianState,
}

enum GuardianState {
    /// It sleeps at the other end of this.
    Running { pid: Pid, _channel: Channel },
    /// There is none; when to start one.
    Missing { retry_at: Duration },
}

impl Guardian {
    /// No guardian yet; one is due at once.
    ///
    /// # Errors
    /// The system's, out of descriptors or memory.
    pub(crate) fn new(grace: Duration) -> io::Result<Self> {
        Ok(Self { table: ChildTable::new(grace)?, state: GuardianState::Missing { retry_at: Duration::ZERO } })
    }

    /// When [`Guardian::start`] is due.
    pub(crate) fn due(&self) -> Option<Duration> {
        match self.state {
            GuardianState::Running { .. } => None,
            GuardianState::Missing { retry_at } => Some(retry_at),
        }
    }

    /// Starts a guardian, if there is none and one is due.
    ///
    /// # Errors
    /// The system's error. The start is tried again later.
    pub(crate) fn start(&mut self, program: &mut Program, now: Duration) -> io::Result<()> {
        if self.due().is_none_or(|due| now < due) {
            return Ok(());
        }
        self.state = GuardianState::Missing { retry_at: now.saturating_add(PAUSE) };
        let (ours, theirs) = channel::pair()?;
        let nowhere = || std::fs::File::options().write(true).open("/dev/null").map(OwnedFd::from);
        let child = spawn::ChildCommand {
            role: ROLE,
            program: ChildProgram::Worker,
            channel: theirs.into_fd(),
            extra: vec![self.table.share()?],
            output: (nowhere()?, nowhere()?),
            outlives_us: true,
        };
        self.state = GuardianState::Running { pid: program.spawn(child)?, _channel: ours };
        Ok(())
    }

    /// Whether the exited process was the guardian. If so, another one is due.
    pub(crate) fn ended(&mut self, pid: i32, now: Duration) -> bool {
        let ours = matches!(self.state, GuardianState::Running { pid: own, .. } if own.as_raw() == pid);
        if ours {
            self.state = GuardianState::Missing { retry_at: now.saturating_add(PAUSE) };
        }
        ours
    }

    /// A child was started.
    pub(crate) fn guard(&mut self, pid: Pid, grace: OrphanGrace) {
        self.table.add(pid.as_raw(), grace);
    }

    /// A child was reaped.
    pub(crate) fn release(&mut self, pid: i32) {
        self.table.remove(pid);
    }

    /// Sets the grace period for orphans.
    pub(crate) fn set_grace(&self, grace: Duration) {
        self.table.set_grace(grace);
    }

    /// The manager exits, and has killed its children: nothing is left to guard. The guardian is gone before the
    /// manager is, so whoever waits for the manager finds no guardian.
    pub(crate) fn finish(&mut self) {
        if let GuardianState::Running { pid, .. } = self.state {
            reap::signal(pid, Signal::SIGKILL);
            // It sleeps, so that is at once; an error means that it was reaped.
            let _ = waitpid(pid, None);
        }
    }
}

/// Runs the guardian.
pub(crate) fn main() -> ! {
    let (Some(channel), Some(table)) = (inherited(CHANNEL_FD), inherited(EXTRA_FD)) else {
        eprintln!("gm-native: {ROLE} is how a manager provides for its own death; it does nothing by hand");
        child_exit::now(2);
    };
    let Ok(list) = prepare(&table) else { child_exit::now(1) };
    memory::give_back();
    wait_for_end(&Channel::from_fd(channel));
    end(&list);
    child_exit::now(0)
}

/// Blocks all signals except SIGKILL: a signal to the manager's session or control group must not kill the guardian.
fn prepare(table: &OwnedFd) -> io::Result<ChildList> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    proctitle::set(&format!("gm-native: guardian of manager {}", nix::unistd::getppid()));
    proctitle::set_short("gm-guardian");
    // It leads a group already, which forbids it; and it keeps no directory in use.
    let _ = setsid();
    let _ = chdir("/");
    let _ = limits::lift_descriptors();
    ChildList::map(table)
}

fn wait_for_end(channel: &Channel) {
    loop {
        match channel.try_receive(&mut [0; 1]) {
            Ok(ChannelRead::Closed) => return,
            // Nothing is sent here.
            Ok(ChannelRead::Message(..)) | Err(_) => {}
            Ok(ChannelRead::Nothing) => {
                // An error leaves the next look to say what is the matter.
                let _ = poll(&mut [PollFd::new(channel.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
            }
        }
    }
}

/// Kills the remaining children, each at the end of its grace period, and returns when none is left.
fn end(list: &ChildList) {
    let deadline = clock::now().saturating_add(list.grace());
    let mut left = Vec::new();
    for child in list.children() {
        let Some(process) = Process::find(child.pid, child.started) else { continue };
        match child.grace {
            OrphanGrace::None => process.kill(),
            OrphanGrace::Grace => left.push(process),
        }
    }
    loop {
        left.retain(|process| !process.has_ended());
        let now = clock::now();
        if left.is_empty() || now >= deadline {
            return left.iter().for_each(Process::kill);
        }
        let mut watched: Vec<PollFd<'_>> =
            left.iter().filter_map(Process::watched).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut watched, timeout(deadline.saturating_sub(now))) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Out of memory: the deadline is what counts.
            Err(_) => std::thread::sleep(PAUSE.min(deadline.saturating_sub(now))),
        }
    }
}

/// Rounded up, so that the time is over when poll returns.
fn timeout(left: Duration) -> PollTimeout {
    let rounded = left.saturating_add(Duration::from_millis(1));
    PollTimeout::try_from(rounded).unwrap_or(PollTimeout::MAX)
}
