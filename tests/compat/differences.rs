//! What differs on purpose. docs/migrating.md has the same list for users, under "Differs on purpose".

use std::collections::BTreeSet;
use std::fs;

use crate::support::build::repository;

/// A name, and what gm-native does there.
pub const DIFFERENCES: &[(&str, &str)] = &[
    (
        "config-errors",
        "a wrong ini ends the start with exit code 2 and names every error's line; there it runs with what PHP made of it",
    ),
    ("dump-config", "-Z prints an ini with where each value is from, and the plan; there it is a PHP array"),
    ("exit-codes", "a start that fails has an exit code of its own; there it is 0"),
    ("idle-stop", "an idle worker leaves at once; there it stays until it is killed at graceful_shutdown_wait_time"),
    (
        "lifetime-between-jobs",
        "max_worker_lifetime never cuts a job; there it is killed at one and a half lifetimes, and the job runs again",
    ),
    ("log-header", "a log begins with its first line; there it begins with the names of the columns"),
    (
        "manager-section",
        "[GearmanManager] is the manager's in any case; there it has to be written so, and another one is a function's",
    ),
    (
        "max-runs-hard",
        "a worker never runs more than max_runs_per_worker jobs; there it may go on while jobs are queued",
    ),
    ("php-config", "a .php configuration is refused, with the ini to write; there it is run"),
    (
        "pid-file-locked",
        "a second manager on the same pid file is refused with the first one's pid; there it takes the file over",
    ),
    (
        "pid-file-emptied",
        "after -u, where that user may not remove the pid file, it is emptied; there it stays with its pid",
    ),
    (
        "pid-file-roots",
        "after -u the pid file stays root's, so that root's tools can believe it; there the run user may write to it",
    ),
    ("plugin-files", "functions are native libraries, NAME.so; there they are NAME.php"),
    (
        "spawn-splay",
        "workers start without a pause unless worker_initial_spawn_splay asks for one; there it is half a second each",
    ),
    ("timeout-option", "-t is read; there it is in the help only, and no option after it is read either"),
    (
        "spaces-in-lists",
        "items of lists and names in brackets are taken without the spaces around them; there \"a, b\" does not name b",
    ),
    ("user-groups", "-u takes the user's groups too and can never be undone; there root's groups stay"),
    ("verbose-in-ini", "verbose = v is INFO as -v is; there it is PROC"),
];

/// The sentence of a difference that a test is about.
#[track_caller]
pub fn on_purpose(name: &str) {
    assert!(DIFFERENCES.iter().any(|(known, _)| *known == name), "{name} is not in the list");
}

/// The names that begin the points of a section, as `- **name**`.
fn documented(text: &str) -> BTreeSet<&str> {
    let section = text.split("\n## ").find(|section| section.starts_with("Differs on purpose")).unwrap();
    section.lines().filter_map(|line| line.strip_prefix("- **")?.split("**").next()).collect()
}

#[test]
fn the_list_is_that_of_the_documents() {
    let text = fs::read_to_string(repository().join("docs/migrating.md")).unwrap();
    let named: BTreeSet<&str> = DIFFERENCES.iter().map(|(name, _)| *name).collect();
    assert_eq!(named.len(), DIFFERENCES.len(), "a name is there twice");
    assert_eq!(documented(&text), named);
}
