//! Steps that print or send at full speed.

use std::io::{Error, ErrorKind, Write};
use std::path::Path;

use gm_plugin_api::{Failure, Log};

/// Where a worker has its channel to the manager.
const CHANNEL: i32 = 3;
const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const MSG_NOSIGNAL: i32 = 0x4000;
/// As many as go along with one message.
const DESCRIPTORS: usize = 200;

#[repr(C)]
struct Part {
    start: *const u8,
    length: usize,
}

#[repr(C)]
struct Message {
    name: *const u8,
    name_length: u32,
    parts: *const Part,
    part_count: usize,
    control: *const Control,
    control_length: usize,
    flags: i32,
}

#[repr(C)]
struct Control {
    length: usize,
    level: i32,
    kind: i32,
    descriptors: [i32; DESCRIPTORS],
}

unsafe extern "C" {
    fn send(fd: i32, bytes: *const u8, length: usize, flags: i32) -> isize;
    fn sendmsg(fd: i32, message: *const Message, flags: i32) -> isize;
}

/// Sends the same again and again until this file exists, or no one reads any more.
pub fn pour(what: &str, until: &str, log: &mut Log) -> Result<(), Failure> {
    let block = match what {
        "short" => b"a\n".repeat(2048),
        "long" => vec![b'x'; 4096],
        "empty" => vec![b'\n'; 4096],
        _ => Vec::new(),
    };
    let words: &[&[u8]] =
        &[b"", b"no message of ours", br#"{"ServerUp":{"server":9}}"#, br#""FewRuns""#, &[b'x'; 9000]];
    let mut out = std::io::stdout().lock();
    while !Path::new(until).exists() {
        let result = match what {
            "log" => {
                (0..100).for_each(|_| log.info("a line of a flood"));
                Ok(())
            }
            "words" => words.iter().try_for_each(|word| send_word(word)),
            "descriptors" => send_descriptors(),
            _ => out.write_all(&block),
        };
        match result {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => other?,
        }
    }
    Ok(())
}

/// Sends so many messages with more descriptors than anybody expects.
pub fn descriptors(times: usize) -> Result<(), Failure> {
    Ok((0..times).try_for_each(|_| send_descriptors())?)
}

fn send_word(word: &[u8]) -> Result<(), Error> {
    // SAFETY: a plain system call on bytes that outlive it.
    sent(unsafe { send(CHANNEL, word.as_ptr(), word.len(), MSG_NOSIGNAL) })
}

fn send_descriptors() -> Result<(), Error> {
    let part = Part { start: b"many".as_ptr(), length: 4 };
    let length = std::mem::offset_of!(Control, descriptors) + DESCRIPTORS * size_of::<i32>();
    let control = Control { length, level: SOL_SOCKET, kind: SCM_RIGHTS, descriptors: [0; DESCRIPTORS] };
    let message = Message {
        name: std::ptr::null(),
        name_length: 0,
        parts: &raw const part,
        part_count: 1,
        control: &raw const control,
        control_length: size_of::<Control>(),
        flags: 0,
    };
    // SAFETY: a plain system call on a message whose parts outlive it.
    sent(unsafe { sendmsg(CHANNEL, &raw const message, MSG_NOSIGNAL) })
}

fn sent(result: isize) -> Result<(), Error> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}
