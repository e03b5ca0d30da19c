//! The commands of README.md, as they stand there.

use std::fs;

use nix::sys::signal::Signal;

use crate::dev::{GREET, Place};
use crate::support::build::{BUILD_DEADLINE, alone, build_dir, repository};
use crate::support::gearmand::Gearmand;
use crate::support::wait::{DEADLINE, wait_for};

/// The blocks of a language, comments of commands taken off.
fn blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let begin = format!("```{language}\n");
    let blocks = readme.split(&begin).skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(str::to_owned).collect()
}

fn commands() -> Vec<String> {
    let lines = blocks("sh").into_iter().flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.map(|line| line.split(" #").next().unwrap().trim().to_owned()).collect()
}

#[test]
fn every_command_has_its_test() {
    assert_eq!(
        commands(),
        [
            // The demo: main.rs. This suite.
            "make demo",
            "make test",
            "cargo build --release",
            "export PATH=$PATH:$PWD/target/release",
            // The day: below. Cargo's profile is another there.
            "gm-native new greet",
            "gm-native dev greet",
            "gm-native submit greet world",
            "cargo build --release",
            "cp target/release/libgreet.so workers/",
            "gm-native -c gm.ini -P gm.pid -d",
            "gm-native -c gm.ini status",
            // In a terminal: tests/deploy/top.rs.
            "gm-native -c gm.ini top",
            "gm-native -c gm.ini events",
            "gm-native -c gm.ini rollback greet",
            "kill $(cat gm.pid)",
        ]
    );
    assert_eq!(blocks("rust"), [GREET]);
}

#[test]
fn a_function_from_its_first_line_to_production() {
    // All builds of greet end in one file.
    alone(from_its_first_line_to_production);
}

fn from_its_first_line_to_production() {
    let place = Place::new();
    place.new_crate();
    let mut dev = place.dev("gm-native dev greet");
    let server = dev.printed_after("submit -h ");
    // Port 4730 may be somebody else's here.
    let greeted = || place.succeed(&format!("gm-native submit -h {server} greet world"));
    assert_eq!(greeted(), "1");
    fs::write(place.path("greet/src/lib.rs"), GREET).unwrap();
    let served = |text: &str| wait_for(text, BUILD_DEADLINE, || (greeted() == text).then_some(()));
    served("Hello, world!");
    let release = place.path("target/release");
    fs::create_dir_all(&release).unwrap();
    let library = build_dir().join("cargo/debug/libgreet.so");
    let first = fs::read(&library).unwrap();
    fs::write(place.path("greet/src/lib.rs"), GREET.replace("Hello", "Goodbye")).unwrap();
    served("Goodbye, world!");
    let second = fs::read(&library).unwrap();
    dev.signal(Signal::SIGINT);
    assert_eq!(dev.wait().code(), Some(0));

    let gearmand = Gearmand::start();
    let ini = blocks("ini").concat().replace("127.0.0.1:4730", &gearmand.server());
    let state = place.path("state");
    fs::write(place.path("gm.ini"), format!("{ini}state_dir = {}\ncanary_jobs = 1\n", state.display())).unwrap();
    fs::create_dir(place.path("workers")).unwrap();
    let deploy = |code: &[u8]| {
        fs::write(release.join("libgreet.so"), code).unwrap();
        place.succeed("cp target/release/libgreet.so workers/");
    };
    let greeted = || place.succeed(&format!("gm-native submit -h {} greet world", gearmand.server()));
    let until = |text: &str| wait_for(text, DEADLINE, || (greeted() == text).then_some(()));
    deploy(&first);
    place.succeed("gm-native -c gm.ini -P gm.pid -d");
    assert_eq!(greeted(), "Hello, world!");
    deploy(&second);
    until("Goodbye, world!");
    assert!(place.succeed("gm-native -c gm.ini status").contains("greet"));
    assert!(place.succeed("gm-native -c gm.ini events").contains("greet"));
    wait_for("the rollout's end", DEADLINE, || {
        place.succeed("gm-native -c gm.ini events").contains("every worker has version").then_some(())
    });
    place.succeed("gm-native -c gm.ini rollback greet");
    until("Hello, world!");
    place.succeed("kill $(cat gm.pid)");
    wait_for("the manager's end", DEADLINE, || (!place.path("gm.pid").exists()).then_some(()));
}
