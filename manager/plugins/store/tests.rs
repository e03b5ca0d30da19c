use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;

use super::*;

fn name(text: &str) -> FunctionName {
    FunctionName::new(text).unwrap()
}

/// A probe's copy of this content.
fn copy(store: &Store, unique: &str, content: &str) -> (PathBuf, ContentHash) {
    let path = store.incoming(unique);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).unwrap();
    (path, ContentHash::of_reader(content.as_bytes()).unwrap())
}

fn adopt(store: &mut Store, function: &str, content: &str) -> StoredVersion {
    let (path, hash) = copy(store, "1", content);
    store.adopt(&path, hash, &name(function)).unwrap()
}

fn open(state: &Path) -> Store {
    let (store, warnings) = Store::open(state).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    store
}

#[test]
fn a_version_is_its_content() {
    let tmp = tempfile::tempdir().unwrap();
    let mut store = open(tmp.path());
    let one = adopt(&mut store, "x", "one");
    assert_eq!(one.path, tmp.path().join("store").join(one.hash.short().to_string()).join("x.so"));
    assert_eq!(fs::read_to_string(&one.path).unwrap(), "one");
    assert!(store.unchanged(&one));
    let two = adopt(&mut store, "x", "two");
    let other = adopt(&mut store, "y", "one");
    assert!(two.hash != one.hash && other.hash == one.hash && other.path != one.path);
    assert!([&one, &two, &other].iter().all(|stored| store.unchanged(stored)));
    assert_eq!(fs::metadata(tmp.path().join("store")).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::read_dir(tmp.path().join("store/incoming")).unwrap().count(), 0);
}

#[test]
fn the_same_content_again_changes_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    let mut store = open(tmp.path());
    let first = adopt(&mut store, "x", "one");
    let again = adopt(&mut store, "x", "one");
    assert_eq!(first, again);
    assert!(store.unchanged(&first));
    assert_eq!(fs::read_dir(tmp.path().join("store/incoming")).unwrap().count(), 0);
}

/// What happened to the file, how, and the text about it.
type Change = (&'static str, fn(&Path), &'static str);

#[test]
fn a_stored_file_that_was_changed_is_noticed_and_made_again() {
    let changes: [Change; 4] = [
        (
            "written to",
            |path| {
                fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
                fs::write(path, "xne").unwrap();
            },
            "its content was changed in the store",
        ),
        (
            "truncated",
            |path| {
                fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
                File::options().write(true).open(path).unwrap().set_len(1).unwrap();
            },
            "its content was changed in the store",
        ),
        ("removed", |path| fs::remove_file(path).unwrap(), "No such file or directory"),
        (
            "replaced by a link",
            |path| {
                fs::remove_file(path).unwrap();
                symlink("/dev/null", path).unwrap();
            },
            "Too many levels of symbolic links",
        ),
    ];
    for (what, change, words) in changes {
        let tmp = tempfile::tempdir().unwrap();
        let mut store = open(tmp.path());
        let stored = adopt(&mut store, "x", "one");
        change(&stored.path);
        assert!(!store.unchanged(&stored), "{what}");
        let error = verify(&stored).unwrap_err().to_string();
        assert_eq!(error, format!("cannot use {}: {words}", stored.path.display()), "{what}");
        let again = adopt(&mut store, "x", "one");
        assert_eq!((again.hash, fs::read_to_string(&again.path).unwrap()), (stored.hash, "one".into()), "{what}");
    }
}

#[test]
fn a_touched_file_costs_a_hash_and_no_more() {
    let tmp = tempfile::tempdir().unwrap();
    let mut store = open(tmp.path());
    let stored = adopt(&mut store, "x", "one");
    File::open(&stored.path).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert!(!store.unchanged(&stored));
    let verified = verify(&stored).unwrap();
    assert!(store.unchanged(&verified));
    store.verified(verified.clone());
    // Known again: not stored a second time.
    assert_eq!(adopt(&mut store, "x", "one"), verified);
}

#[test]
fn the_last_good_version_outlives_the_manager() {
    let tmp = tempfile::tempdir().unwrap();
    let mut store = open(tmp.path());
    let stored = adopt(&mut store, "x", "one");
    store.records.set_last_good(&stored).unwrap();
    let gone = adopt(&mut store, "y", "two");
    store.records.set_last_good(&gone).unwrap();
    store.records.forget(&name("y")).unwrap();

    let store = open(tmp.path());
    assert_eq!(store.last_good(&name("x")), Some(stored.clone()));
    assert_eq!(store.last_good(&name("y")), None);
    assert!(store.unchanged(&stored));
}

#[test]
fn damaged_records_are_reported_and_begun_again() {
    let tmp = tempfile::tempdir().unwrap();
    let mut store = open(tmp.path());
    let stored = adopt(&mut store, "x", "one");
    for damage in ["", "{", "\0\0\0", r#"{"format":9,"content":{}}"#, r#"{"format":2,"content":{"../x":{}}}"#] {
        store.records.set_last_good(&stored).unwrap();
        fs::write(tmp.path().join("versions.json"), damage).unwrap();
        let (again, warnings) = Store::open(tmp.path()).unwrap();
        assert_eq!((again.last_good(&name("x")), warnings.len()), (None, 1), "{damage}: {warnings:?}");
        store = again;
    }
}

#[test]
fn what_an_earlier_run_left_half_done_is_removed() {
    let tmp = tempfile::tempdir().unwrap();
    let store = open(tmp.path());
    copy(&store, "half", "on");
    drop(store);
    open(tmp.path());
    assert_eq!(fs::read_dir(tmp.path().join("store/incoming")).unwrap().count(), 0);
}

#[test]
fn a_copy_that_is_not_what_a_probe_leaves_is_not_stored() {
    let changes: [fn(&Path); 4] = [
        |path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap(),
        |path| fs::hard_link(path, path.with_file_name("second")).unwrap(),
        |path| fs::remove_file(path).unwrap(),
        |path| {
            fs::remove_file(path).unwrap();
            symlink("/dev/null", path).unwrap();
        },
    ];
    for change in changes {
        let tmp = tempfile::tempdir().unwrap();
        let mut store = open(tmp.path());
        let (path, hash) = copy(&store, "1", "one");
        change(&path);
        assert!(store.adopt(&path, hash, &name("x")).is_err());
        assert!(fs::symlink_metadata(&path).is_err());
        assert_eq!(store.versions().unwrap(), []);
    }
}

#[test]
fn garbage_is_removed_and_what_is_needed_stays() {
    let tmp = tempfile::tempdir().unwrap();
    let mut store = open(tmp.path());
    let mut versions = Vec::new();
    for (age, content) in ["one", "two", "three", "four"].iter().enumerate() {
        let stored = adopt(&mut store, "x", content);
        let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age as u64);
        File::open(&stored.path).unwrap().set_modified(at).unwrap();
        versions.push(stored);
    }
    let shared = adopt(&mut store, "y", "three");
    store.records.set_last_good(&versions[0]).unwrap();
    let in_use = [versions[3].version(), shared.version()];
    let removed = store.collect(&in_use, 0).unwrap();
    assert_eq!(removed.len(), 2);
    let there = |stored: &StoredVersion| stored.path.exists();
    assert_eq!(versions.iter().map(there).collect::<Vec<_>>(), [true, false, false, true]);
    assert!(there(&shared) && !versions[1].path.parent().unwrap().exists());
    assert_eq!(store.collect(&in_use, 0).unwrap(), []);
    assert_eq!(store.versions().unwrap().len(), 3);
}

/// H3, H8.
#[test]
fn a_store_of_another_user_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    symlink("/tmp", tmp.path().join("store")).unwrap();
    let error = Store::open(tmp.path()).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("cannot use {}/store: it is a link to /tmp, which is not followed", tmp.path().display())
    );

    let tmp = tempfile::tempdir().unwrap();
    fs::create_dir(tmp.path().join("store")).unwrap();
    fs::set_permissions(tmp.path().join("store"), fs::Permissions::from_mode(0o777)).unwrap();
    open(tmp.path());
    assert_eq!(fs::metadata(tmp.path().join("store")).unwrap().mode() & 0o7777, 0o700);
}

/// A probe's copy of a plugin with libraries beside it.
fn copy_with(store: &Store, content: &str, beside: &[(&str, &str)]) -> (PathBuf, ContentHash, Vec<Sibling>) {
    let (path, hash) = copy(store, "1", content);
    let siblings: Vec<Sibling> = beside
        .iter()
        .map(|(name, content)| {
            let at = path.with_file_name(name);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(&at, content).unwrap();
            fs::set_permissions(&at, fs::Permissions::from_mode(0o500)).unwrap();
            Sibling { path: name.into(), hash: ContentHash::of_reader(content.as_bytes()).unwrap() }
        })
        .collect();
    (path, hash.with_siblings(&siblings), siblings)
}

fn adopt_with(store: &mut Store, function: &str, content: &str, beside: &[(&str, &str)]) -> StoredVersion {
    let (path, hash, siblings) = copy_with(store, content, beside);
    store.adopt_with(&path, hash, &siblings, &name(function)).unwrap()
}

const BESIDE: &[(&str, &str)] = &[("libb.so", "b"), ("lib/c.so.1", "c")];

#[test]
fn siblings_are_stored_and_known_with_their_version() {
    let tmp = tempfile::tempdir().unwrap();
    let mut store = open(tmp.path());
    let stored = adopt_with(&mut store, "x", "one", BESIDE);
    let at = |name: &str| stored.path.with_file_name(name);
    assert_eq!(fs::read_to_string(at("libb.so")).unwrap(), "b");
    assert_eq!(fs::read_to_string(at("lib/c.so.1")).unwrap(), "c");
    assert_eq!(fs::read_dir(tmp.path().join("store/incoming")).unwrap().count(), 0);
    assert!(store.unchanged(&stored));
    let versions = store.versions().unwrap();
    assert_eq!(versions.len(), 1, "a sibling is no function: {versions:?}");
    assert_eq!(versions[0].size, 5);
    // Known to another manager only by its hash, and as the last good one.
    store.records.set_last_good(&stored).unwrap();
    let mut again = open(tmp.path());
    assert_eq!(again.last_good(&name("x")), Some(stored.clone()));
    assert_eq!(again.stored(&name("x"), stored.hash.short()).unwrap(), stored);
    // Siblings are checked like the plugin itself.
    let changes: [fn(&Path); 3] = [
        |path| fs::remove_file(path).unwrap(),
        |path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
            fs::write(path, "x").unwrap();
        },
        |path| {
            fs::remove_file(path).unwrap();
            symlink("/dev/null", path).unwrap();
        },
    ];
    for change in changes {
        for name in ["libb.so", "lib/c.so.1"] {
            change(&at(name));
            assert!(!store.unchanged(&stored) && verify(&stored).is_err(), "{name}");
            let again = adopt_with(&mut store, "x", "one", BESIDE);
            assert!(again.hash == stored.hash && store.unchanged(&again) && verify(&again).is_ok(), "{name}");
        }
    }
}

#[test]
fn siblings_stay_as_long_as_a_function_has_their_version() {
    let tmp = tempfile::tempdir().unwrap();
    let mut store = open(tmp.path());
    let x = adopt_with(&mut store, "x", "one", BESIDE);
    let y = adopt_with(&mut store, "y", "one", BESIDE);
    store.remove(&x.function, x.hash.short()).unwrap();
    assert!(verify(&y).is_ok(), "the same files, for another function");
    store.remove(&y.function, y.hash.short()).unwrap();
    assert!(!y.path.parent().unwrap().exists());
}

/// A sibling is not taken for a version that may be removed, and if the list is damaged nothing outside is touched.
#[test]
fn a_damaged_list_of_siblings_takes_none_of_them_away() {
    let hostile = r#"{"format": 1, "content": [{"path": "/etc/passwd", "hash": "HASH"}]}"#;
    for list in ["{\"format\": 1, \"con", hostile] {
        let tmp = tempfile::tempdir().unwrap();
        let mut store = open(tmp.path());
        let stored = adopt_with(&mut store, "x", "one", BESIDE);
        store.records.set_last_good(&stored).unwrap();
        let list = list.replace("HASH", &stored.hash.to_string());
        fs::write(stored.path.with_file_name("siblings.json"), list).unwrap();
        let mut again = open(tmp.path());
        for store in [&mut store, &mut again] {
            let functions = |store: &Store| store.versions().unwrap().into_iter().map(|one| one.function).collect();
            let twice: [Vec<FunctionName>; 2] = [functions(store), functions(store)];
            assert_eq!(twice, [[name("x")], [name("x")]]);
            assert_eq!(store.collect(&[], 0).unwrap(), []);
            assert!(verify(&stored).is_ok());
            let error = store.stored(&name("x"), stored.hash.short()).unwrap_err().to_string();
            assert!(error.contains("siblings.json beside it is damaged"), "{error}");
        }
        again.remove(&stored.function, stored.hash.short()).unwrap();
        assert!(!stored.path.parent().unwrap().exists());
    }
}

#[test]
fn a_sibling_is_stored_beside_its_plugin_and_nowhere_else() {
    for path in ["../b.so", "/tmp/b.so", "lib/../../b.so", "x.so", "siblings.json", "siblings.json/b.so", ""] {
        let tmp = tempfile::tempdir().unwrap();
        let mut store = open(tmp.path());
        let (copy, hash, mut siblings) = copy_with(&store, "one", &[("libb.so", "b")]);
        siblings[0].path = path.into();
        assert!(store.adopt_with(&copy, hash, &siblings, &name("x")).is_err(), "{path}");
        assert_eq!(store.versions().unwrap(), []);
    }
}
