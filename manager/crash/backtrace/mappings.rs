//! The text of `/proc/PID/maps`.

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// The first address.
    pub(crate) start: u64,
    /// The first one behind it.
    pub(crate) end: u64,
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
        let is_executable = fields.next()?.as_bytes().get(2) == Some(&b'x');
        let offset = hexadecimal(fields.next()?)?;
        let inode = fields.nth(1)?.parse().ok()?;
        let path = fields.next().map(str::trim_start).filter(|path| !path.is_empty());
        // The kernel writes a line end in a name like this, and nothing else.
        let path = path.map(|path| path.replace("\\012", "\n"));
        (start < end).then_some(Self { start, end, is_executable, offset, inode, path })
    }

    /// Where in the file an address of this mapping is.
    pub(crate) fn file_offset(&self, address: u64) -> Option<u64> {
        address.checked_sub(self.start)?.checked_add(self.offset)
    }
}

impl Mappings {
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

    pub(crate) fn is_code(&self, address: u64) -> bool {
        self.at(address).is_some_and(|mapping| mapping.is_executable)
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
}
