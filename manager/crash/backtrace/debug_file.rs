//! Debug symbols that are not in the file itself: distributions install them below /usr/lib/debug, named after the
//! file's build ID, as gdb expects them.

use std::path::{Path, PathBuf};

use object::Object;
use object::read::ReadCache;

use super::files::open_regular;
use super::module::{Cache, Elf, ModuleData, elf};

const BUILD_IDS: &str = "/usr/lib/debug/.build-id";
/// Of a SHA-1, 20 bytes; linkers make shorter ones and longer ones, too.
const ID_LENGTHS: std::ops::RangeInclusive<usize> = 2..=64;

/// The file with the debug symbols of another one.
pub(super) struct DebugFile {
    cache: Cache,
}

impl DebugFile {
    pub(super) fn of(module: &Elf<'_>) -> Option<Self> {
        Self::below(Path::new(BUILD_IDS), module.build_id().ok()??)
    }

    /// Never a file that has another build ID than its name says.
    fn below(directory: &Path, id: &[u8]) -> Option<Self> {
        let (file, _) = open_regular(&directory.join(name(id)?)).ok()??;
        let debug = Self { cache: ReadCache::new(Box::new(file) as ModuleData) };
        let is_its_own = debug.elf().is_some_and(|elf| elf.build_id().ok().flatten() == Some(id));
        is_its_own.then_some(debug)
    }

    pub(super) fn elf(&self) -> Option<Elf<'_>> {
        elf(&self.cache)
    }
}

/// `ab/cdef.debug`
fn name(id: &[u8]) -> Option<PathBuf> {
    let (first, rest) = id.split_first().filter(|_| ID_LENGTHS.contains(&id.len()))?;
    let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(PathBuf::from(format!("{first:02x}")).join(format!("{rest}.debug")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_are_those_that_gdb_looks_for() {
        for (id, expected) in [
            (&[0xab, 0xcd, 0x01][..], Some("ab/cd01.debug")),
            (b"..", Some("2e/2e.debug")),
            (&[0xab], None),
            (&[], None),
            (&[0; 65], None),
        ] {
            assert_eq!(name(id).as_deref(), expected.map(Path::new), "{id:x?}");
        }
    }

    /// The program that runs the tests stands in for a debug file: it has a build ID, and symbols.
    #[test]
    fn only_a_file_with_the_build_id_of_its_name_is_used() {
        let own = ReadCache::new(Box::new(fs::File::open("/proc/self/exe").unwrap()) as ModuleData);
        let id = elf(&own).unwrap().build_id().unwrap().unwrap();
        let other: Vec<u8> = id.iter().map(|byte| !byte).collect();
        let dir = tempfile::tempdir().unwrap();
        assert!(DebugFile::below(dir.path(), id).is_none(), "there is none");
        for (id, is_used) in [(id, true), (&other, false)] {
            let path = dir.path().join(name(id).unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &path).unwrap();
            assert_eq!(DebugFile::below(dir.path(), id).is_some(), is_used);
        }
        fs::remove_file(dir.path().join(name(id).unwrap())).unwrap();
        fs::write(dir.path().join(name(id).unwrap()), b"\x7fELF").unwrap();
        assert!(DebugFile::below(dir.path(), id).is_none(), "it is damaged");
    }
}
