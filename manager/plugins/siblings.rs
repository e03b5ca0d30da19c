//! Siblings: libraries beside a plugin, which it tells the loader to find there by `$ORIGIN` in RPATH or RUNPATH. They
//! are part of its version: stored with it, so that `$ORIGIN` leads to them there too, and hashed and watched with it.
//!
//! This module applies the loader's own rules, but opens files only below the plugin's directory.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{ErrorKind, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use object::read::ReadCache;
use serde::{Deserialize, Serialize};

use super::beneath::{self, OpenBeneath};
use super::content_hash::ContentHash;
use super::display_path::{DisplayPath, clipped};
use super::elf::{self, LibraryReferences, Machine};
use super::identity::FileIdentity;
use super::library_copy::{self, must_be_a_file};
use super::permissions::FilePolicy;
use super::rejection::{Rejection, is_transient};
use crate::system::errors::reason;

/// More siblings than any real plugin has; a damaged one may claim any number.
const MAX_SIBLINGS: usize = 64;

/// More places than any real search path has.
const MAX_PLACES: usize = 1024;

/// A library that belongs to a version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sibling {
    /// Its path from the plugin's directory: only names, no `..`.
    #[serde(with = "super::serde_path")]
    pub path: PathBuf,
    /// Its content.
    pub hash: ContentHash,
}

/// A place where a plugin looks for a library, and what was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiblingPlace {
    /// Absolute.
    #[serde(with = "super::serde_path")]
    pub path: PathBuf,
    /// `None`: nothing, or no file.
    pub identity: Option<FileIdentity>,
}

impl SiblingPlace {
    /// As it is now.
    pub fn at(path: PathBuf) -> Self {
        let found = fs::metadata(&path).ok();
        Self::of(path, found)
    }

    fn of(path: PathBuf, found: Option<fs::Metadata>) -> Self {
        let file = found.filter(fs::Metadata::is_file);
        Self { identity: file.map(|meta| FileIdentity::of(&meta)), path }
    }
}

/// Whether a path can be a [`Sibling::path`].
pub(super) fn is_below(path: &Path) -> bool {
    let mut components = path.components();
    components.all(|component| matches!(component, Component::Normal(_))) && !path.as_os_str().is_empty()
}

/// A library as the loader sees it.
#[derive(Debug)]
struct LibraryObject {
    /// Its directory, from the plugin's.
    origin: PathBuf,
    links: LibraryReferences,
    /// Which object needs it.
    asked_by: Option<usize>,
}

/// A place where the loader looks.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SearchPlace {
    /// Below the plugin's directory.
    Beside(PathBuf),
    /// Outside the plugin's directory, by a relative path from there.
    Outside(PathBuf),
    /// Somewhere else entirely.
    Elsewhere(PathBuf),
    /// Where this element of a search path leads from the store may be somewhere else: `$LIB`, `$PLATFORM`, what
    /// depends on the working directory, and what passes through a directory and out of it again.
    Unsteady(OsString),
}

/// What the loader does with one place.
enum PlaceResult {
    Found(File),
    Next,
    /// It stops searching the path.
    Over,
}

/// The search for a plugin's siblings.
#[derive(Debug)]
pub(super) struct SiblingSearch<'a> {
    dir: &'a Path,
    plugin: FileIdentity,
    file_policy: Option<FilePolicy>,
    /// Every place that was looked at, with or without success: a change there may make another version.
    pub looked: Vec<SiblingPlace>,
    /// Names that were not found, and where they were looked for.
    missed: BTreeMap<OsString, Vec<PathBuf>>,
    /// Names that are out of reach, and where they are.
    outside: BTreeMap<OsString, PathBuf>,
    /// Names, and what is wrong with the first file that the loader passes over.
    passed_over: BTreeMap<OsString, Rejection>,
    /// Names, and the first element of a search path that leads nowhere from the store.
    unsteady: BTreeMap<OsString, OsString>,
    places: usize,
}

impl<'a> SiblingSearch<'a> {
    /// For the plugin in this directory.
    pub(super) fn new(dir: &'a Path, plugin: FileIdentity, file_policy: Option<FilePolicy>) -> Self {
        Self {
            dir,
            plugin,
            file_policy,
            looked: Vec::new(),
            missed: BTreeMap::new(),
            outside: BTreeMap::new(),
            passed_over: BTreeMap::new(),
            unsteady: BTreeMap::new(),
            places: 0,
        }
    }

    /// Passes every sibling once to `take`, with its path from the plugin's directory; `take` returns what that library
    /// needs. Skips what `is_loaded` already.
    ///
    /// # Errors
    /// A sibling exists and cannot be used.
    pub(super) fn run(
        &mut self,
        plugin: &LibraryReferences,
        is_loaded: impl Fn(&OsStr) -> bool,
        mut take: impl FnMut(&Path, &File) -> Result<LibraryReferences, Rejection>,
    ) -> Result<(), Rejection> {
        let mut known: BTreeSet<OsString> = plugin.soname.iter().cloned().collect();
        let mut objects = vec![LibraryObject { origin: PathBuf::new(), links: plugin.clone(), asked_by: None }];
        let mut next = 0;
        while next < objects.len() {
            for name in objects[next].links.needed.clone() {
                let places = places(&objects, next, &name);
                if places.is_empty() || known.contains(&name) || is_loaded(&name) {
                    continue;
                }
                let found = self.find(&name, places)?;
                // Even if it is not a sibling: a library that needs it later gets what the first one got.
                known.insert(name.clone());
                let Some((path, file)) = found else { continue };
                let links = take(&path, &file).map_err(|reason| self.wrong(&name, &path, reason))?;
                known.extend(links.soname.iter().cloned());
                let origin = path.parent().unwrap_or(Path::new("")).to_owned();
                objects.push(LibraryObject { origin, links, asked_by: Some(next) });
                if objects.len() > MAX_SIBLINGS {
                    return Err(Rejection::TooManySiblings { most: MAX_SIBLINGS });
                }
            }
            next += 1;
        }
        Ok(())
    }

    /// The first place that has it, in the loader's order.
    fn find(&mut self, name: &OsStr, places: Vec<SearchPlace>) -> Result<Option<(PathBuf, File)>, Rejection> {
        for place in places {
            self.places += 1;
            if self.places > MAX_PLACES {
                return Err(Rejection::TooManyPlaces);
            }
            match place {
                SearchPlace::Elsewhere(path) => {
                    if library_copy::open(&path).is_ok_and(|file| other_machine(&file).is_none()) {
                        return Ok(None);
                    }
                }
                SearchPlace::Outside(path) => {
                    let path = self.dir.join(path);
                    if path.exists() {
                        self.outside.entry(name.to_owned()).or_insert(path);
                    }
                }
                SearchPlace::Unsteady(element) => drop(self.unsteady.entry(name.to_owned()).or_insert(element)),
                SearchPlace::Beside(path) => match self.try_place(name, &path)? {
                    PlaceResult::Found(file) => return Ok(Some((path, file))),
                    PlaceResult::Next => {}
                    PlaceResult::Over => return Ok(None),
                },
            }
        }
        Ok(None)
    }

    fn try_place(&mut self, name: &OsStr, path: &Path) -> Result<PlaceResult, Rejection> {
        let whole = self.dir.join(path);
        let dir = File::open(self.dir).map_err(|error| self.wrong(name, path, cannot_open(&error)))?;
        let opened = beneath::open(&dir, path);
        self.note(match &opened {
            // What is copied, not what may have replaced it by now: that is a change.
            OpenBeneath::Opened(file) => SiblingPlace::of(whole.clone(), file.metadata().ok()),
            _ => SiblingPlace::at(whole.clone()),
        });
        match opened {
            OpenBeneath::Opened(file) => self.opened(name, path, file),
            OpenBeneath::Failed(error) if is_transient(&error) || error.kind() == ErrorKind::IsADirectory => {
                Err(self.wrong(name, path, cannot_open(&error)))
            }
            OpenBeneath::Failed(error) => {
                self.passes_over(name, path, cannot_open(&error));
                let goes_on = error.kind() == ErrorKind::PermissionDenied || !parent_is_there(&whole);
                Ok(if goes_on { PlaceResult::Next } else { PlaceResult::Over })
            }
            // If nothing is at the end of the link, there is nothing to load from elsewhere.
            OpenBeneath::Escapes(to) if whole.exists() => {
                let (path, to) = (DisplayPath(&whole).to_string(), DisplayPath(&to).to_string());
                Err(Rejection::SiblingEscapes { library: shown(name), path, to })
            }
            OpenBeneath::Missing | OpenBeneath::Escapes(_) => {
                self.missed.entry(name.to_owned()).or_default().push(whole);
                Ok(PlaceResult::Next)
            }
        }
    }

    fn opened(&mut self, name: &OsStr, path: &Path, file: File) -> Result<PlaceResult, Rejection> {
        let whole = self.dir.join(path);
        let checked = must_be_a_file(&file).and_then(|meta| match self.file_policy {
            Some(file_policy) => file_policy.check(&whole, &meta).map(|()| meta),
            None => Ok(meta),
        });
        let found = checked.map(|meta| FileIdentity::of(&meta)).map_err(|reason| self.wrong(name, path, reason))?;
        if (found.dev, found.ino) == (self.plugin.dev, self.plugin.ino) {
            // Its soname was known; in the store it has no other name.
            return Err(Rejection::NeededByItself { library: shown(name) });
        }
        match other_machine(&file) {
            Some(reason) => {
                self.passes_over(name, path, reason);
                Ok(PlaceResult::Next)
            }
            None => Ok(PlaceResult::Found(file)),
        }
    }

    fn note(&mut self, beside: SiblingPlace) {
        if self.looked.iter().all(|known| known.path != beside.path) {
            self.looked.push(beside);
        }
    }

    fn passes_over(&mut self, name: &OsStr, path: &Path, reason: Rejection) {
        let rejection = self.wrong(name, path, reason);
        self.passed_over.entry(name.to_owned()).or_insert(rejection);
    }

    fn wrong(&self, name: &OsStr, path: &Path, reason: Rejection) -> Rejection {
        let path = DisplayPath(&self.dir.join(path)).to_string();
        Rejection::Sibling { library: shown(name), path, reason: Box::new(reason) }
    }

    /// Explains why the loader did not find a library, since its own error does not know our directories.
    pub(super) fn explain(&self, rejection: Rejection) -> Rejection {
        let Rejection::MissingLibrary { library, detail } = rejection else { return rejection };
        if let Some((name, path)) = called(&self.outside, &library) {
            return out_of_reach(name, path);
        }
        if let Some((_, rejection)) = called(&self.passed_over, &library) {
            return rejection.clone();
        }
        if let Some((name, element)) = called(&self.unsteady, &library) {
            return unsteady(name, element);
        }
        if let Some((_, places)) = called(&self.missed, &library) {
            let places: Vec<String> = places.iter().map(|path| DisplayPath(path).to_string()).collect();
            return Rejection::NoSibling { library, places: clipped(places.join(" or ").as_bytes(), 2048), detail };
        }
        let beside = self.dir.join(&library);
        if beside.is_file() {
            return Rejection::NotLookedFor { library, path: DisplayPath(&beside).to_string(), detail };
        }
        Rejection::MissingLibrary { library, detail }
    }

    /// A library that is out of reach, which the loader would take from there, and which the system does not have
    /// either.
    pub(super) fn unreachable(&self, is_installed: impl Fn(&OsStr) -> bool) -> Option<Rejection> {
        let outside = self.outside.iter().find(|(name, _)| !is_installed(name));
        let outside = outside.map(|(name, path)| out_of_reach(name, path));
        outside.or_else(|| {
            let found = self.unsteady.iter().find(|(name, _)| !is_installed(name));
            found.map(|(name, element)| unsteady(name, element))
        })
    }
}

/// Looks up a library by the loader's name for it, which is text even if the file name is not.
fn called<'a, T>(known: &'a BTreeMap<OsString, T>, library: &str) -> Option<(&'a OsString, &'a T)> {
    known.iter().find(|(name, _)| shown(OsStr::new(&*name.to_string_lossy())) == library)
}

fn unsteady(name: &OsStr, element: &OsStr) -> Rejection {
    Rejection::SiblingUnsteady { library: shown(name), element: shown(element) }
}

/// Why the loader passes over a file that it can open: it is built for another machine, and the path may also have one
/// for this machine.
fn other_machine(file: &File) -> Option<Rejection> {
    let rejection = elf::other_machine(&ReadCache::new(file), &Machine::HOST);
    // The copy starts at the beginning.
    let _ = { file }.rewind();
    rejection
}

fn parent_is_there(path: &Path) -> bool {
    path.parent().is_some_and(Path::is_dir)
}

fn out_of_reach(name: &OsStr, path: &Path) -> Rejection {
    Rejection::SiblingOutside { library: shown(name), path: DisplayPath(path).to_string() }
}

fn shown(name: &OsStr) -> String {
    clipped(name.as_bytes(), 200)
}

fn cannot_open(error: &std::io::Error) -> Rejection {
    Rejection::cannot_open(reason(error), error)
}

/// Where the loader looks for what an object needs, in its order.
fn places(objects: &[LibraryObject], at: usize, name: &OsStr) -> Vec<SearchPlace> {
    let object = &objects[at];
    if name.as_bytes().contains(&b'/') {
        return vec![expand(name.as_bytes(), &object.origin)];
    }
    // RPATH applies to everything that is loaded because of it; RUNPATH does not, and an object with RUNPATH ignores
    // RPATH.
    let paths: Vec<(&Path, &OsString)> = match &object.links.runpath {
        Some(runpath) => vec![(object.origin.as_path(), runpath)],
        None => std::iter::successors(Some(at), |at| objects[*at].asked_by)
            .map(|at| &objects[at])
            .filter(|object| object.links.runpath.is_none())
            .filter_map(|object| Some((object.origin.as_path(), object.links.rpath.as_ref()?)))
            .collect(),
    };
    let elements = paths
        .iter()
        .flat_map(|(origin, path)| path.as_bytes().split(|byte| *byte == b':').map(|element| expand(element, origin)));
    let with_name = |place| match place {
        SearchPlace::Beside(dir) => SearchPlace::Beside(dir.join(name)),
        SearchPlace::Outside(dir) => SearchPlace::Outside(dir.join(name)),
        SearchPlace::Elsewhere(dir) => SearchPlace::Elsewhere(dir.join(name)),
        SearchPlace::Unsteady(element) => SearchPlace::Unsteady(element),
    };
    elements.map(with_name).take(MAX_PLACES + 1).collect()
}

/// One element of a search path, or a library that is needed by its path.
fn expand(element: &[u8], origin: &Path) -> SearchPlace {
    let unsteady = || SearchPlace::Unsteady(OsStr::from_bytes(element).to_owned());
    let rest = [&b"$ORIGIN"[..], b"${ORIGIN}"].iter().find_map(|token| element.strip_prefix(*token));
    let (rest, is_relative) = match rest {
        Some(rest) => (rest, rest.is_empty() || rest.starts_with(b"/")),
        None => (element, false),
    };
    let path = Path::new(OsStr::from_bytes(rest));
    if rest.contains(&b'$') || !is_relative && !path.is_absolute() {
        return unsteady();
    }
    if !is_relative {
        return SearchPlace::Elsewhere(path.to_owned());
    }
    let rest: PathBuf = path.components().filter(|component| *component != Component::RootDir).collect();
    let mut below = origin.to_owned();
    let mut entered = 0_usize;
    for component in rest.components() {
        match component {
            Component::Normal(name) => {
                below.push(name);
                entered += 1;
            }
            // The store has only directories that hold something.
            Component::ParentDir if entered > 0 => return unsteady(),
            Component::ParentDir if !below.pop() => return SearchPlace::Outside(origin.join(&rest)),
            _ => {}
        }
    }
    SearchPlace::Beside(below)
}

#[cfg(test)]
mod tests;
