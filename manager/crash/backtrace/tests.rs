use std::io::Cursor;
use std::path::Path;

use super::*;
use crate::crash::snapshot::{Registers, StackCopy};
use crate::system::crash_area::{Architecture, STACK_MAX};

/// Code without a file, as a compiler at run time makes it, and the stack.
const MAPPINGS: &str = "10000-20000 r-xp 00000000 00:00 0 \n70000-80000 rw-p 00000000 00:00 0 [stack]\n";
const STACK: u64 = 0x70000;

/// A thread with these registers, whose stack has these words.
fn thread(architecture: Architecture, registers: &[(usize, u64)], stack: Option<&[u64]>) -> ThreadSnapshot {
    let mut values = vec![0; 40];
    registers.iter().for_each(|(register, value)| values[*register] = *value);
    let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let stack = stack.map(|words| StackCopy { start: STACK, bytes: bytes(words) });
    ThreadSnapshot::crashed(Registers { architecture, values }, stack, MAPPINGS.into())
}

fn x86_64(pc: u64, sp: u64, fp: u64, stack: Option<&[u64]>) -> ThreadSnapshot {
    thread(Architecture::X86_64, &[(16, pc), (15, sp), (10, fp)], stack)
}

fn aarch64(pc: u64, fp: u64, lr: u64, stack: &[u64]) -> ThreadSnapshot {
    thread(Architecture::Aarch64, &[(32, pc), (31, STACK), (29, fp), (30, lr)], Some(stack))
}

fn found(snapshot: &ThreadSnapshot) -> (Vec<u64>, String) {
    let backtrace = backtrace(snapshot, &open_module, &OwnCode::in_directory(Path::new("/store")));
    let addresses = backtrace.frames.iter().map(|frame| frame.address).collect();
    (addresses, backtrace.note.unwrap_or_default())
}

#[test]
fn callers_by_the_frame_pointer() {
    // Each call has stored the frame pointer and the address after it.
    let stack = [0, STACK + 24, 0x10200, STACK + 40, 0x10300, 0, 0];
    let (calls, note) = found(&x86_64(0x10100, STACK, STACK + 8, Some(&stack)));
    assert_eq!((calls, note.as_str()), (vec![0x10100, 0x101ff, 0x102ff], ""));
    let stack = [STACK + 16, 0x10300, 0, 0, 0, 0];
    let (calls, _) = found(&aarch64(0x10100, STACK, 0x10200, &stack));
    assert_eq!(calls[..2], [0x10100, 0x102ff]);
}

#[test]
fn a_call_of_what_is_no_code() {
    let stack = [0x10200, 0, STACK + 32, 0x10300, 0, 0];
    for pc in [0, 8, STACK, u64::MAX] {
        let (calls, _) = found(&x86_64(pc, STACK, STACK + 16, Some(&stack)));
        assert_eq!(calls[..2], [pc, 0x101ff], "{pc:#x}");
        let signed_lr = 0x10200 | 0x42 << 56;
        assert_eq!(found(&aarch64(pc, 0, signed_lr, &stack)).0[..2], [pc, 0x101ff], "{pc:#x}");
    }
    let (calls, note) = found(&x86_64(0, STACK, 0, Some(&[0x666, 0])));
    assert_eq!((calls, note.contains("names no caller")), (vec![0], true), "{note}");
}

#[test]
fn a_stack_that_is_damaged_or_missing() {
    let at = |sp, fp, stack| x86_64(0x10100, sp, fp, stack);
    for (snapshot, reason) in [
        (at(64, 0, None), "there is no memory at the stack pointer, 0x40"),
        (
            at(STACK, STACK + 8, Some(&[0, STACK + 24, 0x4141_4141])),
            "0x41414141, to which a call would return, is no code",
        ),
        (at(STACK, STACK + 0x5000, Some(&[0, 0, 0])), "the stack is damaged"),
        (at(STACK, u64::MAX - 3, Some(&[0, 0, 0])), "the stack is damaged"),
        // Each frame is its own caller.
        (at(STACK, STACK + 8, Some(&[0, STACK + 8, 0x10200])), "the stack is damaged"),
    ] {
        let (calls, note) = found(&snapshot);
        assert!(!calls.is_empty() && calls.len() < 3 && note.contains(reason), "{reason}: {calls:x?} {note}");
    }
    let unmapped = ThreadSnapshot { mappings: None, ..at(STACK, 0, Some(&[])) };
    assert!(found(&unmapped).1.contains("the list of mapped files was not saved"));
}

#[test]
fn a_deep_stack_is_cut() {
    let words = (STACK_MAX / 8) as u64;
    // From the second word on, frames of two words.
    let chain = |at: u64| if at % 2 == 1 { STACK + (at + 2) * 8 } else { 0x10200 };
    let stack: Vec<u64> = (0..words).map(chain).collect();
    let (calls, note) = found(&x86_64(0x10100, STACK, STACK + 8, Some(&stack)));
    assert_eq!(calls.len(), FRAMES);
    let left_out = stack.len() / 2 - FRAMES;
    assert!(note.starts_with(&format!("{left_out} more calls are left out")), "{note}");
    assert!(note.ends_with("the outer calls are unknown: 64 KiB of the stack were saved"), "{note}");
}

/// What was mapped is no library, or one that is gone.
#[test]
fn a_file_that_is_damaged_or_gone() {
    let mappings = "10000-20000 r-xp 00000000 fe:01 42                         /store/f.so";
    let snapshot = ThreadSnapshot { mappings: Some(mappings.into()), ..x86_64(0x10100, STACK, 0, Some(&[0; 8])) };
    let own = OwnCode::in_directory(Path::new("/store"));
    let open_damaged =
        |_: &Mapping| -> Result<ModuleData, Unreadable> { Ok(Box::new(Cursor::new(b"\x7fELF".to_vec()))) };
    for (open, reason) in [(&open_module as Open<'_>, "was removed or replaced"), (&open_damaged, "cannot be read")] {
        let backtrace = backtrace(&snapshot, open, &own);
        let [frame, ..] = backtrace.frames.as_slice() else { panic!("no frame") };
        assert_eq!((frame.module.as_str(), frame.offset, frame.own), ("/store/f.so", 0x100, true));
        assert!(backtrace.note.unwrap().contains(reason), "{reason}");
    }
}
