//! Several GRABs out at a time.

use super::*;

fn with_jobs(jobs: u32) -> ServerConnection {
    let mut protocol = registered();
    for _ in 0..jobs {
        protocol.grabs_sent(1, ms(2));
        protocol.receive(ServerMessage::Assigned, ms(2));
    }
    protocol
}

#[test]
fn a_server_that_has_jobs_may_have_more_grabs() {
    let mut protocol = with_jobs(3);
    assert_eq!((protocol.window(), protocol.grabs_out()), (8, 0));
    protocol.grabs_sent(8, ms(3));
    assert_eq!(protocol.grabs_out(), 8);
    protocol.receive(ServerMessage::Assigned, ms(4));
    protocol.grabs_sent(1, ms(4));
    assert_eq!((protocol.window(), protocol.grabs_out()), (16, 8));
    protocol.receive(ServerMessage::NoJob, ms(5));
    assert_eq!((protocol.window(), protocol.grabs_out()), (1, 7));
}

/// Another server fails the jobs that a dead worker had in hand.
#[test]
fn only_gearmand_may_have_more_than_one_grab() {
    let old = ServerConnection { grab_form: GrabForm::Old, ..with_jobs(3) };
    let without_echo = ServerConnection { answers_echo: false, ..with_jobs(3) };
    assert_eq!([with_jobs(3), old, without_echo].map(|protocol| protocol.window()), [8, 1, 1]);
}

/// PRE_SLEEP is for a worker that has nothing: neither a job in hand, nor one that may come yet.
#[test]
fn a_worker_sleeps_when_the_last_grab_is_answered() {
    let mut protocol = registered();
    protocol.grabs_sent(3, ms(2));
    assert_eq!(protocol.receive(ServerMessage::NoJob, ms(3)), Reaction::Nothing);
    assert_eq!(protocol.receive(ServerMessage::Assigned, ms(3)), Reaction::Run);
    assert!(!protocol.may_grab(ms(3)) && protocol.awaits_job());
    assert_eq!(protocol.receive(ServerMessage::NoJob, ms(3)), Reaction::Sleep);
    assert!(!protocol.awaits_job());
}

/// Each answer is a sign of life: what is still out is late only when nothing comes for a while.
#[test]
fn the_time_for_an_answer_begins_with_the_answer_before() {
    let mut protocol = registered();
    protocol.grabs_sent(2, ms(100));
    protocol.receive(ServerMessage::Assigned, ms(1_000));
    assert_eq!(protocol.check_timeouts(ms(1_999), Duration::ZERO, TIMEOUT, false), Timeout::Nothing);
    assert!(protocol.awaits_job());
    assert_eq!(protocol.check_timeouts(ms(2_000), Duration::ZERO, TIMEOUT, false), Timeout::Echo);
    assert_eq!((protocol.awaits_job(), protocol.grabs_out()), (false, 0), "others do not wait for it");
}
