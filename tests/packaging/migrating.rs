//! docs/migrating.md: each row of its tables that can be run is run by a test.
//!
//! Pairs of PHP and Rust are run by both (`author migrating::`). The suite compat runs against GearmanManager too, where
//! there is a checkout of it.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::faults::complaint;
use crate::fixture::{library, wait_serving, workers};
use crate::support::build::repository;
use crate::support::gearmand::Gearmand;
use crate::support::manager::Setup;
use crate::support::program::run;
use crate::support::wait::{DEADLINE, wait_for};

/// A row by its first cell, and the tests that run what it says.
type Row = (&'static str, &'static [&'static str]);

/// The tables of the page, by their headings.
const TABLES: [(&str, &[Row]); 5] = [
    (
        "Options",
        &[
            (
                "`-a`",
                &[
                    "behaviour contract::every_option_by_either_name",
                    "deploy detection::functions_are_added_removed_and_renamed",
                ],
            ),
            ("`-c FILE`", &["compat process::what_is_not_there_is_named", "compat process::wrong_configurations"]),
            (
                "`-d`",
                &[
                    "compat process::in_the_background",
                    "behaviour daemon::a_start_that_fails_gives_its_reason_and_its_code",
                ],
            ),
            ("`-D N`", &["compat plans::workers_for_everything_by_option"]),
            ("`-h HOST[:PORT][,...]`", &["compat plans::hosts_and_directories_by_option"]),
            ("`-H`", &["compat process::help"]),
            (
                "`-l FILE`",
                &["compat process::lines_of_the_log", "behaviour daemon::with_and_without_syslog_jobs_are_served"],
            ),
            ("`-p PREFIX`", &["compat plans::a_prefix"]),
            (
                "`-P FILE`",
                &[
                    "compat process::a_pid_file",
                    "compat process::a_second_one_on_the_same_pid_file",
                    "compat process::another_user",
                ],
            ),
            ("`-r N`", &["compat life::max_runs_by_option", "compat life::max_runs_under_load"]),
            (
                "`-t SEC`",
                &[
                    "compat process::the_configuration_is_dumped",
                    "behaviour timeouts::a_job_past_its_timeout_is_killed_and_its_caller_answered",
                ],
            ),
            ("`-u USER`", &["compat process::another_user"]),
            ("`-v` ... `-vvvvv`", &["compat process::verbosity"]),
            ("`-w DIR[,DIR]`", &["compat plans::hosts_and_directories_by_option"]),
            ("`-x SEC`", &["compat life::a_lifetime_by_option", "compat life::a_job_longer_than_the_lifetime"]),
            (
                "`-Z`",
                &[
                    "compat process::the_configuration_is_dumped",
                    "behaviour contract::the_dump_has_origins_and_warnings_and_no_secret",
                ],
            ),
        ],
    ),
    (
        "Keys",
        &[
            (
                "`auto_update`",
                &[
                    "packaging migrating::the_defaults_are_those_of_the_page",
                    "behaviour bad_input::an_empty_worker_dir_without_a_watcher",
                ],
            ),
            ("`worker_initial_spawn_splay`", &["packaging migrating::the_defaults_are_those_of_the_page"]),
            (
                "`dedicated_count`",
                &["compat plans::the_first_half_of_the_table", "compat plans::the_second_half_of_the_table"],
            ),
            ("`verbose`", &["compat process::verbosity"]),
            ("`max_worker_lifetime`", &["compat life::a_job_longer_than_the_lifetime"]),
            ("`timeout`", &["behaviour timeouts::a_job_past_its_timeout_is_killed_and_its_caller_answered"]),
            (
                "`priority`",
                &[
                    "compat plans::priorities_decide_what_is_served_first",
                    "behaviour servers::one_that_ignores_priorities_is_named",
                ],
            ),
        ],
    ),
    (
        "A worker file",
        &[
            (
                "`reverse_string.php` in `worker_dir`",
                &[
                    "author examples::each_is_the_function_its_library_is_called_by",
                    "demo readme::a_function_from_its_first_line_to_production",
                ],
            ),
            ("`function reverse_string($job, &$log)`", &["author migrating::the_function_form_does_what_its_php_does"]),
            ("a class with `run($job, &$log)`", &["author migrating::the_class_form_does_what_its_php_does"]),
            (
                "`$job->workload()`",
                &[
                    "author migrating::what_the_table_pairs_does_the_same",
                    "author migrating::what_an_object_keeps_and_what_it_is_told_are_the_same",
                ],
            ),
            (
                "`$job->handle()`, `unique()`, `functionName()`",
                &["author migrating::what_an_object_keeps_and_what_it_is_told_are_the_same"],
            ),
            ("`$log[] = \"text\"`", &["author migrating::what_the_table_pairs_does_the_same"]),
            ("`$job->sendStatus(1, 10)`", &["author migrating::what_the_table_pairs_does_the_same"]),
            ("`$job->sendData($part)`", &["author migrating::what_the_table_pairs_does_the_same"]),
            ("`$job->sendWarning($text)`", &["author migrating::what_the_table_pairs_does_the_same"]),
            ("`return $result`", &["author migrating::what_the_table_pairs_does_the_same"]),
            (
                "a thrown exception, `sendFail()`",
                &[
                    "author migrating::what_the_table_pairs_does_the_same",
                    "author migrating::what_an_object_keeps_and_what_it_is_told_are_the_same",
                ],
            ),
            ("`sendException($text)`", &["author migrating::what_the_table_pairs_does_the_same"]),
            (
                "a `static` variable, a property of the object",
                &["author migrating::what_an_object_keeps_and_what_it_is_told_are_the_same"],
            ),
            (
                "a constant or an `include` for the configuration",
                &["author migrating::what_an_object_keeps_and_what_it_is_told_are_the_same"],
            ),
            ("a fatal error", &["author migrating::a_panic_is_a_failed_job_where_php_has_a_fatal_error"]),
        ],
    ),
    (
        "Signals",
        &[
            (
                "TERM, INT; gm-native: also QUIT",
                &[
                    "compat life::a_stop_while_a_job_runs",
                    "compat life::a_stop_that_waits_only_so_long",
                    "behaviour drain::the_fifth_signal_kills_at_once",
                    "demo dev::a_crate_is_served_beside_the_files_libraries_and_follows_what_it_depends_on",
                ],
            ),
            (
                "HUP",
                &[
                    "compat life::a_hang_up_replaces_the_workers",
                    "behaviour reload::a_wrong_configuration_keeps_the_old_one",
                    "behaviour reload::what_can_change_while_it_runs_is_applied",
                    "demo dev::it_ends_with_its_terminal",
                ],
            ),
            ("USR1", &["behaviour reload::usr1_reopens_the_log_and_nothing_else"]),
        ],
    ),
    (
        "What is better",
        &[
            (
                "new worker files are not picked up, removed ones stay",
                &["deploy detection::functions_are_added_removed_and_renamed"],
            ),
            (
                "notices a change by the file's date, every 5 s, and misses it if the date is older",
                &[
                    "deploy detection::an_older_time_is_a_change_too",
                    "deploy detection::a_touch_and_an_equal_file_change_nothing",
                ],
            ),
            (
                "HUP and new code stop every worker at once",
                &[
                    "deploy load::no_job_is_lost_fails_or_is_run_twice",
                    "deploy bad_versions::one_whose_jobs_fail_is_rejected",
                ],
            ),
            (
                "after one and a half lifetimes a worker is killed in its job",
                &["compat life::a_job_longer_than_the_lifetime"],
            ),
            (
                "a worker that crashes at once is restarted at full speed; a death by signal is logged as a clean exit",
                &[
                    "behaviour deaths::a_function_that_crashes_again_and_again_backs_off_and_stays",
                    "behaviour deaths::a_job_that_ends_its_worker_is_no_success_and_is_tried_again",
                ],
            ),
            (
                "one bad file stops the whole start, or hangs it",
                &[
                    "behaviour bad_input::files_that_are_no_plugins_are_named_and_the_rest_runs",
                    "author starts::a_strict_start_fails_where_a_function_is_not_served",
                ],
            ),
            ("the manager polls 100 times a second", &["packaging migrating::nothing_wakes_up_when_nothing_happens"]),
            (
                "the start takes half a second per worker",
                &["behaviour limits::hundreds_of_workers_start_serve_and_drain"],
            ),
            (
                "HUP with `-l syslog -d` paralyses the manager",
                &["behaviour reload::syslog::hup_with_syslog_in_the_background"],
            ),
            (
                "a registered function that cannot be found completes its jobs with an empty result",
                &["deploy broken_libraries::each_as_a_new_file_is_refused_with_its_reason_and_the_others_serve"],
            ),
            (
                "a file that is skipped is not logged",
                &["behaviour bad_input::files_whose_names_are_no_librarys_are_passed_over_aloud"],
            ),
        ],
    ),
];

fn page() -> String {
    fs::read_to_string(repository().join("docs/migrating.md")).unwrap()
}

/// The first cells of the rows of a section's table, without its head.
fn rows(page: &str, heading: &str) -> Vec<String> {
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
    rows.skip(1).map(|row| row.split(" | ").next().unwrap().to_owned()).collect()
}

#[test]
fn every_row_of_its_tables_is_run_by_a_test() {
    let page = page();
    for (heading, listed) in TABLES {
        let names: Vec<&str> = listed.iter().map(|(row, _)| *row).collect();
        assert_eq!(rows(&page, heading), names, "the table of {heading}");
        for (row, tests) in listed {
            let wrong: Vec<String> = tests.iter().filter_map(|test| complaint(test)).collect();
            assert!(!tests.is_empty() && wrong.is_empty(), "{heading}, {row}: {wrong:?}");
        }
    }
    let tables = page.lines().filter(|line| line.starts_with("|---")).count();
    assert_eq!(tables, TABLES.len(), "a table of the page has no tests");
}

#[test]
fn the_defaults_are_those_of_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gm-native"));
    let dumped = run(command.args(["-Z", "-w"]).arg(dir.path()), b"", DEADLINE).unwrap();
    let text = String::from_utf8(dumped.success()).unwrap();
    let values: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(" = ")).collect();
    let page = page();
    let row = |key: &str| page.lines().find(|line| line.starts_with(&format!("| `{key}` |"))).unwrap().to_owned();
    for (key, value, cell) in [("auto_update", "1 ", "on by default"), ("worker_initial_spawn_splay", "0 ", "0: ")] {
        assert!(values[key].starts_with(value), "{key}: {}", values[key]);
        let ours = row(key).split(" | ").nth(2).unwrap().to_owned();
        assert!(ours.starts_with(cell), "{ours}");
    }
}

/// Voluntary context switches of a process: each is a sleep that began, and so one that ended before it.
fn sleeps(pid: Pid) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap().path());
    let status = tasks.map(|task| fs::read_to_string(task.join("status")).unwrap_or_default());
    status
        .flat_map(|text| {
            text.lines().filter(|line| line.starts_with("voluntary")).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

/// Neither the manager nor a worker, for a second: with 100 looks a second there is never such a second.
#[test]
fn nothing_wakes_up_when_nothing_happens() {
    let gearmand = Gearmand::start();
    let ini = "rescan_interval = 0\necho_interval = 0\nqueue_check = 0\ncount = 2";
    let manager = Setup::new(&[&gearmand.server()]).ini(ini).plugin("act", &library()).start();
    wait_serving(&manager, "act");
    let mut pids = workers(&manager);
    pids.push(manager.pid());
    let now = || pids.iter().map(|pid| sleeps(*pid)).collect::<Vec<_>>();
    let (mut quiet_since, mut last) = (Instant::now(), now());
    wait_for("a quiet second", DEADLINE, || {
        let seen = now();
        if seen != last {
            (quiet_since, last) = (Instant::now(), seen);
        }
        (quiet_since.elapsed() > Duration::from_secs(1)).then_some(())
    });
}
