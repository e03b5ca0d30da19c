//! M4, M5: the disk of the store full, read-only or noexec, or the store gone. The deploy is refused in a sentence,
//! jobs go on, and when there is room again the version comes by itself.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use crate::fixture::{
    QUICK, ask, count_events, hash, rename_over, served, strict_gearmand, version, wait_all, wait_deployed,
};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::program::run;
use crate::support::wait::DEADLINE;

/// A file system that only this thread and what it starts can see.
struct Mount(PathBuf);

impl Mount {
    fn new(place: &Path, args: &[&str]) -> Result<Self, String> {
        mount(&[args, &[place.to_str().unwrap()]].concat()).map(|()| Self(place.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a manager may be using it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(args: &[&str]) -> Result<(), String> {
    let done = run(Command::new("mount").args(args), b"", DEADLINE).map_err(|hung| format!("{hung:?}"))?;
    if done.status.success() { Ok(()) } else { Err(format!("mount {args:?}: {}", done.err())) }
}

/// The thread's own view of what is mounted, and a small disk in it.
fn small_disk(place: &Path) -> Result<Mount, String> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| format!("no namespace of our own: {error}"))?;
    mount(&["--make-rprivate", "/"])?;
    Mount::new(place, &["-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs"])
}

/// A manager with a store of 64 MiB; the file system is to go before it. `None`, with the reason printed, where
/// mounting is not permitted.
fn on_a_small_disk() -> Option<(Gearmand, Manager, Mount)> {
    let gearmand = strict_gearmand();
    let setup = Setup::new(&[&gearmand.server()]).ini(QUICK);
    fs::write(setup.dir().join("workers/stamped.so"), version("v1")).unwrap();
    let store = setup.dir().join("state/store");
    fs::create_dir(&store).unwrap();
    let disk = small_disk(&store).map_err(|why| eprintln!("skipped: {why}")).ok()?;
    let manager = setup.start();
    wait_all(&manager, "stamped", &version("v1"));
    Some((gearmand, manager, disk))
}

/// Puts a version in place that cannot be stored for this reason.
#[track_caller]
fn refused(gearmand: &Gearmand, manager: &Manager, name: &str, words: &str) {
    rename_over(manager, &version(name));
    let event = manager.wait_event("library_refused", |event| event["reason"].as_str().unwrap().contains(words));
    assert_eq!(event["serving"], *hash(&version("v1")), "{event}");
    assert_eq!(ask(gearmand, "stamped"), "v1");
}

#[test]
fn full() {
    let Some((gearmand, manager, _disk)) = on_a_small_disk() else { return };
    let filler = manager.dir().join("state/store/filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[1; 1 << 16]).is_ok() {}
    refused(&gearmand, &manager, "v2", "is full (No space left on device); free space there");
    fs::remove_file(filler).unwrap();
    drop(file);
    wait_deployed(&gearmand, &manager, "v2");
    assert_eq!(count_events(&manager, "library_refused", "stamped"), 1);
}

#[test]
fn read_only_and_noexec() {
    for (option, words) in [("ro", "Read-only file system"), ("noexec", "noexec")] {
        let Some((gearmand, manager, _disk)) = on_a_small_disk() else { return };
        let store = manager.dir().join("state/store");
        let again = Mount::new(&store, &["--bind", "-o", option, store.to_str().unwrap()]).unwrap();
        refused(&gearmand, &manager, "v2", words);
        drop(again);
        wait_deployed(&gearmand, &manager, "v2");
        assert_eq!(count_events(&manager, "library_refused", "stamped"), 1);
    }
}

/// The libraries are good, so the start says what is not.
#[test]
fn a_start_with_a_state_directory_mounted_noexec_fails() {
    let gearmand = strict_gearmand();
    let setup = Setup::new(&[&gearmand.server()]).ini(QUICK);
    fs::write(setup.dir().join("workers/stamped.so"), version("v1")).unwrap();
    let state = setup.dir().join("state");
    let _disk = match small_disk(&state) {
        Ok(disk) => disk,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    mount(&["-o", "remount,noexec", state.to_str().unwrap()]).unwrap();
    let failed = setup.run_to_end();
    assert_eq!(failed.code(), Some(1), "{failed:?}");
    let advice =
        "is on a file system mounted noexec, and workers load libraries from it; name another with --state-dir";
    assert!(failed.err().contains(advice), "{failed:?}");
    assert!(!failed.err().contains("stamped"), "{failed:?}");
}

/// M5: with all it held. What runs goes on, and the next version finds a place.
#[test]
fn removed() {
    let (gearmand, manager) = served("");
    let store = manager.dir().join("state/store");
    fs::remove_dir_all(&store).unwrap();
    assert_eq!(ask(&gearmand, "stamped"), "v1");
    rename_over(&manager, &version("v2"));
    wait_deployed(&gearmand, &manager, "v2");
    assert_eq!(fs::metadata(&store).unwrap().permissions().mode() & 0o7777, 0o700);
}
