//! Packets from a job server, as a worker or a client reads them.

use super::arguments::{Arguments, name};
use super::{Magic, Packet, PacketError, PacketType};

/// A job as it is assigned to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssignedJob<'a> {
    /// The server's name for the job: unique on that server until it restarts.
    pub handle: &'a [u8],
    /// The function to run.
    pub function: &'a [u8],
    /// The client's name for the job; empty after `GRAB_JOB`, which does not include it.
    pub unique: &'a [u8],
    /// The job's input.
    pub workload: &'a [u8],
}

/// A job's status on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobStatus {
    /// The server has the job: it is queued or running.
    pub known: bool,
    /// A worker runs it.
    pub running: bool,
    /// Progress, out of `of`.
    pub done: u64,
    /// 0 until the worker sent any.
    pub of: u64,
}

/// A packet from a job server, with its arguments named. Borrowed, not copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "a field is the argument the protocol calls by that name")]
pub enum Response<'a> {
    /// There may be a job: a hint to sleeping workers.
    Noop,
    /// No job for this worker now.
    NoJob,
    /// A job, without its unique.
    JobAssign(AssignedJob<'a>),
    /// A job.
    JobAssignUniq(AssignedJob<'a>),
    /// A job, and the function that combines its results.
    JobAssignAll { job: AssignedJob<'a>, reducer: &'a [u8] },
    /// The data of the `ECHO_REQ`.
    EchoRes(&'a [u8]),
    /// The server could not do what was asked. Only code `JOB_NOT_FOUND` means that a job was taken away.
    Error { code: &'a [u8], text: &'a [u8] },
    /// The option that was set.
    OptionRes(&'a [u8]),
    /// The handle of the job just submitted.
    JobCreated { handle: &'a [u8] },
    /// A job's progress.
    WorkStatus { handle: &'a [u8], done: u64, of: u64 },
    /// Data from a running job.
    WorkData { handle: &'a [u8], data: &'a [u8] },
    /// A warning from a running job.
    WorkWarning { handle: &'a [u8], data: &'a [u8] },
    /// A job's result.
    WorkComplete { handle: &'a [u8], data: &'a [u8] },
    /// A job failed.
    WorkFail { handle: &'a [u8] },
    /// A job failed, with data that says why. Only for clients that set the option `exceptions`.
    WorkException { handle: &'a [u8], data: &'a [u8] },
    /// The status of the job with a handle.
    StatusRes { handle: &'a [u8], status: JobStatus },
    /// The status of the job with a unique, and how many clients wait for it.
    StatusResUnique { unique: &'a [u8], status: JobStatus, waiting: u64 },
}

impl<'a> Response<'a> {
    /// Names the arguments of `packet`.
    ///
    /// # Errors
    ///
    /// Too few arguments, or a type that no server sends.
    pub fn parse(packet: Packet<'a>) -> Result<Self, PacketError> {
        Ok(match packet.kind {
            PacketType::Noop => Self::Noop,
            PacketType::NoJob => Self::NoJob,
            PacketType::JobAssign => Self::JobAssign(assigned(packet)?),
            PacketType::JobAssignUniq => Self::JobAssignUniq(assigned_uniq(packet)?),
            PacketType::JobAssignAll => assigned_all(packet)?,
            PacketType::EchoRes => Self::EchoRes(packet.body),
            PacketType::OptionRes => Self::OptionRes(name(packet.body)),
            PacketType::JobCreated => Self::JobCreated { handle: name(packet.body) },
            PacketType::Error => {
                let (code, text) = pair(packet)?;
                Self::Error { code, text }
            }
            PacketType::WorkStatus => {
                let mut arguments = Arguments::of(packet, 3);
                Self::WorkStatus { handle: arguments.next()?, done: arguments.number()?, of: arguments.last_number() }
            }
            PacketType::WorkData => {
                let (handle, data) = pair(packet)?;
                Self::WorkData { handle, data }
            }
            PacketType::WorkWarning => {
                let (handle, data) = pair(packet)?;
                Self::WorkWarning { handle, data }
            }
            PacketType::WorkComplete => {
                let (handle, data) = pair(packet)?;
                Self::WorkComplete { handle, data }
            }
            PacketType::WorkException => {
                let (handle, data) = pair(packet)?;
                Self::WorkException { handle, data }
            }
            PacketType::WorkFail => Self::WorkFail { handle: name(packet.body) },
            PacketType::StatusRes => {
                let mut arguments = Arguments::of(packet, 5);
                let (handle, known, running) = (arguments.next()?, arguments.number()? > 0, arguments.number()? > 0);
                let (done, of) = (arguments.number()?, arguments.last_number());
                Self::StatusRes { handle, status: JobStatus { known, running, done, of } }
            }
            PacketType::StatusResUnique => {
                let mut arguments = Arguments::of(packet, 6);
                let (unique, known, running) = (arguments.next()?, arguments.number()? > 0, arguments.number()? > 0);
                let (done, of) = (arguments.number()?, arguments.number()?);
                let status = JobStatus { known, running, done, of };
                Self::StatusResUnique { unique, status, waiting: arguments.last_number() }
            }
            kind => return Err(PacketError::Direction { kind, magic: Magic::Response }),
        })
    }
}

fn assigned(packet: Packet<'_>) -> Result<AssignedJob<'_>, PacketError> {
    let mut arguments = Arguments::of(packet, 3);
    let (handle, function) = (arguments.next()?, arguments.next()?);
    Ok(AssignedJob { handle, function, unique: b"", workload: arguments.last() })
}

fn assigned_uniq(packet: Packet<'_>) -> Result<AssignedJob<'_>, PacketError> {
    let mut arguments = Arguments::of(packet, 4);
    let (handle, function, unique) = (arguments.next()?, arguments.next()?, arguments.next()?);
    Ok(AssignedJob { handle, function, unique, workload: arguments.last() })
}

fn assigned_all(packet: Packet<'_>) -> Result<Response<'_>, PacketError> {
    let mut arguments = Arguments::of(packet, 5);
    let (handle, function, unique) = (arguments.next()?, arguments.next()?, arguments.next()?);
    let reducer = arguments.next()?;
    Ok(Response::JobAssignAll { job: AssignedJob { handle, function, unique, workload: arguments.last() }, reducer })
}

/// The first argument and the rest.
pub(super) fn pair(packet: Packet<'_>) -> Result<(&[u8], &[u8]), PacketError> {
    let mut arguments = Arguments::of(packet, 2);
    Ok((arguments.next()?, arguments.last()))
}
