//! Packets from workers and clients, appended to a buffer.
//!
//! Packets without arguments are constants. For a packet that ends in data, a `..._head` function appends all but the
//! data, which the caller then sends from where it is: a result is never copied.
//!
//! A function fails only with [`ArgumentError`]: an argument contains a NUL, or the packet exceeds 4 GiB. It then
//! leaves the buffer as it was.

use super::write::{Decimal, arguments, head, header, with_data};
use super::{ArgumentError, HEADER_LEN, Magic, PacketType, Submission};

const REQUEST: Magic = Magic::Request;

/// Asks for a job.
pub const GRAB_JOB_UNIQ: [u8; HEADER_LEN] = header(REQUEST, PacketType::GrabJobUniq, 0);
/// Asks for a job from servers that do not know [`GRAB_JOB_UNIQ`].
pub const GRAB_JOB: [u8; HEADER_LEN] = header(REQUEST, PacketType::GrabJob, 0);
/// Asks for a `NOOP` when a job comes.
pub const PRE_SLEEP: [u8; HEADER_LEN] = header(REQUEST, PacketType::PreSleep, 0);
/// Unregisters all functions. gearmand then requeues the jobs in hand: never sent while there is one.
pub const RESET_ABILITIES: [u8; HEADER_LEN] = header(REQUEST, PacketType::ResetAbilities, 0);

type Encoded = Result<(), ArgumentError>;

/// Registers a function. Once per connection: gearmand counts a second time as a second worker.
pub fn can_do(buf: &mut Vec<u8>, function: &[u8]) -> Encoded {
    arguments(buf, REQUEST, PacketType::CanDo, &[("function", function)])
}

/// Unregisters a function. gearmand then requeues a job in hand: never sent while there is one.
pub fn cant_do(buf: &mut Vec<u8>, function: &[u8]) -> Encoded {
    arguments(buf, REQUEST, PacketType::CantDo, &[("function", function)])
}

/// The name the worker is listed under. gearmand cuts it at 127 bytes, and a space breaks its listing.
pub fn set_client_id(buf: &mut Vec<u8>, id: &[u8]) -> Encoded {
    arguments(buf, REQUEST, PacketType::SetClientId, &[("client id", id)])
}

/// Asks the server to send `data` back.
pub fn echo_req(buf: &mut Vec<u8>, data: &[u8]) -> Encoded {
    with_data(buf, REQUEST, PacketType::EchoReq, &[], data)
}

/// Sets an option of the connection; the only one is `exceptions`.
pub fn option_req(buf: &mut Vec<u8>, option: &[u8]) -> Encoded {
    arguments(buf, REQUEST, PacketType::OptionReq, &[("option", option)])
}

/// A job's progress.
pub fn work_status(buf: &mut Vec<u8>, handle: &[u8], done: u64, of: u64) -> Encoded {
    let (done, of) = (Decimal::new(done), Decimal::new(of));
    let named = [("handle", handle), ("numerator", done.as_bytes()), ("denominator", of.as_bytes())];
    arguments(buf, REQUEST, PacketType::WorkStatus, &named)
}

/// A job's result, up to the `data_len` bytes of the result itself.
pub fn work_complete_head(buf: &mut Vec<u8>, handle: &[u8], data_len: usize) -> Encoded {
    head(buf, REQUEST, PacketType::WorkComplete, &[("handle", handle)], data_len)
}

/// Data from a running job, up to the data.
pub fn work_data_head(buf: &mut Vec<u8>, handle: &[u8], data_len: usize) -> Encoded {
    head(buf, REQUEST, PacketType::WorkData, &[("handle", handle)], data_len)
}

/// A warning from a running job, up to its text. The `gearman` CLI prints the text as it is: end it with a newline.
pub fn work_warning_head(buf: &mut Vec<u8>, handle: &[u8], data_len: usize) -> Encoded {
    head(buf, REQUEST, PacketType::WorkWarning, &[("handle", handle)], data_len)
}

/// A failure with data, up to the data. The `gearman` CLI hangs on it: use it only if a plugin asks for it.
pub fn work_exception_head(buf: &mut Vec<u8>, handle: &[u8], data_len: usize) -> Encoded {
    head(buf, REQUEST, PacketType::WorkException, &[("handle", handle)], data_len)
}

/// A failure. The handle ends without a NUL: with one, clients of gearmand 1.1.x do not recognise their job and hang.
pub fn work_fail(buf: &mut Vec<u8>, handle: &[u8]) -> Encoded {
    arguments(buf, REQUEST, PacketType::WorkFail, &[("handle", handle)])
}

/// A failure with its reason: a warning with the text and a newline, then the failure. Every client understands both.
pub fn failure(buf: &mut Vec<u8>, handle: &[u8], text: &str) -> Encoded {
    work_warning_head(buf, handle, text.len() + 1)?;
    buf.extend_from_slice(text.as_bytes());
    buf.push(b'\n');
    // The warning took the same handle, and is longer.
    work_fail(buf, handle)
}

/// A new job.
pub fn submit(buf: &mut Vec<u8>, how: Submission, function: &[u8], unique: &[u8], workload: &[u8]) -> Encoded {
    submit_head(buf, how, function, unique, workload.len())?;
    buf.extend_from_slice(workload);
    Ok(())
}

/// A new job, up to its workload.
pub fn submit_head(buf: &mut Vec<u8>, how: Submission, function: &[u8], unique: &[u8], workload_len: usize) -> Encoded {
    let named = [("function", function), ("unique", unique)];
    let Submission::At(seconds) = how else { return head(buf, REQUEST, how.kind(), &named, workload_len) };
    let seconds = Decimal::new(seconds);
    let [function, unique] = named;
    head(buf, REQUEST, how.kind(), &[function, unique, ("time", seconds.as_bytes())], workload_len)
}

/// Asks for the status of the job with a handle.
pub fn get_status(buf: &mut Vec<u8>, handle: &[u8]) -> Encoded {
    arguments(buf, REQUEST, PacketType::GetStatus, &[("handle", handle)])
}

/// Asks for the status of the job with a unique.
pub fn get_status_unique(buf: &mut Vec<u8>, unique: &[u8]) -> Encoded {
    arguments(buf, REQUEST, PacketType::GetStatusUnique, &[("unique", unique)])
}
