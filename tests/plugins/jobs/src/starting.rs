//! An object whose `new` fails.

use std::time::Duration;

use gm_plugin_api::{Context, Failure, Job, Log, function};

use crate::hostile;

const SIGTERM: i32 = 15;
/// By then its worker serves, and has done nothing yet.
const SOON: Duration = Duration::from_millis(50);

unsafe extern "C" {
    fn kill(process: i32, signal: i32) -> i32;
}

/// Answers with its worker's process id. When it is made it does what `setting.how` says, one step a word:
///
/// | step | what it does |
/// |---|---|
/// | `term`, `group` | SIGTERM to this process, or to its group |
/// | `exit0` | the process exits with code 0 |
/// | `descriptors`, `channel` | every descriptor from 3 on, or the one to the manager, is closed |
/// | `later STEP` | the step, in a thread and after a moment |
/// | `sleep MS` | takes so long |
/// | `until PATH` | until there is such a file |
struct Starting;

#[function(name = "starting")]
impl Starting {
    fn new(cx: &Context) -> Result<Self, Failure> {
        let how = cx.required("how")?;
        match how.strip_prefix("later ") {
            Some(how) => {
                let how = how.to_owned();
                std::thread::spawn(move || {
                    std::thread::sleep(SOON);
                    begin(&how)
                });
            }
            None => begin(how)?,
        }
        Ok(Self)
    }

    fn run(&mut self, _job: &Job, _log: &mut Log) -> String {
        std::process::id().to_string()
    }
}

fn begin(how: &str) -> Result<(), Failure> {
    let (verb, rest) = how.split_once(' ').unwrap_or((how, ""));
    match verb {
        // SAFETY: plain system calls.
        "term" => drop(unsafe { kill(std::process::id().cast_signed(), SIGTERM) }),
        // SAFETY: the same.
        "group" => drop(unsafe { kill(0, SIGTERM) }),
        "exit0" => std::process::exit(0),
        "descriptors" => hostile::close_those(|_| true),
        "channel" => hostile::close_those(|fd| fd == 3),
        "sleep" => std::thread::sleep(Duration::from_millis(rest.parse()?)),
        "until" => crate::wait(|| std::path::Path::new(rest).exists()),
        _ => return Err(format!("no such step: {verb}").into()),
    }
    Ok(())
}
