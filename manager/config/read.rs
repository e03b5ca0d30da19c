//! From lines to fields: repeated keys, lists, unknown keys; the table checks every value.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::error::{Diagnostics, ValueOrigin};
use super::ini::{Document, MANAGER, Section};
use super::keys::{self, ConfigKey, KEYS, KeyField};
use super::model::Config;
use super::text::quoted;

/// What precedes the name of a plugin's setting in a function's section.
pub(super) const SETTING: &str = "setting.";

/// How similar to a known key an unknown one must be to count as a misspelling of it.
const ALIKE: f64 = 0.8;

/// How similar to the manager's section another one must be. Higher, since `gearman_mail` may be a function.
const MISSPELT: f64 = 0.93;

/// The final value of a key, from one line or from all the lines of its list.
struct KeyAssignment<'a> {
    section: &'a Section,
    key: &'a str,
    list: bool,
    /// Each with its line; just one, unless it is a list.
    values: Vec<(&'a str, usize)>,
}

impl KeyAssignment<'_> {
    /// The whole value.
    fn value(&self) -> String {
        self.values.iter().map(|(value, _)| *value).collect::<Vec<_>>().join(",")
    }

    /// Where it begins.
    fn line(&self) -> usize {
        self.values.first().map_or(0, |(_, line)| *line)
    }

    /// The origin of a diagnostic about one of its lines.
    fn origin(&self, file: &Arc<Path>, line: usize) -> ValueOrigin {
        ValueOrigin::Line { file: file.clone(), line }
    }
}

/// Applies a document to `config`, or reports what is wrong with it.
pub(super) fn apply(config: &mut Config, file: &Arc<Path>, document: &Document, diagnostics: &mut Diagnostics) {
    for (section, line) in &document.sections {
        let Section::Function(name) = section else { continue };
        // An empty section names a function, too: the plan warns if there is no library for it.
        config.functions.entry(name.clone()).or_default();
        config.origins.set_section(name, ValueOrigin::Line { file: file.clone(), line: *line });
        // A misspelt [GearmanManager] would not be noticed: a function has a count, too.
        if strsim::jaro_winkler(&name.to_ascii_lowercase(), &MANAGER.to_ascii_lowercase()) >= MISSPELT {
            let text = format!("[{name}] is taken as a function; did you mean [{MANAGER}]?");
            diagnostics.warn(ValueOrigin::Line { file: file.clone(), line: *line }, text);
        }
    }
    for assignment in gather(document, file, diagnostics) {
        match assignment.section {
            Section::Manager => take_global(config, &assignment, file, diagnostics),
            Section::Function(function) => take_function(config, function, &assignment, file, diagnostics),
        }
    }
}

/// Folds repeated lines: the items of a list add up; of any other key the last line counts, with a warning.
fn gather<'a>(document: &'a Document, file: &Arc<Path>, diagnostics: &mut Diagnostics) -> Vec<KeyAssignment<'a>> {
    let mut known: BTreeMap<(&Section, &str), KeyAssignment<'a>> = BTreeMap::new();
    for entry in &document.entries {
        let (section, key, line) = (&entry.section, entry.key.as_str(), entry.line);
        if let Some(before) = known.get_mut(&(section, key)) {
            if entry.list && before.list {
                before.values.push((&entry.value, line));
                continue;
            }
            let text = format!(
                "{key} in [{}] is on line {} and again on line {line}; the last counts, remove the other",
                section.name(),
                before.line()
            );
            diagnostics.warn(ValueOrigin::Line { file: file.clone(), line }, text);
        }
        let assignment = KeyAssignment { section, key, list: entry.list, values: vec![(&entry.value, line)] };
        known.insert((section, key), assignment);
    }
    let mut assignments: Vec<_> = known.into_values().collect();
    assignments.sort_by_key(KeyAssignment::line);
    assignments
}

fn take_global(config: &mut Config, assignment: &KeyAssignment<'_>, file: &Arc<Path>, diagnostics: &mut Diagnostics) {
    let origin = assignment.origin(file, assignment.line());
    let Some((key, field)) = keys::global(assignment.key) else {
        return diagnostics.warn(origin, unknown(assignment.section, assignment.key));
    };
    if take(config, key, field, assignment, file, diagnostics) {
        config.origins.set(None, key.name, origin);
    }
}

fn take_function(
    config: &mut Config,
    function: &str,
    assignment: &KeyAssignment<'_>,
    file: &Arc<Path>,
    diagnostics: &mut Diagnostics,
) {
    let origin = assignment.origin(file, assignment.line());
    let own = config.functions.entry(function.to_owned()).or_default();
    if let Some(name) = assignment.key.strip_prefix(SETTING) {
        if name.is_empty() || assignment.list {
            let text = format!("{} in [{function}] is not a setting; write {SETTING}NAME = value", assignment.key);
            return diagnostics.error(origin, text);
        }
        own.settings.insert(name.to_owned(), assignment.value());
        return config.origins.set(Some(function), assignment.key, origin);
    }
    let Some((key, field)) = keys::function(assignment.key) else {
        return diagnostics.warn(origin, unknown(assignment.section, assignment.key));
    };
    if take(own, key, field, assignment, file, diagnostics) {
        config.origins.set(Some(function), key.name, origin);
    }
}

/// Sets one field, and returns whether it did. Reports each wrong item with its line. An empty value leaves the
/// default, as PHP's `empty()` tests do.
fn take<T: Default>(
    to: &mut T,
    key: &ConfigKey,
    field: &KeyField<T>,
    assignment: &KeyAssignment<'_>,
    file: &Arc<Path>,
    diagnostics: &mut Diagnostics,
) -> bool {
    let (name, section) = (key.name, assignment.section.name());
    let value = assignment.value();
    let mut wrong = false;
    for (part, line) in &assignment.values {
        let problems = match assignment.list && !key.list {
            true => vec![format!("{name} in [{section}] is not a list; write {name} = {}", field.example)],
            // An empty value means nothing, or the default.
            false if part.is_empty() => Vec::new(),
            false => {
                let problems = field.problems(key.list, part).into_iter();
                let advice = format!("write for example {name} = {}", field.example);
                problems.map(|problem| format!("{name} in [{section}]: {problem}; {advice}")).collect()
            }
        };
        wrong |= !problems.is_empty();
        problems.into_iter().for_each(|problem| diagnostics.error(assignment.origin(file, *line), problem));
    }
    if wrong {
        return false;
    }
    let origin = assignment.origin(file, assignment.line());
    match (field.set)(to, key.raised(&value).as_ref().unwrap_or(&value)) {
        Ok(()) => {
            // A value that equals the default needs no warning that it has no effect.
            if key.not_yet && (field.show)(to) != (field.show)(&T::default()) {
                let text = format!("{name} = {value} in [{section}] has no effect in this version of gm-native");
                diagnostics.warn(origin, text);
            } else if let Some(text) = key.warning(&value, &format!(" in [{section}]")) {
                diagnostics.warn(origin, text);
            }
            true
        }
        Err(_) => {
            let text =
                format!("{name} in [{section}] is empty, so its default holds; remove the line or write a value");
            diagnostics.warn(origin, text);
            false
        }
    }
}

/// The warning for a key that the section does not have: where it belongs, or what was probably meant.
fn unknown(section: &Section, name: &str) -> String {
    let here = |key: &ConfigKey| match section {
        Section::Manager => key.global.is_some(),
        Section::Function(_) => key.function.is_some(),
    };
    let of_manager = *section == Section::Manager;
    let elsewhere = if of_manager { "the section of a function".to_owned() } else { format!("[{MANAGER}]") };
    let advice = if KEYS.iter().any(|key| key.name == name) || (of_manager && name.starts_with(SETTING)) {
        format!("it belongs in {elsewhere}")
    } else if let Some(near) = nearest(name, KEYS.iter().filter(|key| here(key)).map(|key| key.name)) {
        format!("did you mean {near}?")
    } else if of_manager {
        "see docs/configuration.md for the keys".into()
    } else {
        format!("for the plugin write {SETTING}{name} = value")
    };
    format!("unknown key {} in [{}] is ignored; {advice}", quoted(name), section.name())
}

/// The known name that is most similar to a misspelt one, if any is similar enough.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_ascii_lowercase().replace('-', "_");
    let name = plain(name);
    let scored = known.map(|known| (strsim::jaro_winkler(&name, &plain(known)), known));
    scored.filter(|(score, _)| *score >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}
