//! The identity of a library: the hash of its content.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::siblings::Sibling;

/// SHA-256 of a file's content, shown and stored as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The first 12 digits, which messages show and the store uses as names.
    pub fn short(&self) -> ShortHash {
        let mut digits = [0; 12];
        digits.copy_from_slice(&self.to_string().as_bytes()[..12]);
        ShortHash(digits)
    }

    /// The hash of a plugin together with the libraries beside it. Without any it is the plugin's own.
    pub fn with_siblings(self, siblings: &[Sibling]) -> Self {
        if siblings.is_empty() {
            return self;
        }
        let mut siblings: Vec<&Sibling> = siblings.iter().collect();
        siblings.sort();
        let mut hasher = Hasher::default();
        hasher.add(b"gm-native plugin with siblings\0");
        hasher.add(&self.0);
        for sibling in siblings {
            // No path contains a NUL, and all hashes have the same length.
            hasher.add(sibling.path.as_os_str().as_bytes());
            hasher.add(b"\0");
            hasher.add(&sibling.hash.0);
        }
        hasher.finish()
    }

    /// The hash of everything that can still be read. Blocks as long as the reader does.
    pub fn of_reader(mut reader: impl Read) -> io::Result<Self> {
        let mut hasher = Hasher::default();
        let mut block = vec![0; 256 * 1024];
        loop {
            match reader.read(&mut block) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(n) => hasher.add(&block[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// Hashes content that arrives in pieces.
#[derive(Default)]
pub(super) struct Hasher(Sha256);

impl Hasher {
    pub(super) fn add(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    pub(super) fn finish(self) -> ContentHash {
        ContentHash(self.0.finalize().into())
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.short(), f)
    }
}

/// A text that is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a hash of lower-case hex digits")]
pub struct BadHash;

impl TryFrom<String> for ContentHash {
    type Error = BadHash;

    fn try_from(text: String) -> Result<Self, BadHash> {
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(is_digit) {
            return Err(BadHash);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = str::from_utf8(pair).map_err(|_| BadHash)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| BadHash)?;
        }
        Ok(ContentHash(bytes))
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> String {
        hash.to_string()
    }
}

/// The first 12 hex digits of a [`ContentHash`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct ShortHash([u8; 12]);

impl ShortHash {
    /// From the name of a directory in the store; `None` for any other name.
    pub fn from_name(name: &str) -> Option<Self> {
        let digits: [u8; 12] = name.as_bytes().try_into().ok()?;
        digits.iter().all(is_digit).then_some(ShortHash(digits))
    }
}

impl TryFrom<String> for ShortHash {
    type Error = BadHash;

    fn try_from(text: String) -> Result<Self, BadHash> {
        ShortHash::from_name(&text).ok_or(BadHash)
    }
}

impl From<ShortHash> for String {
    fn from(hash: ShortHash) -> String {
        hash.to_string()
    }
}

fn is_digit(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

impl fmt::Display for ShortHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl fmt::Debug for ShortHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Tests name versions with up to six characters, such as `a-1`.
#[cfg(test)]
mod test_names {
    use super::ShortHash;

    impl From<&str> for ShortHash {
        fn from(name: &str) -> Self {
            if let Some(hash) = ShortHash::from_name(name) {
                return hash;
            }
            assert!(name.len() <= 6, "{name} is too long to name a version in a test");
            let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
            ShortHash::from_name(&format!("{digits:0<12}")).unwrap()
        }
    }

    impl PartialEq<str> for ShortHash {
        fn eq(&self, name: &str) -> bool {
            *self == ShortHash::from(name)
        }
    }

    impl PartialEq<&str> for ShortHash {
        fn eq(&self, name: &&str) -> bool {
            *self == **name
        }
    }

    impl ShortHash {
        /// The name that it was made from.
        pub(crate) fn test_name(self) -> String {
            let digit = |digit: u8| u8::try_from(char::from(digit).to_digit(16).unwrap()).unwrap();
            let bytes = self.0.chunks(2).map(|pair| digit(pair[0]) * 16 + digit(pair[1]));
            bytes.take_while(|byte| *byte != 0).map(char::from).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_are_a_part_of_it_whatever_their_order() {
        let plugin = ContentHash::of_reader(&b"plugin"[..]).unwrap();
        let sibling = |path: &str, content: &str| Sibling {
            path: path.into(),
            hash: ContentHash::of_reader(content.as_bytes()).unwrap(),
        };
        let (a, b) = (sibling("a", "1"), sibling("b", "2"));
        let hash = |siblings: &[&Sibling]| {
            plugin.with_siblings(&siblings.iter().map(|sibling| (*sibling).clone()).collect::<Vec<_>>())
        };
        assert_eq!(hash(&[]), plugin, "as sha256sum has it");
        assert_eq!(hash(&[&a, &b]), hash(&[&b, &a]));
        let all =
            [hash(&[]), hash(&[&a]), hash(&[&a, &b]), hash(&[&sibling("a", "2")]), hash(&[&sibling("lib/a", "1")])];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn hashes_as_text() {
        let hash = ContentHash::of_reader(&b"abc"[..]).unwrap();
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_string(), text);
        assert_eq!(hash.short().to_string(), "ba7816bf8f01");
        assert_eq!(ContentHash::try_from(text.to_owned()), Ok(hash));
        assert_eq!(serde_json::to_string(&hash).unwrap(), format!("\"{text}\""));
        for bad in ["", "ba78", &text.to_uppercase(), &text.replace('a', "g"), &"\u{fc}".repeat(32)] {
            assert_eq!(ContentHash::try_from(bad.to_owned()), Err(BadHash), "{bad}");
        }
        assert_eq!(ShortHash::from_name("ba7816bf8f01"), Some(hash.short()));
        assert_eq!(ShortHash::from_name("incoming-dir"), None);
    }
}
