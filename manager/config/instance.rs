//! Which manager this is, and where it keeps its files by default.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

/// The name of a manager that has no configuration file.
const UNNAMED: &str = "workers";

/// The most bytes of a file's name in an instance: the socket's path may have 108 in all.
const LONGEST_STEM: usize = 32;

/// What distinguishes the managers of one machine: the path of the configuration file as it was given or, without one,
/// the worker directories. Absolute, and links are kept: if you swap releases by a link, the manager stays the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceIdentity {
    /// Of a manager with a configuration file.
    Config(PathBuf),
    /// Of a manager without one.
    WorkerDirs(Vec<PathBuf>),
}

/// Precedes a path in a record.
const CONFIG: &[u8] = b"config ";
const WORKER_DIR: &[u8] = b"worker_dir ";

impl InstanceIdentity {
    /// The manager's name: the stem of the configuration file and 8 hex digits of the hash of its path, or of the
    /// worker directories.
    pub fn instance(&self) -> String {
        let mut hash = Sha256::new();
        let stem = match self {
            Self::Config(path) => {
                hash.update(path.as_os_str().as_bytes());
                path.file_stem().map_or(UNNAMED.to_owned(), plain)
            }
            Self::WorkerDirs(dirs) => {
                for dir in dirs {
                    hash.update(dir.as_os_str().as_bytes());
                    // No path contains a NUL, so two different lists never hash the same bytes.
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

    /// As lines for the state directory, to record whose it is.
    pub fn record(&self) -> Vec<u8> {
        let line = |what: &[u8], path: &Path| [what, path.as_os_str().as_bytes(), b"\n"].concat();
        match self {
            Self::Config(path) => line(CONFIG, path),
            Self::WorkerDirs(dirs) => dirs.iter().flat_map(|dir| line(WORKER_DIR, dir)).collect(),
        }
    }

    /// Reads the record in the state directory of this name. `None` if the record belongs to another name: a user who
    /// may write there can only claim what its name is made of.
    pub fn recorded(record: &[u8], instance: &OsStr) -> Option<Self> {
        let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        let found = match record.strip_prefix(CONFIG) {
            Some(rest) => Self::Config(path(rest.strip_suffix(b"\n")?)),
            None => {
                let lines = record.strip_suffix(b"\n")?.split(|byte| *byte == b'\n');
                Self::WorkerDirs(lines.map(|line| line.strip_prefix(WORKER_DIR).map(path)).collect::<Option<_>>()?)
            }
        };
        (OsStr::new(&found.instance()) == instance).then_some(found)
    }
}

/// The working directory as the shell names it (`$PWD`), if that is correct: keeps the links in it. `is_here` says
/// whether a path leads to the working directory.
pub fn logical_directory(pwd: Option<&OsStr>, is_here: impl FnOnce(&Path) -> bool) -> Option<PathBuf> {
    let pwd = Path::new(pwd?);
    // As POSIX requires: a path with `..` is not used.
    let plain = pwd.is_absolute() && !pwd.components().any(|part| part == Component::ParentDir);
    (plain && is_here(pwd)).then(|| pwd.components().collect())
}

/// A stem as one path component without characters that are special to a shell.
fn plain(stem: &OsStr) -> String {
    let keep = |(at, c): (usize, char)| {
        if c.is_ascii_alphanumeric() || "-_".contains(c) || (c == '.' && at > 0) { c } else { '_' }
    };
    stem.to_string_lossy().chars().take(LONGEST_STEM).enumerate().map(keep).collect()
}

/// The state directory if none is configured: `/var/lib/gm-native/INSTANCE` for root; for a user
/// `$XDG_STATE_HOME/gm-native/INSTANCE`, or `~/.local/state/gm-native/INSTANCE`. `None` for a user without either.
pub fn default_state_dir(
    euid: u32,
    xdg_state_home: Option<&OsStr>,
    home: Option<&OsStr>,
    instance: &str,
) -> Option<PathBuf> {
    // The XDG specification: ignore a relative path.
    let absolute = |path: &OsStr| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let base = match euid {
        0 => PathBuf::from("/var/lib"),
        _ => xdg_state_home
            .and_then(absolute)
            .or_else(|| home.and_then(absolute).map(|home| home.join(".local/state")))?,
    };
    Some(base.join("gm-native").join(instance))
}

/// The control socket if none is configured.
pub fn default_control(state_dir: &Path) -> PathBuf {
    state_dir.join("control.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs(dirs: &[&str]) -> InstanceIdentity {
        InstanceIdentity::WorkerDirs(dirs.iter().map(PathBuf::from).collect())
    }

    #[test]
    fn an_instance_is_its_file() {
        let of = |path: &str| InstanceIdentity::Config(path.into()).instance();
        assert_eq!(of("/etc/gm.ini"), "gm-98f6e95a");
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
        let of = |names: &[&str]| dirs(names).instance();
        assert!(of(&["/w"]).starts_with("workers-"));
        assert_eq!(of(&["/w"]), of(&["/w"]));
        assert_ne!(of(&["/w", "/x"]), of(&["/x", "/w"]));
        assert_ne!(of(&["/w/x"]), of(&["/w", "x"]));
    }

    #[test]
    fn a_record_names_its_instance_and_nothing_else() {
        let bytes = PathBuf::from(OsStr::from_bytes(b"/srv/caf\xe9\nx.ini"));
        for identity in
            [InstanceIdentity::Config("/etc/gm.ini".into()), InstanceIdentity::Config(bytes), dirs(&["/w", "/x y"])]
        {
            let name = identity.instance();
            assert_eq!(InstanceIdentity::recorded(&identity.record(), name.as_ref()), Some(identity.clone()));
            assert_eq!(InstanceIdentity::recorded(&identity.record(), "gm-00000000".as_ref()), None);
        }
        let name = dirs(&["/w"]).instance();
        for record in ["", "\n", "config", "config \n", "worker_dir /w", "worker_dir /w\nconfig /w\n", "\u{0}\n"] {
            assert_eq!(InstanceIdentity::recorded(record.as_bytes(), name.as_ref()), None, "{record:?}");
        }
    }

    #[test]
    fn the_working_directory_is_what_the_shell_calls_it() {
        let of = |pwd: Option<&str>, here: bool| {
            logical_directory(pwd.map(OsStr::new), |_| here).map(|path| path.display().to_string())
        };
        for (pwd, here, expected) in [
            (Some("/srv/current"), true, Some("/srv/current")),
            (Some("//srv/./current/"), true, Some("/srv/current")),
            (Some("/srv/current"), false, None),
            (Some("/srv/current/../current"), true, None),
            (Some("srv"), true, None),
            (Some(""), true, None),
            (None, true, None),
        ] {
            assert_eq!(of(pwd, here).as_deref(), expected, "{pwd:?} {here}");
        }
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
