//! What the interface costs, against the same work without it: `cargo bench -p gm-plugin-api`.
//!
//! Figures move from machine to machine: compare within one run. What a record costs that is not wanted is printed at
//! the end as a difference: `cargo bench -p gm-plugin-api --bench call -- turns`.

mod host;

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use gm_plugin_api::__private::{ObjectFunction, Plain, PlainFunction};
use gm_plugin_api::abi::{PluginRef, RawContext, RawJob, RawState, level, table};
use gm_plugin_api::{Context, Job, JobResult, Log, Output, function};
use host::HOST;

/// A plain function as the macro writes it down, under a name of its own.
macro_rules! plain {
    ($name:ident, $job:ident, $log:ident, $body:expr) => {
        struct $name;
        impl Plain for $name {
            const ABOUT: gm_plugin_api::__private::About = gm_plugin_api::__private::about!("bench");
            fn run($job: &Job, $log: &mut Log) -> JobResult {
                Ok(Output::from($body))
            }
        }
    };
}

plain!(Nothing, _job, _log, ());
plain!(Upper, job, _log, job.workload().to_ascii_uppercase());
plain!(Status, job, _log, {
    job.status(1, 2);
});
plain!(UnwantedLine, job, log, log.debug(format_args!("{job:?}")));
plain!(UnwantedLog, job, _log, log::debug!("{job:?}"));
plain!(UnwantedTracing, job, _log, tracing::debug!("{job:?}"));

/// Turns of a loop inside one job: beside so many the call itself is nothing.
const TURNS: u32 = 10_000;

/// A job that takes so many turns, with something in each.
macro_rules! turns {
    ($name:ident, $log:ident, $turn:ident $(, $in_each:expr)?) => {
        plain!($name, _job, $log, {
            for $turn in 0..TURNS {
                black_box($turn);
                $($in_each;)?
            }
        });
    };
}

turns!(Turns, _log, turn);
turns!(TurnsOfLine, log, turn, log.debug(format_args!("turn {turn}")));
turns!(TurnsOfLog, _log, turn, log::debug!("turn {turn}"));
turns!(TurnsOfTracing, _log, turn, tracing::debug!(turn, "a turn"));

struct Counter(u64);

#[function]
impl Counter {
    fn new(_: &Context) -> Self {
        Self(0)
    }

    fn run(&mut self, _: &Job, _: &mut Log) {
        self.0 += 1;
    }
}

/// The least time a turn took, in nanoseconds; none where the command line left this out.
fn turn(c: &mut Criterion, name: &str, table: PluginRef, job: &RawJob<'_>) -> Option<f64> {
    let run = black_box(table.run());
    let mut least: Option<f64> = None;
    c.bench_function(name, |b| {
        b.iter_custom(|jobs| {
            let start = Instant::now();
            for _ in 0..jobs {
                black_box(run(RawState(std::ptr::null_mut()), black_box(job)));
            }
            let took = start.elapsed();
            let each = took.as_secs_f64() * 1e9 / jobs as f64 / f64::from(TURNS);
            least = Some(least.map_or(each, |least| least.min(each)));
            took
        });
    });
    least
}

/// The same loop with and without a record that is not wanted: the difference is what the record costs.
fn unwanted_records(c: &mut Criterion, job: &RawJob<'_>) {
    let Some(empty) = turn(c, "turns", table::<PlainFunction<Turns>>(), job) else { return };
    for (of, table) in [
        ("Log", table::<PlainFunction<TurnsOfLine>>()),
        ("log", table::<PlainFunction<TurnsOfLog>>()),
        ("tracing", table::<PlainFunction<TurnsOfTracing>>()),
    ] {
        if let Some(turn) = turn(c, &format!("turns with an unwanted record of {of}"), table, job) {
            println!("unwanted record of {of}: {turn:.2} ns a turn instead of {empty:.2}: {:.2} ns", turn - empty);
        }
    }
}

fn calls(c: &mut Criterion) {
    let context = RawContext {
        size: size_of::<RawContext<'_>>(),
        function: "bench".into(),
        settings: [][..].into(),
        host: &HOST,
    };
    let workload = [b'a'; 64];
    let job = RawJob {
        size: size_of::<RawJob<'_>>(),
        number: 1,
        handle: b"H:a:1"[..].into(),
        unique: b"u"[..].into(),
        function: "bench".into(),
        workload: workload[..].into(),
        host: &HOST,
    };
    let mut bench = |name: &str, table: PluginRef| {
        (table.set_level())(level::INFO);
        let state = (table.new())(&context).into_result().unwrap_or(RawState(std::ptr::null_mut()));
        let run = black_box(table.run());
        c.bench_function(name, |b| b.iter(|| run(black_box(state), black_box(&job))));
        (table.drop())(state);
    };
    bench("nothing", table::<PlainFunction<Nothing>>());
    bench("nothing, of an object", table::<ObjectFunction<Counter>>());
    bench("64 bytes to upper case", table::<PlainFunction<Upper>>());
    bench("a status", table::<PlainFunction<Status>>());
    bench("an unwanted line of Log", table::<PlainFunction<UnwantedLine>>());
    bench("an unwanted record of log", table::<PlainFunction<UnwantedLog>>());
    bench("an unwanted event of tracing", table::<PlainFunction<UnwantedTracing>>());

    // The calls above have set the level, and forwarding is in place.
    unwanted_records(c, &job);

    let direct: fn(&[u8]) -> Output = |_| Output::from(());
    let direct = black_box(direct);
    c.bench_function("nothing, directly", |b| b.iter(|| direct(black_box(&workload))));
    let direct: fn(&[u8]) -> Output = |workload| Output::from(workload.to_ascii_uppercase());
    let direct = black_box(direct);
    c.bench_function("64 bytes to upper case, directly", |b| b.iter(|| direct(black_box(&workload))));
}

criterion_group!(benches, calls);
criterion_main!(benches);
