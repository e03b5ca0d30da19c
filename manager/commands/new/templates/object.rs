//! The Gearman function `my_function`, with state that is kept from job to job.

use gm_plugin_api::{Context, Failure, Job, JobResult, Log, function};

/// Created once in each worker, and again after a panic.
struct MyFunction {
    shortest: usize,
    total: usize,
}

#[function(name = "my_function")]
impl MyFunction {
    /// Settings come from the configuration: `setting.shortest = 3` in the section `[my_function]`. Read all of them
    /// here: one that is never read, such as a misspelt `setting.shortst`, is named in the log.
    fn new(cx: &Context) -> Result<Self, Failure> {
        Ok(Self { shortest: cx.parse_or("shortest", 1)?, total: 0 })
    }

    /// Counts the words of the workload that are long enough.
    fn run(&mut self, job: &Job, log: &mut Log) -> JobResult {
        let long_enough = |word: &&str| word.chars().count() >= self.shortest;
        let words = job.text()?.split_whitespace().filter(long_enough).count();
        self.total += words;
        log.push(format_args!("{words} words, {} so far", self.total));
        Ok(words.to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gm_plugin_api::testing::TestObject;

    #[test]
    fn counts_words_from_job_to_job() {
        let mut object = TestObject::<MyFunction>::new(&[("shortest", "2")]).unwrap();
        assert_eq!(object.run("a job for you").text(), "3");
        assert_eq!(object.run("another one").log_texts(), ["2 words, 5 so far"]);
    }

    #[test]
    fn a_wrong_setting_is_named() {
        let wrong = TestObject::<MyFunction>::new(&[("shortest", "none")]).unwrap_err();
        assert!(wrong.message.starts_with("setting.shortest"));
    }
}
