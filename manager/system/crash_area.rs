//! Where a worker that crashes leaves what is known of the crash: the layout of that memory.
//!
//! A header of words, then room for three pieces: the top of the stack, the list of mappings, and the workload of the
//! job in hand. The memory is a part of a memfd and takes pages only where something was written. Every word and piece
//! is hostile input to its reader: a plugin can write there as well.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{
    AtomicU64, Ordering,
    Ordering::{Acquire, Release},
};

use nix::errno::Errno;
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};

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

/// What is saved beside the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    Stack,
    Mappings,
    Workload,
}

impl Piece {
    pub(crate) const ALL: [Self; 3] = [Self::Stack, Self::Mappings, Self::Workload];

    /// Where it begins.
    pub(crate) fn at(self) -> usize {
        match self {
            Self::Stack => STACK_AT,
            Self::Mappings => MAPPINGS_AT,
            Self::Workload => WORKLOAD_AT,
        }
    }

    /// The word of its length.
    pub(crate) fn length(self) -> Word {
        match self {
            Self::Stack => Word::Stack,
            Self::Mappings => Word::Mappings,
            Self::Workload => Word::Workload,
        }
    }
}

/// How large the memory is, with room for workloads of this many bytes.
///
/// # Errors
/// The size overflows.
pub(crate) fn size(workload_max: usize) -> io::Result<usize> {
    let size = WORKLOAD_AT.checked_add(workload_max).and_then(|size| size.checked_next_multiple_of(HEADER));
    size.ok_or_else(|| io::ErrorKind::InvalidInput.into())
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

/// A mapped crash area. It is never unmapped in the process that writes it.
#[derive(Debug)]
pub(crate) struct CrashArea {
    start: NonNull<u8>,
    workload_max: usize,
}

// SAFETY: words are accessed through atomics, and pieces through pointers, by one thread at a time.
unsafe impl Send for CrashArea {}
// SAFETY: as above.
unsafe impl Sync for CrashArea {}

impl CrashArea {
    /// Maps the area that begins at `offset` of a memfd, for good. None of it takes memory yet.
    ///
    /// # Errors
    /// The system's, or one that says `fd` is too small.
    pub(crate) fn map(fd: &OwnedFd, offset: usize, workload_max: usize) -> io::Result<Self> {
        let size = size(workload_max)?;
        let there = usize::try_from(nix::sys::stat::fstat(fd)?.st_size).unwrap_or(0);
        let (Some(needed), Some(length)) = (offset.checked_add(size), NonZeroUsize::new(size)) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if there < needed {
            let text = format!("{there} bytes of shared memory were inherited, and {needed} are needed");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh shared mapping, of a file that is as large and is never shrunk: its creator seals the size.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd.as_fd(), offset)? };
        Ok(Self { start: start.cast(), workload_max })
    }

    pub(crate) fn header(&self) -> &CrashHeader {
        // SAFETY: the area begins at a page and is larger than a header; any bytes are one.
        unsafe { self.start.cast::<CrashHeader>().as_ref() }
    }

    /// Where a piece is to be written.
    pub(crate) fn piece(&self, piece: Piece) -> *mut u8 {
        self.start.as_ptr().wrapping_add(piece.at())
    }

    pub(crate) fn workload_max(&self) -> usize {
        self.workload_max
    }

    /// Makes whatever was saved before count no more.
    pub(crate) fn clear(&self) {
        for word in [Word::Cause, Word::Stack, Word::Mappings, Word::Workload] {
            self.header().store(word, 0, Release);
        }
    }

    /// A piece is written as far as that.
    pub(crate) fn complete(&self, piece: Piece, length: usize) {
        self.header().store(piece.length(), (length as u64).saturating_add(1), Release);
    }
}

/// A copy of a crash area in a file of its own, which is as empty where nothing was saved; `None` if there is no snapshot.
/// Of a process that is gone, though another one that it had forked may still write to the area.
///
/// # Errors
/// The system's: out of descriptors or memory.
///
/// # Safety
/// The area is mapped from `start` on, at a page, and has room for a workload of `workload_max` bytes.
pub(crate) unsafe fn copy(start: NonNull<u8>, workload_max: usize) -> io::Result<Option<OwnedFd>> {
    let area = CrashArea { start, workload_max };
    if area.header().load(Word::Cause, Acquire) == 0 {
        return Ok(None);
    }
    let fd = memfd_create(c"gm-native-crash", MFdFlags::MFD_CLOEXEC)?;
    nix::unistd::ftruncate(&fd, i64::try_from(size(workload_max)?).map_err(|_| io::ErrorKind::InvalidInput)?)?;
    for piece in Piece::ALL {
        let most = match piece {
            Piece::Stack => STACK_MAX,
            Piece::Mappings => MAPPINGS_MAX,
            Piece::Workload => workload_max,
        };
        let length = usize::try_from(area.header().load(piece.length(), Acquire)).unwrap_or(usize::MAX);
        if let Some(length) = length.checked_sub(1).filter(|length| *length <= most) {
            copy_range(&area, piece.at(), length, &fd)?;
        }
    }
    copy_range(&area, 0, WORDS * size_of::<u64>(), &fd)?;
    Ok(Some(fd))
}

/// The kernel copies, so it does not matter whether another process writes meanwhile.
fn copy_range(area: &CrashArea, at: usize, length: usize, to: &OwnedFd) -> io::Result<()> {
    let mut done = 0;
    while done < length {
        let offset = at.saturating_add(done);
        let start = area.start.as_ptr().wrapping_add(offset).cast_const().cast();
        // SAFETY: the range is within the area, which is mapped.
        let written = unsafe { libc::pwrite(to.as_raw_fd(), start, length - done, offset as libc::off_t) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => done = done.saturating_add(written),
            Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            Err(_) if Errno::last() == Errno::EINTR => {}
            Err(_) => return Err(io::Error::last_os_error()),
        }
    }
    Ok(())
}
