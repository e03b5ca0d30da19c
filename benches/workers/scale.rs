//! gm-native's manager by the number of workers and functions: what it costs to start them, to replace those that die and
//! to answer `status`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gm_native::gearman::admin;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::report::{Figures, Table};
use crate::support::build::{self, repository};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::wait::wait_for;
use crate::usage;

/// The table's title.
pub const TITLE: &str = "The manager by the number of workers and functions";
/// The most functions that the library exports.
const FUNCTIONS: usize = 100;
/// Workers that are killed at once.
const DEATHS: usize = 50;
const DEADLINE: Duration = Duration::from_secs(120);

/// Measures each scale, `(workers, functions)`, this many times.
pub fn table(scales: &[(usize, usize)], rounds: usize) -> Table {
    let mut table = Table::new(TITLE);
    let library = library();
    for round in 0..rounds {
        for (workers, functions) in scales {
            let name = format!("{workers} workers, {functions} function{}", if *functions == 1 { "" } else { "s" });
            let figures = measure(&library, *workers, *functions);
            eprintln!("  {}/{rounds} {name}: {figures:.1?}", round + 1);
            table.add(name, figures);
        }
    }
    table
}

fn measure(library: &Path, workers: usize, functions: usize) -> Figures {
    // Each worker is a connection, and all of them come at once.
    let server = Gearmand::with_args(&["--hashtable-buckets", "10007", "-b", "4096"]);
    let count = workers / functions;
    let setup = Setup::new(&[&server.server()]).ini(&format!("dedicated_count = {count}")).quiet();
    for function in 0..functions {
        fs::copy(library, setup.dir().join(format!("workers/f{function:03}.so"))).unwrap();
    }
    let start = Instant::now();
    let mut manager = setup.start();
    wait_for("all workers", DEADLINE, || (registered(&server) == workers).then_some(()));
    let up = start.elapsed();
    let pid = manager.pid().as_raw();
    let cpu = usage::processor(pid);
    let memory = usage::memory(pid).private;
    let status = median(5, || drop(manager.status()));
    let healed = heal(&manager, workers);
    let start = Instant::now();
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    vec![
        ("manager's CPU ms/worker", cpu.as_secs_f64() * 1e3 / workers as f64),
        ("start s", up.as_secs_f64()),
        ("50 deaths healed s", healed.as_secs_f64()),
        ("status ms", status.as_secs_f64() * 1e3),
        ("manager's private MB", memory as f64 / 1024.0),
        ("end s", start.elapsed().as_secs_f64()),
    ]
}

/// Registrations of all functions.
fn registered(server: &Gearmand) -> usize {
    let all = admin::status(&server.server(), DEADLINE).unwrap();
    all.iter().map(|status| usize::try_from(status.workers).unwrap()).sum()
}

/// Kills workers, and returns how long it takes until others serve in their place.
fn heal(manager: &Manager, workers: usize) -> Duration {
    let serving = |status: &Value| -> BTreeSet<i64> {
        let all = status["workers"].as_array().unwrap().iter();
        let serving = all.filter(|worker| ["idle", "busy"].contains(&worker["state"].as_str().unwrap()));
        serving.map(|worker| worker["pid"].as_i64().unwrap()).collect()
    };
    let before = serving(&manager.status());
    let step = (workers / DEATHS).max(1);
    let killed: BTreeSet<i64> = before.iter().step_by(step).take(DEATHS).copied().collect();
    let start = Instant::now();
    killed.iter().for_each(|pid| kill(Pid::from_raw(i32::try_from(*pid).unwrap()), Signal::SIGKILL).unwrap());
    wait_for("the replacements", DEADLINE, || {
        let now = serving(&manager.status());
        (now.len() == workers && now.is_disjoint(&killed)).then_some(())
    });
    start.elapsed()
}

fn median(times: usize, mut run: impl FnMut()) -> Duration {
    let mut all: Vec<Duration> = (0..times)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    all.sort_unstable();
    all[times / 2]
}

/// A library that exports every function.
fn library() -> PathBuf {
    let functions = (0..FUNCTIONS).map(|n| format!("GM_FUNCTION(f{n:03}) {{ return gm_result(job, \"\", 0); }}\n"));
    let source = format!("#include <gm_plugin.h>\n{}", functions.collect::<String>());
    let include = format!("-I{}", repository().join("plugin-api/include").display());
    build::c("bench-scale.so", &source, &["-O2", "-fPIC", "-shared", &include])
}
