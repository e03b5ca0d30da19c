use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;

/// The lines of a log file without their dates.
fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split_once("] ").unwrap().1.trim_start().to_owned()).collect()
}

fn own(rest: &str) -> String {
    format!("{} {rest}", std::process::id())
}

#[test]
fn a_line_in_a_file_looks_as_documented() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gm.log");
    let mut log = Logger::early();
    log.open(&LogDestination::File(path.clone()), 2).unwrap();
    log.line(Level::Proc, 1234, "worker started");
    let text = fs::read_to_string(&path).unwrap();
    let (date, rest) = text.split_at(28);
    assert_eq!(rest, "]  1234 PROC   worker started\n".split_at(1).1);
    let shape: String = date.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "[0000-00-00 00:00:00.000000]");
}

#[test]
fn early_lines_come_first_and_only_those_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gm.log");
    let mut log = Logger::early();
    assert!(log.enabled(Level::Crazy));
    log.line(Level::Warn, 1, "gm.ini:3: unknown key");
    log.line(Level::Debug, 1, "not wanted");
    log.line(Level::Info, 1, "read gm.ini");
    log.open(&LogDestination::File(path.clone()), 1).unwrap();
    log.line(Level::Info, 1, "up");
    assert_eq!(lines(&path), ["1 WARN   gm.ini:3: unknown key", "1 INFO   read gm.ini", "1 INFO   up"]);
}

#[test]
fn early_lines_are_bounded_and_the_rest_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gm.log");
    let mut log = Logger::early();
    for _ in 0..EARLY_LINES + 5 {
        log.line(Level::Warn, 1, "again");
    }
    log.open(&LogDestination::File(path.clone()), 0).unwrap();
    let lines = lines(&path);
    assert_eq!(lines.len(), EARLY_LINES + 1);
    assert!(lines[0].contains("5 log lines were lost"), "{}", lines[0]);
}

#[test]
fn verbosity_decides() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gm.log");
    let mut log = Logger::early();
    log.open(&LogDestination::File(path.clone()), 0).unwrap();
    for verbosity in 0..=5 {
        log.set_verbosity(verbosity);
        for level in Level::ALL {
            assert_eq!(log.enabled(level), level.verbosity() <= verbosity);
            log.line(level, 1, &verbosity.to_string());
        }
    }
    let count = |verbosity: u8| lines(&path).iter().filter(|line| line.ends_with(&format!(" {verbosity}"))).count();
    assert_eq!((0..=5).map(count).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
}

#[test]
fn each_line_of_a_message_has_the_prefix_and_nothing_can_be_forged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gm.log");
    let mut log = Logger::early();
    log.open(&LogDestination::File(path.clone()), 3).unwrap();
    log.line(Level::Worker, 7, "first\nsecond\n\nfourth\n");
    let payload = b"x\n[2026-11-24 12:00:00.000000]     1 ERROR  forged\r\x1b[2J\0";
    log.line(Level::Worker, 8, &format!("job failed: {}", escape(payload)));
    log.line(Level::Worker, 9, "not escaped by its caller: \x1b[2J\r");
    assert_eq!(
        lines(&path),
        [
            "7 WORKER first",
            "7 WORKER second",
            "7 WORKER ",
            "7 WORKER fourth",
            "8 WORKER job failed: x\\n[2026-11-24 12:00:00.000000]     1 ERROR  forged\\r\\x1b[2J\\x00",
            "9 WORKER not escaped by its caller: \\x1b[2J\\r",
        ]
    );
    assert!(!fs::read_to_string(&path).unwrap().contains(['\x1b', '\r', '\0']));
}

#[test]
fn a_full_disk_drops_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gm.log");
    let mut log = Logger::early();
    log.open(&LogDestination::File("/dev/full".into()), 1).unwrap();
    for number in 0..3 {
        log.line(Level::Info, 1, &format!("lost {number}"));
    }
    assert!(
        log.lost_lines().unwrap().starts_with("3 log lines were lost: log file /dev/full: No space left on device")
    );
    // The count is the first line of a log that works.
    log.open(&LogDestination::File(path.clone()), 1).unwrap();
    log.line(Level::Info, 1, "works again");
    log.line(Level::Info, 1, "and again");
    let lines = lines(&path);
    assert!(lines[0].starts_with(&own("WARN   3 log lines were lost")), "{}", lines[0]);
    assert_eq!(lines[1..], ["1 INFO   works again", "1 INFO   and again"]);
    assert_eq!(log.lost_lines(), None);
}

#[test]
fn retry_reports_what_was_lost_without_another_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Logger::early();
    log.open(&LogDestination::Syslog(path.clone()), 1).unwrap();
    assert!(log.lost_lines().unwrap().contains("does not answer"));
    log.line(Level::Info, 1, "lost");
    log.retry();
    let syslogd = UnixDatagram::bind(&path).unwrap();
    syslogd.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    log.retry();
    let mut datagram = [0; 1024];
    let length = syslogd.recv(&mut datagram).unwrap();
    let text = String::from_utf8_lossy(&datagram[..length]);
    assert!(text.starts_with("<28>") && text.contains("1 log line was lost"), "{text}");
    assert_eq!(log.lost_lines(), None);
}

#[test]
fn a_removed_directory_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let path = logs.join("gm.log");
    let mut log = Logger::early();
    log.open(&LogDestination::File(path.clone()), 1).unwrap();
    log.line(Level::Info, 1, "before");
    fs::remove_dir_all(&logs).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !path.exists() {
        assert!(Instant::now() < deadline, "the log file was not made again");
        log.line(Level::Info, 1, "after");
    }
    let lines = lines(&path);
    assert_eq!(lines[0], "1 INFO   after");
    assert!(lines[1].contains("was removed; it was made again"), "{lines:?}");
}

#[test]
fn reopened_after_logrotate() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("gm.log"), dir.path().join("gm.log.1"));
    let mut log = Logger::early();
    log.open(&LogDestination::File(path.clone()), 1).unwrap();
    log.line(Level::Info, 1, "one");
    fs::rename(&path, &moved).unwrap();
    log.line(Level::Info, 1, "two");
    assert_eq!(log.reopen(), Reopened::Done);
    log.line(Level::Info, 1, "three");
    assert_eq!(lines(&moved), ["1 INFO   one", "1 INFO   two"]);
    assert_eq!(lines(&path), ["1 INFO   three"]);

    fs::rename(&path, dir.path().join("gm.log.2")).unwrap();
    fs::create_dir(&path).unwrap();
    let Reopened::Failed(why) = log.reopen() else { panic!("it was opened") };
    assert!(why.starts_with("cannot reopen log file") && why.ends_with("; the log keeps using the open file"), "{why}");
    log.line(Level::Info, 1, "four");
    assert_eq!(lines(&dir.path().join("gm.log.2")), ["1 INFO   three", "1 INFO   four"]);
}

#[test]
fn a_target_that_cannot_be_opened_leaves_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gm.log");
    let mut log = Logger::early();
    log.open(&LogDestination::File(path.clone()), 1).unwrap();
    let missing = dir.path().join("missing/gm.log");
    let error = log.open(&LogDestination::File(missing.clone()), 5).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot open log file {}: No such file", missing.display())));
    log.line(Level::Info, 1, "still here");
    log.line(Level::Crazy, 1, "still not wanted");
    assert_eq!(lines(&path), ["1 INFO   still here"]);
}

#[test]
fn dates_for_others_look_like_the_log() {
    let shape: String = date(SystemTime::now()).chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00 00:00:00.000000");
}
