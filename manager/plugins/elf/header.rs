//! The first 64 bytes: is it ELF, of this machine, a shared library?

use object::read::ReadRef;
use object::read::elf::FileHeader as _;
use object::{Endianness, elf};

use super::{Elf, Machine, damaged, machine, recognise, unreadable};
use crate::plugins::rejection::Rejection;

/// The bytes that identify the kind of file.
const HEAD: u64 = 512;

pub(super) struct ElfHeader<'d> {
    pub elf: &'d Elf,
    pub endian: Endianness,
    pub size: u64,
}

pub(super) fn check<'d, R: ReadRef<'d>>(data: R, ours: &Machine) -> Result<ElfHeader<'d>, Rejection> {
    let read = |_| Rejection::CannotRead("an error of the file system".into());
    let size = data.len().map_err(read)?;
    let head = data.read_bytes_at(0, size.min(HEAD)).map_err(read)?;
    if head.is_empty() {
        return Err(Rejection::Empty);
    }
    if !head.starts_with(&elf::ELFMAG) {
        return Err(recognise::foreign(head));
    }
    let built = machine::of(head).ok_or_else(|| cut(size))?;
    let built = match system(head) {
        None => built,
        Some(system) => format!("{built} under {system}"),
    };
    if built != ours.name {
        let (ours, target) = (ours.name.to_owned(), ours.target.to_owned());
        return Err(Rejection::OtherMachine { built, ours, target });
    }
    if size < size_of::<Elf>() as u64 {
        return Err(cut(size));
    }
    let header = Elf::parse(data).map_err(unreadable)?;
    let endian = header.endian().map_err(unreadable)?;
    kind(header.e_type(endian))?;
    Ok(ElfHeader { elf: header, endian, size })
}

/// The operating system of a library, if its header names one that is not ours.
fn system(head: &[u8]) -> Option<String> {
    match elf::OsAbi(*head.get(7)?) {
        elf::ELFOSABI_SYSV | elf::ELFOSABI_GNU => None,
        elf::ELFOSABI_FREEBSD => Some("FreeBSD".into()),
        other => Some(format!("another system (ELF OS ABI {})", other.0)),
    }
}

fn cut(size: u64) -> Rejection {
    Rejection::Truncated { size, part: "its header".into() }
}

fn kind(kind: elf::FileType) -> Result<(), Rejection> {
    let (what, todo) = match kind {
        elf::ET_DYN => return Ok(()),
        elf::ET_EXEC => ("a program", "build a cdylib"),
        elf::ET_REL => ("an object file", "link it with -shared"),
        elf::ET_CORE => ("a core dump", "copy the library"),
        _ => return Err(damaged(format!("it is an ELF file of unknown type {}", kind.0))),
    };
    Err(Rejection::NotShared { what: what.into(), todo: todo.into() })
}
