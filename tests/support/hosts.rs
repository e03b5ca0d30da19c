//! Hosts on a network of the test's own: network namespaces, each connected to a bridge by a cable.

use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};

use super::child_guard::ChildGuard;
use super::wait::{DEADLINE, wait_for};

/// A network. The calling thread is on it, at its bridge, until the thread ends.
pub struct Network {
    hosts: usize,
}

/// A host; [`command`](Self::command) starts programs on it.
pub struct Host {
    /// Keeps the namespace.
    holder: ChildGuard,
    number: usize,
}

impl Network {
    /// Gives this thread a network of its own; `None` if that is not permitted.
    pub fn new() -> Option<Self> {
        let bridge =
            ["link add hub type bridge", "addr add 10.77.0.100/24 dev hub", "link set hub up", "link set lo up"];
        let made = unshare(CloneFlags::CLONE_NEWNET).is_ok() && bridge.iter().all(|args| ip(args));
        made.then_some(Self { hosts: 0 })
    }

    /// Adds a host.
    pub fn host(&mut self) -> Host {
        self.hosts += 1;
        let number = self.hosts;
        let holder = ChildGuard::start("a host", Command::new("unshare").args(["-n", "sleep", "infinity"]));
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        wait_for("a host", DEADLINE, || {
            let its = std::fs::read_link(format!("/proc/{}/ns/net", holder.pid())).ok()?;
            (its != own).then_some(())
        });
        let host = Host { holder, number };
        let (pid, inside) = (host.holder.pid(), |args: &str| {
            let mut command = host.command("ip");
            assert!(command.args(args.split(' ')).status().unwrap().success(), "ip {args}");
        });
        assert!(ip(&format!("link add cable{number} type veth peer name eth{number} netns {pid}")));
        assert!(ip(&format!("link set cable{number} master hub")));
        inside(&format!("addr add {}/24 dev eth{number}", host.address()));
        inside(&format!("link set eth{number} up"));
        inside("link set lo up");
        host.plug(true);
        host
    }
}

impl Host {
    /// Its address.
    pub fn address(&self) -> String {
        format!("10.77.0.{}", self.number)
    }

    /// Plugs its cable in or pulls it out: then no packet passes, and no connection notices.
    pub fn plug(&self, in_it: bool) {
        assert!(ip(&format!("link set cable{} {}", self.number, if in_it { "up" } else { "down" })));
    }

    /// The words that precede a command that runs on it.
    pub fn enter(&self) -> Vec<String> {
        ["nsenter", "-n", "-t", &self.holder.pid().to_string()].map(str::to_owned).to_vec()
    }

    /// A program that runs on it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(&self.enter()[1..]).arg(program);
        command
    }
}

fn ip(args: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(args.split(' ')).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
