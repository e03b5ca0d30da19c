//! Watches the sources of the projects: what changes in a project's folder, except what builds make there.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::{Event, EventKind, INotifyWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::project::Project;

/// By a project's number.
type Folders = Vec<WatchedFolders>;

/// Folders of a project, canonical: its own, and those of a crate's path dependencies.
#[derive(Debug, Clone)]
pub(super) struct WatchedFolders {
    dirs: Vec<PathBuf>,
    is_crate: bool,
}

impl WatchedFolders {
    /// A project's own folder.
    pub(super) fn of(project: &Project) -> Self {
        Self { dirs: vec![project.dir.clone()], is_crate: project.is_crate() }
    }
}

/// What has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SourceChange {
    /// Files of the project with this number; empty if it is unknown which.
    Project(usize, Vec<PathBuf>),
    /// The configuration file.
    Config,
}

/// Watches the folders of projects, each by its number, and the configuration file.
pub(super) struct SourceWatcher {
    watcher: INotifyWatcher,
    folders: Arc<Mutex<Folders>>,
    changes: mpsc::UnboundedReceiver<SourceChange>,
}

impl SourceWatcher {
    /// Watches the configuration file, if there is one, and no project yet.
    ///
    /// # Errors
    /// notify's: at this user's limit of inotify instances.
    pub(super) fn new(folders: Vec<WatchedFolders>, config: Option<&Path>) -> notify::Result<Self> {
        let (sender, changes) = mpsc::unbounded_channel();
        let folders = Arc::new(Mutex::new(folders));
        let known = Arc::clone(&folders);
        let config = config.map(in_its_folder).transpose()?;
        let folder = config.as_deref().and_then(Path::parent).map(Path::to_owned);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            for change in changed(&event, &lock(&known), config.as_deref()) {
                // An error means that `dev` is ending.
                let _ = sender.send(change);
            }
        })?;
        // The folder: an editor may replace the file.
        folder.iter().try_for_each(|folder| watcher.watch(folder, RecursiveMode::NonRecursive))?;
        Ok(Self { watcher, folders, changes })
    }

    /// Watches a project's folders as they are now; call it before each build, so that no change is missed.
    ///
    /// # Errors
    /// notify's: at the limit of watches.
    pub(super) fn follow(&mut self, index: usize) -> notify::Result<()> {
        let folders = lock(&self.folders)[index].clone();
        folders.dirs.iter().try_for_each(|dir| self.watch(dir, folders.is_crate))
    }

    /// Watches what a crate was found to depend on, in addition to its own folder.
    ///
    /// # Errors
    /// notify's: at the limit of watches.
    pub(super) fn depend(&mut self, index: usize, on: BTreeSet<PathBuf>) -> notify::Result<()> {
        let known = lock(&self.folders)[index].clone();
        let new: Vec<PathBuf> = on.into_iter().filter(|dir| !known.dirs.contains(dir)).collect();
        // Not while the lock is held: notify's thread may need it to continue.
        new.iter().try_for_each(|dir| self.watch(dir, known.is_crate))?;
        lock(&self.folders)[index].dirs.extend(new);
        Ok(())
    }

    fn watch(&mut self, dir: &Path, is_crate: bool) -> notify::Result<()> {
        self.watcher.watch(dir, RecursiveMode::NonRecursive)?;
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if is_source(Path::new(&entry.file_name()), is_crate) {
                self.watcher.watch(&entry.path(), RecursiveMode::Recursive)?;
            }
        }
        Ok(())
    }

    /// The next change. Cancel safe.
    pub(super) async fn next(&mut self) -> SourceChange {
        match self.changes.recv().await {
            Some(change) => change,
            None => std::future::pending().await,
        }
    }
}

/// A file as events name it: its folder canonical, its name unchanged.
fn in_its_folder(file: &Path) -> notify::Result<PathBuf> {
    let folder = std::path::absolute(file).and_then(|file| file.parent().unwrap_or(&file).canonicalize());
    Ok(folder.map_err(notify::Error::io)?.join(file.file_name().unwrap_or_default()))
}

fn lock(folders: &Mutex<Folders>) -> MutexGuard<'_, Folders> {
    folders.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an event is about. Called on notify's thread.
fn changed(event: &notify::Result<Event>, folders: &[WatchedFolders], config: Option<&Path>) -> Vec<SourceChange> {
    let Ok(event) = event else {
        // Events were lost: everything may have changed.
        let projects = (0..folders.len()).map(|index| SourceChange::Project(index, Vec::new()));
        return projects.chain(config.map(|_| SourceChange::Config)).collect();
    };
    // Reading is no change, and compilers read.
    if matches!(event.kind, EventKind::Access(_)) {
        return Vec::new();
    }
    let is_config = |path: &Path| Some(path) == config;
    let of_project = |folders: &WatchedFolders| -> Vec<PathBuf> {
        let is_in = |dir: &PathBuf, path: &Path| {
            path.strip_prefix(dir).is_ok_and(|inside| path != dir && is_source(inside, folders.is_crate))
        };
        let files =
            event.paths.iter().filter(|path| !is_config(path) && folders.dirs.iter().any(|dir| is_in(dir, path)));
        files.cloned().collect()
    };
    let projects = folders.iter().map(of_project).enumerate().filter(|(_, files)| !files.is_empty());
    let projects = projects.map(|(index, files)| SourceChange::Project(index, files));
    let of_config = event.paths.iter().any(|path| is_config(path)).then_some(SourceChange::Config);
    projects.chain(of_config).collect()
}

/// Whether a path in a project's folder may be a source of its library, judged by name: not the output of builds, nor
/// what editors and version control keep.
fn is_source(inside: &Path, is_crate: bool) -> bool {
    let hidden = |name: &OsStr| {
        let name = name.as_encoded_bytes();
        name.starts_with(b".") || name.ends_with(b"~") || name == b"4913"
    };
    let names =
        || inside.components().filter_map(|part| if let Component::Normal(name) = part { Some(name) } else { None });
    let outputs: &[&str] = if is_crate { &[] } else { &["build", "zig-out", "zig-cache"] };
    let is_output = |name: &OsStr| is_target(name) || outputs.iter().any(|output| name == *output);
    let is_object = |name: &OsStr| {
        let extension = Path::new(name).extension();
        !is_crate && extension.is_some_and(|found| ["so", "o", "a", "d"].iter().any(|known| found == *known))
    };
    names().next().is_some_and(|first| !is_output(first)) && !names().any(|name| hidden(name) || is_object(name))
}

/// The folder of cargo's output: it is created under a temporary name, `target` and six letters or digits.
fn is_target(name: &OsStr) -> bool {
    let rest = name.as_encoded_bytes().strip_prefix(b"target");
    rest.is_some_and(|rest| rest.is_empty() || (rest.len() == 6 && rest.iter().all(u8::is_ascii_alphanumeric)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{AccessKind, AccessMode, CreateKind, DataChange, ModifyKind};
    use std::time::Duration;

    #[test]
    fn what_is_a_source() {
        for (path, of_crate, of_other) in [
            ("src/lib.rs", true, true),
            ("Cargo.toml", true, true),
            ("src/target/mod.rs", true, true),
            ("target", false, false),
            ("target/debug/libf.so", false, false),
            ("targetv8M0qq", false, false),
            ("targets/mod.rs", true, true),
            ("build/main.rs", true, false),
            ("f.so", true, false),
            ("src/f.o", true, false),
            ("f.c", true, true),
            (".git/index", false, false),
            ("src/.lib.rs.swp", false, false),
            ("src/lib.rs~", false, false),
            ("", false, false),
        ] {
            assert_eq!(is_source(Path::new(path), true), of_crate, "{path}");
            assert_eq!(is_source(Path::new(path), false), of_other, "{path}");
        }
    }

    #[test]
    fn what_events_say() {
        let dirs = [vec![PathBuf::from("/a")], vec![PathBuf::from("/b"), "/dep".into()]];
        let dirs = dirs.map(|dirs| WatchedFolders { dirs, is_crate: true });
        let config = Some(Path::new("/a/gm.ini"));
        let of = |kind, path: &str| changed(&Ok(Event::new(kind).add_path(path.into())), &dirs, config);
        let crate_of = |index, path: &str| [SourceChange::Project(index, vec![path.into()])];
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert_eq!(of(written, "/b/src/lib.rs"), crate_of(1, "/b/src/lib.rs"));
        assert_eq!(of(EventKind::Create(CreateKind::Any), "/a/build.rs"), crate_of(0, "/a/build.rs"));
        assert_eq!(of(written, "/dep/src/lib.rs"), crate_of(1, "/dep/src/lib.rs"));
        assert_eq!(of(written, "/a/gm.ini"), [SourceChange::Config], "it is no source, wherever it is");
        assert_eq!(of(written, "/a/target/x"), []);
        assert_eq!(of(written, "/c/src/lib.rs"), []);
        assert_eq!(of(EventKind::Access(AccessKind::Close(AccessMode::Read)), "/a/src/lib.rs"), []);
        let lost = changed(&Err(notify::Error::generic("overflow")), &dirs, config);
        assert_eq!(lost, [SourceChange::Project(0, vec![]), SourceChange::Project(1, vec![]), SourceChange::Config]);
    }

    #[tokio::test]
    async fn a_written_source_is_noticed_and_output_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("src/deep")).unwrap();
        fs::create_dir(root.join("target")).unwrap();
        let folders =
            [PathBuf::from("/other"), root.clone()].map(|dir| WatchedFolders { dirs: vec![dir], is_crate: true });
        let mut sources = SourceWatcher::new(folders.to_vec(), None).unwrap();
        sources.follow(1).unwrap();
        fs::write(root.join("target/x"), "").unwrap();
        fs::write(root.join("src/deep/x.rs"), "").unwrap();
        let next = tokio::time::timeout(Duration::from_secs(20), sources.next()).await;
        assert_eq!(next, Ok(SourceChange::Project(1, vec![root.join("src/deep/x.rs")])));
        let dep = tempfile::tempdir().unwrap();
        let dep = dep.path().canonicalize().unwrap();
        sources.depend(0, BTreeSet::from([dep.clone()])).unwrap();
        fs::write(dep.join("x.rs"), "").unwrap();
        let next = tokio::time::timeout(Duration::from_secs(20), async {
            while !matches!(sources.next().await, SourceChange::Project(0, _)) {}
        });
        assert_eq!(next.await, Ok(()));
    }
}
