//! Whether a library of this process brings Go's runtime along.
//!
//! Go sets handlers of its own for the signals of crashes while it is loaded, and needs them: its `recover` builds on
//! them. What is not Go's it passes to the handler that it found.

use std::ffi::{c_int, c_void};

use nix::libc::{self, Elf64_Phdr, PT_LOAD, PT_NOTE, dl_phdr_info};

/// Go's linker leaves a note with the build's id, under this name.
const OWNER: &[u8] = b"Go\0\0";

/// Whether a loaded library has a note of Go's linker.
pub(super) fn is_loaded() -> bool {
    let mut found = false;
    // SAFETY: the callback takes the flag for what it is, and nobody else has it meanwhile.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut found).cast()) };
    found
}

unsafe extern "C" fn look(info: *mut dl_phdr_info, _: usize, found: *mut c_void) -> c_int {
    // SAFETY: the loader passes on a description that is valid during the call, and the flag that is lent above.
    let (info, found) = unsafe { (&*info, &mut *found.cast::<bool>()) };
    let headers = if info.dlpi_phdr.is_null() {
        &[][..]
    } else {
        // SAFETY: the loader has mapped the headers of what it has loaded.
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) }
    };
    *found = headers.iter().filter(|header| header.p_type == PT_NOTE && is_mapped(header, headers)).any(|header| {
        let start = std::ptr::with_exposed_provenance::<u8>(info.dlpi_addr.wrapping_add(header.p_vaddr) as usize);
        // SAFETY: a segment that the loader has mapped contains it, and nothing is ever unloaded.
        has_owner(unsafe { std::slice::from_raw_parts(start, header.p_filesz as usize) }, OWNER)
    });
    c_int::from(*found)
}

/// Whether the loader has mapped a segment that contains this one, for reading.
fn is_mapped(note: &Elf64_Phdr, all: &[Elf64_Phdr]) -> bool {
    let end = note.p_vaddr.checked_add(note.p_filesz);
    let contains = |load: &Elf64_Phdr| {
        let load_end = load.p_vaddr.checked_add(load.p_filesz);
        load.p_type == PT_LOAD
            && load.p_flags & libc::PF_R != 0
            && note.p_vaddr >= load.p_vaddr
            && matches!((end, load_end), (Some(end), Some(load_end)) if end <= load_end)
    };
    note.p_filesz > 0 && all.iter().any(contains)
}

/// Whether one of these notes has that owner.
fn has_owner(notes: &[u8], owner: &[u8]) -> bool {
    const HEADER: usize = 12;
    let mut rest = notes;
    while let Some((header, body)) = rest.split_at_checked(HEADER) {
        let word = |at: usize| {
            let bytes = header.get(at..at.saturating_add(4)).and_then(|bytes| bytes.try_into().ok());
            u32::from_ne_bytes(bytes.unwrap_or_default()) as usize
        };
        let (name_length, description_length) = (word(0), word(4));
        if name_length == owner.len() && body.starts_with(owner) {
            return true;
        }
        let length = name_length.next_multiple_of(4).saturating_add(description_length.next_multiple_of(4));
        rest = body.get(length..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(owner: &[u8], description: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [owner.len() as u32, description.len() as u32, 4] {
            note.extend_from_slice(&word.to_ne_bytes());
        }
        for bytes in [owner, description] {
            note.extend_from_slice(bytes);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn notes_are_searched() {
        let (gnu, go) = (note(b"GNU\0", b"abcde"), note(b"Go\0\0", b"id"));
        for (notes, found) in [
            (go.clone(), true),
            ([gnu.clone(), go.clone()].concat(), true),
            (gnu.clone(), false),
            (vec![], false),
            (go[..11].to_vec(), false),
            (vec![0xff; 40], false),
            ([note(b"Gone", b""), gnu].concat(), false),
        ] {
            assert_eq!(has_owner(&notes, OWNER), found, "{notes:?}");
        }
    }

    #[test]
    fn this_program_has_no_go_in_it() {
        assert!(!is_loaded());
    }
}
