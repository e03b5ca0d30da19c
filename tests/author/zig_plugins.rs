//! Functions in Zig: the listings of their page, through the loader and on a job server. Without Zig they are skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run_gm_native;
use crate::support::build::{self, alone, build_dir, command, repository};
use crate::support::callers::gearman;
use crate::support::gearmand::Gearmand;
use crate::support::manager::Setup;

/// Builds one of the page's listings as the page says. Returns the function's name and the library.
#[track_caller]
fn made(home: &Path, source: &str) -> (String, PathBuf) {
    let name = source.split_once("    gm.").unwrap().1.split('"').nth(1).unwrap();
    let dir = home.join(name);
    let _ = fs::remove_dir_all(&dir);
    command(Command::new(env!("CARGO_BIN_EXE_gm-native")).args(["new", "--lang", "zig", name]).current_dir(home));
    fs::write(dir.join(format!("{name}.zig")), source).unwrap();
    if source.contains("\ntest ") {
        build::make(&dir, &["test"]);
    }
    // Four times as fast to compile.
    build::make(&dir, &["OPTIMIZE=ReleaseSmall"]);
    (name.to_owned(), dir.join(format!("{name}.so")))
}

#[test]
fn the_listings_of_the_page_work() {
    if build::zig().is_none() {
        eprintln!("skipped: there is no Zig here");
        return;
    }
    let page = fs::read_to_string(repository().join("docs/writing-plugins-zig.md")).unwrap();
    let listings = page.split("\n```").filter_map(|block| block.strip_prefix("zig\n"));
    let home = build_dir().join("listings-zig");
    let libraries: Vec<(String, PathBuf)> = alone(|| {
        fs::create_dir_all(&home).unwrap();
        listings.map(|source| made(&home, source)).collect()
    });
    let names: Vec<&str> = libraries.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["count_bytes", "greet_zig"]);
    let [count_bytes, greet] = [0, 1].map(|index| libraries[index].1.display().to_string());
    let checked = run_gm_native(&["check", &count_bytes], b"").out();
    assert!(checked.contains("serves count_bytes\n") && checked.contains("compiler   zig "), "{checked}");
    assert_eq!(run_gm_native(&["call", &count_bytes, "three short words"], b"").out(), "17 bytes");
    let failed = run_gm_native(&["call", &count_bytes, ""], b"");
    assert!(failed.err().contains("the job failed: there is nothing to count"), "{}", failed.err());
    let missing = run_gm_native(&["call", &greet, "x"], b"");
    assert!(missing.err().contains("its create failed: setting.greeting is missing"), "{}", missing.err());
    let gearmand = Gearmand::start();
    let mut setup = Setup::new(&[&gearmand.server()]);
    for (name, library) in &libraries {
        setup = setup.plugin(name, library);
    }
    let _manager = setup.ini("count = 1\n[greet_zig]\nsetting.greeting = hello").start();
    for name in names {
        gearmand.wait_workers(name, 1);
    }
    assert_eq!(gearman(&gearmand, &["-f", "greet_zig"], b"").out(), "hello, job 1");
    assert_eq!(gearman(&gearmand, &["-f", "greet_zig"], b"").out(), "hello, job 2");
    assert_eq!(gearman(&gearmand, &["-f", "count_bytes"], b"abc").out(), "3 bytes");
    let failed = gearman(&gearmand, &["-f", "count_bytes"], b"");
    assert!(failed.code() == Some(1) && failed.err().contains("there is nothing to count"), "{}", failed.err());
}
