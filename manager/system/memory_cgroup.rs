//! The control group (cgroup v2 or v1) that limits this process's memory: its limit, and how many processes the kernel's
//! out-of-memory killer has killed in it.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use nix::libc;

/// Files of the kernel are read up to this many bytes; the list of mounts is the longest.
const MAX_BYTES: u64 = 1 << 20;
/// A limit of this many bytes or more is none: version 1 writes the largest number of whole pages.
const UNLIMITED: u64 = 1 << 60;

/// The group.
#[derive(Debug)]
pub(crate) struct MemoryCgroup {
    root: PathBuf,
    /// What `/proc/self/cgroup` said when the group was found.
    membership: String,
    dir: PathBuf,
    /// Where the file system of the groups is mounted.
    mount: PathBuf,
    version: CgroupVersion,
}

/// The version of the kernel's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CgroupVersion {
    One,
    Two,
}

/// What the kernel counts in a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OutOfMemoryCounts {
    /// Processes that the out-of-memory killer has killed.
    pub kills: u64,
    /// How often the limit of the group, or of a group in it, was reached and nothing could be freed. Version 1 does
    /// not count that.
    pub limit_reached: Option<u64>,
}

impl MemoryCgroup {
    /// The group of this process, as it is seen below this root directory.
    pub(crate) fn of_this_process(root: &Path) -> Option<Self> {
        let membership = read(&root.join("proc/self/cgroup"))?;
        let mounts = read(&root.join("proc/self/mountinfo"))?;
        let (version, path) = membership_of(&membership)?;
        let (mount, dir) = mounts.lines().find_map(|line| mounted(line, version, path))?;
        let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        let group = Self { root: root.to_owned(), dir: below(&dir), mount: below(&mount), version, membership };
        group.counts().is_some().then_some(group)
    }

    /// Whether this process is still in the group.
    pub(crate) fn is_current(&self) -> bool {
        read(&self.root.join("proc/self/cgroup")).is_some_and(|membership| membership == self.membership)
    }

    /// What the kernel has counted so far.
    pub(crate) fn counts(&self) -> Option<OutOfMemoryCounts> {
        let file = match self.version {
            CgroupVersion::One => "memory.oom_control",
            CgroupVersion::Two => "memory.events",
        };
        let text = read(&self.dir.join(file))?;
        Some(OutOfMemoryCounts { kills: value(&text, "oom_kill")?, limit_reached: value(&text, "oom") })
    }

    /// The smallest limit of the group and those that it is in, in bytes.
    pub(crate) fn limit(&self) -> Option<u64> {
        let bytes = match self.version {
            CgroupVersion::One => value(&read(&self.dir.join("memory.stat"))?, "hierarchical_memory_limit"),
            CgroupVersion::Two => {
                let groups = self.dir.ancestors().take_while(|dir| dir.starts_with(&self.mount));
                groups.filter_map(|dir| read(&dir.join("memory.max"))?.trim().parse().ok()).min()
            }
        };
        bytes.filter(|bytes| *bytes < UNLIMITED)
    }
}

/// The version of the interface that has the memory controller, and the path of the group.
fn membership_of(text: &str) -> Option<(CgroupVersion, &Path)> {
    let groups = || text.lines().filter_map(|line| line.splitn(3, ':').collect::<Vec<_>>().try_into().ok());
    let find = |is_it: &dyn Fn(&str, &str) -> bool| {
        groups().find(|[number, controllers, _]: &[&str; 3]| is_it(number, controllers)).map(|[.., path]| path)
    };
    let first = find(&|_, controllers| controllers.split(',').any(|controller| controller == "memory"));
    let second = || find(&|number, controllers| number == "0" && controllers.is_empty());
    let (version, path) = match first {
        Some(path) => (CgroupVersion::One, path),
        None => (CgroupVersion::Two, second()?),
    };
    // A path with `..` leads out of this process's cgroup namespace.
    let path = Path::new(path);
    path.components().all(|part| part != Component::ParentDir).then_some((version, path))
}

/// If this line of `mountinfo` is the mount of the groups: where that is, and the directory of the group in it.
fn mounted(line: &str, version: CgroupVersion, path: &Path) -> Option<(PathBuf, PathBuf)> {
    let (mount, file_system) = line.split_once(" - ")?;
    let [kind, _, options] = file_system.splitn(3, ' ').collect::<Vec<_>>().try_into().ok()?;
    let is_it = match version {
        CgroupVersion::One => kind == "cgroup" && options.split(',').any(|option| option == "memory"),
        CgroupVersion::Two => kind == "cgroup2",
    };
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let inside = path.strip_prefix(unescaped(root)).ok().filter(|_| is_it)?;
    let point = PathBuf::from(unescaped(point));
    let dir = point.join(inside);
    Some((point, dir))
}

/// The kernel writes a space in a path as `\040`.
fn unescaped(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// The number in the line that begins with this name.
fn value(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(key, _)| *key == name).and_then(|(_, number)| number.trim().parse().ok())
}

/// A bounded part of a file, which never makes this process wait.
fn read(path: &Path) -> Option<String> {
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_group_is_where_proc_says() {
        let one = |path: &'static str| Some((CgroupVersion::One, Path::new(path)));
        let two = |path: &'static str| Some((CgroupVersion::Two, Path::new(path)));
        for (text, expected) in [
            ("9:name=systemd:/\n4:memory:/a/b\n0::/\n", one("/a/b")),
            ("4:cpu,memory:/a:b\n", one("/a:b")),
            ("0::/system.slice/gm-native.service\n", two("/system.slice/gm-native.service")),
            ("0::/../other\n", None),
            ("3:cpu:/\n", None),
            ("memory\n\n:::", None),
            ("", None),
        ] {
            assert_eq!(membership_of(text), expected, "{text}");
        }
    }

    #[test]
    fn the_group_is_found_in_the_mounts() {
        let find = |mounts: &str, version, path: &str| {
            mounts.lines().find_map(|line| mounted(line, version, Path::new(path))).map(|(_, dir)| dir)
        };
        for (mounts, version, path, expected) in [
            (MOUNTS, CgroupVersion::One, "/a/b", Some("/sys/fs/cgroup/memory/a/b")),
            (MOUNTS, CgroupVersion::Two, "/", Some("/sys/fs/cgroup/unified/")),
            // A container without a cgroup namespace: its group is the root of the mount.
            (
                "1 2 0:3 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw",
                CgroupVersion::Two,
                "/docker/abc/x",
                Some("/sys/fs/cgroup/x"),
            ),
            ("1 2 0:3 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw", CgroupVersion::Two, "/docker/abcd", None),
            ("1 2 0:3 / /my\\040groups ro - cgroup2 cgroup rw", CgroupVersion::Two, "/x", Some("/my groups/x")),
            ("1 2 0:3 / /sys/fs/cgroup ro - cgroup cgroup rw,cpu", CgroupVersion::One, "/x", None),
            ("no mount", CgroupVersion::One, "/x", None),
        ] {
            assert_eq!(find(mounts, version, path).as_deref(), expected.map(Path::new), "{path} in {mounts}");
        }
    }

    #[test]
    fn version_2_counts_kills_and_has_the_smallest_limit_on_the_way() {
        let group = "sys/fs/cgroup/unified/a/b";
        let root = root(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("proc/self/mountinfo", MOUNTS),
            (&format!("{group}/memory.events"), "low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\noom_group_kill 0\n"),
            (&format!("{group}/memory.max"), "max\n"),
            ("sys/fs/cgroup/unified/a/memory.max", "67108864\n"),
        ]);
        let found = MemoryCgroup::of_this_process(root.path()).unwrap();
        assert_eq!(found.counts(), Some(OutOfMemoryCounts { kills: 3, limit_reached: Some(2) }));
        assert_eq!(found.limit(), Some(64 << 20));
        assert!(found.is_current());
        fs::write(root.path().join("proc/self/cgroup"), "0::/other\n").unwrap();
        assert!(!found.is_current());
        fs::write(root.path().join(group).join("memory.events"), "nonsense").unwrap();
        assert_eq!(found.counts(), None);
    }

    #[test]
    fn version_1_counts_kills() {
        let group = "sys/fs/cgroup/memory/a";
        let files = |limit: &str| {
            root(&[
                ("proc/self/cgroup", "4:memory:/a\n0::/\n"),
                ("proc/self/mountinfo", MOUNTS),
                (&format!("{group}/memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
                (&format!("{group}/memory.stat"), &format!("cache 0\nhierarchical_memory_limit {limit}\n")),
            ])
        };
        for (limit, expected) in [("1048576", Some(1 << 20)), ("9223372036854771712", None), ("x", None)] {
            let root = files(limit);
            let found = MemoryCgroup::of_this_process(root.path()).unwrap();
            assert_eq!(found.counts(), Some(OutOfMemoryCounts { kills: 1, limit_reached: None }));
            assert_eq!(found.limit(), expected);
        }
    }

    #[test]
    fn without_the_files_there_is_no_group() {
        assert!(MemoryCgroup::of_this_process(Path::new("/nowhere")).is_none());
        let empty = root(&[("proc/self/cgroup", "0::/\n"), ("proc/self/mountinfo", MOUNTS)]);
        assert!(MemoryCgroup::of_this_process(empty.path()).is_none(), "it has no counts");
    }
}
