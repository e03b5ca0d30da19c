//! Who is measured: gm-native, and the other ways to serve the same function.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::load::FUNCTION;
use crate::raw::Loop;
use crate::support::build::{self, repository};
use crate::support::child_guard::ChildGuard;
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::plugins;
use crate::support::watchdog::descendants;

/// A way to serve the function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// This repository's manager with the example's library, and this many jobs in hand at most.
    GmNative(u32),
    /// A loop of ours without anything that a worker needs: a limit.
    Raw(Loop),
    /// A loop on libgearman.
    C,
    /// A loop on php-gearman.
    Php,
    /// GearmanManager, from a checkout.
    GearmanManager(PathBuf),
}

/// One job in hand, as by default.
pub const GM_NATIVE: Peer = Peer::GmNative(1);
/// One job in hand: the limit for a worker that has one.
pub const RAW_ONE: Peer = Peer::Raw(Loop { window: 1, write_each: true });
/// 8 in hand, a write for each result: the limit for prefetch.
pub const RAW_8_EACH: Peer = Peer::Raw(Loop { window: 8, write_each: true });
/// 64 in hand, the same.
pub const RAW_64_EACH: Peer = Peer::Raw(Loop { window: 64, write_each: true });
/// 64 in hand, and what has arrived together is answered together: no worker may do that, since a crash would lose results.
pub const RAW_64_TOGETHER: Peer = Peer::Raw(Loop { window: 64, write_each: false });

impl Peer {
    /// All that can be measured here: GearmanManager if `GEARMAN_MANAGER_DIR` names a checkout.
    pub fn all() -> Vec<Self> {
        let mut all = Self::prefetching();
        all.extend([RAW_ONE, RAW_8_EACH, RAW_64_EACH, RAW_64_TOGETHER, Self::C, Self::Php]);
        all.extend(std::env::var_os("GEARMAN_MANAGER_DIR").map(|dir| Self::GearmanManager(dir.into())));
        all
    }

    /// gm-native with one job in hand, and with more.
    pub fn prefetching() -> Vec<Self> {
        vec![GM_NATIVE, Self::GmNative(8), Self::GmNative(64)]
    }

    /// Whether it holds one job at a time.
    pub fn holds_one(&self) -> bool {
        !matches!(self, Self::GmNative(2..) | Self::Raw(Loop { window: 2.., .. }))
    }

    /// As tables and pictures call it.
    pub fn name(&self) -> String {
        match self {
            Self::GmNative(1) => "gm-native".into(),
            Self::GmNative(prefetch) => format!("gm-native, prefetch {prefetch}"),
            Self::Raw(Loop { window: 1, .. }) => "raw loop".into(),
            Self::Raw(Loop { window, write_each: true }) => format!("raw loop, {window} in hand"),
            Self::Raw(Loop { window, write_each: false }) => format!("raw loop, {window} together"),
            Self::C => "libgearman, C".into(),
            Self::Php => "php-gearman".into(),
            Self::GearmanManager(_) => "GearmanManager".into(),
        }
    }

    /// Starts `count` workers.
    pub fn start(&self, server: &Gearmand, count: usize) -> Running {
        let (host, port) = (server.host(), server.port().to_string());
        match self {
            Self::GmNative(prefetch) => {
                let setup = gm_native(server, count, *prefetch);
                Running::GmNative(Box::new(setup.plugin(FUNCTION, &plugins::example(FUNCTION)).start()))
            }
            Self::Raw(of) => processes(count, || {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args(["raw", &server.server(), FUNCTION]).args(of.args());
                command
            }),
            Self::C => {
                let source = include_str!("worker.c");
                let program = build::c("bench-worker", source, &["-O2", "-lgearman"]);
                processes(count, || {
                    let mut command = Command::new(&program);
                    command.args([&host, &port, FUNCTION]);
                    command
                })
            }
            Self::Php => processes(count, || {
                let mut command = Command::new("php");
                command.arg(repository().join("benches/workers/worker.php")).args([&host, &port, FUNCTION]);
                command
            }),
            Self::GearmanManager(checkout) => gearman_manager(checkout, server, count),
        }
    }
}

/// Workers that run. They end when this is dropped.
pub enum Running {
    GmNative(Box<Manager>),
    Processes(Vec<ChildGuard>),
    /// Its directory goes last.
    GearmanManager(ChildGuard, TempDir),
}

impl Running {
    /// All processes: a manager, its workers, and what else it has started.
    pub fn pids(&self) -> Vec<i32> {
        match self {
            Self::GmNative(manager) => manager.processes().into_iter().map(Pid::as_raw).collect(),
            Self::Processes(all) => all.iter().map(|process| process.pid().as_raw()).collect(),
            Self::GearmanManager(manager, _) => {
                let workers = descendants(manager.pid()).into_iter().map(Pid::as_raw);
                std::iter::once(manager.pid().as_raw()).chain(workers).collect()
            }
        }
    }

    /// The workers among them.
    pub fn workers(&self) -> Vec<i32> {
        let is_worker = |pid: &i32| {
            let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let title = String::from_utf8_lossy(&title);
            !title.contains("guardian") && !title.contains("manager")
        };
        match self {
            Self::GmNative(manager) => {
                let root = manager.pid().as_raw();
                self.pids().into_iter().filter(|pid| *pid != root).filter(is_worker).collect()
            }
            Self::Processes(_) => self.pids(),
            Self::GearmanManager(manager, _) => {
                self.pids().into_iter().filter(|pid| *pid != manager.pid().as_raw()).collect()
            }
        }
    }

    /// Stops them, and waits until they have exited.
    pub fn stop(mut self) {
        match &mut self {
            Self::GmNative(manager) => {
                manager.signal(Signal::SIGTERM);
                manager.wait_exit();
            }
            Self::Processes(all) => {
                all.iter().for_each(|process| process.signal(Signal::SIGTERM));
                all.iter_mut().for_each(|process| {
                    process.wait();
                });
            }
            // It waits a minute for workers that do not listen: nobody measures that here.
            Self::GearmanManager(..) => {}
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Self::GearmanManager(..) = self {
            let all = self.pids();
            all.into_iter().for_each(|pid| {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            });
        }
    }
}

/// gm-native, still without a library.
pub fn gm_native(server: &Gearmand, count: usize, prefetch: u32) -> Setup {
    let ini = format!("dedicated_count = {count}\nprefetch = {prefetch}");
    Setup::new(&[&server.server()]).ini(&ini).quiet()
}

fn processes(count: usize, command: impl Fn() -> Command) -> Running {
    Running::Processes((0..count).map(|_| ChildGuard::start("a worker", &mut command())).collect())
}

fn gearman_manager(checkout: &Path, server: &Gearmand, count: usize) -> Running {
    let dir = TempDir::with_prefix("gm-bench-").unwrap();
    let workers = dir.path().join("workers");
    fs::create_dir(&workers).unwrap();
    let code = format!("<?php\nfunction {FUNCTION}($job, &$log) {{ return strrev($job->workload()); }}\n");
    fs::write(workers.join(format!("{FUNCTION}.php")), code).unwrap();
    // A splay of 0 it takes for one that nobody set; lifetimes would end workers meanwhile.
    let text = format!(
        "[GearmanManager]\nhost = {}\nworker_dir = {}\ndedicated_count = {count}\nmax_worker_lifetime = 86400\n\
         worker_initial_spawn_splay = 1\n",
        server.server(),
        workers.display(),
    );
    let ini = dir.path().join("gm.ini");
    fs::write(&ini, text).unwrap();
    let mut command = Command::new("php");
    command.args(["-d", "error_reporting=0"]).arg(checkout.join("bin/pecl_manager.php")).arg("-c").arg(&ini);
    Running::GearmanManager(ChildGuard::start("GearmanManager", &mut command), dir)
}
