//! What a service manager is notified of: the test plays systemd's socket.

use std::cell::RefCell;
use std::fs;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::fixture::{acting, wait_serving, workers};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::plugins;
use crate::support::wait::{DEADLINE, wait_for};

/// Half of it is long enough for a loaded machine to be seen a few times in a test.
const WATCHDOG_USEC: &str = "200000";

/// systemd, as far as it listens.
struct Systemd {
    socket: UnixDatagram,
    name: String,
    heard: RefCell<Vec<String>>,
    _dir: Option<TempDir>,
}

impl Systemd {
    fn on_a_path() -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self::of(socket, path.display().to_string(), Some(dir))
    }

    fn abstract_name() -> Self {
        let name = format!("gm-native-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Self::of(socket, format!("@{name}"), None)
    }

    fn of(socket: UnixDatagram, name: String, dir: Option<TempDir>) -> Self {
        socket.set_nonblocking(true).unwrap();
        Self { socket, name, heard: RefCell::default(), _dir: dir }
    }

    fn starts(&self, setup: Setup) -> Setup {
        setup.env("NOTIFY_SOCKET", &self.name)
    }

    /// All messages so far, in order.
    fn heard(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => self.heard.borrow_mut().push(String::from_utf8_lossy(&buffer[..length]).into_owned()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.heard.borrow().clone(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits until so many messages have a line that starts so; returns the last one.
    #[track_caller]
    fn wait(&self, start: &str, count: usize) -> String {
        wait_for(&format!("{count} times {start}, heard {:?}", self.heard()), DEADLINE, || {
            let has = |message: &&String| message.lines().any(|line| line.starts_with(start));
            self.heard().iter().filter(has).nth(count - 1).cloned()
        })
    }

    /// Where in what was heard the first such message stands.
    fn place(&self, start: &str) -> Option<usize> {
        self.heard().iter().position(|message| message.starts_with(start))
    }
}

/// The variables are not those of a worker, nor of the manager's other children.
fn assert_not_inherited(manager: &Manager) {
    let all = workers(manager);
    assert!(!all.is_empty());
    for pid in all {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap();
        let environ = String::from_utf8_lossy(&environ);
        assert!(environ.contains("PATH=") && !environ.contains("NOTIFY_SOCKET"), "{environ}");
        assert!(!environ.contains("WATCHDOG"), "{environ}");
    }
}

#[test]
fn systemd_is_notified_of_start_watchdog_and_stop() {
    let gearmand = Gearmand::start();
    let systemd = Systemd::on_a_path();
    let setup = systemd.starts(acting(&[&gearmand]).ini("count = 3")).env("WATCHDOG_USEC", WATCHDOG_USEC);
    let mut manager = setup.start();
    assert_eq!(systemd.wait("READY=1", 1), "READY=1\n");
    wait_serving(&manager, "act");
    systemd.wait("STATUS=1 function, 3 of 3 workers ready", 1);
    assert!(systemd.place("READY=1") < systemd.place("STATUS="), "{:?}", systemd.heard());
    systemd.wait("WATCHDOG=1", 4);
    assert_not_inherited(&manager);

    manager.signal(Signal::SIGHUP);
    let reloading = systemd.wait("RELOADING=1", 1);
    let stamp = reloading.lines().nth(1).and_then(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(stamp.parse::<u64>().is_ok(), "{reloading}");
    systemd.wait("READY=1", 2);

    assert_eq!(systemd.place("STOPPING=1"), None);
    manager.signal(Signal::SIGTERM);
    assert!(manager.wait_exit().success());
    systemd.wait("STOPPING=1", 1);
    systemd.wait("STATUS=stopping", 1);
}

/// READY means that workers are loaded: a failed start never sends it.
#[test]
fn a_start_that_fails_is_not_ready() {
    let systemd = Systemd::on_a_path();
    let manager = systemd.starts(Setup::new(&["127.0.0.1"])).args(&["--strict"]).prepared();
    fs::write(manager.worker_dir().join("broken.so"), "no library\n").unwrap();
    assert_eq!(manager.run_to_end().code(), Some(1));
    assert_eq!(systemd.place("READY=1"), None, "{:?}", systemd.heard());
}

/// Detached, it sends its process id; and nothing is due without a watchdog.
#[test]
fn in_the_background_the_manager_names_itself() {
    let gearmand = Gearmand::start();
    let systemd = Systemd::abstract_name();
    let manager = systemd.starts(acting(&[&gearmand])).daemonize();
    assert_eq!(systemd.wait("READY=1", 1), format!("READY=1\nMAINPID={}\n", manager.pid()));
    wait_serving(&manager, "act");
    systemd.wait("STATUS=1 function, 1 of 1 workers ready", 1);
    assert_not_inherited(&manager);
    assert_eq!(systemd.place("WATCHDOG=1"), None);
}

/// Also where one of the planned functions never comes.
#[test]
fn ready_does_not_wait_for_a_function_that_fails() {
    let gearmand = Gearmand::start();
    let systemd = Systemd::on_a_path();
    let setup = acting(&[&gearmand]).plugin("NewHangs", &plugins::example("gm_test_author"));
    let manager = systemd.starts(setup.ini("count = 2\nstart_timeout = 1")).start();
    assert_eq!(systemd.wait("READY=1", 1), "READY=1\n");
    wait_serving(&manager, "act");
}
