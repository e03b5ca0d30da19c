//! S22: job servers and managers on hosts of their own, one of which is cut off at a time. No connection is closed: packets just
//! do not arrive. Jobs of the others go on, nothing spins, and once the cable is in again all is as before.

use std::collections::HashSet;
use std::fs;
use std::time::Instant;

use gm_native::gearman::client::{Client, JobEvent};
use gm_native::gearman::packet::{Priority, Submission};
use nix::unistd::{SysconfVar, sysconf};

use crate::fixture::{library, make_script, serving};
use crate::support::child_guard::ChildGuard;
use crate::support::hosts::{Host, Network};
use crate::support::manager::{Manager, Setup};
use crate::support::wait::{DEADLINE, wait_for};

/// Workers of each manager.
const COUNT: usize = 2;

const INI: &str = "count = 2\necho_interval = 1\necho_timeout = 1\nconnect_timeout = 1";

#[test]
fn whoever_is_cut_off_the_others_go_on_and_it_heals() {
    let done = std::thread::scope(|scope| {
        // Only this thread, and what it starts, is on the network.
        scope
            .spawn(|| match Network::new() {
                Some(network) => cut_off(&mut Fixture::start(network)),
                None => eprintln!("skipped: needs root, and network namespaces with cables between them"),
            })
            .join()
    });
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

struct Fixture {
    servers: Vec<(Host, ChildGuard)>,
    managers: Vec<(Host, Manager)>,
}

impl Fixture {
    fn start(mut network: Network) -> Self {
        let servers: Vec<_> = (0..3)
            .map(|_| {
                let host = network.host();
                let mut gearmand = host.command("env");
                gearmand.args([
                    "sh",
                    "-c",
                    "PATH=$PATH:/usr/sbin exec gearmand --log-file stderr --listen \"$0\" -p 4730",
                ]);
                let process = ChildGuard::start("gearmand", gearmand.arg(host.address()));
                (host, process)
            })
            .collect();
        let addresses: Vec<String> = servers.iter().map(|(host, _)| at(host)).collect();
        for address in &addresses {
            wait_for("gearmand to listen", DEADLINE, || Client::connect(address, DEADLINE, 1024).ok().map(drop));
        }
        let managers = (0..2)
            .map(|_| {
                let host = network.host();
                let setup = Setup::new(&addresses).plugin("act", &library()).ini(INI);
                let program = setup.dir().join("gm-native");
                let real = env!("CARGO_BIN_EXE_gm-native");
                make_script(&program, &format!("#!/bin/sh\nexec {} {real} \"$@\"\n", host.enter().join(" ")));
                let manager = setup.program(program).start();
                (host, manager)
            })
            .collect();
        let fixture = Self { servers, managers };
        fixture.wait_whole();
        fixture
    }

    /// Every worker does jobs of every server. The number of workers that gearmand tells would not show it: it keeps a
    /// connection whose end was lost on the way until it has something to send there.
    #[track_caller]
    fn wait_whole(&self) {
        let all = wait_for("all workers to serve", DEADLINE, || {
            let pids = self.managers.iter().flat_map(|(_, manager)| serving(manager));
            let pids: HashSet<String> = pids.map(|pid| pid.to_string()).collect();
            (pids.len() == COUNT * 2).then_some(pids)
        });
        for (host, _) in &self.servers {
            let mut seen = HashSet::new();
            wait_for("all workers at a server", DEADLINE, || {
                let mut client = Client::connect(&at(host), DEADLINE, 1 << 20).ok()?;
                for _ in 0..all.len() {
                    // Long enough for others to take the next one.
                    client.submit(Submission::Foreground(Priority::Normal), b"act", b"", b"take 20\npid").ok()?;
                }
                for _ in 0..all.len() {
                    let event = client.next_event(Instant::now() + DEADLINE).ok()??.event;
                    let JobEvent::Complete(pid) = event else { panic!("{}: {event:?}", host.address()) };
                    seen.insert(String::from_utf8(pid).unwrap());
                }
                (seen == all).then_some(())
            });
        }
    }

    /// Time of the processor that managers and workers have had, in seconds.
    fn processor_time(&self) -> f64 {
        let hertz = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap() as f64;
        let processes = self.managers.iter().flat_map(|(_, manager)| manager.processes());
        let ticks = processes.filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
            // After state and eleven others: time in user mode, and in the kernel.
            Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
        });
        ticks.sum::<f64>() / hertz
    }

    /// Jobs of these servers are done.
    #[track_caller]
    fn jobs(&self, servers: &[usize]) {
        for server in servers {
            let address = at(&self.servers[*server].0);
            for number in 0..10 {
                let mut client = Client::connect(&address, DEADLINE, 1 << 20).unwrap();
                let how = Submission::Foreground(Priority::Normal);
                client.submit(how, b"act", b"", format!("say {number}").as_bytes()).unwrap();
                let event = client.next_event(Instant::now() + DEADLINE).unwrap().map(|event| event.event);
                let Some(JobEvent::Complete(result)) = event else { panic!("server {server}: {event:?}") };
                assert_eq!(result, number.to_string().into_bytes());
            }
        }
    }
}

fn at(host: &Host) -> String {
    format!("{}:4730", host.address())
}

fn cut_off(fixture: &mut Fixture) {
    fixture.managers.iter_mut().for_each(|(_, manager)| manager.mark());
    let server = at(&fixture.servers[1].0);
    fixture.servers[1].0.plug(false);
    let (begin, before) = (Instant::now(), fixture.processor_time());
    fixture.jobs(&[0, 2]);
    for (_, manager) in &fixture.managers {
        manager.wait_event("server_down", |event| event["server"] == *server);
    }
    fixture.jobs(&[0, 2]);
    nothing_spins(fixture, begin, before);
    fixture.servers[1].0.plug(true);
    fixture.wait_whole();
    fixture.jobs(&[0, 1, 2]);

    fixture.managers[0].1.mark();
    fixture.managers[0].0.plug(false);
    let (begin, before) = (Instant::now(), fixture.processor_time());
    fixture.jobs(&[0, 1, 2]);
    for (host, _) in &fixture.servers {
        let server = at(host);
        fixture.managers[0].1.wait_event("server_down", |event| event["server"] == *server);
    }
    nothing_spins(fixture, begin, before);
    fixture.managers[0].0.plug(true);
    fixture.wait_whole();
    fixture.jobs(&[0, 1, 2]);
}

/// Who spins has all of a processor, or as much as others leave.
#[track_caller]
fn nothing_spins(fixture: &Fixture, begin: Instant, before: f64) {
    let (time, processor) = (begin.elapsed().as_secs_f64(), fixture.processor_time() - before);
    assert!(processor < 0.5 + time / 2.0, "{processor} s of processor time in {time} s");
}
