// A library whose constructor leaves a thread and a handler behind, which is its right: served.
// build: rustc --edition 2024 --crate-type cdylib -o $OUT $SRC --extern gm_plugin_api=$API -L dependency=$DEPS
// expect: is served
use gm_plugin_api::{Job, JobResult, Log, function};

#[unsafe(link_section = ".init_array")]
#[used]
static AT_LOAD: extern "C" fn() = {
    extern "C" fn leave_a_thread() {
        std::thread::spawn(|| loop { std::thread::park() });
    }
    leave_a_thread
};

#[function]
fn threads(job: &Job, _log: &mut Log) -> JobResult {
    Ok(job.workload().into())
}
