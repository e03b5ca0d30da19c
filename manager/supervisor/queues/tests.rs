use super::*;

const BUSY: QueueSample = QueueSample { waiting: 5, running: 2, workers: 2, idle: 0, ended: 10 };
const STUCK: QueueSample = QueueSample { waiting: 5, running: 0, workers: 2, idle: 2, ended: 10 };

fn waiting(waiting: u64) -> QueueSample {
    QueueSample { waiting, ..BUSY }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(1000 + seconds)
}

/// What is reported at which second.
fn reports(samples: &[(u64, QueueSample)]) -> Vec<(u64, QueueNotice)> {
    let mut history = QueueHistory::default();
    let each = samples.iter().filter_map(|(second, sample)| Some((*second, history.observe(*sample, at(*second))?)));
    each.collect()
}

fn begins(problem: QueueProblem, seconds: u64, first: QueueSample) -> QueueNotice {
    QueueNotice::Begins(problem, Duration::from_secs(seconds), first)
}

fn ends(problem: QueueProblem, seconds: u64) -> QueueNotice {
    QueueNotice::Ends(problem, Duration::from_secs(seconds))
}

#[test]
fn a_queue_grows_for_a_minute() {
    use QueueProblem::Growing;
    let growing = |first| begins(Growing, 60, waiting(first));
    for (samples, expected) in [
        (&[(0, 5), (30, 6), (60, 7)][..], vec![(60, growing(5))]),
        // Ups and downs do not matter, if it is longer than ever.
        (&[(0, 5), (20, 9), (40, 8), (60, 9)], vec![(60, growing(5))]),
        (&[(0, 5), (20, 9), (40, 8), (60, 8)], vec![]),
        (&[(0, 5), (30, 5), (60, 5)], vec![]),
        (&[(0, 5), (30, 4), (60, 3)], vec![]),
        (&[(0, 5), (59, 6)], vec![]),
        (&[(0, 5), (30, 0), (60, 9)], vec![]),
        (&[(0, 0), (30, 5), (60, 9)], vec![]),
        (&[(0, 0), (30, 5), (60, 9), (90, 10)], vec![(90, growing(5))]),
        // Checks that are rare.
        (&[(0, 5), (600, 6)], vec![(600, begins(Growing, 600, waiting(5)))]),
        // Once, and again after its end.
        (&[(0, 5), (60, 7), (120, 9), (180, 8)], vec![(60, growing(5))]),
        (
            &[(0, 5), (60, 7), (120, 9), (180, 4), (240, 5), (300, 6)],
            vec![(60, growing(5)), (180, ends(Growing, 120)), (300, growing(5))],
        ),
    ] {
        let samples: Vec<_> = samples.iter().map(|(second, jobs)| (*second, waiting(*jobs))).collect();
        assert_eq!(reports(&samples), expected, "{samples:?}");
    }
}

#[test]
fn a_queue_grows_only_while_all_workers_are_busy() {
    let idle = QueueSample { idle: 1, ..waiting(6) };
    let without = QueueSample { workers: 0, ..waiting(6) };
    for (samples, expected) in [
        ([(0, waiting(5)), (30, idle), (60, waiting(7))], vec![]),
        ([(0, waiting(5)), (30, without), (60, waiting(7))], vec![]),
        (
            [(0, waiting(5)), (60, waiting(7)), (90, QueueSample { idle: 1, ..waiting(9) })],
            vec![(60, begins(QueueProblem::Growing, 60, waiting(5))), (90, ends(QueueProblem::Growing, 30))],
        ),
    ] {
        assert_eq!(reports(&samples), expected, "{samples:?}");
    }
}

#[test]
fn jobs_wait_for_idle_workers() {
    use QueueProblem::NotTaken;
    let more = QueueSample { waiting: 9, ..STUCK };
    let not_taken = begins(NotTaken, 60, STUCK);
    let jobs = |count: u64| QueueSample { waiting: count, ..STUCK };
    for (samples, expected) in [
        (vec![(0, STUCK), (30, STUCK), (60, STUCK)], vec![(60, not_taken)]),
        (vec![(0, STUCK), (30, STUCK), (60, more), (90, more)], vec![(60, not_taken)]),
        // A job was taken, or has ended, in between.
        (vec![(0, STUCK), (30, QueueSample { running: 1, ..STUCK }), (60, STUCK)], vec![]),
        (vec![(0, STUCK), (30, STUCK), (60, QueueSample { ended: 11, ..STUCK })], vec![]),
        (vec![(0, STUCK), (30, jobs(4)), (60, jobs(4))], vec![]),
        (vec![(0, STUCK), (30, jobs(0)), (60, STUCK)], vec![]),
        (vec![(0, STUCK), (30, BUSY), (60, STUCK)], vec![]),
        // The end, and once an hour at most.
        (vec![(0, STUCK), (60, STUCK), (70, jobs(0))], vec![(60, not_taken), (70, ends(NotTaken, 10))]),
        (vec![(0, STUCK), (60, STUCK), (70, jobs(4))], vec![(60, not_taken), (70, ends(NotTaken, 10))]),
        (
            vec![(0, STUCK), (60, STUCK), (70, BUSY), (100, STUCK), (200, STUCK), (3660, STUCK)],
            vec![(60, not_taken), (70, ends(NotTaken, 10)), (3660, begins(NotTaken, 3460, STUCK))],
        ),
    ] {
        assert_eq!(reports(&samples), expected, "{samples:?}");
    }
}

#[test]
fn a_minute_of_samples_is_kept() {
    let mut history = QueueHistory::default();
    for tenth in 0..5000 {
        history.observe(BUSY, at(0) + Duration::from_millis(100 * tenth));
        let QueueState::Watched(samples) = &history.state else { panic!("it does not grow") };
        assert!(samples.len() <= 601, "{}", samples.len());
    }
    assert!(!history.is_empty(at(600)));
    history.observe(waiting(0), at(601));
    assert!(history.is_empty(at(601)));
}

#[test]
fn a_function_that_nobody_serves() {
    use ServiceNotice::{ServedAgain, Unserved};
    let seconds = Duration::from_secs;
    for (checks, expected) in [
        (&[(0, false), (30, false), (60, false), (90, false)][..], vec![(60, Unserved(seconds(60)))]),
        (&[(0, false), (30, true), (60, false), (90, false)], vec![]),
        (&[(0, false), (600, false)], vec![(600, Unserved(seconds(600)))]),
        (
            &[(0, false), (60, false), (70, true), (80, true)],
            vec![(60, Unserved(seconds(60))), (70, ServedAgain(seconds(70)))],
        ),
        (&[(0, true), (60, true)], vec![]),
    ] {
        let mut history = ServiceHistory::default();
        let each = checks.iter().filter_map(|(at, served)| Some((*at, history.observe(*served, seconds(*at))?)));
        assert_eq!(each.collect::<Vec<_>>(), expected, "{checks:?}");
    }
}
