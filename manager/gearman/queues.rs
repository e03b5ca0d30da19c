//! The queues of a job server, for a loop that must not block: `status` of the administrative protocol, of which only
//! the wanted functions are kept, however long the answer is.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::admin::{AdminFunctionStatus, function_status};

/// A longer answer is not read to its end. gearmand lists every name that it has ever been sent.
const MAX_ANSWER: u64 = 16 << 20;
/// A longer line is no function of ours.
const MAX_LINE: u64 = 4096;

/// How long a job server may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryTimeouts {
    /// For each of its addresses to accept a connection.
    pub connect: Duration,
    /// For the whole answer.
    pub answer: Duration,
}

/// What the job server at the first of these addresses that accepts a connection lists of the wanted functions.
///
/// # Errors
///
/// The system's; `TimedOut`; `InvalidData` if the answer is no listing, or too long.
pub(crate) async fn queues_at(
    addresses: &[SocketAddr],
    timeouts: QueryTimeouts,
    is_wanted: impl Fn(&str) -> bool,
) -> io::Result<Vec<AdminFunctionStatus>> {
    let mut stream = connect(addresses, timeouts.connect).await?;
    let answer = async {
        stream.write_all(b"status\n").await?;
        read_listing(BufReader::new((&mut stream).take(MAX_ANSWER)), is_wanted).await
    };
    timeout(timeouts.answer, answer).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn connect(addresses: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for address in addresses {
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// Reads to the line that is a full stop. Keeps no line that is not wanted, and no more of a line than could be.
async fn read_listing<R: AsyncRead + Unpin>(
    mut reader: BufReader<R>,
    is_wanted: impl Fn(&str) -> bool,
) -> io::Result<Vec<AdminFunctionStatus>> {
    let mut found: BTreeMap<String, Option<AdminFunctionStatus>> = BTreeMap::new();
    let mut line = Vec::new();
    // The rest of a line that is too long belongs to it.
    let mut begins = true;
    loop {
        line.clear();
        (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).await?;
        let (is_begin, is_end) = (begins, line.ends_with(b"\n"));
        begins = is_end;
        // A NUL means that the peer took the question for a packet.
        if line.is_empty() || line.starts_with(b"ERR") && is_begin || line.contains(&0) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if !is_begin || !is_end {
            continue;
        }
        // The name of a function may contain such a line.
        if line == b".\n" && reader.buffer().is_empty() {
            return Ok(found.into_values().flatten().collect());
        }
        let status = std::str::from_utf8(&line).ok().and_then(|line| function_status(line.trim_end_matches('\n')));
        if let Some(status) = status.filter(|status| is_wanted(&status.function)) {
            // A name with a newline can look like a line about another function: then neither is believed.
            found.entry(status.function.clone()).and_modify(|known| *known = None).or_insert(Some(status));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(answer: &[u8]) -> Result<Vec<(String, u64, u64, u64)>, io::ErrorKind> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let read = runtime.block_on(read_listing(BufReader::new(answer.take(MAX_ANSWER)), |name| name != "other"));
        let numbers = |status: AdminFunctionStatus| (status.function, status.total, status.running, status.workers);
        read.map(|all| all.into_iter().map(numbers).collect()).map_err(|error| error.kind())
    }

    #[test]
    fn what_is_read_of_an_answer() {
        let long = [b"x".repeat(3 * MAX_LINE as usize).as_slice(), b"\t9\t9\t9\nf\t1\t0\t1\n.\n"].concat();
        let f = |total, running, workers| ("f".to_owned(), total, running, workers);
        for (answer, expected) in [
            (&b".\n"[..], Ok(vec![])),
            (b"f\t12\t3\t4\nother\t1\t1\t1\n.\n", Ok(vec![f(12, 3, 4)])),
            // The name of another function holds the end, and a line about f.
            (b"a\n.\nother\t0\t0\t0\nf\t1\t0\t0\n.\n", Ok(vec![f(1, 0, 0)])),
            (b"a\nf\t9\t0\t0\nf\t1\t0\t0\n.\n", Ok(vec![])),
            (b"f\t1\t-1\t0\n\xff\t1\t1\t1\n.\n", Ok(vec![])),
            (&long, Ok(vec![f(1, 0, 1)])),
            (b"", Err(io::ErrorKind::InvalidData)),
            (b"f\t1\t1\t1\n", Err(io::ErrorKind::InvalidData)),
            (b"f\t1\t1\t1", Err(io::ErrorKind::InvalidData)),
            (b"ERR UNKNOWN_COMMAND Unknown+server+command\n", Err(io::ErrorKind::InvalidData)),
            (b"\0RES\0\0\0\x13\0\0\0\0", Err(io::ErrorKind::InvalidData)),
        ] {
            assert_eq!(
                listing(answer),
                expected,
                "{:?}",
                answer.get(..80).unwrap_or(answer).escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn an_answer_without_end_is_not_read_to_its_end() {
        let endless = b"other\t1\t1\t1\n".repeat(MAX_ANSWER as usize / 12 + 2);
        assert_eq!(listing(&endless), Err(io::ErrorKind::InvalidData));
        assert_eq!(listing(&vec![b'x'; MAX_ANSWER as usize + 1]), Err(io::ErrorKind::InvalidData));
    }
}
