// Built so that a panic ends the process: served, with a warning.
// build: rustc --edition 2024 --crate-type cdylib -C panic=abort -o $OUT $SRC --extern gm_plugin_api=$API -L dependency=$DEPS
// expect: is a panic = "abort" build: a panic in a job ends its worker instead of failing the job; remove that line from its Cargo.toml profile
use gm_plugin_api::{Job, JobResult, Log, function};

#[function]
fn panic_abort(job: &Job, _log: &mut Log) -> JobResult {
    Ok(job.workload().into())
}
