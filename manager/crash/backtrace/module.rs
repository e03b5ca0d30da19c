//! A mapped ELF file: where its code is in the process, and its tables.

use std::borrow::Cow;
use std::fmt;
use std::io::{Read, Seek};
use std::ops::Range;

use object::elf::PF_X;
use object::read::elf::{ElfFile64, ElfSection64, ElfSegment64};
use object::read::{CompressionFormat, ReadCache};
use object::{Endianness, Object, ObjectSection, ObjectSegment, SegmentFlags};

use crate::system::mappings::Mapping;

/// The most that is read of one table.
const TABLE_MAX: u64 = 1 << 30;

/// What can be read at any place.
pub(crate) trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// The content of a file.
pub(crate) type ModuleData = Box<dyn ReadSeek>;
pub(super) type Cache = ReadCache<ModuleData>;
pub(super) type Elf<'a> = ElfFile64<'a, Endianness, &'a Cache>;
type Section<'a, 'f> = ElfSection64<'a, 'f, Endianness, &'a Cache>;

/// Why the code at an address stays unnamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// No file is mapped there.
    NoFile,
    /// The file is gone, or there is another one of its name.
    Replaced,
    /// It cannot be opened.
    Failed(String),
    /// It is no ELF file, or its parts are mapped elsewhere.
    Damaged,
    /// Enough files are open.
    TooMany,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile => f.write_str("is not a file"),
            Self::Replaced => f.write_str("was removed or replaced since, so its calls have no names"),
            Self::Failed(reason) => write!(f, "cannot be opened, so its calls have no names: {reason}"),
            Self::Damaged => f.write_str("cannot be read, so its calls have no names"),
            Self::TooMany => f.write_str("is one file too many, so its calls have no names"),
        }
    }
}

/// A file, one mapping of which holds code.
pub(super) struct Module {
    cache: Cache,
    /// Added to an address in the file, gives the one in the process.
    bias: u64,
}

impl Module {
    pub(super) fn new(data: ModuleData, mapping: &Mapping) -> Result<Self, Unreadable> {
        let mut module = Self { cache: ReadCache::new(data), bias: 0 };
        let elf = module.elf().ok_or(Unreadable::Damaged)?;
        // Which segment the mapping shows: of those for code or data, the one with most of it.
        let shown = |segment: &Range<u64>| {
            let length = mapping.end.saturating_sub(mapping.start);
            let end = segment.end.min(mapping.offset.saturating_add(length));
            end.saturating_sub(segment.start.max(mapping.offset))
        };
        // Small segments share a page of the file.
        let is_as_mapped = |segment: &ElfSegment64<'_, '_, _, _>| {
            let SegmentFlags::Elf { p_flags, .. } = segment.flags() else { return false };
            mapping.is_executable == (p_flags & PF_X == PF_X)
        };
        let segments = elf.segments().filter(is_as_mapped).map(|segment| {
            let (start, length) = segment.file_range();
            (segment.address(), start..start.saturating_add(length))
        });
        let segment = segments.max_by_key(|(_, range)| shown(range)).filter(|(_, range)| shown(range) > 0);
        let (address, range) = segment.ok_or(Unreadable::Damaged)?;
        // Of a non-relocatable program it is 0; wrapping, since a segment may begin before the mapping.
        module.bias = mapping.start.wrapping_sub(mapping.offset).wrapping_add(range.start).wrapping_sub(address);
        Ok(module)
    }

    pub(super) fn elf(&self) -> Option<Elf<'_>> {
        elf(&self.cache)
    }

    /// The address in the file, as its tables have it.
    pub(super) fn offset(&self, address: u64) -> Option<u64> {
        address.checked_sub(self.bias)
    }

    pub(super) fn bias(&self) -> u64 {
        self.bias
    }
}

pub(super) fn elf(cache: &Cache) -> Option<Elf<'_>> {
    ElfFile64::parse(cache).ok().filter(|elf: &Elf<'_>| elf.is_little_endian())
}

/// The content of a table; none if it is compressed or too long.
pub(super) fn table<'a>(section: &Section<'a, '_>) -> Option<&'a [u8]> {
    let range = section.compressed_file_range().ok()?;
    let fits = range.format == CompressionFormat::None && range.uncompressed_size <= TABLE_MAX;
    if fits { section.data().ok() } else { None }
}

/// The content of a table for debuggers, which may be compressed; none if it is too long.
pub(super) fn uncompressed<'a>(section: &Section<'a, '_>) -> Option<Cow<'a, [u8]>> {
    let fits = uncompressed_size(section) <= TABLE_MAX;
    if fits { section.uncompressed_data().ok() } else { None }
}

/// As a compressed table itself says.
pub(super) fn uncompressed_size(section: &Section<'_, '_>) -> u64 {
    section.compressed_file_range().map_or(0, |range| range.uncompressed_size)
}

/// Where a table is, in the addresses of the file.
pub(super) fn range(section: &Section<'_, '_>) -> Range<u64> {
    section.address()..section.address().saturating_add(section.size())
}
