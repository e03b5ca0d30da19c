//! What is mapped into this process, and how: to check an address that a library claims before it is used.

use std::fs;
use std::io;
use std::ops::Range;

/// One line of `/proc/self/maps`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mapping {
    addresses: Range<usize>,
    readable: bool,
    writable: bool,
    executable: bool,
}

/// All mappings of this process at one time.
#[derive(Debug)]
pub(super) struct Mappings(Vec<Mapping>);

impl Mappings {
    /// Those of now.
    ///
    /// # Errors
    /// The system's: without `/proc` nothing can be checked.
    pub(super) fn current() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/maps")?))
    }

    fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(mapping).collect())
    }

    /// Whether all of this memory can be read.
    pub(super) fn is_readable(&self, address: usize, size: usize) -> bool {
        self.all(address, size, |mapping| mapping.readable)
    }

    /// Whether all of it can be read, and no part be written.
    pub(super) fn is_constant(&self, address: usize, size: usize) -> bool {
        self.all(address, size, |mapping| mapping.readable && !mapping.writable)
    }

    /// Whether there is code at the address.
    pub(super) fn is_code(&self, address: usize) -> bool {
        self.all(address, 1, |mapping| mapping.executable)
    }

    /// How many bytes can be read from the address on.
    pub(super) fn readable_from(&self, address: usize) -> usize {
        let mut end = address;
        while let Some(mapping) = self.at(end).filter(|mapping| mapping.readable) {
            end = mapping.addresses.end;
        }
        end - address
    }

    fn at(&self, address: usize) -> Option<&Mapping> {
        self.0.iter().find(|mapping| mapping.addresses.contains(&address))
    }

    fn all(&self, address: usize, size: usize, suits: impl Fn(&Mapping) -> bool) -> bool {
        let Some(end) = address.checked_add(size) else { return false };
        let mut at = address;
        while at < end {
            match self.at(at).filter(|mapping| suits(mapping)) {
                Some(mapping) => at = mapping.addresses.end,
                None => return false,
            }
        }
        size > 0
    }
}

/// `55d0a0000000-55d0a0002000 r-xp 00000000 08:01 1234 /path`.
fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let access = words.next()?.as_bytes();
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some(Mapping {
        addresses: address(start)?..address(end)?,
        readable: *access.first()? == b'r',
        writable: *access.get(1)? == b'w',
        executable: *access.get(2)? == b'x',
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_looked_up() {
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
            (usize::MAX, 2, false, false),
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
        assert!(mappings.is_code(this_process_has_code_and_constants as *const () as usize));
        assert!(mappings.is_constant("text".as_ptr() as usize, 4));
        let local = 0_u64;
        assert!(mappings.is_readable((&raw const local) as usize, 8));
        assert!(!mappings.is_constant((&raw const local) as usize, 8));
    }
}
