//! Which refusals hold until a file changes, and which may pass by themselves. Pure.

use std::io;

use nix::libc;

use super::rejection::Rejection;

/// Whether the same file may be good at another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// The file is wrong until it changes.
    Wrong,
    /// What was in the way may pass: no memory, processes or descriptors, a deadline on a busy machine, a failing disk.
    Passing,
    /// The store has no room for it, or cannot be written to.
    NoRoom,
}

impl Rejection {
    /// Whether the same file may be good at another time.
    pub fn lasts(&self) -> Lasts {
        use Rejection::{
            CannotOpenNow, CannotRead, Changing, CopyHung, Hung, Killed, NoExec, NotLoadableNow, ProbeDied, Sibling,
            StoreFailed, StoreFull,
        };
        match self {
            StoreFull { .. } | StoreFailed { .. } | NoExec { .. } => Lasts::NoRoom,
            CannotOpenNow(_) | CannotRead(_) | Changing | NotLoadableNow { .. } => Lasts::Passing,
            Hung { .. } | CopyHung { .. } | Killed | ProbeDied { .. } => Lasts::Passing,
            Sibling { reason, .. } => reason.lasts(),
            _ => Lasts::Wrong,
        }
    }
}

/// Whether an error on looking at a path may pass by itself. Those that say something of the path do not: it has to be
/// changed, and then it is looked at again.
pub(super) fn passes(error: &io::Error) -> bool {
    const OF_THE_PATH: &[i32] = &[
        libc::ENOENT,
        libc::ENOTDIR,
        libc::EACCES,
        libc::EPERM,
        libc::ELOOP,
        libc::ENAMETOOLONG,
        libc::EINVAL,
        libc::ENXIO,
        libc::ENODEV,
        libc::EOVERFLOW,
    ];
    error.raw_os_error().is_some_and(|code| !OF_THE_PATH.contains(&code))
}
