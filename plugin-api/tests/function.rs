//! A function of either form, on a made-up job.
#![forbid(unsafe_code)] // What `#[function]` writes must compile in an author's crate that forbids it.
#![deny(warnings, missing_docs, rust_2018_idioms)]

use std::sync::atomic::{AtomicU32, Ordering};

use gm_plugin_api::testing::{Failed, TestJob, TestObject, Why};
use gm_plugin_api::{Context, Failure, Job, JobResult, Log, Reply, abi::level, function};

/// Documented, public, and with a use of everything that a function can get.
#[function]
pub fn talkative(job: &Job, log: &mut Log) -> JobResult {
    job.status(1, 2);
    job.data("part");
    job.warning(b"careful\n");
    log.push("pushed");
    log.error("bad");
    log.warn("odd");
    log.info(format_args!("for {}", job.unique()));
    log.debug(String::from("detail"));
    Ok(format!("{} {} {}", job.function(), job.handle(), job.unique()).into())
}

#[test]
fn everything_logged_is_collected() {
    let outcome = TestJob::new("").function("f").handle("H:x:7").unique("u1").run(talkative);
    assert_eq!(outcome.text(), "f H:x:7 u1");
    assert_eq!(outcome.status, [(1, 2)]);
    assert_eq!(outcome.data, [b"part"]);
    assert_eq!(outcome.warnings, [b"careful\n"]);
    let log: Vec<_> = outcome.log.iter().map(|record| (record.level, record.text.as_str())).collect();
    let expected = [(3, "pushed"), (1, "bad"), (2, "odd"), (3, "for u1"), (4, "detail")];
    assert_eq!(log, expected);
}

#[test]
fn a_gone_connection_refuses() {
    let outcome = TestJob::new("").refused().run(|job: &Job, _: &mut Log| {
        assert!(!job.status(1, 2) && !job.data("x") && !job.warning("x"));
    });
    assert_eq!(outcome.bytes(), b"");
    assert!(outcome.status.is_empty() && outcome.data.is_empty() && outcome.warnings.is_empty());
}

#[test]
fn bytes_of_every_kind_pass() {
    let all: Vec<u8> = (0..=255).collect();
    let outcome = TestJob::new(all.clone()).unique(all.clone()).handle(all.clone()).run(|job: &Job, _: &mut Log| {
        assert_eq!(job.unique_bytes(), job.workload());
        assert!(job.handle().starts_with("\0\u{1}") && job.handle().ends_with('\u{fffd}'));
        assert_eq!(job.text().unwrap_err().message(), "the workload is not UTF-8 text: byte 128 of 256");
        job.workload().to_vec()
    });
    assert_eq!(outcome.bytes(), all);
}

#[test]
fn what_may_be_returned() {
    fn bytes(reply: impl Reply) -> Vec<u8> {
        TestJob::new("").run(|_: &Job, _: &mut Log| reply).bytes().to_vec()
    }
    assert_eq!(bytes(()), b"");
    assert_eq!(bytes("a"), b"a");
    assert_eq!(bytes(String::from("a")), b"a");
    assert_eq!(bytes(vec![0]), [0]);
    assert_eq!(bytes(b"a"), b"a");
    assert_eq!(bytes([1, 2]), [1, 2]);
    assert_eq!(bytes(&[1, 2][..]), [1, 2]);
    assert_eq!(bytes(Box::<[u8]>::from([1])), [1]);
    assert_eq!(bytes(Box::<str>::from("a")), b"a");
    assert_eq!(bytes(String::from_utf8_lossy(b"a")), b"a");
    assert_eq!(bytes(Ok::<_, std::io::Error>("a")), b"a");
    assert_eq!(bytes(Ok::<_, String>(Ok::<_, Failure>(()))), b"");
}

/// Bodies as they are written against libraries, with the errors of those.
mod bodies {
    use super::*;

    fn number(job: &Job) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
        Ok(std::str::from_utf8(job.workload())?.parse()?)
    }

    #[function]
    pub fn boxed(job: &Job, _log: &mut Log) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        let number = number(job)?;
        if number == 0 {
            return Err("it is 0".into());
        }
        Ok(number.to_string())
    }

    #[function]
    pub fn with_anyhow(job: &Job, _log: &mut Log) -> anyhow::Result<String> {
        use anyhow::Context as _;
        let number: u32 = std::str::from_utf8(job.workload())?.parse().context("no number")?;
        anyhow::ensure!(number != 0, "it is 0");
        Ok(number.to_string())
    }

    #[function]
    pub fn with_eyre(job: &Job, _log: &mut Log) -> eyre::Result<String> {
        use eyre::WrapErr as _;
        let number: u32 = std::str::from_utf8(job.workload())?.parse().wrap_err("no number")?;
        eyre::ensure!(number != 0, "it is 0");
        Ok(number.to_string())
    }

    /// An object whose `new` fails with one of them.
    pub struct Made;

    #[function]
    impl Made {
        fn new(cx: &Context) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
            cx.setting("there").map(|_| Self).ok_or_else(|| "nothing there".into())
        }

        fn run(&mut self, job: &Job, _log: &mut Log) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
            boxed(job, _log)
        }
    }
}

#[test]
fn the_errors_of_other_libraries_may_be_returned() {
    type Body = fn(TestJob) -> gm_plugin_api::testing::Outcome;
    let bodies: [(Body, &str); 3] = [
        (|job| job.run(bodies::boxed), "invalid digit found in string"),
        (|job| job.run(bodies::with_anyhow), "no number: invalid digit found in string"),
        (|job| job.run(bodies::with_eyre), "no number: invalid digit found in string"),
    ];
    for (body, no_number) in bodies {
        assert_eq!(body(TestJob::new("7")).text(), "7");
        assert_eq!(body(TestJob::new("0")).failure().message, "it is 0");
        assert_eq!(body(TestJob::new("x")).failure().message, no_number);
    }
    let Err(refused) = TestObject::<bodies::Made>::new(&[]) else { panic!("nothing is there") };
    assert_eq!(refused.message, "nothing there");
    let mut made = TestObject::<bodies::Made>::new(&[("there", "")]).expect("something is there");
    assert_eq!(made.run(TestJob::new("x")).failure().message, "invalid digit found in string");
}

#[test]
fn how_a_job_fails() {
    let why = |reply: Result<(), Failure>| TestJob::new("").run(|_: &Job, _: &mut Log| reply).failure().clone();
    assert_eq!(why(Err("no".into())), Failed { why: Why::Failure, message: "no".into() });
    let thrown = why(Err(Failure::exception("payload")));
    assert_eq!(thrown, Failed { why: Why::Exception { payload: b"payload".to_vec() }, message: "payload".into() });
    let io = std::io::Error::other("disk");
    assert_eq!(why(Err(io.into())).message, "disk");
}

#[function]
fn panics(_job: &Job, _log: &mut Log) {
    panic!("no luck");
}

#[test]
fn a_panic_is_a_failure_with_a_place() {
    let outcome = TestJob::new("").run(panics);
    let Why::Panic { file, line } = &outcome.failure().why else { panic!("{outcome:?}") };
    assert_eq!(outcome.failure().message, "no luck");
    assert!(file.ends_with("tests/function.rs") && *line > 0, "{file}:{line}");
}

/// Borrows its result from the job.
#[function(name = "Text::echo", prefix = "x_")]
fn echo<'a>(job: &'a Job, _: &mut Log) -> &'a [u8] {
    job.workload()
}

#[function]
fn r#type(job: &Job, log: &mut Log) -> Vec<u8> {
    log.push("a raw name");
    echo(job, log).to_vec()
}

#[test]
fn names_that_are_no_plain_words() {
    assert_eq!(TestJob::new("a").run(r#type).text(), "a");
}

#[test]
fn scoped_threads_report() {
    let outcome = TestJob::new("").run(|job: &Job, _: &mut Log| {
        std::thread::scope(|scope| {
            for part in 0..4 {
                scope.spawn(move || job.status(part, 4));
            }
        });
    });
    let mut status = outcome.status;
    status.sort_unstable();
    assert_eq!(status, [(0, 4), (1, 4), (2, 4), (3, 4)]);
}

#[test]
fn a_kept_reporter_is_refused_after_the_job() {
    let mut kept = None;
    TestJob::new("").run(|job: &Job, _: &mut Log| {
        assert!(job.reporter().status(1, 1));
        kept = Some(job.reporter());
    });
    let reporter = kept.unwrap();
    assert!(!reporter.status(1, 1) && !reporter.data("x") && !reporter.warning("x"));
}

#[test]
fn stopping_is_seen() {
    let outcome = TestJob::new("").stopping_after(3).run(|job: &Job, _: &mut Log| {
        let mut rounds = 0;
        while !job.stopping() {
            rounds += 1;
        }
        rounds.to_string()
    });
    assert_eq!(outcome.text(), "3");
}

static MADE: AtomicU32 = AtomicU32::new(0);
static DROPPED: AtomicU32 = AtomicU32::new(0);

/// Adds up, until a workload makes it misbehave.
struct Sum {
    total: i64,
    awkward: bool,
}

#[function]
impl Sum {
    /// What it costs to make one is counted.
    fn new(cx: &Context) -> Result<Self, Failure> {
        MADE.fetch_add(1, Ordering::Relaxed);
        Ok(Self { total: cx.parse_or("start", 0)?, awkward: false })
    }

    fn run(&mut self, job: &Job, log: &mut Log) -> JobResult {
        match job.text()? {
            "panic" => panic!("asked to"),
            "awkward" => self.awkward = true,
            number => self.total += number.parse::<i64>()?,
        }
        log.push(self.worth_a_line());
        Ok(self.total.to_string().into())
    }

    /// Other methods may stand in the same block.
    fn worth_a_line(&self) -> String {
        format!("now {}", self.total)
    }
}

impl Drop for Sum {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
        assert!(!self.awkward, "a destructor panics");
    }
}

/// One test, because it counts in statics.
#[test]
fn an_object_lives_from_job_to_job_and_is_made_again_after_a_panic() {
    let counts = || (MADE.load(Ordering::Relaxed), DROPPED.load(Ordering::Relaxed));
    let mut sum = TestObject::<Sum>::new(&[("start", "10")]).unwrap();
    assert_eq!(sum.run("1").text(), "11");
    assert_eq!(sum.run("2").text(), "13");
    assert_eq!(sum.run("x").failure().why, Why::Failure);
    assert_eq!(sum.run("3").text(), "16", "an error leaves the object as it is");
    assert_eq!(counts(), (1, 0));

    assert!(matches!(sum.run("panic").failure().why, Why::Panic { .. }));
    assert_eq!(counts(), (1, 1), "dropped at once");
    assert_eq!(sum.run("1").text(), "11", "with the same settings");
    assert_eq!(counts(), (2, 1));

    sum.run("awkward");
    let outcome = sum.run("panic");
    assert_eq!(outcome.failure().message, "asked to", "not the destructor's");
    assert_eq!(outcome.log[0].level, level::ERROR);
    assert!(outcome.log[0].text.starts_with("the destructor of Sum panicked at "), "{}", outcome.log[0].text);
    assert_eq!(sum.run("1").text(), "11");

    sum.run("awkward");
    drop(sum);
    assert_eq!(counts(), (3, 3), "a destructor that panics is caught at the end too");
}

static MAY_BE_MADE: AtomicU32 = AtomicU32::new(1);

/// Can be made a limited number of times.
struct Limited;

#[function]
impl Limited {
    fn new(_: &Context) -> Result<Self, String> {
        let left = MAY_BE_MADE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(|_| Self).map_err(|_| "none left".into())
    }

    fn run(&mut self, job: &Job, _: &mut Log) {
        assert!(job.workload().is_empty(), "asked to");
    }
}

#[test]
fn an_object_that_cannot_be_made_again_fails_its_job() {
    let mut limited = TestObject::<Limited>::new(&[]).unwrap();
    assert_eq!(limited.run("panic").failure().message, "asked to");
    let message = "after a panic the object could not be created again: none left";
    for _ in 0..2 {
        assert_eq!(*limited.run("").failure(), Failed { why: Why::Unmade, message: message.into() });
    }
    MAY_BE_MADE.store(1, Ordering::Relaxed);
    assert_eq!(limited.run("").bytes(), b"");
    drop(limited);
    assert_eq!(TestObject::<Limited>::new(&[]).unwrap_err().message, "none left");
}

/// `new` that panics, and returns no `Result`.
struct Hopeless;

#[function]
impl Hopeless {
    fn new(cx: &Context) -> Self {
        panic!("{} has {} settings", cx.function(), cx.iter().count())
    }

    fn run(&self, _: &Job, _: &mut Log) {}
}

#[test]
fn a_panic_in_new_is_a_failure() {
    let failed = TestObject::<Hopeless>::new(&[("a", "1"), ("b", "2")]).unwrap_err();
    assert_eq!(failed.message, "Hopeless has 2 settings");
    assert!(matches!(failed.why, Why::Panic { line, .. } if line > 0));
}
