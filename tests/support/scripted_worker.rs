//! A worker that the test scripts, packet by packet.

use std::net::TcpStream;
use std::ops::{Deref, DerefMut};

use gm_native::gearman::packet::{AssignedJob, Magic, Response, encode};

use super::wire::Wire;

/// A worker's connection.
pub struct ScriptedWorker {
    wire: Wire,
}

/// The answer to GRAB_JOB_UNIQ.
enum Grabbed {
    Job(Job),
    Nothing,
    Woken,
    Other,
}

/// An assigned job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The server's name for it.
    pub handle: Vec<u8>,
    /// Its function.
    pub function: Vec<u8>,
    /// The client's name for it.
    pub unique: Vec<u8>,
    /// Its input.
    pub workload: Vec<u8>,
}

impl ScriptedWorker {
    /// Connects to HOST:PORT and registers `functions`.
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

    /// The next packet, of any type, as `see` returns it.
    #[track_caller]
    pub fn next<T>(&mut self, see: impl FnOnce(Response<'_>) -> T) -> T {
        self.try_next(see).expect("no packet came: the job server closed the connection, or said nothing")
    }

    /// The next packet as `see` returns it; `None` if none arrives in time, or the connection ends.
    #[track_caller]
    pub fn try_next<T>(&mut self, see: impl FnOnce(Response<'_>) -> T) -> Option<T> {
        self.wire.try_packet(|packet| see(Response::parse(packet).unwrap()))
    }

    /// Grabs a job; sleeps until there is one.
    #[track_caller]
    pub fn grab(&mut self) -> Job {
        self.try_grab().expect("no job came")
    }

    /// As [`grab`](Self::grab); `None` if none arrives in time, or the connection ends.
    #[track_caller]
    pub fn try_grab(&mut self) -> Option<Job> {
        self.send(&encode::GRAB_JOB_UNIQ);
        loop {
            let answer = self.try_next(|packet| match packet {
                Response::JobAssignUniq(job) => Grabbed::Job(job.into()),
                Response::NoJob => Grabbed::Nothing,
                Response::Noop => Grabbed::Woken,
                // How the previous job ended does not matter here.
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

    /// Waits until the server has read everything that was sent.
    #[track_caller]
    pub fn echo(&mut self) {
        self.encode(|buf| encode::echo_req(buf, b"seen?"));
        while !self.next(|packet| matches!(packet, Response::EchoRes(_))) {}
    }
}

/// Serves `functions` on a thread of its own, until the job server closes the connection.
#[track_caller]
pub fn serve(server: &str, functions: &[&str], mut run: impl FnMut(&mut ScriptedWorker, Job) + Send + 'static) {
    let mut worker = ScriptedWorker::offering(server, functions);
    std::thread::spawn(move || {
        while let Some(job) = worker.try_grab() {
            run(&mut worker, job);
        }
    });
}

/// A function for each way a job can end; see [`run_any_way`].
pub const EVERY_WAY: [&str; 5] = ["mirror", "talk", "fail", "warn_and_fail", "exception"];

/// Runs a job of one of the functions of [`EVERY_WAY`].
pub fn run_any_way(worker: &mut ScriptedWorker, job: Job) {
    let handle = &job.handle;
    match job.function.as_slice() {
        b"mirror" => {
            let reversed: Vec<u8> = job.workload.iter().rev().copied().collect();
            worker.complete(&job, &reversed);
        }
        b"talk" => {
            worker.encode(|buf| encode::work_status(buf, handle, 1, 2));
            worker.send_data(encode::work_data_head, handle, b"part \0 one");
            worker.send_data(encode::work_warning_head, handle, b"careful\n");
            worker.complete(&job, b"whole");
        }
        b"fail" => worker.encode(|buf| encode::work_fail(buf, handle)),
        b"warn_and_fail" => {
            worker.send_data(encode::work_warning_head, handle, b"no such file\n");
            worker.encode(|buf| encode::work_fail(buf, handle));
        }
        b"exception" => worker.send_data(encode::work_exception_head, handle, b"why"),
        other => panic!("not registered: {}", other.escape_ascii()),
    }
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
