//! Where a worker that crashes leaves what is known of the crash: the layout of that memory.
//!
//! A header of words, then room for three pieces: the top of the stack, the list of mappings, and the workload of the
//! job in hand. The memory is a part of a memfd and takes pages only where something was written. Every word and piece
//! is hostile input to its reader: a plugin can write there as well.

use std::sync::atomic::{AtomicU64, Ordering};

/// The words of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Word {
    /// A [`Cause`], stored when the words up to the registers are complete; 0 if there is no snapshot.
    Cause,
    /// An [`Architecture`].
    Architecture,
    /// The signal's number.
    Signal,
    /// Its `si_code`.
    Code,
    /// Its `si_addr`, where it has one.
    FaultAddress,
    /// The process that sent it, where one did.
    Sender,
    /// The process.
    Process,
    /// The thread that got it.
    Thread,
    /// The thread's name: this word and the next.
    Name,
    NameEnd,
    /// The number of the job in hand; 0 for none.
    Job,
    /// The address of the first byte of the stack piece.
    StackStart,
    /// One more than the length of the stack piece; 0 if it is missing. As for all pieces, it is stored last.
    Stack,
    /// One more than the length of the mappings piece; 0 if it is missing.
    Mappings,
    /// One more than the length of the workload piece; 0 if it is missing.
    Workload,
    /// The length of the whole workload.
    WorkloadSize,
    /// The first of [`REGISTERS`] words, as [`Architecture`] orders them.
    Registers,
}

/// Room for registers, in words.
pub(crate) const REGISTERS: usize = 40;
/// Words in the header.
pub(crate) const WORDS: usize = Word::Registers as usize + REGISTERS;

/// Why a snapshot was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Cause {
    /// A signal that ended the process.
    Crash = 1,
    /// The manager asked for it: a job was past its timeout.
    Request = 2,
}

/// The processor, and with it the order of the registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Architecture {
    /// r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, and what the kernel appends to those.
    X86_64 = 1,
    /// x0 to x30, sp, pc, pstate.
    Aarch64 = 2,
}

/// The header has pages of its own.
pub(crate) const HEADER: usize = 4096;
const _: () = assert!(WORDS * size_of::<u64>() <= HEADER);

/// The most that is copied of a stack.
pub(crate) const STACK_MAX: usize = 64 << 10;
/// The most that is copied of the list of mappings.
pub(crate) const MAPPINGS_MAX: usize = 256 << 10;

/// Where the pieces begin.
pub(crate) const STACK_AT: usize = HEADER;
pub(crate) const MAPPINGS_AT: usize = STACK_AT + STACK_MAX;
pub(crate) const WORKLOAD_AT: usize = MAPPINGS_AT + MAPPINGS_MAX;

/// How large the memory is, with room for workloads of this many bytes.
pub(crate) fn size(workload_max: usize) -> Option<usize> {
    WORKLOAD_AT.checked_add(workload_max)?.checked_next_multiple_of(HEADER)
}

/// The header in memory.
#[repr(C)]
pub(crate) struct CrashHeader {
    words: [AtomicU64; WORDS],
}

impl CrashHeader {
    pub(crate) fn load(&self, word: Word, ordering: Ordering) -> u64 {
        self.words[word as usize].load(ordering)
    }

    pub(crate) fn store(&self, word: Word, value: u64, ordering: Ordering) {
        self.words[word as usize].store(value, ordering);
    }

    /// The room for registers.
    pub(crate) fn registers(&self) -> &[AtomicU64] {
        &self.words[Word::Registers as usize..]
    }
}
