use super::*;
use crate::control::sample_status;

#[test]
fn text_for_an_operator() {
    let expected = "\
gm-native 0.1.0, gm-1a2b3c4d, pid 4711, running, up 2h13m
2 workers: 2 ready, 1 busy

FUNCTION        READY  RUN  LONGEST  DONE/MIN  FAIL/MIN  P50    P99   STATE
reverse_string  2/2    1    1.2s     120       3         1.3ms  47ms  serving
sum             0/2    0             0         0                      backing off until 12:00:04

FUNCTION        VERSION             STORED            DONE  FAILED  CRASHED  TIMED OUT
reverse_string  3f2a91c04d11 0.1.0  2026-11-24 09:46  1204  3       2        1
sum             3f2a91c04d11 0.1.0  2026-11-24 09:46  0     3       2        1
DONE/MIN, FAIL/MIN: jobs with and without a result in the last minute. P50, P99: how long half of this version's jobs,
and 99 of 100, ran at most. Since the manager started: DONE: with a result. FAILED: the function returned a failure or
panicked. CRASHED: the worker died in the job. TIMED OUT: the worker was ended because the job was past its timeout.

FUNCTION  NOTE
sum       new() failed: no database; 3 of 4 jobs had no result in the last 59s, last failure 2.3s ago: no such table

JOB SERVER      WORKERS  LAST ANSWER  STATE
127.0.0.1:4730  2/2      now          up since 2026-11-24 09:47:00

NOT SERVED           REASON
/srv/workers/bad.so  is no ELF file

WARNING
log lines are lost

PID   STATE  FOR    AGE   JOBS  MEMORY  LAST JOB   CONTACT   VERSION       FUNCTIONS       JOB
4712  busy   1.2s   1h1m  600   5.0M    1m30s ago  2.1s ago  3f2a91c04d11  reverse_string  reverse_string H:host:12 \
order-77 for 1.2s
4713  idle   1m30s  1h1m  600   5.0M    1m30s ago  2.1s ago  3f2a91c04d11  reverse_string
";
    assert_eq!(render(&sample_status(), OutputFormat::Text), expected);
}

#[test]
fn nothing_from_outside_steers_the_terminal() {
    let mut status = sample_status();
    status.workers[0].handle = Some("H:\x1b[2J\n".into());
    status.functions[1].note = Some("\u{202e}\r\n".into());
    status.workers[0].unique = Some("\x1b]0;\x07".into());
    status.refused[0].reason = "line\nline".into();
    let text = render(&status, OutputFormat::Text);
    assert_eq!(text.lines().count(), render(&sample_status(), OutputFormat::Text).lines().count());
    assert!(!text.chars().any(|c| c == '\x1b' || c == '\r' || c == '\u{202e}'), "{text}");
}

#[test]
fn json_is_what_the_manager_sent() {
    let text = render(&sample_status(), OutputFormat::Json);
    assert_eq!(serde_json::from_str::<StatusReply>(&text).unwrap(), sample_status());
    assert!(text.ends_with("}\n"));
}

#[test]
fn times_in_their_two_largest_units() {
    let cases =
        [(0, "0s"), (59, "59s"), (60, "1m0s"), (3599, "59m59s"), (3600, "1h0m"), (86_399, "23h59m"), (180_000, "2d2h")];
    for (seconds, expected) in cases {
        assert_eq!(age(seconds), expected);
    }
    assert_eq!([short(0.04), short(59.9), short(61.0), short(-1.0)], ["0.0s", "59.9s", "1m1s", "0.0s"]);
}
