//! Every way in which a candidate is refused: one variant, one sentence. The sentence follows the file's path, and
//! names what is wrong and what to do about it. The system loader's own error, which often misleads, is kept apart as
//! detail.

use std::fmt;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::display_path::DisplayPath;
pub use super::rejection_kind::RejectionKind;
pub(super) use super::rejection_kind::is_transient;

/// Why a candidate does not become a version. Texts inside are fit for a log line (escaped) and bounded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    // Getting at the file.
    /// It was there when the directory was read.
    #[error("vanished before it could be read")]
    Vanished,
    /// The system's error.
    #[error("cannot be opened: {0}")]
    CannotOpen(String),
    /// The system's error, for a reason that may pass: a disk that fails, no descriptors left.
    #[error("cannot be opened right now: {0}")]
    CannotOpenNow(String),
    /// What it is instead.
    #[error("is {0}, not a file")]
    NotAFile(String),
    /// Bytes found, bytes allowed.
    #[error("has {size} bytes, more than max_plugin_size allows ({max}); strip it, or raise max_plugin_size")]
    TooLarge {
        /// Bytes found.
        size: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// Strict permissions: a place that others can write to.
    #[error("cannot be trusted: {path} {problem}; {remedy}")]
    Distrusted {
        /// The file, or the directory above it.
        path: String,
        /// Owner or mode.
        problem: String,
        /// What mends it.
        remedy: String,
        /// It is a directory above the file: others below it are refused for the same.
        is_place: bool,
    },
    /// Its size or times changed under the copy.
    #[error("was written to during the copy; it is tried again when the writing stops")]
    Changing,
    /// The system's error.
    #[error("cannot be read: {0}")]
    CannotRead(String),

    // Storing it.
    /// ENOSPC or EDQUOT.
    #[error("cannot be stored: {dir} is full ({error}); free space there, or point state_dir elsewhere")]
    StoreFull {
        /// The store.
        dir: String,
        /// The system's error.
        error: String,
    },
    /// Any other error while writing.
    #[error("cannot be stored in {dir}: {error}")]
    StoreFailed {
        /// The store.
        dir: String,
        /// The system's error.
        error: String,
    },
    /// The error of dlopen would be "failed to map segment".
    #[error(
        "cannot be loaded from {dir}, which is on a file system mounted noexec; point state_dir elsewhere, or mount \
         that file system with exec"
    )]
    NoExec {
        /// The store.
        dir: String,
    },

    // What it is.
    /// No bytes.
    #[error("is empty; copy it again, ideally under another name, then rename it")]
    Empty,
    /// Recognised as something else.
    #[error("is {what}, not a library; {todo}")]
    NotALibrary {
        /// With its article.
        what: String,
        /// What to do.
        todo: String,
    },
    /// An ELF file, but no shared library.
    #[error("is {what}, not a shared library; {todo}")]
    NotShared {
        /// With its article.
        what: String,
        /// What to do.
        todo: String,
    },
    /// Another architecture, word size or byte order.
    #[error("is built for {built}, but this machine is {ours}; build it with --target {target}")]
    OtherMachine {
        /// Architecture of the library.
        built: String,
        /// Architecture of this machine.
        ours: String,
        /// The target to build for.
        target: String,
    },
    /// Cut short.
    #[error("was cut short: it ends after {size} bytes, before the end of {part}; copy it again")]
    Truncated {
        /// Bytes found.
        size: u64,
        /// What goes further than that.
        part: String,
    },
    /// Something in it contradicts itself.
    #[error("is damaged: {0}; copy it again, or build it again")]
    Damaged(String),
    /// Without sections a cut copy looks whole.
    #[error("has no section table, so nothing shows whether it is complete; use strip, not sstrip")]
    NoSections,
    /// `objcopy --only-keep-debug`.
    #[error("contains only debug information; copy the library itself")]
    DebugOnly,
    /// PT_GNU_STACK with x, or none at all, which means the same.
    #[error(
        "requires an executable stack; link it with -z noexecstack (assembly files need a .note.GNU-stack section)"
    )]
    ExecutableStack,
    /// `.rustc` metadata.
    #[error("is a Rust dylib or procedural macro; set crate-type = [\"cdylib\"] in its Cargo.toml and build it again")]
    RustDylib,

    // What it needs.
    /// Newer symbol versions than this machine's libc has.
    #[error(
        "needs glibc {needed}{symbols}, but this machine has {ours}; build it on a system with glibc {ours} or older"
    )]
    NewerGlibc {
        /// The newest version asked for.
        needed: String,
        /// For which symbols: empty, or ` (for pidfd_spawn)`.
        symbols: String,
        /// What is here.
        ours: String,
    },
    /// Linked against musl.
    #[error("is built for musl ({library}), but gm-native runs on glibc; build it with --target {target}")]
    Musl {
        /// The library that gives it away.
        library: String,
        /// The target to build for.
        target: String,
    },
    /// A shared library that is not there.
    #[error("needs {library}, which this machine does not have; install it, or link it statically")]
    MissingLibrary {
        /// As the loader names it.
        library: String,
        /// The loader's error.
        detail: String,
    },
    /// A library beside the plugin is there and wrong.
    #[error("needs {library} beside it, but {path} {reason}")]
    Sibling {
        /// As the plugin names it.
        library: String,
        /// The file.
        path: String,
        /// What is wrong with that one.
        reason: Box<Rejection>,
    },
    /// It would be loaded from wherever the link leads.
    #[error(
        "needs {library} beside it, but {path} is a link out of that directory, to {to}; copy the library itself there"
    )]
    SiblingEscapes {
        /// As the plugin names it.
        library: String,
        /// The file.
        path: String,
        /// Where a link on the way leads.
        to: String,
    },
    /// The loader would find it, and the store would not have it.
    #[error(
        "needs {library} and finds it at {path}, outside its own directory; only libraries in or below that directory \
         are stored with it: copy {library} there, and link with -Wl,-rpath,'$ORIGIN'"
    )]
    SiblingOutside {
        /// As the plugin names it.
        library: String,
        /// Where it is.
        path: String,
    },
    /// Looked for beside the plugin, and not there.
    #[error(
        "needs {library}, which is neither installed on this machine nor at {places}, where it looks; copy it there, \
         or install it"
    )]
    NoSibling {
        /// As the loader names it.
        library: String,
        /// Where it was looked for.
        places: String,
        /// The loader's error.
        detail: String,
    },
    /// It is beside the plugin, and no search path includes that directory.
    #[error(
        "needs {library}, which this machine does not have; {path} is not on its search path: link with \
         -Wl,-rpath,'$ORIGIN', or \
         install it"
    )]
    NotLookedFor {
        /// As the loader names it.
        library: String,
        /// The file that is there.
        path: String,
        /// The loader's error.
        detail: String,
    },
    /// Where it is looked for from the store is another place.
    #[error(
        "needs {library} and looks for it in {element}, which leads elsewhere from the store; name a directory beside \
         it, as in -Wl,-rpath,'$ORIGIN'"
    )]
    SiblingUnsteady {
        /// As the plugin names it.
        library: String,
        /// Of its search path.
        element: String,
    },
    /// In the store it has the name of its function.
    #[error(
        "is needed by itself or by a library beside it as {library}, a name that it loses in the store; give it that \
         name with -Wl,-soname,{library}"
    )]
    NeededByItself {
        /// As it is needed.
        library: String,
    },
    /// All of them are watched.
    #[error("searches too many places for libraries, or uses names that are too long; shorten its RUNPATH")]
    TooManyPlaces,
    /// A chain without an end.
    #[error("needs more than {most} libraries beside it; link some of them into others")]
    TooManySiblings {
        /// How many may be.
        most: usize,
    },
    /// The plugin and all its siblings.
    #[error(
        "has {size} bytes with the libraries beside it, more than max_plugin_size allows ({max}); strip them, or raise \
         max_plugin_size"
    )]
    TooLargeTogether {
        /// Bytes found.
        size: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// A library is there, but too old.
    #[error("needs version {version} of {library}, which is older here; install a newer one, or build on this system")]
    MissingVersion {
        /// The library that is too old.
        library: String,
        /// The symbol version asked for.
        version: String,
        /// The loader's error.
        detail: String,
    },
    /// An undefined symbol that nothing defines.
    #[error("needs the symbol {symbol}, which no library it links to has; link the one that defines it")]
    MissingSymbol {
        /// As the loader names it.
        symbol: String,
        /// The loader's error.
        detail: String,
    },

    // Its entry.
    /// Nothing of that name is exported.
    #[error("does not export {symbol}; {hint}")]
    NoEntry {
        /// Prefix and function.
        symbol: String,
        /// What it exports instead, and what to do.
        hint: String,
        /// How many other entries it has.
        others: usize,
    },
    /// A function, a thread-local, another size, other bytes.
    #[error(
        "exports {symbol} as {what}, not as the entry of a function; put #[function] on it and build with gm-plugin-api"
    )]
    NotAnEntry {
        /// Prefix and function.
        symbol: String,
        /// What it is.
        what: String,
    },

    /// A relocation of that name, and nothing loaded before that would answer it.
    #[error(
        "calls a C function {symbol}, but its entry has the same name: the call would run into the entry and crash; \
         give the Gearman function another name"
    )]
    CallsItsEntry {
        /// Prefix and function.
        symbol: String,
    },

    // Loading it.
    /// dlopen or dlsym refused, for none of the reasons above.
    #[error("cannot be loaded: {reason}")]
    NotLoadable {
        /// The loader's error, cut.
        reason: String,
        /// The loader's error.
        detail: String,
    },
    /// dlopen refused for want of something that the system may have again later.
    #[error("cannot be loaded right now: {reason}")]
    NotLoadableNow {
        /// The loader's error, cut.
        reason: String,
        /// The loader's error.
        detail: String,
    },
    /// An entry, but not as this manager lays it out.
    #[error(
        "exports {symbol} as an entry of {size} bytes, which has {ours} here; build it with the gm-plugin-api of this \
         release"
    )]
    OtherEntry {
        /// Prefix and function.
        symbol: String,
        /// Its size in bytes.
        size: u64,
        /// The size this manager knows.
        ours: u64,
    },
    /// An entry of a kind that this manager does not load yet.
    #[error("exports {symbol} as an entry for C, which this gm-native does not support; a newer one may")]
    LaterEntry {
        /// Prefix and function.
        symbol: String,
    },
    /// Another version of the interface.
    #[error(
        "is built for interface {built}, this manager knows {ours}; build it with the gm-plugin-api of this release, \
         or update gm-native"
    )]
    Interface {
        /// Of the library.
        built: String,
        /// Of the manager.
        ours: String,
    },
    /// The versions go together and the types do not.
    #[error(
        "differs from interface {ours}, for which it says it is built; build it with the gm-plugin-api of this release"
    )]
    Layout {
        /// The interface.
        ours: String,
        /// The difference, at length.
        detail: String,
    },

    // How the probe ended without a report.
    /// Its own code ran for too long.
    #[error("did not load within {seconds} s: one of its constructors does not return; fix it, or raise probe_timeout")]
    Hung {
        /// The deadline.
        seconds: u64,
    },
    /// The file system took too long.
    #[error(
        "could not be copied within {seconds} s: its file system is slow or hangs; raise probe_timeout if it is only \
         slow"
    )]
    CopyHung {
        /// The deadline.
        seconds: u64,
    },
    /// exit in a constructor.
    #[error("exited with code {code} while loading; a constructor must return, not exit")]
    Exited {
        /// The exit code.
        code: i32,
    },
    /// glibc's loader gives up that way.
    #[error("made the system's loader give up; it is damaged: copy it again, or build it again")]
    LoaderGaveUp,
    /// A crash in a constructor.
    #[error("crashed with {signal} while loading (in a constructor, or it is damaged); try it under a debugger")]
    Crashed {
        /// By name.
        signal: String,
    },
    /// SIGKILL.
    #[error("was killed during the check, probably for lack of memory")]
    Killed,
    /// The probe ended before the library was loaded: not the library's doing.
    #[error("was not checked: the probe {how} before loading it; please report this")]
    ProbeDied {
        /// How it ended.
        how: String,
    },
    /// A report without the nonce, or none because the descriptor was closed.
    #[error("{what} file descriptors that it did not open; a constructor may use only its own")]
    Meddled {
        /// Closed, or wrote to.
        what: String,
    },
}

impl Rejection {
    /// What a command that is given one file can do beside what the sentence says; follows it.
    pub(crate) fn command_advice(&self) -> &'static str {
        match self {
            Rejection::NoEntry { others: 1.., .. } => "; or name the function with --function NAME",
            _ => "",
        }
    }

    /// Whether it is a library without a function, which a plugin may need.
    pub fn is_no_plugin(&self) -> bool {
        match self {
            Rejection::NoEntry { others, .. } => *others == 0,
            // What a C library calls like itself is a function of its own, of the C kind.
            Rejection::RustDylib | Rejection::NotAnEntry { .. } => true,
            _ => false,
        }
    }

    /// The same with the store itself named, where a probe could name only the place that it had in it.
    pub fn in_store(self, store: &Path) -> Self {
        let dir = DisplayPath(store).to_string();
        match self {
            Rejection::StoreFull { error, .. } => Rejection::StoreFull { dir, error },
            Rejection::StoreFailed { error, .. } => Rejection::StoreFailed { dir, error },
            Rejection::NoExec { .. } => Rejection::NoExec { dir },
            Rejection::Sibling { reason, .. } if reason.kind() == RejectionKind::StoreUnavailable => {
                reason.in_store(store)
            }
            other => other,
        }
    }

    /// For an error of the system's on opening a file or on the way to it, and the text about it.
    pub(super) fn cannot_open(words: String, error: &io::Error) -> Self {
        if is_transient(error) { Rejection::CannotOpenNow(words) } else { Rejection::CannotOpen(words) }
    }

    /// The sentence with the file it is about in front.
    pub fn about<'a>(&'a self, path: &'a Path) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| write!(f, "{} {self}", DisplayPath(path)))
    }

    /// What else is known, for the debug log: the loader's own error, or the interface's mismatch report.
    pub fn detail(&self) -> Option<&str> {
        if let Rejection::Sibling { reason, .. } = self {
            return reason.detail();
        }
        let (Rejection::MissingLibrary { detail, .. }
        | Rejection::NoSibling { detail, .. }
        | Rejection::NotLookedFor { detail, .. }
        | Rejection::MissingVersion { detail, .. }
        | Rejection::MissingSymbol { detail, .. }
        | Rejection::NotLoadable { detail, .. }
        | Rejection::NotLoadableNow { detail, .. }
        | Rejection::Layout { detail, .. }) = self
        else {
            return None;
        };
        (!detail.is_empty()).then_some(detail)
    }
}

#[cfg(test)]
mod tests;
