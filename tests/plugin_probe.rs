//! Every way of being wrong, through a real probe.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod corpus;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use corpus::{Case, probe};
use gm_native::plugins::permissions::FilePolicy;
use gm_native::plugins::report::LoadableLibrary;
use gm_native::plugins::store::Store;

/// The process in which libraries are loaded; see [`corpus::probe`].
#[test]
fn probe_child() {
    probe::child();
}

#[test]
fn each_has_its_own_sentence() {
    let state = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(state.path()).unwrap();
    let cases = corpus::cases();
    assert!(cases.len() >= 30);
    // Those that hang are waited for together.
    let (hanging, others): (Vec<_>, Vec<_>) =
        cases.iter().partition(|case| case.expect.contains("did not load within"));
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let hanging: Vec<_> = hanging.iter().map(|case| scope.spawn(|| misjudged(&store, case))).collect();
        let mut wrong: Vec<String> = others.iter().filter_map(|case| misjudged(&store, case)).collect();
        wrong.extend(hanging.into_iter().filter_map(|thread| thread.join().unwrap()));
        wrong
    });
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What is wrong with the probe's report on a case.
fn misjudged(store: &Store, case: &Case) -> Option<String> {
    let copy = store.incoming(&case.function);
    let verdict = probe::run(&probe::order(&case.path, &case.function, copy.clone()));
    assert_eq!(copy.exists(), verdict.is_ok(), "{}: the copy stays where it is served, only there", case.function);
    let sentence = verdict.map_or_else(|refusal| refusal.to_string(), |found| served(&found).into());
    let Case { function, expect, .. } = case;
    (!case.matches(&sentence)).then(|| format!("{function}\n  expected: {expect}\n  found:    {sentence}"))
}

/// The text for a library that is served.
fn served(found: &LoadableLibrary) -> &'static str {
    found.warning().unwrap_or("is served")
}

#[test]
fn what_is_served_can_be_adopted() {
    let state = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(state.path()).unwrap();
    let (good, function) = corpus::good();
    let order = probe::order(&good, function, store.incoming("1"));
    let found = probe::run(&order).unwrap();
    let stored = store.adopt(&order.copy_to, found.hash, &order.function).unwrap();
    assert_eq!(fs::read(&stored.path).unwrap(), fs::read(&good).unwrap());
    let sum = Command::new("sha256sum").arg(&stored.path).output().unwrap().stdout;
    assert!(String::from_utf8(sum).unwrap().starts_with(&stored.hash.to_string()));
    assert!(found.needed.iter().any(|library| library == "libc.so.6"));
}

/// H2.
#[test]
fn strict_permissions_are_judged_in_the_probe() {
    let state = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(state.path()).unwrap();
    let (good, function) = corpus::good();
    let workers = state.path().canonicalize().unwrap().join("workers");
    fs::create_dir(&workers).unwrap();
    fs::set_permissions(&workers, fs::Permissions::from_mode(0o777)).unwrap();
    let candidate = workers.join("x.so");
    fs::copy(good, &candidate).unwrap();
    fs::set_permissions(&candidate, fs::Permissions::from_mode(0o644)).unwrap();
    let mut order = probe::order(&candidate, function, store.incoming("1"));
    order.file_policy = Some(FilePolicy { run_uid: nix::unistd::geteuid().as_raw() });
    let refusal = probe::run(&order).unwrap_err().to_string();
    let workers = workers.display();
    assert_eq!(
        refusal,
        format!("cannot be trusted: {workers} is writable by everybody (mode 0777); chmod go-w {workers}")
    );
    order.file_policy = None;
    probe::run(&order).unwrap();
}

#[test]
fn a_prefix_belongs_to_the_symbol() {
    let state = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(state.path()).unwrap();
    let (good, function) = corpus::good();
    let (prefix, rest) = function.split_at(2);
    let mut order = probe::order(&good, rest, store.incoming("1"));
    order.prefix = prefix.into();
    probe::run(&order).unwrap();
    let mut order = probe::order(&good, function, store.incoming("2"));
    order.prefix = "wk_".into();
    let expected = format!(
        "does not export wk_{function}; it exports {function}, without the prefix wk_: rename the function, or set no \
         prefix"
    );
    assert_eq!(probe::run(&order).unwrap_err().to_string(), expected);
}

/// In a mount namespace of its own, where the state directory is mounted noexec.
#[test]
fn a_store_mounted_noexec_is_named() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path().canonicalize().unwrap();
    let own_mount =
        ["--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs -o noexec none \"$0\" && exec \"$@\""];
    let mut possible = Command::new("unshare");
    possible.args(own_mount).arg(&state).arg("true");
    if !possible.output().is_ok_and(|out| out.status.success()) {
        eprintln!("skipped: no mount namespace can be made here");
        return;
    }
    let (good, function) = corpus::good();
    let mut command = Command::new("unshare");
    command.args(own_mount).arg(&state).arg(std::env::current_exe().unwrap());
    let refusal = probe::run_by(&probe::order(&good, function, state.join("copy")), command).unwrap_err();
    let state = state.display();
    assert_eq!(
        refusal.to_string(),
        format!(
            "cannot be loaded from {state}, which is on a file system mounted noexec; point state_dir elsewhere, or \
             mount that file system with exec"
        )
    );
}
