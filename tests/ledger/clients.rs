//! Clients that submit jobs until they have an answer: as many threads, each with one job at a time. Most speak the
//! protocol themselves; some have each job submitted by a process, as users do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gm_native::gearman::client::{Client, JobEvent};
use gm_native::gearman::packet::{Priority, Submission};

use crate::history::{Answer, ClientKind, History, Record, Time, now};
use crate::jobs::Job;
use crate::outsiders;

/// How long a server may take to take a job: longer than any fault lasts.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two looks at whether it is time to give up, and between two tries to connect.
const LOOK: Duration = Duration::from_millis(200);

/// A client's connection, and since when it is there.
struct Connection {
    client: Client,
    since: Time,
}

/// What all clients share.
pub struct Load {
    seed: u64,
    /// HOST:PORT of each server's proxy.
    servers: Vec<String>,
    history: Arc<History>,
    /// The next job, and the one after the last.
    next: AtomicU64,
    end: AtomicU64,
    /// When a job without an answer is lost.
    give_up: OnceLock<Instant>,
    answered: Mutex<u64>,
    changed: Condvar,
}

impl Load {
    /// So many jobs for these servers.
    pub fn new(seed: u64, jobs: u64, servers: Vec<String>, history: Arc<History>) -> Self {
        let (next, end) = (AtomicU64::new(1), AtomicU64::new(jobs + 1));
        let (answered, changed) = (Mutex::new(0), Condvar::new());
        Self { seed, servers, history, next, end, give_up: OnceLock::new(), answered, changed }
    }

    /// Starts the clients.
    pub fn start(self: &Arc<Self>, clients: impl IntoIterator<Item = ClientKind>) -> Vec<JoinHandle<()>> {
        let client = |kind| {
            let load = Arc::clone(self);
            std::thread::spawn(move || load.client(kind))
        };
        clients.into_iter().map(client).collect()
    }

    /// No job is begun any more, and those that were have so long.
    pub fn finish(&self, within: Duration) {
        self.end.store(0, Ordering::Relaxed);
        self.give_up.get_or_init(|| Instant::now() + within);
        self.changed.notify_all();
    }

    /// Whether all jobs have been begun.
    pub fn is_over(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.end.load(Ordering::Relaxed)
    }

    /// How many jobs have been begun.
    pub fn begun(&self) -> u64 {
        self.next.load(Ordering::Relaxed) - 1
    }

    /// Waits until so many more jobs are answered, but no longer than that.
    pub fn wait_answers(&self, more: u64, until: Instant) {
        let mut answered = self.answered.lock().unwrap();
        let wanted = *answered + more;
        while *answered < wanted && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            answered = self.changed.wait_timeout(answered, left).unwrap().0;
        }
    }

    fn pause(&self) {
        self.wait_answers(u64::MAX / 2, Instant::now() + LOOK);
    }

    fn client(&self, kind: ClientKind) {
        let mut connections: Vec<Option<Connection>> = self.servers.iter().map(|_| None).collect();
        loop {
            let number = self.next.load(Ordering::Relaxed);
            if number >= self.end.load(Ordering::Relaxed) {
                return;
            }
            if self.next.compare_exchange(number, number + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                let job = Job::new(self.seed, number, self.servers.len());
                match kind {
                    outsider if outsider.can_submit(&job) => self.run_outside(&job, outsider),
                    _ => self.run(&job, &mut connections),
                }
                *self.answered.lock().unwrap() += 1;
                self.changed.notify_all();
            }
        }
    }

    /// Submits a job, again and elsewhere where the connection breaks.
    fn run(&self, job: &Job, connections: &mut [Option<Connection>]) {
        for attempt in 0.. {
            let server = (job.server + attempt) % self.servers.len();
            let Some(mut connection) = connections[server].take().or_else(|| self.connect(server)) else {
                if self.is_given_up() {
                    return;
                }
                continue;
            };
            let sub = format!("{}.{attempt}", job.number);
            match self.attempt(job, &sub, server, &mut connection.client) {
                Ok(()) => {
                    connections[server] = Some(connection);
                    return;
                }
                Err(why) => self.history.write(Record::Broken { sub, since: connection.since, why }),
            }
            if self.is_given_up() {
                return;
            }
        }
    }

    /// As [`run`](Self::run), by a process for each try.
    fn run_outside(&self, job: &Job, by: ClientKind) {
        for attempt in 0.. {
            let (server, since) = ((job.server + attempt) % self.servers.len(), now());
            let sub = format!("{}.{attempt}", job.number);
            self.submitted(job, &sub, server, by);
            match outsiders::submit(by, &self.servers[server], job, &sub, ANSWER_TIMEOUT) {
                Ok(answer) => {
                    self.history.write(Record::Accepted { sub: sub.clone() });
                    if let Some(answer) = answer {
                        self.history.write(Record::Answered { sub, answer });
                    }
                    return;
                }
                Err(why) => self.history.write(Record::Broken { sub, since, why }),
            }
            if self.is_given_up() {
                return;
            }
            self.pause();
        }
    }

    fn submitted(&self, job: &Job, sub: &str, server: usize, by: ClientKind) {
        let (expected, background) = (job.expected, job.background);
        self.history.write(Record::Submitted { sub: sub.into(), server, expected, background, by });
    }

    fn connect(&self, server: usize) -> Option<Connection> {
        let since = now();
        let client = Client::connect(&self.servers[server], ANSWER_TIMEOUT, 1 << 30).ok();
        let client = client.and_then(|mut client| client.echo(b"?").ok().map(|()| client));
        if client.is_none() {
            self.pause();
        }
        client.map(|client| Connection { client, since })
    }

    /// Submits a job once. An error is a connection that is broken.
    fn attempt(&self, job: &Job, sub: &str, server: usize, client: &mut Client) -> Result<(), String> {
        self.submitted(job, sub, server, ClientKind::Own);
        let how = match job.background {
            true => Submission::Background(Priority::Normal),
            false => Submission::Foreground(Priority::Normal),
        };
        let handle = client.submit(how, job.function.as_bytes(), sub.as_bytes(), &job.workload);
        let handle = handle.map_err(|error| error.to_string())?;
        self.history.write(Record::Accepted { sub: sub.into() });
        if job.background {
            return Ok(());
        }
        let mut warnings = Vec::new();
        while !self.is_given_up() {
            let event = client.next_event(Instant::now() + LOOK).map_err(|error| error.to_string())?;
            let Some(event) = event.filter(|event| event.handle == handle) else { continue };
            let answer = match event.event {
                JobEvent::Warning(text) => {
                    warnings.extend(text);
                    continue;
                }
                JobEvent::Status { .. } | JobEvent::Data(_) => continue,
                JobEvent::Complete(result) => job.answer(sub, &result),
                JobEvent::Fail | JobEvent::Exception(_) => Answer::failed(&warnings),
            };
            self.history.write(Record::Answered { sub: sub.into(), answer });
            return Ok(());
        }
        Ok(())
    }

    fn is_given_up(&self) -> bool {
        self.give_up.get().is_some_and(|end| Instant::now() > *end)
    }
}
