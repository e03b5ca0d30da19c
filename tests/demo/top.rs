//! The screen of `top` in README.md.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::lasting;
use crate::support::build::repository;
use crate::support::program::run;
use crate::support::wait::DEADLINE;
use crate::support::watchdog::{MARK, Watchdog};

/// What is the same in each recording: all but numbers, graphs and the events.
fn shape(screen: &str) -> Vec<String> {
    let (list, rest) = screen.split_once("\nEVENTS\n").unwrap();
    let keys = rest.trim_end().lines().last().unwrap_or_default();
    let words = lasting(&format!("{list}\n{keys}\n"));
    let is_graph = |word: &&str| word.contains(|c: char| ('▁'..='█').contains(&c));
    words.iter().map(|line| line.split(' ').filter(|word| !is_graph(word)).collect::<Vec<_>>().join(" ")).collect()
}

/// With `GM_WRITE_DOCS`, writes it.
#[test]
fn the_screen_in_the_readme_is_what_top_shows() {
    if Command::new("tmux").arg("-V").output().is_err() {
        return eprintln!("skipped: needs tmux");
    }
    let home = tempfile::tempdir().unwrap();
    let mark = home.path().display().to_string();
    let _watchdog = Watchdog::over(&mark);
    let recorded = home.path().join("top.txt");
    let mut record = Command::new(repository().join("scripts/record-top"));
    record.arg(&recorded).env(MARK, &mark).env("TMPDIR", home.path());
    record.env("GM_BUILT", Path::new(env!("CARGO_BIN_EXE_gm-native")).parent().unwrap());
    let done = run(&mut record, b"", DEADLINE).unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    let screen = fs::read_to_string(&recorded).unwrap();

    let readme = repository().join("README.md");
    let text = fs::read_to_string(&readme).unwrap();
    let shown = text.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    if std::env::var_os("GM_WRITE_DOCS").is_some() {
        return fs::write(&readme, text.replace(shown, &screen)).unwrap();
    }
    let behind = "README.md is behind top; GM_WRITE_DOCS=1 cargo test --test demo the_screen_in_the_readme";
    assert_eq!(shape(shown), shape(&screen), "{behind}");
}
