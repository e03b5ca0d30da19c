//! The control socket in the file system.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Access;
use crate::system::errors::reason_at;
use crate::system::lock::has_ended;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, setsockopt, socket,
    sockopt,
};
use nix::sys::stat::{Mode, fchmod, umask};
use nix::sys::time::TimeVal;

/// The longest path a socket address holds, in bytes.
const LONGEST: usize = 107;

/// How long a manager at the path may take to answer before it counts as dead.
const PROBE: Duration = Duration::from_secs(1);

/// A bound control socket that listens. Dropping it removes the file, if it is still ours.
#[derive(Debug)]
pub struct ControlListener {
    pub(super) listener: UnixListener,
    pub(super) file: SocketFile,
    pub(super) access: Access,
}

/// The control socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A manager answers at this path.
    #[error("{} answers at control socket {}; stop it, or name another with control", listener(*pid), path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
        /// Who listens, if known: not if it is so busy or stuck that it accepts no connection.
        pid: Option<i32>,
    },
    /// Something that is no socket is at the path.
    #[error("{} is no socket and in the way of the control socket; move it, or change control", path.display())]
    InTheWay {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot bind control socket {}: {}", path.display(), reason_at(path, .source))]
    Failed {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

fn listener(pid: Option<i32>) -> String {
    pid.map_or_else(|| "another process".into(), |pid| format!("another process (pid {pid})"))
}

impl ControlListener {
    /// Binds the socket, with its mode from the start, replacing one at which nothing answers. May wait a second for a
    /// stopped process there.
    ///
    /// # Errors
    ///
    /// A manager answers at the path, something else is there, or the system refuses.
    pub fn bind(path: &Path, access: Access) -> Result<Self, BindError> {
        let failed = |source: io::Error| BindError::Failed { path: path.to_owned(), source };
        let path = std::path::absolute(path).map_err(failed)?;
        remove_stale(&path)?;
        let listener = listen_at(&path, access.mode()).map_err(failed)?;
        let found = path.symlink_metadata().map_err(failed)?;
        let file = SocketFile { path, device: found.dev(), inode: found.ino() };
        Ok(Self { listener: UnixListener::from(listener), file, access })
    }
}

/// The socket's name in the file system.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Whether the path still leads to our socket.
    pub(super) fn is_in_place(&self) -> bool {
        let found = self.path.symlink_metadata();
        found.is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode))
    }

    /// Removes the socket, if it is still ours.
    pub(super) fn remove(&self) {
        if self.is_in_place() {
            // If it cannot be removed it is stale, and the next manager removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

fn listen_at(path: &Path, mode: Mode) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // Linux creates the file with the mode of the unbound socket, less the umask: others can never connect.
    fchmod(&socket, mode)?;
    // Else a umask would close the group's socket to it. No other thread of the manager's makes files meanwhile.
    let before = umask(Mode::from_bits_truncate(0o117));
    let bound = with_address(path, |address| bind(socket.as_raw_fd(), address));
    umask(before);
    bound?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(socket)
}

/// Removes a socket at which nothing answers any more.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let failed = |source: io::Error| BindError::Failed { path: path.to_owned(), source };
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::InTheWay { path: path.to_owned() }),
        Ok(_) => {}
    }
    match connect_to(path, PROBE) {
        Ok(stream) => {
            let pid = getsockopt(&stream, sockopt::PeerCredentials).ok().map(|peer| peer.pid());
            // A child of a killed manager has a copy of its socket until the child has executed its program.
            if pid.and_then(|pid| u32::try_from(pid).ok()).is_some_and(has_ended) {
                return fs::remove_file(path).map_err(failed);
            }
            Err(BindError::InUse { path: path.to_owned(), pid })
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(BindError::InUse { path: path.to_owned(), pid: None })
        }
        Err(error) => Err(failed(error)),
    }
}

/// Connects; waits at most `timeout` if the listener is too busy to accept.
pub(super) fn connect_to(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Connecting a unix socket waits as long as a send may.
    let micros = i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX).max(1);
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(micros / 1_000_000, micros % 1_000_000))?;
    with_address(path, |address| connect(socket.as_raw_fd(), address))?;
    Ok(UnixStream::from(socket))
}

/// Calls with an address for a path of any length: one that is too long is reached through a descriptor of its
/// directory.
fn with_address<T>(path: &Path, call: impl FnOnce(&UnixAddr) -> nix::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= LONGEST {
        return Ok(call(&UnixAddr::new(path)?)?);
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::EINVAL.into()) };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let directory = OpenOptions::new().read(true).custom_flags(flags.bits()).open(directory)?;
    let mut short = OsString::from(format!("/proc/self/fd/{}/", directory.as_raw_fd()));
    short.push(name);
    if short.as_bytes().len() > LONGEST {
        return Err(Errno::ENAMETOOLONG.into());
    }
    Ok(call(&UnixAddr::new(Path::new(&short))?)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// H8.
    #[test]
    fn only_its_owner_may_connect_and_the_file_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let listener = ControlListener::bind(&path, Access::Full).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(listener.file.is_in_place());
        connect_to(&path, PROBE).unwrap();
        drop(listener);
        assert!(!path.exists());
    }

    /// H18.
    #[test]
    fn the_group_may_connect_to_its_socket_whatever_the_umask() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("read-only.sock");
        let before = umask(Mode::from_bits_truncate(0o077));
        let listener = ControlListener::bind(&path, Access::ReadOnly);
        let kept = umask(before);
        assert_eq!(kept, Mode::from_bits_truncate(0o077));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o660);
        drop(listener.unwrap());
    }

    #[test]
    fn a_path_of_any_length() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("d".repeat(100)).join("e".repeat(200));
        fs::create_dir_all(&long).unwrap();
        let path = long.join("control.sock");
        let listener = ControlListener::bind(&path, Access::Full).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        connect_to(&path, PROBE).unwrap();
        drop(listener);
        assert!(!path.exists());
        let error = ControlListener::bind(&long.join("n".repeat(108)), Access::Full).unwrap_err();
        assert!(error.to_string().contains("File name too long"), "{error}");
        // About where the address would end.
        let base = dir.path().join("d".repeat(60));
        fs::create_dir(&base).unwrap();
        for length in LONGEST - 2..LONGEST + 3 {
            let path = base.join("x".repeat(length - base.as_os_str().len() - 1));
            let _listener = ControlListener::bind(&path, Access::Full).unwrap();
            connect_to(&path, PROBE).unwrap();
        }
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _listener = ControlListener::bind(&path, Access::Full).unwrap();
        connect_to(&path, PROBE).unwrap();
    }

    #[test]
    fn one_that_answers_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let _listener = ControlListener::bind(&path, Access::Full).unwrap();
        let error = ControlListener::bind(&path, Access::Full).unwrap_err();
        let pid = std::process::id() as i32;
        assert!(matches!(error, BindError::InUse { pid: Some(found), .. } if found == pid), "{error}");
        assert!(path.exists());
    }

    /// M1: like a child that a manager was starting when it was killed.
    #[test]
    fn one_whose_listener_has_ended_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let script = "my $s = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 5) or die; exit if fork; <STDIN>";
        let mut perl = std::process::Command::new("perl");
        perl.args(["-MIO::Socket::UNIX", "-e", script]).arg(&path).stdin(std::process::Stdio::piped());
        let mut perl = perl.spawn().unwrap();
        // The end of its input ends the child.
        let input = perl.stdin.take();
        assert!(perl.wait().unwrap().success());
        connect_to(&path, PROBE).unwrap();
        ControlListener::bind(&path, Access::Full).unwrap();
        drop(input);
    }

    /// H3.
    #[test]
    fn what_is_no_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(ControlListener::bind(&path, Access::Full), Err(BindError::InTheWay { .. })));
        fs::remove_file(&path).unwrap();
        // A planted link is not followed, whether it leads to something or nowhere.
        let elsewhere = dir.path().join("elsewhere");
        symlink(&elsewhere, &path).unwrap();
        assert!(matches!(ControlListener::bind(&path, Access::Full), Err(BindError::InTheWay { .. })));
        assert!(!elsewhere.exists());
    }

    #[test]
    fn another_ones_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let first = ControlListener::bind(&path, Access::Full).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!first.file.is_in_place());
        let second = ControlListener::bind(&path, Access::Full).unwrap();
        drop(first);
        assert!(second.file.is_in_place());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = ControlListener::bind(Path::new("/nonexistent/control.sock"), Access::Full).unwrap_err();
        assert!(error.to_string().starts_with("cannot bind control socket /nonexistent/control.sock"), "{error}");
    }
}
