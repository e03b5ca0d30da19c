//! `gm-native new`: what it makes builds, is tested, and serves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::build::{self, alone, build_dir, command, repository};
use crate::support::callers::gearman;
use crate::support::gearmand::Gearmand;
use crate::support::manager::Setup;
use crate::support::program::run;
use crate::support::wait::DEADLINE;
use crate::{gm_native, run_gm_native};

/// Name, options, a workload and its answer.
const KINDS: [(&str, &[&str], &str, &str); 5] = [
    ("count_words", &[], "a job for you", "4"),
    ("count_json", &["--json"], r#"{"text":"a job for you"}"#, r#"{"words":4}"#),
    ("count_object", &["--object"], "a job for you", "4"),
    ("count_both", &["--object", "--json"], r#"{"text":"a job for you"}"#, r#"{"words":4,"total":4}"#),
    ("CountWords", &["--object"], "a job for you", "4"),
];

/// Makes the crate again, and runs what its README says. Returns the library.
#[track_caller]
fn make(dir: &Path, name: &str, options: &[&str]) -> PathBuf {
    let home = dir.join(name);
    let _ = fs::remove_dir_all(&home);
    let mut new = gm_native(&["new", name]);
    let made = run(new.args(options).current_dir(dir), b"", DEADLINE).unwrap();
    assert_eq!(made.code(), Some(0), "{}", made.err());
    assert_eq!(made.out(), format!("made {name}: cd {name} && cargo test; the rest is in its README.md\n"));
    let readme = fs::read_to_string(home.join("README.md")).unwrap();
    let commands = "```sh\ncargo test\ngm-native dev .\ncargo build --release\n```\n";
    assert!(readme.contains(commands) && readme.contains(&format!("libgm_{name}.so").replace("gm_", "")), "{readme}");
    // So that nothing is downloaded.
    fs::copy(repository().join("Cargo.lock"), home.join("Cargo.lock")).unwrap();
    let target = build_dir().join("cargo");
    for verb in ["test", "build"] {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args([verb, "--quiet", "--offline", "--target-dir"]).arg(&target).current_dir(&home);
        cargo.env("RUSTFLAGS", "-Dwarnings").env_remove("MAKEFLAGS").env_remove("CARGO_MAKEFLAGS");
        command(&mut cargo);
    }
    let library = home.join(format!("lib{name}.so"));
    fs::copy(target.join(format!("debug/lib{name}.so")), &library).unwrap();
    library
}

#[test]
fn each_kind_builds_is_tested_and_serves_at_once() {
    let dir = build_dir().join("new");
    let libraries: Vec<PathBuf> = alone(|| {
        fs::create_dir_all(&dir).unwrap();
        KINDS.iter().map(|(name, options, ..)| make(&dir, name, options)).collect()
    });
    let gearmand = Gearmand::start();
    let mut setup = Setup::new(&[&gearmand.server()]);
    for ((name, _, workload, answer), library) in KINDS.iter().zip(&libraries) {
        let path = library.to_str().unwrap();
        assert_eq!(run_gm_native(&["check", path], b"").code(), Some(0), "{name}");
        assert_eq!(run_gm_native(&["call", path, workload], b"").out(), *answer, "{name}");
        setup = setup.plugin(name, library);
    }
    let _manager = setup.start();
    for (name, _, workload, answer) in KINDS {
        let finished = gearman(&gearmand, &["-f", name], workload.as_bytes());
        assert_eq!(finished.out(), answer, "{name}: {}", finished.err());
    }
}

/// The same in other languages: name, options, the language's tools.
const FOLDERS: [(&str, &[&str]); 8] = [
    ("words_c", &["--lang", "c"]),
    ("words_c_object", &["--lang", "c", "--object"]),
    ("words_cpp", &["--lang", "cpp"]),
    ("WordsCpp", &["--lang", "cpp", "--object"]),
    ("words_go", &["--lang", "go"]),
    ("words_go_object", &["--lang", "go", "--object"]),
    ("words_zig", &["--lang", "zig"]),
    ("words_zig_object", &["--lang", "zig", "--object"]),
];

/// Whether a language's tools are here.
fn is_available(options: &[&str]) -> bool {
    let available = match options[1] {
        "go" => Command::new("go").arg("version").output().is_ok(),
        "zig" => build::zig().is_some(),
        _ => true,
    };
    if !available {
        eprintln!("skipped: there is nothing here that builds {options:?}");
    }
    available
}

/// Makes the folder again, runs what its README says, with every warning an error. Returns the library.
#[track_caller]
fn make_folder(dir: &Path, name: &str, options: &[&str]) -> PathBuf {
    let home = dir.join(name);
    let _ = fs::remove_dir_all(&home);
    let mut new = gm_native(&["new", name]);
    let made = run(new.args(options).current_dir(dir), b"", DEADLINE).unwrap();
    assert_eq!(
        made.out(),
        format!("made {name}: cd {name} && make test; the rest is in its README.md\n"),
        "{}",
        made.err()
    );
    let readme = fs::read_to_string(home.join("README.md")).unwrap();
    assert!(readme.contains("```sh\nmake test\ngm-native dev .\nmake\n```\n"), "{readme}");
    for target in ["test", "CPPFLAGS=-Wpedantic -Werror"] {
        // Zig's fastest way to a library.
        build::make(&home, &["OPTIMIZE=ReleaseSmall", target]);
    }
    home.join(format!("{name}.so"))
}

#[test]
fn each_language_builds_is_tested_and_serves_at_once() {
    let dir = build_dir().join("new");
    let folders: Vec<_> = FOLDERS.into_iter().filter(|(_, options)| is_available(options)).collect();
    let libraries: Vec<PathBuf> = alone(|| {
        fs::create_dir_all(&dir).unwrap();
        folders.iter().map(|(name, options)| make_folder(&dir, name, options)).collect()
    });
    let gearmand = Gearmand::start();
    let mut setup = Setup::new(&[&gearmand.server()]);
    for ((name, _), library) in folders.iter().zip(&libraries) {
        let path = library.to_str().unwrap();
        assert_eq!(run_gm_native(&["check", path], b"").code(), Some(0), "{name}");
        assert_eq!(run_gm_native(&["call", path, "a job for you"], b"").out(), "4", "{name}");
        setup = setup.plugin(name, library);
    }
    let _manager = setup.start();
    for (name, _) in folders {
        let finished = gearman(&gearmand, &["-f", name], b"a job for you");
        assert_eq!(finished.out(), "4", "{name}: {}", finished.err());
    }
}

#[test]
fn json_is_for_rust() {
    let dir = tempfile::tempdir().unwrap();
    let refused =
        run(gm_native(&["new", "--lang", "c", "--json", "words"]).current_dir(dir.path()), b"", DEADLINE).unwrap();
    assert_eq!(refused.code(), Some(2));
    assert_eq!(refused.err(), "gm-native: --json is for functions in Rust: leave it out, or use --lang rust\n");
}

#[test]
fn a_bad_name_and_a_directory_that_is_there_are_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("there")).unwrap();
    for (name, code, sentence) in [
        (
            "fetch-url",
            2,
            "\"fetch-url\" cannot be the name of a function's crate: it contains '-'; use letters, digits and _, such as \
             fetch_url",
        ),
        (
            "match",
            2,
            "\"match\" cannot be the name of a function's crate: it is a word of the Rust language; choose another",
        ),
        ("there", 1, "there is there already: choose another name, or remove it"),
    ] {
        let refused = run(gm_native(&["new", name]).current_dir(dir.path()), b"", DEADLINE).unwrap();
        assert_eq!(refused.code(), Some(code));
        assert_eq!(refused.err(), format!("gm-native: {sentence}\n"));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
