//! The dynamic segment: what the loader goes by.

use object::elf;
use object::read::elf::{Dyn as _, ProgramHeader as _};
use object::read::{ReadRef, StringTable};

use super::segments::{Segment, file_offset};
use super::{File, damaged, unreadable};
use crate::plugins::refusal::Refusal;
use crate::plugins::text::clipped;

/// What is wanted of it.
pub(super) struct Dynamic {
    pub needed: Vec<String>,
}

/// Most libraries have five; a damaged one may claim any number, and all must fit into one message.
const MAX_NEEDED: usize = 64;

/// Tables the loader reads before any code runs: where, how long (0: at least one byte), name.
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

pub(super) fn check<'d, R: ReadRef<'d>>(file: &File<R>, segments: &'d [Segment]) -> Result<Dynamic, Refusal> {
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
        return Err(Refusal::NotShared { what: "a program".into(), todo: "build a cdylib".into() });
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
    let needed = needed.map(|&(_, at)| {
        let name = u32::try_from(at).ok().and_then(|at| strings.get(at).ok());
        name.map(|name| clipped(name, 100)).ok_or_else(|| damaged("the name of a library it needs lies nowhere"))
    });
    Ok(Dynamic { needed: needed.collect::<Result<_, _>>()? })
}

fn strings<'d, R: ReadRef<'d>>(
    file: &File<R>,
    segments: &[Segment],
    address: Option<u64>,
    size: Option<u64>,
) -> Result<StringTable<'d, R>, Refusal> {
    let (Some(address), Some(size)) = (address, size) else {
        return Err(damaged("its dynamic segment names no string table"));
    };
    let start = file_offset(file, segments, address, size);
    let range = start.and_then(|start| Some((start, start.checked_add(size)?)));
    let (start, end) = range.ok_or_else(|| damaged("its string table lies outside what is loaded"))?;
    Ok(StringTable::new(file.data, start, end))
}
