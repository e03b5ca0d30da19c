//! A thread at the moment of its crash: registers, the top of its stack, the mappings of its process, the workload.
//!
//! Read from a crash area ([`crate::system::crash_area`]), which is hostile input: every length is checked against what
//! there is room for, and a piece with a wrong one is missing.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::system::crash_area::{
    Architecture, Cause, MAPPINGS_AT, MAPPINGS_MAX, REGISTERS, STACK_AT, STACK_MAX, WORDS, WORKLOAD_AT, Word,
};

/// Everything that was saved. A piece that is `None` could not be read by the handler, or the process was killed before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ThreadSnapshot {
    /// Why it was taken.
    pub cause: Cause,
    /// The signal's number; of a [`Cause::Request`], the one with which it was asked for.
    pub signal: i32,
    /// Its `si_code`: positive if the kernel found a fault, else a process sent it.
    pub code: i32,
    /// Its `si_addr`; without meaning if a process sent the signal.
    pub fault_address: u64,
    /// The process that sent it; 0 if the kernel did.
    pub sender: i32,
    /// The process.
    pub process: i32,
    /// The thread: the main thread if it is the same as the process.
    pub thread: i32,
    /// The thread's name, as the kernel knows it.
    pub thread_name: String,
    /// The number of the job in hand, as counted by the worker; 0 for none.
    pub job: u64,
    /// The thread's registers.
    pub registers: Registers,
    /// The top of its stack.
    pub stack: Option<StackCopy>,
    /// The text of `/proc/PID/maps`, without the lines of anonymous memory that is not executable. Cut if it is too
    /// long.
    pub mappings: Option<String>,
    /// The workload of the job in hand.
    pub workload: Option<SavedWorkload>,
}

/// The registers of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registers {
    /// The processor.
    pub architecture: Architecture,
    /// All of them, in the order of the architecture's name list.
    pub values: Vec<u64>,
}

/// Part of a stack.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StackCopy {
    /// Address of the first byte: the stack pointer, or where the stack ends if the thread has overflowed it.
    pub start: u64,
    /// Up to 64 KiB from there.
    pub bytes: Vec<u8>,
}

/// A workload, or its beginning.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SavedWorkload {
    /// What was saved: up to `crash_workload_max` bytes.
    pub bytes: Vec<u8>,
    /// How long the whole workload is.
    pub size: u64,
}

impl fmt::Debug for StackCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of the stack from {:#x} on", self.bytes.len(), self.start)
    }
}

impl fmt::Debug for SavedWorkload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes of the workload", self.bytes.len(), self.size)
    }
}

impl SavedWorkload {
    /// Whether nothing of it is missing.
    pub(crate) fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.size
    }
}

const X86_64: [&str; 17] = [
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp", "rip",
];
const AARCH64: [&str; 33] = [
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
    "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30", "sp", "pc",
];

impl Registers {
    /// The names of the registers, in order.
    fn names(&self) -> &'static [&'static str] {
        match self.architecture {
            Architecture::X86_64 => &X86_64,
            Architecture::Aarch64 => &AARCH64,
        }
    }

    /// Every register with its name.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.names().iter().copied().zip(self.values.iter().copied())
    }

    fn value(&self, name: &str) -> u64 {
        self.named().find(|(found, _)| *found == name).map_or(0, |(_, value)| value)
    }

    /// The instruction that the thread was at.
    pub(crate) fn pc(&self) -> u64 {
        self.value(match self.architecture {
            Architecture::X86_64 => "rip",
            Architecture::Aarch64 => "pc",
        })
    }

    /// The stack pointer.
    pub(crate) fn sp(&self) -> u64 {
        self.value(match self.architecture {
            Architecture::X86_64 => "rsp",
            Architecture::Aarch64 => "sp",
        })
    }

    /// The frame pointer, if the code keeps one.
    pub(crate) fn fp(&self) -> u64 {
        self.value(match self.architecture {
            Architecture::X86_64 => "rbp",
            Architecture::Aarch64 => "x29",
        })
    }

    /// The return address of the innermost function, on processors that have a register for it.
    pub(crate) fn lr(&self) -> Option<u64> {
        (self.architecture == Architecture::Aarch64).then(|| self.value("x30"))
    }
}

impl ThreadSnapshot {
    /// A thread that has crashed with these registers.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn crashed(registers: Registers, stack: Option<StackCopy>, mappings: String) -> Self {
        Self {
            cause: Cause::Crash,
            signal: 11,
            code: 1,
            fault_address: 0,
            sender: 0,
            process: 1,
            thread: 1,
            thread_name: String::new(),
            job: 0,
            registers,
            stack,
            mappings: Some(mappings),
            workload: None,
        }
    }

    /// Reads a snapshot from a crash area that begins at the start of the file; `None` if there is none.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn read(file: &File) -> io::Result<Option<Self>> {
        let size = file.metadata()?.len();
        let mut header = [0; WORDS * size_of::<u64>()];
        if size < header.len() as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut header, 0)?;
        let (chunks, _) = header.as_chunks();
        let words: Vec<u64> = chunks.iter().map(|bytes| u64::from_ne_bytes(*bytes)).collect();
        let word = |word: Word| words[word as usize];
        let (Some(cause), Some(architecture)) = (cause(word(Word::Cause)), architecture(word(Word::Architecture)))
        else {
            return Ok(None);
        };
        let piece = |length: Word, at: usize, most: u64| read_piece(file, size, word(length), at, most);
        let values = words[Word::Registers as usize..][..REGISTERS].to_vec();
        let stack = piece(Word::Stack, STACK_AT, STACK_MAX as u64)?;
        let mappings = piece(Word::Mappings, MAPPINGS_AT, MAPPINGS_MAX as u64)?;
        let workload_size = word(Word::WorkloadSize);
        let workload = piece(Word::Workload, WORKLOAD_AT, workload_size)?;
        Ok(Some(Self {
            cause,
            signal: word(Word::Signal) as i32,
            code: word(Word::Code) as i32,
            fault_address: word(Word::FaultAddress),
            sender: word(Word::Sender) as i32,
            process: word(Word::Process) as i32,
            thread: word(Word::Thread) as i32,
            thread_name: name([word(Word::Name), word(Word::NameEnd)]),
            job: word(Word::Job),
            registers: Registers { architecture, values },
            stack: stack.map(|bytes| StackCopy { start: word(Word::StackStart), bytes }),
            mappings: mappings.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            workload: workload.map(|bytes| SavedWorkload { bytes, size: workload_size }),
        }))
    }

    /// Whether the main thread crashed, which runs the jobs.
    pub(crate) fn is_main_thread(&self) -> bool {
        self.thread == self.process
    }

    /// Whether a process sent the signal, rather than the kernel at a fault.
    pub(crate) fn was_sent(&self) -> bool {
        self.code <= 0
    }
}

fn cause(word: u64) -> Option<Cause> {
    [Cause::Crash, Cause::Request].into_iter().find(|cause| *cause as u64 == word)
}

fn architecture(word: u64) -> Option<Architecture> {
    [Architecture::X86_64, Architecture::Aarch64].into_iter().find(|architecture| *architecture as u64 == word)
}

/// A piece whose length word is one more than its length; none if it is missing, longer than it may be, or longer
/// than the file.
fn read_piece(file: &File, size: u64, length: u64, at: usize, most: u64) -> io::Result<Option<Vec<u8>>> {
    let room = size.saturating_sub(at as u64).min(most);
    let Some(length) = length.checked_sub(1).filter(|length| *length <= room) else { return Ok(None) };
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| io::ErrorKind::InvalidData)?];
    file.read_exact_at(&mut bytes, at as u64)?;
    Ok(Some(bytes))
}

fn name(words: [u64; 2]) -> String {
    let bytes = words.map(u64::to_ne_bytes).concat();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crash area with these words and pieces.
    fn area(words: &[(usize, u64)], pieces: &[(usize, &[u8])]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len((WORKLOAD_AT + 4096) as u64).unwrap();
        for (word, value) in words {
            file.write_all_at(&value.to_ne_bytes(), (word * 8) as u64).unwrap();
        }
        for (at, bytes) in pieces {
            file.write_all_at(bytes, *at as u64).unwrap();
        }
        file
    }

    fn words(more: &[(Word, u64)]) -> Vec<(usize, u64)> {
        let name = u64::from_ne_bytes(*b"gm:act\0\0");
        let registers = Word::Registers as usize;
        let mut words = vec![(registers + 16, 0x5000), (registers + 15, 0x7000), (registers + 10, 0x7100)];
        let all = [
            (Word::Cause, 1),
            (Word::Architecture, 1),
            (Word::Signal, 11),
            (Word::Code, 1),
            (Word::FaultAddress, 0x10),
            (Word::Process, 4711),
            (Word::Thread, 4711),
            (Word::Name, name),
            (Word::Job, 3),
        ];
        words.extend(all.iter().chain(more).map(|(word, value)| (*word as usize, *value)));
        words
    }

    #[test]
    fn a_snapshot_with_every_piece() {
        let words = words(&[
            (Word::StackStart, 0x7000),
            (Word::Stack, 5),
            (Word::Mappings, 7),
            (Word::Workload, 4),
            (Word::WorkloadSize, 10),
        ]);
        let file = area(&words, &[(STACK_AT, b"wxyz"), (MAPPINGS_AT, b"5-6 r-"), (WORKLOAD_AT, b"abc")]);
        let snapshot = ThreadSnapshot::read(&file).unwrap().unwrap();
        assert_eq!((snapshot.cause, snapshot.signal, snapshot.code), (Cause::Crash, 11, 1));
        assert_eq!((snapshot.fault_address, snapshot.job, snapshot.thread_name.as_str()), (0x10, 3, "gm:act"));
        assert!(snapshot.is_main_thread() && !snapshot.was_sent());
        let registers = &snapshot.registers;
        assert_eq!((registers.pc(), registers.sp(), registers.fp(), registers.lr()), (0x5000, 0x7000, 0x7100, None));
        assert_eq!(snapshot.stack, Some(StackCopy { start: 0x7000, bytes: b"wxyz".to_vec() }));
        assert_eq!(snapshot.mappings.as_deref(), Some("5-6 r-"));
        let workload = snapshot.workload.unwrap();
        assert_eq!((workload.bytes.as_slice(), workload.size, workload.is_whole()), (&b"abc"[..], 10, false));
    }

    #[test]
    fn pieces_that_are_missing_or_have_a_wrong_length() {
        for (length, workload_size) in [(0, 0), (u64::MAX, u64::MAX), (1 << 40, 1 << 40), (5000, 5000), (5, 3)] {
            let lengths = [Word::Stack, Word::Mappings, Word::Workload].map(|word| (word, length));
            let mut lengths = lengths.to_vec();
            lengths.push((Word::WorkloadSize, workload_size));
            let snapshot = ThreadSnapshot::read(&area(&words(&lengths), &[])).unwrap().unwrap();
            assert_eq!(snapshot.workload, None, "{length}");
            assert_eq!(snapshot.stack.is_some(), (1..=STACK_MAX as u64).contains(&length), "{length}");
        }
    }

    #[test]
    fn no_snapshot() {
        for words in [vec![], words(&[(Word::Cause, 9)]), words(&[(Word::Architecture, 0)])] {
            assert_eq!(ThreadSnapshot::read(&area(&words, &[])).unwrap(), None);
        }
        assert_eq!(ThreadSnapshot::read(&tempfile::tempfile().unwrap()).unwrap(), None);
    }
}
