//! Messages for commands that need another user's manager.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, geteuid};

use super::SOCKET_NAME;
use crate::system::owner::{for_sudo, named, owner};
use crate::system::shell::for_shell;

/// Where the kernel lists the unix sockets of this machine, with the paths they are bound to.
const SOCKETS: &str = "/proc/net/unix";

/// The message of a command that may not use the manager of this control socket.
pub(super) fn not_allowed(socket: &Path) -> String {
    let us = geteuid();
    match owner(socket) {
        Some(owner) if owner != us => format!(
            "the manager at {} belongs to {}, and this is {}: only that user and root may ask it; {}",
            socket.display(),
            named(owner),
            named(us),
            as_user(owner, socket)
        ),
        _ => format!(
            "{} cannot be reached by {}: its directory, or one above, is closed to that user; {}",
            socket.display(),
            named(us),
            as_user(Uid::from_raw(0), socket)
        ),
    }
}

/// A hint to add to "no manager answers at `socket`": where a manager with the same configuration runs that another
/// user started, if there is one. Each user's state has its own place.
pub(super) fn elsewhere(socket: &Path) -> Option<String> {
    let found = same_configuration(socket)?;
    let us = geteuid();
    let owner = owner(&found);
    let whose = owner.map_or_else(|| "another user".into(), named);
    let how = match owner {
        // Its state is where its options say, or in the default place of the user who started it.
        _ if us.is_root() => by_path(&found),
        Some(owner) if owner == us => by_path(&found),
        Some(owner) => as_user(owner, &found),
        None => as_user(Uid::from_raw(0), &found),
    };
    Some(format!("a manager of {whose} with this configuration answers at {}: {how}", found.display()))
}

/// The control socket of a manager with the same configuration that another user has started.
pub(super) fn same_configuration(socket: &Path) -> Option<PathBuf> {
    listening(&fs::read(SOCKETS).ok()?, tail(socket)?).into_iter().find(|path| path != socket)
}

/// The control sockets on which managers listen, of any user, as far as they have the usual name.
pub(crate) fn listening_sockets() -> Vec<PathBuf> {
    listening(&fs::read(SOCKETS).unwrap_or_default(), Path::new(SOCKET_NAME))
}

fn by_path(socket: &Path) -> String {
    format!("run `{}`", typed_at(std::env::args_os(), socket))
}

/// The advice to run the command as root or as the manager's user.
fn as_user(owner: Uid, socket: &Path) -> String {
    let command = typed_at(std::env::args_os(), socket);
    match owner.is_root() {
        true => format!("run `sudo {command}`"),
        false => format!("run `sudo -u {} {command}`, or `sudo {command}`", for_sudo(owner)),
    }
}

/// The command line as its user typed it, with this control socket.
fn typed_at(args: impl Iterator<Item = OsString>, socket: &Path) -> String {
    let mut words = Vec::new();
    let mut args = args.peekable();
    while let Some(word) = args.next() {
        if word == "--control" {
            args.next();
        } else if !word.as_bytes().starts_with(b"--control=") {
            words.push(for_shell(&word));
        }
    }
    format!("{} --control {}", words.join(" "), for_shell(socket.as_os_str()))
}

/// The end of a socket's path that is the same whichever user starts the manager: `gm-native/INSTANCE/control.sock`.
/// None for a path from an option, which is the same for all users.
fn tail(socket: &Path) -> Option<&Path> {
    let instance = socket.parent()?;
    let above = instance.parent()?;
    let usual = socket.file_name()? == SOCKET_NAME && above.file_name()? == "gm-native";
    usual.then(|| socket.strip_prefix(above.parent().unwrap_or(Path::new(""))).ok()).flatten()
}

/// The sockets in the kernel's list that listen at a path with this end. A path may contain spaces: it is the last
/// field of its line.
fn listening(list: &[u8], tail: &Path) -> Vec<PathBuf> {
    let list = String::from_utf8_lossy(list);
    list.lines().filter_map(bound).filter(|path| path.ends_with(tail)).collect()
}

/// The path in a line of that list, if its socket listens: `Num RefCount Protocol Flags Type St Inode Path`, where the
/// flag __SO_ACCEPTCON marks listening sockets.
fn bound(line: &str) -> Option<PathBuf> {
    let mut rest = line;
    let mut flags = "";
    for field in 0..7 {
        rest = rest.trim_start();
        let (word, after) = rest.split_once(' ')?;
        if field == 3 {
            flags = word;
        }
        rest = after;
    }
    let listens = u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & (1 << 16) != 0);
    (listens && rest.starts_with('/')).then(|| PathBuf::from(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_listen_are_found_by_the_end_of_their_paths() {
        let list = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 23 /var/lib/gm-native/gm-1/control.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 24 /home/a/.local/state/gm-native/gm-1/control.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 25 /home/b c/state/gm-native/gm-1/control.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 26 /var/lib/gm-native/gm-2/control.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 27\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 28 @/gm-native/gm-1/other\n";
        let found = listening(list, Path::new("gm-native/gm-1/control.sock"));
        let expected =
            ["/var/lib/gm-native/gm-1/control.sock", "/home/b c/state/gm-native/gm-1/control.sock"].map(PathBuf::from);
        assert_eq!(found, expected);
    }

    #[test]
    fn what_was_typed_is_printed_with_the_socket_that_is_meant() {
        let socket = Path::new("/run/gm 1.sock");
        for (typed, expected) in [
            (&["gm-native", "status"][..], "gm-native status --control '/run/gm 1.sock'"),
            (&["./gm-native", "-c", "a b.ini", "status"], "./gm-native -c 'a b.ini' status --control '/run/gm 1.sock'"),
            (&["gm-native", "--control", "/x", "events"], "gm-native events --control '/run/gm 1.sock'"),
            (&["gm-native", "events", "--control=/x"], "gm-native events --control '/run/gm 1.sock'"),
        ] {
            assert_eq!(typed_at(typed.iter().map(OsString::from), socket), expected);
        }
    }

    #[test]
    fn only_a_place_of_a_users_own_is_looked_for_elsewhere() {
        for (socket, expected) in [
            ("/var/lib/gm-native/gm-1/control.sock", Some("gm-native/gm-1/control.sock")),
            ("/home/a/.local/state/gm-native/gm-1/control.sock", Some("gm-native/gm-1/control.sock")),
            ("/srv/state/control.sock", None),
            ("/run/gm.sock", None),
        ] {
            assert_eq!(tail(Path::new(socket)), expected.map(Path::new), "{socket}");
        }
    }
}
