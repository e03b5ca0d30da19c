//! A small JSON file in the state directory. It is written completely or not at all. If it cannot be parsed, it is set
//! aside and logged, and a new one is started: the manager never fails because of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::display_path::DisplayPath;
use crate::system::errors::reason;

/// No state of ours is nearly this large; a damaged file may be.
const MAX_BYTES: u64 = 16 << 20;

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub struct StateRead<T> {
    /// The content, or an empty one.
    pub content: T,
    /// Why the file could not be used, and where it is now: a warning.
    pub warning: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Framed<T> {
    format: u32,
    content: T,
}

/// Reads a file of this format. A missing file is empty; anything but a well-formed file of the same format is moved to
/// `NAME.unreadable` (over an older one), and is empty too.
pub fn read<T: DeserializeOwned + Default>(path: &Path, format: u32) -> StateRead<T> {
    let why = match bytes(path).map(|bytes| parse(&bytes, format)) {
        Ok(Ok(content)) => return StateRead { content, warning: None },
        Err(e) if e.kind() == ErrorKind::NotFound => return StateRead { content: T::default(), warning: None },
        Ok(Err(why)) => why,
        Err(e) => reason(&e),
    };
    let aside = with_ending(path, ".unreadable");
    let where_to = match fs::rename(path, &aside) {
        Ok(()) => format!("set aside as {}", DisplayPath(&aside)),
        Err(e) => format!("it could not be set aside: {}", reason(&e)),
    };
    let warning = Some(format!("{} is ignored, and a new one is started: {why}; {where_to}", DisplayPath(path)));
    StateRead { content: T::default(), warning }
}

/// As [`read`], but leaves a file that cannot be used where it is.
///
/// # Errors
/// Why it cannot be used.
pub fn read_only<T: DeserializeOwned + Default>(path: &Path, format: u32) -> Result<T, String> {
    match bytes(path) {
        Ok(bytes) => parse(&bytes, format),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(T::default()),
        Err(e) => Err(reason(&e)),
    }
}

/// Writes the whole file: a temporary one beside it, fsync, rename. Blocks as long as the disk does; if it fails, the
/// old content stays.
pub fn write<T: Serialize>(path: &Path, format: u32, content: &T) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(&Framed { format, content })?;
    text.push(b'\n');
    let temporary = with_ending(path, ".new");
    let written = replace(&temporary, &text).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Best effort: the next write begins by removing it.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn replace(temporary: &Path, text: &[u8]) -> io::Result<()> {
    // A name planted there must not be followed or written to.
    match fs::remove_file(temporary) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    file.write_all(text)?;
    file.sync_all()
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    // A planted link must not redirect us, nor a FIFO block us.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it is far too large"));
    }
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(bytes: &[u8], format: u32) -> Result<T, String> {
    /// For a file whose content may have any shape.
    #[derive(Deserialize)]
    struct OnlyFormat {
        format: u32,
    }
    let only: OnlyFormat = serde_json::from_slice(bytes).map_err(|e| format!("it is damaged ({})", reason(&e)))?;
    if only.format != format {
        return Err(format!("it is of format {}, and this version writes format {format}", only.format));
    }
    let framed: Framed<T> = serde_json::from_slice(bytes).map_err(|e| format!("it is damaged ({})", reason(&e)))?;
    Ok(framed.content)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::symlink;

    use super::*;

    type Content = BTreeMap<String, u32>;

    fn content() -> Content {
        Content::from([("a".into(), 1), ("b".into(), 2)])
    }

    #[test]
    fn what_was_written_is_read() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("state.json");
        assert_eq!(read::<Content>(&path, 1), StateRead { content: Content::new(), warning: None });
        write(&path, 1, &content()).unwrap();
        write(&path, 1, &content()).unwrap();
        assert_eq!(read::<Content>(&path, 1), StateRead { content: content(), warning: None });
        assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 1);
    }

    #[test]
    fn damaged_files_are_set_aside_and_recreated() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("state.json");
        write(&path, 1, &content()).unwrap();
        let good = fs::read(&path).unwrap();
        let mut random = fastrand::Rng::with_seed(3);
        let mut noise = vec![0; 4096];
        random.fill(&mut noise);
        let later = br#"{"format": 2, "content": ["another", "shape"]}"#.to_vec();
        let other = br#"{"format": 1, "content": ["another", "shape"]}"#.to_vec();
        // Cut anywhere but after the last brace.
        let mut damaged: Vec<Vec<u8>> = (0..good.len() - 1).map(|n| good[..n].to_vec()).collect();
        damaged.extend([noise, later, other, b"null".to_vec()]);
        for bytes in damaged {
            fs::write(&path, &bytes).unwrap();
            let found = read::<Content>(&path, 1);
            assert_eq!(found.content, Content::new());
            let warning = found.warning.unwrap();
            assert!(warning.contains("a new one is started") && warning.contains("state.json.unreadable"), "{warning}");
            assert_eq!(fs::read(tmp.path().join("state.json.unreadable")).unwrap(), bytes);
            assert_eq!(read::<Content>(&path, 1), StateRead { content: Content::new(), warning: None });
            write(&path, 1, &content()).unwrap();
            assert_eq!(read::<Content>(&path, 1).content, content());
        }
    }

    #[test]
    fn a_later_version_is_named() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("state.json");
        write(&path, 7, &content()).unwrap();
        let warning = read::<Content>(&path, 1).warning.unwrap();
        assert!(warning.contains("it is of format 7, and this version writes format 1"), "{warning}");
    }

    #[test]
    fn other_things_in_its_place() {
        let makers: [fn(&Path); 3] = [
            |path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            |path| fs::create_dir(path).unwrap(),
            |path| {
                // Well-formed: following the link would mean trusting it.
                write(&path.with_file_name("victim"), 1, &Content::from([("x".into(), 9)])).unwrap();
                symlink("victim", path).unwrap();
            },
        ];
        for make in makers {
            let tmp = tempfile::tempdir().unwrap();
            let path = tmp.path().join("state.json");
            make(&path);
            let found = read::<Content>(&path, 1);
            assert!(found.content.is_empty() && found.warning.is_some());
            write(&path, 1, &content()).unwrap();
            assert_eq!(read::<Content>(&path, 1).content, content());
            if tmp.path().join("victim").exists() {
                assert_eq!(read::<Content>(&tmp.path().join("victim"), 1).content, Content::from([("x".into(), 9)]));
            }
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_content() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("state.json");
        write(&path, 1, &content()).unwrap();
        // The temporary name is occupied by something that cannot be removed as a file.
        fs::create_dir(tmp.path().join("state.json.new")).unwrap();
        assert!(write(&path, 1, &Content::new()).is_err());
        assert_eq!(read::<Content>(&path, 1).content, content());
    }
}
