//! The Gearman function `my_function`: JSON in, JSON out.

use gm_plugin_api::{Failure, Job, Json, Log, function};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Question {
    text: String,
}

#[derive(Serialize)]
struct Answer {
    words: usize,
}

/// Counts the words of a text: `{"text":"a job for you"}` gives `{"words":4}`.
#[function]
fn my_function(job: &Job, log: &mut Log) -> Result<Json<Answer>, Failure> {
    let question: Question = job.json()?;
    let words = question.text.split_whitespace().count();
    log.push(format_args!("{words} words"));
    Ok(Json(Answer { words }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gm_plugin_api::testing::TestJob;

    #[test]
    fn counts_words() {
        let outcome = TestJob::new(r#"{"text":"a job for you"}"#).run(my_function);
        assert_eq!(outcome.text(), r#"{"words":4}"#);
        assert_eq!(outcome.log_texts(), ["4 words"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let outcome = TestJob::new("{}").run(my_function);
        assert!(outcome.failure().message.contains("missing field `text`"));
    }
}
