//! What the interface costs, against the same work without it: `cargo bench -p gm-plugin-api`.
//!
//! Figures move from machine to machine: compare within one run.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use gm_plugin_api::__private::{ObjectFunction, Plain, PlainFunction};
use gm_plugin_api::abi::{Host, PluginRef, RSlice, RStr, RawContext, RawJob, RawState, level, table};
use gm_plugin_api::{Context, Job, JobResult, Log, Output, function};

extern "C" fn status(_: u64, _: u64, _: u64) -> bool {
    true
}

extern "C" fn bytes(_: u64, _: RSlice<'_, u8>) -> bool {
    true
}

extern "C" fn log(_: u64, _: u8, _: RStr<'_>, _: RStr<'_>) {}

extern "C" fn stopping(_: u64) -> bool {
    false
}

static HOST: Host = Host { size: size_of::<Host>(), status, data: bytes, warning: bytes, log, stopping };

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

/// Rounds of one job: a call's own cost does not count against so many.
const ROUNDS: u32 = 10_000;

/// Such a job, each of its rounds with what is measured.
macro_rules! rounds {
    ($name:ident, |$job:ident, $log:ident, $round:ident| $body:expr) => {
        plain!($name, $job, $log, {
            let _ = ($job, &$log);
            for $round in 0..ROUNDS {
                let _ = black_box($round);
                $body;
            }
        });
    };
}

rounds!(Rounds, |job, log, round| ());
rounds!(RoundsOfLine, |job, log, round| log.debug(format_args!("round {round}")));
rounds!(RoundsOfLog, |job, log, round| log::debug!("round {round}"));
rounds!(RoundsOfTracing, |job, log, round| tracing::debug!(round));

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

fn context() -> RawContext<'static> {
    RawContext { size: size_of::<RawContext<'_>>(), function: "bench".into(), settings: [][..].into(), host: &HOST }
}

fn job(workload: &[u8]) -> RawJob<'_> {
    RawJob {
        size: size_of::<RawJob<'_>>(),
        number: 1,
        handle: b"H:a:1"[..].into(),
        unique: b"u"[..].into(),
        function: "bench".into(),
        workload: workload.into(),
        host: &HOST,
    }
}

/// The quickest of many runs: what else the machine does only adds.
fn quickest(table: PluginRef) -> Duration {
    (table.set_level())(level::INFO);
    let state = (table.new())(&context()).into_result().unwrap_or(RawState(std::ptr::null_mut()));
    let job = job(b"");
    let run = black_box(table.run());
    let once = || {
        let began = Instant::now();
        let _ = black_box(run(state, &job));
        began.elapsed()
    };
    let least = (0..2000).map(|_| once()).min().unwrap_or_default();
    (table.drop())(state);
    least
}

/// What one record costs that nobody wants: the difference between rounds with it and without.
fn unwanted(_: &mut Criterion) {
    let without = quickest(table::<PlainFunction<Rounds>>());
    for (what, table) in [
        ("line of Log", table::<PlainFunction<RoundsOfLine>>()),
        ("record of log", table::<PlainFunction<RoundsOfLog>>()),
        ("event of tracing", table::<PlainFunction<RoundsOfTracing>>()),
    ] {
        let more = quickest(table).as_secs_f64() - without.as_secs_f64();
        let (each, round) = (more * 1e9 / f64::from(ROUNDS), without.as_secs_f64() * 1e9 / f64::from(ROUNDS));
        println!("an unwanted {what} costs {each:.2} ns, beside {round:.2} ns for a round without it");
    }
}

fn calls(c: &mut Criterion) {
    let context = context();
    let workload = [b'a'; 64];
    let job = job(&workload);
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

    let direct: fn(&[u8]) -> Output = |_| Output::from(());
    let direct = black_box(direct);
    c.bench_function("nothing, directly", |b| b.iter(|| direct(black_box(&workload))));
    let direct: fn(&[u8]) -> Output = |workload| Output::from(workload.to_ascii_uppercase());
    let direct = black_box(direct);
    c.bench_function("64 bytes to upper case, directly", |b| b.iter(|| direct(black_box(&workload))));
}

criterion_group!(benches, unwanted, calls);
criterion_main!(benches);
