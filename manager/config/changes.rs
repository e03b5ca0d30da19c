//! What differs between two configurations: for the log of a reload, and for what a reload cannot apply.

use std::collections::BTreeSet;
use std::fmt;

use super::choice::LogTarget;
use super::function::FunctionConfig;
use super::ini::MANAGER;
use super::keys::KEYS;
use super::model::Config;
use super::read::SETTING;
use super::secret::shown;
use super::text::quoted;

/// One key whose value differs. Secrets are masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// The function whose section it is in; `None` for the manager's.
    pub function: Option<String>,
    /// The key; a setting with its `setting.`.
    pub key: String,
    /// The value before; `None` if it was not set.
    pub before: Option<String>,
    /// The value now; `None` if it is not set.
    pub after: Option<String>,
    /// A reload cannot apply it.
    pub needs_restart: bool,
}

impl fmt::Display for ConfigChange {
    /// `count in [Sum]: "3" is now "5"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.as_ref().map_or_else(|| "unset".to_owned(), |value| quoted(value));
        let section = self.function.as_deref().unwrap_or(MANAGER);
        write!(f, "{} in [{section}]: {} is now {}", self.key, value(&self.before), value(&self.after))?;
        if self.needs_restart { f.write_str(" (needs a restart)") } else { Ok(()) }
    }
}

impl Config {
    /// Which values differ in `newer`, in the order of the table, the manager's section first.
    pub fn changes(&self, newer: &Config) -> Vec<ConfigChange> {
        let newer = &Config { log: self.log_of(newer), ..newer.clone() };
        let mut changes = Vec::new();
        for key in KEYS {
            let Some(field) = &key.global else { continue };
            let (before, after) = ((field.show)(self), (field.show)(newer));
            push(&mut changes, None, key.name, before, after, key.needs_restart);
        }
        let nothing = FunctionConfig::default();
        let names: BTreeSet<&String> = self.functions.keys().chain(newer.functions.keys()).collect();
        for name in names {
            let of = |config: &Config| config.functions.get(name).cloned().unwrap_or_else(|| nothing.clone());
            between(&mut changes, name, &of(self), &of(newer));
        }
        changes
    }

    /// The configuration after a reload: `newer`, except for what only a restart can change.
    #[must_use]
    pub fn with_changes_of(&self, newer: Config) -> Config {
        Config {
            pid_file: self.pid_file.clone(),
            user: self.user.clone(),
            daemon: self.daemon,
            state_dir: self.state_dir.clone(),
            control: self.control.clone(),
            control_group: self.control_group.clone(),
            log: self.log_of(&newer),
            ..newer
        }
    }

    /// Where `newer` wants the log of a manager that stays in the background or foreground as it is: the default
    /// depends on that.
    fn log_of(&self, newer: &Config) -> LogTarget {
        match (newer.origins.is_set(None, "log_file"), self.daemon) {
            // What the check forbids for a manager that will daemonize also holds for one that has.
            (true, true) if matches!(newer.log, LogTarget::Stream(_)) => self.log.clone(),
            (true, _) => newer.log.clone(),
            (false, true) => LogTarget::Syslog,
            (false, false) => LogTarget::Stdout,
        }
    }
}

fn between(changes: &mut Vec<ConfigChange>, name: &str, before: &FunctionConfig, after: &FunctionConfig) {
    for key in KEYS {
        let Some(field) = &key.function else { continue };
        push(changes, Some(name), key.name, (field.show)(before), (field.show)(after), key.needs_restart);
    }
    let settings: BTreeSet<&String> = before.settings.keys().chain(after.settings.keys()).collect();
    for setting in settings {
        // Compared before they are masked: a new password is a change.
        if before.settings.get(setting) != after.settings.get(setting) {
            let masked =
                |own: &FunctionConfig| own.settings.get(setting).map(|value| shown(setting, value).into_owned());
            changes.push(ConfigChange {
                function: Some(name.to_owned()),
                key: format!("{SETTING}{setting}"),
                before: masked(before),
                after: masked(after),
                needs_restart: false,
            });
        }
    }
}

fn push(
    changes: &mut Vec<ConfigChange>,
    function: Option<&str>,
    key: &str,
    before: Option<String>,
    after: Option<String>,
    needs_restart: bool,
) {
    if before != after {
        changes.push(ConfigChange {
            function: function.map(str::to_owned),
            key: key.to_owned(),
            before,
            after,
            needs_restart,
        });
    }
}
