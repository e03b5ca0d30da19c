//! The real job server, started and ended by a test.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use gm_native::gearman::admin;
use gm_native::gearman::client::Client;
use nix::sys::signal::Signal;

use super::child_guard::ChildGuard;
use super::wait::{DEADLINE, wait_for};

/// How long one attempt to reach a server that may not be up yet takes at most.
const LOOK: Duration = Duration::from_secs(2);

/// A gearmand that dies with the test.
///
/// It listens on a loopback address derived from the test's process id, so that no other test, no port that was free a
/// moment ago, and no worker's connection to which the kernel gave the same port can get in its way, even if it is
/// started again.
pub struct Gearmand {
    process: ChildGuard,
    address: SocketAddr,
    args: Vec<String>,
    open_files: Option<u32>,
}

impl Gearmand {
    /// Starts one and waits until it answers.
    #[track_caller]
    pub fn start() -> Self {
        Self::with_args(&[])
    }

    /// Starts one with more arguments, such as `["-j", "1"]`.
    #[track_caller]
    pub fn with_args(args: &[&str]) -> Self {
        Self::launched(args, None)
    }

    /// Starts one with this soft limit of open files; [`limit_open_files`](Self::limit_open_files) raises it.
    #[track_caller]
    pub fn with_open_files(limit: u32) -> Self {
        Self::launched(&[], Some(limit))
    }

    /// Sets the soft limit of open files of the running server.
    #[track_caller]
    pub fn limit_open_files(&self, limit: u32) {
        let (pid, limit) = (self.pid().to_string(), format!("--nofile={limit}:"));
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    }

    #[track_caller]
    fn launched(args: &[&str], open_files: Option<u32>) -> Self {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        // A service of the machine that listens on every address may use one of our ports.
        for _ in 0..50 {
            let address = SocketAddr::new(own_address(), next_port());
            let process = launch(address, &args, open_files);
            let mut gearmand = Self { process, address, args: args.clone(), open_files };
            if gearmand.is_up() {
                return gearmand;
            }
            let output = gearmand.process.output();
            assert!(output.contains("Address already in use"), "gearmand ended: {output}");
        }
        panic!("no port of {} is free", own_address());
    }

    /// HOST:PORT.
    pub fn server(&self) -> String {
        self.address.to_string()
    }

    /// The address it listens on: not 127.0.0.1.
    pub fn host(&self) -> String {
        self.address.ip().to_string()
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its process id, for `/proc`.
    pub fn pid(&self) -> nix::unistd::Pid {
        self.process.pid()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// A client's connection to it.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(&self.server(), DEADLINE, 1 << 30).unwrap()
    }

    /// Its status of a function; `None` if it does not know the function.
    #[track_caller]
    pub fn status(&self, function: &str) -> Option<admin::AdminFunctionStatus> {
        let all = admin::status(&self.server(), DEADLINE).unwrap();
        all.into_iter().find(|status| status.function == function)
    }

    /// Waits until this many connections have registered a function.
    #[track_caller]
    pub fn wait_workers(&self, function: &str, count: u64) {
        wait_for(&format!("{count} workers for {function}"), DEADLINE, || {
            let workers = self.status(function).map_or(0, |status| status.workers);
            (workers == count).then_some(())
        });
    }

    /// SIGKILL: its peers' connections break.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, and waits until it has exited.
    #[track_caller]
    pub fn terminate(&mut self) {
        self.process.signal(Signal::SIGTERM);
        self.process.wait();
    }

    /// SIGSTOP: its connections stay, and it sends nothing.
    #[track_caller]
    pub fn stop(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    #[track_caller]
    pub fn cont(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    /// Kills it if it runs, and starts another on the same port. Its queue is empty, and its handles start at 1 again.
    #[track_caller]
    pub fn restart_same_port(&mut self) {
        self.kill();
        self.process = launch(self.address, &self.args, self.open_files);
        assert!(self.is_up(), "gearmand ended: {}", self.process.output());
    }

    /// Waits until it answers, or has exited.
    #[track_caller]
    fn is_up(&mut self) -> bool {
        wait_for("gearmand to answer", DEADLINE, || {
            if self.process.ended().is_some() {
                return Some(false);
            }
            let mut client = Client::connect(&self.server(), LOOK, 1024).ok()?;
            client.echo(b"up?").is_ok().then_some(true)
        })
    }
}

/// HOST:PORT of an address where nothing listens, nor will another test.
pub fn unused_server() -> String {
    SocketAddr::new(own_address(), next_port()).to_string()
}

#[track_caller]
fn launch(address: SocketAddr, args: &[String], open_files: Option<u32>) -> ChildGuard {
    let mut command = match open_files {
        None => Command::new("gearmand"),
        Some(limit) => {
            let mut command = Command::new("prlimit");
            command.args([&format!("--nofile={limit}:"), "gearmand"]);
            command
        }
    };
    command.args(["--listen", &address.ip().to_string(), "--port", &address.port().to_string()]);
    command.args(["--log-file", "stderr", "--verbose", "INFO"]).args(args);
    // When stopped and continued, it writes a file called `stderr` into its working directory.
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    // Debian puts it where a user's PATH may not include it.
    let path = std::env::var("PATH").unwrap_or_default();
    ChildGuard::start("gearmand", command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin")))
}

/// A loopback address for this process alone: 127.128.0.0 plus the process id, of which Linux uses 22 bits.
pub fn own_address() -> IpAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 128 | high, middle, low))
}

/// Below the ports that the kernel assigns to connections.
fn next_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
