//! Keeps docs/configuration.md in step with the table of keys, the command line and the words for secrets.
//!
//! `GM_WRITE_DOCS=1 cargo test --lib documentation` rewrites the tables.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use clap::CommandFactory;

use super::*;

const PAGE: &str = include_str!("../../docs/configuration.md");

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

/// A default that is words has its own backquotes or none.
fn default_of(key: &ConfigKey) -> String {
    let in_words = key.default.contains(' ');
    if in_words { key.default.to_owned() } else { code(key.default) }
}

fn global_keys() -> String {
    let mut table = String::from("| key | | default | meaning |\n|---|---|---|---|\n");
    for key in KEYS.iter().filter(|key| key.scope() != KeyScope::Function) {
        let marks = [(key.scope() == KeyScope::Both, "f"), (key.needs_restart, "r")];
        let marks: String = marks.into_iter().filter_map(|(is, mark)| is.then_some(mark)).collect();
        let least = key.least().map(|least| format!("; at least {}", code(&least))).unwrap_or_default();
        writeln!(table, "| `{}` | {marks} | {} | {}{least} |", key.name, default_of(key), key.meaning).unwrap();
    }
    table
}

fn function_keys() -> String {
    let mut table = String::from("| key | default | meaning |\n|---|---|---|\n");
    for key in KEYS.iter().filter(|key| key.scope() == KeyScope::Function) {
        writeln!(table, "| `{}` | {} | {} |", key.name, default_of(key), key.meaning).unwrap();
    }
    let both = KEYS.iter().filter(|key| key.scope() == KeyScope::Both).map(|key| code(key.name)).collect::<Vec<_>>();
    writeln!(table, "| {} | as in `[GearmanManager]` | as there, for this function |", both.join(", ")).unwrap();
    table
}

fn options() -> String {
    let mut table = String::from("| option | | meaning |\n|---|---|---|\n");
    for option in crate::cli::Cli::command().get_arguments() {
        let short = option.get_short().map(|short| format!("`-{short}`")).unwrap_or_default();
        let value = option.get_value_names().filter(|_| option.get_action().takes_values());
        let value = value.map(|names| format!(" {}", names.join(" "))).unwrap_or_default();
        let long = option.get_long().expect("every option has a long name");
        let help = option.get_help().expect("every option has a help").to_string().replace('|', "\\|");
        writeln!(table, "| {short} | `--{long}{value}` | {help} |").unwrap();
    }
    table
}

/// The page with its tables regenerated.
fn renewed() -> String {
    let mut page = PAGE.to_owned();
    for (name, table) in [("options", options()), ("global", global_keys()), ("function", function_keys())] {
        let begin = format!("<!-- table: {name} -->\n");
        let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("the page has no {begin}"));
        let (_, after) = rest.split_once("<!-- end -->").expect("every table has an end");
        page = format!("{before}{begin}{table}<!-- end -->{after}");
    }
    page
}

#[test]
fn the_tables_are_those_of_the_code() {
    let renewed = renewed();
    if std::env::var_os("GM_WRITE_DOCS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
        std::fs::write(path, renewed).expect("the page can be written");
        return;
    }
    for (is, should) in PAGE.lines().zip(renewed.lines()) {
        assert_eq!(
            is, should,
            "docs/configuration.md is behind the code; GM_WRITE_DOCS=1 cargo test --lib documentation"
        );
    }
    assert_eq!(PAGE, renewed);
}

#[test]
fn the_examples_are_right() {
    let examples: Vec<&str> = PAGE.split("```ini\n").skip(1).filter_map(|part| part.split("```").next()).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let source = ConfigFile { path: Path::new("docs"), bytes: example.as_bytes() };
        let (_, warnings) =
            load(Some(source), &Overrides::default(), &|_| None).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(warnings, [], "{example}");
    }
}

#[test]
fn the_words_for_secrets_are_documented() {
    let words = SECRET_WORDS.map(code).join(", ");
    assert!(PAGE.split_whitespace().collect::<Vec<_>>().join(" ").contains(&words), "{words}");
}

#[test]
fn what_is_not_in_effect_yet_is_documented() {
    let (_, list) = PAGE.split_once("<!-- not yet -->").expect("the list");
    let (list, _) = list.split_once("<!-- end -->").expect("its end");
    let documented: BTreeSet<&str> = list.split(',').map(|name| name.trim().trim_matches('`')).collect();
    assert_eq!(documented, KEYS.iter().filter(|key| key.not_yet).map(|key| key.name).collect());
}
