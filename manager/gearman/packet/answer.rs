//! Packets from a job server, appended to a buffer: for the embedded job server and for scripted peers.
//!
//! Errors are those of [`encode`](super::encode).

use super::write::{Decimal, arguments, head, header, with_data};
use super::{ArgumentError, AssignedJob, HEADER_LEN, JobStatus, Magic, PacketType};

const RESPONSE: Magic = Magic::Response;

/// Wakes a worker.
pub const NOOP: [u8; HEADER_LEN] = header(RESPONSE, PacketType::Noop, 0);
/// There is no job.
pub const NO_JOB: [u8; HEADER_LEN] = header(RESPONSE, PacketType::NoJob, 0);

type Encoded = Result<(), ArgumentError>;

/// A job, in answer to `GRAB_JOB`: without its unique.
pub fn job_assign(buf: &mut Vec<u8>, job: &AssignedJob<'_>) -> Encoded {
    let named = [("handle", job.handle), ("function", job.function)];
    with_data(buf, RESPONSE, PacketType::JobAssign, &named, job.workload)
}

/// A job, in answer to `GRAB_JOB_UNIQ`.
pub fn job_assign_uniq(buf: &mut Vec<u8>, job: &AssignedJob<'_>) -> Encoded {
    let named = [("handle", job.handle), ("function", job.function), ("unique", job.unique)];
    with_data(buf, RESPONSE, PacketType::JobAssignUniq, &named, job.workload)
}

/// A job, in answer to `GRAB_JOB_ALL`.
pub fn job_assign_all(buf: &mut Vec<u8>, job: &AssignedJob<'_>, reducer: &[u8]) -> Encoded {
    let named = [("handle", job.handle), ("function", job.function), ("unique", job.unique), ("reducer", reducer)];
    with_data(buf, RESPONSE, PacketType::JobAssignAll, &named, job.workload)
}

/// The data of an `ECHO_REQ`.
pub fn echo_res(buf: &mut Vec<u8>, data: &[u8]) -> Encoded {
    with_data(buf, RESPONSE, PacketType::EchoRes, &[], data)
}

/// An error. A worker takes code `JOB_NOT_FOUND` to mean that the job is not its own any more.
pub fn error(buf: &mut Vec<u8>, code: &[u8], text: &[u8]) -> Encoded {
    arguments(buf, RESPONSE, PacketType::Error, &[("code", code), ("text", text)])
}

/// The option that was set.
pub fn option_res(buf: &mut Vec<u8>, option: &[u8]) -> Encoded {
    arguments(buf, RESPONSE, PacketType::OptionRes, &[("option", option)])
}

/// The handle of the job just submitted.
pub fn job_created(buf: &mut Vec<u8>, handle: &[u8]) -> Encoded {
    arguments(buf, RESPONSE, PacketType::JobCreated, &[("handle", handle)])
}

/// A job's progress, forwarded to its client.
pub fn work_status(buf: &mut Vec<u8>, handle: &[u8], done: u64, of: u64) -> Encoded {
    let (done, of) = (Decimal::new(done), Decimal::new(of));
    let named = [("handle", handle), ("numerator", done.as_bytes()), ("denominator", of.as_bytes())];
    arguments(buf, RESPONSE, PacketType::WorkStatus, &named)
}

/// A result, forwarded to the job's client, up to the result itself.
pub fn work_complete_head(buf: &mut Vec<u8>, handle: &[u8], data_len: usize) -> Encoded {
    head(buf, RESPONSE, PacketType::WorkComplete, &[("handle", handle)], data_len)
}

/// Data of a running job, forwarded to its client, up to the data.
pub fn work_data_head(buf: &mut Vec<u8>, handle: &[u8], data_len: usize) -> Encoded {
    head(buf, RESPONSE, PacketType::WorkData, &[("handle", handle)], data_len)
}

/// A warning, forwarded to the job's client, up to its text.
pub fn work_warning_head(buf: &mut Vec<u8>, handle: &[u8], data_len: usize) -> Encoded {
    head(buf, RESPONSE, PacketType::WorkWarning, &[("handle", handle)], data_len)
}

/// A failure with data, forwarded to the job's client, up to the data.
pub fn work_exception_head(buf: &mut Vec<u8>, handle: &[u8], data_len: usize) -> Encoded {
    head(buf, RESPONSE, PacketType::WorkException, &[("handle", handle)], data_len)
}

/// A failure, forwarded to the job's client.
pub fn work_fail(buf: &mut Vec<u8>, handle: &[u8]) -> Encoded {
    arguments(buf, RESPONSE, PacketType::WorkFail, &[("handle", handle)])
}

/// The status of the job with a handle.
pub fn status_res(buf: &mut Vec<u8>, handle: &[u8], status: JobStatus) -> Encoded {
    let (done, of) = (Decimal::new(status.done), Decimal::new(status.of));
    let named = [
        ("handle", handle),
        ("known status", flag(status.known)),
        ("running status", flag(status.running)),
        ("numerator", done.as_bytes()),
        ("denominator", of.as_bytes()),
    ];
    arguments(buf, RESPONSE, PacketType::StatusRes, &named)
}

/// The status of the job with a unique, and how many clients wait for it.
pub fn status_res_unique(buf: &mut Vec<u8>, unique: &[u8], status: JobStatus, waiting: u64) -> Encoded {
    let (done, of, waiting) = (Decimal::new(status.done), Decimal::new(status.of), Decimal::new(waiting));
    let named = [
        ("unique", unique),
        ("known status", flag(status.known)),
        ("running status", flag(status.running)),
        ("numerator", done.as_bytes()),
        ("denominator", of.as_bytes()),
        ("count of clients", waiting.as_bytes()),
    ];
    arguments(buf, RESPONSE, PacketType::StatusResUnique, &named)
}

const fn flag(set: bool) -> &'static [u8] {
    if set { b"1" } else { b"0" }
}
