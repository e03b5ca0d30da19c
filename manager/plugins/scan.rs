//! What lies in the worker directories -> the functions they hold. Nothing is opened; the deciding is pure.

use std::collections::btree_map::{BTreeMap, Entry as Slot};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::identity::Identity;
use super::listing;
use super::name::{self, FunctionName, NotTaken, Spelling};
use super::siblings::Beside;
use super::text::Shown;

/// A file that is to be probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The function its name stands for.
    pub function: FunctionName,
    /// The directory as configured: what became of it tells whether a missing file was removed or is out of sight.
    pub dir: PathBuf,
    /// The file, below the directory's real path.
    pub path: PathBuf,
    /// The file as it was found, links followed.
    pub identity: Identity,
}

/// Something under a library's name that is no file, such as a link to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The function its name stands for.
    pub function: FunctionName,
    /// The directory as configured.
    pub dir: PathBuf,
    /// Its path, below the directory's real one.
    pub path: PathBuf,
    /// What it is.
    pub reason: Reason,
}

/// What the directories hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// By function.
    pub candidates: BTreeMap<FunctionName, Candidate>,
    /// Every other file seen, with the reason.
    pub not_taken: Vec<(PathBuf, Reason)>,
    /// Those of them that are in the place of a library.
    pub obstacles: Vec<Obstacle>,
    /// What somebody should know although it works.
    pub warnings: Vec<Warning>,
    /// Directories that could not be read, as configured, and why. What they held before is unknown, not gone.
    pub failed_dirs: Vec<(PathBuf, String)>,
    /// Whether something could not be looked at for a reason that may pass without any change there.
    pub look_again: bool,
    /// What is in the places where libraries have others looked for, as far as that was asked.
    pub beside: BTreeMap<PathBuf, Option<Identity>>,
}

/// Why a file is no candidate. The text follows the file's path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// By its name.
    #[error(transparent)]
    Name(#[from] NotTaken),
    /// Not the place for one.
    #[error("is a directory; libraries are taken from worker_dir itself, not from below it")]
    Directory,
    /// A named pipe.
    #[error("is a FIFO, not a file")]
    Fifo,
    /// A Unix socket.
    #[error("is a socket, not a file")]
    Socket,
    /// A block or character device.
    #[error("is a device, not a file")]
    Device,
    /// A link to nothing.
    #[error("is a link to {to}, which does not exist", to = Shown(.0))]
    Dangling(PathBuf),
    /// `stat` failed.
    #[error("cannot be looked at: {text}")]
    Unreadable {
        /// The system's words.
        text: String,
        /// Whether it may be better soon.
        passes: bool,
    },
    /// Another file of the same function counts.
    #[error("is passed over: {by} serves the same function", by = Shown(.0))]
    PassedOver(PathBuf),
}

/// Two files for one function, or a directory given twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// Only one of them is served.
    TwoFiles {
        /// The function of both.
        function: FunctionName,
        /// The one that is served.
        taken: PathBuf,
        /// The other.
        passed_over: PathBuf,
        /// What decided.
        rule: Rule,
    },
    /// Libraries in a subdirectory, of functions that no worker directory holds.
    Below {
        /// The worker directory as configured.
        dir: PathBuf,
        /// They, below the directory's real path.
        libraries: Vec<PathBuf>,
    },
    /// One directory under two names.
    SameDirectory {
        /// As configured.
        dir: PathBuf,
        /// Where it leads.
        real: PathBuf,
    },
}

/// Which of two files for one function is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// In one directory: `NAME.so` before `libNAME.so`.
    ExactName,
    /// In two: the one configured later.
    LaterDirectory,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::TwoFiles { function, taken, passed_over, rule } => {
                let why = match rule {
                    Rule::ExactName => "the exact name wins; remove one of them",
                    Rule::LaterDirectory => "the later worker_dir wins",
                };
                write!(f, "{function}: {} is served, not {}: {why}", Shown(taken), Shown(passed_over))
            }
            Warning::Below { dir, libraries } => {
                let shown: Vec<String> = libraries.iter().take(NAMED).map(|path| Shown(path).to_string()).collect();
                let more = libraries.len().saturating_sub(NAMED);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let (dir, shown) = (Shown(dir), shown.join(", "));
                write!(
                    f,
                    "worker_dir {dir}: subdirectories are not read: move libraries up, or name their directory in \
                     worker_dir; not served: {shown}{more}"
                )
            }
            Warning::SameDirectory { dir, real } => {
                write!(f, "worker_dir {} is {} again; it is read once", Shown(dir), Shown(real))
            }
        }
    }
}

/// What a name in a directory stands for, links followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A regular file.
    File(Identity),
    /// None: why it is no candidate.
    Not(Reason),
}

/// One directory as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// As configured.
    pub dir: PathBuf,
    /// Its real path and what lies in it; or why it could not be read.
    pub read: Result<(PathBuf, Vec<(OsString, What)>), Unread>,
    /// Libraries in its subdirectories.
    pub below: Vec<PathBuf>,
}

/// So many libraries of subdirectories are named.
const NAMED: usize = 5;

/// Why a directory could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// One sentence.
    pub text: String,
    /// Whether it may be better soon.
    pub passes: bool,
}

/// Reads the directories, in the order of the configuration, and decides. Blocks as long as their file systems do.
pub fn scan(dirs: &[PathBuf]) -> Scan {
    decide(dirs.iter().map(|dir| listing::read(dir)))
}

/// As [`scan`], with a look at the places where libraries have others looked for.
pub fn scan_with(dirs: &[PathBuf], beside: &[PathBuf]) -> Scan {
    let beside = beside.iter().map(|path| Beside::look(path.clone())).map(|beside| (beside.path, beside.identity));
    Scan { beside: beside.collect(), ..scan(dirs) }
}

/// The functions in the listings. A later directory wins over an earlier one, in a directory the exact name.
pub fn decide(listings: impl IntoIterator<Item = Listing>) -> Scan {
    let mut scan = Scan::default();
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut below = Vec::new();
    for Listing { dir, read, below: lower } in listings {
        below.push((dir.clone(), lower));
        match read {
            Err(Unread { text, passes }) => {
                scan.failed_dirs.push((dir, text));
                scan.look_again |= passes;
            }
            Ok((real, _)) if seen.contains(&real) => scan.warnings.push(Warning::SameDirectory { dir, real }),
            Ok((real, entries)) => {
                let own = scan.directory(&dir, &real, entries);
                scan.overlay(own);
                seen.push(real);
            }
        }
    }
    below.into_iter().for_each(|(dir, libraries)| scan.name_below(dir, libraries));
    // A directory comes in no order; two scans of the same files must not look like a change.
    scan.not_taken.sort_by(|a, b| a.0.cmp(&b.0));
    scan
}

impl Scan {
    /// What has the name of a function's library and is none, where nothing else serves that function.
    pub fn missed(&self) -> impl Iterator<Item = &Obstacle> {
        self.obstacles.iter().filter(|obstacle| !self.candidates.contains_key(&obstacle.function))
    }

    /// One directory's functions; the rest of its files go to `not_taken`.
    fn directory(&mut self, dir: &Path, real: &Path, entries: Vec<(OsString, What)>) -> Vec<Candidate> {
        let mut taken = Vec::new();
        for (file_name, what) in entries {
            let path = real.join(&file_name);
            match classify(&file_name, what) {
                Ok((function, spelling, identity)) => {
                    taken.push((spelling, Candidate { function, dir: dir.to_owned(), path, identity }));
                }
                Err(reason) => {
                    self.look_again |= matches!(reason, Reason::Unreadable { passes: true, .. });
                    if let Ok((function, _)) = name::function_of(&file_name) {
                        let (dir, path, reason) = (dir.to_owned(), path.clone(), reason.clone());
                        self.obstacles.push(Obstacle { function, dir, path, reason });
                    }
                    self.not_taken.push((path, reason));
                }
            }
        }
        // Exact names first: who comes second to a function has lost.
        taken.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.path.cmp(&y.path)));
        let mut own: BTreeMap<FunctionName, Candidate> = BTreeMap::new();
        for (_, candidate) in taken {
            match own.entry(candidate.function.clone()) {
                Slot::Vacant(slot) => {
                    slot.insert(candidate);
                }
                Slot::Occupied(slot) => {
                    let (function, taken, passed_over) = (candidate.function, slot.get().path.clone(), candidate.path);
                    self.not_taken.push((passed_over.clone(), Reason::PassedOver(taken.clone())));
                    self.warnings.push(Warning::TwoFiles { function, taken, passed_over, rule: Rule::ExactName });
                }
            }
        }
        own.into_values().collect()
    }

    /// Warns of libraries in subdirectories whose function nothing else serves.
    fn name_below(&mut self, dir: PathBuf, mut libraries: Vec<PathBuf>) {
        let served = |path: &PathBuf| {
            let function = path.file_name().map(name::function_of);
            function.is_none_or(|named| named.is_ok_and(|(function, _)| self.candidates.contains_key(&function)))
        };
        libraries.retain(|path| !served(path));
        libraries.sort();
        if !libraries.is_empty() {
            self.warnings.push(Warning::Below { dir, libraries });
        }
    }

    /// Lays a later directory's functions over the earlier ones'.
    fn overlay(&mut self, own: Vec<Candidate>) {
        for candidate in own {
            let (function, taken) = (candidate.function.clone(), candidate.path.clone());
            if let Some(earlier) = self.candidates.insert(function.clone(), candidate) {
                self.not_taken.push((earlier.path.clone(), Reason::PassedOver(taken.clone())));
                self.warnings.push(Warning::TwoFiles {
                    function,
                    taken,
                    passed_over: earlier.path,
                    rule: Rule::LaterDirectory,
                });
            }
        }
    }
}

/// A single file: taken, or why not. What a thing is says more than its ending, except for hidden ones.
fn classify(file_name: &OsString, what: What) -> Result<(FunctionName, Spelling, Identity), Reason> {
    let named = name::function_of(file_name);
    match (named, what) {
        (Err(hidden @ NotTaken::Hidden(_)), _) => Err(hidden.into()),
        (_, What::Not(reason)) => Err(reason),
        (Err(reason), What::File(_)) => Err(reason.into()),
        (Ok((function, spelling)), What::File(identity)) => Ok((function, spelling, identity)),
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
