//! Finds the functions in the worker directories. Opens no file; the decision is pure.

use std::collections::btree_map::{BTreeMap, Entry as Slot};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::display_path::DisplayPath;
use super::identity::FileIdentity;
use super::listing::{self, Listing, PathKind, SkipReason, UnreadableDirectory};
use super::name::{self, FunctionName, SkippedFile, Spelling};
use super::siblings::SiblingPlace;

/// A file to be probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The function in its name.
    pub function: FunctionName,
    /// The directory as configured: whether that can be read tells a removed file from one that cannot be seen.
    pub dir: PathBuf,
    /// The file, below the directory's real path.
    pub path: PathBuf,
    /// The file as found, links followed.
    pub identity: FileIdentity,
}

/// Something with a library's name that is no file, such as a link to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The function in its name.
    pub function: FunctionName,
    /// The directory as configured.
    pub dir: PathBuf,
    /// Its path, below the directory's real one.
    pub path: PathBuf,
    /// What it is.
    pub reason: SkipReason,
}

/// The result of a scan.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ScanResult {
    /// By function.
    pub candidates: BTreeMap<FunctionName, Candidate>,
    /// Every other file, with the reason.
    pub skipped: Vec<(PathBuf, SkipReason)>,
    /// Those of them that have the name of a library.
    pub obstacles: Vec<Obstacle>,
    /// What an operator should know although it works.
    pub warnings: Vec<ScanWarning>,
    /// Directories that could not be read, as configured, and why. What they held before is unknown, not gone.
    pub failed_dirs: Vec<(PathBuf, String)>,
    /// Whether something could not be read for a cause that may pass without any change there.
    pub look_again: bool,
    /// What is in the places where libraries look for others, as far as those were examined.
    pub beside: BTreeMap<PathBuf, Option<FileIdentity>>,
}

/// Something that is probably a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanWarning {
    /// Two files for one function: only one is served.
    TwoFiles {
        /// The function of both.
        function: FunctionName,
        /// The one that is served.
        taken: PathBuf,
        /// The other.
        passed_over: PathBuf,
        /// What decided.
        rule: DuplicateRule,
    },
    /// Libraries in a subdirectory, of functions that no worker directory has.
    Below {
        /// The worker directory as configured.
        dir: PathBuf,
        /// Their paths, below the directory's real one.
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

/// The rule that decides which of two files for one function is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DuplicateRule {
    /// In one directory: `NAME.so` before `libNAME.so`.
    ExactName,
    /// In two: the directory configured later.
    LaterDirectory,
}

impl fmt::Display for ScanWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScanWarning::TwoFiles { function, taken, passed_over, rule } => {
                let why = match rule {
                    DuplicateRule::ExactName => "the exact name wins; remove one of them",
                    DuplicateRule::LaterDirectory => "the later worker_dir wins; remove one of them",
                };
                write!(f, "{function}: {} is served, not {}: {why}", DisplayPath(taken), DisplayPath(passed_over))
            }
            ScanWarning::Below { dir, libraries } => {
                let shown: Vec<String> =
                    libraries.iter().take(NAMED).map(|path| DisplayPath(path).to_string()).collect();
                let more = libraries.len().saturating_sub(NAMED);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let (dir, shown) = (DisplayPath(dir), shown.join(", "));
                write!(
                    f,
                    "worker_dir {dir}: subdirectories are not read: move libraries up, or name their directory in \
                     worker_dir; not served: {shown}{more}"
                )
            }
            ScanWarning::SameDirectory { dir, real } => {
                write!(f, "worker_dir {} is {} again; it is read once", DisplayPath(dir), DisplayPath(real))
            }
        }
    }
}

/// A warning names this many libraries in subdirectories.
const NAMED: usize = 5;

/// Reads the directories, in the order of the configuration, and decides. Blocks as long as their file systems do.
pub fn scan(dirs: &[PathBuf]) -> ScanResult {
    decide(dirs.iter().map(|dir| listing::read(dir)))
}

/// As [`scan`], but also examines the places where libraries look for others.
pub fn scan_with(dirs: &[PathBuf], beside: &[PathBuf]) -> ScanResult {
    let beside = beside.iter().map(|path| SiblingPlace::at(path.clone())).map(|beside| (beside.path, beside.identity));
    ScanResult { beside: beside.collect(), ..scan(dirs) }
}

/// The functions in the listings. A later directory wins over an earlier one; within a directory, the exact name wins.
pub fn decide(listings: impl IntoIterator<Item = Listing>) -> ScanResult {
    let mut scan = ScanResult::default();
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut below = Vec::new();
    for Listing { dir, read, below: lower } in listings {
        below.push((dir.clone(), lower));
        match read {
            Err(UnreadableDirectory { text, is_transient }) => {
                scan.failed_dirs.push((dir, text));
                scan.look_again |= is_transient;
            }
            Ok((real, _)) if seen.contains(&real) => scan.warnings.push(ScanWarning::SameDirectory { dir, real }),
            Ok((real, entries)) => {
                let own = scan.directory(&dir, &real, entries);
                scan.overlay(own);
                seen.push(real);
            }
        }
    }
    below.into_iter().for_each(|(dir, libraries)| scan.name_below(dir, libraries));
    // A directory has no order; two scans of the same files must not look like a change.
    scan.skipped.sort_by(|a, b| a.0.cmp(&b.0));
    scan
}

impl ScanResult {
    /// What has the name of a function's library but is no file, if nothing else serves that function.
    pub fn unserved_obstacles(&self) -> impl Iterator<Item = &Obstacle> {
        self.obstacles.iter().filter(|obstacle| !self.candidates.contains_key(&obstacle.function))
    }

    /// One directory's functions; its other files are added to `skipped`.
    fn directory(&mut self, dir: &Path, real: &Path, entries: Vec<(OsString, PathKind)>) -> Vec<Candidate> {
        let mut taken = Vec::new();
        for (file_name, what) in entries {
            let path = real.join(&file_name);
            match classify(&file_name, what) {
                Ok((function, spelling, identity)) => {
                    taken.push((spelling, Candidate { function, dir: dir.to_owned(), path, identity }));
                }
                Err(reason) => {
                    self.look_again |= matches!(reason, SkipReason::Unreadable { is_transient: true, .. });
                    if let Ok((function, _)) = name::function_of(&file_name) {
                        let (dir, path, reason) = (dir.to_owned(), path.clone(), reason.clone());
                        self.obstacles.push(Obstacle { function, dir, path, reason });
                    }
                    self.skipped.push((path, reason));
                }
            }
        }
        // Exact names first: the second file for a function is skipped.
        taken.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.path.cmp(&y.path)));
        let mut own: BTreeMap<FunctionName, Candidate> = BTreeMap::new();
        for (_, candidate) in taken {
            match own.entry(candidate.function.clone()) {
                Slot::Vacant(slot) => {
                    slot.insert(candidate);
                }
                Slot::Occupied(slot) => {
                    let (function, taken, passed_over) = (candidate.function, slot.get().path.clone(), candidate.path);
                    self.skipped.push((passed_over.clone(), SkipReason::PassedOver(taken.clone())));
                    self.warnings.push(ScanWarning::TwoFiles {
                        function,
                        taken,
                        passed_over,
                        rule: DuplicateRule::ExactName,
                    });
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
            self.warnings.push(ScanWarning::Below { dir, libraries });
        }
    }

    /// A later directory's functions replace the earlier ones'.
    fn overlay(&mut self, own: Vec<Candidate>) {
        for candidate in own {
            let (function, taken) = (candidate.function.clone(), candidate.path.clone());
            if let Some(earlier) = self.candidates.insert(function.clone(), candidate) {
                self.skipped.push((earlier.path.clone(), SkipReason::PassedOver(taken.clone())));
                self.warnings.push(ScanWarning::TwoFiles {
                    function,
                    taken,
                    passed_over: earlier.path,
                    rule: DuplicateRule::LaterDirectory,
                });
            }
        }
    }
}

/// One file: the function it serves, or why it is skipped. Its kind counts more than its name, except for hidden files.
fn classify(file_name: &OsString, what: PathKind) -> Result<(FunctionName, Spelling, FileIdentity), SkipReason> {
    let named = name::function_of(file_name);
    match (named, what) {
        (Err(hidden @ SkippedFile::Hidden(_)), _) => Err(hidden.into()),
        (_, PathKind::Not(reason)) => Err(reason),
        (Err(reason), PathKind::File(_)) => Err(reason.into()),
        (Ok((function, spelling)), PathKind::File(identity)) => Ok((function, spelling, identity)),
    }
}

#[cfg(test)]
mod tests;
