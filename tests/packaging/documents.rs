//! Man pages and completions: nothing of the command line is missing, and man and the shells can read them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use clap::CommandFactory;
use gm_native::cli::Cli;

use crate::support::build::repository;
use crate::support::program::run;
use crate::support::wait::DEADLINE;
use crate::{assets, is_there};

/// The commands, `gm-native` first, each with the name of its page.
pub fn commands() -> Vec<(String, clap::Command)> {
    let mut all = Cli::command().disable_help_subcommand(true);
    all.build();
    let of = all.get_subcommands().map(|command| (format!("gm-native-{}", command.get_name()), command.clone()));
    std::iter::once(("gm-native".to_owned(), all.clone())).chain(of).collect()
}

fn page(name: &str) -> PathBuf {
    assets().join(format!("{name}.1"))
}

fn read(name: &str) -> String {
    fs::read_to_string(assets().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn each_command_has_a_page_with_all_its_options() {
    for (name, command) in commands() {
        let text = read(&format!("{name}.1")).replace("\\-", "-");
        for arg in command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set()) {
            for option in arg
                .get_long()
                .map(|long| format!("--{long}"))
                .into_iter()
                .chain(arg.get_short().map(|s| format!("-{s}")))
            {
                assert!(text.contains(&format!("\\fB{option}\\fR")), "{name}.1 has no {option}");
            }
        }
    }
    let text = read("gm-native.1");
    for section in ["SIGNALS", "ENVIRONMENT", "FILES"] {
        assert!(text.contains(section), "gm-native.1 has no {section}");
    }
}

/// What follows a heading, up to the next one.
fn section(name: &str, heading: &str) -> String {
    let text = read(&format!("{name}.1")).replace("\\-", "-");
    let (_, rest) = text
        .split_once(&format!(".SH {heading}\n"))
        .or_else(|| text.split_once(&format!(".SH \"{heading}\"\n")))
        .unwrap_or_else(|| panic!("{name}.1 has no {heading}"));
    rest.split("\n.SH ").next().unwrap().to_owned()
}

/// Without what a shell does with them.
fn examples(name: &str) -> Vec<String> {
    let examples = section(name, "EXAMPLES");
    let bold = examples.lines().filter_map(|line| line.strip_prefix("\\fB")?.strip_suffix("\\fR"));
    bold.map(|line| line.split(['|', '>']).next().unwrap().trim().to_owned()).collect()
}

#[test]
fn each_page_has_exit_codes_examples_that_are_right_and_other_pages_that_exist() {
    for (name, _) in commands() {
        assert!(section(&name, "EXIT STATUS").contains("\\fB0\\fR"), "{name}");
        let examples = examples(&name);
        assert!(!examples.is_empty(), "{name} has no example");
        for example in examples.iter().filter(|example| example.starts_with("gm-native")) {
            let parsed = Cli::parse_args(example.split_whitespace(), "");
            assert!(parsed.is_ok(), "{name}: {example}: {}", parsed.err().unwrap());
        }
        let see_also = section(&name, "SEE ALSO");
        for other in see_also.lines().next().unwrap().split(", ") {
            let other = other.replace("\\fB", "").replace("\\fR", "");
            let (title, number) = other.split_once('(').unwrap_or_else(|| panic!("{name}: {other}"));
            let exists = match number.trim_end_matches(')') {
                "1" => page(title).exists(),
                _ => repository().join("packaging").join("gm-native.ini.5").exists() && title == "gm-native.ini",
            };
            assert!(exists, "{name}: there is no {other}");
        }
    }
}

#[test]
fn the_completions_know_every_option_and_command() {
    for file in ["gm-native.bash", "_gm-native", "gm-native.fish"] {
        let text = read(file);
        for (name, command) in commands() {
            let verb = name.trim_start_matches("gm-native-");
            assert!(text.contains(verb), "{file} has no {verb}");
            for long in command.get_arguments().filter_map(|arg| arg.get_long()) {
                let written = if file.ends_with(".fish") { format!("-l {long}") } else { format!("--{long}") };
                assert!(text.contains(&written), "{file} has no {written} of {verb}");
            }
        }
    }
}

#[test]
fn a_shell_reads_its_completion() {
    for (shell, file) in [("bash", "gm-native.bash"), ("zsh", "_gm-native"), ("fish", "gm-native.fish")] {
        if is_there(shell) {
            let read = run(Command::new(shell).arg("-n").arg(assets().join(file)), b"", DEADLINE).unwrap();
            assert!(read.status.success() && read.err().is_empty(), "{shell}: {read:?}");
        }
    }
}

#[test]
fn the_pages_are_read_without_a_warning() {
    let readers: [(&str, &[&str]); 2] =
        [("groff", &["-man", "-Tutf8", "-ww", "-z"]), ("mandoc", &["-T", "lint", "-W", "warning"])];
    for (program, args) in readers.into_iter().filter(|(program, _)| is_there(program)) {
        let pages = commands().into_iter().map(|(name, _)| page(&name));
        for page in pages.chain([repository().join("packaging/gm-native.ini.5")]) {
            let name = page.file_name().unwrap().to_string_lossy().into_owned();
            let read = run(Command::new(program).args(args).arg(&page), b"", DEADLINE).unwrap();
            // That it has no date: a date would make each build differ.
            let output: String = read.out() + &read.err();
            let wrong: Vec<&str> = output.lines().filter(|line| !line.contains("missing date")).collect();
            assert!(wrong.is_empty(), "{program} {name}: {wrong:#?}");
        }
    }
}
