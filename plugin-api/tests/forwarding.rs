//! Records of `log` and `tracing`, on their way to the manager's log.
#![forbid(unsafe_code)]

use gm_plugin_api::abi::level;
use gm_plugin_api::testing::{Record, TestJob};
use gm_plugin_api::{Job, Log};

fn record(level: u8, text: &str) -> Record {
    Record { level, target: module_path!().into(), text: text.into() }
}

#[test]
fn records_of_log() {
    let _alone = alone();
    let outcome = TestJob::new("").run(|_: &Job, _: &mut Log| {
        log::error!("plain");
        log::warn!("{}", "formatted");
        log::info!(target: "elsewhere", "i");
        log::debug!("d");
        log::trace!("t");
    });
    let elsewhere = Record { target: "elsewhere".into(), ..record(level::INFO, "i") };
    let expected = [
        record(level::ERROR, "plain"),
        record(level::WARN, "formatted"),
        elsewhere,
        record(level::DEBUG, "d"),
        record(level::TRACE, "t"),
    ];
    assert_eq!(outcome.log, expected);
}

#[test]
fn events_of_tracing_with_their_spans() {
    let _alone = alone();
    let outcome = TestJob::new("").run(|_: &Job, _: &mut Log| {
        tracing::error!(code = 7, "plain");
        let outer = tracing::info_span!("fetch", url = "http://x", size = tracing::field::Empty);
        let _outer = outer.enter();
        outer.record("size", 12);
        let _inner = tracing::debug_span!("parse").entered();
        tracing::trace!(name = "n", "got {}", "it");
    });
    let expected = [
        record(level::ERROR, "plain code=7"),
        record(level::TRACE, "fetch{url=\"http://x\" size=12}: parse: got it name=\"n\""),
    ];
    assert_eq!(outcome.log, expected);
}

#[test]
fn a_thread_of_the_job_belongs_to_some_job() {
    let _alone = alone();
    // In a worker it is this one; here it is whichever test runs, which is why they take turns.
    TestJob::new("").run(|_: &Job, _: &mut Log| {
        std::thread::scope(|scope| {
            scope.spawn(|| log::info!("from a thread"));
        });
    });
}

/// Records of threads go to whatever job runs: one test at a time.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
