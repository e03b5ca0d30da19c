//! The segments, which are what the loader maps.

use object::read::ReadRef;
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use object::{Endianness, elf};

use super::{Elf, File, damaged, unreadable};
use crate::plugins::rejection::Rejection;

pub(super) type Segment = elf::ProgramHeader64<Endianness>;

/// The segments, after checking that each is inside the file.
pub(super) fn check<'d, R: ReadRef<'d>>(file: &File<R>, header: &'d Elf) -> Result<&'d [Segment], Rejection> {
    let endian = file.endian;
    let table = || "its segment table".to_owned();
    file.holds(header.e_phoff(endian), u64::from(header.e_phnum(endian)) * size_of::<Segment>() as u64, table)?;
    let segments = header.program_headers(endian, file.data).map_err(unreadable)?;
    for (index, segment) in segments.iter().enumerate() {
        let (offset, size) = segment.file_range(endian);
        file.holds(offset, size, || format!("segment {index}"))?;
        if segment.p_type(endian) == elf::PT_LOAD && size > segment.p_memsz(endian) {
            return Err(damaged(format!("segment {index} has less room in memory than bytes in the file")));
        }
    }
    if !segments.iter().any(|segment| segment.p_type(endian) == elf::PT_LOAD) {
        return Err(damaged("it has no segment to load"));
    }
    Ok(segments)
}

/// For glibc a missing PT_GNU_STACK asks for an executable stack.
pub(super) fn stack<R>(file: &File<R>, segments: &[Segment]) -> Result<(), Rejection> {
    let endian = file.endian;
    match segments.iter().find(|segment| segment.p_type(endian) == elf::PT_GNU_STACK) {
        Some(segment) if !segment.p_flags(endian).contains(elf::PF_X) => Ok(()),
        _ => Err(Rejection::ExecutableStack),
    }
}

/// The file offset of the bytes at an address. `None` if they are not mapped, or filled with zeros by the loader.
pub(super) fn file_offset<R>(file: &File<R>, segments: &[Segment], address: u64, size: u64) -> Option<u64> {
    segments.iter().filter(|segment| segment.p_type(file.endian) == elf::PT_LOAD).find_map(|segment| {
        let within = address.checked_sub(segment.p_vaddr(file.endian))?;
        let (offset, filled) = segment.file_range(file.endian);
        (within.checked_add(size)? <= filled).then(|| offset.checked_add(within))?
    })
}
