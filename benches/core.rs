//! What an input costs the supervisor's core, by the number of workers: `cargo bench --features bench --bench core`.
//!
//! The cost of a message may not depend on how many workers there are. Figures move from machine to machine: compare
//! within one run.

#![allow(missing_docs, reason = "criterion's macros write functions without any")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gm_native::bench::ServingCore;

/// Workers and functions.
const SCALES: [(usize, usize); 5] = [(10, 1), (100, 10), (1_000, 10), (1_000, 100), (10_000, 100)];

fn costs(criterion: &mut Criterion) {
    let cores = SCALES.map(|(workers, functions)| {
        let name = format!("{workers} workers, {functions} functions");
        (name, ServingCore::new(workers, functions))
    });
    let mut group = criterion.benchmark_group("core");
    for (name, mut core) in cores {
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("a message", &name), |bench| bench.iter(|| core.message()));
        group.bench_function(BenchmarkId::new("a tick", &name), |bench| bench.iter(|| core.tick()));
        group.throughput(Throughput::Elements(core.replace()));
        group.bench_function(BenchmarkId::new("a replacement", &name), |bench| bench.iter(|| core.replace()));
    }
    group.finish();
}

criterion_group!(benches, costs);
criterion_main!(benches);
