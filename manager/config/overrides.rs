//! Options of the command line as values of keys. They override the file and pass the same checks.

use std::ffi::OsString;

use super::error::{Diagnostics, ValueOrigin};
use super::keys;
use super::model::Config;
use super::text::from_os;

/// The options given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides(Vec<Override>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Override {
    key: &'static str,
    option: &'static str,
    text: String,
}

impl FromIterator<(&'static str, &'static str, OsString)> for Overrides {
    /// From triples of key, option as written (`-D`), and value.
    fn from_iter<I: IntoIterator<Item = (&'static str, &'static str, OsString)>>(triples: I) -> Self {
        let of = |(key, option, text): (_, _, OsString)| Override { key, option, text: from_os(&text) };
        Overrides(triples.into_iter().map(of).collect())
    }
}

impl Overrides {
    pub(super) fn apply(&self, config: &mut Config, diagnostics: &mut Diagnostics) {
        for Override { key: name, option, text } in &self.0 {
            let origin = ValueOrigin::Option(option);
            let Some((key, field)) = keys::global(name) else {
                diagnostics.error(origin, format!("there is no key {name} for it"));
                continue;
            };
            // As from an unset shell variable: `-u "$RUN_AS"` must not run as root. Only the prefix may be empty.
            let problems = match text.is_empty() && key.name != "prefix" {
                true => vec!["nothing is given".to_owned()],
                false => field.problems(key.list, text),
            };
            if problems.is_empty() && (field.set)(config, key.raised(text).as_ref().unwrap_or(text)).is_ok() {
                config.origins.set(None, key.name, origin.clone());
                if let Some(warning) = key.warning(text, "") {
                    diagnostics.warn(origin.clone(), warning);
                }
            }
            for problem in problems {
                let text = format!("{name}: {problem}; write for example {option} {}", field.example);
                diagnostics.error(origin.clone(), text);
            }
        }
    }
}
