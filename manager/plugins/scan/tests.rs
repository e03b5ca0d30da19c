use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;

fn identity(ino: u64) -> FileIdentity {
    FileIdentity { dev: 1, ino, size: 10, mtime: (0, 0), ctime: (0, 0) }
}

fn listing(dir: &str, entries: Vec<(&str, PathKind)>) -> Listing {
    let entries = entries.into_iter().map(|(name, what)| (OsString::from(name), what)).collect();
    Listing { dir: dir.into(), read: Ok((Path::new("/real").join(dir), entries)), below: Vec::new() }
}

/// A scan as lines, which is what a case table can show.
fn lines(scan: &ScanResult) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    lines.extend(scan.candidates.iter().map(|(f, c)| format!("+ {f} {} {}", DisplayPath(&c.path), c.identity.ino)));
    lines.extend(scan.skipped.iter().map(|(path, reason)| format!("- {} {reason}", DisplayPath(path))));
    lines.extend(scan.warnings.iter().map(|w| format!("! {w}")));
    lines.extend(scan.failed_dirs.iter().map(|(dir, why)| format!("? {} {why}", DisplayPath(dir))));
    lines
}

#[test]
fn cases() {
    let file = |ino| PathKind::File(identity(ino));
    let gone = |dir: &str| Listing {
        dir: dir.into(),
        read: Err(UnreadableDirectory { text: "is gone".into(), is_transient: false }),
        below: Vec::new(),
    };
    let cases: Vec<(&str, Vec<Listing>, Vec<&str>)> = vec![
        ("nothing", vec![], vec![]),
        ("an empty directory", vec![listing("a", vec![])], vec![]),
        (
            "both spellings of different functions",
            vec![listing("a", vec![("libx.so", file(1)), ("y.so", file(2))])],
            vec!["+ x /real/a/libx.so 1", "+ y /real/a/y.so 2"],
        ),
        (
            "the exact name wins, whichever comes first",
            vec![listing("a", vec![("libz.so", file(1)), ("z.so", file(2)), ("a.so", file(3)), ("liba.so", file(4))])],
            vec![
                "+ a /real/a/a.so 3",
                "+ z /real/a/z.so 2",
                "- /real/a/liba.so is ignored: /real/a/a.so serves the same function",
                "- /real/a/libz.so is ignored: /real/a/z.so serves the same function",
                "! a: /real/a/a.so is served, not /real/a/liba.so: the exact name wins; remove one of them",
                "! z: /real/a/z.so is served, not /real/a/libz.so: the exact name wins; remove one of them",
            ],
        ),
        (
            "the later directory wins, also by its lib name",
            vec![listing("a", vec![("x.so", file(1))]), listing("b", vec![("libx.so", file(2))])],
            vec![
                "+ x /real/b/libx.so 2",
                "- /real/a/x.so is ignored: /real/b/libx.so serves the same function",
                "! x: /real/b/libx.so is served, not /real/a/x.so: the later worker_dir wins; remove one of them",
            ],
        ),
        (
            "a thing that is no file does not hide the file of an earlier directory",
            vec![listing("a", vec![("x.so", file(1))]), listing("b", vec![("x.so", PathKind::Not(SkipReason::Fifo))])],
            vec!["+ x /real/a/x.so 1", "- /real/b/x.so is a FIFO, not a file"],
        ),
        (
            "its kind counts more than its ending",
            vec![listing(
                "a",
                vec![("sub", PathKind::Not(SkipReason::Directory)), (".git", PathKind::Not(SkipReason::Directory))],
            )],
            vec![
                "- /real/a/.git is hidden: its name begins with a dot",
                "- /real/a/sub is a directory; libraries are read from worker_dir itself, not from its subdirectories",
            ],
        ),
        (
            "a directory that fails does not take the others with it",
            vec![gone("a"), listing("b", vec![("x.so", file(1))])],
            vec!["+ x /real/b/x.so 1", "? a is gone"],
        ),
        (
            "one directory under two names",
            vec![
                listing("a", vec![("x.so", file(1))]),
                Listing {
                    dir: "link".into(),
                    read: Ok(("/real/a".into(), vec![("x.so".into(), file(1))])),
                    below: Vec::new(),
                },
            ],
            vec!["+ x /real/a/x.so 1", "! worker_dir link is /real/a again; it is read once"],
        ),
        (
            "names cannot forge lines",
            vec![listing("a", vec![("x\n[2026] all is well", file(1))])],
            vec!["- /real/a/x\\n[2026] all is well does not end in .so"],
        ),
    ];
    for (what, listings, expected) in cases {
        assert_eq!(lines(&decide(listings)), expected, "{what}");
    }
}

#[test]
fn the_order_of_a_directory_does_not_matter() {
    let entries = vec![
        ("b", PathKind::Not(SkipReason::Fifo)),
        ("a", PathKind::Not(SkipReason::Fifo)),
        ("x.so", PathKind::File(identity(1))),
    ];
    let mut backwards = entries.clone();
    backwards.reverse();
    assert_eq!(decide([listing("d", entries)]), decide([listing("d", backwards)]));
}

#[test]
fn a_real_directory() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().canonicalize().unwrap().join("workers-1");
    fs::create_dir_all(dir.join("sub.so")).unwrap();
    fs::write(dir.join("plain.so"), "x").unwrap();
    fs::write(tmp.path().join("elsewhere"), "y").unwrap();
    symlink("../elsewhere", dir.join("linked.so")).unwrap();
    symlink("nowhere\n", dir.join("dangling.so")).unwrap();
    symlink("loop.so", dir.join("loop.so")).unwrap();
    symlink("/dev/null", dir.join("device.so")).unwrap();
    nix::unistd::mkfifo(&dir.join("fifo.so"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _listener = UnixListener::bind(dir.join("socket.so")).unwrap();
    let current = tmp.path().join("current");
    symlink("workers-1", &current).unwrap();

    let scan = scan(&[current.clone(), tmp.path().join("missing"), tmp.path().join("elsewhere")]);
    let functions: Vec<&str> = scan.candidates.keys().map(FunctionName::as_str).collect();
    assert_eq!(functions, ["linked", "plain"]);
    let plain = &scan.candidates[&FunctionName::new("plain").unwrap()];
    assert_eq!((&plain.path, &plain.dir, plain.identity.size), (&dir.join("plain.so"), &current, 1));
    let reasons: Vec<String> = scan
        .skipped
        .iter()
        .map(|(path, reason)| format!("{} {reason}", path.file_name().unwrap().to_str().unwrap()))
        .collect();
    assert_eq!(
        reasons,
        [
            "dangling.so is a link to nowhere\\n, which does not exist",
            "device.so is a device, not a file",
            "fifo.so is a FIFO, not a file",
            "loop.so cannot be inspected: Too many levels of symbolic links",
            "socket.so is a socket, not a file",
            "sub.so is a directory; libraries are read from worker_dir itself, not from its subdirectories",
        ]
    );
    let failed: Vec<String> = scan.failed_dirs.iter().map(|(_, why)| why.clone()).collect();
    let at = tmp.path().display();
    let expected =
        [format!("worker_dir {at}/missing does not exist"), format!("worker_dir {at}/elsewhere is not a directory")];
    assert_eq!(failed, expected);
}

#[test]
fn a_swapped_link_is_followed_again() {
    let tmp = tempfile::tempdir().unwrap();
    for (dir, function) in [("v1", "one.so"), ("v2", "two.so")] {
        fs::create_dir(tmp.path().join(dir)).unwrap();
        fs::write(tmp.path().join(dir).join(function), "").unwrap();
    }
    let current = tmp.path().join("current");
    symlink("v1", &current).unwrap();
    let names = |scan: ScanResult| scan.candidates.into_keys().map(String::from).collect::<Vec<_>>();
    assert_eq!(names(scan(std::slice::from_ref(&current))), ["one"]);
    symlink("v2", tmp.path().join("next")).unwrap();
    fs::rename(tmp.path().join("next"), &current).unwrap();
    assert_eq!(names(scan(&[current])), ["two"]);
}

/// Only libraries that are nowhere else are named: not those that a worker directory has too, not through links, not in
/// hidden directories.
#[test]
fn libraries_in_subdirectories_are_named() {
    let tmp = tempfile::tempdir().unwrap();
    let root = tmp.path().canonicalize().unwrap();
    let dir = root.join("workers");
    for sub in ["one/two", ".git", "many"] {
        fs::create_dir_all(dir.join(sub)).unwrap();
    }
    for file in ["top.so", "one/top.so", "one/libdeep.so", "one/two/deeper.so", ".git/x.so", "one/note.txt"] {
        fs::write(dir.join(file), "").unwrap();
    }
    symlink("one", dir.join("link")).unwrap();
    symlink(".", dir.join("one/loop")).unwrap();
    let warnings_below = |dir: &Path| {
        let warnings = scan(&[dir.to_owned()]).warnings;
        warnings.iter().map(|warning| warning.to_string().replace(root.to_str().unwrap(), "R")).collect::<Vec<_>>()
    };
    assert_eq!(
        warnings_below(&dir),
        ["worker_dir R/workers: subdirectories are not read: move libraries up, or name their directory in \
             worker_dir; \
          not served: R/workers/one/libdeep.so, R/workers/one/two/deeper.so"]
    );
    (0..7).for_each(|n| fs::write(dir.join(format!("many/f{n}.so")), "").unwrap());
    assert!(warnings_below(&dir)[0].ends_with("many/f4.so and 4 more"), "{:?}", warnings_below(&dir));
    (0..2000).for_each(|n| fs::write(dir.join(format!("one/two/x{n}")), "").unwrap());
    assert_eq!(warnings_below(&dir).len(), 1, "however much there is");
    assert_eq!(warnings_below(&dir.join("one/two")), [""; 0]);
}
