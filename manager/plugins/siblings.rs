//! Libraries beside a plugin, which it has the loader look for there: `$ORIGIN` in RPATH or RUNPATH. They are a part of
//! its version: stored with it, so that `$ORIGIN` leads to them there as well, and hashed and watched with it.
//!
//! What the loader would find is found here by the same rules, but opened below the plugin's own directory only.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::beneath::{self, Beneath};
use super::copy::must_be_a_file;
use super::elf::Links;
use super::hash::ContentHash;
use super::identity::Identity;
use super::permissions::Trust;
use super::refusal::Refusal;
use super::text::{Shown, clipped};
use crate::system::errors::reason;

/// More libraries than anybody brings along; a damaged one may claim any number.
const MOST: usize = 64;

/// A library that belongs to a version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sibling {
    /// Where it lies, from the plugin's directory on: only names, no `..`.
    #[serde(with = "super::report::path")]
    pub path: PathBuf,
    /// Its content.
    pub hash: ContentHash,
}

/// A place where a plugin has something looked for, and what was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// Absolute.
    #[serde(with = "super::report::path")]
    pub path: PathBuf,
    /// `None`: nothing, or no file.
    pub identity: Option<Identity>,
}

impl Beside {
    /// As it is now.
    pub fn look(path: PathBuf) -> Self {
        let found = fs::metadata(&path).ok();
        Self::of(path, found)
    }

    fn of(path: PathBuf, found: Option<fs::Metadata>) -> Self {
        let file = found.filter(fs::Metadata::is_file);
        Self { identity: file.map(|meta| Identity::of(&meta)), path }
    }
}

/// Whether a path is one that [`Sibling::path`] may be.
pub(super) fn is_below(path: &Path) -> bool {
    let mut components = path.components();
    components.all(|component| matches!(component, Component::Normal(_))) && !path.as_os_str().is_empty()
}

/// A library as the loader has it.
#[derive(Debug)]
struct Object {
    /// Its directory, from the plugin's on.
    origin: PathBuf,
    links: Links,
    /// Who needs it: its place among the objects.
    asked_by: Option<usize>,
}

/// Where the loader looks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Below the plugin's directory.
    Beside(PathBuf),
    /// Beside it, but out of its directory: from there on.
    Outside(PathBuf),
    /// Nowhere near it.
    Elsewhere(PathBuf),
}

/// The search for a plugin's siblings.
#[derive(Debug)]
pub(super) struct Search<'a> {
    dir: &'a Path,
    plugin: Identity,
    trust: Option<Trust>,
    /// Where something was looked for, found or not: a change there may make another version.
    pub looked: Vec<Beside>,
    /// Names and where they were looked for in vain.
    missed: BTreeMap<OsString, Vec<PathBuf>>,
    /// Names and where they are out of reach.
    outside: BTreeMap<OsString, PathBuf>,
}

impl<'a> Search<'a> {
    /// For the plugin in this directory.
    pub fn new(dir: &'a Path, plugin: Identity, trust: Option<Trust>) -> Self {
        Self { dir, plugin, trust, looked: Vec::new(), missed: BTreeMap::new(), outside: BTreeMap::new() }
    }

    /// Has every sibling taken, each once, with its path from the plugin's directory on; `take` says what it needs
    /// itself. What `is_loaded` already nobody looks for.
    ///
    /// # Errors
    /// One is there and cannot be used.
    pub fn run(
        &mut self,
        plugin: &Links,
        is_loaded: impl Fn(&OsStr) -> bool,
        mut take: impl FnMut(&Path, &File) -> Result<Links, Refusal>,
    ) -> Result<(), Refusal> {
        let mut known: BTreeSet<OsString> = plugin.soname.iter().cloned().collect();
        let mut objects = vec![Object { origin: PathBuf::new(), links: plugin.clone(), asked_by: None }];
        let mut next = 0;
        while next < objects.len() {
            for name in objects[next].links.needed.clone() {
                let places = places(&objects, next, &name);
                if places.is_empty() || known.contains(&name) || is_loaded(&name) {
                    continue;
                }
                let Some((path, file)) = self.find(&name, places)? else { continue };
                let links = take(&path, &file).map_err(|reason| self.wrong(&name, &path, reason))?;
                known.extend(links.soname.iter().cloned().chain([name]));
                let origin = path.parent().unwrap_or(Path::new("")).to_owned();
                objects.push(Object { origin, links, asked_by: Some(next) });
                if objects.len() > MOST {
                    return Err(Refusal::TooManySiblings { most: MOST });
                }
            }
            next += 1;
        }
        Ok(())
    }

    /// The first place that has it, as the loader goes through them.
    fn find(&mut self, name: &OsStr, places: Vec<Place>) -> Result<Option<(PathBuf, File)>, Refusal> {
        for place in places {
            match place {
                Place::Elsewhere(path) if path.exists() => return Ok(None),
                Place::Elsewhere(_) => {}
                Place::Outside(path) => {
                    let path = self.dir.join(path);
                    if path.exists() {
                        self.outside.entry(name.to_owned()).or_insert(path);
                    }
                }
                Place::Beside(path) => {
                    if let Some(file) = self.open(name, &path)? {
                        let is_itself = file.metadata().is_ok_and(|meta| {
                            let found = Identity::of(&meta);
                            (found.dev, found.ino) == (self.plugin.dev, self.plugin.ino)
                        });
                        return Ok((!is_itself).then_some((path, file)));
                    }
                    self.missed.entry(name.to_owned()).or_default().push(self.dir.join(&path));
                }
            }
        }
        Ok(None)
    }

    fn open(&mut self, name: &OsStr, path: &Path) -> Result<Option<File>, Refusal> {
        let whole = self.dir.join(path);
        let dir = File::open(self.dir).map_err(|error| self.wrong(name, path, cannot_open(&error)))?;
        let opened = beneath::open(&dir, path);
        self.looked.push(match &opened {
            // What is copied, not what may have taken its place by now: that is a change.
            Beneath::Opened(file) => Beside::of(whole.clone(), file.metadata().ok()),
            _ => Beside::look(whole.clone()),
        });
        let file = match opened {
            Beneath::Opened(file) => file,
            Beneath::Missing => return Ok(None),
            Beneath::Failed(error) => return Err(self.wrong(name, path, cannot_open(&error))),
            Beneath::Escapes(to) => {
                let (path, to) = (Shown(&whole).to_string(), Shown(&to).to_string());
                return Err(Refusal::SiblingEscapes { library: shown(name), path, to });
            }
        };
        let checked = must_be_a_file(&file).and_then(|meta| match self.trust {
            Some(trust) => trust.check(&whole, &meta),
            None => Ok(()),
        });
        checked.map(|()| Some(file)).map_err(|reason| self.wrong(name, path, reason))
    }

    fn wrong(&self, name: &OsStr, path: &Path, reason: Refusal) -> Refusal {
        let path = Shown(&self.dir.join(path)).to_string();
        Refusal::Sibling { library: shown(name), path, reason: Box::new(reason) }
    }

    /// What to say where the loader has not found a library, which knows nothing of directories of ours.
    pub fn explain(&self, refusal: Refusal) -> Refusal {
        let Refusal::MissingLibrary { library, detail } = refusal else { return refusal };
        let name = OsStr::new(&library);
        if let Some(path) = self.outside.get(name) {
            return out_of_reach(name, path);
        }
        if let Some(places) = self.missed.get(name) {
            let places: Vec<String> = places.iter().map(|path| Shown(path).to_string()).collect();
            return Refusal::NoSibling { library, places: places.join(" or "), detail };
        }
        let beside = self.dir.join(name);
        if beside.is_file() {
            return Refusal::NotLookedFor { library, path: Shown(&beside).to_string(), detail };
        }
        Refusal::MissingLibrary { library, detail }
    }

    /// Something that lies out of reach, which the loader would take from there, and which is not on the system either.
    pub fn unreachable(&self, is_installed: impl Fn(&OsStr) -> bool) -> Option<Refusal> {
        let name = self.outside.iter().find(|(name, _)| !is_installed(name));
        name.map(|(name, path)| out_of_reach(name, path))
    }
}

fn out_of_reach(name: &OsStr, path: &Path) -> Refusal {
    Refusal::SiblingOutside { library: shown(name), path: Shown(path).to_string() }
}

fn shown(name: &OsStr) -> String {
    clipped(name.as_bytes(), 200)
}

fn cannot_open(error: &std::io::Error) -> Refusal {
    Refusal::cannot_open(reason(error), error)
}

/// Where the loader looks for what an object needs, in its order.
fn places(objects: &[Object], at: usize, name: &OsStr) -> Vec<Place> {
    let object = &objects[at];
    if name.as_bytes().contains(&b'/') {
        return expand(name.as_bytes(), &object.origin).into_iter().collect();
    }
    // RPATH holds for all that is loaded by way of it; not so RUNPATH, and what has one looks at no RPATH.
    let paths: Vec<(&Path, &OsString)> = match &object.links.runpath {
        Some(runpath) => vec![(object.origin.as_path(), runpath)],
        None => std::iter::successors(Some(at), |at| objects[*at].asked_by)
            .map(|at| &objects[at])
            .filter(|object| object.links.runpath.is_none())
            .filter_map(|object| Some((object.origin.as_path(), object.links.rpath.as_ref()?)))
            .collect(),
    };
    let elements = paths.iter().flat_map(|(origin, path)| {
        path.as_bytes().split(|byte| *byte == b':').filter_map(|element| expand(element, origin))
    });
    let with_name = |place| match place {
        Place::Beside(dir) => Place::Beside(dir.join(name)),
        Place::Outside(dir) => Place::Outside(dir.join(name)),
        Place::Elsewhere(dir) => Place::Elsewhere(dir.join(name)),
    };
    elements.map(with_name).collect()
}

/// One element of a search path. `None` where only the loader knows: `$LIB`, `$PLATFORM`, and what depends on the
/// directory a process is in.
fn expand(element: &[u8], origin: &Path) -> Option<Place> {
    let rest = [&b"$ORIGIN"[..], b"${ORIGIN}"].iter().find_map(|token| element.strip_prefix(*token));
    let (rest, is_relative) = match rest {
        Some(rest) => (rest, rest.is_empty() || rest.starts_with(b"/")),
        None => (element, false),
    };
    if rest.contains(&b'$') {
        return None;
    }
    if !is_relative {
        let path = Path::new(OsStr::from_bytes(rest));
        return path.is_absolute().then(|| Place::Elsewhere(path.to_owned()));
    }
    let rest = PathBuf::from(OsStr::from_bytes(rest.trim_ascii_start()).to_owned());
    let rest: PathBuf = rest.components().filter(|component| *component != Component::RootDir).collect();
    let mut below = origin.to_owned();
    for component in rest.components() {
        match component {
            Component::Normal(name) => below.push(name),
            Component::ParentDir if !below.pop() => return Some(Place::Outside(origin.join(&rest))),
            _ => {}
        }
    }
    Some(Place::Beside(below))
}

#[cfg(test)]
#[path = "siblings_tests.rs"]
mod tests;
