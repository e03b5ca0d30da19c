//! What a call costs through the loader, in each language: `cargo bench --bench call`. The functions do nothing, so the
//! differences are what their interfaces cost. Compare within one run.

#![allow(dead_code, reason = "it uses a part of what tests stand on")]
#![allow(clippy::unwrap_used, reason = "a bench ends by panicking")]

#[path = "../plugin-api/benches/host/mod.rs"]
mod host;
#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use gm_native::plugins::loader::{self, Instance};
use gm_plugin_api::abi::{RawContext, RawJob};
use host::HOST;
use support::{build, plugins};

const RUST: &str = "use gm_plugin_api::{Job, JobResult, Log, Output, function};\n\
    #[function]\nfn nothing(_: &Job, _: &mut Log) -> JobResult { Ok(Output::from(())) }\n\
    #[function]\nfn echo(job: &Job, _: &mut Log) -> JobResult { Ok(job.workload().to_vec().into()) }\n";
const C: &str = "#include <gm_plugin.h>\n\
    GM_FUNCTION(nothing) { (void)job; return 0; }\n\
    GM_FUNCTION(echo) { return gm_result(job, gm_workload(job), gm_workload_size(job)); }\n";
const CPP: &str = "#include <gm_plugin.hpp>\n\
    GM_FUNCTION(nothing) { return {}; }\n\
    GM_FUNCTION(echo) { return job.workload(); }\n";

/// A round is short, so that some are not interrupted even on a busy machine; the shortest one counts.
const ROUNDS: u32 = 20_000;
const CALLS: u32 = 200;

fn main() {
    let include = format!("-I{}", build::repository().join("plugin-api/include").display());
    let args = ["-shared", "-fPIC", "-O2", &include];
    let libraries = [
        ("Rust", plugins::rust_with("nothing", RUST, "[profile.dev]\nopt-level = 3\n")),
        ("C", build::c("nothing.so", C, &args)),
        ("C++", build::cpp("nothing.so", CPP, &[&args[..], &["-std=c++17"]].concat())),
    ];
    for function in ["nothing", "echo"] {
        let mut calls: Vec<(&str, Instance)> =
            libraries.iter().map(|(language, library)| (*language, made(library, function))).collect();
        let mut least = vec![Duration::MAX; calls.len()];
        for _ in 0..ROUNDS {
            // In turn, so that all have the same conditions.
            for (least, (_, instance)) in least.iter_mut().zip(&mut calls) {
                *least = round(instance, function).min(*least);
            }
        }
        for (least, (language, _)) in least.iter().zip(&calls) {
            println!("{function:<8} in {language:<5} {:>6.1} ns", least.as_secs_f64() * 1e9 / f64::from(CALLS));
        }
    }
}

/// A function that is ready for jobs.
fn made(library: &Path, function: &str) -> Instance {
    let context = RawContext {
        size: size_of::<RawContext<'_>>(),
        function: function.into(),
        settings: [][..].into(),
        host: &HOST,
    };
    let loaded = loader::load(library, function).unwrap();
    loaded.make(&context).unwrap_or_else(|_| panic!("{function} in {}", library.display()))
}

/// How long some jobs take.
fn round(instance: &mut Instance, function: &str) -> Duration {
    let workload = [b'a'; 64];
    let job = RawJob {
        size: size_of::<RawJob<'_>>(),
        number: 1,
        handle: b"H:a:1"[..].into(),
        unique: b"u"[..].into(),
        function: function.into(),
        workload: workload[..].into(),
        host: &HOST,
    };
    let start = Instant::now();
    for _ in 0..CALLS {
        // A result is freed where a worker has sent it.
        let _ = black_box(instance.run(black_box(&job)));
    }
    start.elapsed()
}
