use std::cell::RefCell;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn links(needed: &[&str], rpath: Option<&str>, runpath: Option<&str>) -> LibraryReferences {
    LibraryReferences {
        needed: needed.iter().map(OsString::from).collect(),
        soname: None,
        rpath: rpath.map(OsString::from),
        runpath: runpath.map(OsString::from),
    }
}

#[test]
fn elements_of_a_search_path() {
    use SearchPlace::{Beside, Elsewhere, Outside};
    let cases: &[(&str, &str, Option<SearchPlace>)] = &[
        ("$ORIGIN", "", Some(Beside("".into()))),
        ("${ORIGIN}", "", Some(Beside("".into()))),
        ("$ORIGIN/", "", Some(Beside("".into()))),
        ("$ORIGIN/lib", "", Some(Beside("lib".into()))),
        ("${ORIGIN}/./lib//deep", "", Some(Beside("lib/deep".into()))),
        ("$ORIGIN", "lib", Some(Beside("lib".into()))),
        ("$ORIGIN/..", "lib", Some(Beside("".into()))),
        ("$ORIGIN/../other", "lib", Some(Beside("other".into()))),
        ("$ORIGIN/..", "", Some(Outside("..".into()))),
        ("$ORIGIN/../workers", "", Some(Outside("../workers".into()))),
        ("$ORIGIN/../../lib", "lib", Some(Outside("lib/../../lib".into()))),
        ("/opt/lib", "", Some(Elsewhere("/opt/lib".into()))),
        ("$ORIGINAL/lib", "", None),
        ("$ORIGIN/$LIB", "", None),
        ("$LIB", "", None),
        ("lib", "", None),
        ("", "", None),
        // The store has no `lib` there.
        ("$ORIGIN/lib/../deps", "", None),
        ("$ORIGIN/../lib/../deps", "lib", None),
        ("$ORIGIN-lib", "", None),
        ("${ORIGIN}lib", "", None),
        ("$PLATFORM/$ORIGIN", "", None),
    ];
    for (element, origin, expected) in cases {
        let expected = expected.clone().unwrap_or_else(|| SearchPlace::Unsteady(element.into()));
        assert_eq!(expand(element.as_bytes(), Path::new(origin)), expected, "{element} from {origin:?}");
    }
}

#[test]
fn rpath_holds_for_what_is_loaded_by_way_of_it_and_runpath_does_not() {
    let objects = |plugin, sibling| {
        vec![
            LibraryObject { origin: "".into(), links: plugin, asked_by: None },
            LibraryObject { origin: "lib".into(), links: sibling, asked_by: Some(0) },
        ]
    };
    let beside = |paths: &[&str]| paths.iter().map(|path| SearchPlace::Beside(path.into())).collect::<Vec<_>>();
    for (plugin, sibling, expected) in [
        (links(&[], Some("$ORIGIN"), None), links(&[], None, None), &["y"][..]),
        (links(&[], Some("$ORIGIN"), None), links(&[], Some("$ORIGIN"), None), &["lib/y", "y"]),
        (links(&[], Some("$ORIGIN"), None), links(&[], None, Some("$ORIGIN/deep")), &["lib/deep/y"]),
        (links(&[], None, Some("$ORIGIN")), links(&[], None, None), &[]),
        (links(&[], Some("$ORIGIN"), Some("$ORIGIN")), links(&[], None, None), &[]),
    ] {
        assert_eq!(places(&objects(plugin, sibling), 1, OsStr::new("y")), beside(expected));
    }
    let by_path = objects(links(&[], None, None), links(&[], None, None));
    assert_eq!(places(&by_path, 0, OsStr::new("$ORIGIN/sub/y")), beside(&["sub/y"]));
    assert_eq!(places(&by_path, 0, OsStr::new("sub/y")), [SearchPlace::Unsteady("sub/y".into())]);
}

/// The header of a library of 32 bits.
fn foreign() -> Vec<u8> {
    let mut header = vec![0; 64];
    header[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
    header[16..20].copy_from_slice(&[3, 0, 40, 0]);
    header
}

/// The siblings found, in order, or the error. Each file's content is the names it needs, with `$ORIGIN` as its
/// RUNPATH.
fn found(dir: &Path, plugin: &LibraryReferences) -> Result<Vec<String>, String> {
    let taken = RefCell::new(Vec::new());
    let itself = SiblingPlace::at(dir.join("plugin.so")).identity.unwrap();
    let mut search = SiblingSearch::new(dir, itself, None);
    let run = search.run(
        plugin,
        |name| name == "libc.so.6",
        |path, file| {
            taken.borrow_mut().push(path.display().to_string());
            let text = std::io::read_to_string(file).unwrap();
            if text == "bad" {
                return Err(Rejection::Empty);
            }
            let needed: Vec<&str> = text.split_whitespace().collect();
            Ok(links(&needed, None, Some("$ORIGIN")))
        },
    );
    let root = dir.to_str().unwrap();
    run.map(|()| taken.into_inner()).map_err(|rejection| rejection.to_string().replace(root, "DIR"))
}

#[test]
fn what_is_beside_is_found_as_the_loader_would() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().canonicalize().unwrap().join("w");
    fs::create_dir_all(dir.join("lib")).unwrap();
    for (path, needs) in [
        ("plugin.so", ""),
        ("a.so", "b.so c.so"),
        ("b.so", "a.so plugin.so"),
        ("c.so.1.2", ""),
        ("libc.so.6", ""),
        ("lib/a.so", "d.so"),
        ("lib/d.so", ""),
        ("wrong.so", "bad"),
        ("../out.so", ""),
        ("lib/round.so", ""),
    ] {
        fs::write(dir.join(path), needs).unwrap();
    }
    fs::create_dir(dir.join("foreign")).unwrap();
    fs::create_dir(dir.join("../empty")).unwrap();
    fs::write(dir.join("foreign/a.so"), foreign()).unwrap();
    fs::write(dir.join("foreign/d.so"), foreign()).unwrap();
    symlink("round.so", dir.join("round.so")).unwrap();
    symlink("../empty", dir.join("out")).unwrap();
    symlink("c.so.1.2", dir.join("c.so")).unwrap();
    symlink("../out.so", dir.join("out.so")).unwrap();
    let origin = Some("$ORIGIN");
    let itself = "is needed by itself or by a library beside it as plugin.so, a name that it loses in the store; \
                  give it that name with -Wl,-soname,plugin.so";
    let without_soname = LibraryReferences {
        needed: vec!["b.so".into()],
        runpath: origin.map(Into::into),
        ..LibraryReferences::default()
    };
    assert_eq!(found(&dir, &without_soname), Err(itself.to_owned()));
    for (needed, runpath, expected) in [
        (&["a.so", "libc.so.6"][..], origin, Ok(&["a.so", "b.so", "c.so"][..])),
        (&["a.so"], Some("$ORIGIN/lib:$ORIGIN"), Ok(&["lib/a.so", "lib/d.so"])),
        // Nothing, a file in the way, and another machine's library: the loader continues.
        (
            &["d.so"],
            Some("$ORIGIN/none:$ORIGIN/plugin.so/x:$ORIGIN/foreign:$ORIGIN/out:$ORIGIN/lib"),
            Ok(&["lib/d.so"]),
        ),
        (&["a.so"], Some("$ORIGIN/plugin.so:$ORIGIN/foreign:$ORIGIN/lib"), Ok(&["lib/a.so", "lib/d.so"])),
        // At a loop of links it stops.
        (&["round.so"], Some("$ORIGIN:$ORIGIN/lib"), Ok(&[])),
        (&["a.so"], None, Ok(&[])),
        (&["nowhere.so"], origin, Ok(&[])),
        (
            &["wrong.so"],
            origin,
            Err(
                "needs wrong.so beside it, but DIR/wrong.so is empty; copy it again, ideally under another name, then \
                 rename it",
            ),
        ),
        (
            &["out.so"],
            origin,
            Err("needs out.so beside it, but DIR/out.so is a link out of that directory, to ../out.so; copy the \
                 library \
                 itself there"),
        ),
        (&["lib"], origin, Err("needs lib beside it, but DIR/lib is a directory, not a file")),
    ] {
        let expected = expected.map(|paths| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>());
        let plugin = LibraryReferences { soname: Some("plugin.so".into()), ..links(needed, None, runpath) };
        assert_eq!(found(&dir, &plugin), expected.map_err(str::to_owned), "{needed:?}");
    }
}

/// A link out of the directory to a library; and a search path with more places than is realistic.
#[test]
fn what_the_loader_would_take_and_the_store_cannot_have() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().canonicalize().unwrap().join("w");
    fs::create_dir(&dir).unwrap();
    fs::create_dir(dir.join("../other")).unwrap();
    for path in ["plugin.so", "a.so", "../other/a.so"] {
        fs::write(dir.join(path), "").unwrap();
    }
    symlink("../other", dir.join("out")).unwrap();
    let error = found(&dir, &links(&["a.so"], None, Some("$ORIGIN/out:$ORIGIN"))).unwrap_err();
    assert!(error.contains("DIR/out/a.so is a link out of that directory, to ../other"), "{error}");
    let many: String = (0..2000).map(|number| format!("$ORIGIN/{number}:")).collect();
    let error = found(&dir, &links(&["a.so"], None, Some(&many))).unwrap_err();
    assert_eq!(error, Rejection::TooManyPlaces.to_string());
    let few: String = (0..900).map(|number| format!("$ORIGIN/{number}:")).collect();
    assert_eq!(found(&dir, &links(&["a.so"], None, Some(&format!("{few}:$ORIGIN")))), Ok(vec!["a.so".to_owned()]));
}

#[test]
fn siblings_have_the_plugins_permission_rule() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().canonicalize().unwrap();
    fs::write(dir.join("a.so"), "").unwrap();
    fs::write(dir.join("plugin.so"), "").unwrap();
    fs::set_permissions(dir.join("a.so"), fs::Permissions::from_mode(0o666)).unwrap();
    let file_policy = Some(FilePolicy { run_uid: nix::unistd::geteuid().as_raw() });
    let mut search = SiblingSearch::new(&dir, SiblingPlace::at(dir.join("plugin.so")).identity.unwrap(), file_policy);
    let plugin = links(&["a.so"], None, Some("$ORIGIN"));
    let refused = search.run(&plugin, |_| false, |_, _| Ok(LibraryReferences::default())).unwrap_err().to_string();
    assert!(refused.contains("a.so cannot be trusted: ") && refused.contains("writable by everybody"), "{refused}");
}

#[test]
fn what_the_loader_misses_is_explained() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = tmp.path().canonicalize().unwrap().join("w");
    fs::create_dir(&dir).unwrap();
    for path in ["plugin.so", "beside.so", "../above.so"] {
        fs::write(dir.join(path), "").unwrap();
    }
    let mut search = SiblingSearch::new(&dir, SiblingPlace::at(dir.join("plugin.so")).identity.unwrap(), None);
    fs::create_dir(dir.join("foreign")).unwrap();
    fs::write(dir.join("foreign/foreign.so"), foreign()).unwrap();
    let plugin = links(&["gone.so", "above.so"], None, Some("$ORIGIN:$ORIGIN/lib:$ORIGIN/.."));
    search.run(&plugin, |_| false, |_, _| Ok(LibraryReferences::default())).unwrap();
    let looked: Vec<_> = search.looked.iter().map(|beside| beside.path.strip_prefix(&dir).unwrap()).collect();
    assert_eq!(looked, ["gone.so", "lib/gone.so", "above.so", "lib/above.so"].map(Path::new), "all of it is watched");
    let mut plugin = links(&["foreign.so", "unsteady.so"], None, Some("$ORIGIN/foreign:$ORIGIN/$LIB"));
    plugin.needed.push(OsStr::from_bytes(b"l\xffine\n.so").to_owned());
    search.run(&plugin, |_| false, |_, _| Ok(LibraryReferences::default())).unwrap();
    let explanation = |library: &str| {
        let missing = Rejection::MissingLibrary { library: library.into(), detail: String::new() };
        search.explain(missing).to_string().replace(dir.parent().unwrap().to_str().unwrap(), "")
    };
    for (library, expected) in [
        (
            "gone.so",
            "needs gone.so, which is neither installed on this machine nor at /w/gone.so or /w/lib/gone.so, where it \
             looks; copy it there, or install it",
        ),
        (
            "above.so",
            "needs above.so and finds it at /w/../above.so, outside its own directory; only libraries in or below \
             that directory are stored with it: copy above.so there, and link with -Wl,-rpath,'$ORIGIN'",
        ),
        (
            "beside.so",
            "needs beside.so, which this machine does not have; /w/beside.so is not on its search path: link with \
             -Wl,-rpath,'$ORIGIN', or install it",
        ),
        (
            "foreign.so",
            "needs foreign.so beside it, but /w/foreign/foreign.so is built for 32-bit ARM, but this machine is \
             x86_64; build it \
             with --target x86_64-unknown-linux-gnu",
        ),
        (
            "unsteady.so",
            "needs unsteady.so and looks for it in $ORIGIN/$LIB, which leads elsewhere from the store; name a \
             directory beside it, as in -Wl,-rpath,'$ORIGIN'",
        ),
        (
            "l\u{fffd}ine\\n.so",
            "needs l\\xffine\\n.so and looks for it in $ORIGIN/$LIB, which leads elsewhere from the store; name a \
             directory beside it, as in -Wl,-rpath,'$ORIGIN'",
        ),
        ("other.so", "needs other.so, which this machine does not have; install it, or link it statically"),
    ] {
        assert_eq!(explanation(library), expected);
    }
    assert!(search.unreachable(|_| true).is_none());
    assert!(search.unreachable(|_| false).is_some());
}
