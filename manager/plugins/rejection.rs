//! Every way in which a candidate is rejected: one variant, one sentence. The sentence follows the file's path, and
//! names what is wrong and what to do about it. The system loader's own error, which often misleads, is kept separately
//! as detail.

use std::fmt;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::display_path::DisplayPath;
pub use super::rejection_kind::RejectionKind;
pub(super) use super::rejection_kind::is_transient;

/// Why a candidate does not become a version. Its texts are bounded and safe for a log line (escaped).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    // Opening the file.
    /// It was there when the directory was read.
    #[error("vanished before it could be read")]
    Vanished,
    /// The system's error.
    #[error("cannot be opened: {0}")]
    CannotOpen(String),
    /// The system's error, for a cause that may pass: a failing disk, no descriptors left.
    #[error("cannot be opened right now: {0}")]
    CannotOpenNow(String),
    /// What it is instead.
    #[error("is {0}, not a file")]
    NotAFile(String),
    /// It is too large.
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
        /// The file, or a directory above it.
        path: String,
        /// Owner or mode.
        problem: String,
        /// What to do.
        remedy: String,
        /// It is a directory above the file, so other files below it are rejected for the same cause.
        is_place: bool,
    },
    /// Its size or times changed during the copy.
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
    /// dlopen would only say "failed to map segment".
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
    /// Truncated.
    #[error("was cut short: it ends after {size} bytes, before the end of {part}; copy it again")]
    Truncated {
        /// Bytes found.
        size: u64,
        /// What goes beyond that.
        part: String,
    },
    /// Its content is inconsistent.
    #[error("is damaged: {0}; copy it again, or build it again")]
    Damaged(String),
    /// Without sections a truncated copy looks complete.
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
        /// The library that shows it.
        library: String,
        /// The target to build for.
        target: String,
    },
    /// A shared library that does not exist.
    #[error("needs {library}, which this machine does not have; install it, or link it statically")]
    MissingLibrary {
        /// As the loader names it.
        library: String,
        /// The loader's error.
        detail: String,
    },
    /// A library beside the plugin that exists and is wrong.
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
    /// The loader would find it now, but not from the store.
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
    /// The plugin looks for it beside itself, and it is not there.
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
    /// It is beside the plugin, but no search path includes that directory.
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
    /// Its search path leads to another place from the store.
    #[error(
        "needs {library} and looks for it in {element}, which leads elsewhere from the store; name a directory beside \
         it, as in -Wl,-rpath,'$ORIGIN'"
    )]
    SiblingUnsteady {
        /// As the plugin names it.
        library: String,
        /// The element of its search path.
        element: String,
    },
    /// In the store it has its function's name.
    #[error(
        "is needed by itself or by a library beside it as {library}, a name that it loses in the store; give it that \
         name with -Wl,-soname,{library}"
    )]
    NeededByItself {
        /// As it is needed.
        library: String,
    },
    /// All of those places would have to be watched.
    #[error("searches too many places for libraries, or uses names that are too long; shorten its RUNPATH")]
    TooManyPlaces,
    /// A chain of dependencies without an end.
    #[error("needs more than {most} libraries beside it; link some of them into others")]
    TooManySiblings {
        /// How many are allowed.
        most: usize,
    },
    /// The plugin and its siblings together are too large.
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
    /// A library exists, but is too old.
    #[error("needs version {version} of {library}, which is older here; install a newer one, or build on this system")]
    MissingVersion {
        /// The library that is too old.
        library: String,
        /// The symbol version asked for.
        version: String,
        /// The loader's error.
        detail: String,
    },
    /// A symbol that no library defines.
    #[error("needs the symbol {symbol}, which no library it links to has; link the one that defines it")]
    MissingSymbol {
        /// As the loader names it.
        symbol: String,
        /// The loader's error.
        detail: String,
    },

    // Its entry.
    /// It exports nothing of that name.
    #[error("does not export {symbol}; {hint}")]
    NoEntry {
        /// Prefix and function.
        symbol: String,
        /// What it exports instead, and what to do.
        hint: String,
        /// How many other entries it has.
        others: usize,
    },
    /// A function, a thread-local, another size, or other bytes.
    #[error(
        "exports {symbol} as {what}, not as the entry of a function; put #[function] on it and build with gm-plugin-api, \
         or use GM_FUNCTION in C"
    )]
    NotAnEntry {
        /// Prefix and function.
        symbol: String,
        /// What it is.
        what: String,
    },

    /// A relocation has that name, and nothing loaded earlier would satisfy it.
    #[error(
        "calls a C function {symbol}, but its entry has the same name: the call would run into the entry and crash; \
         give the Gearman function another name"
    )]
    CallsItsEntry {
        /// Prefix and function.
        symbol: String,
    },

    // Loading it.
    /// dlopen or dlsym failed, for none of the reasons above.
    #[error("cannot be loaded: {reason}")]
    NotLoadable {
        /// The loader's error, cut.
        reason: String,
        /// The loader's error.
        detail: String,
    },
    /// dlopen failed for lack of something that the system may have again later.
    #[error("cannot be loaded right now: {reason}")]
    NotLoadableNow {
        /// The loader's error, cut.
        reason: String,
        /// The loader's error.
        detail: String,
    },
    /// An entry, but with another layout than this manager's.
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
    /// An entry for C that is wrong.
    #[error("exports {symbol} as an entry that {wrong}")]
    CEntry {
        /// Prefix and function.
        symbol: String,
        /// What is wrong with it, and what to do.
        wrong: String,
    },
    /// Another version of the interface.
    #[error(
        "is built for interface {built}, this manager knows {ours}; build it with the gm-plugin-api of this release, \
         or update gm-native"
    )]
    Interface {
        /// The library's.
        built: String,
        /// The manager's.
        ours: String,
    },
    /// The versions are compatible but the types differ.
    #[error(
        "differs from interface {ours}, which it claims to be built for; build it with the gm-plugin-api of this release"
    )]
    Layout {
        /// The interface's version.
        ours: String,
        /// The difference in full.
        detail: String,
    },

    // How the probe ended without a report.
    /// Its own code ran too long.
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
    /// A constructor called exit.
    #[error("exited with code {code} while loading; a constructor must return, not exit")]
    Exited {
        /// The exit code.
        code: i32,
    },
    /// glibc's loader exits this way.
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
    /// The probe ended for a reason that is not the library's.
    #[error("was not checked: the probe {how}; please report this")]
    ProbeDied {
        /// How it ended, and when.
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
    /// What a command that checks one file adds to the sentence as advice.
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
            // A C library's symbol with its own name is a function of its own, of the C kind.
            Rejection::RustDylib | Rejection::NotAnEntry { .. } => true,
            _ => false,
        }
    }

    /// The same, naming the store itself where a probe could only name the place it had in it.
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

    /// For a system error from opening a file or a directory on the way to it, and its text.
    pub(super) fn cannot_open(words: String, error: &io::Error) -> Self {
        if is_transient(error) { Rejection::CannotOpenNow(words) } else { Rejection::CannotOpen(words) }
    }

    /// The sentence, preceded by the file it is about.
    pub fn about<'a>(&'a self, path: &'a Path) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| write!(f, "{} {self}", DisplayPath(path)))
    }

    /// More detail for the debug log: the loader's own error, or the report of the layouts.
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
