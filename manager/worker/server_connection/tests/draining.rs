//! The end of a connection: every result is confirmed, and no job is lost.

use super::*;

/// S17: a stop does not wait for what will not come.
#[test]
fn a_refused_grab_does_not_hold_up_a_drain() {
    for last in [false, true] {
        let mut protocol = asleep();
        if last {
            protocol.drain();
            assert_eq!(protocol.drain_step(), DrainStep::Grab);
        }
        protocol.grabs_sent(1, ms(50));
        protocol.receive(ServerMessage::Error(b"server_error"), ms(51));
        protocol.drain();
        assert_eq!(protocol.drain_step(), DrainStep::Echo);
        protocol.last_echo_sent(ms(52));
        protocol.receive(ServerMessage::Echo, ms(53));
        assert_eq!(protocol.drain_step(), DrainStep::Done);
    }
    let mut without_echo = ServerConnection::greeting(ms(0));
    without_echo.receive(ServerMessage::NoJob, ms(1));
    without_echo.functions_registered(ms(2));
    without_echo.grabs_sent(1, ms(3));
    without_echo.receive(ServerMessage::Error(b"server_error"), ms(4));
    without_echo.drain();
    assert_eq!(without_echo.drain_step(), DrainStep::Wait, "a job may come, and nothing would show that none does");
    assert_eq!(without_echo.next_timeout(Duration::ZERO, TIMEOUT), Some(ms(14)));
    without_echo.check_timeouts(ms(14), Duration::ZERO, TIMEOUT, false);
    assert_eq!(without_echo.drain_step(), DrainStep::Done);
}

#[test]
fn a_drain_walks_to_its_end() {
    let mut asks_first = asleep();
    asks_first.drain();
    assert_eq!(asks_first.drain_step(), DrainStep::Grab);
    asks_first.grabs_sent(1, ms(50));
    assert_eq!(asks_first.drain_step(), DrainStep::Wait);
    assert_eq!(asks_first.receive(ServerMessage::NoJob, ms(51)), Reaction::Nothing, "no PRE_SLEEP any more");
    assert_eq!(asks_first.drain_step(), DrainStep::Echo);
    asks_first.last_echo_sent(ms(52));
    assert_eq!(asks_first.drain_step(), DrainStep::Wait);
    asks_first.receive(ServerMessage::Echo, ms(53));
    assert_eq!(asks_first.drain_step(), DrainStep::Done);
}

#[test]
fn a_drain_from_every_other_state() {
    let mut busy = registered();
    busy.grabs_sent(1, ms(2));
    let mut woken = asleep();
    woken.receive(ServerMessage::Noop, ms(3));
    for (name, mut protocol, first) in [
        ("GRAB out", busy, DrainStep::Wait),
        ("woken and not asked yet", woken, DrainStep::Grab),
        ("a job just done", registered(), DrainStep::Echo),
        ("never greeted", ServerConnection::greeting(ms(0)), DrainStep::Done),
    ] {
        protocol.drain();
        assert_eq!(protocol.drain_step(), first, "{name}");
    }
}

#[test]
fn an_older_echo_is_not_taken_for_the_last_one() {
    let mut protocol = registered();
    protocol.echo_sent(ms(10));
    protocol.drain();
    protocol.last_echo_sent(ms(11));
    protocol.receive(ServerMessage::Echo, ms(12));
    assert_eq!(protocol.drain_step(), DrainStep::Wait);
    protocol.receive(ServerMessage::Echo, ms(13));
    assert_eq!(protocol.drain_step(), DrainStep::Done);
}

#[test]
fn a_job_after_the_last_echo_asks_for_another() {
    let mut protocol = registered();
    protocol.drain();
    protocol.last_echo_sent(ms(11));
    assert_eq!(protocol.receive(ServerMessage::Assigned, ms(12)), Reaction::Run);
    protocol.answer_sent();
    assert_eq!(protocol.drain_step(), DrainStep::Echo);
}

/// Several GRABs are out: each is answered before the last ECHO, and what comes is run.
#[test]
fn a_drain_waits_for_the_answer_to_every_grab() {
    let mut protocol = registered();
    protocol.grabs_sent(3, ms(2));
    protocol.drain();
    for (answer, reaction) in [
        (ServerMessage::Assigned, Reaction::Run),
        (ServerMessage::NoJob, Reaction::Nothing),
        (ServerMessage::Assigned, Reaction::Run),
    ] {
        assert_eq!(protocol.drain_step(), DrainStep::Wait);
        assert_eq!(protocol.receive(answer, ms(3)), reaction);
        protocol.answer_sent();
    }
    assert_eq!(protocol.drain_step(), DrainStep::Echo);
}
