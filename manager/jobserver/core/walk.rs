//! A random walk over the core: whatever peers do, its tables agree with each other, no worker sleeps while there is a
//! job for it, and every client that stays gets the end of each job it waits for exactly once.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::net::Ipv4Addr;

use fastrand::Rng;

use super::jobs::QueuedJobState;
use super::*;
use crate::gearman::packet::{Decoder, Magic, Priority, Response, Submission, SubmittedJob};

const FUNCTIONS: [&[u8]; 3] = [b"a", b"b", b""];
const UNIQUES: [&[u8]; 4] = [b"", b"u", b"v", b"-"];
const LIMITS: ServerLimits = ServerLimits { queued: 40, held: 2000 };

/// What the peers of the walk know.
#[derive(Default)]
struct Peers {
    open: Vec<ConnectionId>,
    last: u64,
    /// Which worker believes that it has a job. A worker that unregistered the function is wrong.
    given: HashMap<Vec<u8>, ConnectionId>,
    /// Ends of jobs that a client has yet to receive, by handle. Kept for each client: those of a closed one are
    /// dropped.
    owed: BTreeMap<ConnectionId, HashMap<Vec<u8>, u32>>,
}

impl Peers {
    fn open(&mut self, core: &mut ServerCore) {
        self.last += 1;
        let id = ConnectionId(self.last);
        core.opened(id, Ipv4Addr::LOCALHOST.into());
        self.open.push(id);
    }

    /// Receives what was sent, as its peers.
    fn receive(&mut self, core: &ServerCore, answers: ServerReplies, foreground: bool) {
        for (to, answer) in answers {
            assert!(self.open.contains(&to), "an answer for a connection that is closed");
            let mut decoder = Decoder::new(Magic::Response, 1 << 20);
            let bytes = answer.to_bytes();
            assert_eq!(decoder.read_from(|space| bytes.as_slice().read(space)).unwrap(), bytes.len());
            let packet = decoder.next().unwrap().unwrap();
            match Response::parse(packet).unwrap() {
                Response::JobCreated { handle } if foreground => {
                    *self.owed.entry(to).or_default().entry(handle.to_vec()).or_default() += 1;
                }
                Response::JobAssign(job) | Response::JobAssignUniq(job) | Response::JobAssignAll { job, .. } => {
                    self.given.insert(job.handle.to_vec(), to);
                }
                Response::WorkComplete { handle, .. }
                | Response::WorkFail { handle }
                | Response::WorkException { handle, .. } => {
                    let owed = self.owed.get_mut(&to).and_then(|owed| owed.get_mut(handle));
                    *owed.expect("an end that nobody waits for") -= 1;
                    assert!(core.jobs.find(handle).is_none(), "a job that ended is still there");
                }
                _ => {}
            }
        }
    }

    fn still_owed(&self) -> u32 {
        self.owed.values().flat_map(HashMap::values).sum()
    }
}

fn step(core: &mut ServerCore, peers: &mut Peers, random: &mut Rng) {
    if peers.open.len() < 8 && random.u8(..) < 20 || peers.open.is_empty() {
        return peers.open(core);
    }
    let from = peers.open[random.usize(..peers.open.len())];
    let function = FUNCTIONS[random.usize(..FUNCTIONS.len())];
    let workload = vec![b'w'; random.usize(..90)];
    let unique = UNIQUES[random.usize(..UNIQUES.len())];
    let priority = [Priority::Low, Priority::Normal, Priority::High][random.usize(..3)];
    let job = SubmittedJob { function, unique, workload: &workload };
    // One's own job, or another peer's, or one that has ended.
    let given: Vec<&Vec<u8>> = peers.given.keys().collect();
    let handle = if given.is_empty() { b"H:here:1".to_vec() } else { given[random.usize(..given.len())].clone() };
    let handle = handle.as_slice();
    let mut foreground = false;
    let request = match random.u8(..22) {
        0..=2 => {
            // A worker that registers a function while it sleeps is not woken for queued jobs, nor by gearmand: workers
            // grab first.
            let answers = core.handle(from, Request::GrabJob);
            peers.receive(core, answers, false);
            Request::CanDo { function }
        }
        3 => Request::CantDo { function },
        4 => Request::ResetAbilities,
        5 | 6 => Request::PreSleep,
        7..=9 => [Request::GrabJob, Request::GrabJobUniq, Request::GrabJobAll][random.usize(..3)],
        10..=12 => {
            foreground = true;
            Request::Submit { how: Submission::Foreground(priority), job }
        }
        13 => Request::Submit { how: Submission::Background(priority), job },
        14 => Request::Submit { how: Submission::At(random.u64(..1000)), job },
        15 | 16 => Request::WorkComplete { handle, data: b"r" },
        17 => Request::WorkFail { handle },
        18 => Request::WorkException { handle, data: b"e" },
        19 => Request::WorkStatus { handle, done: 1, of: 2 },
        20 => {
            let answers = core.release(random.u64(..1000));
            return peers.receive(core, answers, false);
        }
        _ => {
            peers.open.retain(|open| *open != from);
            peers.owed.remove(&from);
            let answers = core.closed(from);
            return peers.receive(core, answers, false);
        }
    };
    let answers = core.handle(from, request);
    peers.receive(core, answers, foreground);
}

/// Checks that all tables agree on every job.
fn check(core: &ServerCore) {
    let jobs = core.jobs.all();
    let held = |job: &&jobs::QueuedJob| job.workload.len() + job.unique.len() + job.reducer.len();
    assert_eq!(core.jobs.held(), jobs.values().map(held).sum::<usize>());
    assert_eq!(core.waiting, jobs.values().map(|job| job.waiting.len()).sum::<usize>());
    assert!(core.jobs.held() <= LIMITS.held && jobs.len() + core.waiting <= LIMITS.queued);
    for (id, job) in &jobs {
        let function = core.functions.get(&job.function).unwrap();
        match job.state {
            QueuedJobState::Loose => panic!("a job is nowhere"),
            QueuedJobState::Later(at) => assert!(core.next_due().is_some_and(|due| due <= at)),
            QueuedJobState::Queued(place) => assert_eq!(function.queue().get(&place), Some(id)),
            QueuedJobState::Running(worker) => assert!(core.connections[&worker].running.contains(id)),
        }
        assert!(!job.is_abandoned() || matches!(job.state, QueuedJobState::Running(_)), "nobody wants job {id}");
        assert!(job.waiting.iter().all(|client| core.connections[client].waits_for.contains(id)));
    }
    for (name, function) in core.functions.iter() {
        let of = jobs.values().filter(|job| job.function == *name);
        let running = of.clone().filter(|job| matches!(job.state, QueuedJobState::Running(_))).count();
        let queued = of.clone().filter(|job| matches!(job.state, QueuedJobState::Queued(_))).count();
        assert_eq!((function.total, function.running, function.queue().len()), (of.count(), running, queued));
        let offers = core.connections.values().flat_map(|connection| &connection.offers);
        assert_eq!(function.workers.len(), offers.filter(|offered| *offered == name).count());
    }
    for (id, connection) in &core.connections {
        assert!(connection.running.iter().all(|job| jobs[job].state == QueuedJobState::Running(*id)));
        assert!(connection.waits_for.iter().all(|job| jobs[job].waiting.contains(id)));
        let mut offered = connection.offers.iter().map(|name| core.functions.get(name).unwrap());
        assert!(
            connection.sleep != Sleep::Asleep || !offered.any(|function| function.has_work()),
            "asleep beside work"
        );
    }
}

#[test]
fn the_tables_agree_and_every_end_is_received_once() {
    for seed in 0..20 {
        let mut random = Rng::with_seed(seed);
        let identity = ServerIdentity { host: "here".into(), version: String::new(), pid: 1 };
        let (mut core, mut peers) = (ServerCore::new(identity, LIMITS), Peers::default());
        for _ in 0..1000 {
            step(&mut core, &mut peers, &mut random);
            check(&core);
        }
        finish(&mut core, &mut peers);
        assert_eq!(peers.still_owed(), 0, "seed {seed}");
        for id in std::mem::take(&mut peers.open) {
            assert_eq!(core.closed(id), []);
        }
        assert_eq!((core.jobs.count(), core.jobs.held(), core.waiting), (0, 0, 0), "seed {seed}");
    }
}

/// All workers unregister their functions, and one runs all jobs.
fn finish(core: &mut ServerCore, peers: &mut Peers) {
    let answers = core.release(u64::MAX);
    peers.receive(core, answers, false);
    for worker in peers.open.clone() {
        let answers = core.handle(worker, Request::ResetAbilities);
        peers.receive(core, answers, false);
    }
    peers.open(core);
    let worker = peers.open[peers.open.len() - 1];
    for function in FUNCTIONS {
        core.handle(worker, Request::CanDo { function });
    }
    loop {
        peers.given.clear();
        let answers = core.handle(worker, Request::GrabJobUniq);
        peers.receive(core, answers, false);
        let Some(handle) = peers.given.keys().next().cloned() else { break };
        let answers = core.handle(worker, Request::WorkComplete { handle: &handle, data: b"" });
        peers.receive(core, answers, false);
        check(core);
    }
}
