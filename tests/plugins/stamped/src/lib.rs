//! Functions for the tests of deploying: one build of which a test makes many versions, by other bytes in `STAMP`.
//!
//! Tests find it as `libgm_test_stamped.so` beside themselves: cargo builds it where it is a dev-dependency.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gm_plugin_api::{Context, Failure, Job, JobResult, Log, function};

/// Between two looks for what a job waits for.
const PAUSE: Duration = Duration::from_millis(2);

/// After the mark eight bytes of a version and eight of a mood, both filled up with spaces. Moods: `good`, `crash` and
/// `fail` in a job, `new` (which fails), `abort` and `exit125` (in `new`), `first` (of which `new`
/// works once, until somebody removes the file `$GM_TEST_HINDRANCE`); `killed` and `slow` are about loading, see [`load`].
static STAMP: [u8; 38] = *b"gm-native test stamp: 0       good    ";

fn stamp(place: usize) -> String {
    // Not to be known to the compiler: the bytes are changed in the finished library.
    let stamp = black_box(&STAMP);
    String::from_utf8_lossy(&stamp[place..place + 8]).trim_end().to_owned()
}

/// Answers with its version. The workload's lines come first: `note PATH` writes the job's unique to the end of that
/// file, `wait PATH` waits until there is such a file, `take MICROSECONDS` takes so long.
fn answer(job: &Job) -> JobResult {
    match stamp(30).as_str() {
        "crash" => std::process::abort(),
        "fail" => return Err("this version fails".into()),
        _ => {}
    }
    for line in job.text()?.lines() {
        match line.split_once(' ') {
            Some(("note", path)) => {
                let mut file = OpenOptions::new().append(true).create(true).open(path)?;
                file.write_all(format!("{}\n", job.unique()).as_bytes())?;
            }
            Some(("wait", path)) => {
                while !Path::new(path).exists() {
                    std::thread::sleep(PAUSE);
                }
            }
            Some(("take", time)) => std::thread::sleep(Duration::from_micros(time.parse()?)),
            _ => return Err(format!("no such step: {line}").into()),
        }
    }
    Ok(stamp(22).into())
}

/// Runs when the library is loaded. While there is a file `$GM_TEST_HINDRANCE` the mood `killed` has the process killed,
/// and `slow` has it wait.
extern "C" fn load() {
    let mood = stamp(30);
    let Some(hindrance) = std::env::var_os("GM_TEST_HINDRANCE") else { return };
    while ["killed", "slow"].contains(&mood.as_str()) && Path::new(&hindrance).exists() {
        if mood == "killed" {
            let _ = Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status();
        }
        std::thread::sleep(PAUSE);
    }
}

#[used]
#[allow(unsafe_code, reason = "the loader calls what is in this section, with the C ABI")]
#[unsafe(link_section = ".init_array")]
static LOAD: extern "C" fn() = load;

struct Stamped;

#[function(name = "stamped")]
impl Stamped {
    fn new(_cx: &Context) -> Result<Self, Failure> {
        match stamp(30).as_str() {
            "new" => Err("this version cannot be made".into()),
            "abort" => std::process::abort(),
            "exit125" => std::process::exit(125),
            "first" => {
                let taken = std::env::var_os("GM_TEST_HINDRANCE").and_then(|path| File::create_new(path).ok());
                taken.map(|_| Self).ok_or_else(|| "only one worker can be made".into())
            }
            _ => Ok(Self),
        }
    }

    fn run(&mut self, job: &Job, _log: &mut Log) -> JobResult {
        answer(job)
    }
}

macro_rules! more {
    ($($name:ident)*) => { $(
        #[function]
        fn $name(job: &Job, _log: &mut Log) -> JobResult {
            answer(job)
        }
    )* };
}

// For many files at once.
more! {
    f00 f01 f02 f03 f04 f05 f06 f07 f08 f09 f10 f11 f12 f13 f14 f15 f16 f17 f18 f19 f20 f21 f22 f23 f24
    f25 f26 f27 f28 f29 f30 f31 f32 f33 f34 f35 f36 f37 f38 f39 f40 f41 f42 f43 f44 f45 f46 f47 f48 f49
}
