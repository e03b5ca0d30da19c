//! Tables of the module above.

use super::*;
use crate::plugins::listing::SkipReason;
use crate::plugins::name::FunctionName;
use crate::plugins::rejection::RejectionKind;
use crate::plugins::scan::DuplicateRule;
use crate::plugins::siblings::SiblingPlace;
use crate::plugins::version_records::VersionFacts;

const GRACE: Duration = Duration::from_millis(50);

impl Catalog {
    /// As if what is missing had been missing for long.
    fn apply(&mut self, scan: ScanResult) -> ScanChanges {
        let mut first = self.apply_scan(&scan, GRACE, Duration::ZERO);
        let mut then = self.apply_scan(&scan, GRACE, GRACE * REFILL);
        first.events.append(&mut then.events);
        assert_eq!(then.probe, []);
        first
    }
}

fn identity(ino: u64) -> FileIdentity {
    FileIdentity { dev: 1, ino, size: 2, mtime: (0, 0), ctime: (0, 0) }
}

fn scan(files: &[(&str, u64)]) -> ScanResult {
    let candidates = files.iter().map(|(name, ino)| {
        let function = FunctionName::new(name).unwrap();
        let path = PathBuf::from(format!("/w/{name}.so"));
        (function.clone(), Candidate { function, dir: "/w".into(), path, identity: identity(*ino) })
    });
    ScanResult { candidates: candidates.collect(), ..ScanResult::default() }
}

fn version(hash: &str) -> CheckedVersion {
    CheckedVersion {
        hash: hash.into(),
        library: "/s".into(),
        facts: VersionFacts { crate_version: "0.1.0".into(), has_go: false },
        warning: None,
    }
}

fn probed_names(out: &ScanChanges) -> Vec<&str> {
    out.probe.iter().map(|c| c.function.as_str()).collect()
}

#[test]
fn new_changed_unchanged_and_gone_files() {
    let mut catalog = Catalog::default();
    assert_eq!(probed_names(&catalog.apply(scan(&[("a", 1), ("b", 1)]))), ["a", "b"]);
    assert!(!catalog.is_settled());
    catalog.apply_probe(&"a".into(), &identity(1), Ok(version("h1")), Duration::ZERO);
    catalog.apply_probe(&"b".into(), &identity(1), Ok(version("h2")), Duration::ZERO);
    assert!(catalog.is_settled());
    assert_eq!(catalog.functions(), ["a", "b"]);
    let again = catalog.apply(scan(&[("a", 1), ("b", 2)]));
    assert_eq!(probed_names(&again), ["b"]);
    let gone = catalog.apply(scan(&[("a", 1)]));
    assert_eq!(
        gone.events,
        [Event::FunctionRemoved { function: "b".into(), path: "/w/b.so".into(), is_expected: false }]
    );
    assert_eq!(catalog.functions(), ["a"]);
}

#[test]
fn a_refused_file_never_takes_the_good_version_away() {
    let mut catalog = Catalog::default();
    catalog.apply(scan(&[("a", 1)]));
    catalog.apply_probe(&"a".into(), &identity(1), Ok(version("good")), Duration::ZERO);
    catalog.apply(scan(&[("a", 2)]));
    let probed = catalog.apply_probe(&"a".into(), &identity(2), Err("it is a text file".into()), Duration::ZERO);
    assert!(!probed.needs_plan);
    assert!(matches!(&probed.events[0], Event::LibraryRefused { serving: Some(hash), .. } if hash == "good"));
    assert_eq!(catalog.version("a").unwrap().hash, "good");
    assert_eq!(catalog.refused().count(), 1);
}

#[test]
fn the_probe_of_a_file_that_changed_meanwhile_is_ignored() {
    let mut catalog = Catalog::default();
    catalog.apply(scan(&[("a", 1)]));
    catalog.apply(scan(&[("a", 2)]));
    assert_eq!(
        catalog.apply_probe(&"a".into(), &identity(1), Ok(version("old")), Duration::ZERO),
        ProbeChanges::default()
    );
    assert!(!catalog.is_settled());
}

#[test]
fn the_same_content_in_a_new_file_is_no_new_version() {
    let mut catalog = Catalog::default();
    catalog.apply(scan(&[("a", 1)]));
    assert!(catalog.apply_probe(&"a".into(), &identity(1), Ok(version("h")), Duration::ZERO).needs_plan);
    catalog.apply(scan(&[("a", 2)]));
    assert_eq!(
        catalog.apply_probe(&"a".into(), &identity(2), Ok(version("h")), Duration::ZERO),
        ProbeChanges::default()
    );
}

#[test]
fn an_unreadable_directory_keeps_its_functions_and_is_reported_once() {
    let mut catalog = Catalog::default();
    catalog.apply(scan(&[("a", 1)]));
    catalog.apply_probe(&"a".into(), &identity(1), Ok(version("h")), Duration::ZERO);
    let failed =
        || ScanResult { failed_dirs: vec![("/w".into(), "permission denied".into())], ..ScanResult::default() };
    assert_eq!(catalog.apply(failed()).events.len(), 1);
    assert_eq!(catalog.apply(failed()).events.len(), 0);
    assert_eq!(catalog.functions(), ["a"]);
}

/// A catalog that serves `a` in version `v1`, with its file as number 1.
fn serving() -> Catalog {
    let mut catalog = Catalog::default();
    catalog.apply(scan(&[("a", 1)]));
    let probed = catalog.apply_probe(&"a".into(), &identity(1), Ok(version("v1")), Duration::ZERO);
    assert_eq!(probed.good, Some(version("v1")), "nothing was there before: no canary");
    catalog
}

fn changes_to(catalog: &mut Catalog, ino: u64, hash: &str) -> ProbeChanges {
    catalog.apply(scan(&[("a", ino)]));
    catalog.apply_probe(&"a".into(), &identity(ino), Ok(version(hash)), Duration::ZERO)
}

#[test]
fn a_new_version_waits_for_its_canary_and_the_newest_wins() {
    let mut catalog = serving();
    assert!(changes_to(&mut catalog, 2, "v2").needs_plan);
    assert_eq!(
        (catalog.version("a").unwrap().hash, catalog.pending().collect::<Vec<_>>()),
        ("v1".into(), vec![("a", "v2").into()])
    );
    changes_to(&mut catalog, 3, "v3");
    assert_eq!(catalog.pending().collect::<Vec<_>>(), [("a", "v3")]);
    assert_eq!(catalog.promote(&"a".into(), Duration::ZERO), Some(version("v3")));
    assert_eq!(catalog.version("a"), Some(&version("v3")));
    changes_to(&mut catalog, 4, "v4");
    assert!(changes_to(&mut catalog, 5, "v3").needs_plan, "back again: nothing to try");
    assert_eq!(catalog.pending().count(), 0);
}

#[test]
fn a_rejected_version_is_not_tried_again_until_it_changes_or_is_retried() {
    let mut catalog = serving();
    changes_to(&mut catalog, 2, "v2");
    catalog.reject(&("a", "v2").into(), "killed by SIGSEGV");
    assert_eq!(catalog.pending().count(), 0);
    let again = changes_to(&mut catalog, 3, "v2");
    assert!(matches!(&again.events[0], Event::LibraryRefused { reason, .. } if reason.contains("rejected before")));
    changes_to(&mut catalog, 4, "v3");
    assert_eq!(catalog.pending().collect::<Vec<_>>(), [("a", "v3")]);
    changes_to(&mut catalog, 5, "v2");
    assert_eq!(catalog.pending().count(), 0);
    let file = catalog.retry("a").unwrap();
    catalog.apply_probe(&"a".into(), &file.identity, Ok(version("v2")), Duration::ZERO);
    assert_eq!(catalog.pending().collect::<Vec<_>>(), [("a", "v2")]);
    // What counts is the file as it is, not what it was when it was last good.
    let file = catalog.retry("a").unwrap();
    assert_eq!(catalog.retry("a"), None, "it is looked at already");
    catalog.apply_probe(&"a".into(), &file.identity, Err("it is a text file".into()), Duration::ZERO);
    assert_eq!((catalog.pending().count(), catalog.refused().count()), (0, 1));
}

#[test]
fn after_a_restart_the_last_good_version_serves_whatever_the_file_is() {
    let memory = || SavedVersions { last_good: [("a".into(), version("v1"))].into(), ..SavedVersions::default() };
    let start = |result| {
        let mut catalog = Catalog::new(memory(), ManagerCommand::default());
        catalog.apply(scan(&[("a", 9)]));
        let probed = catalog.apply_probe(&"a".into(), &identity(9), result, Duration::ZERO);
        (catalog, probed)
    };
    let (refused, probed) = start(Err("it is a text file".into()));
    assert_eq!(refused.version("a"), Some(&version("v1")));
    assert!(
        probed.needs_plan && matches!(&probed.events[0], Event::LibraryRefused { serving: Some(v), .. } if v == "v1")
    );
    let (newer, _) = start(Ok(version("v2")));
    assert_eq!((newer.version("a").unwrap().hash, newer.pending().count()), ("v1".into(), 1), "tried like any other");
    let (same, probed) = start(Ok(version("v1")));
    assert_eq!((same.pending().count(), probed.needs_plan), (0, true));
    assert!(matches!(&probed.events[..], [Event::FunctionFound { replaces: None, .. }]), "which version that is");
}

#[test]
fn a_pinned_version_stays_until_the_file_changes() {
    let mut catalog = serving();
    changes_to(&mut catalog, 2, "v2");
    catalog.promote(&"a".into(), Duration::ZERO);
    catalog.pin(&"a".into(), version("v1"), Duration::ZERO);
    assert!(catalog.is_pinned("a"));
    changes_to(&mut catalog, 3, "v2");
    assert_eq!((catalog.version("a").unwrap().hash, catalog.pending().count()), ("v1".into(), 0), "a touch");
    assert_eq!(changes_to(&mut catalog, 4, "v3").pin, PinChange::Ends);
    assert_eq!(catalog.pending().collect::<Vec<_>>(), [("a", "v3")]);
    assert!(!catalog.is_pinned("a"));
}

/// A file that is being looked at when its function is pinned, or could not be used then, has not changed since when it
/// turns out to be good.
#[test]
fn a_pin_holds_against_a_file_that_was_not_probed_yet() {
    let refused = |catalog: &mut Catalog, ino| {
        catalog.apply(scan(&[("a", ino)]));
        catalog.apply_probe(&"a".into(), &identity(ino), Err("the disk is full".into()), Duration::ZERO);
    };
    let looked_at = |catalog: &mut Catalog, ino| drop(catalog.apply(scan(&[("a", ino)])));
    type Way<'a> = (&'a str, &'a dyn Fn(&mut Catalog, u64));
    let ways: [Way<'_>; 2] = [("looked at", &looked_at), ("refused", &refused)];
    for (what, before) in ways {
        let mut catalog = serving();
        before(&mut catalog, 2);
        catalog.pin(&"a".into(), version("v0"), Duration::ZERO);
        let probed = catalog.apply_probe(&"a".into(), &identity(2), Ok(version("v2")), Duration::ZERO);
        assert_eq!(
            probed.pin,
            PinChange::KnownAgainst(crate::plugins::version_records::Pin {
                version: "v0".into(),
                instead_of: Some("v2".into()),
                file: None,
            }),
            "{what}"
        );
        assert_eq!((catalog.is_pinned("a"), catalog.pending().count()), (true, 0), "{what}");
        assert_eq!(changes_to(&mut catalog, 3, "v3").pin, PinChange::Ends, "{what}");
        let mut catalog = serving();
        before(&mut catalog, 2);
        catalog.pin(&"a".into(), version("v0"), Duration::ZERO);
        assert_eq!(changes_to(&mut catalog, 3, "v3").pin, PinChange::Ends, "{what}, and changed after that");
    }
}

/// Between the moment at which a file is seen and the one at which it is served or refused, a rollback calls it off, once.
#[test]
fn a_file_is_pending_until_it_is_served_refused_or_called_off() {
    let pending =
        |catalog: &Catalog| catalog.pending_file("a").map(|file| file.version.map_or("?".into(), |v| v.test_name()));
    let probed = |catalog: &mut Catalog, ino, result| {
        catalog.apply_probe(&"a".into(), &identity(ino), result, Duration::ZERO);
    };
    let transient = || ProbeFailure { kind: RejectionKind::Transient, ..ProbeFailure::from("the disk is full") };
    let seen = || {
        let mut catalog = serving();
        catalog.apply(scan(&[("a", 2)]));
        catalog
    };
    assert_eq!(pending(&serving()), None, "it is served");
    assert_eq!(pending(&seen()).as_deref(), Some("?"), "it is at its probe");
    let mut catalog = seen();
    probed(&mut catalog, 2, Ok(version("v2")));
    assert_eq!(pending(&catalog).as_deref(), Some("v2"), "it waits for a canary");
    catalog.reject(&("a", "v2").into(), "it crashed");
    assert_eq!(pending(&catalog), None, "it is rejected");
    catalog.retry("a");
    assert_eq!(pending(&catalog).as_deref(), Some("v2"), "it is tried again");
    catalog.pin(&"a".into(), version("v1"), Duration::ZERO);
    assert_eq!(pending(&catalog), None, "that is called off");
    probed(&mut catalog, 2, Ok(version("v2")));
    assert!(catalog.rejection(&("a", "v2").into()).is_some(), "and its mark stays");
    catalog.retry("a");
    assert_eq!(pending(&catalog).as_deref(), Some("v2"), "it is tried again after all");

    for (what, result) in [("refused", ProbeFailure::from("no ELF file")), ("refused for now", transient())] {
        let mut catalog = seen();
        probed(&mut catalog, 2, Err(result));
        assert_eq!(pending(&catalog).as_deref(), (what == "refused for now").then_some("?"), "{what}");
        catalog.pin(&"a".into(), version("v1"), Duration::ZERO);
        assert_eq!(pending(&catalog), None, "{what}");
    }
    let mut catalog = seen();
    catalog.pin(&"a".into(), version("v1"), Duration::ZERO);
    assert_eq!(pending(&catalog), None, "it is called off at its probe");
    catalog.apply(scan(&[("a", 3)]));
    assert_eq!(pending(&catalog).as_deref(), Some("?"), "another after that");
    let mut catalog = serving();
    catalog.retry("a");
    assert_eq!(pending(&catalog), None, "what is served is checked again");
}

/// Another try is for what the file holds; what else was rejected stays so.
#[test]
fn retry_tries_the_rejected_version_that_the_file_holds() {
    let mut catalog = serving();
    for (ino, hash) in [(2, "v2"), (3, "v3")] {
        changes_to(&mut catalog, ino, hash);
        catalog.reject(&("a", hash).into(), "it crashed");
    }
    let file = catalog.retry("a").unwrap();
    let probed = catalog.apply_probe(&"a".into(), &file.identity, Ok(version("v3")), Duration::ZERO);
    assert!(probed.needs_plan);
    assert_eq!(catalog.pending().collect::<Vec<_>>(), [("a", "v3")]);
    let marks = |catalog: &Catalog| ["v2", "v3"].map(|v| catalog.rejection(&("a", v).into()).is_some());
    assert_eq!(marks(&catalog), [true, true], "a try proves nothing");
    // It is promoted without a job, and its file is checked again, as after a restart.
    catalog.promote(&"a".into(), Duration::ZERO);
    changes_to(&mut catalog, 4, "v3");
    assert_eq!((catalog.refusal("a"), catalog.version("a").unwrap().hash), (None, "v3".into()));
    assert!(catalog.clear_rejection(&("a", "v3").into()));
    assert_eq!(marks(&catalog), [true, false], "jobs do");
    // Not what comes instead of it.
    catalog.retry("a").unwrap();
    changes_to(&mut catalog, 5, "v2");
    assert_eq!(catalog.pending().count(), 0);
}

#[test]
fn a_pin_does_not_hide_what_is_wrong_with_the_file() {
    let mut catalog = serving();
    catalog.apply(scan(&[("a", 2)]));
    catalog.apply_probe(&"a".into(), &identity(2), Err("is text".into()), Duration::ZERO);
    catalog.pin(&"a".into(), version("v0"), Duration::ZERO);
    assert_eq!(catalog.refusal("a"), Some("is text"));
    let mut catalog = serving();
    changes_to(&mut catalog, 2, "v2");
    catalog.reject(&("a", "v2").into(), "it crashed");
    catalog.pin(&"a".into(), version("v0"), Duration::ZERO);
    assert!(catalog.refusal("a").is_some());
    catalog.pin(&"a".into(), version("v2"), Duration::ZERO);
    assert_eq!(catalog.refusal("a"), None, "it is served on request");
}

fn removals(out: &ScanChanges) -> Vec<String> {
    let gone = out.events.iter().filter(|event| matches!(event, Event::FunctionRemoved { .. }));
    gone.map(Event::line).collect()
}

/// `install` and `cp --remove-destination` take the old file away before they make the new one.
#[test]
fn a_file_that_is_missing_for_a_moment_is_not_gone() {
    let mut catalog = serving();
    catalog.apply(scan(&[("a", 1), ("b", 1)]));
    let out = catalog.apply_scan(&scan(&[("b", 1)]), GRACE, Duration::ZERO);
    assert_eq!((out.events, out.rescan_at), (vec![], Some(GRACE)));
    let back = catalog.apply_scan(&scan(&[("a", 2), ("b", 1)]), GRACE, GRACE);
    assert_eq!((probed_names(&back), back.rescan_at), (vec!["a"], None));
    catalog.apply_scan(&scan(&[("b", 1)]), GRACE, GRACE * 2);
    assert_eq!(removals(&catalog.apply_scan(&scan(&[("b", 1)]), GRACE, GRACE * 3)).len(), 1);
}

/// A removal on purpose, or a directory that is empty for a moment: as that is unknown, it is logged, and the time is longer.
#[test]
fn the_only_file_of_a_directory_has_longer_to_come_back() {
    let mut catalog = serving();
    let out = catalog.apply_scan(&scan(&[]), GRACE, Duration::ZERO);
    assert!(matches!(out.events.as_slice(), [Event::DirectoryEmptied { seconds: Some(1.0), .. }]), "{out:?}");
    assert_eq!(out.rescan_at, Some(GRACE * REFILL));
    let back = catalog.apply_scan(&scan(&[("a", 2)]), GRACE, GRACE * 5);
    assert_eq!((probed_names(&back), back.rescan_at, back.events.len()), (vec!["a"], None, 0));
    assert_eq!(removals(&catalog.apply_scan(&scan(&[]), GRACE, GRACE * 6)).len(), 0);
    assert_eq!(removals(&catalog.apply_scan(&scan(&[]), GRACE, GRACE * (5 + REFILL))).len(), 0, "the time starts over");
    assert_eq!(removals(&catalog.apply_scan(&scan(&[]), GRACE, GRACE * (6 + REFILL))).len(), 1);
}

#[test]
fn an_emptied_directory_keeps_what_it_held_and_is_filled_slowly() {
    let mut catalog = Catalog::default();
    catalog.apply(scan(&[("a", 1), ("b", 1), ("c", 1)]));
    let out = catalog.apply(scan(&[]));
    assert!(
        matches!(out.events.as_slice(), [Event::DirectoryEmptied { path, seconds: None }] if path == "/w"),
        "{out:?}"
    );
    let mut now = GRACE * 1000;
    for files in [&[("a", 2)][..], &[("a", 2), ("b", 2)]] {
        let out = catalog.apply_scan(&scan(files), GRACE, now);
        assert_eq!((out.events, out.rescan_at), (vec![], Some(now + GRACE * REFILL)));
        now += GRACE * (REFILL - 1);
    }
    assert_eq!(removals(&catalog.apply_scan(&scan(&[("a", 2), ("b", 2)]), GRACE, now + GRACE)).len(), 1);
    catalog.apply_scan(&scan(&[("a", 2)]), GRACE, now);
    assert_eq!(catalog.apply_scan(&scan(&[("a", 2)]), GRACE, now).rescan_at, Some(now + GRACE), "as ever");
}

#[test]
fn a_directory_whose_library_is_passed_over_is_not_empty() {
    let mut catalog = Catalog::default();
    catalog.apply(scan(&[("a", 1)]));
    let (taken, passed_over) = (PathBuf::from("/later/a.so"), PathBuf::from("/w/a.so"));
    let mut both = scan(&[("a", 2)]);
    both.candidates.values_mut().for_each(|a| (a.dir, a.path) = ("/later".into(), taken.clone()));
    let rule = DuplicateRule::LaterDirectory;
    both.warnings = vec![ScanWarning::TwoFiles { function: "a".into(), taken, passed_over, rule }];
    let out = catalog.apply(both);
    assert!(!out.events.iter().any(|event| matches!(event, Event::DirectoryEmptied { .. })), "{out:?}");
}

#[test]
fn a_directory_made_again_is_filled_slowly_too() {
    let mut catalog = serving();
    let failed = ScanResult { failed_dirs: vec![("/w".into(), "does not exist".into())], ..ScanResult::default() };
    catalog.apply(failed);
    let out = catalog.apply(scan(&[]));
    assert_eq!((removals(&out).len(), catalog.functions()), (0, vec!["a".into()]));
    assert_eq!(probed_names(&catalog.apply(scan(&[("a", 2)]))), ["a"]);
    assert_eq!(removals(&catalog.apply(scan(&[]))).len(), 1, "one library that is taken away is meant to go");
}

/// A link to nothing in the place of `a`.
fn link() -> ScanResult {
    let (path, reason) = (PathBuf::from("/w/a.so"), SkipReason::Dangling("nowhere".into()));
    let function = FunctionName::new("a").unwrap();
    let obstacle = Obstacle { function, dir: "/w".into(), path: path.clone(), reason: reason.clone() };
    ScanResult { skipped: vec![(path, reason)], obstacles: vec![obstacle], ..ScanResult::default() }
}

/// Where nothing is remembered it is a thing among others.
#[test]
fn after_a_restart_the_last_good_version_serves_when_its_file_is_no_file() {
    let memory = SavedVersions { last_good: [("a".into(), version("v1"))].into(), ..SavedVersions::default() };
    for (memory, refusals, functions) in [(memory, 1, vec!["a".into()]), (SavedVersions::default(), 0, vec![])] {
        let mut catalog = Catalog::new(memory, ManagerCommand::default());
        let out = catalog.apply(link());
        let refused = |event: &&Event| matches!(event, Event::LibraryRefused { serving: Some(v), .. } if v == "v1");
        assert_eq!(out.events.iter().filter(refused).count(), refusals, "{out:?}");
        assert_eq!((catalog.functions(), removals(&out).len(), catalog.is_settled()), (functions, 0, true));
    }
}

#[test]
fn what_is_no_file_in_a_files_place_is_refused_and_the_old_version_stays() {
    let mut catalog = serving();
    let out = catalog.apply(link());
    let refused = |event: &Event| matches!(event, Event::LibraryRefused { serving: Some(v), .. } if v == "v1");
    assert_eq!(out.events.iter().filter(|event| refused(event)).count(), 1, "{out:?}");
    assert_eq!((catalog.functions(), catalog.refused().count()), (vec!["a".into()], 1));
    assert_eq!(probed_names(&catalog.apply(scan(&[("a", 1)]))), ["a"], "the same file again");
}

/// A plugin `a` that looks for `libb.so` and `lib/c.so.1`, and found the first, which is number 5.
fn beside() -> Vec<SiblingPlace> {
    let place = |path: &str, identity| SiblingPlace { path: path.into(), identity };
    vec![place("/w/libb.so", Some(identity(5))), place("/w/lib/c.so.1", None)]
}

fn places(b: u64, c: Option<u64>) -> BTreeMap<PathBuf, Option<FileIdentity>> {
    [("/w/libb.so".into(), Some(identity(b))), ("/w/lib/c.so.1".into(), c.map(identity))].into()
}

#[test]
fn a_sibling_that_changes_or_appears_causes_another_probe() {
    let mut catalog = serving();
    catalog.set_sibling_places("a", &identity(1), beside());
    let look = |catalog: &mut Catalog, beside| {
        let out = catalog.apply_scan(&ScanResult { beside, ..scan(&[("a", 1)]) }, GRACE, Duration::ZERO);
        probed_names(&out).len()
    };
    assert_eq!(look(&mut catalog, BTreeMap::new()), 0, "a scan that did not look there");
    assert_eq!(look(&mut catalog, places(5, None)), 0);
    assert_eq!((look(&mut catalog, places(6, None)), look(&mut catalog, places(6, None))), (1, 0), "changed, once");
    assert!(!catalog.is_settled());
    catalog.apply_probe(&"a".into(), &identity(1), Ok(version("v2")), Duration::ZERO);
    assert_eq!(catalog.pending().collect::<Vec<_>>(), [("a", "v2")], "a deploy like any other");
    assert_eq!(look(&mut catalog, places(6, Some(1))), 1, "one that would be found before");
    catalog.set_sibling_places("a", &identity(9), Vec::new());
    assert_eq!(look(&mut catalog, places(7, Some(1))), 1, "the probe of another file does not count for this one");
}

/// Whether `a` is probed before or after what it needs.
#[test]
fn what_another_library_needs_is_not_reported() {
    let no_plugin =
        || ProbeFailure { reason: "exports nothing".into(), kind: RejectionKind::Permanent, is_no_plugin: true };
    for needed in [true, false] {
        for plugin_first in [true, false] {
            let mut catalog = Catalog::default();
            let mut files = scan(&[("a", 1)]);
            let function = FunctionName::new("b").unwrap();
            let path = PathBuf::from("/w/libb.so");
            let candidate = Candidate { function: function.clone(), dir: "/w".into(), path, identity: identity(5) };
            files.candidates.insert(function, candidate);
            let libraries = vec![PathBuf::from("/w/lib/c.so.1")];
            files.warnings = vec![ScanWarning::Below { dir: "/w".into(), libraries }];
            files.skipped = vec![("/w/lib".into(), SkipReason::Directory), ("/w/fifo.so".into(), SkipReason::Fifo)];
            let mut events = catalog.apply_scan(&files, GRACE, Duration::ZERO).events;
            assert_eq!(events.len(), 1, "what no library can need is reported at once: {events:?}");
            let plugin = |catalog: &mut Catalog| {
                catalog.set_sibling_places("a", &identity(1), if needed { beside() } else { Vec::new() });
                catalog.apply_probe(&"a".into(), &identity(1), Ok(version("v1")), Duration::ZERO).events
            };
            if plugin_first {
                events.extend(plugin(&mut catalog));
            }
            events.extend(catalog.apply_probe(&"b".into(), &identity(5), Err(no_plugin()), Duration::ZERO).events);
            if !plugin_first {
                assert_eq!(events.len(), 1, "not yet: {events:?}");
                events.extend(plugin(&mut catalog));
            }
            let complaints = events.iter().filter(|event| match event {
                Event::LibraryRefused { function, .. } => function == "b",
                Event::FileSkipped { path, .. } => path == "/w/lib",
                Event::FileWarning { text } => text.contains("/w/lib/c.so.1"),
                _ => false,
            });
            assert_eq!(complaints.count(), if needed { 0 } else { 3 }, "{needed} {plugin_first}");
            assert_eq!(catalog.refused().count(), usize::from(!needed));
            // Taken away together they are one function that goes, not a directory that was emptied.
            let out = catalog.apply_scan(&scan(&[]), GRACE, Duration::ZERO);
            let single = matches!(out.events.as_slice(), [Event::DirectoryEmptied { seconds: Some(_), .. }]);
            assert_eq!(single, needed, "{out:?}");
        }
    }
}
