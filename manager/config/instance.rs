//! Which manager this is, and where it keeps its things when nobody says.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The name of a manager that has no configuration file.
const UNNAMED: &str = "workers";

/// Longest part of a file name in an instance, in bytes: the socket's path has 108 in all.
const LONGEST_STEM: usize = 32;

/// The name that tells the managers of one machine apart: stem of the configuration file and 8 hex digits of the hash
/// of its path, which must be canonical; without a file, of the worker directories, which must be absolute.
pub fn instance(config_path: Option<&Path>, worker_dirs: &[PathBuf]) -> String {
    let mut hash = Sha256::new();
    let stem = match config_path {
        Some(path) => {
            hash.update(path.as_os_str().as_bytes());
            path.file_stem().map_or(UNNAMED.to_owned(), plain)
        }
        None => {
            for dir in worker_dirs {
                hash.update(dir.as_os_str().as_bytes());
                // No path holds a NUL, so two lists never hash the same bytes.
                hash.update([0]);
            }
            UNNAMED.to_owned()
        }
    };
    let mut name = stem + "-";
    for byte in &hash.finalize()[..4] {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// A stem as one component of a path that no shell minds.
fn plain(stem: &OsStr) -> String {
    let keep = |(at, c): (usize, char)| {
        if c.is_ascii_alphanumeric() || "-_".contains(c) || (c == '.' && at > 0) { c } else { '_' }
    };
    stem.to_string_lossy().chars().take(LONGEST_STEM).enumerate().map(keep).collect()
}

/// The state directory where none is configured: `/var/lib/gm-native/INSTANCE` for root; for a user
/// `$XDG_STATE_HOME/gm-native/INSTANCE`, or `~/.local/state/gm-native/INSTANCE`. `None`: a user without either.
pub fn default_state_dir(
    euid: u32,
    xdg_state_home: Option<&OsStr>,
    home: Option<&OsStr>,
    instance: &str,
) -> Option<PathBuf> {
    // The XDG specification: a relative path is to be ignored.
    let absolute = |path: &OsStr| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let base = match euid {
        0 => PathBuf::from("/var/lib"),
        _ => xdg_state_home
            .and_then(absolute)
            .or_else(|| home.and_then(absolute).map(|home| home.join(".local/state")))?,
    };
    Some(base.join("gm-native").join(instance))
}

/// The control socket where none is configured.
pub fn default_control(state_dir: &Path) -> PathBuf {
    state_dir.join("control.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_its_file() {
        let of = |path: &str| instance(Some(Path::new(path)), &[]);
        assert_eq!(of("/etc/gm.ini"), "gm-98f6e95a");
        assert_eq!(of("/etc/gm.ini"), instance(Some(Path::new("/etc/gm.ini")), &["/w".into()]));
        assert_ne!(of("/etc/gm.ini"), of("/srv/gm.ini"));
        for (path, stem) in [
            ("/etc/my queue!.ini", "my_queue_"),
            ("/etc/.hidden", "_hidden"),
            ("/etc/a.b.ini", "a.b"),
            ("/etc/caf\u{e9}.ini", "caf_"),
            ("/", "workers"),
        ] {
            assert_eq!(of(path).rsplit_once('-').map(|(stem, _)| stem), Some(stem));
        }
        assert_eq!(of(&format!("/{}.ini", "x".repeat(200))).len(), 32 + 1 + 8);
    }

    #[test]
    fn without_a_file_it_is_its_directories() {
        let of = |dirs: &[&str]| instance(None, &dirs.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert!(of(&["/w"]).starts_with("workers-"));
        assert_eq!(of(&["/w"]), of(&["/w"]));
        assert_ne!(of(&["/w", "/x"]), of(&["/x", "/w"]));
        assert_ne!(of(&["/w/x"]), of(&["/w", "x"]));
    }

    #[test]
    fn state_directories() {
        let at = |euid, xdg: Option<&str>, home: Option<&str>| {
            default_state_dir(euid, xdg.map(OsStr::new), home.map(OsStr::new), "gm-1")
                .map(|path| path.display().to_string())
        };
        for (euid, xdg, home, expected) in [
            (0, Some("/x"), Some("/root"), Some("/var/lib/gm-native/gm-1")),
            (1000, Some("/x"), Some("/home/u"), Some("/x/gm-native/gm-1")),
            (1000, Some("x"), Some("/home/u"), Some("/home/u/.local/state/gm-native/gm-1")),
            (1000, Some(""), Some("/home/u"), Some("/home/u/.local/state/gm-native/gm-1")),
            (1000, None, Some("/home/u"), Some("/home/u/.local/state/gm-native/gm-1")),
            (1000, None, Some(""), None),
            (1000, None, None, None),
        ] {
            assert_eq!(at(euid, xdg, home).as_deref(), expected);
        }
        assert_eq!(default_control(Path::new("/s")), Path::new("/s/control.sock"));
    }
}
