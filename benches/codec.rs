//! What it costs to read and write packets: `cargo bench --bench codec`.
//!
//! Figures move from machine to machine: compare within one run. Reading a job copies its bytes once, as receiving does.

#![allow(missing_docs, reason = "criterion's macros write functions without any")]
#![allow(clippy::unwrap_used, reason = "a bench ends by panicking")]

use std::convert::Infallible;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gm_native::gearman::packet::{AssignedJob, Decoder, Magic, Response, answer, encode};

const SIZES: [usize; 4] = [16, 1 << 10, 64 << 10, 1 << 20];
const MAX_PACKET: usize = 64 << 20;

/// A job as a job server assigns it.
fn job_assign(size: usize) -> Vec<u8> {
    let workload = vec![b'x'; size];
    let (handle, function, unique) = (b"H:bench:123456", b"reverse_string", b"0123456789abcdef");
    let mut packet = Vec::new();
    answer::job_assign_uniq(&mut packet, &AssignedJob { handle, function, unique, workload: &workload }).unwrap();
    packet
}

fn read_jobs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a job is read");
    for size in SIZES {
        let packet = job_assign(size);
        let mut decoder = Decoder::new(Magic::Response, MAX_PACKET);
        group.throughput(Throughput::Bytes(packet.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bench| bench.iter(|| read(&mut decoder, &packet)));
    }
    group.finish();
}

/// Reads one packet in as many pieces as the decoder has room for.
fn read(decoder: &mut Decoder, packet: &[u8]) {
    let mut rest = packet;
    while !rest.is_empty() {
        let copy = |room: &mut [u8]| {
            let len = room.len().min(rest.len());
            room[..len].copy_from_slice(&rest[..len]);
            Ok::<_, Infallible>(len)
        };
        let len = decoder.read_from(copy).unwrap();
        rest = &rest[len..];
        while let Some(packet) = decoder.next().unwrap() {
            black_box(Response::parse(packet).unwrap());
        }
    }
}

/// 64 short jobs that arrive together, as with prefetch.
fn read_many(criterion: &mut Criterion) {
    let together = job_assign(16).repeat(64);
    let mut decoder = Decoder::new(Magic::Response, MAX_PACKET);
    let mut group = criterion.benchmark_group("64 jobs are read");
    group.throughput(Throughput::Elements(64));
    group.bench_function("16", |bench| bench.iter(|| read(&mut decoder, &together)));
    group.finish();
}

/// What a worker writes for each job; the result itself is sent from where it is.
fn write_answers(criterion: &mut Criterion) {
    let mut buf = Vec::new();
    criterion.bench_function("the head of a result is written", |bench| {
        bench.iter(|| {
            buf.clear();
            encode::work_complete_head(&mut buf, b"H:bench:123456", 16).unwrap();
            black_box(&buf);
        });
    });
}

criterion_group!(benches, read_jobs, read_many, write_answers);
criterion_main!(benches);
