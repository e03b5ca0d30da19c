//! What is mapped into a process, and how: the text of `/proc/PID/maps`.

use std::{fs, io};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// The first address.
    pub(crate) start: u64,
    /// The first one behind it.
    pub(crate) end: u64,
    /// Whether it can be read.
    pub(crate) is_readable: bool,
    /// Whether it can be written.
    pub(crate) is_writable: bool,
    /// Whether it may hold code.
    pub(crate) is_executable: bool,
    /// Where it begins in the file.
    pub(crate) offset: u64,
    /// The file's inode.
    pub(crate) inode: u64,
    /// The file; or a name in brackets, such as `[vdso]`.
    pub(crate) path: Option<String>,
}

/// All lines that are well-formed, in the order of addresses.
#[derive(Debug, Default)]
pub(crate) struct Mappings(Vec<Mapping>);

impl Mapping {
    fn parse(line: &str) -> Option<Self> {
        let hexadecimal = |text: &str| u64::from_str_radix(text, 16).ok();
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let (start, end) = (hexadecimal(start)?, hexadecimal(end)?);
        let access = fields.next()?.as_bytes();
        let may = |place: usize, letter: u8| access.get(place) == Some(&letter);
        let (is_readable, is_writable, is_executable) = (may(0, b'r'), may(1, b'w'), may(2, b'x'));
        let offset = hexadecimal(fields.next()?)?;
        let inode = fields.nth(1)?.parse().ok()?;
        let path = fields.next().map(str::trim_start).filter(|path| !path.is_empty());
        // The kernel writes a line end in a name like this, and nothing else.
        let path = path.map(|path| path.replace("\\012", "\n"));
        (start < end).then_some(Self { start, end, is_readable, is_writable, is_executable, offset, inode, path })
    }

    /// Where in the file an address of this mapping is.
    pub(crate) fn file_offset(&self, address: u64) -> Option<u64> {
        address.checked_sub(self.start)?.checked_add(self.offset)
    }
}

impl Mappings {
    /// Those of this process now.
    ///
    /// # Errors
    /// The system's: `/proc` is not mounted.
    pub(crate) fn current() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/maps")?))
    }

    pub(crate) fn parse(text: &str) -> Self {
        let mut mappings: Vec<Mapping> = text.lines().filter_map(Mapping::parse).collect();
        mappings.sort_by_key(|mapping| mapping.start);
        Self(mappings)
    }

    /// The mapping that contains this address.
    pub(crate) fn at(&self, address: u64) -> Option<&Mapping> {
        let after = self.0.partition_point(|mapping| mapping.start <= address);
        self.0.get(after.checked_sub(1)?).filter(|mapping| address < mapping.end)
    }

    /// The first one of this file, or with this name in brackets.
    pub(crate) fn named(&self, name: &str) -> Option<&Mapping> {
        self.0.iter().find(|mapping| mapping.path.as_deref() == Some(name))
    }

    /// Whether there is code at the address.
    pub(crate) fn is_code(&self, address: u64) -> bool {
        self.at(address).is_some_and(|mapping| mapping.is_executable)
    }

    /// Whether all of this memory can be read.
    pub(crate) fn is_readable(&self, address: u64, size: u64) -> bool {
        self.all(address, size, |mapping| mapping.is_readable)
    }

    /// Whether all of it can be read, and no part be written.
    pub(crate) fn is_constant(&self, address: u64, size: u64) -> bool {
        self.all(address, size, |mapping| mapping.is_readable && !mapping.is_writable)
    }

    /// How many bytes can be read from the address on.
    pub(crate) fn readable_from(&self, address: u64) -> u64 {
        let mut end = address;
        while let Some(mapping) = self.at(end).filter(|mapping| mapping.is_readable) {
            end = mapping.end;
        }
        end.saturating_sub(address)
    }

    fn all(&self, address: u64, size: u64, suits: impl Fn(&Mapping) -> bool) -> bool {
        let Some(end) = address.checked_add(size) else { return false };
        let mut at = address;
        while at < end {
            match self.at(at).filter(|mapping| suits(mapping)) {
                Some(mapping) => at = mapping.end,
                None => return false,
            }
        }
        size > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_of_an_address() {
        let text = "7f20-7f30 rw-p 00000000 00:00 0 \n\
                    7f00-7f10 r-xp 00002000 fe:01 42                         /lib/a b.so (deleted)\n\
                    7ff0-7ff8 r-xp 00000000 00:00 0                          [vdso]\n\
                    7fff-7ff9 r-xp 00000000 00:00 0\nx-y z\n\n7f40-7f50 r-xp 0 0:0 7 /a\\012b";
        let mappings = Mappings::parse(text);
        let path = |address| mappings.at(address).map(|mapping| mapping.path.as_deref());
        for (address, expected) in [
            (0x7eff, None),
            (0x7f00, Some(Some("/lib/a b.so (deleted)"))),
            (0x7f0f, Some(Some("/lib/a b.so (deleted)"))),
            (0x7f10, None),
            (0x7f24, Some(None)),
            (0x7f44, Some(Some("/a\nb"))),
            (0x7ff1, Some(Some("[vdso]"))),
            (0x7ffa, None),
            (u64::MAX, None),
        ] {
            assert_eq!(path(address), expected, "{address:#x}");
        }
        let library = mappings.at(0x7f04).unwrap();
        assert_eq!((library.file_offset(0x7f04), library.inode, library.is_executable), (Some(0x2004), 42, true));
        assert!(!mappings.is_code(0x7f24) && mappings.is_code(0x7f04) && !mappings.is_code(0));
        assert!(Mappings::parse("").at(0).is_none());
    }

    #[test]
    fn memory_is_checked_piece_by_piece() {
        let mappings = Mappings::parse(
            "1000-2000 r--p 00000000 08:01 7 /a.so\n2000-3000 r-xp 00001000 08:01 7 /a.so\n3000-4000 rw-p 0 00:00 0\n\
             5000-6000 ---p 0 00:00 0\nnonsense\n",
        );
        for (address, size, readable, constant) in [
            (0x1000, 0x1000, true, true),
            (0x1fff, 2, true, true),
            (0x1000, 0x3000, true, false),
            (0x3ff8, 8, true, false),
            (0x3ff8, 9, false, false),
            (0x0fff, 2, false, false),
            (0x5000, 1, false, false),
            (u64::MAX, 2, false, false),
            (0x1000, 0, false, false),
        ] {
            assert_eq!(mappings.is_readable(address, size), readable, "{address:x}+{size}");
            assert_eq!(mappings.is_constant(address, size), constant, "{address:x}+{size}");
        }
        assert!(mappings.is_code(0x2000) && !mappings.is_code(0x1000) && !mappings.is_code(0));
        assert_eq!([0x1ffe, 0x3fff, 0x4000, 0x5000].map(|at| mappings.readable_from(at)), [0x2002, 1, 0, 0]);
    }

    #[test]
    fn this_process_has_code_and_constants() {
        let mappings = Mappings::current().unwrap();
        assert!(mappings.is_code(this_process_has_code_and_constants as *const () as u64));
        assert!(mappings.is_constant("text".as_ptr() as u64, 4));
        let local = 0_u64;
        assert!(mappings.is_readable((&raw const local) as u64, 8));
        assert!(!mappings.is_constant((&raw const local) as u64, 8));
    }
}
