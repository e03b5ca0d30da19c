//! Opens the files that a process had mapped.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Cursor};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;

use super::module::{ModuleData, Unreadable};
use crate::system::errors::reason;
use crate::system::mappings::{Mapping, Mappings};

/// The kernel's own code that it maps into every process.
const VDSO: &str = "[vdso]";
/// It is as large as some pages.
const VDSO_MAX: u64 = 1 << 20;
/// overlayfs may put the number of the layer into the rest of an inode's number.
const INODE: u64 = (1 << 48) - 1;

/// Opens a regular file, if it is the one that was mapped. Never waits.
pub(crate) fn open_module(mapping: &Mapping) -> Result<ModuleData, Unreadable> {
    match mapping.path.as_deref() {
        Some(path) if path.starts_with('/') => open_file(path, mapping.inode),
        Some(VDSO) => own_vdso().map(|bytes| Box::new(Cursor::new(bytes)) as ModuleData).ok_or(Unreadable::NoFile),
        _ => Err(Unreadable::NoFile),
    }
}

fn open_file(path: &str, inode: u64) -> Result<ModuleData, Unreadable> {
    match open_regular(Path::new(path)) {
        Ok(Some((file, found))) if found.ino() & INODE == inode & INODE => Ok(Box::new(file)),
        Ok(_) => Err(Unreadable::Replaced),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Unreadable::Replaced),
        Err(error) => Err(Unreadable::Failed(reason(&error).to_string())),
    }
}

/// None where there is something else than a regular file.
pub(super) fn open_regular(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    // To open a device may do something.
    if !fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    Ok(found.is_file().then_some((file, found)))
}

/// As this process has it: the kernel is the same.
fn own_vdso() -> Option<Vec<u8>> {
    let mappings = Mappings::current().ok()?;
    let vdso = mappings.named(VDSO)?;
    let length = vdso.end.checked_sub(vdso.start).filter(|length| *length <= VDSO_MAX)?;
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    File::open("/proc/self/mem").ok()?.read_exact_at(&mut bytes, vdso.start).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(path: &str, inode: u64) -> Mapping {
        Mapping {
            start: 0,
            end: 1,
            is_readable: true,
            is_writable: false,
            is_executable: true,
            offset: 0,
            inode,
            path: Some(path.into()),
        }
    }

    #[test]
    fn only_the_file_that_was_mapped_is_opened() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (path, inode) = (file.path().to_str().unwrap(), file.as_file().metadata().unwrap().ino());
        let fifo = file.path().with_extension("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for (mapping, expected) in [
            (mapping(path, inode), None),
            (mapping(path, inode + 1), Some(Unreadable::Replaced)),
            (mapping(&format!("{path} (deleted)"), inode), Some(Unreadable::Replaced)),
            (mapping(fifo.to_str().unwrap(), fs::metadata(&fifo).unwrap().ino()), Some(Unreadable::Replaced)),
            (mapping("/dev/null", 1), Some(Unreadable::Replaced)),
            (mapping("[heap]", 0), Some(Unreadable::NoFile)),
            (Mapping { path: None, ..mapping("", 0) }, Some(Unreadable::NoFile)),
            (mapping(VDSO, 0), None),
        ] {
            assert_eq!(open_module(&mapping).err(), expected, "{mapping:?}");
        }
        fs::remove_file(fifo).unwrap();
    }

    #[test]
    fn the_vdso_is_elf() {
        assert!(own_vdso().unwrap().starts_with(b"\x7fELF"));
    }
}
