//! What `fuzz/` feeds with random bytes: one function for each kind of input that comes from outside.
//!
//! A target panics if the code under it panics or breaks a promise. Built for tests and with `cfg(fuzzing)` only.
//! Whatever a fuzzer has found stays as a file in `fuzz/corpus/TARGET/`, which a test gives to the target.

#![allow(clippy::unwrap_used, missing_docs)] // A panic is the report; the names of the targets say what they read.

mod backtraces;
mod packets;
mod worker_messages;

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

pub use backtraces::backtraces;
pub use packets::{admin_replies, server_packets};
pub use worker_messages::worker_messages;

use crate::config::{self, ConfigFile, Overrides};
use crate::control::{ControlRequest, StatusReply};
use crate::plan::plan;
use crate::plugins::elf::{self, ElfRequirements, Machine};
use crate::plugins::glibc::GlibcVersion;
use crate::plugins::name::FunctionName;
use crate::plugins::probe::KINDS;
use crate::plugins::probe_result::{ProbeExit, judge_probe, sibling_places};
use crate::plugins::version_records::VersionRecords;
use crate::scoreboard::{Counters, ScoreboardView, create};
use crate::supervisor::event::Event;
use crate::supervisor::exit_cause::{ExitCause, judge};
use crate::system::reap::ExitStatus;

/// The name of a target, which is that of its corpus, and what it does with bytes.
#[cfg(test)]
type Target = (&'static str, fn(&[u8]));

/// Every target.
#[cfg(test)]
const TARGETS: [Target; 10] = [
    ("admin_replies", admin_replies),
    ("backtraces", backtraces),
    ("configuration", configuration),
    ("control_socket", control_socket),
    ("elf", elf),
    ("probe_messages", probe_messages),
    ("scoreboard", scoreboard),
    ("server_packets", server_packets),
    ("state_files", state_files),
    ("worker_messages", worker_messages),
];

/// An ini: whatever is in it, each complaint is one line, and what is taken can be planned.
pub fn configuration(data: &[u8]) {
    let source = Some(ConfigFile { path: Path::new("gm.ini"), bytes: data });
    let environment = |name: &str| (name == "SET").then(|| "value".to_owned());
    let complaints = match config::load(source, &Overrides::default(), &environment) {
        Ok((config, warnings)) => {
            let found = ["a", "b", "Sum"].map(|name| FunctionName::new(name).unwrap());
            let planned = plan(&config, &found, &Default::default());
            assert!(planned.groups.iter().all(|group| !group.functions.is_empty()));
            let _ = planned.workers();
            warnings.iter().map(ToString::to_string).collect()
        }
        Err(errors) => errors.errors.iter().chain(&errors.warnings).map(ToString::to_string).collect::<Vec<_>>(),
    };
    complaints.iter().for_each(|text| is_one_line(text));
    let _ = config::load_valid_values(source, &Overrides::default(), &environment);
}

/// A request to the manager, and the same bytes as the manager's answer to `status`.
pub fn control_socket(data: &[u8]) {
    match ControlRequest::parse(data) {
        Ok(request) => assert_eq!(ControlRequest::parse(request.to_line().as_bytes()).unwrap(), request),
        Err(error) => is_one_line(error.to_line().trim_end_matches('\n')),
    }
    if let Ok(status) = serde_json::from_slice::<StatusReply>(data) {
        let text = crate::commands::status::text(&status);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    }
}

/// A file in `worker_dir`, with a function's name that the seeds export.
pub fn elf(data: &[u8]) {
    let function = FunctionName::new("f").unwrap();
    let (machine, glibc) = (Machine::HOST, GlibcVersion::parse("2.36"));
    let expect = ElfRequirements { prefix: "", function: &function, kinds: KINDS, machine, glibc };
    match elf::check(data, &expect) {
        Ok(facts) => assert!(facts.functions.iter().any(|name| name == "f"), "{facts:?}"),
        Err(rejection) => is_one_line(&rejection.to_string()),
    }
    let _ = elf::check_needed(data, &machine, glibc).map_err(|rejection| is_one_line(&rejection.to_string()));
    let _ = elf::other_machine(data, &machine);
}

/// What a probe sends, one message a line. Its nonce is `n`.
pub fn probe_messages(data: &[u8]) {
    let messages: Vec<Vec<u8>> = data.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    for end in [ProbeExit::Exited(0), ProbeExit::Signalled(-1), ProbeExit::Deadline(Duration::MAX), ProbeExit::Stopped]
    {
        let (function, path) = (FunctionName::new("f").unwrap(), "/w/f.so".to_owned());
        let event = match judge_probe("n", end, &messages) {
            Ok(library) => {
                let (version, crate_version) = (library.hash.short(), library.version);
                Event::FunctionFound { function, version, crate_version, path, replaces: None }
            }
            Err(rejection) => {
                let reason = rejection.to_string();
                Event::LibraryRefused { function, path, reason, serving: None, again: None, is_repeated: false }
            }
        };
        is_one_line(&event.line());
    }
    let _ = sibling_places("n", &messages);
}

thread_local! {
    static BOARD: RefCell<(std::fs::File, ScoreboardView)> = RefCell::new(board());
    static STATE: tempfile::TempDir = tempfile::tempdir().unwrap();
}

/// Of a worker with two functions.
fn board() -> (std::fs::File, ScoreboardView) {
    let (fd, view): (OwnedFd, _) = create(2, 0).unwrap();
    (fd.into(), view)
}

/// A plugin writes these bytes over its worker's scoreboard, and zeros over the rest.
pub fn scoreboard(data: &[u8]) {
    BOARD.with_borrow(|(file, view)| {
        let mut page = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        let len = data.len().min(page.len());
        page[..len].copy_from_slice(&data[..len]);
        file.write_all_at(&page, 0).unwrap();
        let seen = view.read();
        assert!(seen.job.as_ref().is_none_or(|job| job.function < 2));
        for end in [ExitStatus::Exit(0), ExitStatus::Exit(-1), ExitStatus::Signal(i32::MAX)] {
            match judge(end, &seen, Duration::from_secs(1)) {
                ExitCause::InJob(job) | ExitCause::Answering(job) => {
                    assert!(!seen.overwritten && job.ran <= Duration::from_secs(1));
                }
                ExitCause::Drained | ExitCause::OutsideJob | ExitCause::Unknown => {}
            }
        }
        assert!(!seen.overwritten || view.counters(0) == Counters::default());
        for function in 0..3 {
            let _ = (view.counters(function).jobs(), view.last_failure(function));
        }
    });
}

/// `versions.json`: what is read can be written and read again, and what is not understood is set aside.
pub fn state_files(data: &[u8]) {
    STATE.with(|dir| {
        let file = dir.path().join("versions.json");
        std::fs::write(&file, data).unwrap();
        let (records, warning) = VersionRecords::open(dir.path());
        if let Some(warning) = warning {
            is_one_line(&warning);
            assert!(!file.exists());
        }
        let of = |records: &VersionRecords| format!("{records:?}");
        let _ = std::fs::remove_file(&file);
        records.save().unwrap();
        let (again, warning) = VersionRecords::open(dir.path());
        assert_eq!((of(&again), warning), (of(&records), None));
    });
}

/// What people and log files get has no line end or control character of somebody else's.
fn is_one_line(text: &str) {
    assert!(!text.chars().any(char::is_control), "not one line: {text:?}");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::panic::catch_unwind;
    use std::path::PathBuf;

    use super::*;

    fn fuzz_dir() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
    }

    #[test]
    fn every_case_of_the_corpora_passes() {
        for (name, target) in TARGETS {
            let corpus = fuzz_dir().join("corpus").join(name);
            let mut cases: Vec<PathBuf> = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
            cases.sort();
            assert!(!cases.is_empty(), "no case in {}", corpus.display());
            for case in cases {
                let bytes = fs::read(&case).unwrap();
                assert!(catch_unwind(|| target(&bytes)).is_ok(), "the target {name} fails with {}", case.display());
            }
        }
    }

    /// Cut short and with a byte turned over, as a fuzzer would begin.
    #[test]
    fn cases_that_are_damaged_pass_too() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for (name, target) in TARGETS {
            for case in fs::read_dir(fuzz_dir().join("corpus").join(name)).unwrap() {
                let mut bytes = fs::read(case.unwrap().path()).unwrap();
                for _ in 0..10 {
                    if !bytes.is_empty() {
                        let at = random.usize(..bytes.len());
                        bytes[at] ^= 1 << random.u8(..8);
                    }
                    let end = if random.bool() { bytes.len() } else { random.usize(..=bytes.len()) };
                    let damaged = &bytes[..end];
                    assert!(catch_unwind(|| target(damaged)).is_ok(), "{name}, seed {seed}: {damaged:?}");
                }
            }
        }
    }

    #[test]
    fn every_target_has_its_fuzzer() {
        let manifest = fs::read_to_string(fuzz_dir().join("Cargo.toml")).unwrap();
        for (name, _) in TARGETS {
            let source = fs::read_to_string(fuzz_dir().join("fuzz_targets").join(format!("{name}.rs"))).unwrap();
            assert!(source.contains(&format!("gm_native::fuzz::{name}")), "{name}: {source}");
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        }
        assert_eq!(fs::read_dir(fuzz_dir().join("corpus")).unwrap().count(), TARGETS.len());
    }
}
