//! The effective configuration as an ini, with each value's origin in a comment (`-Z`).

use std::fmt::Write as _;

use super::error::ValueOrigin;
use super::function::FunctionConfig;
use super::ini::MANAGER;
use super::keys::KEYS;
use super::model::Config;
use super::origins::Origins;
use super::read::SETTING;
use super::secret::shown;
use super::text::encode;

/// The column where comments begin if the values leave room.
const COLUMN: usize = 40;

impl Config {
    /// Every key of the manager, and what is set for each function, each with its origin; secrets are masked. It is
    /// bytes, since paths may not be UTF-8. [`super::load`] reads it back as this configuration.
    pub fn dump(&self) -> Vec<u8> {
        let mut text = format!("[{MANAGER}]\n");
        for key in KEYS {
            if let Some(value) = key.global.as_ref().and_then(|field| (field.show)(self)) {
                line(&mut text, key.name, &value, &self.origins.of(None, key.name));
            }
        }
        for (name, own) in &self.functions {
            // Writing to a String never fails.
            let _ = writeln!(text, "\n[{name}]");
            own_lines(&mut text, name, own, &self.origins);
        }
        encode(&text)
    }
}

/// The keys that a function's section sets.
fn own_lines(text: &mut String, name: &str, own: &FunctionConfig, origins: &Origins) {
    let unsaid = FunctionConfig::default();
    for key in KEYS {
        let Some(field) = &key.function else { continue };
        let origin = origins.of(Some(name), key.name);
        let value = (field.show)(own)
            .filter(|value| origin != ValueOrigin::Default || (field.show)(&unsaid).as_ref() != Some(value));
        if let Some(value) = value {
            line(text, key.name, &value, &origin);
        }
    }
    for (setting, value) in own.settings.iter() {
        let key = format!("{SETTING}{setting}");
        line(text, &key, &shown(setting, value), &origins.of(Some(name), &key));
    }
}

fn line(text: &mut String, key: &str, value: &str, origin: &ValueOrigin) {
    let assignment = format!("{key} = {}", written(value));
    let _ = writeln!(text, "{assignment:COLUMN$} ; {origin}");
}

/// The value as an ini needs it: in quotes if it would otherwise be read as something else.
fn written(value: &str) -> String {
    let ambiguous = value.contains(['"', '\'', ';', '#', '$', '\\']) || value.trim() != value;
    if !ambiguous {
        return value.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}
