//! Functions for the suite that also runs against the original: all do what the workload says, a step a line, in the
//! same words as the PHP files of that suite (`tests/compat/worker.php`).

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use gm_plugin_api::{Job, JobResult, Log, Output, function};

/// The steps: `say TEXT` (the result), `log TEXT`, `note PATH` (a line `FUNCTION PID` at the end
/// of that file), `take MS`, and `wait PATH` (until there is such a file).
fn act(function: &str, job: &Job, log: &mut Log) -> JobResult {
    let mut output = Output::from("");
    for line in job.text()?.lines() {
        let (verb, rest) = line.split_once(' ').ok_or("a step is a verb and the rest")?;
        match verb {
            "say" => output = rest.into(),
            "log" => log.info(rest),
            "note" => {
                let mut file = OpenOptions::new().append(true).create(true).open(rest)?;
                file.write_all(format!("{function} {}\n", std::process::id()).as_bytes())?;
            }
            "take" => std::thread::sleep(Duration::from_millis(rest.parse()?)),
            "wait" => {
                while !Path::new(rest).exists() {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            _ => return Err(format!("no such step: {verb}").into()),
        }
    }
    Ok(output)
}

/// Functions of these names.
macro_rules! functions {
    ($($name:ident $text:literal)*) => { $(
        #[function]
        #[allow(non_snake_case, reason = "the worked example has a Sum")]
        fn $name(job: &Job, log: &mut Log) -> JobResult {
            act($text, job, log)
        }
    )* };
}

functions! {
    reverse_string "reverse_string"
    fetch_url "fetch_url"
    Sum "Sum"
    one "one"
    two "two"
    three "three"
    pre_one "one"
}
