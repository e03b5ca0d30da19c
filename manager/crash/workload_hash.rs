//! What the manager itself knows of a saved workload. Its hash tells jobs apart that have no unique id.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::system::crash_area::{WORKLOAD_AT, Word};

/// The manager hashes no more than this of a workload: its loop waits meanwhile.
const HASHED: usize = 1 << 20;

/// A hash of a workload, of its size, and of nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkloadHash([u8; 32]);

impl WorkloadHash {
    /// The hash of a workload of this size, of which this is the beginning, or all.
    pub(crate) fn of(bytes: &[u8], size: u64) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(size.to_le_bytes());
        hasher.update(&bytes[..bytes.len().min(HASHED)]);
        Self(hasher.finalize().into())
    }
}

/// The workload in a crash area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorkloadFacts {
    /// The size of the whole.
    pub size: u64,
    /// Whether all of it was saved.
    pub is_whole: bool,
    /// Its hash.
    pub hash: WorkloadHash,
}

impl WorkloadFacts {
    /// Reads them from a crash area, which is hostile input; `None` if no workload was saved.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn read(area: &File) -> io::Result<Option<Self>> {
        let word = |word: Word| {
            let mut bytes = [0; 8];
            area.read_exact_at(&mut bytes, (word as u64) * 8).map(|()| u64::from_ne_bytes(bytes))
        };
        let (saved, size) = (word(Word::Workload)?, word(Word::WorkloadSize)?);
        let room = area.metadata()?.len().saturating_sub(WORKLOAD_AT as u64).min(size);
        let Some(saved) = saved.checked_sub(1).filter(|saved| *saved <= room) else { return Ok(None) };
        let mut bytes = vec![0; usize::try_from(saved).unwrap_or(HASHED).min(HASHED)];
        area.read_exact_at(&mut bytes, WORKLOAD_AT as u64)?;
        Ok(Some(Self { size, is_whole: saved == size, hash: WorkloadHash::of(&bytes, size) }))
    }
}

/// In hexadecimal digits.
impl fmt::Display for WorkloadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for WorkloadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for WorkloadHash {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let digits: Vec<u8> = text.as_bytes().iter().map(digit).collect::<Option<_>>().ok_or(())?;
        let (pairs, _) = digits.as_chunks::<2>();
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        Ok(Self(bytes.try_into().map_err(|_| ())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_differ_by_content_and_by_size() {
        assert_eq!(WorkloadHash::of(b"abc", 3), WorkloadHash::of(b"abc", 3));
        assert_ne!(WorkloadHash::of(b"abc", 3), WorkloadHash::of(b"abd", 3));
        // What was saved is the beginning of a longer one.
        assert_ne!(WorkloadHash::of(b"abc", 3), WorkloadHash::of(b"abc", 4));
        let hash = WorkloadHash::of(b"abc", 3);
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert!(["", "zz", "12"].iter().all(|text| text.parse::<WorkloadHash>().is_err()));
        let long = vec![7; HASHED + 1];
        assert_eq!(WorkloadHash::of(&long, 1 << 21), WorkloadHash::of(&long[..HASHED], 1 << 21));
    }

    #[test]
    fn no_word_of_a_crash_area_is_believed() {
        let area = |saved: u64, size: u64, bytes: &[u8]| {
            let file = tempfile::tempfile().unwrap();
            file.set_len((WORKLOAD_AT + 4096) as u64).unwrap();
            for (word, value) in [(Word::Workload, saved), (Word::WorkloadSize, size)] {
                file.write_all_at(&value.to_ne_bytes(), (word as u64) * 8).unwrap();
            }
            file.write_all_at(bytes, WORKLOAD_AT as u64).unwrap();
            WorkloadFacts::read(&file).unwrap()
        };
        let whole = area(4, 3, b"abc").unwrap();
        assert_eq!((whole.size, whole.is_whole, whole.hash), (3, true, WorkloadHash::of(b"abc", 3)));
        assert!(!area(4, 9000, b"abc").unwrap().is_whole);
        assert_eq!(area(1, 0, b"").unwrap().size, 0);
        for (saved, size) in [(0, 3), (5, 3), (u64::MAX, u64::MAX), (5000, 5000)] {
            assert_eq!(area(saved, size, b"abc"), None, "{saved} of {size}");
        }
        assert!(WorkloadFacts::read(&tempfile::tempfile().unwrap()).is_err());
    }
}
