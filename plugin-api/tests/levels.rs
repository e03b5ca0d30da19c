//! What is not wanted is not even formatted, by whichever way it is logged. One test: the level is the library's own.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::sync::Mutex;

use gm_plugin_api::__private::{About, Plain, PlainFunction, about};
use gm_plugin_api::abi::{Host, RSlice, RStr, RawContext, RawJob, RawState, level, table};
use gm_plugin_api::{Job, JobResult, Log};

static LOGGED: Mutex<Vec<(u8, String)>> = Mutex::new(Vec::new());

static HOST: Host = {
    extern "C" fn status(_: u64, _: u64, _: u64) -> bool {
        true
    }
    extern "C" fn bytes(_: u64, _: RSlice<'_, u8>) -> bool {
        true
    }
    extern "C" fn log(_: u64, level: u8, _: RStr<'_>, text: RStr<'_>) {
        LOGGED.lock().unwrap().push((level, text.to_string()));
    }
    extern "C" fn stopping(_: u64) -> bool {
        false
    }
    Host { size: size_of::<Host>(), status, data: bytes, warning: bytes, log, stopping }
};

/// Text that must not be asked for where its level is not wanted.
struct Costly(u8);

impl std::fmt::Display for Costly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        assert!(self.0 <= *WANTED.lock().unwrap(), "level {} is formatted", self.0);
        write!(f, "{}", self.0)
    }
}

static WANTED: Mutex<u8> = Mutex::new(0);

struct Everything;

impl Plain for Everything {
    const ABOUT: About = about!("everything");

    fn run(_: &Job, line: &mut Log) -> JobResult {
        line.error(Costly(1));
        line.warn(Costly(2));
        line.push(Costly(3));
        line.debug(Costly(4));
        log::error!("{}", Costly(1));
        log::warn!("{}", Costly(2));
        log::info!("{}", Costly(3));
        log::debug!("{}", Costly(4));
        log::trace!("{}", Costly(5));
        tracing::error!("{}", Costly(1));
        tracing::warn!("{}", Costly(2));
        tracing::info!("{}", Costly(3));
        tracing::debug!("{}", Costly(4));
        tracing::trace!("{}", Costly(5));
        Ok(().into())
    }
}

#[test]
fn what_is_not_wanted_costs_nothing() {
    let function = table::<PlainFunction<Everything>>();
    let context = RawContext {
        size: size_of::<RawContext<'_>>(),
        function: "everything".into(),
        settings: [][..].into(),
        host: &HOST,
    };
    assert_eq!(function.new()(&context).into_result().unwrap(), RawState(std::ptr::null_mut()));
    let job = RawJob {
        size: size_of::<RawJob<'_>>(),
        number: 1,
        handle: [][..].into(),
        unique: [][..].into(),
        function: "everything".into(),
        workload: [][..].into(),
        host: &HOST,
    };
    // Up and down: the crates keep their level in statics of their own.
    for wanted in [level::INFO, level::TRACE, level::WARN, 0, level::DEBUG, level::ERROR] {
        *WANTED.lock().unwrap() = wanted;
        function.set_level()(wanted);
        function.run()(RawState(std::ptr::null_mut()), &job).into_result().unwrap();
        let mut lines: Vec<_> = std::mem::take(&mut *LOGGED.lock().unwrap());
        lines.sort();
        let mut expected: Vec<_> = [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2, 3, 4]
            .into_iter()
            .filter(|level| *level <= wanted)
            .map(|level| (level, level.to_string()))
            .collect();
        expected.sort();
        assert_eq!(lines, expected, "at {wanted}");
    }
}
