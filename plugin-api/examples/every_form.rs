//! Each form that `#[function]` takes. It is built with every test, as a plugin is and under lints that forbid much.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, nonstandard_style, rust_2018_idioms, unused, unreachable_pub)]

use gm_plugin_api::{Context, Failure, Job, JobResult, Log, function};

/// The usual one: `?` on everything, and bytes or text at the end.
#[function]
fn count_words(job: &Job, log: &mut Log) -> JobResult {
    let words = job.text()?.split_whitespace().count();
    log.info(format_args!("{words} words"));
    Ok(words.to_string().into())
}

/// An error type of one's own choice, and no `into()`.
#[function]
fn add(job: &Job, _log: &mut Log) -> Result<String, std::num::ParseIntError> {
    let text = String::from_utf8_lossy(job.workload());
    let sum: i64 = text.split('+').map(|number| number.trim().parse::<i64>()).sum::<Result<_, _>>()?;
    Ok(sum.to_string())
}

/// A name that Rust would not take, a prefix for the symbol (`gm-native -p x_`), and a result that is lent.
#[function(name = "Text::echo", prefix = "x_")]
fn echo<'a>(job: &'a Job, _: &mut Log) -> &'a [u8] {
    job.workload()
}

/// Names that are alike are two names.
#[function(name = "count-words")]
fn count_words_too(job: &Job, log: &mut Log) -> JobResult {
    count_words(job, log)
}

/// Nothing to say: the result is empty.
#[function]
fn r#type(_job: &Job, _log: &mut Log) {}

/// Conditions hold for all that the attribute writes.
#[function]
#[cfg(any())]
fn not_built(_job: &Job, _log: &mut Log) -> ThisTypeDoesNotExist {}

/// The form with state. Its name means nothing to the macro, also where the macro needs one like it.
struct Exported {
    greeting: String,
    served: u64,
}

#[function(name = "greet")]
impl Exported {
    fn new(cx: &Context) -> Result<Self, Failure> {
        Ok(Self { greeting: cx.required("greeting")?.into(), served: 0 })
    }

    fn run(&mut self, job: &Job, _log: &mut Log) -> JobResult {
        self.served += 1;
        Ok(format!("{}, {}: you are number {}", self.greeting, job.text()?, self.served).into())
    }
}

/// The form with state where nothing can go wrong.
struct Constant(u8);

#[function]
impl Constant {
    fn new(_: &Context) -> Self {
        Self(1)
    }

    fn run(&self, _: &Job, _: &mut Log) -> Vec<u8> {
        vec![self.0]
    }
}

fn main() {}
