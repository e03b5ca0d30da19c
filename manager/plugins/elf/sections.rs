//! The section table. The loader does not read it, but it is at the end of the file: if it is complete, so is the file.

use object::elf;
use object::read::ReadRef;
use object::read::elf::{FileHeader as _, SectionHeader as _};

use super::{Elf, File, Sections, damaged, unreadable};
use crate::plugins::display_path::clipped;
use crate::plugins::rejection::Rejection;

/// The table, after checking that every section is inside the file.
pub(super) fn check<'d, R: ReadRef<'d>>(file: &File<R>, header: &Elf) -> Result<Sections<'d, R>, Rejection> {
    let offset = header.e_shoff(file.endian);
    if offset == 0 {
        return Err(Rejection::NoSections);
    }
    let table = || "its section table".to_owned();
    file.holds(offset, size_of::<elf::SectionHeader64<object::Endianness>>() as u64, table)?;
    let count = header.shnum(file.endian, file.data).map_err(unreadable)?;
    file.holds(offset, u64::from(count) * u64::from(header.e_shentsize(file.endian)), table)?;
    let sections = header.sections(file.endian, file.data).map_err(unreadable)?;
    if sections.is_empty() {
        return Err(Rejection::NoSections);
    }
    for (index, section) in sections.enumerate() {
        let Some((offset, size)) = section.file_range(file.endian) else { continue };
        file.holds(offset, size, || {
            let name = sections.section_name(file.endian, section).unwrap_or_default();
            format!("section {} {}", index.0, clipped(name, 64)).trim_end().to_owned()
        })?;
    }
    Ok(sections)
}

/// A Rust library that the compiler links others to is no plugin.
pub(super) fn not_for_the_compiler<'d, R: ReadRef<'d>>(
    file: &File<R>,
    sections: &Sections<'d, R>,
) -> Result<(), Rejection> {
    match sections.section_by_name(file.endian, b".rustc") {
        Some(_) => Err(Rejection::RustDylib),
        None => Ok(()),
    }
}

/// Recognises a file of debug information by its sections.
pub(super) fn symbols<'d, R: ReadRef<'d>>(file: &File<R>, sections: &Sections<'d, R>) -> Result<(), Rejection> {
    let named = |name: &[u8]| sections.section_by_name(file.endian, name).map(|(_, section)| section);
    if sections.iter().all(|section| section.sh_type(file.endian) != elf::SHT_DYNSYM) {
        let stripped = named(b".dynsym").or(named(b".dynamic"));
        return Err(match stripped {
            Some(section) if section.sh_type(file.endian) == elf::SHT_NOBITS => Rejection::DebugOnly,
            _ => damaged("it has no dynamic symbol table"),
        });
    }
    Ok(())
}
