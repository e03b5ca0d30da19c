//! The values that hold for a function: its own, or else the global ones.

use std::time::Duration;

use super::choice::{LostJobPolicy, RolloutSurge};
use super::model::Config;

/// Methods named after a key: the function's own value, or else the global one.
macro_rules! per_function {
    ($($name:ident: $type:ty),* $(,)?) => {
        impl Config {
            $(
                #[doc = concat!("`", stringify!($name), "` as it holds for a function.")]
                pub fn $name(&self, function: &str) -> $type {
                    self.functions.get(function).and_then(|own| own.$name).unwrap_or(self.$name)
                }
            )*
        }
    };
}

per_function! {
    start_timeout: Duration,
    rollout_surge: RolloutSurge,
    canary_seconds: Duration,
    canary_jobs: u64,
    on_crash: LostJobPolicy,
    on_timeout: LostJobPolicy,
    max_attempts: u32,
    timeout_grace: Duration,
    prefetch: u32,
    prefetch_hold: Duration,
    prefetch_probation: u32,
}

impl Config {
    /// How long a job of a function may run; `None`: without limit.
    pub fn timeout(&self, function: &str) -> Option<Duration> {
        let own = self.functions.get(function).and_then(|own| own.timeout);
        own.or(self.timeout).filter(|timeout| !timeout.is_zero())
    }

    /// Whether a new version of a function is tried with jobs before the other workers get it, or only has to start.
    pub fn has_canary(&self, function: &str) -> bool {
        !self.canary_seconds(function).is_zero() && self.canary_jobs(function) > 0
    }

    /// Bytes of memory above which a worker of a function is replaced between two jobs.
    pub fn max_memory(&self, function: &str) -> Option<u64> {
        let own = self.functions.get(function).and_then(|own| own.max_memory);
        own.or(self.max_memory).filter(|bytes| *bytes != 0)
    }

    /// Bytes of memory that a worker of a function can never exceed.
    pub fn max_memory_hard(&self, function: &str) -> Option<u64> {
        let own = self.functions.get(function).and_then(|own| own.max_memory_hard);
        own.or(self.max_memory_hard).filter(|bytes| *bytes != 0)
    }

    /// The smallest value among these functions, if any has one: the limit of a worker that serves them all.
    pub fn least<'a, T: Ord>(
        &self,
        functions: impl IntoIterator<Item = &'a str>,
        of: fn(&Self, &str) -> Option<T>,
    ) -> Option<T> {
        functions.into_iter().filter_map(|function| of(self, function)).min()
    }

    /// A function's priority, 0 by default.
    pub fn priority(&self, function: &str) -> i8 {
        self.functions.get(function).map_or(0, |own| own.priority)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::function::FunctionConfig;
    use super::*;

    fn config(own: FunctionConfig) -> Config {
        Config {
            timeout: Some(Duration::from_secs(300)),
            max_memory: Some(1 << 20),
            functions: BTreeMap::from([("f".to_owned(), own)]),
            ..Config::default()
        }
    }

    #[test]
    fn a_function_has_its_own_value_or_the_one_for_all() {
        let own = FunctionConfig {
            timeout: Some(Duration::from_secs(30)),
            prefetch: Some(8),
            priority: 3,
            on_crash: Some(LostJobPolicy::Fail),
            ..FunctionConfig::default()
        };
        let config = config(own);
        assert_eq!(config.timeout("f"), Some(Duration::from_secs(30)));
        assert_eq!(config.timeout("g"), Some(Duration::from_secs(300)));
        assert_eq!((config.prefetch("f"), config.prefetch("g")), (8, 1));
        assert_eq!((config.priority("f"), config.priority("g")), (3, 0));
        assert_eq!((config.on_crash("f"), config.on_crash("g")), (LostJobPolicy::Fail, LostJobPolicy::Retry));
        assert_eq!(config.start_timeout("f"), Duration::from_secs(30));
    }

    #[test]
    fn zero_takes_a_limit_away() {
        let own = FunctionConfig {
            timeout: Some(Duration::ZERO),
            max_memory: Some(0),
            max_memory_hard: Some(5),
            ..FunctionConfig::default()
        };
        let config = config(own);
        assert_eq!((config.timeout("f"), config.max_memory("f"), config.max_memory_hard("f")), (None, None, Some(5)));
        assert_eq!((config.max_memory("g"), config.max_memory_hard("g")), (Some(1 << 20), None));
    }
}
