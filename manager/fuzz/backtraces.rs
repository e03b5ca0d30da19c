//! A snapshot of a crashed thread, and a library that it says was mapped.

use std::io::Cursor;
use std::path::Path;

use super::is_one_line;
use crate::crash::backtrace::{ModuleData, OwnCode, Unreadable, backtrace};
use crate::crash::snapshot::{Registers, StackCopy, ThreadSnapshot};
use crate::system::crash_area::Architecture;
use crate::system::mappings::Mapping;

/// Where the case's stack is, and the code of its library.
const STACK: u64 = 0x7fff_0000;
const MAPPINGS: &str = "10000-40000 r-xp 00000000 fe:01 42                         /store/f.so\n";

/// The first byte says which processor, and how many mappings the case brings along. Three registers follow, the program
/// counter, the stack pointer and the frame pointer; then 256 bytes of the stack; the rest is the library.
pub fn backtraces(data: &[u8]) {
    // The code under test expects parsers to panic and goes on, but a fuzzer's hook would end the process.
    #[cfg(fuzzing)]
    {
        static SILENCE: std::sync::Once = std::sync::Once::new();
        SILENCE.call_once(|| std::panic::set_hook(Box::new(|_| ())));
    }
    let Some((first, rest)) = data.split_first() else { return };
    let (registers, rest) = rest.split_at(rest.len().min(24));
    let (stack, library) = rest.split_at(rest.len().min(256));
    let (registers, _) = registers.as_chunks();
    let architecture = if first % 2 == 0 { Architecture::X86_64 } else { Architecture::Aarch64 };
    let places: &[usize] = if first % 2 == 0 { &[16, 15, 10] } else { &[32, 31, 29] };
    let mut values = vec![0; 40];
    places.iter().zip(registers).for_each(|(place, bytes)| values[*place] = u64::from_le_bytes(*bytes));
    let mappings = if first % 4 < 2 { MAPPINGS.into() } else { String::from_utf8_lossy(library).into_owned() };
    let stack = Some(StackCopy { start: STACK, bytes: stack.to_vec() });
    let snapshot = ThreadSnapshot::crashed(Registers { architecture, values }, stack, mappings);
    let open = |_: &Mapping| -> Result<ModuleData, Unreadable> { Ok(Box::new(Cursor::new(library.to_vec()))) };
    let found = backtrace(&snapshot, &open, &OwnCode::in_directory(Path::new("/store")));
    assert!(!found.frames.is_empty() && found.frames.len() <= 200);
    found.frames.iter().for_each(|frame| is_one_line(&frame.place()));
    found.note.iter().for_each(|note| is_one_line(note));
}
