//! The local syslog socket: facility daemon, a severity per level, found again after syslogd was restarted.

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Local};
use syslog::{Facility, LogFormat, LoggerBackend, Severity};

use super::write_retry::WriteRetry;
use super::{Level, LogLine, cut};

/// What stands before the pid in a line, and what `journalctl -t` is asked for.
const TAG: &str = "gm-native";

/// rsyslog's and RFC 5424's measure of what a receiver takes; journald takes more.
const LONGEST: usize = 8000;

type SyslogSocket = syslog::Logger<LoggerBackend, Rfc3164>;

/// A connection to syslogd, or the wish for one: the `syslog` crate keeps a socket whose other end is gone for ever, so
/// a line that is not taken is tried once more on a new connection, and each line looks for syslogd again.
pub(super) struct Syslog {
    path: PathBuf,
    connection: Option<SyslogSocket>,
    /// Whether the socket blocks, so that fcntl is called only when that changes.
    waits: bool,
    write_retry: WriteRetry,
}

impl Syslog {
    /// A syslogd that is not there (yet) is no error: a line in the log reports it.
    pub(super) fn open(path: PathBuf) -> Self {
        let mut syslog = Self { path, connection: None, waits: false, write_retry: WriteRetry::default() };
        let _ = syslog.connect();
        syslog
    }

    /// Whether it answered when it was tried last.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    pub(super) fn write(&mut self, line: &LogLine<'_>) -> io::Result<()> {
        if self.connection.is_some() {
            match self.send(line) {
                Err(error) if is_stuck(&error) => return Err(error),
                Err(_) => self.connection = None,
                Ok(()) => return Ok(()),
            }
        }
        self.connect()?;
        self.send(line)
    }

    /// Looks for syslogd again.
    pub(super) fn connect(&mut self) -> io::Result<()> {
        self.connection = None;
        let connection = syslog::unix_custom(Rfc3164, &self.path).map_err(plain)?;
        self.connection = Some(connection);
        self.waits = true;
        self.set_waiting(true)
    }

    /// Sends a line. A syslogd that does not read is waited for as long as `WriteRetry` allows.
    fn send(&mut self, line: &LogLine<'_>) -> io::Result<()> {
        let wait = self.write_retry.left(Instant::now());
        if self.waits == wait.is_zero() {
            self.set_waiting(!wait.is_zero())?;
        }
        let Some(connection) = &mut self.connection else { return Err(ErrorKind::NotConnected.into()) };
        let sent = match line.level {
            Level::Error => connection.err(line),
            Level::Warn => connection.warning(line),
            Level::Info | Level::Proc | Level::Worker => connection.info(line),
            Level::Debug | Level::Crazy => connection.debug(line),
        };
        sent.map_err(plain).inspect_err(|error| {
            if is_stuck(error) && !wait.is_zero() {
                self.write_retry.exhaust(Instant::now());
            }
        })
    }

    fn set_waiting(&mut self, waits: bool) -> io::Result<()> {
        let timeout = Some(self.write_retry.left(Instant::now())).filter(|wait| !wait.is_zero() && waits);
        match self.connection.as_ref().map(|connection| &connection.backend) {
            Some(LoggerBackend::Unix(socket)) => set_socket(
                timeout,
                |timeout| socket.set_write_timeout(timeout),
                |nonblocking| socket.set_nonblocking(nonblocking),
            )?,
            Some(LoggerBackend::UnixStream(stream)) => set_socket(
                timeout,
                |timeout| stream.get_ref().set_write_timeout(timeout),
                |nonblocking| stream.get_ref().set_nonblocking(nonblocking),
            )?,
            _ => {}
        }
        self.waits = waits;
        Ok(())
    }
}

impl std::fmt::Debug for Syslog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Syslog").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Makes a socket wait so long, or not at all.
fn set_socket(
    timeout: Option<Duration>,
    set_timeout: impl FnOnce(Option<Duration>) -> io::Result<()>,
    set_nonblocking: impl FnOnce(bool) -> io::Result<()>,
) -> io::Result<()> {
    if timeout.is_some() {
        set_timeout(timeout)?;
    }
    set_nonblocking(timeout.is_none())
}

fn is_stuck(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The system's own error out of the crate's.
fn plain(error: syslog::Error) -> io::Error {
    match error {
        syslog::Error::Write(error) | syslog::Error::Io(error) => error,
        syslog::Error::Initialization(error) => match error.downcast::<syslog::Error>() {
            Ok(inner) => plain(*inner),
            Err(other) => io::Error::other(other),
        },
    }
}

/// What local syslog daemons read. The crate's own formatter stamps UTC, which they take for local time.
#[derive(Clone, Debug)]
struct Rfc3164;

impl LogFormat<&LogLine<'_>> for Rfc3164 {
    fn format<W: Write>(&self, to: &mut W, severity: Severity, line: &LogLine<'_>) -> syslog::Result<()> {
        let priority = Facility::LOG_DAEMON as u8 | severity as u8;
        let date = local_date(line.at);
        let text = cut(line.text, LONGEST);
        write!(to, "<{priority}>{date} {TAG}[{}]: {} {text}", line.pid, line.level).map_err(syslog::Error::Write)
    }
}

/// `Nov  4 12:00:00`, the day padded with a space.
fn local_date(at: SystemTime) -> impl std::fmt::Display {
    DateTime::<Local>::from(at).format("%b %e %H:%M:%S")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::{UnixDatagram, UnixListener};
    use std::path::Path;
    use std::time::UNIX_EPOCH;

    use super::*;

    fn syslogd(path: &Path) -> UnixDatagram {
        let _ = fs::remove_file(path);
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    }

    fn receive(syslogd: &UnixDatagram) -> String {
        let mut datagram = [0; 16384];
        let length = syslogd.recv(&mut datagram).unwrap();
        String::from_utf8(datagram[..length].to_vec()).unwrap()
    }

    fn send(syslog: &mut Syslog, level: Level, text: &str) -> io::Result<()> {
        syslog.write(&LogLine { level, at: UNIX_EPOCH, pid: 1234, text })
    }

    #[test]
    fn each_level_has_its_severity() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let daemon = syslogd(&path);
        let mut syslog = Syslog::open(path);
        assert!(syslog.is_connected());
        // Facility daemon is 3 << 3 = 24; err 3, warning 4, info 6, debug 7.
        let priorities = [27, 28, 30, 30, 30, 31, 31];
        for (level, priority) in Level::ALL.into_iter().zip(priorities) {
            send(&mut syslog, level, "message").unwrap();
            let date = DateTime::<Local>::from(UNIX_EPOCH).format("%b %e %H:%M:%S").to_string();
            assert_eq!(receive(&daemon), format!("<{priority}>{date} gm-native[1234]: {level} message"));
        }
    }

    #[test]
    fn found_again_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let daemon = syslogd(&path);
        let mut syslog = Syslog::open(path.clone());
        send(&mut syslog, Level::Info, "before").unwrap();
        assert!(receive(&daemon).ends_with("before"));

        drop(daemon);
        send(&mut syslog, Level::Info, "lost").unwrap_err();
        fs::remove_file(&path).unwrap();
        assert_eq!(send(&mut syslog, Level::Info, "lost").unwrap_err().kind(), ErrorKind::NotFound);
        assert!(!syslog.is_connected());

        let daemon = syslogd(&path);
        send(&mut syslog, Level::Info, "after").unwrap();
        assert!(receive(&daemon).ends_with("after"));

        // Restarted between two lines: the second one finds the new socket without a loss.
        drop(daemon);
        let daemon = syslogd(&path);
        send(&mut syslog, Level::Info, "again").unwrap();
        assert!(receive(&daemon).ends_with("again"));
    }

    #[test]
    fn not_there_at_the_start_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut syslog = Syslog::open(path.clone());
        assert!(!syslog.is_connected());
        send(&mut syslog, Level::Info, "lost").unwrap_err();
        let daemon = syslogd(&path);
        send(&mut syslog, Level::Info, "there").unwrap();
        assert!(receive(&daemon).ends_with("there"));
    }

    #[test]
    fn one_that_does_not_read_is_not_waited_for_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let daemon = syslogd(&path);
        let mut syslog = Syslog::open(path);
        while send(&mut syslog, Level::Info, "fill the queue").is_ok() {}
        for _ in 0..20 {
            assert!(is_stuck(&send(&mut syslog, Level::Info, "lost").unwrap_err()));
        }
        receive(&daemon);
        send(&mut syslog, Level::Info, "room again").unwrap();
    }

    #[test]
    fn a_stream_socket_is_spoken_to_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let listener = UnixListener::bind(&path).unwrap();
        let mut syslog = Syslog::open(path);
        send(&mut syslog, Level::Info, "one").unwrap();
        drop(syslog);
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = String::new();
        io::Read::read_to_string(&mut stream, &mut received).unwrap();
        assert!(received.ends_with("one\0"), "{received:?}");
    }

    #[test]
    fn a_very_long_line_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let daemon = syslogd(&path);
        let mut syslog = Syslog::open(path);
        send(&mut syslog, Level::Info, &"x".repeat(1 << 20)).unwrap();
        assert!(receive(&daemon).ends_with("xxx...(truncated)"));
    }
}
