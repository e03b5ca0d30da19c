//! Child processes of every kind: started, listened to, reaped.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::Effects;
use super::lookups::LookUp;
use super::probes::Probe;
use crate::logging::{Level, escape};
use crate::supervisor::output::{More, Output};
use crate::supervisor::reconcile::WorkerId;
use crate::system::channel::{self, Channel, Received};
use crate::system::ears::{ChildId, Ear, output_pipe};
use crate::system::errors::reason;
use crate::system::page::PageView;
use crate::system::reap::{self, Reaped};
use crate::system::spawn;
use crate::worker::quota::Quota;

/// Messages of one child taken in one turn of the loop, so that none holds up the others.
const TURN: usize = 64;

/// One child process.
pub struct Child {
    pub pid: Pid,
    pub channel: Channel,
    pub out: Option<Output>,
    pub err: Option<Output>,
    pub kind: Kind,
}

/// What it is for.
pub enum Kind {
    Worker(Worker),
    Probe(Box<Probe>),
    LookUp(LookUp),
}

/// What the manager holds of a worker.
pub struct Worker {
    pub id: WorkerId,
    pub page: PageView,
    /// Names of its functions, in the order of its page.
    pub functions: Vec<String>,
    /// Name and hash of what it was started with.
    pub versions: Vec<(String, String)>,
    /// Copies of its job-server sockets, by the connection's number.
    pub copies: Copies,
    /// How much is still said of processes that its plugins fork and that come back.
    pub forks: Quota,
}

/// Copies of a worker's job-server sockets, by the connection's number: which of its servers, and the socket.
pub type Copies = BTreeMap<u32, (usize, OwnedFd)>;

impl Child {
    /// When it is to be ended; workers are the core's business.
    pub fn deadline(&self) -> Option<Duration> {
        match &self.kind {
            Kind::Worker(_) => None,
            Kind::Probe(probe) => probe.deadline(),
            Kind::LookUp(look_up) => Some(look_up.deadline),
        }
    }
}

impl Effects {
    /// Starts a child and listens to it.
    pub(super) fn spawn(&mut self, role: &str, extra: Vec<OwnedFd>, kind: Kind) -> std::io::Result<ChildId> {
        let (ours, theirs) = channel::pair()?;
        let (out, child_out) = output_pipe()?;
        let (err, child_err) = output_pipe()?;
        self.next_child += 1;
        let id = ChildId(self.next_child);
        self.ears.listen(&ours, id, Ear::Channel)?;
        self.ears.listen(&out, id, Ear::Out)?;
        self.ears.listen(&err, id, Ear::Err)?;
        let child = spawn::Child { role, channel: theirs.into_fd(), extra, output: (child_out, child_err) };
        let pid = self.program.spawn(child)?;
        let (out, err) = (Some(Output::new(out)), Some(Output::new(err)));
        self.children.insert(id, Child { pid, channel: ours, out, err, kind });
        self.pids.insert(pid.as_raw(), id);
        Ok(id)
    }

    /// Kills a child and whatever it started in its process group. To be called before it was reaped.
    pub(super) fn kill(&mut self, id: ChildId) {
        if let Some(child) = self.children.get(&id) {
            reap::signal(child.pid, Signal::SIGKILL);
        }
    }

    pub(super) fn times_out(&mut self, id: ChildId) {
        match self.children.get_mut(&id).map(|child| &mut child.kind) {
            Some(Kind::Probe(probe)) => probe.times_out(),
            Some(Kind::LookUp(look_up)) => look_up.times_out(),
            Some(Kind::Worker(_)) | None => return,
        }
        self.kill(id);
    }

    /// Takes in what a child has to say.
    pub fn hear(&mut self, id: ChildId, ear: Ear) {
        match ear {
            Ear::Channel => self.hear_channel(id, TURN),
            Ear::Out | Ear::Err => self.hear_output(id, ear),
        }
    }

    /// Takes at most `most` messages. A channel that is closed, or abused, is listened to no more; the end of the process
    /// is another matter.
    fn hear_channel(&mut self, id: ChildId, most: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..most {
            let Some(child) = self.children.get_mut(&id) else { break };
            match child.channel.try_receive(&mut buffer) {
                Ok(Received::Message(length, fd)) => self.message(id, &buffer[..length], fd),
                Ok(Received::Nothing) => break,
                Ok(Received::Closed) => {
                    self.ears.forget(&child.channel);
                    break;
                }
                Err(error) => {
                    self.ears.forget(&child.channel);
                    let pid = child.pid;
                    self.trouble(format!(
                        "worker {pid}: what it says cannot be read: {}; it is killed",
                        reason(&error)
                    ));
                    self.kill(id);
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    fn message(&mut self, id: ChildId, message: &[u8], fd: Option<OwnedFd>) {
        match self.children.get_mut(&id).map(|child| &mut child.kind) {
            Some(Kind::Worker(_)) => self.worker_said(id, message, fd),
            Some(Kind::Probe(probe)) => {
                let enough = probe.said(message);
                if enough {
                    self.kill(id);
                }
            }
            Some(Kind::LookUp(look_up)) => look_up.said(message),
            None => {}
        }
    }

    fn hear_output(&mut self, id: ChildId, ear: Ear) {
        let Some(child) = self.children.get_mut(&id) else { return };
        let output = if ear == Ear::Out { &mut child.out } else { &mut child.err };
        let Some(mut taken) = output.take() else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        let more = taken.read(&mut buffer, |line| self.printed(id, ear, line));
        self.buffer = buffer;
        match (more, self.children.get_mut(&id)) {
            (More::Yes, Some(child)) => *(if ear == Ear::Out { &mut child.out } else { &mut child.err }) = Some(taken),
            _ => self.ears.forget(taken.fd()),
        }
    }

    /// What a plugin prints: errors are shown always, since they are often the last thing a process says.
    fn printed(&mut self, id: ChildId, ear: Ear, line: &[u8]) {
        let Some(child) = self.children.get(&id) else { return };
        let pid = child.pid.as_raw();
        let what = match &child.kind {
            Kind::Worker(worker) => crate::supervisor::event::several(&worker.functions),
            Kind::Probe(probe) => format!("{} (probe)", probe.function()),
            Kind::LookUp(_) => "name look-up".into(),
        };
        let (level, name) = if ear == Ear::Out { (Level::Worker, "stdout") } else { (Level::Warn, "stderr") };
        self.log(level, pid, &format!("{what}: {name}: {}", escape(line)));
    }

    /// Takes in every child that has ended.
    pub fn reap(&mut self) {
        while let Some(reaped) = reap::next() {
            match self.pids.remove(&reaped.pid) {
                Some(id) => self.ended(id, &reaped),
                None => self.adopted += 1,
            }
        }
    }

    /// A child is gone: everything it said is heard first, then its end is judged.
    fn ended(&mut self, id: ChildId, reaped: &Reaped) {
        reap::signal_rest(Pid::from_raw(reaped.pid), Signal::SIGKILL);
        self.hear_channel(id, usize::MAX);
        let mut buffer = std::mem::take(&mut self.buffer);
        for ear in [Ear::Out, Ear::Err] {
            let Some(child) = self.children.get_mut(&id) else { break };
            let output = if ear == Ear::Out { child.out.take() } else { child.err.take() };
            if let Some(mut output) = output {
                self.ears.forget(output.fd());
                output.finish(&mut buffer, |line| self.printed(id, ear, line));
            }
        }
        self.buffer = buffer;
        let Some(child) = self.children.remove(&id) else { return };
        self.ears.forget(&child.channel);
        match child.kind {
            Kind::Worker(worker) => self.worker_ended(worker, reaped),
            Kind::Probe(probe) => self.probe_ended(*probe, reaped),
            Kind::LookUp(look_up) => self.look_up_ended(look_up),
        }
    }
}
