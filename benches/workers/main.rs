//! `make bench`: gm-native beside the other ways to serve a function with Gearman, interleaved in one run on a gearmand of
//! its own. `make bench-quick` does less of it, in two minutes.
//!
//! Absolute figures move from machine to machine and from hour to hour: what counts is how the rows of one run compare.

#![allow(dead_code, reason = "it uses a part of what tests stand on")]
#![allow(clippy::unwrap_used, reason = "a bench ends by panicking")]
#![allow(clippy::cast_precision_loss, reason = "counts of jobs")]

mod experiments;
mod load;
mod peers;
mod picture;
mod raw;
mod report;
mod scale;
#[path = "../../tests/support/mod.rs"]
mod support;
mod usage;
mod wire;

use std::fs;
use std::path::Path;
use std::process::Command;

use peers::Peer;
use report::{Figures, Table};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// Runs of each peer in each experiment.
    rounds: usize,
    sizes: &'static [usize],
    workers: &'static [usize],
    /// Jobs are this many times fewer.
    divisor: usize,
    /// Workers whose memory and start are looked at.
    idle: usize,
    /// Workers, and the functions they are for.
    scales: &'static [(usize, usize)],
}

const WHOLE: Extent = Extent {
    rounds: 5,
    sizes: &[16, 1 << 10, 64 << 10, 1 << 20],
    workers: &[1, 2, 4],
    divisor: 1,
    idle: 100,
    scales: &[
        (100, 1),
        (100, 10),
        (100, 100),
        (1_000, 1),
        (1_000, 10),
        (1_000, 100),
        (4_000, 1),
        (4_000, 10),
        (4_000, 100),
    ],
};
const QUICK: Extent =
    Extent { rounds: 3, sizes: &[16, 64 << 10], workers: &[1], divisor: 4, idle: 20, scales: &[(100, 1), (1_000, 10)] };

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let Some((first, rest)) = args.split_first()
        && first == "raw"
    {
        return raw::main(rest);
    }
    let extent = if args.iter().any(|arg| arg == "quick") { QUICK } else { WHOLE };
    let out = args.iter().find_map(|arg| arg.strip_prefix("out="));
    let only = args.iter().find_map(|arg| arg.strip_prefix("only=")).unwrap_or_default();
    let tables = measure(extent, only);
    let machine = machine();
    let mut text = format!("{machine}\n");
    for table in &tables {
        text.push_str(&format!("\n{}", table.markdown()));
    }
    println!("{text}");
    if let Some(dir) = out {
        write(Path::new(dir), &text, &tables);
    }
}

/// Runs every experiment whose title contains `only`.
fn measure(extent: Extent, only: &str) -> Vec<Table> {
    let all = Peer::all();
    let mut tables = Vec::new();
    let mut run = |title: String, peers: &[Peer], rounds: usize, of: &dyn Fn(&Peer) -> Figures| {
        if !title.contains(only) {
            return;
        }
        eprintln!("{title}");
        tables.push(interleaved(title, peers, rounds, of));
    };
    for size in extent.sizes {
        let workload = vec![b'x'; *size];
        for workers in extent.workers {
            run(
                format!("A queue drained: {}, {}", bytes(*size), count(*workers, "worker")),
                &all,
                extent.rounds,
                &|peer| experiments::drain(peer, *workers, jobs(*size, peer, extent), &workload),
            );
        }
    }
    let short = [b'x'; 16];
    for workers in extent.workers {
        let title = format!("64 jobs under way: 16 bytes, {}", count(*workers, "worker"));
        run(title, &all, extent.rounds, &|peer| {
            experiments::in_flight(peer, *workers, 60_000 / extent.divisor, &short)
        });
    }
    for (long, jobs) in [(1_000, 4_000), (20, 40_000)] {
        for workers in [1, 4, 8] {
            let share = f64::from(long) / 1_000.0;
            let title = format!("Jobs of 20 us, {share} % of 50 ms, 64 under way: {}", count(workers, "worker"));
            run(title, &Peer::prefetching(), extent.rounds, &|peer| {
                experiments::uneven(peer, workers, jobs / extent.divisor, long)
            });
        }
    }
    let one_by_one: Vec<Peer> = all.iter().filter(|peer| peer.holds_one()).cloned().collect();
    run("One job after the other: 16 bytes, one worker".into(), &one_by_one, extent.rounds, &|peer| {
        experiments::ping(peer, 8_000 / extent.divisor, &short)
    });
    run("System calls of a worker".into(), &one_by_one, 1, &|peer| experiments::calls(peer, 2_000));
    let idle: Vec<Peer> = [peers::GM_NATIVE, peers::RAW_ONE, Peer::C, Peer::Php].into();
    run(format!("{} that wait for jobs", count(extent.idle, "worker")), &idle, extent.rounds.min(3), &|peer| {
        experiments::footprint(peer, extent.idle)
    });
    if scale::TITLE.contains(only) {
        eprintln!("{}", scale::TITLE);
        tables.push(scale::table(extent.scales, extent.rounds));
    }
    if only.is_empty() {
        tables.push(load_alone(extent));
    }
    tables
}

/// How fast the load is without workers: it must not be what limits them.
fn load_alone(extent: Extent) -> Table {
    let mut table = Table::new("The load alone: jobs of 16 bytes submitted");
    for _ in 0..extent.rounds {
        let server = experiments::server();
        let rate = load::submit_rate(&server.server(), 100_000 / extent.divisor, &[b'x'; 16]);
        table.add("background jobs".into(), vec![("jobs/s", rate)]);
    }
    table
}

/// Every peer once, then every peer again, each round beginning with another: a machine that gets slower meanwhile slows
/// down all of them.
fn interleaved(title: String, peers: &[Peer], rounds: usize, of: &dyn Fn(&Peer) -> Figures) -> Table {
    let mut table = Table::new(title);
    for round in 0..rounds {
        for index in 0..peers.len() {
            let peer = &peers[(index + round) % peers.len()];
            let figures = of(peer);
            eprintln!("  {}/{rounds} {}: {figures:.1?}", round + 1, peer.name());
            table.add(peer.name(), figures);
        }
    }
    table
}

/// So many that a run takes a second or two, and that gearmand has memory for them.
fn jobs(size: usize, peer: &Peer, extent: Extent) -> usize {
    let many = if peer.holds_one() { 1 } else { 5 };
    let fitting = (512 << 20) / size;
    (40_000 * many).min(fitting).max(100) / extent.divisor
}

/// The machine, in one line.
fn machine() -> String {
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let output = |program: &str, arg: &str| {
        let output = Command::new(program).arg(arg).env("PATH", "/usr/bin:/bin:/usr/sbin:/usr/local/sbin").output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let kernel = output("uname", "-sr");
    let gearmand = output("gearmand", "--version").lines().next().unwrap_or_default().to_owned();
    format!("{cores} cores of {model}, {kernel}, {gearmand}, gm-native {}.", env!("CARGO_PKG_VERSION"))
}

fn write(dir: &Path, text: &str, tables: &[Table]) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("workers.md"), format!("# gm-native beside others\n\n{text}")).unwrap();
    for (number, table) in tables.iter().enumerate() {
        let figure = table.figures()[0];
        fs::write(dir.join(format!("{:02}.svg", number + 1)), picture::bars(table, figure)).unwrap();
    }
}

fn bytes(size: usize) -> String {
    match size {
        mega if mega >= 1 << 20 => format!("{} MiB", mega >> 20),
        kilo if kilo >= 1 << 10 => format!("{} KiB", kilo >> 10),
        few => format!("{few} bytes"),
    }
}

fn count(of: usize, what: &str) -> String {
    if of == 1 { format!("one {what}") } else { format!("{of} {what}s") }
}
