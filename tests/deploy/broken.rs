//! The corpus of broken libraries, each dropped over a good one while the manager runs.

use std::fs;
use std::path::Path;

use crate::corpus::{Case, cases};
use crate::scene::{ask, holds, of, put, rename_over, said, served, version, wait_all, wait_deployed, wait_quiet};
use crate::support::manager::Manager;
use crate::support::wait::{DEADLINE, wait_for};

/// Puts what a case has into worker_dir under its function's name: whatever it is, in one step.
fn drop_over(manager: &Manager, case: &Case) {
    let at = manager.worker_dir().join(case.path.file_name().unwrap());
    let is_file = case.path.symlink_metadata().unwrap().is_file();
    if is_file && fs::metadata(&case.path).unwrap().len() < 1 << 30 {
        let part = manager.dir().join("part");
        fs::copy(&case.path, &part).unwrap();
        fs::rename(part, at).unwrap();
    } else {
        // A directory, a FIFO, a sparse file: a link leads to it as well.
        let part = manager.dir().join("part");
        std::os::unix::fs::symlink(absolute_target(&case.path), &part).unwrap();
        fs::rename(part, at).unwrap();
    }
}

/// A link that leads nowhere is to lead nowhere from worker_dir too.
fn absolute_target(path: &Path) -> &Path {
    path
}

/// What was said of a case: a library refused, or a name that stands for none.
fn sentences(manager: &Manager, case: &Case) -> Vec<String> {
    let name = case.path.file_name().unwrap().to_str().unwrap();
    let about = |event: &serde_json::Value| {
        event["path"].as_str().is_some_and(|path| path.ends_with(&format!("/{name}")))
            && (event["event"] == "library_refused" || event["event"] == "file_not_taken")
    };
    manager.events().iter().filter(|e| about(e)).map(|e| e["reason"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_broken_library_is_refused_in_its_own_words_and_nobody_notices() {
    let cases = cases();
    let (gearmand, manager) = served("probe_timeout = 2s");
    wait_quiet(&manager, 1);
    let before = holds(&manager);
    let mut wrong = Vec::new();
    for case in &cases {
        drop_over(&manager, case);
    }
    for case in &cases {
        let said = wait_for(&format!("a word on {}", case.path.display()), DEADLINE, || {
            let all = sentences(&manager, case);
            (!all.is_empty()).then_some(all)
        });
        if !said.iter().any(|sentence| case.matches(sentence)) {
            wrong.push(format!("{}: {said:?}, not {:?}", case.function, case.expect));
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert_eq!(ask(&gearmand, "stamped"), "v1");
    let status = manager.status();
    assert_eq!(status["functions"].as_array().unwrap().len(), 1, "{status}");
    wait_quiet(&manager, 1);
    wait_for("descriptors and threads as before", DEADLINE, || (holds(&manager) == before).then_some(()));
}
