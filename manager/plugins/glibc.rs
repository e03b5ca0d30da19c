//! Which glibc a library needs, and which one is installed.
// Calls one C function that takes nothing and returns a constant string.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fmt;

/// A glibc version: major, minor, and the patch level that a few old symbols carry (`GLIBC_2.2.5`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GlibcVersion(u32, u32, u32);

impl GlibcVersion {
    /// From `2.36` or `2.2.5`; a suffix such as `-0ubuntu1` or ` (Debian)` is ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut parts = text[..end].splitn(3, '.').map(|part| part.parse::<u32>().ok());
        let (major, minor) = (parts.next()??, parts.next()??);
        Some(GlibcVersion(major, minor, parts.next().flatten().unwrap_or(0)))
    }

    /// The glibc that introduced a symbol version of libc. `None` if the name is not a number: then only the loader
    /// knows.
    pub fn of_symbol_version(name: &[u8]) -> Option<Self> {
        match name {
            // Linkers write it for `-z pack-relative-relocs`.
            b"GLIBC_ABI_DT_RELR" => Some(GlibcVersion(2, 36, 0)),
            _ => Self::parse(str::from_utf8(name.strip_prefix(b"GLIBC_")?).ok()?),
        }
    }

    /// The glibc this process runs on.
    pub fn running() -> Option<Self> {
        // SAFETY: takes nothing; returns a pointer to a constant NUL-terminated string of libc.
        let text = unsafe { CStr::from_ptr(nix::libc::gnu_get_libc_version()) };
        Self::parse(text.to_str().ok()?)
    }
}

impl fmt::Display for GlibcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)?;
        if self.2 > 0 { write!(f, ".{}", self.2) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        let of = |name: &str| GlibcVersion::of_symbol_version(name.as_bytes());
        assert!(of("GLIBC_2.9") < of("GLIBC_2.10"));
        assert!(of("GLIBC_2.2.5") < of("GLIBC_2.3"));
        assert_eq!(of("GLIBC_ABI_DT_RELR"), GlibcVersion::parse("2.36"));
        assert_eq!(GlibcVersion::parse("2.36-9+deb12u14"), Some(GlibcVersion(2, 36, 0)));
        for not_a_number in ["GLIBC_PRIVATE", "GLIBC_", "GLIBC_2", "GCC_3.0", "GLIBC_ABI_OTHER", "GLIBC_2.99999999999"]
        {
            assert_eq!(of(not_a_number), None, "{not_a_number}");
        }
        assert_eq!(of("GLIBC_2.34").map(|v| v.to_string()).as_deref(), Some("2.34"));
        assert_eq!(of("GLIBC_2.2.5").map(|v| v.to_string()).as_deref(), Some("2.2.5"));
    }

    #[test]
    fn this_machine_has_one() {
        assert!(GlibcVersion::running() > GlibcVersion::parse("2.17"));
    }
}
