//! Notifies a service manager of our state, as in sd_notify(3): datagrams to the socket that it names in the
//! environment.
//!
//! Nothing here blocks. A notification that cannot be sent is lost: the service manager has deadlines of its own, and a
//! lost notification is no reason for a manager of workers to fail.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use sd_notify::NotifyState;

const SOCKET: &str = "NOTIFY_SOCKET";
const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// The service manager that started us; if there is none, every call does nothing.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// The process it started, which is not ours any more after daemonizing.
    started: u32,
    /// Half of the watchdog's timeout.
    interval: Option<Duration>,
    /// When the next watchdog notification is due, by [`clock`](super::clock). At once, at first.
    due: Duration,
    status: String,
    phase: NotifyPhase,
}

/// What was sent last. A reload is sent only between READY and STOPPING: READY would end a start that is not complete,
/// or revoke a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NotifyPhase {
    Starting,
    Up,
    Stopping,
}

impl ServiceManager {
    /// Takes the service manager's variables out of the environment, so that no child inherits them: a plugin must not
    /// be able to notify for us by accident.
    ///
    /// Call it in the process that the service manager started, before daemonizing, while it has one thread.
    pub(crate) fn from_env() -> Self {
        let [socket, usec, pid] = [SOCKET, WATCHDOG_USEC, WATCHDOG_PID].map(take);
        let socket = socket.and_then(|name| Some((open().ok()?, address(&name).ok()?)));
        let started = process::id();
        let interval = interval(usec.as_deref(), pid.as_deref(), started).filter(|_| socket.is_some());
        Self { socket, started, interval, due: Duration::ZERO, status: String::new(), phase: NotifyPhase::Starting }
    }

    /// Whether there is a service manager.
    pub(crate) fn listens(&self) -> bool {
        self.socket.is_some()
    }

    /// The start is complete. Sends our process id if it is not the process that was started.
    pub(crate) fn ready(&mut self) {
        self.phase = NotifyPhase::Up;
        let own = process::id();
        match own == self.started {
            true => self.send(&[NotifyState::Ready]),
            false => self.send(&[NotifyState::Ready, NotifyState::MainPid(own)]),
        }
    }

    /// A reload begins; [`reloaded`](Self::reloaded) has to follow, even if it fails.
    pub(crate) fn reloading(&self) {
        if self.phase == NotifyPhase::Up
            && let Ok(now) = NotifyState::monotonic_usec_now()
        {
            self.send(&[NotifyState::Reloading, now]);
        }
    }

    /// A reload is over, whether or not it changed anything.
    pub(crate) fn reloaded(&self) {
        if self.phase == NotifyPhase::Up {
            self.send(&[NotifyState::Ready]);
        }
    }

    /// The stop begins. Sent once.
    pub(crate) fn stopping(&mut self) {
        if std::mem::replace(&mut self.phase, NotifyPhase::Stopping) != NotifyPhase::Stopping {
            self.send(&[NotifyState::Stopping]);
        }
    }

    /// A line for people; sent if it differs from the last one.
    pub(crate) fn status(&mut self, text: &str) {
        if self.status != text {
            text.clone_into(&mut self.status);
            self.send(&[NotifyState::Status(text)]);
        }
    }

    /// When to call [`watchdog`](Self::watchdog) next; `None` without a watchdog.
    pub(crate) fn watchdog_due(&self) -> Option<Duration> {
        self.interval.map(|_| self.due)
    }

    /// Feeds the watchdog: called only by the loop that must not hang.
    pub(crate) fn watchdog(&mut self, now: Duration) {
        if let Some(interval) = self.interval {
            self.due = now.saturating_add(interval);
            self.send(&[NotifyState::Watchdog]);
        }
    }

    fn send(&self, states: &[NotifyState]) {
        if let Some((socket, address)) = &self.socket {
            let text = states.iter().fold(String::new(), |mut text, state| {
                let _ = writeln!(text, "{state}");
                text
            });
            let _ = socket.send_to_addr(text.as_bytes(), address);
        }
    }
}

/// Takes a variable out of the environment.
fn take(name: &str) -> Option<std::ffi::OsString> {
    let value = env::var_os(name)?;
    // SAFETY: the process has one thread (the duty of who calls `from_env`), so nobody reads the environment meanwhile.
    unsafe { env::remove_var(name) };
    Some(value)
}

/// A socket that never blocks.
fn open() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The socket's address: a path, or after an `@` a name in the abstract namespace. The crate supports only paths, so we
/// send ourselves.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path from / on nor @ and a name")),
    }
}

/// Half of the watchdog's timeout, if the watchdog is meant for process `own`.
fn interval(usec: Option<&OsStr>, pid: Option<&OsStr>, own: u32) -> Option<Duration> {
    let number = |text: &OsStr| text.to_str()?.parse::<u64>().ok();
    let meant = pid.is_none_or(|pid| number(pid) == Some(u64::from(own)));
    let usec = number(usec?).filter(|usec| *usec > 1 && meant)?;
    Some(Duration::from_micros(usec / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_path_or_an_abstract_name() {
        let path = address("/run/x".as_ref()).unwrap();
        assert_eq!(path.as_pathname(), Some("/run/x".as_ref()));
        let name = address("@/org/x".as_ref()).unwrap();
        assert_eq!(name.as_abstract_name(), Some(b"/org/x".as_slice()));
        for wrong in ["", "run/x", "vsock:2:1"] {
            assert!(address(wrong.as_ref()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_watchdog_is_fed_at_half_its_time_by_whom_it_means() {
        let half = |usec: &str, pid: Option<&str>| interval(Some(usec.as_ref()), pid.map(OsStr::new), 7);
        assert_eq!(half("3000000", None), Some(Duration::from_millis(1500)));
        assert_eq!(half("3000000", Some("7")), Some(Duration::from_millis(1500)));
        for (usec, pid) in [("3000000", Some("8")), ("3000000", Some("x")), ("0", None), ("-1", None), ("", None)] {
            assert_eq!(half(usec, pid), None, "{usec} {pid:?}");
        }
        assert_eq!(interval(None, Some("7".as_ref()), 7), None);
    }

    fn service(socket: Option<(UnixDatagram, SocketAddr)>) -> ServiceManager {
        let (interval, due) = (None, Duration::ZERO);
        ServiceManager {
            socket,
            started: process::id(),
            interval,
            due,
            status: String::new(),
            phase: NotifyPhase::Starting,
        }
    }

    /// All calls, in the order of a manager's life.
    fn live(service: &mut ServiceManager) {
        service.reloading();
        service.reloaded();
        service.ready();
        service.reloading();
        service.reloaded();
        service.status("well");
        service.status("well");
        service.watchdog(Duration::from_secs(1));
        service.stopping();
        service.stopping();
        service.reloading();
        service.reloaded();
    }

    #[test]
    fn a_reload_is_one_between_start_and_stop_only() {
        let name = format!("@gm-native-unit-{}", process::id());
        let systemd = UnixDatagram::bind_addr(&address(name.as_ref()).unwrap()).unwrap();
        let mut service = service(Some((open().unwrap(), address(name.as_ref()).unwrap())));
        live(&mut service);
        systemd.set_nonblocking(true).unwrap();
        let mut buffer = [0; 256];
        let heard = std::iter::from_fn(|| {
            let length = systemd.recv(&mut buffer).ok()?;
            String::from_utf8_lossy(&buffer[..length]).lines().next().map(str::to_owned)
        });
        let heard: Vec<String> = heard.collect();
        assert_eq!(heard, ["READY=1", "RELOADING=1", "READY=1", "STATUS=well", "STOPPING=1"]);
    }

    #[test]
    fn where_nobody_listens_nothing_is_due() {
        let mut service = service(None);
        live(&mut service);
        assert!(!service.listens() && service.watchdog_due().is_none());
    }
}
