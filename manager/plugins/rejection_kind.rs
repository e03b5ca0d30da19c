//! Which rejections last until the file changes, and which may pass by themselves. Pure.

use std::io;

use nix::libc;

use super::rejection::Rejection;

/// When the same file may load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionKind {
    /// Not before the file changes.
    Permanent,
    /// Not before a directory above it has another owner, or is closed to others.
    UntrustedPlace,
    /// Perhaps later: there was no memory, process or descriptor left, a busy machine missed a deadline, a disk failed.
    Transient,
    /// Once the store has room or can be written to.
    StoreUnavailable,
}

impl RejectionKind {
    /// Whether the cause is outside the file, and may affect other files as well.
    pub fn is_shared(self) -> bool {
        matches!(self, Self::UntrustedPlace | Self::StoreUnavailable)
    }
}

impl Rejection {
    /// When the same file may load.
    pub fn kind(&self) -> RejectionKind {
        use Rejection::{
            CannotOpenNow, CannotRead, Changing, CopyHung, Distrusted, Hung, Killed, NoExec, NotLoadableNow, ProbeDied,
            Sibling, StoreFailed, StoreFull,
        };
        match self {
            StoreFull { .. } | StoreFailed { .. } | NoExec { .. } => RejectionKind::StoreUnavailable,
            CannotOpenNow(_) | CannotRead(_) | Changing | NotLoadableNow { .. } => RejectionKind::Transient,
            Hung { .. } | CopyHung { .. } | Killed | ProbeDied { .. } => RejectionKind::Transient,
            Distrusted { is_place: true, .. } => RejectionKind::UntrustedPlace,
            Sibling { reason, .. } => reason.kind(),
            _ => RejectionKind::Permanent,
        }
    }
}

/// Whether an error about a path may pass without a change to that path.
pub(super) fn is_transient(error: &io::Error) -> bool {
    const ABOUT_THE_PATH: &[i32] = &[
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
    error.raw_os_error().is_some_and(|code| !ABOUT_THE_PATH.contains(&code))
}
