//! The sum of a list of numbers, JSON in and out: `gearman -f Sum '[1, 2, 3.5]'` prints `6.5`.
//!
//! The object form: what was added up once is kept from job to job. `cargo build --release`, then copy
//! `target/release/libSum.so` into the worker directory.
#![allow(non_snake_case)] // The library is called like its function.

use std::collections::HashMap;

use gm_plugin_api::{Context, Failure, Job, JobResult, Log, function};

/// Each worker has one, with a memory of its own.
#[derive(Debug)]
pub struct Sum {
    answers: HashMap<Vec<u8>, f64>,
    most: usize,
}

#[function]
impl Sum {
    /// `setting.cache` in the section `[Sum]`: how many answers are kept, 1000 if it is not there.
    fn new(cx: &Context) -> Result<Self, Failure> {
        Ok(Self { answers: HashMap::new(), most: cx.parse_or("cache", 1000)? })
    }

    fn run(&mut self, job: &Job, log: &mut Log) -> JobResult {
        let sum = match self.answers.get(job.workload()) {
            Some(sum) => {
                log.push("from the cache");
                *sum
            }
            None => {
                let numbers: Vec<f64> = job.json()?;
                log.push(format_args!("{} numbers", numbers.len()));
                self.keep(job.workload(), numbers.iter().fold(0.0, |sum, number| sum + number))
            }
        };
        if !sum.is_finite() {
            return Err("the sum is too large for a number".into());
        }
        // JSON too, and as people write it: 6, not 6.0.
        Ok(sum.to_string().into())
    }
}

impl Sum {
    /// A full memory is forgotten as a whole: simple, and seldom.
    fn keep(&mut self, workload: &[u8], sum: f64) -> f64 {
        if self.answers.len() >= self.most {
            self.answers.clear();
        }
        self.answers.insert(workload.to_vec(), sum);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gm_plugin_api::testing::TestObject;

    #[test]
    fn adds_up() {
        let mut sum = TestObject::<Sum>::new(&[]).unwrap();
        for (workload, answer) in [("[1, 2, 3]", "6"), ("[1, 0.5]", "1.5"), ("[]", "0"), ("[-1]", "-1")] {
            assert_eq!(sum.run(workload).text(), answer);
        }
    }

    #[test]
    fn remembers_from_job_to_job() {
        let mut sum = TestObject::<Sum>::new(&[("cache", "1")]).unwrap();
        for (workload, log) in
            [("[1]", "1 numbers"), ("[1]", "from the cache"), ("[1,1]", "2 numbers"), ("[1]", "1 numbers")]
        {
            assert_eq!(sum.run(workload).log_texts(), [log], "{workload}");
        }
    }

    #[test]
    fn what_is_no_list_of_numbers_fails_the_job() {
        let mut sum = TestObject::<Sum>::new(&[]).unwrap();
        let message = |sum: &mut TestObject<Sum>, workload: &str| sum.run(workload).failure().message.clone();
        assert!(message(&mut sum, "[1, \"x\"]").contains("at [1]"));
        assert!(message(&mut sum, "[1").contains("EOF"));
        assert!(message(&mut sum, "[1e308, 1e308]").contains("too large"));
    }
}
