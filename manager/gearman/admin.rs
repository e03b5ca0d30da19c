//! The administrative text protocol: what a job server reports of its functions, its workers and itself.
//!
//! Each question uses a connection of its own: a function's name may contain a newline, and what follows a listing that
//! seemed to end early must not be taken for the next answer. A listing blocks for at most its timeout. `show jobs` is
//! left out: with 100,000 jobs queued gearmand takes 37 ms to answer it and serves no one meanwhile.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::dial::{ServerError, ServerStream};
use crate::system::clock;

/// A longer answer is not read: a listing has a line per function or connection.
const MAX_ANSWER: usize = 64 << 20;
/// Versions are shorter.
const MAX_VERSION: u64 = 256;

/// A function, as `status` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminFunctionStatus {
    /// Its name; bytes that are not UTF-8 are replaced.
    pub function: String,
    /// Jobs queued or running, including those for a later time and those whose client has disconnected.
    pub total: u64,
    /// Jobs that a worker runs.
    pub running: u64,
    /// Connections that registered it.
    pub workers: u64,
}

/// A connection, as `workers` lists it. Clients are listed too, without functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConnection {
    /// The server's descriptor for it.
    pub descriptor: u64,
    /// Its peer's address.
    pub address: String,
    /// The name the peer gave itself; `-` if it gave none.
    pub id: String,
    /// The functions it registered. A name with spaces looks like several.
    pub functions: Vec<String>,
}

/// A server's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerVersion {
    /// As the server reports it, with any suffix, such as `1.1.20+ds`.
    pub text: String,
    /// The number before the first dot, if there is one.
    pub major: Option<u32>,
}

/// The functions `server` (HOST:PORT) knows. A name stays listed when no worker registers it any more.
///
/// Skips lines that do not have the form of the listing: gearmand accepts function names with newlines.
///
/// # Errors
///
/// As [`ServerError`] lists.
pub fn status(server: &str, timeout: Duration) -> Result<Vec<AdminFunctionStatus>, ServerError> {
    Ok(listing(&ask(server, "status", timeout, is_whole_listing)?, function_status))
}

/// The connections of `server` (HOST:PORT). Skips other lines, as [`status`] does.
///
/// # Errors
///
/// As [`ServerError`] lists.
pub fn workers(server: &str, timeout: Duration) -> Result<Vec<AdminConnection>, ServerError> {
    Ok(listing(&ask(server, "workers", timeout, is_whole_listing)?, connection))
}

/// The version of the job server at an address, for a loop that must not block. It has no timeout of its own: wrap it
/// in one.
///
/// # Errors
///
/// The system's; `InvalidData` if the answer is no version. Some servers, such as geard, never answer.
pub async fn version_at(address: SocketAddr) -> io::Result<ServerVersion> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"version\n").await?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(MAX_VERSION)).read_until(b'\n', &mut answer).await?;
    if !answer.ends_with(b"\n") || answer.starts_with(b"ERR") || answer.contains(&0) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(parse_version(&String::from_utf8_lossy(&answer)))
}

/// Sends one line and reads until the answer is complete.
fn ask(
    server: &str,
    question: &'static str,
    timeout: Duration,
    is_whole: fn(&[u8]) -> bool,
) -> Result<Vec<u8>, ServerError> {
    let deadline = clock::after(timeout);
    let mut dialled = ServerStream::connect(server, timeout)?;
    let asked = (&dialled.stream).write_all(format!("{question}\n").as_bytes());
    asked.map_err(|error| dialled.broken(question, timeout, error))?;
    let mut answer = Vec::new();
    let mut piece = [0; 8192];
    while !is_whole(&answer) {
        let Some(count) = dialled.read(&mut piece, deadline, question)? else {
            return Err(ServerError::Deadline { server: server.to_owned(), question, waited: timeout });
        };
        answer.extend_from_slice(&piece[..count]);
        // A refusal is one line. A NUL means that the peer took the question for a packet.
        if answer.len() > MAX_ANSWER || answer.starts_with(b"ERR") || answer.contains(&0) {
            let answer = answer[..answer.len().min(80)].trim_ascii_end().escape_ascii().to_string();
            return Err(ServerError::Form { server: server.to_owned(), question, answer });
        }
    }
    Ok(answer)
}

/// A listing ends with a line that is a full stop.
pub(crate) fn is_whole_listing(text: &[u8]) -> bool {
    text == b".\n" || text.ends_with(b"\n.\n")
}

fn listing<T>(text: &[u8], line: fn(&str) -> Option<T>) -> Vec<T> {
    String::from_utf8_lossy(text).lines().filter_map(line).collect()
}

/// `FUNCTION\tTOTAL\tRUNNING\tWORKERS`, parsed from its end: a name may contain a tab.
pub(crate) fn function_status(line: &str) -> Option<AdminFunctionStatus> {
    let mut fields = line.rsplitn(4, '\t');
    let mut number = || fields.next()?.parse().ok();
    let (workers, running, total) = (number()?, number()?, number()?);
    Some(AdminFunctionStatus { function: fields.next()?.to_owned(), total, running, workers })
}

/// `FD IP ID : FUNCTION ...`
pub(crate) fn connection(line: &str) -> Option<AdminConnection> {
    let mut fields = line.splitn(3, ' ');
    let (descriptor, address) = (fields.next()?.parse().ok()?, fields.next()?.to_owned());
    let (id, functions) = fields.next()?.split_once(" :")?;
    let functions = functions.split_whitespace().map(str::to_owned).collect();
    Some(AdminConnection { descriptor, address, id: id.to_owned(), functions })
}

/// `OK 1.1.20+ds`, or the number alone.
pub(crate) fn parse_version(answer: &str) -> ServerVersion {
    let line = answer.trim();
    let text = line.strip_prefix("OK ").unwrap_or(line).to_owned();
    let major = text.split('.').next().and_then(|number| number.parse().ok());
    ServerVersion { text, major }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines() {
        let status = |function: &str, total, running, workers| {
            Some(AdminFunctionStatus { function: function.into(), total, running, workers })
        };
        for (line, parsed) in [
            ("reverse_string\t12\t3\t4", status("reverse_string", 12, 3, 4)),
            ("\t0\t0\t0", status("", 0, 0, 0)),
            ("a b\tc\t1\t2\t3", status("a b\tc", 1, 2, 3)),
            (".", None),
            ("a\t1\t2", None),
            ("a\t1\tx\t3", None),
            ("a\t-1\t0\t3", None),
        ] {
            assert_eq!(function_status(line), parsed, "{line:?}");
        }
    }

    #[test]
    fn worker_lines() {
        let connection_of = |descriptor, address: &str, id: &str, functions: &[&str]| {
            let functions = functions.iter().map(|name| (*name).to_owned()).collect();
            Some(AdminConnection { descriptor, address: address.into(), id: id.into(), functions })
        };
        for (line, parsed) in [
            ("37 127.0.0.1 - :", connection_of(37, "127.0.0.1", "-", &[])),
            ("8 ::1 host:7:rev:3 : a b:c", connection_of(8, "::1", "host:7:rev:3", &["a", "b:c"])),
            ("8 10.0.0.1 an id : a", connection_of(8, "10.0.0.1", "an id", &["a"])),
            (".", None),
            ("8 10.0.0.1", None),
            ("tail of a name : x", None),
        ] {
            assert_eq!(connection(line), parsed, "{line:?}");
        }
    }

    #[test]
    fn versions() {
        for (answer, text, major) in [
            ("OK 1.1.20+ds\n", "1.1.20+ds", Some(1)),
            ("OK 2.0.0\r\n", "2.0.0", Some(2)),
            ("1.130\n", "1.130", Some(1)),
            ("OK unknown\n", "unknown", None),
        ] {
            assert_eq!(parse_version(answer), ServerVersion { text: text.into(), major });
        }
    }

    #[test]
    fn the_end_of_a_listing() {
        for (text, whole) in [(&b""[..], false), (b".\n", true), (b"a\t1\t1\t1\n.\n", true), (b"a.\n", false)] {
            assert_eq!(is_whole_listing(text), whole);
        }
    }
}
