//! Both sides of a scoreboard, in one process.

use super::*;

fn size(functions: usize) -> usize {
    ScoreboardMapping::size(functions).unwrap().get()
}

fn job(handle: &[u8]) -> JobStart<'_> {
    JobStart { function: 1, number: 7, connection: 3, handle, unique: b"u", started_ns: 5 }
}

fn quiet(activity: WorkerActivity) -> Snapshot {
    Snapshot { activity, sending: false, sending_elsewhere: false, job: None, overwritten: false }
}

/// Half an answer on one connection says nothing about the job of another, which may be answered for.
#[test]
fn half_a_packet_is_that_of_its_connection() {
    let (fd, view) = create(2, 0).unwrap();
    let scoreboard = Arc::new(ScoreboardWriter::map(&fd, 2).unwrap());
    let senders = || (view.read().sending, view.read().sending_elsewhere);
    let other = scoreboard.sending(9);
    assert_eq!(senders(), (true, false), "no job, so any counts");
    scoreboard.begin(&job(b"H:host:12"));
    assert_eq!(senders(), (false, true));
    let own = scoreboard.sending(3);
    assert_eq!(senders(), (true, true));
    drop(other);
    assert_eq!(senders(), (true, false));
    drop(own);
    assert_eq!(senders(), (false, false));
    let mut senders_held: Vec<_> = (0..=SENDING_WORDS as u32).map(|n| scoreboard.sending(100 + n)).collect();
    assert_eq!(senders(), (true, true), "too many to list each");
    drop(senders_held.pop());
    assert_eq!(senders(), (false, true));
    drop(senders_held);
    assert_eq!((senders(), view.read().overwritten), ((false, false), false));
}

#[test]
fn the_manager_sees_the_job_in_hand_and_what_was_done() {
    let (fd, view) = create(2, 0).unwrap();
    let scoreboard = Arc::new(ScoreboardWriter::map(&fd, 2).unwrap());
    assert_eq!(view.read(), quiet(WorkerActivity::Starting));
    scoreboard.begin(&job(b"H:host:12"));
    let seen = view.read().job.unwrap();
    assert_eq!((seen.function, seen.number, seen.connection), (1, 7, 3));
    assert_eq!(seen.handle.unwrap(), b"H:host:12");
    assert_eq!(seen.unique.unwrap(), b"u");
    assert!(!view.read().sending);
    let two = [scoreboard.sending(3), scoreboard.sending(3)].map(Some);
    assert_eq!((view.read().sending, view.read().activity), (true, WorkerActivity::Running));
    for sending in two {
        assert!(view.read().sending);
        drop(sending);
    }
    assert!(!view.read().sending);
    scoreboard.returned();
    assert_eq!((view.read().activity, view.read().job.map(|job| job.number)), (WorkerActivity::Answering, Some(7)));
    scoreboard
        .end(&JobEnd { function: 1, succeeded: true, bytes_in: 3, bytes_out: 4, run_ns: 9000 }, WorkerActivity::Idle);
    assert_eq!(view.read(), quiet(WorkerActivity::Idle));
    assert_eq!(view.counters(1), Counters { completed: 1, failed: 0, bytes_in: 3, bytes_out: 4, run_ns: 9000 });
    assert_eq!(view.counters(0), Counters::default());
    // A job for a function the worker does not have is counted nowhere.
    let stray = JobEnd { function: usize::MAX, succeeded: false, bytes_in: 3, bytes_out: 0, run_ns: 0 };
    scoreboard.end(&stray, WorkerActivity::Idle);
    assert_eq!([2, 99, usize::MAX].map(|function| view.counters(function)), [Counters::default(); 3]);
}

#[test]
fn the_last_failure_of_a_function_comes_with_the_count() {
    let (fd, view) = create(2, 0).unwrap();
    let scoreboard = ScoreboardWriter::map(&fd, 2).unwrap();
    let failed = JobEnd { function: 1, succeeded: false, bytes_in: 3, bytes_out: 0, run_ns: 9000 };
    assert_eq!(view.last_failure(1), None);
    for (number, length) in [(1, FAILURE_TEXT), (2, 1)] {
        let (handle, reason) = (format!("H:host:{number}").into_bytes(), "x".repeat(length));
        let failure = LastFailure { at: Duration::from_secs(number), handle, reason };
        scoreboard.failed(1, &failure);
        scoreboard.end(&failed, WorkerActivity::Idle);
        assert_eq!((view.last_failure(1), view.counters(1).failed), (Some(failure), number));
    }
    assert_eq!([0, 2, usize::MAX].map(|function| view.last_failure(function)), [None, None, None]);
}

#[test]
fn an_overwritten_scoreboard_is_noticed_on_both_sides() {
    let (fd, view) = create(2, 0).unwrap();
    let scoreboard = Arc::new(ScoreboardWriter::map(&fd, 2).unwrap());
    scoreboard.begin(&job(b"H:host:12"));
    drop(scoreboard.sending(3));
    assert!(scoreboard.is_intact(7) && !view.read().overwritten);
    scoreboard
        .end(&JobEnd { function: 1, succeeded: true, bytes_in: 3, bytes_out: 4, run_ns: 9000 }, WorkerActivity::Idle);
    scoreboard.begin(&job(b"H:host:13"));
    let mut random = fastrand::Rng::with_seed(8);
    let bytes: Vec<u8> = (0..size(2)).map(|_| random.u8(..)).collect();
    std::os::unix::fs::FileExt::write_all_at(&std::fs::File::from(fd), &bytes, 0).unwrap();
    assert!(!scoreboard.is_intact(7) && view.read().overwritten);
    scoreboard.recover();
    scoreboard.activity(WorkerActivity::Disconnected);
    let seen = view.read();
    assert_eq!((seen.activity, seen.overwritten), (WorkerActivity::Disconnected, true));
    assert_eq!([0, 1].map(|function| view.counters(function)), [Counters::default(); 2]);
}

#[test]
fn a_handle_that_does_not_fit_is_unknown_rather_than_cut() {
    let (fd, view) = create(2, 0).unwrap();
    let scoreboard = ScoreboardWriter::map(&fd, 2).unwrap();
    scoreboard.begin(&job(&[b'h'; 256]));
    assert_eq!(view.read().job.unwrap().handle.unwrap().len(), 256);
    scoreboard.begin(&job(&[b'h'; 257]));
    assert_eq!(view.read().job.unwrap().handle, None);
}

#[test]
fn a_scoreboard_of_random_bytes_is_read_without_harm() {
    let (fd, view) = create(3, 0).unwrap();
    let file = std::fs::File::from(fd);
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2000 {
        let bytes: Vec<u8> = (0..size(3)).map(|_| random.u8(..)).collect();
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
        let seen = view.read();
        assert!(seen.job.is_none_or(|job| job.function < 3));
        view.counters(2);
        view.last_failure(2);
    }
}

#[test]
fn its_size_is_sealed() {
    let (fd, _view) = create(1, 0).unwrap();
    assert!(nix::unistd::ftruncate(&fd, 0).is_err());
    assert!(nix::unistd::ftruncate(&fd, 1 << 20).is_err());
}

#[test]
fn run_times_fall_into_powers_of_two() {
    for (ns, expected) in [(0, 0), (999, 0), (1000, 1), (2000, 2), (4_000_000, 12), (u64::MAX, BUCKETS - 1)] {
        assert_eq!(bucket(ns), expected, "{ns} ns");
    }
}

#[test]
fn the_last_jobs_are_listed_without_the_one_in_hand() {
    let (fd, view) = create(2, 0).unwrap();
    let scoreboard = ScoreboardWriter::map(&fd, 2).unwrap();
    assert_eq!(view.recent_jobs(), []);
    let numbers = |view: &ScoreboardView| -> Vec<u64> { view.recent_jobs().iter().map(|job| job.number).collect() };
    let (end, long) = (JobEnd { function: 1, succeeded: true, bytes_in: 0, bytes_out: 0, run_ns: 0 }, [b'h'; 100]);
    for number in 1..=20 {
        let handle = if number == 19 { &long[..] } else { b"H:a:1" };
        scoreboard.begin(&JobStart { number, ..job(handle) });
        if number == 20 {
            assert_eq!(numbers(&view), [19, 18, 17, 16, 15, 14, 13, 12]);
        }
        scoreboard.end(&end, WorkerActivity::Idle);
    }
    assert_eq!(numbers(&view), [20, 19, 18, 17, 16, 15, 14, 13, 12]);
    let jobs = view.recent_jobs();
    assert_eq!((jobs[0].function, jobs[0].handle.as_deref()), (1, Some(&b"H:a:1"[..])));
    assert_eq!(jobs[1].handle, None, "too long");
}
