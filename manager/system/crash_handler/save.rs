//! Copies a thread into the crash area, one piece after the other: each counts only once its length is stored.
//!
//! Nothing is read through a pointer of the crashed thread's: the kernel copies, and stops where there is no memory.

use std::cell::Cell;
use std::sync::atomic::Ordering::{Relaxed, Release};

use nix::errno::Errno;
use nix::libc::{self, c_int, siginfo_t, ucontext_t};

use crate::system::crash_area::{Architecture, Cause, CrashArea, MAPPINGS_MAX, Piece, STACK_MAX, Word};

const PAGE: usize = 4096;
/// No function takes more of a stack: a stack pointer that is further from one is wrong.
const FRAME_MAX: usize = 64 << 20;

/// What is to be saved.
pub(super) struct Snapshot<'a> {
    pub(super) cause: Cause,
    pub(super) info: &'a siginfo_t,
    pub(super) context: &'a ucontext_t,
    pub(super) process: i32,
    pub(super) thread: i32,
    pub(super) job: u64,
    /// Where it is, and its length.
    pub(super) workload: Option<(*const u8, usize)>,
}

impl Snapshot<'_> {
    pub(super) fn save(&self, area: &CrashArea) {
        area.clear();
        self.save_header(area);
        let sp = stack_pointer(self.context);
        self.save_stack(area, sp);
        let above = self.save_mappings(area, sp);
        if area.header().load(Word::Stack, Relaxed) == 0 && above != 0 {
            // The stack pointer of a thread that overflows its stack is below it.
            self.save_stack(area, above);
        }
        if let Some((start, length)) = self.workload {
            area.header().store(Word::WorkloadSize, length as u64, Relaxed);
            let most = length.min(area.workload_max());
            if area.workload_max() > 0 {
                area.complete(Piece::Workload, 0);
            }
            copy(self.process, start.addr(), area.piece(Piece::Workload), most, |length| {
                area.complete(Piece::Workload, length);
            });
        }
    }

    fn save_header(&self, area: &CrashArea) {
        let header = area.header();
        let set = |word, value: u64| header.store(word, value, Relaxed);
        let code = self.info.si_code;
        // Sign-extended, as the reader cuts it again.
        set(Word::Signal, self.info.si_signo as u64);
        set(Word::Code, code as u64);
        // SAFETY: the kernel fills one of the two, which the code distinguishes; both are plain values.
        let (address, sender) = unsafe { (self.info.si_addr().addr() as u64, self.info.si_pid() as u64) };
        set(Word::FaultAddress, if code > 0 { address } else { 0 });
        set(Word::Sender, if code > 0 { 0 } else { sender });
        set(Word::Process, self.process as u64);
        set(Word::Thread, self.thread as u64);
        let [name, end] = thread_name();
        set(Word::Name, name);
        set(Word::NameEnd, end);
        set(Word::Job, self.job);
        if let Some(architecture) = store_registers(self.context, area) {
            set(Word::Architecture, architecture as u64);
            header.store(Word::Cause, self.cause as u64, Release);
        }
    }

    fn save_stack(&self, area: &CrashArea, start: usize) {
        area.header().store(Word::StackStart, start as u64, Relaxed);
        copy(self.process, start, area.piece(Piece::Stack), STACK_MAX, |length| area.complete(Piece::Stack, length));
    }

    /// The list of mappings, without those that explain nothing. Returns where readable memory begins above the stack
    /// pointer, or 0 if there is none nearby.
    fn save_mappings(&self, area: &CrashArea, sp: usize) -> usize {
        let Some(file) = self.open_mappings() else { return 0 };
        let above = Cell::new(0);
        // SAFETY: a fault address is a plain value, whatever it means.
        let fault = unsafe { self.info.si_addr() }.addr();
        let buffer = area.piece(Piece::Mappings);
        // Up to `kept` are lines to keep; from there to `filled` is what was read and not looked at yet.
        let (mut kept, mut filled) = (0, 0);
        while filled < MAPPINGS_MAX {
            // SAFETY: the piece has that much room.
            let read = unsafe { libc::read(file, buffer.add(filled).cast(), MAPPINGS_MAX - filled) };
            match usize::try_from(read) {
                Ok(0) => break,
                Ok(read) => filled = filled.saturating_add(read),
                Err(_) if Errno::last() == Errno::EINTR => {}
                Err(_) => break,
            }
            // SAFETY: the piece is mapped; another thread may write to it, which changes the text and nothing else.
            let text = unsafe { std::slice::from_raw_parts_mut(buffer, filled) };
            (kept, filled) = keep_lines(text, kept, |line| {
                let start = readable_from(line);
                if above.get() == 0 && start.checked_sub(sp).is_some_and(|frame| frame < FRAME_MAX) {
                    above.set(start);
                }
                is_kept(line, [sp, fault])
            });
        }
        // SAFETY: a plain system call.
        unsafe { libc::close(file) };
        if kept > 0 {
            area.complete(Piece::Mappings, kept);
        }
        above.get()
    }

    fn open_mappings(&self) -> Option<c_int> {
        // SAFETY: a plain system call with a text that ends with a NUL.
        let open = || unsafe { libc::open(c"/proc/thread-self/maps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        let mut file = open();
        if file < 0 && Errno::last() == Errno::EMFILE && self.cause == Cause::Crash {
            // No descriptor is free, and this process needs none of its own any more.
            // SAFETY: a plain system call.
            unsafe { libc::close(libc::STDIN_FILENO) };
            file = open();
        }
        (file >= 0).then_some(file)
    }
}

/// Copies from this process's memory, as far as it is readable, up to `most` bytes; `complete` is told how many.
fn copy(process: i32, from: usize, to: *mut u8, most: usize, complete: impl Fn(usize)) {
    let local = libc::iovec { iov_base: to.cast(), iov_len: most };
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(from), iov_len: most };
    // SAFETY: the piece has that much room; the kernel checks the other side.
    let copied = unsafe { libc::process_vm_readv(process, &raw const local, 1, &raw const remote, 1, 0) };
    match usize::try_from(copied) {
        Ok(0) => {}
        Ok(length) => complete(length),
        Err(_) if matches!(Errno::last(), Errno::ENOSYS | Errno::EPERM) => copy_pages(from, to, most, complete),
        Err(_) => {}
    }
}

/// As [`copy`], where a system call filter forbids that. Unreadable memory ends the process, with what was completed.
fn copy_pages(from: usize, to: *mut u8, most: usize, complete: impl Fn(usize)) {
    let mut done = 0;
    while done < most {
        let at = from.saturating_add(done);
        let page = at - at % PAGE;
        let length = (most - done).min(page.saturating_add(PAGE).saturating_sub(at));
        let mut state = 0_u8;
        // SAFETY: mincore checks the page, and writes one byte for it.
        if length == 0 || unsafe { libc::mincore(std::ptr::without_provenance_mut(page), PAGE, &raw mut state) } != 0 {
            return;
        }
        // SAFETY: none can be given for `from`: the page is mapped, and a fault ends a process that is about to end.
        unsafe { std::ptr::copy(std::ptr::with_exposed_provenance::<u8>(at), to.add(done), length) };
        done = done.saturating_add(length);
        complete(done);
    }
}

/// Drops lines from `kept` on that are not to be kept. Returns where the kept ones end, and the text.
fn keep_lines(text: &mut [u8], mut kept: usize, is_kept: impl Fn(&[u8]) -> bool) -> (usize, usize) {
    let mut filled = text.len();
    while let Some(length) = text.get(kept..filled).and_then(|rest| rest.iter().position(|byte| *byte == b'\n')) {
        let end = kept.saturating_add(length).saturating_add(1);
        if text.get(kept..end).is_some_and(&is_kept) {
            kept = end;
        } else if end <= filled {
            text.copy_within(end..filled, kept);
            filled = filled.saturating_sub(end.saturating_sub(kept));
        }
    }
    (kept, filled)
}

/// Whether a mapping is of a file or a special one, may hold code, or is the one of these addresses.
fn is_kept(line: &[u8], addresses: [usize; 2]) -> bool {
    let (start, rest) = hexadecimal(line);
    let (end, rest) = hexadecimal(rest.get(1..).unwrap_or_default());
    rest.get(3) == Some(&b'x')
        || rest.iter().any(|byte| matches!(byte, b'/' | b'['))
        || addresses.iter().any(|address| (start..end).contains(address))
}

/// Where a mapping begins; 0 if it cannot be read.
fn readable_from(line: &[u8]) -> usize {
    let (start, rest) = hexadecimal(line);
    let (_, rest) = hexadecimal(rest.get(1..).unwrap_or_default());
    if rest.get(1) == Some(&b'r') { start } else { 0 }
}

/// The number at the beginning of a text, and what follows it.
fn hexadecimal(text: &[u8]) -> (usize, &[u8]) {
    let mut value = 0_usize;
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => break,
        };
        value = value << 4 | usize::from(digit);
        rest = after;
    }
    (value, rest)
}

fn thread_name() -> [u64; 2] {
    let mut name = [0_u64; 2];
    // SAFETY: the kernel writes 16 bytes at most.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    name
}

#[cfg(target_arch = "x86_64")]
fn store_registers(context: &ucontext_t, area: &CrashArea) -> Option<Architecture> {
    let all = context.uc_mcontext.gregs.iter();
    area.header()
        .registers()
        .iter()
        .zip(all)
        .for_each(|(word, register)| word.store(register.cast_unsigned(), Relaxed));
    Some(Architecture::X86_64)
}

#[cfg(target_arch = "x86_64")]
fn stack_pointer(context: &ucontext_t) -> usize {
    context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize
}

#[cfg(target_arch = "aarch64")]
fn store_registers(context: &ucontext_t, area: &CrashArea) -> Option<Architecture> {
    let machine = &context.uc_mcontext;
    let all = machine.regs.iter().chain([&machine.sp, &machine.pc, &machine.pstate]);
    area.header().registers().iter().zip(all).for_each(|(word, register)| word.store(*register as u64, Relaxed));
    Some(Architecture::Aarch64)
}

#[cfg(target_arch = "aarch64")]
fn stack_pointer(context: &ucontext_t) -> usize {
    context.uc_mcontext.sp as usize
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn store_registers(_: &ucontext_t, _: &CrashArea) -> Option<Architecture> {
    None
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn stack_pointer(_: &ucontext_t) -> usize {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_that_explain_something_are_kept() {
        for (line, kept) in [
            ("7f00-7f10 r--p 00000000 fe:01 42 /lib/a.so", true),
            ("7ffc-7ffd rw-p 00000000 00:00 0 [stack]", true),
            ("7f00-7f10 r-xp 00000000 00:00 0 ", true),
            ("7f00-7f10 rw-p 00000000 00:00 0 ", false),
            ("1000-2000 rw-p 00000000 00:00 0 ", true),
            ("3000-4000 ---p 00000000 00:00 0 ", true),
            ("800-1000 rw-p 00000000 00:00 0 ", false),
            ("", false),
            ("no mapping", false),
        ] {
            assert_eq!(is_kept(line.as_bytes(), [0x1800, 0x3000]), kept, "{line}");
        }
    }

    #[test]
    fn readable_memory_begins_with_a_mapping() {
        for (line, start) in [("7f00-7f10 rw-p 0", 0x7f00), ("7f00-7f10 ---p 0", 0), ("", 0), ("7f00", 0)] {
            assert_eq!(readable_from(line.as_bytes()), start, "{line}");
        }
    }

    #[test]
    fn lines_are_dropped_as_they_are_read() {
        let keep = |line: &[u8]| line.starts_with(b"k");
        let mut text = *b"k1\nd2\nk3\nd4\nk";
        assert_eq!(keep_lines(&mut text, 0, keep), (6, 7));
        assert_eq!(&text[..7], b"k1\nk3\nk");
        let mut text = *b"k1\nk3\nk5\nd";
        assert_eq!(keep_lines(&mut text, 6, keep), (9, 10));
        assert_eq!(keep_lines(&mut [], 0, keep), (0, 0));
    }

    #[test]
    fn memory_is_copied_as_far_as_there_is_some() {
        let bytes: Vec<u8> = (0..3 * PAGE).map(|n| (n % 251) as u8).collect();
        let own = std::process::id() as i32;
        let (mut to, length) = (vec![0; bytes.len()], Cell::new(0));
        copy(own, bytes.as_ptr().expose_provenance(), to.as_mut_ptr(), to.len(), |copied| length.set(copied));
        assert_eq!((length.get(), &to), (bytes.len(), &bytes));
        let (mut to, length) = (vec![0; bytes.len()], Cell::new(0));
        copy_pages(bytes.as_ptr().expose_provenance(), to.as_mut_ptr(), to.len(), |copied| length.set(copied));
        assert_eq!((length.get(), &to), (bytes.len(), &bytes));
        for nothing in [0, 8, usize::MAX - 7] {
            let length = Cell::new(0);
            copy(own, nothing, to.as_mut_ptr(), to.len(), |copied| length.set(copied));
            copy_pages(nothing, to.as_mut_ptr(), to.len(), |copied| length.set(copied));
            assert_eq!(length.get(), 0);
        }
    }
}
