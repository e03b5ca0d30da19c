//! `gm-native check`.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::corpus;
use crate::support::plugins;
use crate::support::program::run;
use crate::support::wait::DEADLINE;
use crate::{gm_native, library, run_gm_native};

#[test]
fn what_a_library_is() {
    let library = library();
    let path = library.to_str().unwrap();
    let checked = run_gm_native(&["check", path, "--function", "Fragile"], b"");
    assert_eq!((checked.code(), checked.err().as_str()), (Some(0), ""));
    let out = checked.out();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], format!("{path} serves Fragile"));
    for (name, value) in [
        ("functions", "DropCrashes, Fragile, NewCrashes, NewExits"),
        ("form", "object: "),
        ("crate", "4.5.6"),
        ("interface", "1."),
        ("compiler", "rustc "),
        ("size", &format!("{} bytes", fs::metadata(&library).unwrap().len())),
        ("needs", "lib"),
        ("glibc", "2."),
    ] {
        let row = format!("  {name:<11}{value}");
        assert!(lines.iter().any(|line| line.starts_with(&row)), "{name}: {out}");
    }
}

#[test]
fn as_json_a_line_for_each_file_and_exit_code_1_where_one_is_unusable() {
    let good = plugins::example("Sum");
    let checked = run_gm_native(&["check", "--json", good.to_str().unwrap(), "Cargo.toml", "/nowhere/x.so"], b"");
    assert_eq!(checked.code(), Some(1));
    let lines: Vec<Value> = checked.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    let sum = &lines[0];
    assert_eq!((&sum["usable"], &sum["function"]), (&json!(true), &json!("Sum")));
    assert_eq!((&sum["form"], &sum["functions"]), (&json!("object"), &json!(["Sum"])));
    let version = sum["version"].as_str().unwrap();
    assert!(version.len() == 12 && sum["sha256"].as_str().unwrap().starts_with(version), "{sum}");
    assert_eq!(
        lines[1],
        json!({"file": "Cargo.toml", "usable": false, "reason": "does not end in .so", "detail": null})
    );
    assert_eq!(lines[2]["reason"], "cannot be opened: No such file or directory");
}

#[test]
fn a_build_that_aborts_is_usable_with_a_warning() {
    let source = "use gm_plugin_api::{function, Job, Log};\n\
                  #[function]\nfn aborting(_: &Job, _: &mut Log) -> &'static str {\n    panic!(\"no\")\n}\n";
    let library = plugins::rust_with("aborting", source, "[profile.dev]\npanic = \"abort\"\n");
    let checked = run_gm_native(&["check", library.to_str().unwrap()], b"");
    assert_eq!(checked.code(), Some(0));
    assert!(checked.out().contains("\n  warning    it is a panic = \"abort\" build: a panic in a job ends its worker"));
    let called = run_gm_native(&["call", library.to_str().unwrap()], b"");
    assert!(called.err().contains("killed by SIGABRT in the job, after "), "{}", called.err());
}

/// Every way of being wrong that the manager has a sentence for has the same sentence here, and leaves nothing behind.
#[test]
fn each_refusal_is_the_managers_own() {
    let dir = tempfile::tempdir().unwrap();
    let (ini, scratch) = (dir.path().join("gm.ini"), dir.path().join("scratch"));
    fs::write(&ini, "[GearmanManager]\nprobe_timeout = 2\n").unwrap();
    fs::create_dir(&scratch).unwrap();
    let cases = corpus::cases();
    let mut command = gm_native(&["check", "-c", ini.to_str().unwrap()]);
    command.env("TMPDIR", &scratch).args(cases.iter().map(|case| &case.path));
    let checked = run(&mut command, b"", 10 * DEADLINE).unwrap();
    assert_eq!(checked.code(), Some(1));
    let out = checked.out();
    let mut wrong = String::new();
    for case in &cases {
        let path = case.path.display().to_string();
        let served = out.lines().any(|line| line == format!("{path} serves {}", case.function));
        let sentence = out.lines().find_map(|line| line.strip_prefix(&format!("{path} ")));
        // What only a command can advise.
        let advice = "; or name the function with --function NAME";
        let sentence = sentence.map(|sentence| sentence.strip_suffix(advice).unwrap_or(sentence));
        let expected = match case.expect.as_str() {
            "is served" => served,
            warned if served => out.contains(&format!("  warning    it {warned}")),
            _ => sentence.is_some_and(|sentence| case.matches(sentence)),
        };
        if !expected {
            wrong += &format!("{path}\n  expected: {}\n  found:    {sentence:?}\n", case.expect);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}\n{}", checked.err());
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_link_is_the_function_it_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("libtalk.so");
    symlink(library(), &link).unwrap();
    let checked = run_gm_native(&["check", link.to_str().unwrap()], b"");
    assert!(checked.out().starts_with(&format!("{} serves talk\n", link.display())), "{}", checked.out());
}

#[test]
fn a_place_that_cannot_hold_the_copy_is_named() {
    let good = plugins::example("Sum");
    let refused = run_gm_native(&["check", "--state-dir", "/nowhere", good.to_str().unwrap()], b"");
    assert_eq!(refused.code(), Some(1));
    let expected = "gm-native: cannot start: no directory can be made in /nowhere: ";
    assert!(refused.err().starts_with(expected), "{}", refused.err());
}
