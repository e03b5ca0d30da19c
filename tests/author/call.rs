//! `gm-native call`.

use std::fs;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::corpus;
use crate::support::child_guard::ChildGuard;
use crate::support::plugins;
use crate::support::program::run;
use crate::support::wait::{DEADLINE, wait_for};
use crate::support::watchdog::descendants;
use crate::{call, gm_native, library, run_gm_native};

/// Its standard error, with the library's path replaced.
fn normalised(err: &str) -> String {
    err.replace(&format!("{}", library().display()), "LIB")
}

#[test]
fn the_result_goes_to_standard_output_and_everything_else_to_standard_error() {
    let talk = call("talk", &[]);
    assert_eq!((talk.code(), talk.out().as_str()), (Some(0), "[true, true, true]"));
    assert_eq!(
        talk.err(),
        "status  1 of 2\n\
         data    10 bytes: part \\x00 one\n\
         warning careful\n\
         ERROR   an error\n\
         WARN    a warning\n\
         INFO    all\\nis well\n\
         INFO    elsewhere: from log\n\
         WARN    gm_test_author: from tracing number=7\n\
         from println\n\
         from eprintln\n"
    );
    let more = call("talk", &["-v"]).err();
    assert!(more.contains("DEBUG   a detail\n") && !more.contains("TRACE"), "{more}");
    let all = call("talk", &["-vv"]).err();
    assert!(all.contains("TRACE   gm_test_author: the smallest\n"), "{all}");
}

#[test]
fn a_workload_comes_from_the_line_from_standard_input_or_from_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|place| place as u8).collect();
    fs::write(file.path(), &bytes).unwrap();
    assert_eq!(call("answer", &["text"]).stdout, b"text");
    assert_eq!(call("answer", &[]).stdout, b"");
    assert_eq!(call("answer", &[&format!("@{}", file.path().display())]).stdout, bytes);
    let library = library();
    let from_stdin = run_gm_native(&["call", library.to_str().unwrap(), "--function", "answer", "-"], &bytes);
    assert_eq!(from_stdin.stdout, bytes);
    let missing = call("answer", &["@/nowhere"]);
    assert_eq!((missing.code(), missing.stdout.len()), (Some(1), 0));
    assert!(missing.err().starts_with("gm-native: the workload /nowhere cannot be read: No such file"));
}

#[test]
fn a_failed_job_is_exit_code_1_and_one_sentence() {
    for (workload, sentence) in [
        ("fail no\nrow", "gm-native: LIB: the job failed: no\\nrow\n"),
        ("exception {\"code\":7}", "gm-native: LIB: the job failed with an exception: {\"code\":7}\n"),
    ] {
        let failed = call("answer", &[workload]);
        assert_eq!((failed.code(), failed.stdout.len()), (Some(1), 0), "{workload}");
        assert_eq!(normalised(&failed.err()), sentence);
    }
    let panic = call("answer", &["panic at the disco"]);
    let stderr = normalised(&panic.err());
    assert_eq!(panic.code(), Some(1));
    assert!(stderr.starts_with("gm-native: LIB: the job failed: panicked at "), "{stderr}");
    assert!(stderr.contains("src/lib.rs:") && stderr.ends_with(": at the disco\n"), "{stderr}");
}

#[test]
fn a_crash_is_named_with_its_place() {
    for (function, workload, settings, how, place) in [
        ("crash", "segv", "", "killed by SIGSEGV", "in the job, after "),
        ("crash", "abort", "", "killed by SIGABRT", "in the job, after "),
        ("crash", "overflow", "", "killed by SIGSEGV", "in the job, after "),
        ("crash", "exit 0", "", "exited with code 0 (the library called exit)", "in the job, after "),
        ("crash", "exit 3", "", "exited with code 3 (the library called exit)", "in the job, after "),
        ("NewExits", "", "", "exited with code 3", "in its new()"),
        ("NewCrashes", "", "", "killed by SIGABRT", "in its new()"),
        ("NewGivesUp", "", "", "exited with code 125", "in its new()"),
        ("DropCrashes", "", "how=segv", "killed by SIGSEGV", "in its destructors"),
    ] {
        let settings = if settings.is_empty() { vec![] } else { vec!["--setting", settings] };
        let args: Vec<&str> = std::iter::once(workload).chain(settings).collect();
        let crashed = call(function, &args);
        let stderr = normalised(&crashed.err());
        assert_eq!(crashed.code(), Some(1), "{function} {workload}: {stderr}");
        let line = stderr.lines().last().unwrap();
        assert!(line.starts_with(&format!("gm-native: LIB: {how} {place}")), "{function} {workload}: {stderr}");
        // What it logged before is not lost.
        assert_eq!(stderr.contains("INFO    still here\n"), function == "crash", "{stderr}");
    }
    let cases = corpus::cases();
    let constructor = corpus::find(&cases, "segfaults");
    let path = constructor.path.display().to_string();
    let crashed = run_gm_native(&["call", &path], b"");
    let stderr = crashed.err();
    assert!(stderr.ends_with(&format!("gm-native: {path}: killed by SIGSEGV while it was loaded\n")), "{stderr}");
    // Where it crashed, before that.
    assert!(stderr.starts_with("gm-native:    0: "), "{stderr}");
}

#[test]
fn an_unusable_library_has_the_managers_reason() {
    let library = library();
    let library = library.to_str().unwrap();
    for (args, code, sentence) in [
        (
            &["call", library, "--function", "nothing"][..],
            1,
            "LIB does not export nothing; it exports DropCrashes, Fragile,",
        ),
        (&["call", "/nowhere/x.so"], 1, "/nowhere/x.so cannot be opened: No such file or directory"),
        (&["call", "greet"], 1, "greet cannot be opened: No such file or directory"),
        (&["call", "greet", "--function", "greet"], 1, "greet cannot be opened: No such file or directory"),
        (&["call", "manager"], 1, "manager is a directory, not a file"),
        (&["call", "plugin-api"], 1, "plugin-api is the directory of a crate: name the library that cargo built"),
        (
            &["call", "Cargo.toml"],
            2,
            "Cargo.toml: its name gives no function: it does not end in .so; name one with --function NAME",
        ),
        (&["call", "Cargo.toml", "--function", "x"], 1, "Cargo.toml is text, not a library"),
        (&["call", library, "--setting", "x"], 2, "--setting x: write NAME=VALUE"),
        (
            &["call", library, "-p", "x_", "--function", "talk"],
            1,
            "LIB does not export x_talk; it exports talk, without",
        ),
    ] {
        let refused = run_gm_native(args, b"");
        let stderr = normalised(&refused.err());
        assert_eq!(refused.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.starts_with(&format!("gm-native: {sentence}")), "{args:?}: {stderr}");
    }
}

#[test]
fn repeated_jobs_are_timed_and_shown_once() {
    let sum = plugins::example("Sum");
    let sum = sum.to_str().unwrap();
    let repeated = run_gm_native(&["call", sum, "[1,2]", "--repeat", "50"], b"");
    assert_eq!(repeated.out(), "3");
    let err = repeated.err();
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines[0], "INFO    2 numbers", "the first job as it is");
    assert_eq!(lines.len(), 2, "{err}");
    for word in ["50 jobs: min ", ", p50 ", ", p99 ", ", max "] {
        assert!(lines[1].contains(word), "{err}");
    }
    let failing = call("Fragile", &["panic", "--repeat", "3"]);
    assert_eq!(failing.code(), Some(1));
    assert!(failing.err().contains(": job 1 of 3 failed: panicked at "), "{}", failing.err());
}

#[test]
fn output_of_an_objects_drop_is_shown() {
    for repeat in ["1", "3"] {
        let dropped = call("DropCrashes", &["--setting", "how=not", "--repeat", repeat]);
        assert_eq!((dropped.code(), dropped.out().as_str()), (Some(0), "served"));
        assert!(dropped.err().ends_with("INFO    gm_test_author::objects: it is dropped\n"), "{}", dropped.err());
    }
}

#[test]
fn settings_come_from_the_line_and_from_a_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let ini = dir.path().join("gm.ini");
    fs::write(&ini, "[GearmanManager]\nprefix = x_\n[Fragile]\nsetting.mark = /\n").unwrap();
    let ini = ini.to_str().unwrap();
    let refused = call("Fragile", &["-c", ini, "-p", ""]);
    assert!(
        normalised(&refused.err()).starts_with("gm-native: LIB: its new() failed: there is a mark"),
        "{}",
        refused.err()
    );
    assert_eq!(call("Fragile", &["-c", ini, "-p", "", "--setting", "mark=/nowhere"]).code(), Some(0));
    let prefixed = call("Fragile", &["-c", ini]);
    assert!(normalised(&prefixed.err()).contains("LIB does not export x_Fragile"), "{}", prefixed.err());
    let fetch_url = plugins::example("fetch_url");
    let wrong = run_gm_native(&["call", fetch_url.to_str().unwrap(), "x", "--setting", "timeout_ms=soon"], b"");
    assert!(wrong.err().ends_with("; to gm-native call give --setting NAME=VALUE, or -c FILE\n"), "{}", wrong.err());
    let wrong = call("Fragile", &["-c", "/nowhere.ini"]);
    assert_eq!(wrong.code(), Some(2));
}

/// On a terminal, which `script` makes, the shell's prompt begins a line of its own.
#[test]
fn a_result_on_a_terminal_ends_its_line() {
    if !std::path::Path::new("/usr/bin/script").exists() {
        eprintln!("skipped: there is no script(1) to make a terminal");
        return;
    }
    let program = env!("CARGO_BIN_EXE_gm-native");
    for (workload, shown) in [("text", "text\r\n"), ("text\n", "text\r\n"), ("", "")] {
        let line = format!("'{program}' call '{}' --function answer '{workload}'", library().display());
        let mut command = std::process::Command::new("script");
        let done = run(command.args(["-qec", &line, "/dev/null"]), b"", DEADLINE).unwrap();
        assert_eq!(done.out(), shown);
    }
}

/// `gm-native call` of `patient`, once its job is under way.
fn patient(workload: &str) -> ChildGuard {
    let library = library();
    let mut command = gm_native(&["call", library.to_str().unwrap(), "--function", "patient", workload]);
    let running = ChildGuard::start("gm-native call", &mut command);
    wait_for("the job to run", DEADLINE, || running.output().contains("status  1 of 2").then_some(()));
    running
}

#[test]
fn one_ctrl_c_asks_the_job_to_stop_and_a_second_one_kills_it() {
    let mut polite = patient("");
    polite.signal(Signal::SIGINT);
    assert_eq!(polite.wait().code(), Some(0));
    assert!(polite.output().ends_with("asked to leave"), "{}", polite.output());
    let mut deaf = patient("deaf");
    deaf.signal(Signal::SIGTERM);
    wait_for("the first to be heard", DEADLINE, || deaf.output().contains("Ctrl-C again kills it").then_some(()));
    deaf.signal(Signal::SIGINT);
    assert_eq!(deaf.wait().code(), Some(1));
    let output = deaf.output();
    assert!(
        output.contains(": killed by SIGKILL in the job, after ") && output.ends_with(", as you asked\n"),
        "{output}"
    );
}

#[test]
fn no_job_outlives_its_command() {
    let mut parent = patient("deaf");
    let family: Vec<Pid> = descendants(parent.pid()).into_iter().skip(1).collect();
    assert_eq!(family.len(), 1);
    parent.kill();
    wait_for("the end of the job", DEADLINE, || fs::metadata(format!("/proc/{}", family[0])).is_err().then_some(()));
}
