//! The workload, backwards.
//!
//! The smallest plugin there is: `cargo build --release`, copy `target/release/libreverse_string.so` into the worker
//! directory, and `gearman -f reverse_string hello` prints `olleh`.

use gm_plugin_api::{Job, JobResult, Log, function};

/// Reverses bytes, as the function of that name has always done: text that is not ASCII comes out as no text.
#[function]
fn reverse_string(job: &Job, log: &mut Log) -> JobResult {
    let reversed: Vec<u8> = job.workload().iter().rev().copied().collect();
    log.push("Success");
    Ok(reversed.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gm_plugin_api::testing::TestJob;

    #[test]
    fn reverses() {
        for (workload, result) in [("hello", "olleh"), ("", ""), ("a\0b", "b\0a")] {
            let outcome = TestJob::new(workload).run(reverse_string);
            assert_eq!(outcome.text(), result);
            assert_eq!(outcome.log_texts(), ["Success"]);
        }
    }
}
