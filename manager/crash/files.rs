//! A directory of records: `ID.json`, and `ID.workload` beside it if the workload was kept.
//!
//! Whoever may write there may leave anything: names that are no record's are left alone, and what cannot be read is
//! skipped with a reason. No link is followed, and nothing but a regular file is read. A file is written completely or
//! not at all, and the oldest records go when there are too many.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::dir::{Dir, Entry};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::record_id::RecordId;
use crate::system::errors::reason;
use crate::system::{directory, private_dir};

/// No record of ours is nearly this long; a file that someone left may be.
const RECORD_MAX: u64 = 4 << 20;
/// What `st_blocks` counts.
const BLOCK: u64 = 512;
/// The most that all files of a directory take, unless a single record is larger.
pub(crate) const TOTAL_MAX: u64 = 512 << 20;

/// Where crash reports are, in the state directory.
pub(crate) const CRASHES: &str = "crashes";
/// Where jobs in quarantine are.
pub(crate) const QUARANTINE: &str = "quarantine";

/// What a directory holds.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// Another format is not read.
    const FORMAT: u32;
    /// For messages: "crash report".
    const WHAT: &'static str;
}

/// A directory of records.
#[derive(Debug)]
pub(crate) struct RecordDir<T> {
    dir: OwnedFd,
    of: PhantomData<T>,
}

/// A record that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SkippedRecord {
    /// Its id.
    pub id: RecordId,
    /// Why: a clause.
    pub reason: String,
}

/// What is in a directory, the oldest first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Listing<T> {
    /// What could be read.
    pub records: Vec<(RecordId, T)>,
    /// What could not.
    pub skipped: Vec<SkippedRecord>,
}

/// A file as it is written.
#[derive(Serialize)]
struct Framed<'a, T> {
    format: u32,
    #[serde(flatten)]
    content: &'a T,
}

impl<T: Record> RecordDir<T> {
    /// Creates the directory, or checks that it is ours alone. The state directory has to exist.
    ///
    /// # Errors
    /// See [`private_dir::DirectoryError`].
    pub(crate) fn create(path: &Path) -> Result<Self, private_dir::DirectoryError> {
        Ok(Self { dir: private_dir::inside(path)?, of: PhantomData })
    }

    /// Opens the directory; `None` if there is none yet.
    ///
    /// # Errors
    /// The system's; or a link is in its place.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = directory::of(path).and_then(|(parent, name)| Ok(openat(&parent, name, flags, Mode::empty())?));
        match opened {
            Ok(dir) => Ok(Some(Self { dir, of: PhantomData })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a record over an older one of its id, and the workload first, if there is one. Blocks as long as the disk
    /// does.
    ///
    /// # Errors
    /// The system's. The older one stays.
    pub(crate) fn write(&self, id: RecordId, content: &T, workload: Option<&[u8]>) -> io::Result<()> {
        if let Some(workload) = workload {
            self.write_file(&workload_name(id), workload)?;
        }
        let mut text = serde_json::to_vec_pretty(&Framed { format: T::FORMAT, content })?;
        text.push(b'\n');
        self.write_file(&record_name(id), &text)
    }

    fn write_file(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = temporary_name(name);
        self.remove_file(&temporary)?;
        let written = self.replace_file(&temporary, name, bytes);
        if written.is_err() {
            // Best effort: the next write begins by removing it.
            let _ = self.remove_file(&temporary);
        }
        written
    }

    fn replace_file(&self, temporary: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&self.dir, temporary, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(renameat(&self.dir, temporary, &self.dir, name)?)
    }

    /// A record.
    ///
    /// # Errors
    /// Why it cannot be used: a clause.
    pub(crate) fn read(&self, id: RecordId) -> Result<T, String> {
        let bytes = self.read_file(&record_name(id), RECORD_MAX).map_err(|error| match error.kind() {
            ErrorKind::NotFound => format!("there is no {} of that id", T::WHAT),
            _ => reason(&error),
        })?;
        parse(&bytes)
    }

    /// The workload beside a record, at most `most` bytes; `None` if there is none.
    ///
    /// # Errors
    /// The system's; or it is no regular file, or longer.
    pub(crate) fn workload(&self, id: RecordId, most: u64) -> io::Result<Option<Vec<u8>>> {
        match self.read_file(&workload_name(id), most) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_file(&self, name: &str, most: u64) -> io::Result<Vec<u8>> {
        // Without O_NONBLOCK a FIFO would make it wait.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = openat(&self.dir, name, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::ELOOP => io::Error::other("it is a symbolic link, which is not followed"),
            errno => errno.into(),
        })?;
        let file = File::from(file);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::new();
        file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::Error::other(format!("it is longer than {most} bytes")));
        }
        Ok(bytes)
    }

    /// Removes a record and its workload; false if there was none.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn remove(&self, id: RecordId) -> io::Result<bool> {
        // The record goes last: a workload without one is found by nobody.
        let workload = self.remove_file(&workload_name(id))?;
        let record = self.remove_file(&record_name(id))?;
        Ok(workload || record)
    }

    fn remove_file(&self, name: &str) -> io::Result<bool> {
        match unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The ids of all records and workloads, the oldest first, and the bytes that each takes on the disk.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn ids(&self) -> io::Result<Vec<(RecordId, u64)>> {
        let mut sizes: BTreeMap<RecordId, u64> = BTreeMap::new();
        for name in self.names()? {
            let Some(id) = id_of(&name) else { continue };
            let size = directory::stat_entry(&self.dir, OsStr::new(&name)).map_or(0, |found| {
                let is_file = SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG;
                // By blocks: a sparse file may be as long as it likes.
                if is_file { found.st_blocks.max(0).cast_unsigned().saturating_mul(BLOCK) } else { 0 }
            });
            let all = sizes.entry(id).or_default();
            *all = all.saturating_add(size);
        }
        Ok(sizes.into_iter().collect())
    }

    /// All names that are text.
    fn names(&self) -> io::Result<Vec<String>> {
        let mut listing = Dir::openat(self.dir.as_fd(), ".", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        let name = |entry: nix::Result<Entry>| Ok(entry?.file_name().to_str().ok().map(str::to_owned));
        listing.iter().map(name).filter_map(Result::transpose).collect()
    }

    /// Everything that is there.
    ///
    /// # Errors
    /// The system's, if the directory cannot be read.
    pub(crate) fn list(&self) -> io::Result<Listing<T>> {
        let mut all = Listing { records: Vec::new(), skipped: Vec::new() };
        for (id, _) in self.ids()? {
            match self.read(id) {
                Ok(record) => all.records.push((id, record)),
                Err(reason) => all.skipped.push(SkippedRecord { id, reason }),
            }
        }
        Ok(all)
    }

    /// Removes the oldest if there are more than `keep`, or all take more than `total` bytes. The newest stays
    /// whatever it takes, unless `keep` is 0. Removes what a writer left that was killed, too: only one may write at a
    /// time. What cannot be removed is left. Returns how many records went.
    ///
    /// # Errors
    /// The system's, if the directory cannot be read.
    pub(crate) fn prune(&self, keep: usize, total: u64) -> io::Result<usize> {
        for name in self.names()?.iter().filter(|name| is_temporary(name)) {
            // As for the others.
            let _ = self.remove_file(name);
        }
        let gone = surplus(&self.ids()?, keep, total);
        Ok(gone.into_iter().filter(|id| self.remove(*id).is_ok_and(|removed| removed)).count())
    }
}

fn record_name(id: RecordId) -> String {
    format!("{id}.json")
}

fn workload_name(id: RecordId) -> String {
    format!("{id}.workload")
}

fn temporary_name(name: &str) -> String {
    format!(".{name}.new")
}

fn is_temporary(name: &str) -> bool {
    name.strip_prefix('.').and_then(|name| name.strip_suffix(".new")).and_then(id_of).is_some()
}

/// The record that a file belongs to.
fn id_of(name: &str) -> Option<RecordId> {
    name.strip_suffix(".json").or_else(|| name.strip_suffix(".workload"))?.parse().ok()
}

fn parse<T: Record>(bytes: &[u8]) -> Result<T, String> {
    /// For a file whose content may have any shape.
    #[derive(Deserialize)]
    struct OnlyFormat {
        format: u32,
    }
    let damaged = |error: serde_json::Error| format!("it is damaged ({})", reason(&error));
    let OnlyFormat { format } = serde_json::from_slice(bytes).map_err(damaged)?;
    if format != T::FORMAT {
        return Err(format!("it is of format {format}, and this version reads format {}", T::FORMAT));
    }
    serde_json::from_slice(bytes).map_err(damaged)
}

/// The ids to remove, of records with their sizes, the oldest first.
fn surplus(records: &[(RecordId, u64)], keep: usize, total: u64) -> Vec<RecordId> {
    let mut taken: u64 = 0;
    let mut kept = 0;
    let mut gone = Vec::new();
    for (id, size) in records.iter().rev() {
        taken = taken.saturating_add(*size);
        if kept < keep && (taken <= total || kept == 0) {
            kept = kept.saturating_add(1);
        } else {
            gone.push(*id);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;
    use crate::crash::report::CrashReport;

    fn id(number: u32) -> RecordId {
        format!("20261124-{number}").parse().unwrap()
    }

    fn report(pid: i32) -> CrashReport {
        CrashReport { pid, function: Some("f".into()), ..CrashReport::default() }
    }

    fn dir() -> (tempfile::TempDir, std::path::PathBuf, RecordDir<CrashReport>) {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join(CRASHES);
        let dir = RecordDir::create(&path).unwrap();
        (state, path, dir)
    }

    #[test]
    fn what_was_written_is_read() {
        let (_state, path, dir) = dir();
        assert!(RecordDir::<CrashReport>::open(&path.join("nowhere")).unwrap().is_none());
        dir.write(id(1), &report(1), Some(b"a\0b")).unwrap();
        dir.write(id(2), &report(2), None).unwrap();
        // With frames, once it is known where it crashed.
        dir.write(id(1), &report(7), None).unwrap();
        let opened = RecordDir::<CrashReport>::open(&path).unwrap().unwrap();
        assert_eq!(opened.read(id(1)).unwrap(), report(7));
        assert_eq!(opened.workload(id(1), 3).unwrap().as_deref(), Some(&b"a\0b"[..]));
        assert!(opened.workload(id(1), 2).unwrap_err().to_string().contains("longer than 2 bytes"));
        assert_eq!(opened.workload(id(2), 3).unwrap(), None);
        let listing = opened.list().unwrap();
        assert_eq!(listing.records, [(id(1), report(7)), (id(2), report(2))]);
        assert_eq!(listing.skipped, []);
        for name in ["20261124-1.json", "20261124-1.workload"] {
            assert_eq!(path.join(name).metadata().unwrap().mode() & 0o7777, 0o600, "{name}");
        }
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o700);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 3, "nothing temporary is left");
        assert!(opened.remove(id(1)).unwrap() && !opened.remove(id(1)).unwrap());
        assert_eq!(opened.read(id(1)).unwrap_err(), "there is no crash report of that id");
    }

    /// H3, of files in the state directory.
    #[test]
    fn hostile_names_and_contents_are_skipped() {
        let (_state, path, dir) = dir();
        dir.write(id(1), &report(1), None).unwrap();
        let at = |number: u32, ending: &str| path.join(format!("{}.{ending}", id(number)));
        let victim = path.join("victim");
        fs::write(&victim, fs::read(at(1, "json")).unwrap()).unwrap();
        symlink(&victim, at(2, "json")).unwrap();
        nix::unistd::mkfifo(&at(3, "json"), Mode::S_IRWXU).unwrap();
        fs::create_dir(at(4, "json")).unwrap();
        fs::write(at(5, "json"), vec![b' '; RECORD_MAX as usize + 1]).unwrap();
        fs::write(at(6, "json"), b"\0\xff{").unwrap();
        fs::write(at(7, "json"), br#"{"format": 9, "content": []}"#).unwrap();
        fs::write(at(8, "json"), br#"{"format": 1, "function": "../../etc/passwd"}"#).unwrap();
        fs::write(at(9, "workload"), b"without a report").unwrap();
        for name in ["x.json", "20261124-01.json", "-1.json", "20261124-1.json.bak", "20261124-1"] {
            fs::write(path.join(name), b"{}").unwrap();
        }
        let listing = dir.list().unwrap();
        assert_eq!(listing.records, [(id(1), report(1))]);
        let reasons = [
            "symbolic link",
            "no regular file",
            "no regular file",
            "longer than",
            "damaged",
            "of format 9, and this version reads format 1",
            "damaged",
            "no crash report",
        ];
        assert_eq!(listing.skipped.len(), reasons.len(), "{:?}", listing.skipped);
        for (skipped, reason) in listing.skipped.iter().zip(reasons) {
            assert!(skipped.reason.contains(reason), "{skipped:?}: {reason}");
        }
        symlink(&victim, at(1, "workload")).unwrap();
        assert!(dir.workload(id(1), 100).unwrap_err().to_string().contains("symbolic link"));
        // A write replaces a link, and does not follow it.
        dir.write(id(2), &report(2), Some(b"w")).unwrap();
        assert_eq!(dir.read(id(2)).unwrap(), report(2));
        assert_ne!(fs::read(&victim).unwrap(), fs::read(at(2, "json")).unwrap());
    }

    #[test]
    fn a_link_in_place_of_the_directory_is_not_followed() {
        let (state, path, _dir) = dir();
        let link = state.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(RecordDir::<CrashReport>::open(&link).is_err());
        assert!(RecordDir::<CrashReport>::create(&link).is_err());
    }

    #[test]
    fn the_oldest_go() {
        let all = [(id(1), 10), (id(2), 10), (id(3), 10), (id(10), 10)];
        for (what, keep, total, gone) in [
            ("room enough", 4, 40, &[][..]),
            ("too many", 2, 100, &[2, 1][..]),
            ("too large", 4, 25, &[2, 1]),
            ("the newest alone is too large", 4, 5, &[3, 2, 1]),
            ("none is kept", 0, 100, &[10, 3, 2, 1]),
        ] {
            let gone: Vec<RecordId> = gone.iter().copied().map(id).collect();
            assert_eq!(surplus(&all, keep, total), gone, "{what}");
        }
        let (_state, path, dir) = dir();
        dir.write(id(1), &report(1), None).unwrap();
        dir.write(id(2), &report(2), None).unwrap();
        let sparse = File::create(path.join(workload_name(id(2)))).unwrap();
        sparse.set_len(1 << 40).unwrap();
        assert_eq!(dir.prune(5, TOTAL_MAX).unwrap(), 0, "a sparse file takes no room");
        fs::write(path.join(".20261124-7.workload.new"), "its writer was killed").unwrap();
        for number in 1..=30 {
            dir.write(id(number), &report(1), Some(b"w")).unwrap();
            dir.prune(5, TOTAL_MAX).unwrap();
        }
        assert_eq!(fs::read_dir(&path).unwrap().count(), 10);
        let ids: Vec<RecordId> = dir.ids().unwrap().into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, (26..=30).map(id).collect::<Vec<_>>());
    }
}
