//! Reads children's messages and output, a bounded amount at a time from each, so that none holds up another or the
//! loop.
//!
//! A child that has used up its budget is then not read for as long as handling it took: its pipe fills up, and the
//! child blocks.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::Effects;
use super::children::{ChildKind, ManagedChild};
use crate::crash::report::OUTPUT_BYTES;
use crate::logging::{Level, Logger, escape};
use crate::supervisor::child_output::{ChildOutput, LeftoverOutput, PipeState};
use crate::supervisor::out_of_memory::LastWords;
use crate::supervisor::recent_output::{OutputStream, RecentOutput};
use crate::system::channel::ChannelRead;
use crate::system::child_poller::{ChildFd, ChildId};
use crate::system::clock;
use crate::system::errors::reason;

/// How many messages that are mere log lines are read from one child in one iteration.
const MESSAGES: usize = 256;
/// How many messages that become inputs of the core are read from one child in one iteration.
const INPUTS: usize = 16;
/// How many messages are read from a child that has exited: more than the kernel queues, unless the child forced a
/// larger buffer.
const LAST_MESSAGES: usize = 1024;
/// The shortest pause: the resolution of a timer.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// How many pipes of exited children may be read to their end at a time. Beyond that, unread output is lost.
const MAX_LEFTOVER: usize = 256;
/// How long they may delay the manager's exit.
const LEFTOVER_TIMEOUT: Duration = Duration::from_secs(1);

/// Children that are paused, and unread output of those that have exited.
#[derive(Default)]
pub(super) struct ChildReader {
    paused: BTreeSet<(Duration, ChildId, ChildFd)>,
    leftover: VecDeque<(OutputLogger, LeftoverOutput)>,
}

/// What was read from a child.
pub(crate) struct ChildRead {
    child: ChildId,
    child_fd: ChildFd,
    began: Duration,
    left: PipeState,
}

impl ChildRead {
    /// Whether this child's channel has ended.
    pub(super) fn is_last_of(&self, child: ChildId) -> bool {
        self.child == child && self.child_fd == ChildFd::Channel && self.left == PipeState::End
    }
}

/// How a printed line is logged. Standard error is always logged, since it often has a process's last words.
pub(super) struct OutputLogger {
    level: Level,
    pid: u32,
    name: String,
    child_fd: ChildFd,
    /// What it has printed until now; of a worker.
    output: Option<WorkerOutput>,
}

/// What a worker has printed and logged last.
#[derive(Debug, Default)]
pub(super) struct WorkerOutput {
    /// On its standard error.
    pub last_words: LastWords,
    /// Anywhere.
    pub recent: RecentOutput,
}

impl OutputLogger {
    pub(super) fn of(child: &mut ManagedChild, child_fd: ChildFd) -> Self {
        let mut output = None;
        let what = match &mut child.kind {
            ChildKind::Worker(worker) => {
                output = Some(std::mem::take(&mut worker.output));
                worker.output_label(clock::now()).map_or_else(String::new, |name| format!("{name}: "))
            }
            ChildKind::Probe(probe) => format!("{} (probe): ", probe.function()),
            ChildKind::LookUp(_) => "name look-up: ".into(),
            ChildKind::PostMortem(_) => "post-mortem: ".into(),
        };
        let (level, stream) =
            if child_fd == ChildFd::Out { (Level::Worker, "stdout") } else { (Level::Warn, "stderr") };
        let pid = child.pid.as_raw().cast_unsigned();
        Self { level, pid, name: format!("{what}{stream}"), child_fd, output }
    }

    fn log(&mut self, logger: &mut Logger, line: &[u8]) {
        self.note(line);
        if logger.enabled(self.level) {
            logger.line(self.level, self.pid, &format!("{}: {}", self.name, escape(line)));
        }
    }

    /// Keeps a line for the report of a worker's death.
    fn note(&mut self, line: &[u8]) {
        if let Some(WorkerOutput { last_words, recent }) = &mut self.output {
            let stream = if self.child_fd == ChildFd::Err { OutputStream::Stderr } else { OutputStream::Stdout };
            if stream == OutputStream::Stderr {
                last_words.hear(line);
            }
            recent.add(stream, line, clock::now());
        }
    }
}

impl Effects {
    /// Reads from the next child that is ready, up to the budget of one iteration.
    pub(crate) fn poll(&mut self) -> Option<ChildRead> {
        let began = clock::now();
        let (child, child_fd) = self.poller.next_ready()?;
        let left = match child_fd {
            ChildFd::Channel => self.read_channel(child, MESSAGES, INPUTS),
            ChildFd::Out | ChildFd::Err => self.read_output(child, child_fd),
        };
        Some(ChildRead { child, child_fd, began, left })
    }

    /// Called when everything that follows from a read is done: a child that had more to send is paused for as long as
    /// that took.
    pub(crate) fn read(&mut self, read: &ChildRead, now: Duration) {
        let ChildRead { child: id, child_fd, began, left } = *read;
        let Some(child) = self.children.get(&id) else { return };
        let Some(fd) = child.fd(child_fd).filter(|_| left == PipeState::More) else { return };
        self.poller.pause(&fd, id, child_fd);
        let rest = now.saturating_sub(began).max(SHORTEST_PAUSE);
        self.child_reader.paused.insert((now.saturating_add(rest), id, child_fd));
    }

    /// Resumes children whose pause is over.
    pub(crate) fn resume_paused(&mut self, now: Duration) {
        while let Some((_, id, child_fd)) =
            self.child_reader.paused.first().copied().filter(|(until, ..)| now >= *until)
        {
            self.child_reader.paused.pop_first();
            if let Some(fd) = self.children.get(&id).and_then(|child| child.fd(child_fd)) {
                self.poller.resume_paused(&fd, id, child_fd);
            }
        }
    }

    /// When [`Effects::resume_paused`] is due.
    pub(crate) fn resume_due(&self) -> Option<Duration> {
        self.child_reader.paused.first().map(|(until, ..)| *until)
    }

    /// Whether an iteration has left work that can be done at once.
    pub(crate) fn has_work_left(&self) -> bool {
        self.is_reaping() || self.poller.has_ready() || !self.child_reader.leftover.is_empty()
    }

    /// Reads at most `messages` messages, and turns them into at most `inputs` inputs for the core.
    fn read_channel(&mut self, id: ChildId, messages: usize, inputs: usize) -> PipeState {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut left = PipeState::More;
        for _ in 0..messages {
            left = self.read_message(id, &mut buffer);
            if left != PipeState::More || self.inputs.len() >= inputs {
                break;
            }
        }
        self.buffer = buffer;
        left
    }

    /// Reads one message, if there is one. A channel that is closed, or abused, is not read any more; the exit of the
    /// process is handled separately.
    fn read_message(&mut self, id: ChildId, buffer: &mut [u8]) -> PipeState {
        let Some(child) = self.children.get(&id) else { return PipeState::End };
        match child.channel.try_receive(buffer) {
            Ok(ChannelRead::Message(length, fd)) => {
                self.message(id, &buffer[..length], fd);
                PipeState::More
            }
            Ok(ChannelRead::Nothing) => PipeState::Nothing,
            Ok(ChannelRead::Closed) => {
                self.poller.forget(&child.channel);
                PipeState::End
            }
            Err(error) => {
                self.poller.forget(&child.channel);
                let pid = child.pid;
                let text = format!("process {pid}: its messages cannot be read: {}; it is killed", reason(&error));
                self.report_error(text);
                if let Some(ChildKind::Probe(probe)) = self.children.get_mut(&id).map(|child| &mut child.kind) {
                    probe.mark_unread();
                }
                self.kill(id);
                PipeState::End
            }
        }
    }

    fn message(&mut self, id: ChildId, message: &[u8], fd: Option<OwnedFd>) {
        match self.children.get_mut(&id).map(|child| &mut child.kind) {
            Some(ChildKind::Worker(_)) => self.receive_from_worker(id, message, fd),
            Some(ChildKind::Probe(probe)) => {
                let enough = probe.receive(message);
                if enough {
                    self.kill(id);
                }
            }
            Some(ChildKind::LookUp(look_up)) => look_up.receive(message),
            Some(ChildKind::PostMortem(post_mortem)) => post_mortem.receive(message),
            None => {}
        }
    }

    fn read_output(&mut self, id: ChildId, child_fd: ChildFd) -> PipeState {
        let Some(child) = self.children.get_mut(&id) else { return PipeState::End };
        let mut output_logger = OutputLogger::of(child, child_fd);
        let output = if child_fd == ChildFd::Out { &mut child.out } else { &mut child.err };
        let Some(open) = output else { return PipeState::End };
        let left = open.read(|line| output_logger.log(&mut self.event_log.logger, line));
        if left == PipeState::End {
            self.poller.forget(open.fd());
            *output = None;
        }
        child.has_printed(output_logger.output.unwrap_or_default());
        left
    }

    /// What an exited child had sent by then, and no more: its own children may still hold the channel.
    pub(super) fn read_last_messages(&mut self, id: ChildId) {
        if let Some(child) = self.children.get(&id) {
            child.channel.take_no_more();
        }
        self.read_all_messages(id);
    }

    /// At most what is in its channel now.
    pub(super) fn read_all_messages(&mut self, id: ChildId) {
        self.read_channel(id, LAST_MESSAGES, usize::MAX);
    }

    /// Reads what an exited child had printed: at once if it is little, otherwise in later iterations. Returns what a
    /// worker has printed last.
    pub(super) fn read_leftover_output(
        &mut self,
        mut output_logger: OutputLogger,
        output: ChildOutput,
    ) -> WorkerOutput {
        let mut words = LeftoverOutput::new(output);
        words.last_lines(OUTPUT_BYTES, |line| output_logger.note(line));
        let printed = output_logger.output.take().unwrap_or_default();
        if !words.read(|line| output_logger.log(&mut self.event_log.logger, line)) {
            return printed;
        }
        if self.child_reader.leftover.len() < MAX_LEFTOVER {
            self.child_reader.leftover.push_back((output_logger, words));
        } else {
            let text = b"...(the rest is lost: too many processes that had printed much ended at once)";
            output_logger.log(&mut self.event_log.logger, text);
        }
        printed
    }

    /// Reads some of the output that exited children left; false if nothing remains.
    pub(crate) fn read_exited(&mut self) -> bool {
        let Some((mut output_logger, mut words)) = self.child_reader.leftover.pop_front() else { return false };
        if words.read(|line| output_logger.log(&mut self.event_log.logger, line)) {
            self.child_reader.leftover.push_back((output_logger, words));
        }
        true
    }

    /// Reads the rest when the manager exits, since nobody will read it later.
    pub(super) fn read_all_exited(&mut self) {
        let until = clock::now().saturating_add(LEFTOVER_TIMEOUT);
        while clock::now() < until && self.read_exited() {}
    }
}
