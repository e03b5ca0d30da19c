//! Keeps docs/reference.md in step with the code: the commands, the keys, the events and the exit codes.
//!
//! `GM_WRITE_DOCS=1 cargo test --test packaging reference` rewrites it.

mod events;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, CommandFactory};
use gm_native::cli::Cli;
use gm_native::config::{ConfigKey, KEYS, KeyScope};

use crate::assets;
use crate::support::build::repository;

const HEAD: &str = "\
# Reference

Every command, key, event and exit code. This page is made from the code; what they are for is in the other pages:
[operating.md](operating.md), [configuration.md](configuration.md), [deploying.md](deploying.md),
[debugging.md](debugging.md), [monitoring.md](monitoring.md).

- [Commands](#commands)
- [Keys of the configuration](#keys-of-the-configuration)
- [Events](#events)
- [Exit codes](#exit-codes)
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut program = Cli::command();
    program.build();
    page += "\n## Commands\n\nWithout a command, `gm-native` runs the manager.\n";
    page += &options(&program);
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        page += &of_command(command);
    }
    page += "\n## Keys of the configuration\n\n`f`: a function's section may have the key as well, for that function. \
             `r`: only a restart changes it.\n\n";
    page += &keys();
    page += "\n## Events\n\n";
    page += &events::events();
    page += "\n## Exit codes\n\nThose of `gm-native`; a command's own are with the command.\n\n";
    page += &exit_codes("gm-native.1");
    page
}

/// For a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn of_command(command: &Command) -> String {
    let name = command.get_name();
    let about = command.get_long_about().or(command.get_about()).expect("every command says what it does");
    let usage = [format!("gm-native {name}")].into_iter().chain(command.get_positionals().map(operand));
    let usage = usage.collect::<Vec<_>>().join(" ");
    let mut text = format!("\n### {name}\n\n`{usage}`\n\n{about}\n{}", options(command));
    for one in command.get_subcommands().filter(|one| one.get_name() != "help") {
        let usage =
            [format!("gm-native {name} {}", one.get_name())].into_iter().chain(one.get_positionals().map(operand));
        let about = one.get_long_about().or(one.get_about()).expect("every command says what it does");
        write!(
            text,
            "\n`{}`: {}\n{}",
            usage.collect::<Vec<_>>().join(" "),
            cell(&about.to_string().replace("\n\n", ". ")),
            options(one)
        )
        .unwrap();
    }
    text + "\n" + &exit_codes(&format!("gm-native-{name}.1"))
}

/// `FILE...`, in brackets where it may be left out.
fn operand(arg: &Arg) -> String {
    let more = if matches!(arg.get_action(), ArgAction::Append) { "..." } else { "" };
    let name = values(arg);
    if arg.is_required_set() { format!("{name}{more}") } else { format!("[{name}]{more}") }
}

fn values(arg: &Arg) -> String {
    arg.get_value_names().unwrap_or_default().iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ")
}

/// A table of the operands and options of a command, after a blank line; nothing if it has none of its own.
fn options(command: &Command) -> String {
    let is_own = |arg: &&Arg| {
        let is_inherited = arg.is_global_set() && command.get_name() != "gm-native";
        !arg.is_hide_set() && !is_inherited && !matches!(arg.get_id().as_str(), "help" | "version")
    };
    let mut rows = String::new();
    for arg in command.get_arguments().filter(is_own) {
        let short = arg.get_short().map(|short| format!("-{short}"));
        let long = arg.get_long().map(|long| format!("--{long}"));
        let names = short.into_iter().chain(long).collect::<Vec<_>>().join(", ");
        let value = match (arg.get_action().takes_values(), arg.is_require_equals_set()) {
            (true, true) => format!("[={}]", values(arg)),
            (true, false) if names.is_empty() => values(arg),
            (true, false) => format!(" {}", values(arg)),
            (false, _) => String::new(),
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let defaults = arg.get_default_values().iter().filter(|_| arg.get_action().takes_values());
        let default = defaults.map(|value| format!(" [default: {}]", value.to_string_lossy())).collect::<String>();
        writeln!(rows, "| `{}` | {}{default} |", cell(&format!("{names}{value}")), cell(&help)).unwrap();
    }
    if rows.is_empty() { rows } else { format!("\n| option | meaning |\n|---|---|\n{rows}") }
}

/// A table of what a man page has under EXIT STATUS.
fn exit_codes(page: &str) -> String {
    let page = fs::read_to_string(assets().join(page)).unwrap();
    let (_, section) = page.split_once("EXIT STATUS").unwrap_or_else(|| panic!("no exit codes: {page}"));
    let section = section.split("\n.SH").next().unwrap_or_default();
    let mut table = String::from("| exit code | meaning |\n|---|---|\n");
    for entry in section.split(".TP\n").skip(1) {
        let (code, meaning) = entry.trim().split_once('\n').unwrap();
        let (code, meaning) = (plain(code), plain(&meaning.replace('\n', " ")));
        writeln!(table, "| {code} | {meaning} |").unwrap();
    }
    table
}

/// A text of a man page without what is for roff.
fn plain(text: &str) -> String {
    let text = text.replace("\\fB", "").replace("\\fR", "").replace("\\-", "-").replace("\\*(Aq", "'");
    cell(text.trim().trim_start_matches("\\&"))
}

fn keys() -> String {
    let mut table = String::from("| key | | default | meaning |\n|---|---|---|---|\n");
    for key in KEYS {
        writeln!(table, "{}", row(key)).unwrap();
    }
    table
}

fn row(key: &ConfigKey) -> String {
    let scope = match key.scope() {
        KeyScope::Global => "",
        KeyScope::Function => "only in a function's section",
        KeyScope::Both => "f",
    };
    let restart = if key.needs_restart { "r" } else { "" };
    let marks = [scope, restart].into_iter().filter(|mark| !mark.is_empty()).collect::<Vec<_>>().join(" ");
    let default = match key.default {
        "" => String::new(),
        words if words.contains(' ') => words.replace("see Places", "see [Places](configuration.md#places)"),
        value => format!("`{value}`"),
    };
    let least = key.least().map(|least| format!("; at least `{least}`")).unwrap_or_default();
    let not_yet = if key.not_yet { " (no effect yet)" } else { "" };
    format!("| `{}` | {marks} | {default} | {}{least}{not_yet} |", key.name, cell(key.meaning))
}

#[test]
fn the_reference_is_that_of_the_code() {
    let path: PathBuf = repository().join("docs/reference.md");
    let page = page();
    if std::env::var_os("GM_WRITE_DOCS").is_some() {
        fs::write(path, page).unwrap();
        return;
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    for (is, should) in written.lines().zip(page.lines()) {
        assert_eq!(
            is, should,
            "docs/reference.md is out of date; GM_WRITE_DOCS=1 cargo test --test packaging reference"
        );
    }
    assert_eq!(written, page);
}
