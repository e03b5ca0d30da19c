//! Compares the symbol versions that a library needs of glibc with the installed glibc.

use object::elf;
use object::read::ReadRef;
use object::read::elf::Sym as _;

use super::{File, Machine, Sections, unreadable};
use crate::plugins::display_path::clipped;
use crate::plugins::glibc::GlibcVersion;
use crate::plugins::rejection::Rejection;

/// How many symbols a rejection names.
const NAMED: usize = 3;

/// The newest glibc needed, if this machine's is not older.
pub(super) fn check<'d, R: ReadRef<'d>>(
    file: &File<R>,
    sections: &Sections<'d, R>,
    needed: &[String],
    machine: &Machine,
    ours: Option<GlibcVersion>,
) -> Result<Option<GlibcVersion>, Rejection> {
    if let Some(library) = needed.iter().find(|name| name.starts_with("libc.musl-") || *name == "libc.so") {
        let (library, target) = (library.clone(), machine.target.to_owned());
        return Err(Rejection::Musl { library, target });
    }
    let wanted = wanted(file, sections)?;
    let newest = wanted.iter().map(|(_, version)| *version).max();
    let (Some(ours), Some(needed)) = (ours, newest) else { return Ok(newest) };
    if needed <= ours {
        return Ok(newest);
    }
    let too_new: Vec<u16> = wanted.iter().filter(|(_, version)| *version > ours).map(|(index, _)| *index).collect();
    let symbols = symbols(file, sections, &too_new)?;
    Err(Rejection::NewerGlibc { needed: needed.to_string(), symbols, ours: ours.to_string() })
}

/// Version index -> glibc, for all versions that are required.
fn wanted<'d, R: ReadRef<'d>>(
    file: &File<R>,
    sections: &Sections<'d, R>,
) -> Result<Vec<(u16, GlibcVersion)>, Rejection> {
    let Some((mut needs, link)) = sections.gnu_verneed(file.endian, file.data).map_err(unreadable)? else {
        return Ok(Vec::new());
    };
    let strings = sections.strings(file.endian, file.data, link).map_err(unreadable)?;
    let mut wanted = Vec::new();
    while let Some((_, mut versions)) = needs.next().map_err(unreadable)? {
        while let Some(version) = versions.next().map_err(unreadable)? {
            if version.vna_flags.get(file.endian).contains(elf::VER_FLG_WEAK) {
                continue;
            }
            let name = version.name(file.endian, strings).map_err(unreadable)?;
            if let Some(glibc) = GlibcVersion::of_symbol_version(name) {
                wanted.push((version.vna_other(file.endian).index().0, glibc));
            }
        }
    }
    Ok(wanted)
}

/// ` (for a, b and 3 more)`, or empty if no symbol has one of the versions.
fn symbols<'d, R: ReadRef<'d>>(file: &File<R>, sections: &Sections<'d, R>, of: &[u16]) -> Result<String, Rejection> {
    let table = sections.symbols(file.endian, file.data, elf::SHT_DYNSYM).map_err(unreadable)?;
    let Some((versions, _)) = sections.gnu_versym(file.endian, file.data).map_err(unreadable)? else {
        return Ok(String::new());
    };
    let names: Vec<&[u8]> = table
        .iter()
        .zip(versions)
        .filter(|(symbol, version)| {
            symbol.is_undefined(file.endian) && of.contains(&version.0.get(file.endian).index().0)
        })
        .filter_map(|(symbol, _)| symbol.name(file.endian, table.strings()).ok())
        .collect();
    if names.is_empty() {
        return Ok(String::new());
    }
    let listed: Vec<String> = names.iter().take(NAMED).map(|name| clipped(name, 80)).collect();
    let more = names.len() - listed.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Ok(format!(" (for {}{more})", listed.join(", ")))
}
