//! The Gearman function `my_function`.

use gm_plugin_api::{Job, JobResult, Log, function};

/// Counts the words of the workload.
#[function]
fn my_function(job: &Job, log: &mut Log) -> JobResult {
    let words = job.text()?.split_whitespace().count();
    log.push(format_args!("{words} words"));
    Ok(words.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gm_plugin_api::testing::TestJob;

    #[test]
    fn counts_words() {
        let outcome = TestJob::new("a job for you").run(my_function);
        assert_eq!(outcome.text(), "4");
        assert_eq!(outcome.log_texts(), ["4 words"]);
    }

    #[test]
    fn bytes_that_are_no_text_fail_the_job() {
        let outcome = TestJob::new([0xff]).run(my_function);
        assert!(outcome.failure().message.contains("not UTF-8"));
    }
}
