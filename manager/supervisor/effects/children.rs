//! Starts, polls and reaps child processes of every kind.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::Effects;
use super::child_reader::{OutputLogger, WorkerOutput};
use super::lookups::Lookup;
use super::post_mortems::PostMortem;
use super::probes::Probe;
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use crate::scoreboard::ScoreboardView;
use crate::supervisor::child_output::ChildOutput;
use crate::supervisor::reconcile::WorkerId;
use crate::system::channel::{self, Channel};
use crate::system::child_poller::{ChildFd, ChildId, output_pipe};
use crate::system::child_table::OrphanGrace;
use crate::system::clock;
use crate::system::reap::{self, Reaped};
use crate::system::spawn::{self, ChildProgram};
use crate::worker::log_rate_limit::LogRateLimit;

/// One child process.
pub(super) struct ManagedChild {
    pub pid: Pid,
    pub channel: Channel,
    pub out: Option<ChildOutput>,
    pub err: Option<ChildOutput>,
    pub kind: ChildKind,
}

/// What it is for.
pub(super) enum ChildKind {
    Worker(WorkerHandle),
    Probe(Box<Probe>),
    LookUp(Lookup),
    PostMortem(Box<PostMortem>),
}

/// What the manager holds for a worker.
pub(super) struct WorkerHandle {
    pub id: WorkerId,
    /// When it was started.
    pub since: Duration,
    pub scoreboard: ScoreboardView,
    /// Names of its functions, in the order of its scoreboard.
    pub functions: Vec<FunctionName>,
    /// What it was started with.
    pub versions: Vec<FunctionVersion>,
    /// Copies of its job-server sockets, by the connection's number.
    pub copies: SocketCopies,
    /// The function that its start is at.
    pub starts: Option<usize>,
    /// How long jobs of each function had run in total when its output was last read, in nanoseconds.
    pub ran: Vec<u64>,
    /// How many more lines are logged about forked processes that return from its plugins.
    pub forks: LogRateLimit,
    /// The manager has killed it.
    pub is_killed: bool,
    /// `max_memory_hard`, in bytes.
    pub max_memory_hard: Option<u64>,
    /// What it has printed and logged last.
    pub output: WorkerOutput,
}

/// Copies of a worker's job-server sockets, by the connection's number: which of its servers, and the socket.
pub(super) type SocketCopies = BTreeMap<u32, (usize, OwnedFd)>;

impl ChildKind {
    /// Probes and look-ups are few and short-lived.
    fn program(&self) -> ChildProgram {
        match self {
            Self::Worker(_) => ChildProgram::Worker,
            Self::Probe(_) | Self::LookUp(_) | Self::PostMortem(_) => ChildProgram::Own,
        }
    }

    /// How long it may go on without the manager.
    fn orphan_grace(&self) -> OrphanGrace {
        match self {
            Self::Worker(_) => OrphanGrace::Grace,
            Self::Probe(_) | Self::LookUp(_) | Self::PostMortem(_) => OrphanGrace::None,
        }
    }
}

impl ChildKind {
    /// Whether an examination is over, although its process may not be.
    pub(super) fn has_result(&self) -> bool {
        matches!(self, Self::PostMortem(post_mortem) if post_mortem.has_result())
    }
}

impl ManagedChild {
    /// When to kill it. The core decides this for workers.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match &self.kind {
            ChildKind::Worker(_) => None,
            ChildKind::Probe(probe) => probe.deadline(),
            ChildKind::LookUp(look_up) => look_up.deadline(),
            ChildKind::PostMortem(post_mortem) => post_mortem.deadline(),
        }
    }
}

impl ManagedChild {
    /// What a worker has printed last.
    pub(super) fn has_printed(&mut self, output: WorkerOutput) {
        if let ChildKind::Worker(worker) = &mut self.kind {
            worker.output = output;
        }
    }

    /// What one of its descriptors is; `None` once the child is gone.
    pub(super) fn fd(&self, child_fd: ChildFd) -> Option<BorrowedFd<'_>> {
        match child_fd {
            ChildFd::Channel => Some(self.channel.as_fd()),
            ChildFd::Out => self.out.as_ref().map(|output| output.fd().as_fd()),
            ChildFd::Err => self.err.as_ref().map(|output| output.fd().as_fd()),
        }
    }
}

/// Finds children by what is known of them.
#[derive(Default)]
pub(super) struct ChildIndex {
    /// Those that are not workers.
    pub(super) short_lived: BTreeSet<ChildId>,
    pids: BTreeMap<i32, ChildId>,
    last: u64,
}

impl ChildIndex {
    fn next_id(&mut self) -> ChildId {
        self.last += 1;
        ChildId(self.last)
    }
}

/// What is known of children that have exited.
#[derive(Default)]
pub(super) struct Reaper {
    /// Whether there may be some that were not reaped yet.
    is_due: bool,
    /// Orphaned processes that the manager had adopted.
    pub(super) adopted: u64,
}

impl Effects {
    /// Starts a child and polls it.
    pub(super) fn spawn(
        &mut self,
        role: &str,
        extra: Vec<OwnedFd>,
        kind: ChildKind,
    ) -> std::io::Result<(ChildId, Pid)> {
        let (ours, theirs) = channel::pair()?;
        let (out, child_out) = output_pipe()?;
        let (err, child_err) = output_pipe()?;
        let id = self.child_index.next_id();
        self.poller.listen(&ours, id, ChildFd::Channel)?;
        self.poller.listen(&out, id, ChildFd::Out)?;
        self.poller.listen(&err, id, ChildFd::Err)?;
        let child = spawn::ChildCommand {
            role,
            program: kind.program(),
            channel: theirs.into_fd(),
            extra,
            output: (child_out, child_err),
            outlives_us: false,
        };
        let pid = self.program.spawn(child)?;
        self.guardian.guard(pid, kind.orphan_grace());
        self.out_of_memory.starts(pid.as_raw());
        let (out, err) = (Some(ChildOutput::new(out)), Some(ChildOutput::new(err)));
        if !matches!(kind, ChildKind::Worker(_)) {
            self.child_index.short_lived.insert(id);
        }
        self.children.insert(id, ManagedChild { pid, channel: ours, out, err, kind });
        self.child_index.pids.insert(pid.as_raw(), id);
        Ok((id, pid))
    }

    /// The children that are not workers: they have deadlines, and are few.
    pub(super) fn short_lived(&self) -> impl Iterator<Item = (ChildId, &ManagedChild)> {
        self.child_index.short_lived.iter().filter_map(|id| Some((*id, self.children.get(id)?)))
    }

    /// Kills a child and its process group. Must be called before the child is reaped.
    pub(super) fn kill(&mut self, id: ChildId) {
        if let Some(child) = self.children.get_mut(&id) {
            if let ChildKind::Worker(worker) = &mut child.kind {
                worker.is_killed = true;
            }
            reap::signal(child.pid, Signal::SIGKILL);
        }
    }

    pub(super) fn times_out(&mut self, id: ChildId) {
        match self.children.get_mut(&id).map(|child| &mut child.kind) {
            Some(ChildKind::Probe(probe)) => probe.times_out(),
            Some(ChildKind::LookUp(look_up)) => look_up.times_out(),
            Some(ChildKind::PostMortem(post_mortem)) => post_mortem.times_out(),
            Some(ChildKind::Worker(_)) | None => return,
        }
        self.kill(id);
    }

    /// SIGCHLD: children have ended.
    pub(crate) fn children_ended(&mut self) {
        self.reaper.is_due = true;
    }

    /// Whether there may be children that have ended and were not taken in yet.
    pub(crate) fn is_reaping(&self) -> bool {
        self.reaper.is_due
    }

    /// Handles the next child that has exited; false if there is none.
    pub(crate) fn reap(&mut self) -> bool {
        let reaped = reap::next();
        self.reaper.is_due = reaped.is_some();
        reaped.inspect(|reaped| self.reaped(reaped)).is_some()
    }

    /// Reads everything that a child has sent so far, and its exit, so that the next decision takes it into account.
    pub(super) fn catch_up(&mut self, id: ChildId) {
        if !self.reap_one(id) {
            self.read_all_messages(id);
        }
    }

    /// Handles the exit of a child, if it has exited.
    fn reap_one(&mut self, id: ChildId) -> bool {
        let reaped = self.children.get(&id).and_then(|child| reap::this(child.pid));
        reaped.inspect(|reaped| self.reaped(reaped)).is_some()
    }

    /// Reads everything that workers have sent so far, and their exits.
    pub(crate) fn catch_up_with(&mut self, workers: &[WorkerId]) {
        let children: Vec<ChildId> = workers.iter().filter_map(|worker| self.workers.get(worker)).copied().collect();
        children.into_iter().for_each(|id| self.catch_up(id));
    }

    /// Reaps the workers that have exited: their scoreboards no longer show a running job.
    pub(crate) fn reap_those(&mut self, workers: &[WorkerId]) {
        let children: Vec<ChildId> = workers.iter().filter_map(|worker| self.workers.get(worker)).copied().collect();
        for id in children {
            self.reap_one(id);
        }
    }

    fn reaped(&mut self, reaped: &Reaped) {
        self.guardian.release(reaped.pid);
        match self.child_index.pids.remove(&reaped.pid) {
            Some(id) => self.ended(id, reaped),
            None if self.guardian.ended(reaped.pid, clock::now()) => self.report_error(format!(
                "the guardian (pid {}), which ends workers that outlive a crash of the manager, {}; another is started",
                reaped.pid, reaped.end
            )),
            None => self.reaper.adopted += 1,
        }
    }

    /// A child has exited: all its messages are read first, then the cause is worked out.
    fn ended(&mut self, id: ChildId, reaped: &Reaped) {
        reap::signal_rest(Pid::from_raw(reaped.pid), Signal::SIGKILL);
        self.read_last_messages(id);
        let Some(mut child) = self.children.remove(&id) else { return };
        self.child_index.short_lived.remove(&id);
        self.poller.forget(&child.channel);
        for (child_fd, output) in [(ChildFd::Out, child.out.take()), (ChildFd::Err, child.err.take())] {
            if let Some(output) = output {
                self.poller.forget(output.fd());
                let output = self.read_leftover_output(OutputLogger::of(&mut child, child_fd), output);
                child.has_printed(output);
            }
        }
        match child.kind {
            ChildKind::Worker(worker) => self.worker_ended(worker, reaped),
            ChildKind::Probe(probe) => self.probe_ended(*probe, reaped),
            ChildKind::LookUp(look_up) => self.look_up_ended(look_up),
            ChildKind::PostMortem(post_mortem) => self.post_mortem_ended(*post_mortem, Some(reaped.end)),
        }
    }
}
