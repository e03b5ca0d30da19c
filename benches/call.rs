//! What a call costs through the loader, in each language: `cargo bench --bench call`. The functions do nothing, so the
//! differences are what their interfaces cost. Compare within one run.

#![allow(dead_code, reason = "it uses a part of what tests stand on")]
#![allow(clippy::unwrap_used, reason = "a bench ends by panicking")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use gm_native::plugins::loader;
use gm_plugin_api::abi::{Host, RSlice, RStr, RawContext, RawJob};
use support::{build, plugins};

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

const RUST: &str = "use gm_plugin_api::{Job, JobResult, Log, Output, function};\n\
    #[function]\nfn nothing(_: &Job, _: &mut Log) -> JobResult { Ok(Output::from(())) }\n\
    #[function]\nfn echo(job: &Job, _: &mut Log) -> JobResult { Ok(job.workload().to_vec().into()) }\n";
const C: &str = "#include <gm_plugin.h>\n\
    GM_FUNCTION(nothing) { (void)job; return 0; }\n\
    GM_FUNCTION(echo) { return gm_result(job, gm_workload(job), gm_workload_size(job)); }\n";
const CPP: &str = "#include <gm_plugin.hpp>\n\
    GM_FUNCTION(nothing) { return {}; }\n\
    GM_FUNCTION(echo) { return job.workload(); }\n";

fn calls(c: &mut Criterion) {
    let include = format!("-I{}", build::repository().join("plugin-api/include").display());
    let args = ["-shared", "-fPIC", "-O2", &include];
    let libraries = [
        ("Rust", plugins::rust_with("nothing", RUST, "[profile.dev]\nopt-level = 3\n")),
        ("C", build::c("nothing.so", C, &args)),
        ("C++", build::cpp("nothing.so", CPP, &[&args[..], &["-std=c++17"]].concat())),
    ];
    for function in ["nothing", "echo"] {
        for (language, library) in &libraries {
            bench(c, &format!("{function} in {language}"), library, function);
        }
    }
}

fn bench(c: &mut Criterion, name: &str, library: &Path, function: &str) {
    let context = RawContext {
        size: size_of::<RawContext<'_>>(),
        function: function.into(),
        settings: [][..].into(),
        host: &HOST,
    };
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
    let mut instance = loader::load(library, function).unwrap().make(&context).unwrap_or_else(|_| panic!("{name}"));
    c.bench_function(name, |b| b.iter(|| black_box(instance.run(black_box(&job)))));
}

criterion_group!(benches, calls);
criterion_main!(benches);
