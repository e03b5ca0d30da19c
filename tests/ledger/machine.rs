//! The machine of the managers: a small disk for each, and a name server that can be made mute. Both are seen only by the
//! run, which has mounts of its own; where it may not have them, these faults are left out.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use crate::resolver::Resolver;

/// What the state directory of a manager may hold: its log, and three versions of each function.
const DISK: &str = "size=320m,mode=0700";

/// What the run has of its own.
pub struct Machine {
    may_mount: bool,
    /// What looks names up, where this process may be a name server.
    pub resolver: Option<Resolver>,
}

impl Machine {
    /// Gives this thread, and all that it starts, mounts of their own. `dir` is for the files.
    pub fn prepare(dir: &Path) -> Self {
        let may_mount = unshare(CloneFlags::CLONE_NEWNS).is_ok() && mount(&["--make-rprivate", "/"]);
        let resolver = if may_mount { Resolver::start().filter(|resolver| asks(resolver, dir)) } else { None };
        if !may_mount {
            println!("ledger: no full disk and no mute resolver: they need root and mounts of the run's own");
        } else if resolver.is_none() {
            println!("ledger: no mute resolver: it needs the right to be a name server");
        }
        Self { may_mount, resolver }
    }

    /// A small disk at this directory.
    pub fn disk(&self, place: &Path) -> Option<Disk> {
        let place = place.to_owned();
        let path = place.to_str().unwrap();
        (self.may_mount && mount(&["-t", "tmpfs", "-o", DISK, "gm-ledger", path])).then_some(Disk { place })
    }
}

/// Has everybody who looks names up ask this name server, and no file of hosts.
fn asks(resolver: &Resolver, dir: &Path) -> bool {
    let name_server = format!("nameserver {}\noptions timeout:1 attempts:5\n", resolver.address());
    [("resolv.conf", name_server), ("nsswitch.conf", "hosts: dns\n".into())].into_iter().all(|(name, text)| {
        let file = dir.join(name);
        fs::write(&file, text).unwrap();
        mount(&["--bind", file.to_str().unwrap(), &format!("/etc/{name}")])
    })
}

fn mount(args: &[&str]) -> bool {
    Command::new("mount").args(args).status().is_ok_and(|status| status.success())
}

/// A small disk; it goes with the directory in which it is.
pub struct Disk {
    place: PathBuf,
}

impl Disk {
    fn filler(&self) -> PathBuf {
        self.place.join("filler")
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        for size in [1 << 16, 1] {
            while filler.write_all(&[1, 2, 3, 4].repeat(size)).is_ok() {}
        }
    }

    /// Takes away what filled it.
    pub fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that is about to end may still hold a file on it.
        let _ = Command::new("umount").arg("-l").arg(&self.place).status();
        // Its owner could not remove it while it was mounted.
        let _ = self.place.parent().map(fs::remove_dir_all);
    }
}
