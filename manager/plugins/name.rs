//! Derives the name of a Gearman function from a file's name in worker_dir, or says why there is none. Pure.

use std::borrow::Borrow;
use std::ffi::OsStr;
use std::fmt;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::display_path::escaped;

/// The longest function name in bytes. gearmand accepts 2,000; a file name has at most 255, including `.so`.
pub const MAX_NAME: usize = 252;

/// The name of a function: not empty, UTF-8, no control characters and no `/`, at most [`MAX_NAME`] bytes. It can be
/// used in a log line, in gearmand's text listings and as a file name. A clone copies no text, since the manager passes
/// names around with every worker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct FunctionName(Arc<str>);

impl FunctionName {
    /// The name, checked.
    ///
    /// # Errors
    /// [`BadName`] says what is wrong with it.
    pub fn new(name: &str) -> Result<Self, BadName> {
        if name.is_empty() {
            return Err(BadName::Empty);
        }
        if name.len() > MAX_NAME {
            return Err(BadName::TooLong(name.len()));
        }
        // gearmand prints names raw: a newline would start a second line of `gearadmin --status`.
        if name.contains(|c: char| c.is_control() || c == '/') {
            return Err(BadName::Odd);
        }
        Ok(FunctionName(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A `&FunctionName` can be used as a `&str`.
impl Deref for FunctionName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Lets maps with function names as keys be searched by text.
impl Borrow<str> for FunctionName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for FunctionName {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for FunctionName {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for FunctionName {
    type Error = BadName;

    fn try_from(name: String) -> Result<Self, BadName> {
        FunctionName::new(&name)
    }
}

impl From<FunctionName> for String {
    fn from(name: FunctionName) -> String {
        name.0.as_ref().to_owned()
    }
}

/// Why a text is no function name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// It is empty.
    #[error("has no function name")]
    Empty,
    /// It is too long: its length in bytes.
    #[error("is a function name of {0} bytes, and {MAX_NAME} is the most; shorten it")]
    TooLong(usize),
    /// gearmand would print it raw.
    #[error("has a control character or a slash in its name; rename it")]
    Odd,
    /// Not text.
    #[error("has a name that is not UTF-8; rename it")]
    NotUtf8,
}

/// The two ways to name a function's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spelling {
    /// `NAME.so`, which wins if both exist.
    Exact,
    /// `libNAME.so`, as compilers name it.
    Lib,
}

/// Why a file is skipped because of its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SkippedFile {
    /// It begins with a dot, as do the temporary files of rsync, Emacs and vim.
    #[error("is hidden: {0}")]
    Hidden(&'static str),
    /// A file that is being written and will be renamed.
    #[error("is a temporary name ({0}); it is looked at when it is renamed to NAME.so")]
    Temporary(&'static str),
    /// An older version kept by a package manager or an editor.
    #[error("is a kept copy ({0}), not a library to serve")]
    Kept(&'static str),
    /// `foo.so.1`; the name it could have.
    #[error("is a versioned library name; name it {0}, or make {0} a link to it")]
    Versioned(String),
    /// A library for another system, or another product of a compiler: what it is, and what to do.
    #[error("is {0}")]
    Other(&'static str),
    /// Any other name.
    #[error("does not end in .so")]
    NoLibrary,
    /// `NAME.so` with an invalid NAME.
    #[error(transparent)]
    BadName(#[from] BadName),
}

/// Endings of files that are being written, and what writes them.
const TEMPORARY: &[(&str, &str)] = &[
    (".new", "a new version being written"),
    (".tmp", "a file being written"),
    (".temp", "a file being written"),
    (".part", "a download in progress"),
    (".partial", "a download in progress"),
    (".filepart", "an upload in progress"),
    (".crdownload", "a download in progress"),
    (".download", "a download in progress"),
    (".dpkg-new", "dpkg unpacking"),
    (".dpkg-tmp", "dpkg unpacking"),
    (".swp", "an editor's swap file"),
    (".swo", "an editor's swap file"),
    (".swx", "an editor's swap file"),
    (".lock", "a lock"),
];

/// Endings of older copies.
const KEPT: &[(&str, &str)] = &[
    ("~", "an editor's backup"),
    (".bak", "a backup"),
    (".orig", "a backup"),
    (".old", "an older version"),
    (".rej", "a rejected patch"),
    (".save", "a backup"),
    (".dpkg-old", "dpkg's older version"),
    (".dpkg-dist", "dpkg's other version"),
    (".rpmnew", "rpm's other version"),
    (".rpmsave", "rpm's older version"),
    (".disabled", "switched off by its name"),
    (".off", "switched off by its name"),
];

/// Endings that come close: what the file is, and what would be right.
const OTHER: &[(&str, &str)] = &[
    (".dylib", "a macOS library; gm-native runs on Linux: build it there and copy the .so"),
    (".dll", "a Windows library; gm-native runs on Linux: build it there and copy the .so"),
    (".a", "a static library; build a cdylib and copy the .so"),
    (".rlib", "a Rust library for the compiler; set crate-type = [\"cdylib\"] and copy the .so"),
    (".rmeta", "compiler metadata, not a library"),
    (".o", "an object file; link it into a shared library"),
    (".d", "a list of dependencies written by the compiler"),
    (".rs", "Rust source; build it as a cdylib and copy the .so"),
    (".c", "C source; build it as a shared library and copy the .so"),
    (".php", "a PHP worker of GearmanManager; gm-native serves native libraries"),
    (".debug", "debug information, not a library"),
    (".SO", "spelled in capitals; name it with a lower-case .so"),
];

/// The function that a file of this name serves, and which of the two names it has.
///
/// # Errors
/// Why the file is skipped; the text follows the file's name.
pub fn function_of(file_name: &OsStr) -> Result<(FunctionName, Spelling), SkippedFile> {
    let bytes = file_name.as_bytes();
    if let Some(reason) = unfinished(bytes) {
        return Err(reason);
    }
    let Some(stem) = bytes.strip_suffix(b".so") else { return Err(elsewhere(bytes)) };
    let stem = str::from_utf8(stem).map_err(|_| BadName::NotUtf8)?;
    let (name, spelling) = match stem.strip_prefix("lib") {
        Some(rest) if !rest.is_empty() => (rest, Spelling::Lib),
        _ => (stem, Spelling::Exact),
    };
    Ok((FunctionName::new(name)?, spelling))
}

/// Names of files that are still being written, whatever their ending.
fn unfinished(name: &[u8]) -> Option<SkippedFile> {
    if let Some(rest) = name.strip_prefix(b".") {
        let what = match rest {
            [b'#', ..] => "an editor's lock",
            _ if rest.starts_with(b"nfs") => "NFS keeps it for a process that has it open",
            _ if is_rsync(rest) => "rsync is writing it",
            _ if rest.ends_with(b".swp") || rest.ends_with(b".swo") => "an editor's swap file",
            _ => "its name begins with a dot",
        };
        return Some(SkippedFile::Hidden(what));
    }
    if name.starts_with(b"#") && name.ends_with(b"#") {
        return Some(SkippedFile::Temporary("an editor's autosave"));
    }
    if name.starts_with(b"~") {
        return Some(SkippedFile::Temporary("a file being written"));
    }
    None
}

/// rsync writes `.NAME.XXXXXX`, six letters and digits, and renames.
fn is_rsync(name: &[u8]) -> bool {
    let Some((stem, end)) = name.split_last_chunk::<7>() else { return false };
    stem.ends_with(b".so") && end[0] == b'.' && end[1..].iter().all(u8::is_ascii_alphanumeric)
}

/// A name that does not end in `.so`.
fn elsewhere(name: &[u8]) -> SkippedFile {
    let ending = |table: &[(&str, &'static str)]| {
        table.iter().find(|(ending, _)| name.ends_with(ending.as_bytes())).map(|&(_, what)| what)
    };
    if let Some(what) = ending(TEMPORARY) {
        return SkippedFile::Temporary(what);
    }
    if let Some(what) = ending(KEPT) {
        return SkippedFile::Kept(what);
    }
    if let Some(what) = ending(OTHER) {
        return SkippedFile::Other(what);
    }
    match name.windows(4).rposition(|w| w == b".so.") {
        Some(at) if is_version(&name[at + 4..]) => SkippedFile::Versioned(escaped(&name[..at + 3])),
        Some(_) => SkippedFile::Temporary("something follows the .so"),
        None => SkippedFile::NoLibrary,
    }
}

/// `1`, `1.2.3`.
fn is_version(text: &[u8]) -> bool {
    text.split(|&b| b == b'.').all(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
}

/// Tests write names as literals.
#[cfg(test)]
impl From<&str> for FunctionName {
    fn from(name: &str) -> Self {
        FunctionName::new(name).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(name: &[u8]) -> String {
        match function_of(OsStr::from_bytes(name)) {
            Ok((function, spelling)) => format!("{function} {spelling:?}"),
            Err(reason) => reason.to_string(),
        }
    }

    #[test]
    fn names_of_functions() {
        let cases: &[(&[u8], &str)] = &[
            (b"reverse_string.so", "reverse_string Exact"),
            (b"libreverse_string.so", "reverse_string Lib"),
            (b"lib.so", "lib Exact"),
            (b"liblib.so", "lib Lib"),
            (b"library.so", "rary Lib"),
            (b"a.b.so", "a.b Exact"),
            (b"two words.so", "two words Exact"),
            ("gr\u{fc}n.so".as_bytes(), "gr\u{fc}n Exact"),
            (b"x.so.so", "x.so Exact"),
            (b"4913.so", "4913 Exact"),
        ];
        for (name, text) in cases {
            assert_eq!(described(name), *text, "{}", escaped(name));
        }
    }

    #[test]
    fn names_left_alone() {
        let temporary =
            |what: &str| format!("is a temporary name ({what}); it is looked at when it is renamed to NAME.so");
        let cases: Vec<(&[u8], String)> = vec![
            (b".so", "is hidden: its name begins with a dot".into()),
            (b".git", "is hidden: its name begins with a dot".into()),
            (b".hidden.so", "is hidden: its name begins with a dot".into()),
            (b".x.so.AbCd12", "is hidden: rsync is writing it".into()),
            (b".x.so.AbCd123", "is hidden: its name begins with a dot".into()),
            (b".#x.so", "is hidden: an editor's lock".into()),
            (b".x.so.swp", "is hidden: an editor's swap file".into()),
            (b".nfs000001", "is hidden: NFS keeps it for a process that has it open".into()),
            (b"#x.so#", temporary("an editor's autosave")),
            (b"~x.so", temporary("a file being written")),
            (b"x.so.new", temporary("a new version being written")),
            (b"x.so.tmp", temporary("a file being written")),
            (b"x.tmp", temporary("a file being written")),
            (b"x.so.part", temporary("a download in progress")),
            (b"x.so.filepart", temporary("an upload in progress")),
            (b"x.so.dpkg-new", temporary("dpkg unpacking")),
            (b"x.so.AbCdEf", temporary("something follows the .so")),
            (b"x.so~", "is a kept copy (an editor's backup), not a library to serve".into()),
            (b"x.so.old", "is a kept copy (an older version), not a library to serve".into()),
            (b"x.so.disabled", "is a kept copy (switched off by its name), not a library to serve".into()),
            (b"foo.so.1", "is a versioned library name; name it foo.so, or make foo.so a link to it".into()),
            (b"foo.so.1.2.3", "is a versioned library name; name it foo.so, or make foo.so a link to it".into()),
            (b"x.dylib", "is a macOS library; gm-native runs on Linux: build it there and copy the .so".into()),
            (b"x.SO", "is spelled in capitals; name it with a lower-case .so".into()),
            (b"fetch_url.php", "is a PHP worker of GearmanManager; gm-native serves native libraries".into()),
            (b"4913", "does not end in .so".into()),
            (b"README", "does not end in .so".into()),
            (b"a\nb.so", "has a control character or a slash in its name; rename it".into()),
            (b"a\x1b[1m.so", "has a control character or a slash in its name; rename it".into()),
            ("c1\u{85}.so".as_bytes(), "has a control character or a slash in its name; rename it".into()),
            (b"\xff.so", "has a name that is not UTF-8; rename it".into()),
            (b"a\nb.so.1", "is a versioned library name; name it a\\nb.so, or make a\\nb.so a link to it".into()),
        ];
        for (name, text) in cases {
            assert_eq!(described(name), text, "{}", escaped(name));
        }
    }

    #[test]
    fn length_ends_where_file_names_end() {
        assert_eq!(
            "x".repeat(MAX_NAME) + ".so",
            function_of(OsStr::new(&("x".repeat(252) + ".so"))).unwrap().0.to_string() + ".so"
        );
        assert_eq!(FunctionName::new(&"x".repeat(253)), Err(BadName::TooLong(253)));
        assert_eq!(FunctionName::new(""), Err(BadName::Empty));
        assert_eq!(FunctionName::new("../up"), Err(BadName::Odd));
    }

    #[test]
    fn names_in_state_files_are_checked_too() {
        assert!(serde_json::from_str::<FunctionName>("\"reverse\"").is_ok());
        assert!(serde_json::from_str::<FunctionName>("\"../../etc/x\"").is_err());
    }
}
