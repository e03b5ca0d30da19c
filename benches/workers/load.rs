//! The load: jobs submitted and their ends, timed where the caller sees them.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::usage;
use crate::wire::{self, Reader};

/// The function that all workers serve.
pub const FUNCTION: &str = "reverse_string";
/// The function of the library that uneven jobs are for.
pub const UNEVEN: &str = "act";
/// A worker that answers nothing for so long is broken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// So many bytes of jobs are written before their JOB_CREATED is waited for.
const BATCH: usize = 4 << 20;

/// A client's connection.
struct Caller {
    socket: TcpStream,
    reader: Reader,
}

impl Caller {
    fn connect(server: &str) -> Self {
        let socket = TcpStream::connect(server).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(ANSWER_TIMEOUT)).unwrap();
        Self { socket, reader: Reader::default() }
    }

    fn submit(&mut self, kind: u32, workload: &[u8]) {
        self.submit_to(FUNCTION, kind, workload);
    }

    fn submit_to(&mut self, function: &str, kind: u32, workload: &[u8]) {
        let mut out = Vec::new();
        wire::request(&mut out, kind, &[function.as_bytes(), b"", workload]);
        self.socket.write_all(&out).unwrap();
    }

    /// Waits until `count` packets of a kind have come. Others are passed over.
    fn wait(&mut self, kind: u32, count: usize) {
        let mut left = count;
        while left > 0 {
            match self.reader.next() {
                Some((seen, _)) if seen == kind => left -= 1,
                Some(_) => {}
                None => self.fill(),
            }
        }
    }

    fn fill(&mut self) {
        match self.reader.fill(&mut self.socket) {
            Ok(0) => panic!("gearmand ended the connection of a caller"),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("no answer within {ANSWER_TIMEOUT:?}"),
            Err(error) => panic!("a caller: {error}"),
        }
    }
}

/// A queue that is drained: how long that took, measured between the first job's end and the last one's.
///
/// The first job has the priority high and the last one low, and somebody waits for both; so nobody has to ask gearmand
/// how far it is, which would slow it down.
pub struct Drain {
    first: Caller,
    last: Caller,
}

impl Drain {
    /// Fills the queue. No worker may run yet.
    pub fn fill(server: &str, jobs: usize, workload: &[u8]) -> Self {
        let mut drain = Self { first: Caller::connect(server), last: Caller::connect(server) };
        drain.first.submit(wire::SUBMIT_JOB_HIGH, workload);
        drain.first.wait(wire::JOB_CREATED, 1);
        drain.last.submit(wire::SUBMIT_JOB_LOW, workload);
        drain.last.wait(wire::JOB_CREATED, 1);
        let mut filler = Caller::connect(server);
        let mut packet = Vec::new();
        wire::request(&mut packet, wire::SUBMIT_JOB_BG, &[FUNCTION.as_bytes(), b"", workload]);
        let batch = (BATCH / packet.len()).clamp(1, 1000);
        let mut left = jobs;
        while left > 0 {
            let count = left.min(batch);
            filler.socket.write_all(&packet.repeat(count)).unwrap();
            filler.wait(wire::JOB_CREATED, count);
            left -= count;
        }
        drain
    }

    /// Waits for the first job's end.
    pub fn begin(&mut self) -> Instant {
        self.first.wait(wire::WORK_COMPLETE, 1);
        Instant::now()
    }

    /// Waits for the last job's end.
    pub fn end(&mut self) -> Instant {
        self.last.wait(wire::WORK_COMPLETE, 1);
        Instant::now()
    }
}

/// Round trips of one job after the other, sorted.
pub fn ping(server: &str, jobs: usize, workload: &[u8]) -> Vec<Duration> {
    let mut caller = Caller::connect(server);
    let one = |_| {
        let start = Instant::now();
        caller.submit(wire::SUBMIT_JOB, workload);
        caller.wait(wire::WORK_COMPLETE, 1);
        start.elapsed()
    };
    let mut times: Vec<Duration> = (0..jobs).map(one).collect();
    times.sort_unstable();
    times
}

/// Jobs a second with `flight` jobs always under way, and the caller's own processor time per job.
pub fn in_flight(server: &str, flight: usize, jobs: usize, workload: &[u8]) -> (f64, Duration) {
    let mut caller = Caller::connect(server);
    let mut packet = Vec::new();
    wire::request(&mut packet, wire::SUBMIT_JOB, &[FUNCTION.as_bytes(), b"", workload]);
    caller.socket.write_all(&packet.repeat(flight)).unwrap();
    let (start, used) = (Instant::now(), usage::of_this_thread());
    let (mut submitted, mut done) = (flight, 0);
    while done < jobs {
        caller.fill();
        let mut ended = 0;
        while let Some((kind, _)) = caller.reader.next() {
            ended += usize::from(kind == wire::WORK_COMPLETE);
        }
        done += ended;
        let more = ended.min(jobs.saturating_sub(submitted));
        submitted += more;
        caller.socket.write_all(&packet.repeat(more)).unwrap();
    }
    let per_job = (usage::of_this_thread() - used) / u32::try_from(done).unwrap();
    (done as f64 / start.elapsed().as_secs_f64(), per_job)
}

/// Jobs of 20 us and, `long` times in 100,000, of 50 ms, with `flight` of them always under way. Returns how long all of
/// them took, and the round trips of the short ones, sorted.
pub fn uneven(server: &str, flight: usize, jobs: usize, long: u32) -> (Duration, Vec<Duration>) {
    let mut caller = Caller::connect(server);
    // The same jobs for everybody.
    let mut random = fastrand::Rng::with_seed(7);
    let (mut submitted, mut unnamed) = (0, VecDeque::new());
    let (mut open, mut short) = (HashMap::new(), Vec::with_capacity(jobs));
    let (start, mut done) = (Instant::now(), 0);
    while done < jobs {
        while submitted < jobs && submitted - done < flight {
            let is_long = random.u32(..100_000) < long;
            caller.submit_to(UNEVEN, wire::SUBMIT_JOB, if is_long { b"take 50" } else { b"spin 20" });
            unnamed.push_back((Instant::now(), is_long));
            submitted += 1;
        }
        caller.fill();
        while let Some((kind, data)) = caller.reader.next() {
            let handle = data.split(|byte| *byte == 0).next().unwrap();
            match kind {
                wire::JOB_CREATED => drop(open.insert(handle.to_vec(), unnamed.pop_front().unwrap())),
                wire::WORK_COMPLETE => {
                    let (begun, is_long) = open.remove(handle).unwrap();
                    short.extend((!is_long).then(|| begun.elapsed()));
                    done += 1;
                }
                _ => panic!("a job failed"),
            }
        }
    }
    short.sort_unstable();
    (start.elapsed(), short)
}

/// How fast the load alone is: jobs a second that gearmand takes into its queue.
pub fn submit_rate(server: &str, jobs: usize, workload: &[u8]) -> f64 {
    let start = Instant::now();
    Drain::fill(server, jobs, workload);
    jobs as f64 / start.elapsed().as_secs_f64()
}
