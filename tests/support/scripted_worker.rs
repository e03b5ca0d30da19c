//! A worker that the test scripts, packet by packet.

use std::net::TcpStream;
use std::ops::{Deref, DerefMut};

use gm_native::gearman::packet::{AssignedJob, Magic, Response, encode};

use super::wire::Wire;

/// A worker's connection.
pub struct ScriptedWorker {
    wire: Wire,
}

/// What a GRAB_JOB_UNIQ came to.
enum Grabbed {
    Job(Job),
    Nothing,
    Woken,
    Other,
}

/// A job it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The server's name for it.
    pub handle: Vec<u8>,
    /// Its function.
    pub function: Vec<u8>,
    /// The caller's name for it.
    pub unique: Vec<u8>,
    /// Its input.
    pub workload: Vec<u8>,
}

impl ScriptedWorker {
    /// Connects to HOST:PORT and offers `functions`.
    #[track_caller]
    pub fn offering(server: &str, functions: &[&str]) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        let mut worker = Self { wire: Wire::new(stream, Magic::Response) };
        for function in functions {
            worker.encode(|buf| encode::can_do(buf, function.as_bytes()));
        }
        worker.echo();
        worker
    }

    /// The next packet, whatever it is, as `see` takes it.
    #[track_caller]
    pub fn next<T>(&mut self, see: impl FnOnce(Response<'_>) -> T) -> T {
        self.try_next(see).expect("no packet came: the job server closed the connection, or said nothing")
    }

    /// The next packet as `see` takes it; `None` when none comes in time, or the connection ends.
    #[track_caller]
    pub fn try_next<T>(&mut self, see: impl FnOnce(Response<'_>) -> T) -> Option<T> {
        self.wire.try_packet(|packet| see(Response::parse(packet).unwrap()))
    }

    /// Asks for a job, sleeping until there is one.
    #[track_caller]
    pub fn grab(&mut self) -> Job {
        self.try_grab().expect("no job came")
    }

    /// As [`grab`](Self::grab); `None` when none comes in time, or the connection ends.
    #[track_caller]
    pub fn try_grab(&mut self) -> Option<Job> {
        self.send(&encode::GRAB_JOB_UNIQ);
        loop {
            let answer = self.try_next(|packet| match packet {
                Response::JobAssignUniq(job) => Grabbed::Job(job.into()),
                Response::NoJob => Grabbed::Nothing,
                Response::Noop => Grabbed::Woken,
                // What became of the job before is not asked here.
                Response::Error { .. } => Grabbed::Other,
                other => panic!("not an answer to GRAB_JOB_UNIQ: {other:?}"),
            });
            match answer? {
                Grabbed::Job(job) => return Some(job),
                Grabbed::Nothing => self.send(&encode::PRE_SLEEP),
                Grabbed::Woken => self.send(&encode::GRAB_JOB_UNIQ),
                Grabbed::Other => {}
            }
        }
    }

    /// Completes a job.
    #[track_caller]
    pub fn complete(&mut self, job: &Job, result: &[u8]) {
        self.send_data(encode::work_complete_head, &job.handle, result);
    }

    /// Waits until the server has seen all that was sent.
    #[track_caller]
    pub fn echo(&mut self) {
        self.encode(|buf| encode::echo_req(buf, b"seen?"));
        while !self.next(|packet| matches!(packet, Response::EchoRes(_))) {}
    }
}

/// Serves `functions` on a thread of its own, until the job server goes away.
#[track_caller]
pub fn serve(server: &str, functions: &[&str], mut run: impl FnMut(&mut ScriptedWorker, Job) + Send + 'static) {
    let mut worker = ScriptedWorker::offering(server, functions);
    std::thread::spawn(move || {
        while let Some(job) = worker.try_grab() {
            run(&mut worker, job);
        }
    });
}

impl From<AssignedJob<'_>> for Job {
    fn from(job: AssignedJob<'_>) -> Self {
        Self {
            handle: job.handle.to_vec(),
            function: job.function.to_vec(),
            unique: job.unique.to_vec(),
            workload: job.workload.to_vec(),
        }
    }
}

impl Deref for ScriptedWorker {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl DerefMut for ScriptedWorker {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}
