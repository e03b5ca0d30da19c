//! A function's section, and the values that apply to what it does not set.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::choice::{LostJobPolicy, RolloutSurge};
use super::secret::shown;
use super::text::encode;

/// A function's section. `None` means "as for all functions"; the methods of [`super::Config`] return the effective
/// value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FunctionConfig {
    /// The least number of workers that serve the function.
    pub count: Option<u32>,
    /// Workers that serve only this function.
    pub dedicated_count: Option<u32>,
    /// The all-functions workers leave it out.
    pub dedicated_only: bool,
    /// -5 to 5; a worker serves the highest first.
    pub priority: i8,
    /// 0: no timeout, even if there is a global one.
    pub timeout: Option<Duration>,
    /// Overrides the global key.
    pub start_timeout: Option<Duration>,
    /// Overrides the global key.
    pub rollout_surge: Option<RolloutSurge>,
    /// Overrides the global key.
    pub canary_seconds: Option<Duration>,
    /// Overrides the global key.
    pub canary_jobs: Option<u64>,
    /// Overrides the global key.
    pub on_crash: Option<LostJobPolicy>,
    /// Overrides the global key.
    pub on_timeout: Option<LostJobPolicy>,
    /// Overrides the global key.
    pub max_attempts: Option<u32>,
    /// Overrides the global key.
    pub timeout_grace: Option<Duration>,
    /// 0: no limit, even if there is a global one.
    pub max_memory: Option<u64>,
    /// 0: no limit, even if there is a global one.
    pub max_memory_hard: Option<u64>,
    /// Overrides the global key.
    pub prefetch: Option<u32>,
    /// Overrides the global key.
    pub prefetch_hold: Option<Duration>,
    /// Overrides the global key.
    pub prefetch_probation: Option<u32>,
    /// The plugin's settings (`setting.NAME`).
    pub settings: PluginSettings,
}

/// A plugin's settings by name, without `setting.`. [`fmt::Debug`] masks secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PluginSettings(pub BTreeMap<String, String>);

impl PluginSettings {
    /// The exact bytes of a setting, even if the ini was not UTF-8 (its text then has stand-ins).
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.0.get(name).map(|value| encode(value))
    }
}

impl Deref for PluginSettings {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for PluginSettings {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl fmt::Debug for PluginSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, value)| (name, shown(name, value)))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// H5.
    #[test]
    fn secrets_are_masked_when_printed() {
        let settings = PluginSettings(BTreeMap::from([
            ("db_password".to_owned(), "hunter2".to_owned()),
            ("size".to_owned(), "64".to_owned()),
        ]));
        let text = format!("{:?}", FunctionConfig { settings, ..FunctionConfig::default() });
        assert!(text.contains("\"db_password\": \"****\"") && text.contains("\"size\": \"64\""), "{text}");
        assert!(!text.contains("hunter2"));
    }
}
