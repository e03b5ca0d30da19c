//! The least that a worker can do: the limit that the others are compared with.
//!
//! The bench runs itself again as such a worker: `raw SERVER FUNCTION WINDOW each|together`.

use std::io::{self, Write};
use std::net::TcpStream;

use crate::wire::{self, Reader};

/// What a raw loop keeps in hand, and when it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loop {
    /// Jobs asked for at once. It asks for one after each NO_JOB, and doubles that with each job up to this.
    pub window: usize,
    /// Every result is written before the next job starts, as a worker must that may die in a job.
    pub write_each: bool,
}

impl Loop {
    /// As the arguments of the process that runs it.
    pub fn args(self) -> [String; 2] {
        [self.window.to_string(), if self.write_each { "each" } else { "together" }.into()]
    }

    /// From the arguments of the process that runs it.
    pub fn of_args(window: &str, writes: &str) -> Self {
        Self { window: window.parse().unwrap(), write_each: writes == "each" }
    }
}

/// Serves until the connection ends.
pub fn serve(server: &str, function: &str, of: Loop) -> io::Result<()> {
    let mut socket = TcpStream::connect(server)?;
    socket.set_nodelay(true)?;
    let (mut out, mut reader) = (Vec::new(), Reader::default());
    wire::request(&mut out, wire::CAN_DO, &[function.as_bytes()]);
    wire::request(&mut out, wire::GRAB_JOB, &[]);
    let (mut asked, mut window) = (1, 1);
    loop {
        socket.write_all(&out)?;
        out.clear();
        if reader.fill(&mut socket)? == 0 {
            return Ok(());
        }
        while let Some((kind, data)) = reader.next() {
            match kind {
                wire::JOB_ASSIGN => {
                    asked -= 1;
                    window = (window * 2).min(of.window);
                    run(data, &mut out);
                    while asked < window {
                        wire::request(&mut out, wire::GRAB_JOB, &[]);
                        asked += 1;
                    }
                    if of.write_each {
                        socket.write_all(&out)?;
                        out.clear();
                    }
                }
                wire::NO_JOB => {
                    asked -= 1;
                    window = 1;
                    if asked == 0 {
                        wire::request(&mut out, wire::PRE_SLEEP, &[]);
                    }
                }
                wire::NOOP if asked == 0 => {
                    wire::request(&mut out, wire::GRAB_JOB, &[]);
                    asked = 1;
                }
                _ => {}
            }
        }
    }
}

/// Reverses the workload of a job.
fn run(assigned: &[u8], out: &mut Vec<u8>) {
    let mut parts = assigned.splitn(3, |byte| *byte == 0);
    let handle = parts.next().unwrap();
    let workload = parts.nth(1).unwrap();
    wire::header(out, wire::WORK_COMPLETE, handle.len() + 1 + workload.len());
    out.extend_from_slice(handle);
    out.push(0);
    out.extend(workload.iter().rev());
}

/// The process of a raw loop.
pub fn main(args: &[String]) {
    let [server, function, window, writes] = args else { panic!("raw SERVER FUNCTION WINDOW each|together") };
    match serve(server, function, Loop::of_args(window, writes)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("raw loop: {error}"),
    }
}
