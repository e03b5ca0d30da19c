//! The first plugin of docs/writing-plugins.md, by its own words and commands.

use std::fs;

use nix::sys::signal::Signal;

use crate::dev::Place;
use crate::support::build::{alone, build_dir, repository};

/// The code blocks of a language, in order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    page.split(&begin).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_first_plugin_works_as_it_is_written_down() {
    alone(first_plugin);
}

fn first_plugin() {
    let page = fs::read_to_string(repository().join("docs/writing-plugins.md")).unwrap();
    let place = Place::new();
    let shell = blocks(&page, "sh");
    let commands = |block: usize| -> Vec<String> {
        shell[block].lines().map(|line| line.split(" #").next().unwrap().trim().to_owned()).collect()
    };
    assert_eq!(commands(0), ["cargo new --lib reverse_string", "cd reverse_string"]);
    place.succeed("cargo new --quiet --vcs none --lib reverse_string");
    let api = repository().join("plugin-api").display().to_string();
    let manifest = blocks(&page, "toml")[0].replace("../gm-native/plugin-api", &api);
    fs::write(place.path("reverse_string/Cargo.toml"), manifest).unwrap();
    fs::write(place.path("reverse_string/src/lib.rs"), &blocks(&page, "rust")[0]).unwrap();
    // So that nothing is downloaded.
    fs::copy(repository().join("Cargo.lock"), place.path("reverse_string/Cargo.lock")).unwrap();

    // The dev profile builds faster, and all tests share a target directory.
    let debug = build_dir().join("cargo/debug").display().to_string();
    let run = |line: &str| {
        let line = line.replace(" --release", "").replace("target/release", &debug);
        place.succeed(&format!("cd reverse_string && {line}"))
    };
    let [test, build, check, call, dev] = &commands(1)[..] else { panic!("{:?}", commands(1)) };
    assert!(run(test).contains("reverses ... ok"));
    run(build);
    assert!(run(check).contains("serves reverse_string"));
    assert_eq!(run(call), "olleh");
    assert_eq!(dev, "gm-native dev .");
    let mut dev = place.dev("sh -c 'cd reverse_string && exec gm-native dev . --port 0'");
    let server = dev.printed_after("submit -h ");
    let submit = &commands(2)[0];
    assert_eq!(submit, "gm-native submit reverse_string hello");
    assert_eq!(run(&submit.replace("submit", &format!("submit -h {server}"))), "olleh");
    dev.signal(Signal::SIGINT);
    assert_eq!(dev.wait().code(), Some(0));
}
