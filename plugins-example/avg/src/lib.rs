//! The average of a list of numbers, JSON in and out: `gearman -f Avg '[1, 2, 4.5]'` prints `2.5`.
//!
//! The object form, as in `Sum`: answers are kept from job to job. `cargo build --release`, then copy
//! `target/release/libAvg.so` into the worker directory.
#![allow(non_snake_case)] // The library is called like its function.

use std::collections::HashMap;

use gm_plugin_api::{Context, Failure, Job, JobResult, Log, function};

/// Each worker has one, with a memory of its own.
#[derive(Debug)]
pub struct Avg {
    answers: HashMap<Vec<u8>, String>,
    most: usize,
}

#[function]
impl Avg {
    /// `setting.cache` in the section `[Avg]`: how many answers are kept, 1000 if it is not there.
    fn new(cx: &Context) -> Result<Self, Failure> {
        Ok(Self { answers: HashMap::new(), most: cx.parse_or("cache", 1000)? })
    }

    fn run(&mut self, job: &Job, log: &mut Log) -> JobResult {
        if let Some(known) = self.answers.get(job.workload()) {
            log.push("from the cache");
            return Ok(known.as_str().into());
        }
        let numbers: Vec<f64> = job.json()?;
        log.push(format_args!("{} numbers", numbers.len()));
        let answer = average(&numbers).ok_or("no number, no average")?.to_string();
        if self.answers.len() >= self.most {
            self.answers.clear();
        }
        self.answers.insert(job.workload().to_vec(), answer.clone());
        Ok(answer.into())
    }
}

/// Each number adds its share, so that no sum on the way can be too large.
fn average(numbers: &[f64]) -> Option<f64> {
    let count = numbers.len() as f64;
    (!numbers.is_empty()).then(|| numbers.iter().map(|number| number / count).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gm_plugin_api::testing::TestObject;

    #[test]
    fn averages() {
        let mut avg = TestObject::<Avg>::new(&[]).unwrap();
        for (workload, answer) in [("[1, 2, 4.5]", "2.5"), ("[-2, -4]", "-3"), ("[1, 1]", "1")] {
            assert_eq!(avg.run(workload).text(), answer);
            assert_eq!(avg.run(workload).log_texts(), ["from the cache"]);
        }
        assert!(avg.run("[1e308, 1e308]").text().starts_with('1'), "not infinite");
        assert_eq!(avg.run("[]").failure().message, "no number, no average");
    }
}
