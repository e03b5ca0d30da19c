use super::*;
use notify::event::{CreateKind, DataChange, MetadataKind, RemoveKind, RenameMode};
use std::time::Duration;

#[test]
fn what_events_say() {
    use WatchEvent::{Complete, Writing};
    for (kind, expected) in [
        (EventKind::Access(AccessKind::Open(AccessMode::Any)), None),
        (EventKind::Access(AccessKind::Close(AccessMode::Read)), None),
        (EventKind::Access(AccessKind::Close(AccessMode::Write)), Some(Complete)),
        (EventKind::Modify(ModifyKind::Name(RenameMode::To)), Some(Complete)),
        (EventKind::Modify(ModifyKind::Data(DataChange::Any)), Some(Writing)),
        (EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), Some(Writing)),
        (EventKind::Create(CreateKind::File), Some(Writing)),
        (EventKind::Remove(RemoveKind::Folder), Some(Complete)),
    ] {
        assert_eq!(what(&kind), expected, "{kind:?}");
    }
}

#[test]
fn what_matters_is_a_worker_directory_and_every_name_on_the_way_to_it() {
    let names = |names: &[&str]| Some(names.iter().map(PathBuf::from).collect());
    let places = WatchedPaths::from([
        ("/r".into(), names(&["/r/workers"])),
        ("/r/app".into(), names(&["/r/app/current"])),
        ("/w".into(), None),
    ]);
    for (path, expected) in [
        ("/w/a.so", true),
        ("/w", true),
        ("/r/workers", true),
        ("/r/neighbour", false),
        ("/r/app/current", true),
        ("/r/app/neighbour", false),
        // A watched directory that is removed, below another one.
        ("/r/app", true),
        ("/elsewhere", false),
    ] {
        assert_eq!(matters(&[path.into()], &places), expected, "{path}");
    }
}

#[test]
fn on_the_way_every_link_and_the_last_name_matter() {
    let names_on_the_way = |path: &Path| way(path).names;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    fs::create_dir_all(root.join("releases/1/workers")).unwrap();
    std::os::unix::fs::symlink("releases/1", root.join("current")).unwrap();
    let names = names_on_the_way(&root.join("current/workers"));
    assert_eq!(names, [root.join("current"), root.join("releases/1/workers")]);
    std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
    assert!(!names_on_the_way(&root.join("loop")).is_empty(), "a link to itself ends");
    let (gone, dir) = (root.join("gone"), root.join("gone/by/workers"));
    assert_eq!(
        places(std::slice::from_ref(&dir), &[]).get(&root),
        Some(&Some(BTreeSet::from([gone]))),
        "it may come back"
    );
}

async fn noticed(notices: &WatchEvents, what: &str) {
    let notice = async { while notices.next().await != WatchEvent::Complete {} };
    tokio::time::timeout(Duration::from_secs(20), notice).await.unwrap_or_else(|_| panic!("not noticed: {what}"));
}

#[tokio::test]
async fn swaps_renames_and_directories_made_again_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    for release in ["1", "2"] {
        fs::create_dir_all(root.join("releases").join(release)).unwrap();
    }
    std::os::unix::fs::symlink("releases/1", root.join("current")).unwrap();
    let dirs = [root.join("current"), root.join("plain")];
    fs::create_dir(root.join("plain")).unwrap();
    let (mut watch, notices) = LibraryWatcher::new().unwrap();
    assert_eq!(watch.follow(&dirs, &[]), [""; 0]);

    fs::write(root.join("plain/.a"), "x").unwrap();
    noticed(&notices, "a closed file").await;
    fs::rename(root.join("plain/.a"), root.join("plain/a.so")).unwrap();
    noticed(&notices, "a rename").await;
    std::os::unix::fs::symlink("releases/2", root.join("next")).unwrap();
    fs::rename(root.join("next"), root.join("current")).unwrap();
    noticed(&notices, "a swapped link").await;
    watch.follow(&dirs, &[]);
    fs::write(root.join("releases/2/b.so"), "x").unwrap();
    noticed(&notices, "a file behind the new link").await;
    fs::remove_dir_all(root.join("plain")).unwrap();
    noticed(&notices, "a removed directory").await;
    watch.follow(&dirs, &[]);
    fs::create_dir(root.join("plain")).unwrap();
    fs::rename(root.join("plain"), root.join("other")).unwrap();
    fs::rename(root.join("other"), root.join("plain")).unwrap();
    noticed(&notices, "a directory made again").await;
    watch.follow(&dirs, &[]);
    fs::write(root.join("plain/c.so"), "x").unwrap();
    noticed(&notices, "a file in it").await;
}

/// The new directory often has the old one's inode, and the removal may be reported before or after it exists.
#[tokio::test]
async fn a_directory_made_again_at_once_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let workers = root.join("workers");
    fs::create_dir(&workers).unwrap();
    let (mut watch, notices) = LibraryWatcher::new().unwrap();
    watch.follow(std::slice::from_ref(&workers), &[]);
    for round in 0..20 {
        fs::remove_dir_all(&workers).unwrap();
        fs::create_dir(&workers).unwrap();
        // As the manager does: scans as long as something is noticed.
        let mark = root.join("mark");
        fs::write(&mark, "").unwrap();
        fs::rename(&mark, workers.join(format!("a{round}.so"))).unwrap();
        let mut seen = 0;
        while let Ok(notice) = tokio::time::timeout(Duration::from_millis(100), notices.next()).await {
            seen += usize::from(notice == WatchEvent::Complete);
            watch.follow(std::slice::from_ref(&workers), &[]);
        }
        assert!(seen > 0, "round {round}: made again");
        fs::write(&mark, "").unwrap();
        fs::rename(&mark, workers.join("b.so")).unwrap();
        noticed(&notices, "a file in it").await;
    }
}

#[tokio::test]
async fn reading_and_neighbours_are_not_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    fs::create_dir(root.join("w")).unwrap();
    fs::write(root.join("w/a.so"), "x").unwrap();
    let (mut watch, notices) = LibraryWatcher::new().unwrap();
    watch.follow(&[root.join("w")], &[]);
    fs::read(root.join("w/a.so")).unwrap();
    fs::write(root.join("neighbour"), "x").unwrap();
    fs::read_dir(root.join("w")).unwrap().for_each(drop);
    // What comes after it must be noticed first.
    fs::rename(root.join("w/a.so"), root.join("w/b.so")).unwrap();
    assert_eq!(notices.next().await, WatchEvent::Complete);
    assert_eq!(fs::read_dir(root.join("w")).unwrap().count(), 1);
}

/// The ways in which `w/a.so` can be a link, as pairs of link and target below a directory, each with a change behind
/// it. `real/lib/a.so` is a file.
#[tokio::test]
async fn what_a_library_that_is_a_link_leads_through_is_watched() {
    type Change = fn(&Path);
    type Case = (&'static str, &'static [(&'static str, &'static str)], Change);
    let write: Change = |root| fs::write(root.join("real/lib/a.so"), "new").unwrap();
    let rename: Change = |root| {
        fs::write(root.join("part"), "new").unwrap();
        fs::rename(root.join("part"), root.join("real/lib/a.so")).unwrap();
    };
    let swap_link: Change = |root| {
        std::os::unix::fs::symlink("other", root.join("part")).unwrap();
        fs::rename(root.join("part"), root.join("current")).unwrap();
    };
    let swap_dir: Change = |root| {
        fs::rename(root.join("real"), root.join("old")).unwrap();
        fs::rename(root.join("other"), root.join("real")).unwrap();
    };
    let create: Change = |root| {
        fs::create_dir_all(root.join("later/lib")).unwrap();
        fs::write(root.join("later/lib/a.so"), "new").unwrap();
    };
    let cases: &[Case] = &[
        ("relative, written", &[("w/a.so", "../real/lib/a.so")], write),
        ("relative, renamed over", &[("w/a.so", "../real/lib/a.so")], rename),
        ("absolute", &[("w/a.so", "ROOT/real/lib/a.so")], rename),
        ("link to link", &[("w/a.so", "../hop.so"), ("hop.so", "real/lib/a.so")], rename),
        ("link to link, retargeted", &[("w/a.so", "../current"), ("current", "real/lib/a.so")], swap_link),
        ("a directory's link, written", &[("w/a.so", "../current/lib/a.so"), ("current", "real")], write),
        ("a directory's link, retargeted", &[("w/a.so", "../current/lib/a.so"), ("current", "real")], swap_link),
        ("a directory on the way, swapped", &[("w/a.so", "../real/lib/a.so")], swap_dir),
        ("a link through .., written", &[("w/a.so", "../other/../real/lib/a.so")], write),
        ("dangling, then made", &[("w/a.so", "../later/lib/a.so")], create),
        ("its own link in the directory", &[("w/a.so", "liba.1"), ("w/liba.1", "../real/lib/a.so")], write),
    ];
    for (what, links, change) in cases {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for dir in ["w", "real/lib", "other/lib"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        for file in ["real/lib/a.so", "other/lib/a.so"] {
            fs::write(root.join(file), "old").unwrap();
        }
        for (link, target) in *links {
            let target = target.replace("ROOT", root.to_str().unwrap());
            std::os::unix::fs::symlink(target, root.join(link)).unwrap();
        }
        let (mut watch, notices) = LibraryWatcher::new().unwrap();
        assert_eq!(watch.follow(&[root.join("w")], &[]), [""; 0], "{what}");
        change(&root);
        // A directory that was created is only a reason to scan again soon.
        let notice = tokio::time::timeout(Duration::from_secs(20), notices.next()).await;
        assert!(notice.is_ok(), "not noticed: {what}");
    }
}

/// What is beside the file behind the link does not matter.
#[test]
fn neighbours_of_a_linked_library_do_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    fs::create_dir_all(root.join("w")).unwrap();
    fs::create_dir_all(root.join("target/debug")).unwrap();
    std::os::unix::fs::symlink("../target/debug/liba.so", root.join("w/a.so")).unwrap();
    std::os::unix::fs::symlink("../target", root.join("w/notes")).unwrap();
    let places = places(&[root.join("w")], &[]);
    assert!(matters(&[root.join("target/debug/liba.so")], &places));
    assert!(matters(&[root.join("target/debug")], &places), "it may be swapped");
    assert!(!matters(&[root.join("target/debug/liba.d")], &places));
}
