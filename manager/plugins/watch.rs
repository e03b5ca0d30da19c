//! The watcher over the worker directories: one thread of notify's, no wake-ups while nothing happens.
//!
//! notify does not report that a symlink on the way was swapped, or that a directory was removed and made again: so the
//! directories in which such a thing happens are watched too, each for the one name that matters in it. The slow
//! re-scan is the net below.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::ManuallyDrop;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::system::errors::reason;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, INotifyWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

const NO_THREAD: &str = "worker_dir cannot be watched: the watcher has no thread; changes are seen at the next re-scan \
                         only (raise the limit of tasks and start the manager again)";

/// What was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Something is complete: a rename, a removal, a file that was closed. Worth a look at once.
    Complete,
    /// Something is being written: worth a look when it has been quiet for a while.
    Writing,
}

/// What is watched, and in it which names matter; `None`: all of them.
type Places = BTreeMap<PathBuf, Option<BTreeSet<PathBuf>>>;

struct Shared {
    wake: Notify,
    /// 0 nothing, 1 writing, 2 complete: bursts are one notice.
    noticed: AtomicU8,
    places: Mutex<Places>,
}

/// The watcher.
pub struct Watch {
    shared: Arc<Shared>,
    /// `None` where it turned out to have no thread.
    watcher: Option<INotifyWatcher>,
    /// What is armed: the directory's device and inode, which mostly change when it is made again.
    armed: BTreeMap<PathBuf, (u64, u64)>,
}

/// Where notices come out. Clones share them.
#[derive(Clone)]
pub struct Notices(Arc<Shared>);

impl Notices {
    /// The next notice. Cancel safe.
    pub async fn next(&self) -> Notice {
        loop {
            match self.0.noticed.swap(0, Relaxed) {
                0 => self.0.wake.notified().await,
                1 => return Notice::Writing,
                _ => return Notice::Complete,
            }
        }
    }
}

impl Watch {
    /// A watcher of nothing yet.
    ///
    /// # Errors
    /// notify's, at the limit of inotify instances of this user.
    pub fn new() -> notify::Result<(Self, Notices)> {
        let shared =
            Arc::new(Shared { wake: Notify::new(), noticed: AtomicU8::new(0), places: Mutex::new(Places::new()) });
        let told = Arc::clone(&shared);
        // notify would not say that it got none, and panic when it is used.
        thread::Builder::new().spawn(|| ()).map(drop).map_err(notify::Error::io)?;
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| told.take(event))?;
        Ok((Self { shared: Arc::clone(&shared), watcher: Some(watcher), armed: BTreeMap::new() }, Notices(shared)))
    }

    /// Arms the watcher for the directories as they lie now. To be called before they are read, so that no change falls
    /// between. Blocks as long as their file systems do. Returns what could not be watched, a sentence each.
    pub fn follow(&mut self, dirs: &[PathBuf]) -> Vec<String> {
        let Some(watcher) = self.watcher.take() else { return vec![NO_THREAD.into()] };
        let mut watcher = ManuallyDrop::new(watcher);
        // Should it have got none after all: it panics when it is used, and again when it is dropped.
        match catch_unwind(AssertUnwindSafe(|| self.arm(&mut watcher, dirs))) {
            Ok(failures) => {
                self.watcher = Some(ManuallyDrop::into_inner(watcher));
                failures
            }
            Err(_) => vec![NO_THREAD.into()],
        }
    }

    fn arm(&mut self, watcher: &mut INotifyWatcher, dirs: &[PathBuf]) -> Vec<String> {
        let places = places(dirs);
        let wanted: BTreeMap<PathBuf, (u64, u64)> = places.keys().filter_map(identity).collect();
        *self.shared.places() = places;
        for (dir, was) in std::mem::take(&mut self.armed) {
            match wanted.get(&dir) {
                Some(is) if *is == was => drop(self.armed.insert(dir, was)),
                // Fails where the directory is gone, and with it the watch.
                _ => drop(watcher.unwatch(&dir)),
            }
        }
        let mut failures = Vec::new();
        for (dir, is) in wanted {
            // Also what is armed: a directory that is made again at once may have the inode of the one before, and
            // notify, hearing of the removal late, forgets the new one. The parent, which comes first, tells of both.
            match watcher.watch(&dir, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.armed.insert(dir, is)),
                // Gone since it was looked for: what is to be watched instead shows at the next look.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {
                    self.shared.note(Notice::Complete);
                }
                Err(error) => failures.push(format!(
                    "{} cannot be watched: {}; changes in it are seen at the next re-scan only (raise \
                     fs.inotify.max_user_watches where that is the limit)",
                    dir.display(),
                    reason(&error)
                )),
            }
        }
        failures
    }
}

impl Shared {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On notify's thread.
    fn take(&self, event: notify::Result<Event>) {
        let notice = match event {
            Ok(event) => match what(&event.kind) {
                Some(notice) if matters(&event.paths, &self.places()) => notice,
                _ => return,
            },
            // Events were lost: look.
            Err(_) => Notice::Complete,
        };
        self.note(notice);
    }

    fn note(&self, notice: Notice) {
        self.noticed.fetch_max(if notice == Notice::Complete { 2 } else { 1 }, Relaxed);
        self.wake.notify_one();
    }
}

/// What an event says. Reading is no change: our own probes read.
fn what(kind: &EventKind) -> Option<Notice> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Notice::Complete),
        EventKind::Access(_) => None,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => Some(Notice::Complete),
        EventKind::Create(_) | EventKind::Modify(_) => Some(Notice::Writing),
        EventKind::Any | EventKind::Other => Some(Notice::Complete),
    }
}

/// Whether an event is about a worker directory, or about one of the names on the way to it.
fn matters(paths: &[PathBuf], places: &Places) -> bool {
    paths.is_empty()
        || paths.iter().any(|path| {
            let inside = path.parent().and_then(|dir| places.get(dir));
            match inside {
                Some(None) => true,
                Some(Some(names)) => names.contains(path) || places.contains_key(path),
                None => places.contains_key(path),
            }
        })
}

/// The directories to watch: each worker directory's real one whole, and on the way to it those that hold a name which
/// can be swapped.
fn places(dirs: &[PathBuf]) -> Places {
    let mut places = Places::new();
    for dir in dirs {
        for name in names_on_the_way(dir) {
            if let Some(parent) = name.parent()
                && let Some(names) = places.entry(parent.to_owned()).or_insert_with(|| Some(BTreeSet::new()))
            {
                names.insert(name);
            }
        }
        if let Ok(real) = dir.canonicalize() {
            places.insert(real, None);
        }
    }
    places
}

/// The names whose coming or swapping changes where a path leads: its symlinks, its last component, and the first one
/// that is not there. Each in a real directory.
fn names_on_the_way(path: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    let mut left: Vec<std::ffi::OsString> = components(path);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    while let Some(next) = left.pop() {
        let name = here.join(&next);
        let target = std::fs::read_link(&name).ok();
        let is_missing = next != ".." && name.symlink_metadata().is_err();
        if target.is_some() || left.is_empty() || is_missing {
            names.push(name.clone());
        }
        match target {
            Some(target) if links < MAX_LINKS => {
                links += 1;
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                left.extend(components(&target));
            }
            _ if next == ".." => drop(here.pop()),
            _ => here = name,
        }
    }
    names
}

/// The components of a path that say anything, the last one first.
fn components(path: &Path) -> Vec<std::ffi::OsString> {
    let say = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().rev().filter_map(say).collect()
}

fn identity(dir: &PathBuf) -> Option<(PathBuf, (u64, u64))> {
    let meta = std::fs::metadata(dir).ok()?;
    meta.is_dir().then(|| (dir.clone(), (meta.dev(), meta.ino())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, DataChange, MetadataKind, RemoveKind, RenameMode};
    use std::fs;
    use std::time::Duration;

    #[test]
    fn what_events_say() {
        use Notice::{Complete, Writing};
        for (kind, expected) in [
            (EventKind::Access(AccessKind::Open(AccessMode::Any)), None),
            (EventKind::Access(AccessKind::Close(AccessMode::Read)), None),
            (EventKind::Access(AccessKind::Close(AccessMode::Write)), Some(Complete)),
            (EventKind::Modify(ModifyKind::Name(RenameMode::To)), Some(Complete)),
            (EventKind::Modify(ModifyKind::Data(DataChange::Any)), Some(Writing)),
            (EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), Some(Writing)),
            (EventKind::Create(CreateKind::File), Some(Writing)),
            (EventKind::Remove(RemoveKind::Folder), Some(Complete)),
        ] {
            assert_eq!(what(&kind), expected, "{kind:?}");
        }
    }

    #[test]
    fn what_matters_is_a_worker_directory_and_every_name_on_the_way_to_it() {
        let names = |names: &[&str]| Some(names.iter().map(PathBuf::from).collect());
        let places = Places::from([
            ("/r".into(), names(&["/r/workers"])),
            ("/r/app".into(), names(&["/r/app/current"])),
            ("/w".into(), None),
        ]);
        for (path, expected) in [
            ("/w/a.so", true),
            ("/w", true),
            ("/r/workers", true),
            ("/r/neighbour", false),
            ("/r/app/current", true),
            ("/r/app/neighbour", false),
            // A watched directory that goes, below another one.
            ("/r/app", true),
            ("/elsewhere", false),
        ] {
            assert_eq!(matters(&[path.into()], &places), expected, "{path}");
        }
    }

    #[test]
    fn on_the_way_every_link_and_the_last_name_matter() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("releases/1/workers")).unwrap();
        std::os::unix::fs::symlink("releases/1", root.join("current")).unwrap();
        let names = names_on_the_way(&root.join("current/workers"));
        assert_eq!(names, [root.join("current"), root.join("releases/1/workers")]);
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        assert!(!names_on_the_way(&root.join("loop")).is_empty(), "a link to itself ends");
        let (gone, dir) = (root.join("gone"), root.join("gone/by/workers"));
        assert_eq!(
            places(std::slice::from_ref(&dir)).get(&root),
            Some(&Some(BTreeSet::from([gone]))),
            "it may come back"
        );
    }

    async fn noticed(notices: &Notices, what: &str) {
        let notice = async { while notices.next().await != Notice::Complete {} };
        tokio::time::timeout(Duration::from_secs(20), notice).await.unwrap_or_else(|_| panic!("not noticed: {what}"));
    }

    #[tokio::test]
    async fn swaps_renames_and_directories_made_again_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for release in ["1", "2"] {
            fs::create_dir_all(root.join("releases").join(release)).unwrap();
        }
        std::os::unix::fs::symlink("releases/1", root.join("current")).unwrap();
        let dirs = [root.join("current"), root.join("plain")];
        fs::create_dir(root.join("plain")).unwrap();
        let (mut watch, notices) = Watch::new().unwrap();
        assert_eq!(watch.follow(&dirs), [""; 0]);

        fs::write(root.join("plain/.a"), "x").unwrap();
        noticed(&notices, "a closed file").await;
        fs::rename(root.join("plain/.a"), root.join("plain/a.so")).unwrap();
        noticed(&notices, "a rename").await;
        std::os::unix::fs::symlink("releases/2", root.join("next")).unwrap();
        fs::rename(root.join("next"), root.join("current")).unwrap();
        noticed(&notices, "a swapped link").await;
        watch.follow(&dirs);
        fs::write(root.join("releases/2/b.so"), "x").unwrap();
        noticed(&notices, "a file behind the new link").await;
        fs::remove_dir_all(root.join("plain")).unwrap();
        noticed(&notices, "a removed directory").await;
        watch.follow(&dirs);
        fs::create_dir(root.join("plain")).unwrap();
        fs::rename(root.join("plain"), root.join("other")).unwrap();
        fs::rename(root.join("other"), root.join("plain")).unwrap();
        noticed(&notices, "a directory made again").await;
        watch.follow(&dirs);
        fs::write(root.join("plain/c.so"), "x").unwrap();
        noticed(&notices, "a file in it").await;
    }

    /// The new directory often has the inode of the old one, and the removal may be heard of before or after it is
    /// there.
    #[tokio::test]
    async fn a_directory_made_again_at_once_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let workers = root.join("workers");
        fs::create_dir(&workers).unwrap();
        let (mut watch, notices) = Watch::new().unwrap();
        watch.follow(std::slice::from_ref(&workers));
        for round in 0..20 {
            fs::remove_dir_all(&workers).unwrap();
            fs::create_dir(&workers).unwrap();
            // As the manager does: it looks for as long as something is noticed.
            let mark = root.join("mark");
            fs::write(&mark, "").unwrap();
            fs::rename(&mark, workers.join(format!("a{round}.so"))).unwrap();
            let mut seen = 0;
            while let Ok(notice) = tokio::time::timeout(Duration::from_millis(100), notices.next()).await {
                seen += usize::from(notice == Notice::Complete);
                watch.follow(std::slice::from_ref(&workers));
            }
            assert!(seen > 0, "round {round}: made again");
            fs::write(&mark, "").unwrap();
            fs::rename(&mark, workers.join("b.so")).unwrap();
            noticed(&notices, "a file in it").await;
        }
    }

    #[tokio::test]
    async fn reading_and_neighbours_are_not_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir(root.join("w")).unwrap();
        fs::write(root.join("w/a.so"), "x").unwrap();
        let (mut watch, notices) = Watch::new().unwrap();
        watch.follow(&[root.join("w")]);
        fs::read(root.join("w/a.so")).unwrap();
        fs::write(root.join("neighbour"), "x").unwrap();
        fs::read_dir(root.join("w")).unwrap().for_each(drop);
        // What comes after it must be the first thing noticed.
        fs::rename(root.join("w/a.so"), root.join("w/b.so")).unwrap();
        assert_eq!(notices.next().await, Notice::Complete);
        assert_eq!(fs::read_dir(root.join("w")).unwrap().count(), 1);
    }
}
