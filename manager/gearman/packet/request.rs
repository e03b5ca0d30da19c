//! Packets from a worker or a client, as a job server reads them.

use super::arguments::{Arguments, name};
use super::response::pair;
use super::{Magic, Packet, PacketError, PacketType};

/// The priority of a job in its function's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// After the others.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before the others.
    High,
}

/// How a job is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submission {
    /// The client waits for the result and receives every event of the job.
    Foreground(Priority),
    /// The client receives only the handle.
    Background(Priority),
    /// In the background, at that time or later, in seconds since 1970.
    At(u64),
}

impl Submission {
    /// The type of the packet that submits this way.
    #[must_use]
    pub const fn kind(self) -> PacketType {
        match self {
            Self::Foreground(Priority::Low) => PacketType::SubmitJobLow,
            Self::Foreground(Priority::Normal) => PacketType::SubmitJob,
            Self::Foreground(Priority::High) => PacketType::SubmitJobHigh,
            Self::Background(Priority::Low) => PacketType::SubmitJobLowBg,
            Self::Background(Priority::Normal) => PacketType::SubmitJobBg,
            Self::Background(Priority::High) => PacketType::SubmitJobHighBg,
            Self::At(_) => PacketType::SubmitJobEpoch,
        }
    }
}

/// A job as a client submits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubmittedJob<'a> {
    /// The function to run.
    pub function: &'a [u8],
    /// The client's name for the job; may be empty.
    pub unique: &'a [u8],
    /// The job's input.
    pub workload: &'a [u8],
}

/// A packet to a job server, with its arguments named. Borrowed, not copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "a field is the argument the protocol calls by that name")]
pub enum Request<'a> {
    /// The worker registers a function.
    CanDo { function: &'a [u8] },
    /// The worker registers a function, with a time limit for its jobs.
    CanDoTimeout { function: &'a [u8], milliseconds: u64 },
    /// The worker unregisters a function.
    CantDo { function: &'a [u8] },
    /// The worker unregisters all its functions.
    ResetAbilities,
    /// The worker waits for a `NOOP`.
    PreSleep,
    /// The worker asks for a job: `JOB_ASSIGN` or `NO_JOB`.
    GrabJob,
    /// The worker asks for a job: `JOB_ASSIGN_UNIQ` or `NO_JOB`.
    GrabJobUniq,
    /// The worker asks for a job: `JOB_ASSIGN_ALL` or `NO_JOB`.
    GrabJobAll,
    /// The name the worker is listed under.
    SetClientId(&'a [u8]),
    /// Has no effect.
    AllYours,
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
    /// A job failed, with data that says why.
    WorkException { handle: &'a [u8], data: &'a [u8] },
    /// A new job.
    Submit { how: Submission, job: SubmittedJob<'a> },
    /// A new job for a time of the calendar: minute, hour, day of the month, month, day of the week (Monday is 0).
    SubmitSched { when: [&'a [u8]; 5], job: SubmittedJob<'a> },
    /// A new job, whose results the function `reducer` combines.
    SubmitReduce { how: Submission, job: SubmittedJob<'a>, reducer: &'a [u8] },
    /// Asks for the status of the job with this handle.
    GetStatus { handle: &'a [u8] },
    /// Asks for the status of the job with this unique.
    GetStatusUnique { unique: &'a [u8] },
    /// Asks the server to send this back.
    EchoReq(&'a [u8]),
    /// Sets an option of the connection.
    OptionReq(&'a [u8]),
}

impl<'a> Request<'a> {
    /// Names the arguments of `packet`.
    ///
    /// # Errors
    ///
    /// Too few arguments, or a type that only a server sends.
    pub fn parse(packet: Packet<'a>) -> Result<Self, PacketError> {
        Ok(match packet.kind {
            PacketType::CanDo => Self::CanDo { function: name(packet.body) },
            PacketType::CanDoTimeout => {
                let mut arguments = Arguments::of(packet, 2);
                Self::CanDoTimeout { function: arguments.next()?, milliseconds: arguments.last_number() }
            }
            PacketType::CantDo => Self::CantDo { function: name(packet.body) },
            PacketType::ResetAbilities => Self::ResetAbilities,
            PacketType::PreSleep => Self::PreSleep,
            PacketType::GrabJob => Self::GrabJob,
            PacketType::GrabJobUniq => Self::GrabJobUniq,
            PacketType::GrabJobAll => Self::GrabJobAll,
            PacketType::SetClientId => Self::SetClientId(name(packet.body)),
            PacketType::AllYours => Self::AllYours,
            PacketType::GetStatus => Self::GetStatus { handle: name(packet.body) },
            PacketType::GetStatusUnique => Self::GetStatusUnique { unique: name(packet.body) },
            PacketType::EchoReq => Self::EchoReq(packet.body),
            PacketType::OptionReq => Self::OptionReq(name(packet.body)),
            PacketType::WorkStatus
            | PacketType::WorkData
            | PacketType::WorkWarning
            | PacketType::WorkComplete
            | PacketType::WorkFail
            | PacketType::WorkException => work(packet)?,
            _ => submit(packet)?,
        })
    }
}

/// A worker's report on a job.
fn work(packet: Packet<'_>) -> Result<Request<'_>, PacketError> {
    // No NUL and no data: a failure is just the handle.
    if packet.kind == PacketType::WorkFail {
        return Ok(Request::WorkFail { handle: packet.body });
    }
    if packet.kind == PacketType::WorkStatus {
        let mut arguments = Arguments::of(packet, 3);
        let (handle, done) = (arguments.next()?, arguments.number()?);
        return Ok(Request::WorkStatus { handle, done, of: arguments.last_number() });
    }
    let (handle, data) = pair(packet)?;
    Ok(match packet.kind {
        PacketType::WorkData => Request::WorkData { handle, data },
        PacketType::WorkWarning => Request::WorkWarning { handle, data },
        PacketType::WorkException => Request::WorkException { handle, data },
        _ => Request::WorkComplete { handle, data },
    })
}

/// A new job.
fn submit(packet: Packet<'_>) -> Result<Request<'_>, PacketError> {
    let how = match packet.kind {
        PacketType::SubmitJobLow => Submission::Foreground(Priority::Low),
        PacketType::SubmitJob | PacketType::SubmitReduceJob => Submission::Foreground(Priority::Normal),
        PacketType::SubmitJobHigh => Submission::Foreground(Priority::High),
        PacketType::SubmitJobLowBg => Submission::Background(Priority::Low),
        PacketType::SubmitJobBg | PacketType::SubmitReduceJobBackground => Submission::Background(Priority::Normal),
        PacketType::SubmitJobHighBg => Submission::Background(Priority::High),
        PacketType::SubmitJobEpoch => return submit_epoch(packet),
        PacketType::SubmitJobSched => return submit_sched(packet),
        kind => return Err(PacketError::Direction { kind, magic: Magic::Request }),
    };
    if matches!(packet.kind, PacketType::SubmitReduceJob | PacketType::SubmitReduceJobBackground) {
        return submit_reduce(packet, how);
    }
    let mut arguments = Arguments::of(packet, 3);
    let (function, unique) = (arguments.next()?, arguments.next()?);
    Ok(Request::Submit { how, job: SubmittedJob { function, unique, workload: arguments.last() } })
}

fn submit_epoch(packet: Packet<'_>) -> Result<Request<'_>, PacketError> {
    let mut arguments = Arguments::of(packet, 4);
    let (function, unique, at) = (arguments.next()?, arguments.next()?, arguments.number()?);
    let job = SubmittedJob { function, unique, workload: arguments.last() };
    Ok(Request::Submit { how: Submission::At(at), job })
}

fn submit_sched(packet: Packet<'_>) -> Result<Request<'_>, PacketError> {
    let mut arguments = Arguments::of(packet, 8);
    let (function, unique) = (arguments.next()?, arguments.next()?);
    let mut when = [&b""[..]; 5];
    for field in &mut when {
        *field = arguments.next()?;
    }
    Ok(Request::SubmitSched { when, job: SubmittedJob { function, unique, workload: arguments.last() } })
}

/// gearmand and libgearman send an unused argument after the reducer, which the PROTOCOL file does not mention.
fn submit_reduce(packet: Packet<'_>, how: Submission) -> Result<Request<'_>, PacketError> {
    let mut arguments = Arguments::of(packet, 5);
    let (function, unique, reducer, _unused) =
        (arguments.next()?, arguments.next()?, arguments.next()?, arguments.next()?);
    Ok(Request::SubmitReduce { how, job: SubmittedJob { function, unique, workload: arguments.last() }, reducer })
}
