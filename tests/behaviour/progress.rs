//! P13: progress that makes no sense, that comes faster than it can be sent, or too late.

use gm_native::gearman::client::JobEvent;

use crate::fixture::{Job, lines, path, served, touch, wait_busy};

#[test]
fn progress_is_sent_as_it_was_reported() {
    let (gearmand, _manager) = served("");
    for (done, of) in [(7, 3), (0, 0), (u64::MAX, 1)] {
        let news = Job::act(&gearmand, "", &format!("status {done} {of}\nsay well")).news();
        assert_eq!(news, [JobEvent::Status { done, of }, JobEvent::Complete(b"well".to_vec())]);
    }
}

/// The job server does not read: the job waits for nobody, and what its caller hears afterwards is a part of it, in
/// order and whole, and the result.
#[test]
fn progress_that_comes_too_fast_is_coalesced() {
    const REPORTS: u64 = 300_000;
    let (gearmand, manager) = served("");
    let (gate, notes) = (path(&manager, "gate"), path(&manager, "notes"));
    let job = Job::act(&gearmand, "u1", &format!("wait {gate}\nstatuses {REPORTS}\nnote {notes}\nsay well"));
    wait_busy(&manager, &job.handle);
    gearmand.stop();
    touch(&gate);
    crate::support::wait::wait_for("the job to get past its reports", crate::support::wait::DEADLINE, || {
        (lines(&notes) == ["u1"]).then_some(())
    });
    gearmand.cont();
    let mut news = job.news();
    assert_eq!(news.pop(), Some(JobEvent::Complete(b"well".to_vec())));
    let reports: Vec<u64> = news
        .iter()
        .map(|news| match news {
            JobEvent::Status { done, of: REPORTS } => *done,
            other => panic!("not progress: {other:?}"),
        })
        .collect();
    assert!(
        !reports.is_empty() && reports.len() < REPORTS as usize,
        "{} of {REPORTS} reports were sent",
        reports.len()
    );
    assert!(reports.is_sorted_by(|a, b| a < b));
}

/// By a thread that has kept the job's reporter: during another job, which must not get any of it.
#[test]
fn reports_after_the_end_of_a_job_are_refused() {
    let (gearmand, manager) = served("");
    let before = crate::fixture::workers(&manager);
    assert_eq!(Job::act(&gearmand, "", "keep\nsay first").result(), b"first");
    assert_eq!(Job::act(&gearmand, "", "late").result(), b"[false, false, false]");
    assert_eq!(crate::fixture::workers(&manager), before);
}
