//! The worker program: a second, smaller binary of the same build, which lies beside this one.
//!
//! When a program starts, relocation makes the pages private that hold its tables of pointers, and most of ours are of
//! the command line, which a worker never uses. The smaller program saves each worker about 80 KiB.
//!
//! Both carry a number for what they were built from (`build.rs`), in a section of its own: manager and workers speak
//! without versions, so they must not be of two builds.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use nix::libc;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use object::Endianness;
use object::elf::FileHeader64;
use object::read::ReadCache;
use object::read::elf::{FileHeader, SectionHeader};

use super::errors::reason;

/// Its name, beside the program it belongs to.
pub(crate) const NAME: &str = "gm-native-worker";

/// The section that holds the number.
const SECTION: &[u8] = b".gm_native_build";

/// The set-user-ID and set-group-ID bits of a mode.
const SET_ID: u32 = 0o6000;

/// How long the number is, in hexadecimal digits.
const DIGITS: usize = 16;

#[used]
// SAFETY: the section is read by nobody but `build_of`, and holds nothing but plain bytes.
#[unsafe(link_section = ".gm_native_build")]
static BUILD: [u8; DIGITS] = match env!("GM_BUILD_ID").as_bytes().first_chunk() {
    Some(digits) => *digits,
    None => panic!("build.rs makes it longer"),
};

/// Why workers run the whole program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoWorkerProgram {
    #[error("there is no {}", .0.display())]
    Missing(PathBuf),
    #[error("its own path is not known: {}", reason(.0))]
    Unplaced(#[source] io::Error),
    #[error("{} cannot be opened: {}", .0.display(), reason(.1))]
    Unopened(PathBuf, #[source] io::Error),
    #[error("the worker program cannot be kept open: {}", reason(.0))]
    NotKept(#[source] io::Error),
    #[error("{} is no regular file", .0.display())]
    NoFile(PathBuf),
    #[error("{} has a set-user-ID or set-group-ID bit, which would give workers the rights of its owner", .0.display())]
    SetId(PathBuf),
    #[error("{} is of another build", .0.display())]
    OtherBuild(PathBuf),
    #[error("{} can be changed by users who cannot change gm-native", .0.display())]
    Untrusted(PathBuf),
    #[error("{} is not executable for everyone for whom gm-native is, or on a file system without exec", .0.display())]
    NotExecutable(PathBuf),
}

/// Opens the worker program beside `own`, if it is of this build and nobody may write to it who may not to `own`.
pub(super) fn open_beside(own: &File) -> Result<File, NoWorkerProgram> {
    let path = std::fs::read_link("/proc/self/exe").map_err(NoWorkerProgram::Unplaced)?.with_file_name(NAME);
    // A device or a pipe in its place must not block the start.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
    let file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NoWorkerProgram::Missing(path.clone()),
        _ => NoWorkerProgram::Unopened(path.clone(), error),
    })?;
    let unopened = |error| NoWorkerProgram::Unopened(path.clone(), error);
    let (ours, theirs) = (own.metadata().map_err(unopened)?, file.metadata().map_err(unopened)?);
    if !theirs.is_file() {
        return Err(NoWorkerProgram::NoFile(path));
    }
    if !is_as_safe(writers(&theirs), writers(&ours)) {
        return Err(NoWorkerProgram::Untrusted(path));
    }
    if theirs.mode() & SET_ID != 0 {
        return Err(NoWorkerProgram::SetId(path));
    }
    let mount = fstatvfs(&file).map_err(|error| unopened(error.into()))?;
    if ours.mode() & 0o111 & !theirs.mode() != 0 || mount.flags().contains(FsFlags::ST_NOEXEC) {
        return Err(NoWorkerProgram::NotExecutable(path));
    }
    if build_of(&file).as_deref() != Some(&BUILD[..]) {
        return Err(NoWorkerProgram::OtherBuild(path));
    }
    Ok(file)
}

/// Who may write to a file: its owner, its group, and whether group and others may.
#[derive(Debug, Clone, Copy)]
struct Writers {
    owner: u32,
    group: u32,
    mode: u32,
}

fn writers(meta: &std::fs::Metadata) -> Writers {
    Writers { owner: meta.uid(), group: meta.gid(), mode: meta.mode() & 0o022 }
}

/// Whether, apart from root, only those who may write to our own program may write to the file.
fn is_as_safe(file: Writers, ours: Writers) -> bool {
    let owner = file.owner == 0 || file.owner == ours.owner;
    let group = file.mode & 0o020 == 0 || (ours.mode & 0o020 != 0 && file.group == ours.group);
    let others = file.mode & 0o002 == 0 || ours.mode & 0o002 != 0;
    owner && group && others
}

/// The number of a program; `None`: it is none of ours. Reads the table of sections and no symbols, which are megabytes.
fn build_of(program: &File) -> Option<Vec<u8>> {
    let cache = ReadCache::new(program);
    let header = FileHeader64::<Endianness>::parse(&cache).ok()?;
    let endian = header.endian().ok()?;
    let (_, section) = header.sections(endian, &cache).ok()?.section_by_name(endian, SECTION)?;
    let bytes = section.data(endian, &cache).ok()?;
    (bytes.len() == DIGITS).then(|| bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_knows_its_own_build() {
        assert_eq!(build_of(&File::open("/proc/self/exe").unwrap()).as_deref(), Some(&BUILD[..]));
        assert_eq!(build_of(&File::open("/bin/sh").unwrap()), None);
        assert_eq!(build_of(&File::open(file!()).unwrap()), None);
    }

    #[test]
    fn nobody_more_may_write_to_it() {
        let writers = |owner, group, mode| Writers { owner, group, mode };
        let cases = [
            (writers(0, 0, 0), writers(0, 0, 0), true),
            (writers(0, 0, 0), writers(1000, 1000, 0), true),
            (writers(1000, 1000, 0), writers(1000, 1000, 0), true),
            (writers(1000, 1000, 0), writers(0, 0, 0), false),
            (writers(1000, 1000, 0o020), writers(1000, 1000, 0o020), true),
            (writers(1000, 5, 0o020), writers(1000, 1000, 0o020), false),
            (writers(1000, 1000, 0o020), writers(1000, 1000, 0), false),
            (writers(0, 0, 0o002), writers(0, 0, 0), false),
            (writers(0, 0, 0o002), writers(0, 0, 0o002), true),
        ];
        for (file, ours, safe) in cases {
            assert_eq!(is_as_safe(file, ours), safe, "{file:?} beside {ours:?}");
        }
    }
}
