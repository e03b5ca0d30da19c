//! Names for addresses: function, file and line from the tables for debuggers, else the function from the symbols.

use std::borrow::Cow;

use addr2line::gimli::{DwarfSections, EndianSlice, LittleEndian};
use addr2line::{Context, demangle_auto};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

use super::debug_file::DebugFile;
use super::module::{Elf, Module, uncompressed, uncompressed_size};
use crate::crash::report::Frame;

/// More functions than this are not inlined into each other.
const INLINED: usize = 100;

/// How large the tables for debuggers may be that are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct TablesMax(pub(super) u64);

type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Tables<'a> = DwarfSections<Cow<'a, [u8]>>;

/// The frames of each address, the innermost of inlined functions first.
pub(super) fn name(module: &Module, addresses: &[u64], tables: TablesMax) -> Vec<(u64, Vec<Frame>)> {
    let Some(elf) = module.elf() else { return Vec::new() };
    let debug_file = DebugFile::of(&elf);
    let debug = debug_file.as_ref().and_then(DebugFile::elf);
    let found = line_tables(&elf, tables).or_else(|| line_tables(debug.as_ref()?, tables));
    let lines = found.as_ref().and_then(LineTables::of);
    let offsets = addresses.iter().filter_map(|address| Some((*address, module.offset(*address)?)));
    let with_lines: Vec<(u64, u64, Vec<Frame>)> = offsets
        .map(|(address, offset)| {
            (address, offset, lines.as_ref().and_then(|lines| lines.frames(offset)).unwrap_or_default())
        })
        .collect();
    let symbols = Symbols::of([Some(&elf), debug.as_ref()].into_iter().flatten());
    with_lines
        .into_iter()
        .map(|(address, offset, mut frames)| {
            let outermost = frames.pop().unwrap_or_default();
            frames.push(with_symbol(outermost, symbols.at(offset)));
            (address, frames)
        })
        .collect()
}

/// Small tables for debuggers have `parse`, where the symbol is `resize::header::parse`.
fn with_symbol(frame: Frame, symbol: Option<(String, u64)>) -> Frame {
    let is_whole = |name: &String| name.contains("::") && !name.contains('<');
    let function_offset = symbol.as_ref().map(|(_, distance)| *distance).filter(|_| frame.line.is_none());
    let function = match (frame.function, symbol) {
        (Some(name), Some((symbol, _))) if is_whole(&name) || !symbol.contains("::") => Some(name),
        (_, Some((symbol, _))) => Some(symbol),
        (name, None) => name,
    };
    Frame { function, function_offset, ..frame }
}

/// The tables for debuggers in a file, decompressed. None if it has none, or more than are read.
fn line_tables<'a>(elf: &Elf<'a>, most: TablesMax) -> Option<Tables<'a>> {
    let debug = |section: &object::read::elf::ElfSection64<'_, '_, _, _>| {
        section.name().is_ok_and(|name| name.starts_with(".debug_"))
    };
    let sizes = elf.sections().filter(debug).map(|section| uncompressed_size(&section));
    let size = sizes.fold(0_u64, u64::saturating_add);
    if size == 0 || size > most.0 {
        return None;
    }
    let read = |name: &str| elf.section_by_name(name).and_then(|section| uncompressed(&section)).unwrap_or_default();
    DwarfSections::load(|id| Ok::<_, addr2line::gimli::Error>(read(id.name()))).ok()
}

/// What they say of an address.
struct LineTables<'a> {
    context: Context<Slice<'a>>,
}

impl<'a> LineTables<'a> {
    fn of(tables: &'a Tables<'a>) -> Option<Self> {
        let dwarf = tables.borrow(|table| EndianSlice::new(table, LittleEndian));
        Some(Self { context: Context::from_dwarf(dwarf).ok()? })
    }

    /// None if nothing is known of the address.
    fn frames(&self, offset: u64) -> Option<Vec<Frame>> {
        let directory = self.directory(offset);
        let mut found = self.context.find_frames(offset).skip_all_loads().ok()?;
        let mut frames = Vec::new();
        while let (Ok(Some(frame)), ..INLINED) = (found.next(), frames.len()) {
            let location = frame.location.as_ref();
            let function = frame.function.as_ref();
            frames.push(Frame {
                function: function.and_then(|name| name.demangle().ok()).map(|name| name.into_owned()),
                file: location.and_then(|at| at.file).map(|file| relative(file, directory.as_deref())),
                line: location.and_then(|at| at.line).filter(|line| *line > 0),
                column: location.and_then(|at| at.column).filter(|column| *column > 0),
                inlined: true,
                ..Frame::default()
            });
        }
        frames.last_mut()?.inlined = false;
        Some(frames)
    }

    /// Where the compiler ran.
    fn directory(&self, offset: u64) -> Option<String> {
        let unit = self.context.find_dwarf_and_unit(offset).skip_all_loads()?;
        let directory = unit.comp_dir?.to_string_lossy().into_owned();
        // The standard library's sources stay recognisable.
        Some(directory).filter(|directory| directory.len() > 1 && !directory.starts_with("/rustc/"))
    }
}

/// As the compiler's own messages name a file: below the directory that it ran in.
fn relative(file: &str, directory: Option<&str>) -> String {
    let below = directory.and_then(|directory| file.strip_prefix(directory)?.strip_prefix('/'));
    below.unwrap_or(file).to_owned()
}

/// The symbols of functions, in the order of their addresses.
#[derive(Default)]
struct Symbols<'a>(Vec<(u64, u64, &'a str)>);

impl<'a> Symbols<'a> {
    fn of<'b>(files: impl Iterator<Item = &'b Elf<'a>>) -> Self
    where
        'a: 'b,
    {
        let all = files.flat_map(|elf| elf.symbols().chain(elf.dynamic_symbols()));
        let functions = all.filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition());
        let mut functions: Vec<(u64, u64, &str)> = functions
            .filter_map(|symbol| Some((symbol.address(), symbol.size(), symbol.name().ok()?)))
            .filter(|(_, size, name)| *size > 0 && !name.is_empty())
            .collect();
        // Where several names are of one function, the one that people call: without leading underscores.
        functions.sort_by_key(|(address, _, name)| (*address, name.starts_with('_'), *name));
        functions.dedup_by_key(|(address, ..)| *address);
        Self(functions)
    }

    /// The function that contains this address, and how far it is from the function's start.
    fn at(&self, offset: u64) -> Option<(String, u64)> {
        let after = self.0.partition_point(|(address, ..)| *address <= offset);
        let (address, size, name) = self.0.get(after.checked_sub(1)?)?;
        let distance = offset.checked_sub(*address).filter(|distance| distance < size)?;
        Some((demangle_auto((*name).into(), None).into_owned(), distance))
    }
}
