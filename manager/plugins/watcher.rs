//! Watches the worker directories: one thread of notify's, no wake-ups while nothing happens.
//!
//! notify does not report that a symlink on the way was swapped, that a directory was removed and created again, or
//! that the file behind a link was changed. So the directories in which such a thing happens are watched too, each for
//! the names that matter in it. The slow re-scan is the fallback.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
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

use super::name::function_of;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// How often the way is followed again because it changed before it was watched.
const SWAPS: usize = 3;

const NO_THREAD: &str = "worker_dir cannot be watched: the watcher has no thread; changes are seen at the next re-scan \
                         only (raise the limit of tasks and start the manager again)";

/// What was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchEvent {
    /// Something is complete: a rename, a removal, a closed file. Scanned at once.
    Complete,
    /// Something is being written: scanned once it has been quiet for a while.
    Writing,
}

/// Which directories are watched, and which names matter in each; `None`: all of them.
type WatchedPaths = BTreeMap<PathBuf, Option<BTreeSet<PathBuf>>>;

struct Shared {
    wake: Notify,
    /// 0 nothing, 1 writing, 2 complete: a burst becomes one notice.
    noticed: AtomicU8,
    places: Mutex<WatchedPaths>,
}

/// The watcher.
pub struct LibraryWatcher {
    shared: Arc<Shared>,
    /// `None` once it turned out to have no thread.
    watcher: Option<INotifyWatcher>,
    /// The watched directories, with device and inode, which mostly change when a directory is created again.
    armed: BTreeMap<PathBuf, (u64, u64)>,
}

/// The source of notices. Clones share it.
#[derive(Clone)]
pub struct WatchEvents(Arc<Shared>);

impl WatchEvents {
    /// The next notice. Cancel safe.
    pub async fn next(&self) -> WatchEvent {
        loop {
            match self.0.noticed.swap(0, Relaxed) {
                0 => self.0.wake.notified().await,
                1 => return WatchEvent::Writing,
                _ => return WatchEvent::Complete,
            }
        }
    }
}

impl LibraryWatcher {
    /// A watcher that watches nothing yet.
    ///
    /// # Errors
    /// notify's: at this user's limit of inotify instances.
    pub fn new() -> notify::Result<(Self, WatchEvents)> {
        let shared = Arc::new(Shared {
            wake: Notify::new(),
            noticed: AtomicU8::new(0),
            places: Mutex::new(WatchedPaths::new()),
        });
        let handler = Arc::clone(&shared);
        // notify would not report that it got no thread, and would panic when used.
        thread::Builder::new().spawn(|| ()).map(drop).map_err(notify::Error::io)?;
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| handler.take(event))?;
        Ok((Self { shared: Arc::clone(&shared), watcher: Some(watcher), armed: BTreeMap::new() }, WatchEvents(shared)))
    }

    /// Watches the directories as they are now, and files elsewhere. Call it before they are read, so that no change is
    /// missed. Blocks as long as their file systems do. Returns what could not be watched, a sentence each.
    pub fn follow(&mut self, dirs: &[PathBuf], files: &[PathBuf]) -> Vec<String> {
        let Some(watcher) = self.watcher.take() else { return vec![NO_THREAD.into()] };
        let mut watcher = ManuallyDrop::new(watcher);
        // In case it got no thread after all: notify panics when used, and again when dropped.
        match catch_unwind(AssertUnwindSafe(|| self.arm(&mut watcher, dirs, files))) {
            Ok(failures) => {
                self.watcher = Some(ManuallyDrop::into_inner(watcher));
                failures
            }
            Err(_) => vec![NO_THREAD.into()],
        }
    }

    /// A name may be swapped after it was examined and before its directory is watched: the way is different then, and
    /// is followed once more.
    fn arm(&mut self, watcher: &mut INotifyWatcher, dirs: &[PathBuf], files: &[PathBuf]) -> Vec<String> {
        let mut wanted = places(dirs, files);
        for _ in 0..SWAPS {
            let failures = self.arm_places(watcher, &wanted);
            let now = places(dirs, files);
            if now == wanted {
                return failures;
            }
            wanted = now;
        }
        // The name keeps being swapped, which is noticed and scanned again.
        self.arm_places(watcher, &wanted)
    }

    fn arm_places(&mut self, watcher: &mut INotifyWatcher, places: &WatchedPaths) -> Vec<String> {
        let wanted: BTreeMap<PathBuf, (u64, u64)> = places.keys().filter_map(identity).collect();
        *self.shared.places() = places.clone();
        for (dir, was) in std::mem::take(&mut self.armed) {
            match wanted.get(&dir) {
                Some(is) if *is == was => drop(self.armed.insert(dir, was)),
                // Fails if the directory is gone, and with it the watch.
                _ => drop(watcher.unwatch(&dir)),
            }
        }
        let mut failures = Vec::new();
        for (dir, is) in wanted {
            // A user who may only pass through a directory may not watch it; what it contains can be watched all the
            // same.
            let only_passed = places.get(&dir).is_some_and(|names| names.as_ref().is_some_and(BTreeSet::is_empty));
            // Even if it is watched already: a directory that is created again at once may have its predecessor's
            // inode, and notify, which learns of the removal late, forgets the new one. The parent, which comes first,
            // reports both.
            match watcher.watch(&dir, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.armed.insert(dir, is)),
                // Gone since it was found: the next scan shows what to watch instead.
                Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {
                    self.shared.note(WatchEvent::Complete);
                }
                Err(error) if only_passed && is_denied(&error) => {}
                Err(error) => failures.push(format!(
                    "{} cannot be watched: {}; changes in it are seen at the next re-scan only (raise \
                     fs.inotify.max_user_watches where that is the limit)",
                    dir.display(),
                    words(&error)
                )),
            }
        }
        failures
    }
}

/// Its error text, without paths in debug format.
fn words(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::Io(error) => reason(error),
        _ => reason(error),
    }
}

fn is_denied(error: &notify::Error) -> bool {
    matches!(&error.kind, notify::ErrorKind::Io(error) if error.kind() == io::ErrorKind::PermissionDenied)
}

impl Shared {
    fn places(&self) -> MutexGuard<'_, WatchedPaths> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called on notify's thread.
    fn take(&self, event: notify::Result<Event>) {
        let notice = match event {
            Ok(event) => match what(&event.kind) {
                Some(notice) if matters(&event.paths, &self.places()) => notice,
                _ => return,
            },
            // Events were lost: scan.
            Err(_) => WatchEvent::Complete,
        };
        self.note(notice);
    }

    fn note(&self, notice: WatchEvent) {
        self.noticed.fetch_max(if notice == WatchEvent::Complete { 2 } else { 1 }, Relaxed);
        self.wake.notify_one();
    }
}

/// What an event means. Reading is no change: our own probes read.
fn what(kind: &EventKind) -> Option<WatchEvent> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(WatchEvent::Complete),
        EventKind::Access(_) => None,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => Some(WatchEvent::Complete),
        EventKind::Create(_) | EventKind::Modify(_) => Some(WatchEvent::Writing),
        EventKind::Any | EventKind::Other => Some(WatchEvent::Complete),
    }
}

/// Whether an event is about a worker directory, or about one of the names on the way to it.
fn matters(paths: &[PathBuf], places: &WatchedPaths) -> bool {
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

/// The directories to watch: each worker directory's real one completely; and on the way to it, to each of the files,
/// and from a link in a library's place to its file, those that contain a name which can be swapped, and those that are
/// only passed through.
fn places(dirs: &[PathBuf], files: &[PathBuf]) -> WatchedPaths {
    let mut places = WatchedPaths::new();
    let reals: Vec<PathBuf> = dirs.iter().filter_map(|dir| dir.canonicalize().ok()).collect();
    let links = reals.iter().flat_map(|real| linked_libraries(real));
    for path in dirs.iter().chain(files).cloned().chain(links) {
        let PathPart { names, passed } = way(&path);
        for dir in passed {
            places.entry(dir).or_insert_with(|| Some(BTreeSet::new()));
        }
        for name in names {
            if let Some(parent) = name.parent()
                && let Some(names) = places.entry(parent.to_owned()).or_insert_with(|| Some(BTreeSet::new()))
            {
                names.insert(name);
            }
        }
    }
    places.extend(reals.into_iter().map(|real| (real, None)));
    places
}

/// The links in a directory that have a library's name: watching them does not show changes of their targets.
fn linked_libraries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    links.filter(|link| function_of(&link.file_name()).is_ok()).map(|link| link.path()).collect()
}

/// What a path leads through.
struct PathPart {
    /// The names whose creation or replacement changes where it leads: its symlinks, its last component, and those that
    /// do not exist. Each is in a real directory, except for what follows a missing one.
    names: Vec<PathBuf>,
    /// The real directories on the way, which can be renamed. Not those directly below the root: no one swaps these,
    /// and in some of them much happens that does not concern us.
    passed: Vec<PathBuf>,
}

fn way(path: &Path) -> PathPart {
    let mut way = PathPart { names: Vec::new(), passed: Vec::new() };
    let mut left: Vec<std::ffi::OsString> = components(path);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    while let Some(next) = left.pop() {
        let name = here.join(&next);
        let target = fs::read_link(&name).ok();
        let is_missing = next != ".." && name.symlink_metadata().is_err();
        if target.is_some() || left.is_empty() || is_missing {
            way.names.push(name.clone());
        } else if next != ".." && here.parent().is_some() {
            way.passed.push(name.clone());
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
    way
}

/// The components of a path that matter, the last one first.
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
mod tests;
