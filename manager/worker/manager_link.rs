//! The worker's end of the channel to the manager: the messages it sends and the commands it reads, from any thread.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;

use crate::logging::excerpt;
use crate::system::channel::{Channel, ChannelRead, MAX_MESSAGE};
use crate::system::errors::reason;
use crate::system::{clock, stop_signal};
use crate::worker::messages::{self, Command, JobName, WorkerMessage};

/// A busy worker looks for commands at most this often.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long to wait with a message that must arrive if the manager does not read: it may be suspended, or very busy.
const SEND_TIMEOUT: Duration = Duration::from_secs(600);
/// How long to wait with a log line; after that, lines are counted instead.
const LOG_TIMEOUT: Duration = Duration::from_secs(1);
/// Plugins' log lines, workloads and results are truncated to this many bytes.
const LOG_CUT: usize = 256;
/// The reason why a function cannot be served is truncated to this many bytes: even if JSON escapes each byte as six,
/// it must fit into a message.
pub(crate) const REASON_CUT: usize = 8 * 1024;
/// Marks a truncation.
const TRUNCATED: &str = "...(truncated)";
/// Buffer size for the message of a forked child that returned; if the job's name does not fit, the job is left out.
const RETURNED_CHILD_ROOM: usize = 4096;

/// The worker's end of the channel.
pub(crate) struct ManagerLink {
    channel: Channel,
    /// Identifies the socket: in a forked child, its descriptor number may belong to another file by now.
    socket: Option<(u64, u64)>,
    inbox: Mutex<Inbox>,
    draining: AtomicBool,
    /// A command to offer other functions was read and not carried out yet.
    changes_offer: AtomicBool,
    last_poll_ns: AtomicU64,
    verbosity: AtomicU8,
    dropped: AtomicU64,
}

struct Inbox {
    buffer: Vec<u8>,
    commands: VecDeque<Command>,
}

impl ManagerLink {
    /// Over this channel.
    pub(crate) fn new(channel: Channel, verbosity: u8) -> Self {
        Self {
            socket: channel.identity(),
            channel,
            inbox: Mutex::new(Inbox { buffer: vec![0; 4096], commands: VecDeque::new() }),
            draining: AtomicBool::new(false),
            changes_offer: AtomicBool::new(false),
            last_poll_ns: AtomicU64::new(0),
            verbosity: AtomicU8::new(verbosity),
            dropped: AtomicU64::new(0),
        }
    }

    /// Sends a message that the manager needs. Blocks while the manager does not read. If the channel is closed, the
    /// worker is an orphan.
    pub(crate) fn send(&self, message: &WorkerMessage) {
        self.deliver(message, None);
    }

    /// Sends a message that may be dropped, without blocking. Returns whether it was sent.
    pub(crate) fn try_send(&self, message: &WorkerMessage) -> bool {
        self.channel.send(&messages::encode(message), Duration::ZERO).is_ok()
    }

    /// Sends a message with a copy of a descriptor, or without it if too many are in transit.
    pub(crate) fn send_with_fd(&self, message: &WorkerMessage, fd: BorrowedFd<'_>) {
        self.deliver(message, Some(fd));
    }

    fn deliver(&self, message: &WorkerMessage, mut fd: Option<BorrowedFd<'_>>) {
        let message = messages::encode(message);
        loop {
            let sent = match fd {
                Some(fd) => self.channel.send_fd(&message, fd, SEND_TIMEOUT),
                None => self.channel.send(&message, SEND_TIMEOUT),
            };
            let Err(error) = sent else { return };
            match after_failure(&error) {
                LinkError::Again => {}
                LinkError::WithoutDescriptor if fd.is_some() => fd = None,
                LinkError::Orphaned => return stop_signal::orphaned(),
                LinkError::ChannelGone => return stop_signal::request_stop(),
                LinkError::WithoutDescriptor | LinkError::Lost => {
                    return self.log(
                        1,
                        None,
                        &format!("a message to the manager could not be sent: {}", reason(&error)),
                    );
                }
            }
        }
    }

    /// Whether log records of this level (see [`WorkerMessage::Log`]) are wanted.
    pub(crate) fn wants(&self, level: u8) -> bool {
        level <= highest_wanted(self.verbosity.load(Relaxed))
    }

    /// Other records are wanted from now on.
    pub(crate) fn set_verbosity(&self, verbosity: u8) {
        self.verbosity.store(verbosity, Relaxed);
    }

    /// Sends a log line. A manager that does not read costs a second once; after that, lines are counted until it does.
    pub(crate) fn log(&self, level: u8, job: Option<JobName>, text: &str) {
        self.send_log(&WorkerMessage::Log { level, job, text: cut_long(text, LOG_CUT) });
    }

    /// Logs the beginning of a workload or a result, at -vvvv: `name` and up to 256 bytes.
    pub(crate) fn log_bytes(&self, job: JobName, name: &str, bytes: &[u8]) {
        self.send_log(&WorkerMessage::Log {
            level: 4,
            job: Some(job),
            text: format!("{name}: {}", excerpt(bytes, LOG_CUT)),
        });
    }

    fn send_log(&self, message: &WorkerMessage) {
        let dropped = self.dropped.load(Relaxed);
        let timeout = if dropped == 0 { LOG_TIMEOUT } else { Duration::ZERO };
        if dropped > 0 {
            let sum = messages::encode(&WorkerMessage::Dropped { lines: dropped });
            if self.channel.send(&sum, timeout).is_ok() {
                self.dropped.fetch_sub(dropped, Relaxed);
            }
        }
        if self.channel.send(&messages::encode(message), timeout).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Reads the commands that came, unless they were read within [`POLL_INTERVAL`]. Never waits.
    pub(crate) fn poll_commands(&self, now: Duration) {
        if self.poll_is_due(now) {
            self.read_commands(now);
        }
    }

    /// Whether commands were last read at least [`POLL_INTERVAL`] ago.
    pub(crate) fn poll_is_due(&self, now: Duration) -> bool {
        now.saturating_sub(Duration::from_nanos(self.last_poll_ns.load(Relaxed))) >= POLL_INTERVAL
    }

    /// Reads the commands that came. Never waits.
    pub(crate) fn read_commands(&self, now: Duration) {
        self.note_poll(now);
        let mut inbox = self.inbox();
        let inbox = &mut *inbox;
        loop {
            match self.channel.try_receive(&mut inbox.buffer) {
                Ok(ChannelRead::Message(length, _)) => {
                    if let Ok(command) = messages::decode::<Command>(&inbox.buffer[..length]) {
                        self.draining.fetch_or(command == Command::Drain, Relaxed);
                        self.changes_offer.fetch_or(matches!(command, Command::Offer { .. }), Relaxed);
                        inbox.commands.push_back(command);
                    }
                }
                Ok(ChannelRead::Nothing) => return,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => inbox.buffer.resize(MAX_MESSAGE, 0),
                Ok(ChannelRead::Closed) => return stop_signal::orphaned(),
                Err(error) => match after_failure(&error) {
                    LinkError::Orphaned => return stop_signal::orphaned(),
                    LinkError::ChannelGone => return stop_signal::request_stop(),
                    // Commands will be read again later.
                    LinkError::Again | LinkError::WithoutDescriptor | LinkError::Lost => return,
                },
            }
        }
    }

    /// Remembers that a poll has just found no command.
    pub(crate) fn note_poll(&self, now: Duration) {
        self.last_poll_ns.store(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// The next command that was read and not yet carried out.
    pub(crate) fn next_command(&self) -> Option<Command> {
        self.inbox().commands.pop_front()
    }

    /// Whether the worker is to drain; reads commands if that is due. May be called from any thread.
    pub(crate) fn is_stopping(&self) -> bool {
        self.poll_commands(clock::now());
        self.was_stopping()
    }

    /// Whether the worker had been told to drain when commands were last read.
    pub(crate) fn was_stopping(&self) -> bool {
        self.draining.load(Relaxed) || stop_signal::asked()
    }

    /// Whether to ask for no more jobs until the commands that were read are carried out.
    pub(crate) fn holds_requests(&self) -> bool {
        self.was_stopping() || self.changes_offer.load(Relaxed)
    }

    /// The functions to offer have changed as commanded.
    pub(crate) fn offer_changed(&self) {
        self.changes_offer.store(false, Relaxed);
    }

    /// [`ManagerLink::log`] for a forked child: takes no lock, and what cannot be sent is lost.
    pub(crate) fn log_in_child(&self, level: u8, text: &str) {
        let text = format!("process {}: {}", std::process::id(), cut_long(text, LOG_CUT));
        self.send_in_child(&messages::encode(&WorkerMessage::Log { level, job: None, text }));
    }

    /// Reports that this forked child has returned from a plugin. Takes no lock and no memory.
    pub(crate) fn forked_child_returned(&self, job: Option<(&str, &[u8])>) {
        let mut buffer = [0; RETURNED_CHILD_ROOM];
        let length = messages::encode_came_back(&mut buffer, std::process::id(), job);
        self.send_in_child(&buffer[..length]);
    }

    fn send_in_child(&self, message: &[u8]) {
        if self.socket.is_some() && self.channel.identity() == self.socket {
            // The child has no other way to report a failure.
            let _ = self.channel.send(message, LOG_TIMEOUT);
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for ManagerLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// What follows from an error of the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkError {
    /// The manager is alive but does not read: it is suspended, or very busy.
    Again,
    /// Too many descriptors are in flight (ETOOMANYREFS).
    WithoutDescriptor,
    /// The manager is gone.
    Orphaned,
    /// The descriptor is no longer the channel: a plugin has closed it. No command can be read, so the worker must be
    /// replaced.
    ChannelGone,
    /// This one cannot be sent.
    Lost,
}

/// Only EOF (or EPIPE) means that the manager is gone.
fn after_failure(error: &io::Error) -> LinkError {
    match (error.kind(), error.raw_os_error().map(Errno::from_raw)) {
        (io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset, _) => LinkError::Orphaned,
        (io::ErrorKind::TimedOut, _) | (_, Some(Errno::ENOBUFS | Errno::ENOMEM)) => LinkError::Again,
        (_, Some(Errno::ETOOMANYREFS)) => LinkError::WithoutDescriptor,
        (_, Some(Errno::EBADF | Errno::ENOTSOCK | Errno::ENOTCONN | Errno::EDESTADDRREQ)) => LinkError::ChannelGone,
        _ => LinkError::Lost,
    }
}

/// Which plugin records a verbosity lets through: errors and warnings always, information with the jobs (-vvv), the
/// rest at -vvvv and -vvvvv.
pub(crate) fn highest_wanted(verbosity: u8) -> u8 {
    match verbosity {
        0..=2 => 2,
        3 => 3,
        4 => 4,
        _ => 5,
    }
}

/// At most `most` bytes of `text`, whole characters, and a word if something is missing.
fn cut_long(text: &str, most: usize) -> String {
    if text.len() <= most { text.to_owned() } else { format!("{}{TRUNCATED}", start(text, most)) }
}

/// `text` in at most `most` bytes, including the mark for what is missing.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let message = if TRUNCATED.len() <= most { TRUNCATED } else { "" };
    format!("{}{message}", start(text, most - message.len()))
}

/// The whole characters among the first `most` bytes.
fn start(text: &str, most: usize) -> &str {
    &text[..(0..=most).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::channel;

    #[test]
    fn long_lines_are_cut_between_characters() {
        assert_eq!(cut_long("short", 256), "short");
        assert_eq!(cut_long("ab\u{e9}", 3), "ab...(truncated)");
        assert_eq!(cut_long(&"x".repeat(300), 256), format!("{}...(truncated)", "x".repeat(256)));
        assert_eq!(cut(&"x".repeat(300), 256), format!("{}...(truncated)", "x".repeat(242)));
        assert_eq!(["abc\u{e9}", "abcde"].map(|text| cut(text, 4)), ["abc", "abcd"]);
    }

    #[test]
    fn the_longest_reason_fits_a_message() {
        let reason = cut(&"\u{1}".repeat(1 << 20), REASON_CUT);
        assert!(messages::encode(&WorkerMessage::CannotServe { function: usize::MAX, reason }).len() < MAX_MESSAGE);
    }

    #[test]
    fn only_the_end_of_the_channel_means_that_the_manager_is_gone() {
        let of = |errno: Errno| after_failure(&io::Error::from(errno));
        for (errno, expected) in [
            (Errno::EPIPE, LinkError::Orphaned),
            (Errno::ECONNRESET, LinkError::Orphaned),
            (Errno::ENOBUFS, LinkError::Again),
            (Errno::ENOMEM, LinkError::Again),
            (Errno::ETOOMANYREFS, LinkError::WithoutDescriptor),
            (Errno::EMSGSIZE, LinkError::Lost),
            (Errno::EPERM, LinkError::Lost),
            (Errno::EBADF, LinkError::ChannelGone),
            (Errno::ENOTSOCK, LinkError::ChannelGone),
        ] {
            assert_eq!(of(errno), expected, "{errno}");
        }
        assert_eq!(after_failure(&io::ErrorKind::TimedOut.into()), LinkError::Again);
    }

    /// The kernel's errors for each, so that the table above is about the right ones.
    #[test]
    fn a_channel_fails_as_the_table_has_it() {
        let timeout = Duration::from_millis(1);
        let (a, b) = channel::pair().unwrap();
        let full = loop {
            if let Err(error) = a.send(&[0; 4096], timeout) {
                break error;
            }
        };
        let too_large = channel::pair().unwrap().0.send(&vec![0; 1 << 24], timeout).unwrap_err();
        drop(b);
        let gone = a.send(b"word", timeout).unwrap_err();
        let file = std::fs::File::open("/dev/null").unwrap();
        let no_channel = Channel::from_fd(file.into()).send(b"word", timeout).unwrap_err();
        assert_eq!(
            [full, too_large, gone, no_channel].each_ref().map(after_failure),
            [LinkError::Again, LinkError::Lost, LinkError::Orphaned, LinkError::ChannelGone]
        );
    }

    #[test]
    fn verbosity_lets_records_through_as_documented() {
        assert_eq!([0, 1, 2, 3, 4, 5].map(highest_wanted), [2, 2, 2, 3, 4, 5]);
    }
}
