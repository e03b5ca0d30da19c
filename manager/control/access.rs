//! Who may use a control socket, and for what.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;

use super::SOCKET_NAME;
use super::messages::{ControlRequest, ErrorCode, RequestError};

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything, for root and the user the manager runs as.
    Full,
    /// Looking, for whom the mode of the socket and of its directory admit: the members of a group.
    ReadOnly,
}

impl Access {
    /// The socket's mode.
    pub(super) fn mode(self) -> Mode {
        let own = Mode::S_IRUSR | Mode::S_IWUSR;
        match self {
            Self::Full => own,
            Self::ReadOnly => own | Mode::S_IRGRP | Mode::S_IWGRP,
        }
    }

    /// Whether this user may connect, once the mode has admitted it.
    pub(super) fn admits(self, peer: u32, own: u32) -> bool {
        self == Self::ReadOnly || peer == 0 || peer == own
    }

    /// The most connections at a time. The two sockets do not take each other's.
    pub(super) fn most_connections(self) -> usize {
        match self {
            Self::Full => super::MAX_CONNECTIONS,
            Self::ReadOnly => super::MAX_READ_ONLY_CONNECTIONS,
        }
    }

    /// Why a request is refused here, if it is.
    pub(super) fn refusal(self, request: &ControlRequest, own: u32) -> Option<RequestError> {
        let text = || {
            format!(
                "you may look at this manager, as a member of its control_group (status, events, versions), and not change \
                 what it does: only root and uid {own} may"
            )
        };
        (self == Self::ReadOnly && !request.only_reads()).then(|| RequestError::new(ErrorCode::Forbidden, text()))
    }
}

/// The directory and the name of the read-only socket of the manager with this control socket: beside the state
/// directory, which only its user may enter.
pub(crate) fn read_only_socket(control: &Path) -> (PathBuf, PathBuf) {
    let beside = match control.parent() {
        Some(state_dir) if control.file_name().is_some_and(|name| name == SOCKET_NAME) => state_dir,
        _ => control,
    };
    let mut directory = OsString::from(beside);
    directory.push(".group");
    let directory = PathBuf::from(directory);
    let socket = directory.join(READ_ONLY_NAME);
    (directory, socket)
}

/// Not [`SOCKET_NAME`], by which managers are found.
const READ_ONLY_NAME: &str = "read-only.sock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_read_only_socket_is() {
        for (control, directory) in [
            ("/var/lib/gm-native/gm-1/control.sock", "/var/lib/gm-native/gm-1.group"),
            ("/run/gm.sock", "/run/gm.sock.group"),
            ("/run/gm/a.sock", "/run/gm/a.sock.group"),
        ] {
            let socket = Path::new(directory).join("read-only.sock");
            assert_eq!(read_only_socket(Path::new(control)), (directory.into(), socket));
        }
    }

    #[test]
    fn what_may_be_asked() {
        let looks = [
            ControlRequest::Status { workers: true },
            ControlRequest::Ping,
            ControlRequest::Versions,
            ControlRequest::Events { follow: true },
        ];
        for request in looks {
            assert_eq!(Access::ReadOnly.refusal(&request, 7), None, "{request:?}");
        }
        let function = || "f".into();
        let steers = [
            ControlRequest::Stop,
            ControlRequest::Reload,
            ControlRequest::Restart { function: None },
            ControlRequest::Kill { pid: Some(7), handle: None },
            ControlRequest::Pause { function: function(), drain: false },
            ControlRequest::Resume { function: function() },
            ControlRequest::Scale { function: function(), workers: 1 },
            ControlRequest::LogLevel { level: 5, milliseconds: None },
            ControlRequest::Retry { function: function() },
            ControlRequest::Rollback { function: function(), hash: None, force: false },
        ];
        for request in steers {
            assert_eq!(Access::Full.refusal(&request, 7), None, "{request:?}");
            let refusal = Access::ReadOnly.refusal(&request, 7).expect("it changes something");
            assert_eq!(refusal.code, ErrorCode::Forbidden);
            assert!(refusal.text.contains("only root and uid 7 may"), "{}", refusal.text);
        }
    }

    #[test]
    fn who_is_admitted() {
        for (access, peer, own, is_admitted) in [
            (Access::Full, 0, 0, true),
            (Access::Full, 0, 1000, true),
            (Access::Full, 1000, 1000, true),
            (Access::Full, 1000, 0, false),
            (Access::Full, 1001, 1000, false),
            (Access::ReadOnly, 1001, 1000, true),
        ] {
            assert_eq!(access.admits(peer, own), is_admitted, "{access:?}: uid {peer} asks a manager of uid {own}");
        }
    }
}
