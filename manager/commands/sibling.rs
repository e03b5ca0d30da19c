//! Finds a manager that was started with the same configuration by another path, and so has another name.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::InstanceIdentity;
use crate::logging::escape;
use crate::system::state_lock::LockSeen;

/// A manager that runs beside ours.
#[derive(Debug)]
pub struct ParallelManager {
    /// Its state directory.
    pub state_dir: PathBuf,
    pid: Option<u32>,
    identity: InstanceIdentity,
}

impl ParallelManager {
    /// Finds the manager that has its state beside ours and was started with the very same file or, without one, the
    /// very same worker directories. If a link has changed since, the file is what it leads to now: that is what the
    /// other manager reads next.
    pub fn find(state_dir: &Path, identity: &InstanceIdentity) -> Option<Self> {
        let beside = std::fs::read_dir(state_dir.parent()?).ok()?;
        beside.flatten().find_map(|entry| {
            let dir = entry.path();
            if dir == state_dir {
                return None;
            }
            let lock = LockSeen::inspect(&dir)?;
            let theirs = InstanceIdentity::recorded(&lock.record, &entry.file_name())?;
            (same(&theirs, identity) && lock.is_held()).then_some(Self {
                state_dir: dir,
                pid: lock.pid,
                identity: theirs,
            })
        })
    }

    /// Why a second one is not started.
    pub fn refusal(&self) -> String {
        let who = self.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
        let what = match &self.identity {
            InstanceIdentity::Config(path) => format!("with the same configuration, as {}", shown(path)),
            InstanceIdentity::WorkerDirs(dirs) => {
                let dirs: Vec<String> = dirs.iter().map(|dir| shown(dir)).collect();
                format!("for the same worker directories, as {}", dirs.join(", "))
            }
        };
        let state_dir = shown(&self.state_dir);
        format!(
            "another gm-native{who} runs {what}, and state directory {state_dir}; stop it, or give this one a state \
             directory of its own with --state-dir DIR"
        )
    }
}

/// A path that another process has recorded.
fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes()).into_owned()
}

fn same(a: &InstanceIdentity, b: &InstanceIdentity) -> bool {
    match (a, b) {
        (InstanceIdentity::Config(a), InstanceIdentity::Config(b)) => same_file(a, b),
        (InstanceIdentity::WorkerDirs(a), InstanceIdentity::WorkerDirs(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_file(a, b))
        }
        _ => false,
    }
}

/// Whether two paths lead to the same file or directory.
pub(super) fn same_file(a: &Path, b: &Path) -> bool {
    let of = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
    of(a).is_some_and(|found| Some(found) == of(b))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::system::state_lock::StateLock;

    /// A directory with two releases, a link to the first, and a place for state.
    struct Fixture(tempfile::TempDir);

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for release in ["1", "2"] {
                fs::create_dir_all(dir.path().join("releases").join(release)).unwrap();
                fs::write(dir.path().join("releases").join(release).join("gm.ini"), "").unwrap();
            }
            let fixture = Self(dir);
            fixture.swap("1");
            fixture
        }

        fn swap(&self, release: &str) {
            let _ = fs::remove_file(self.0.path().join("current"));
            symlink(self.0.path().join("releases").join(release), self.0.path().join("current")).unwrap();
        }

        fn config(&self, path: &str) -> InstanceIdentity {
            InstanceIdentity::Config(self.0.path().join(path))
        }

        fn state(&self, identity: &InstanceIdentity) -> PathBuf {
            self.0.path().join("state").join(identity.instance())
        }

        /// A running manager.
        fn lock(&self, identity: &InstanceIdentity) -> StateLock {
            fs::create_dir_all(self.state(identity)).unwrap();
            StateLock::take(&self.state(identity), &identity.record()).unwrap()
        }

        fn find(&self, identity: &InstanceIdentity) -> Option<ParallelManager> {
            ParallelManager::find(&self.state(identity), identity)
        }
    }

    /// H10.
    #[test]
    fn the_same_file_by_another_path_is_the_same_manager() {
        let fixture = Fixture::new();
        let (first, second) = (fixture.config("releases/1/gm.ini"), fixture.config("releases/2/gm.ini"));
        let (current, dotted) = (fixture.config("current/gm.ini"), fixture.config("releases/../releases/1/gm.ini"));
        assert!(fixture.find(&first).is_none(), "there is no place for state yet");
        let lock = fixture.lock(&current);
        for same in [&first, &dotted] {
            let found = fixture.find(same).unwrap();
            assert_eq!((found.pid, &found.state_dir), (Some(std::process::id()), &fixture.state(&current)));
            let pid = format!("another gm-native (pid {})", std::process::id());
            assert!(found.refusal().starts_with(&pid), "{}", found.refusal());
        }
        assert!(fixture.find(&second).is_none());
        assert!(fixture.find(&current).is_none(), "its own lock is another matter");
        // What it would read next counts.
        fixture.swap("2");
        assert!(fixture.find(&first).is_none() && fixture.find(&second).is_some());
        drop(lock);
        assert!(fixture.find(&second).is_none(), "it runs no more");
    }

    #[test]
    fn the_same_directories_by_another_path_are_the_same_manager() {
        let fixture = Fixture::new();
        let at = |names: &[&str]| {
            InstanceIdentity::WorkerDirs(names.iter().map(|name| fixture.0.path().join(name)).collect())
        };
        let _lock = fixture.lock(&at(&["current", "releases/2"]));
        assert!(fixture.find(&at(&["releases/1", "releases/2"])).is_some());
        for other in [&["releases/1"][..], &["releases/2", "releases/1"], &["releases/1", "releases/2", "state"]] {
            assert!(fixture.find(&at(other)).is_none(), "{other:?}");
        }
    }

    #[test]
    fn a_record_of_another_name_is_ignored() {
        let fixture = Fixture::new();
        let (current, first) = (fixture.config("current/gm.ini"), fixture.config("releases/1/gm.ini"));
        let other = fixture.0.path().join("state/other-12345678");
        fs::create_dir_all(&other).unwrap();
        let _lock = StateLock::take(&other, &current.record()).unwrap();
        assert!(fixture.find(&first).is_none());
    }
}
