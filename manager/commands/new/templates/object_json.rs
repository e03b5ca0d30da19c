//! The Gearman function `my_function`: JSON in, JSON out, and state that is kept from job to job.

use gm_plugin_api::{Context, Failure, Job, Json, Log, function};
use serde::{Deserialize, Serialize};

/// Settings come from the configuration: `setting.shortest = 3` in the section `[my_function]`. With
/// `deny_unknown_fields` a misspelt one fails the start; without it, it is only named in the log.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    shortest: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { shortest: 1 }
    }
}

#[derive(Deserialize)]
struct Question {
    text: String,
}

#[derive(Serialize)]
struct Answer {
    words: usize,
    total: usize,
}

/// Created once in each worker, and again after a panic.
struct MyFunction {
    settings: Settings,
    total: usize,
}

#[function(name = "my_function")]
impl MyFunction {
    fn new(cx: &Context) -> Result<Self, Failure> {
        Ok(Self { settings: cx.settings()?, total: 0 })
    }

    /// Counts the words of a text: `{"text":"a job for you"}` gives `{"words":4,"total":4}`.
    fn run(&mut self, job: &Job, log: &mut Log) -> Result<Json<Answer>, Failure> {
        let question: Question = job.json()?;
        let long_enough = |word: &&str| word.chars().count() >= self.settings.shortest;
        let words = question.text.split_whitespace().filter(long_enough).count();
        self.total += words;
        log.push(format_args!("{words} words, {} so far", self.total));
        Ok(Json(Answer { words, total: self.total }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gm_plugin_api::testing::TestObject;

    #[test]
    fn counts_words_from_job_to_job() {
        let mut object = TestObject::<MyFunction>::new(&[("shortest", "2")]).unwrap();
        assert_eq!(object.run(r#"{"text":"a job for you"}"#).text(), r#"{"words":3,"total":3}"#);
        assert_eq!(object.run(r#"{"text":"another one"}"#).text(), r#"{"words":2,"total":5}"#);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = TestObject::<MyFunction>::new(&[("shortest", "none")]).unwrap_err();
        assert!(wrong.message.starts_with("setting.shortest"));
        let mut object = TestObject::<MyFunction>::new(&[]).unwrap();
        assert!(object.run("{}").failure().message.contains("missing field `text`"));
    }
}
