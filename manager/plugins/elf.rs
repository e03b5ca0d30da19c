//! Checks a file before the system's loader sees it. Pure over anything that can be read at an offset.
//!
//! The loader trusts what it maps: a truncated library ends the process with SIGBUS or, worse, loads (of 1,005
//! truncations of a plugin 386 did the first, 616 the second). Its errors also mislead: a library for another machine
//! is "No such file or directory". The checks come in the order of causes: what makes other checks fail is checked
//! first.

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

/// The requirements for a library.
#[derive(Debug, Clone, Copy)]
pub struct ElfRequirements<'a> {
    /// What precedes the function's name in the symbol of its entry.
    pub prefix: &'a str,
    /// The function it has to serve.
    pub function: &'a FunctionName,
    /// The kinds of entry that this manager recognises.
    pub kinds: &'a [EntryKind],
    /// The machine it has to run on.
    pub machine: Machine,
    /// That machine's glibc; `None` if unknown: then only the loader checks it.
    pub glibc: Option<GlibcVersion>,
}

/// Facts about a library that passed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ElfFacts {
    /// The functions it exports with the prefix, by name; if there are very many, only the first.
    pub functions: Vec<String>,
    /// The shared libraries it needs, in its order.
    pub needed: Vec<String>,
    /// Where it tells the loader to look for them.
    pub links: LibraryReferences,
    /// The newest glibc that its symbols need.
    pub glibc: Option<GlibcVersion>,
    /// Entries, prefix included, whose names its code also asks the loader for: C functions with the same name. For
    /// most names the loader then returns the entry, and the call runs into data.
    pub called: Vec<String>,
}

/// Checks a file. Never panics, whatever the bytes; reads tables, but no code or debug information.
///
/// # Errors
/// The first reason why the library cannot be served.
pub fn check<'d, R: ReadRef<'d>>(data: R, expect: &ElfRequirements<'_>) -> Result<ElfFacts, Rejection> {
    let MappedElf { file, sections, segments, dynamic, glibc } = whole(data, &expect.machine, expect.glibc, true)?;
    let entries = entry::check(&file, &sections, segments, expect)?;
    let (needed, links) = (dynamic.needed, dynamic.links);
    Ok(ElfFacts { functions: entries.functions, needed, links, glibc, called: entries.called })
}

/// Checks a library that a plugin needs in the same way, except for the entry.
///
/// # Errors
/// The first reason why it cannot be loaded.
pub fn check_needed<'d, R: ReadRef<'d>>(
    data: R,
    machine: &Machine,
    glibc: Option<GlibcVersion>,
) -> Result<LibraryReferences, Rejection> {
    whole(data, machine, glibc, false).map(|whole| whole.dynamic.links)
}

/// Whether a file is built for another machine; checks nothing else.
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

/// The bytes, and how to read them.
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
