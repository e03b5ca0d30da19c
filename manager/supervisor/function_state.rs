//! What is happening with a function, in one word and what belongs to it. Pure.

use std::time::{Duration, SystemTime};

use super::pause_records::Pause;
use crate::control::FunctionState;
use crate::logging::date;
use crate::plugins::content_hash::ShortHash;

/// How much of a time is shown: `2026-11-24 12:00:00`.
const TO_THE_SECOND: usize = 19;

/// What decides it.
#[derive(Debug, Default)]
pub(crate) struct FunctionFacts {
    /// Workers planned for it.
    pub planned: usize,
    /// Workers that take jobs of it.
    pub serving: usize,
    /// Those of them that serve its current version.
    pub serving_current: usize,
    /// Those that serve an earlier one.
    pub serving_old: usize,
    /// Who has paused it, and when.
    pub pause: Option<Pause>,
    /// Why no worker is planned.
    pub excluded: Option<String>,
    /// How long it still backs off.
    pub backing_off: Option<Duration>,
    /// Why it cannot be started, if it is not tried again or backs off.
    pub start_failure: Option<String>,
    /// Why no worker serves it although some are planned.
    pub unserved: Option<String>,
    /// The version that a canary tries.
    pub tried: Option<ShortHash>,
}

/// The state of a function. `failing`: how many of its latest jobs had no result, if that is many.
pub(crate) fn state(facts: &FunctionFacts, failing: Option<String>, now: SystemTime) -> FunctionState {
    if let Some(Pause { by, since }) = facts.pause.clone() {
        return FunctionState::Paused { by, since };
    }
    if facts.planned == 0 {
        let why = facts.excluded.clone().or_else(|| facts.unserved.clone());
        return FunctionState::NotOffered { why: why.unwrap_or_else(|| "no worker is planned for it".into()) };
    }
    let failure = facts.start_failure.clone();
    if let Some(wait) = facts.backing_off {
        let until = local_time(now.checked_add(wait).unwrap_or(now));
        return FunctionState::BackingOff { until, seconds: wait.as_secs_f64(), why: failure.unwrap_or_default() };
    }
    if let Some(why) = failure {
        return FunctionState::Failing { why };
    }
    if facts.serving == 0 {
        return FunctionState::Starting { why: facts.unserved.clone().unwrap_or_default() };
    }
    if let Some(version) = facts.tried {
        return FunctionState::Canary { version };
    }
    if facts.serving_old > 0 {
        return FunctionState::RollingOut { workers_new: facts.serving_current, workers_planned: facts.planned };
    }
    failing.map_or(FunctionState::Serving, |why| FunctionState::Failing { why })
}

/// Local time, to the second.
pub(crate) fn local_time(at: SystemTime) -> String {
    date(at).chars().take(TO_THE_SECOND).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_reasons_is_the_state() {
        let version = ShortHash::from_name("3f2a91c04d11").unwrap();
        let now = SystemTime::UNIX_EPOCH;
        let failing = || Some("3 of 4 jobs had no result".to_owned());
        let well = || FunctionFacts { planned: 8, serving: 8, serving_current: 8, ..FunctionFacts::default() };
        let expect = |facts: FunctionFacts, failing: Option<String>, expected: FunctionState| {
            assert_eq!(state(&facts, failing, now), expected, "{facts:?}");
        };
        expect(well(), None, FunctionState::Serving);
        let failed = |text: &str| FunctionState::Failing { why: text.into() };
        expect(well(), failing(), failed("3 of 4 jobs had no result"));

        let rolling = || FunctionFacts { serving_current: 2, serving_old: 6, ..well() };
        let rolls = FunctionState::RollingOut { workers_new: 2, workers_planned: 8 };
        expect(rolling(), failing(), rolls);

        let trying = || FunctionFacts { tried: Some(version), ..rolling() };
        expect(trying(), failing(), FunctionState::Canary { version });

        let starting =
            || FunctionFacts { serving: 0, unserved: Some("its library is being loaded".into()), ..trying() };
        expect(starting(), None, FunctionState::Starting { why: "its library is being loaded".into() });

        let broken = || FunctionFacts { start_failure: Some("new() failed".into()), ..starting() };
        expect(broken(), None, failed("new() failed"));

        let backing_off = || FunctionFacts { backing_off: Some(Duration::from_secs(4)), ..broken() };
        let until = local_time(SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(4)).unwrap());
        assert_eq!(until.len(), TO_THE_SECOND, "{until}");
        let backs_off = FunctionState::BackingOff { until, seconds: 4.0, why: "new() failed".into() };
        expect(backing_off(), None, backs_off);

        let stopping = FunctionFacts { planned: 0, unserved: Some("the manager is stopping".into()), ..well() };
        expect(stopping, None, FunctionState::NotOffered { why: "the manager is stopping".into() });
        let excluded = || FunctionFacts { planned: 0, excluded: Some("exclude names it".into()), ..backing_off() };
        expect(excluded(), None, FunctionState::NotOffered { why: "exclude names it".into() });
        let unknown = FunctionFacts::default();
        expect(unknown, None, FunctionState::NotOffered { why: "no worker is planned for it".into() });

        let pause = Pause { by: "alice".into(), since: "2026-11-24 12:00:00".into() };
        let paused = FunctionState::Paused { by: "alice".into(), since: "2026-11-24 12:00:00".into() };
        expect(FunctionFacts { pause: Some(pause), ..excluded() }, None, paused);
    }
}
