//! The exported entry: a data object with the function's name and a known size, which begins with a known magic.

use std::collections::HashSet;

use object::Endianness;
use object::elf::{self, Sym64};
use object::read::ReadRef;
use object::read::elf::{Rela as _, SectionHeader as _, Sym as _, SymbolTable};

use super::segments::{Segment, file_offset};
use super::{Elf, ElfRequirements, File, Sections, unreadable};
use crate::plugins::display_path::clipped;
use crate::plugins::rejection::Rejection;

/// One kind of entry that a manager recognises. The first bytes identify the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryKind {
    /// Its first bytes.
    pub magic: [u8; 32],
    /// Its size in bytes.
    pub size: u64,
}

/// How many bytes of an entry identify its kind.
const MAGIC: u64 = 32;

/// How many bytes of names a report has room for.
const LISTED: usize = 8 * 1024;

/// How many of its other entries a rejection names.
const NAMED: usize = 5;

type Symbol = Sym64<Endianness>;

/// The exports of a library that passed.
pub(super) struct Entries {
    /// See [`ElfFacts`](super::ElfFacts).
    pub functions: Vec<String>,
    /// See [`ElfFacts`](super::ElfFacts).
    pub called: Vec<String>,
}

pub(super) fn check<'d, R: ReadRef<'d>>(
    file: &File<R>,
    sections: &Sections<'d, R>,
    segments: &[Segment],
    expect: &ElfRequirements<'_>,
) -> Result<Entries, Rejection> {
    let table = sections.symbols(file.endian, file.data, elf::SHT_DYNSYM).map_err(unreadable)?;
    let look = EntrySearch { file, segments, table: &table, expect };
    let symbol = format!("{}{}", expect.prefix, expect.function);
    let mut exported = table.iter().filter(|symbol| look.is_exported(symbol));
    match exported.find(|found| look.name(found) == Some(symbol.as_bytes())) {
        None => Err(Rejection::NoEntry { symbol, hint: look.hint(), others: look.entries().len() }),
        Some(found) => match look.at(found) {
            Ok((EntryKind { size: ours, .. }, size)) if *ours != size => {
                Err(Rejection::OtherEntry { symbol, size, ours: *ours })
            }
            Ok(_) => Ok(Entries { functions: look.functions(), called: look.called(sections) }),
            Err(what) => Err(Rejection::NotAnEntry { symbol, what }),
        },
    }
}

struct EntrySearch<'a, 'd, R: ReadRef<'d>> {
    file: &'a File<R>,
    segments: &'a [Segment],
    table: &'a SymbolTable<'d, Elf, R>,
    expect: &'a ElfRequirements<'a>,
}

impl<'d, R: ReadRef<'d>> EntrySearch<'_, 'd, R> {
    /// Whether dlsym finds it.
    fn is_exported(&self, symbol: &Symbol) -> bool {
        let visible = matches!(symbol.st_visibility(), elf::STV_DEFAULT | elf::STV_PROTECTED);
        visible && !symbol.is_undefined(self.file.endian) && !symbol.is_local()
    }

    fn name(&self, symbol: &Symbol) -> Option<&'d [u8]> {
        symbol.name(self.file.endian, self.table.strings()).ok()
    }

    /// The kind of entry that a symbol is, and its size; the error describes what it is instead.
    fn at(&self, symbol: &Symbol) -> Result<(&EntryKind, u64), String> {
        match symbol.st_type() {
            elf::STT_OBJECT => {}
            elf::STT_FUNC | elf::STT_GNU_IFUNC => return Err("a function".into()),
            elf::STT_TLS => return Err("a thread-local variable".into()),
            _ => return Err("a bare label".into()),
        }
        let size = symbol.st_size(self.file.endian);
        let variable = || format!("a variable of {size} byte{}", if size == 1 { "" } else { "s" });
        if size < MAGIC {
            return Err(variable());
        }
        let address = symbol.st_value(self.file.endian);
        let Some(offset) = file_offset(self.file, self.segments, address, size) else {
            return Err("a variable of zeros".into());
        };
        let magic = self.file.data.read_bytes_at(offset, MAGIC).map_err(|()| variable())?;
        match self.expect.kinds.iter().find(|kind| kind.magic == magic) {
            Some(kind) => Ok((kind, size)),
            None => Err(format!("{} that begins with {}", variable(), clipped(magic, 32))),
        }
    }

    /// The symbols that are entries, by name.
    fn entries(&self) -> Vec<&'d [u8]> {
        let mut names: Vec<&[u8]> = self
            .table
            .iter()
            .filter(|symbol| self.is_exported(symbol) && self.at(symbol).is_ok())
            .filter_map(|symbol| self.name(symbol))
            .collect();
        // The table is in the order of a hash.
        names.sort_unstable();
        names
    }

    /// The functions that it can serve with this prefix, by name, as many as fit into a report.
    fn functions(&self) -> Vec<String> {
        let functions = self.entries().into_iter().filter_map(|name| name.strip_prefix(self.expect.prefix.as_bytes()));
        let mut room = LISTED;
        let named = functions.map(|name| clipped(name, 252));
        named.take_while(|name| room.checked_sub(name.len()).map(|left| room = left).is_some()).collect()
    }

    /// The entries that a relocation names too. A library never refers to its own entries, so such a relocation means
    /// something else of that name.
    fn called(&self, sections: &Sections<'d, R>) -> Vec<String> {
        let endian = self.file.endian;
        let tables = sections.iter().filter_map(|section| section.rela(endian, self.file.data).ok().flatten());
        let named: HashSet<&[u8]> = tables
            .filter(|(_, symbols)| *symbols == self.table.section())
            .flat_map(|(relocations, _)| relocations.iter().filter_map(|relocation| relocation.symbol(endian, false)))
            .filter_map(|index| self.table.symbol_name(endian, self.table.symbol(index).ok()?).ok())
            .collect();
        let called = self.entries().into_iter().filter(|name| named.contains(name));
        called.filter_map(|name| str::from_utf8(name).ok().map(str::to_owned)).collect()
    }

    /// What it exports instead, and what to do.
    fn hint(&self) -> String {
        hint(self.expect.prefix, self.expect.function.as_str(), &self.entries())
    }
}

/// The same for a library that lacks `prefix` + `function` and has entries of these names.
fn hint(prefix: &str, function: &str, names: &[&[u8]]) -> String {
    let has = |name: &str| names.contains(&name.as_bytes());
    if names.is_empty() {
        return "it exports no function at all: put #[function] on one and build a cdylib, or use GM_FUNCTION in C"
            .into();
    }
    if !prefix.is_empty() && has(function) {
        return format!("it exports {function}, without the prefix {prefix}: rename the function, or set no prefix");
    }
    // `library.so` is the file of a function `rary`, which may not be what was meant.
    if has(&format!("{prefix}lib{function}")) {
        return format!(
            "a file lib*.so serves the function without lib: name it liblib{function}.so to serve lib{function}"
        );
    }
    // Of many, those that may be meant come first.
    let is_like = |name: &[u8]| String::from_utf8_lossy(name).contains(function);
    let (alike, others): (Vec<&[u8]>, Vec<&[u8]>) = names.iter().partition(|name| is_like(name));
    let listed: Vec<String> = alike.iter().chain(&others).take(NAMED).map(|name| clipped(name, 80)).collect();
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let advice = match listed.as_slice() {
        [only] if only.starts_with(prefix) && str::from_utf8(names[0]).is_ok() => {
            format!("name the file {}.so, or the function {prefix}{function}", &only[prefix.len()..])
        }
        _ => "name the file after one of them, or rename the function".to_owned(),
    };
    format!("it exports {}{more}: {advice}", listed.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints() {
        let cases: &[(&str, &str, &[&[u8]], &str)] = &[
            (
                "",
                "a",
                &[],
                "it exports no function at all: put #[function] on one and build a cdylib, or use GM_FUNCTION in C",
            ),
            ("", "a", &[b"b", b"c"], "it exports b, c: name the file after one of them, or rename the function"),
            (
                "",
                "a",
                &[b"1", b"2", b"3", b"4", b"5", b"6", b"x_a"],
                "it exports x_a, 1, 2, 3, 4 and 2 more: name the file after one of them, or rename the function",
            ),
            ("", "a", &[b"b"], "it exports b: name the file b.so, or the function a"),
            ("wk_", "a", &[b"wk_b"], "it exports wk_b: name the file b.so, or the function wk_a"),
            ("wk_", "a", &[b"a"], "it exports a, without the prefix wk_: rename the function, or set no prefix"),
            (
                "",
                "rary",
                &[b"library"],
                "a file lib*.so serves the function without lib: name it liblibrary.so to serve library",
            ),
            ("", "a", &[b"\xff\n"], "it exports \\xff\\n: name the file after one of them, or rename the function"),
        ];
        for (prefix, function, names, text) in cases {
            assert_eq!(hint(prefix, function, names), *text);
        }
    }
}
