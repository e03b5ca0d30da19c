//! Who owns a file, and how messages name the owner.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Uid, User};

/// The owner of what is at a path or, if that cannot be examined, of the first directory above it that can.
pub(crate) fn owner(path: &Path) -> Option<Uid> {
    let found = path.ancestors().find_map(|part| match part.symlink_metadata() {
        Ok(found) => Some(Some(found.uid())),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
        Err(_) => Some(None),
    });
    found.flatten().map(Uid::from_raw)
}

/// A user in a sentence. May block as long as the machine's user database does.
pub(crate) fn named(uid: Uid) -> String {
    match User::from_uid(uid) {
        Ok(Some(user)) => format!("user {} (uid {uid})", user.name),
        _ => format!("uid {uid}"),
    }
}

/// A user's name, where it has one. May block as [`named`].
pub(crate) fn user_name(uid: Uid) -> Option<String> {
    User::from_uid(uid).ok().flatten().map(|user| user.name)
}

/// A user as the argument of `sudo -u`.
pub(crate) fn for_sudo(uid: Uid) -> String {
    user_name(uid).unwrap_or_else(|| format!("'#{uid}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named() {
        assert_eq!(named(Uid::from_raw(0)), "user root (uid 0)");
        assert_eq!(named(Uid::from_raw(4_000_000_000)), "uid 4000000000");
        assert_eq!(for_sudo(Uid::from_raw(4_000_000_000)), "'#4000000000'");
        assert_eq!(owner(Path::new("/proc/1")), Some(Uid::from_raw(0)));
        assert_eq!(owner(Path::new("/nowhere/at/all")), None);
    }
}
