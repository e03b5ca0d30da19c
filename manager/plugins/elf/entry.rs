//! The exported entry: a data object of the function's name, of a known size, that begins with a known magic.

use object::Endianness;
use object::elf::{self, Sym64};
use object::read::ReadRef;
use object::read::elf::{Sym as _, SymbolTable};

use super::segments::{Segment, file_offset};
use super::{Elf, Expect, File, Sections, unreadable};
use crate::plugins::refusal::Refusal;
use crate::plugins::text::clipped;

/// One kind of entry that a manager understands. The first bytes say which kind an entry is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryKind {
    /// Its first bytes.
    pub magic: [u8; 32],
    /// Its size in bytes.
    pub size: u64,
}

/// How many of its other entries a refusal names.
const NAMED: usize = 5;

type Symbol = Sym64<Endianness>;

pub(super) fn check<'d, R: ReadRef<'d>>(
    file: &File<R>,
    sections: &Sections<'d, R>,
    segments: &[Segment],
    expect: &Expect<'_>,
) -> Result<(), Refusal> {
    let table = sections.symbols(file.endian, file.data, elf::SHT_DYNSYM).map_err(unreadable)?;
    let look = Look { file, segments, table: &table, expect };
    let symbol = format!("{}{}", expect.prefix, expect.function);
    let mut exported = table.iter().filter(|symbol| look.is_exported(symbol));
    match exported.find(|found| look.name(found) == Some(symbol.as_bytes())) {
        None => Err(Refusal::NoEntry { symbol, hint: look.hint() }),
        Some(found) => look.at(found).map_err(|what| Refusal::NotAnEntry { symbol, what }),
    }
}

struct Look<'a, 'd, R: ReadRef<'d>> {
    file: &'a File<R>,
    segments: &'a [Segment],
    table: &'a SymbolTable<'d, Elf, R>,
    expect: &'a Expect<'a>,
}

impl<'d, R: ReadRef<'d>> Look<'_, 'd, R> {
    /// Whether dlsym finds it.
    fn is_exported(&self, symbol: &Symbol) -> bool {
        let visible = matches!(symbol.st_visibility(), elf::STV_DEFAULT | elf::STV_PROTECTED);
        visible && !symbol.is_undefined(self.file.endian) && !symbol.is_local()
    }

    fn name(&self, symbol: &Symbol) -> Option<&'d [u8]> {
        symbol.name(self.file.endian, self.table.strings()).ok()
    }

    /// Whether a symbol is an entry; if not, what it is.
    fn at(&self, symbol: &Symbol) -> Result<(), String> {
        match symbol.st_type() {
            elf::STT_OBJECT => {}
            elf::STT_FUNC | elf::STT_GNU_IFUNC => return Err("a function".into()),
            elf::STT_TLS => return Err("a thread-local variable".into()),
            _ => return Err("a bare label".into()),
        }
        let size = symbol.st_size(self.file.endian);
        let kinds = || self.expect.kinds.iter().filter(move |kind| kind.size == size);
        if kinds().next().is_none() {
            return Err(format!("a variable of {size} bytes"));
        }
        let address = symbol.st_value(self.file.endian);
        let Some(offset) = file_offset(self.file, self.segments, address, size) else {
            return Err("a variable of zeros".into());
        };
        let magic =
            self.file.data.read_bytes_at(offset, 32).map_err(|()| "a variable that cannot be read".to_owned())?;
        if kinds().any(|kind| kind.magic == magic) {
            return Ok(());
        }
        Err(format!("a variable of {size} bytes that begins with {}", clipped(magic, 32)))
    }

    /// What it exports instead, and what to do.
    fn hint(&self) -> String {
        let mut names: Vec<&[u8]> = self
            .table
            .iter()
            .filter(|symbol| self.is_exported(symbol) && self.at(symbol).is_ok())
            .filter_map(|symbol| self.name(symbol))
            .collect();
        // The table is in the order of a hash.
        names.sort_unstable();
        hint(self.expect.prefix, self.expect.function.as_str(), &names)
    }
}

/// A library that lacks `prefix` + `function` has entries of these names.
fn hint(prefix: &str, function: &str, names: &[&[u8]]) -> String {
    let has = |name: &str| names.contains(&name.as_bytes());
    if names.is_empty() {
        return "it exports no function at all: put #[function] on one, and build a cdylib".into();
    }
    if !prefix.is_empty() && has(function) {
        return format!("it exports {function}, without the prefix {prefix}: rename the function, or set no prefix");
    }
    // `library.so` is the file of a function `rary`, and may have been meant otherwise.
    if has(&format!("{prefix}lib{function}")) {
        return format!(
            "a file lib*.so serves the function without lib: name it liblib{function}.so to serve lib{function}"
        );
    }
    let listed: Vec<String> = names.iter().take(NAMED).map(|name| clipped(name, 80)).collect();
    let more = if names.len() > NAMED { ", ..." } else { "" };
    format!("it exports {}{more}: rename the file, or the function in it", listed.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints() {
        let cases: &[(&str, &str, &[&[u8]], &str)] = &[
            ("", "a", &[], "it exports no function at all: put #[function] on one, and build a cdylib"),
            ("", "a", &[b"b", b"c"], "it exports b, c: rename the file, or the function in it"),
            (
                "",
                "a",
                &[b"1", b"2", b"3", b"4", b"5", b"6"],
                "it exports 1, 2, 3, 4, 5, ...: rename the file, or the function in it",
            ),
            ("wk_", "a", &[b"a"], "it exports a, without the prefix wk_: rename the function, or set no prefix"),
            (
                "",
                "rary",
                &[b"library"],
                "a file lib*.so serves the function without lib: name it liblibrary.so to serve library",
            ),
            ("", "a", &[b"\xff\n"], "it exports \\xff\\n: rename the file, or the function in it"),
        ];
        for (prefix, function, names, text) in cases {
            assert_eq!(hint(prefix, function, names), *text);
        }
    }
}
