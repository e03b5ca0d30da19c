//! The dynamic segment, which is what the loader uses.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use object::elf;
use object::read::elf::{Dyn as _, ProgramHeader as _};
use object::read::{ReadRef, StringTable};

use super::segments::{Segment, file_offset};
use super::{File, damaged, unreadable};
use crate::plugins::display_path::clipped;
use crate::plugins::rejection::Rejection;

/// What we need of it.
pub(super) struct DynamicSection {
    /// As text for a log line.
    pub needed: Vec<String>,
    pub links: LibraryReferences,
}

/// What a library tells the loader to find, and where, unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LibraryReferences {
    /// The libraries it needs, in its order.
    pub needed: Vec<OsString>,
    /// The name by which others need it.
    pub soname: Option<OsString>,
    /// Where to look for what it and its dependencies need: the older kind, separated by colons.
    pub rpath: Option<OsString>,
    /// Where to look for what it needs itself.
    pub runpath: Option<OsString>,
}

/// Most libraries need five; a damaged one may claim any number, and all must fit into one message.
const MAX_NEEDED: usize = 64;

/// Tables that the loader reads before any code runs: where, how long (0 means at least one byte), name.
const TABLES: &[(elf::DynamicTag, Option<elf::DynamicTag>, &str)] = &[
    (elf::DT_STRTAB, Some(elf::DT_STRSZ), "string table"),
    (elf::DT_SYMTAB, None, "symbol table"),
    (elf::DT_RELA, Some(elf::DT_RELASZ), "relocation table"),
    (elf::DT_JMPREL, Some(elf::DT_PLTRELSZ), "jump table"),
    (elf::DT_GNU_HASH, None, "hash table"),
    (elf::DT_HASH, None, "hash table"),
    (elf::DT_INIT_ARRAY, Some(elf::DT_INIT_ARRAYSZ), "table of constructors"),
    (elf::DT_FINI_ARRAY, Some(elf::DT_FINI_ARRAYSZ), "table of destructors"),
    (elf::DT_VERNEED, None, "version table"),
    (elf::DT_VERSYM, None, "version table"),
];

pub(super) fn check<'d, R: ReadRef<'d>>(file: &File<R>, segments: &'d [Segment]) -> Result<DynamicSection, Rejection> {
    let mut entries = None;
    for segment in segments {
        entries = entries.or(segment.dynamic(file.endian, file.data).map_err(unreadable)?);
    }
    let Some(entries) = entries else { return Err(damaged("it has no dynamic segment")) };
    let entries: Vec<(elf::DynamicTag, u64)> = entries
        .iter()
        .map(|entry| (entry.tag(file.endian), entry.val(file.endian)))
        .take_while(|&(tag, _)| tag != elf::DT_NULL)
        .collect();
    let value = |tag| entries.iter().find(|&&(t, _)| t == tag).map(|&(_, value)| value);

    if value(elf::DT_FLAGS_1).is_some_and(|flags| flags & elf::DF_1_PIE.0 != 0) {
        return Err(Rejection::NotShared { what: "a program".into(), todo: "build a cdylib".into() });
    }
    for &(tag, size, name) in TABLES {
        let size = size.and_then(value).unwrap_or(1);
        let Some(address) = value(tag).filter(|_| size > 0) else { continue };
        if file_offset(file, segments, address, size).is_none() {
            return Err(damaged(format!("its {name} lies outside what is loaded")));
        }
    }
    let needed = entries.iter().filter(|(tag, _)| *tag == elf::DT_NEEDED).take(MAX_NEEDED);
    let strings = strings(file, segments, value(elf::DT_STRTAB), value(elf::DT_STRSZ))?;
    let text = |at: u64| u32::try_from(at).ok().and_then(|at| strings.get(at).ok());
    let names = needed.map(|&(_, at)| text(at).ok_or_else(|| damaged("the name of a library it needs lies nowhere")));
    let names: Vec<&[u8]> = names.collect::<Result<_, _>>()?;
    let exact = |tag| value(tag).and_then(text).map(|text| OsStr::from_bytes(text).to_owned());
    Ok(DynamicSection {
        needed: names.iter().map(|name| clipped(name, 100)).collect(),
        links: LibraryReferences {
            needed: names.iter().map(|name| OsStr::from_bytes(name).to_owned()).collect(),
            soname: exact(elf::DT_SONAME),
            rpath: exact(elf::DT_RPATH),
            runpath: exact(elf::DT_RUNPATH),
        },
    })
}

fn strings<'d, R: ReadRef<'d>>(
    file: &File<R>,
    segments: &[Segment],
    address: Option<u64>,
    size: Option<u64>,
) -> Result<StringTable<'d, R>, Rejection> {
    let (Some(address), Some(size)) = (address, size) else {
        return Err(damaged("its dynamic segment names no string table"));
    };
    let start = file_offset(file, segments, address, size);
    let range = start.and_then(|start| Some((start, start.checked_add(size)?)));
    let (start, end) = range.ok_or_else(|| damaged("its string table lies outside what is loaded"))?;
    Ok(StringTable::new(file.data, start, end))
}
