//! What a file is, before the system's loader sees it. Pure over anything that can be read at an offset.
//!
//! The loader trusts what it maps: a library that was cut short ends the process with SIGBUS, or worse, loads (of 1,005
//! truncations of a plugin 386 and 616). It also misleads: a library of another machine is "No such file or directory".
//! The order of the checks is that of the causes: what makes others fail is checked first.

mod dynamic;
mod entry;
mod header;
mod machine;
mod recognise;
mod sections;
mod segments;
mod versions;

use object::elf::FileHeader64;
use object::read::ReadRef;
use object::{Endianness, read::elf::SectionTable};

pub use dynamic::LibraryReferences;
pub use entry::EntryKind;
pub use machine::Machine;

use super::glibc::GlibcVersion;
use super::name::FunctionName;
use super::rejection::Rejection;

type Elf = FileHeader64<Endianness>;
type Sections<'d, R> = SectionTable<'d, Elf, R>;

/// What is asked of a library.
#[derive(Debug, Clone, Copy)]
pub struct ElfRequirements<'a> {
    /// What stands before the function's name in the symbol of its entry.
    pub prefix: &'a str,
    /// The function it is to serve.
    pub function: &'a FunctionName,
    /// The kinds of entry that are recognised.
    pub kinds: &'a [EntryKind],
    /// The machine it is to run on.
    pub machine: Machine,
    /// The glibc there; `None`: not known, left to the loader.
    pub glibc: Option<GlibcVersion>,
}

/// What is known of a library that passed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ElfFacts {
    /// Every function it exports under the prefix, by name; of very many only the first.
    pub functions: Vec<String>,
    /// The shared libraries it asks for, in its order.
    pub needed: Vec<String>,
    /// Where it has the loader look for them.
    pub links: LibraryReferences,
    /// The newest glibc that any of its symbols asks for.
    pub glibc: Option<GlibcVersion>,
    /// Entries, prefix included, whose names its code asks the loader for as well: C functions that are called alike.
    /// For most names the loader then answers with the entry, and the call runs into data.
    pub called: Vec<String>,
}

/// Checks a file. Never panics, whatever the bytes; reads tables, not code or debug information.
///
/// # Errors
/// The first reason found why the library cannot be served.
pub fn check<'d, R: ReadRef<'d>>(data: R, expect: &ElfRequirements<'_>) -> Result<ElfFacts, Rejection> {
    let MappedElf { file, sections, segments, dynamic, glibc } = whole(data, &expect.machine, expect.glibc, true)?;
    let entries = entry::check(&file, &sections, segments, expect)?;
    let (needed, links) = (dynamic.needed, dynamic.links);
    Ok(ElfFacts { functions: entries.functions, needed, links, glibc, called: entries.called })
}

/// Checks a library that is no plugin, but needed by one, in the same way: all but the entry.
///
/// # Errors
/// The first reason found why it cannot be loaded.
pub fn check_needed<'d, R: ReadRef<'d>>(
    data: R,
    machine: &Machine,
    glibc: Option<GlibcVersion>,
) -> Result<LibraryReferences, Rejection> {
    whole(data, machine, glibc, false).map(|whole| whole.dynamic.links)
}

/// Whether a file is built for another machine; nothing else was checked then.
pub fn other_machine<'d, R: ReadRef<'d>>(data: R, machine: &Machine) -> Option<Rejection> {
    header::check(data, machine).err().filter(|rejection| matches!(rejection, Rejection::OtherMachine { .. }))
}

/// A file that the loader can map.
struct MappedElf<'d, R: ReadRef<'d>> {
    file: File<R>,
    sections: Sections<'d, R>,
    segments: &'d [segments::Segment],
    dynamic: dynamic::DynamicSection,
    glibc: Option<GlibcVersion>,
}

fn whole<'d, R: ReadRef<'d>>(
    data: R,
    machine: &Machine,
    ours: Option<GlibcVersion>,
    is_plugin: bool,
) -> Result<MappedElf<'d, R>, Rejection> {
    let header = header::check(data, machine)?;
    let file = File { data, endian: header.endian, size: header.size };
    let sections = sections::check(&file, header.elf)?;
    let segments = segments::check(&file, header.elf)?;
    if is_plugin {
        sections::not_for_the_compiler(&file, &sections)?;
    }
    sections::symbols(&file, &sections)?;
    let dynamic = dynamic::check(&file, segments)?;
    let glibc = versions::check(&file, &sections, &dynamic.needed, machine, ours)?;
    segments::stack(&file, segments)?;
    Ok(MappedElf { file, sections, segments, dynamic, glibc })
}

/// The bytes and how to read them.
struct File<R> {
    data: R,
    endian: Endianness,
    size: u64,
}

impl<'d, R: ReadRef<'d>> File<R> {
    /// Whether a range is in the file; `part` names it in the error.
    fn holds(&self, offset: u64, size: u64, part: impl FnOnce() -> String) -> Result<(), Rejection> {
        match offset.checked_add(size) {
            Some(end) if end <= self.size => Ok(()),
            Some(_) => Err(Rejection::Truncated { size: self.size, part: part() }),
            None => Err(damaged(format!("{} lies nowhere", part()))),
        }
    }
}

fn damaged(what: impl Into<String>) -> Rejection {
    Rejection::Damaged(what.into())
}

/// The error of `object` for bytes it cannot parse.
fn unreadable(error: object::read::Error) -> Rejection {
    Rejection::Damaged(error.to_string())
}
