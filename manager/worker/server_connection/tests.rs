//! Tables of the module above.

mod draining;
mod several;

use super::*;

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(10);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn registered() -> ServerConnection {
    let mut protocol = ServerConnection::greeting(ms(0));
    protocol.bytes_received(ms(1));
    protocol.receive(ServerMessage::Echo, ms(1));
    assert_eq!(protocol.receive(ServerMessage::NoJob, ms(1)), Reaction::Greeted);
    protocol.functions_registered(ms(0));
    protocol.receive(ServerMessage::Echo, ms(1));
    protocol
}

fn asleep() -> ServerConnection {
    let mut protocol = registered();
    protocol.grabs_sent(1, ms(2));
    assert_eq!(protocol.receive(ServerMessage::NoJob, ms(2)), Reaction::Sleep);
    protocol
}

/// One row for each message in each phase: what the phase becomes, and how the worker reacts.
#[test]
fn every_cell_of_the_table() {
    use JobRequest::{Asleep, Awake, Doubted, Overdue, Sent};
    use Phase::{Greeted, Greeting, Registered};
    use Reaction as R;
    use ServerMessage::{Assigned, Echo, Error, NoJob, Noop, Other};
    const LATE: ServerMessage<'_> = Error(TOO_LATE);
    const ERROR: ServerMessage<'_> = Error(b"server_error");
    let now = ms(5);
    let grabs = |count, since| OutstandingGrabs { count, since };
    let greeting = Greeting { grab_sent: ms(2) };
    let sent = grabs(1, ms(2));
    let (several, fewer) = (grabs(3, ms(2)), grabs(2, now));
    let doubted = Doubted { grabs: sent, until: ms(9) };
    let rejected = Doubted { grabs: sent, until: now + FIRST_PAUSE };
    let table = [
        (greeting, Noop, greeting, R::Unexpected),
        (greeting, NoJob, Greeted(Awake), R::Greeted),
        (greeting, Assigned, Greeted(Awake), R::Run),
        (greeting, Echo, greeting, R::Nothing),
        (greeting, LATE, Greeted(Awake), R::Greeted),
        (greeting, ERROR, Greeted(Awake), R::Greeted),
        (greeting, Other, greeting, R::Unexpected),
    ];
    let requests = [
        (Awake, Noop, Awake, R::Nothing),
        (Awake, NoJob, Awake, R::Unexpected),
        (Awake, Assigned, Awake, R::Run),
        (Awake, Echo, Awake, R::Nothing),
        (Awake, LATE, Awake, R::Superseded),
        (Awake, ERROR, Awake, R::LogError),
        (Awake, Other, Awake, R::Unexpected),
        (Asleep, Noop, Awake, R::Nothing),
        (Asleep, NoJob, Asleep, R::Unexpected),
        (Asleep, Assigned, Awake, R::Run),
        (Asleep, Echo, Asleep, R::Nothing),
        (Asleep, LATE, Asleep, R::Superseded),
        (Asleep, ERROR, Asleep, R::LogError),
        (Asleep, Other, Asleep, R::Unexpected),
        (Sent(sent), Noop, Sent(sent), R::Nothing),
        (Sent(sent), NoJob, Asleep, R::Sleep),
        (Sent(sent), Assigned, Awake, R::Run),
        (Sent(sent), Echo, Sent(sent), R::Nothing),
        (Sent(sent), LATE, Sent(sent), R::Superseded),
        (Sent(sent), ERROR, rejected, R::LogError),
        (Sent(sent), Other, Sent(sent), R::Unexpected),
        (Overdue(sent), Noop, Overdue(sent), R::Nothing),
        (Overdue(sent), NoJob, Asleep, R::Sleep),
        (Overdue(sent), Assigned, Awake, R::Run),
        // The ECHO was sent after the GRAB.
        (Overdue(sent), Echo, Awake, R::Nothing),
        (Overdue(sent), LATE, Overdue(sent), R::Superseded),
        (Overdue(sent), ERROR, rejected, R::LogError),
        (Overdue(sent), Other, Overdue(sent), R::Unexpected),
        (doubted, Noop, doubted, R::Nothing),
        (doubted, NoJob, Asleep, R::Sleep),
        (doubted, Assigned, Awake, R::Run),
        (doubted, Echo, doubted, R::Nothing),
        (doubted, LATE, doubted, R::Superseded),
        (doubted, ERROR, doubted, R::LogError),
        (doubted, Other, doubted, R::Unexpected),
        // Several are out.
        (Sent(several), Noop, Sent(several), R::Nothing),
        (Sent(several), NoJob, Sent(fewer), R::Nothing),
        (Sent(several), Assigned, Sent(fewer), R::Run),
        (Sent(several), Echo, Sent(several), R::Nothing),
        (Sent(several), LATE, Sent(several), R::Superseded),
        (Sent(several), ERROR, Doubted { grabs: several, until: now + FIRST_PAUSE }, R::LogError),
        (Overdue(several), NoJob, Sent(fewer), R::Nothing),
        (Overdue(several), Assigned, Sent(fewer), R::Run),
        (Overdue(several), Echo, Awake, R::Nothing),
        (Doubted { grabs: several, until: ms(9) }, NoJob, Doubted { grabs: fewer, until: ms(9) }, R::Nothing),
        (Doubted { grabs: several, until: ms(9) }, Assigned, Doubted { grabs: fewer, until: ms(9) }, R::Run),
    ];
    let greeted = requests.map(|(from, message, to, reaction)| (Greeted(from), message, Greeted(to), reaction));
    let registered =
        requests.map(|(from, message, to, reaction)| (Registered(from), message, Registered(to), reaction));
    for (phase, message, expected, reaction) in table.into_iter().chain(greeted).chain(registered) {
        let echoes = Some(OutstandingEchoes { oldest: ms(3), later: 0 });
        let mut protocol = ServerConnection { phase, echoes, ..ServerConnection::greeting(ms(0)) };
        let heard = protocol.receive(message, now);
        assert_eq!((protocol.phase, heard), (expected, reaction), "{phase:?} + {message:?}");
    }
}

/// Where the phase alone does not decide.
#[test]
fn what_else_decides_about_a_message() {
    let draining = |mut protocol: ServerConnection| {
        protocol.drain();
        protocol
    };
    let mut grabbing = registered();
    grabbing.grabs_sent(1, ms(2));
    let mut rejected = ServerConnection::greeting(ms(0));
    rejected.receive(ServerMessage::Error(b"server_error"), ms(1));
    for (name, mut protocol, message, reaction) in [
        ("no PRE_SLEEP while draining", draining(grabbing), ServerMessage::NoJob, Reaction::Nothing),
        ("the ERROR was not about the GRAB", rejected, ServerMessage::NoJob, Reaction::Nothing),
        ("no ECHO is out", registered(), ServerMessage::Echo, Reaction::Unexpected),
    ] {
        assert_eq!(protocol.receive(message, ms(5)), reaction, "{name}");
    }
}

#[test]
fn any_answer_to_the_greeting_counts_as_life() {
    for (answers, old) in [
        (vec![ServerMessage::Echo, ServerMessage::NoJob], false),
        (vec![ServerMessage::NoJob], false),
        (vec![ServerMessage::Echo, ServerMessage::Error(b"server_error")], true),
    ] {
        let mut protocol = ServerConnection::greeting(ms(0));
        let last = answers.iter().map(|heard| protocol.receive(*heard, ms(1))).last();
        assert_eq!(last, Some(Reaction::Greeted), "{answers:?}");
        assert!(protocol.is_greeted() && protocol.uses_old_grab() == old, "{answers:?}");
    }
}

/// The end of another connection may be seen first by a server of several threads.
#[test]
fn the_functions_are_known_once_the_server_has_answered_what_came_after_them() {
    let mut protocol = ServerConnection::greeting(ms(0));
    protocol.receive(ServerMessage::Echo, ms(1));
    protocol.receive(ServerMessage::NoJob, ms(1));
    assert!(!protocol.knows_functions());
    protocol.functions_registered(ms(2));
    assert!(!protocol.knows_functions());
    protocol.receive(ServerMessage::Echo, ms(3));
    assert!(protocol.knows_functions());
    let mut without_echo = ServerConnection::greeting(ms(0));
    without_echo.receive(ServerMessage::NoJob, ms(1));
    without_echo.functions_registered(ms(2));
    assert!(without_echo.knows_functions());
}

#[test]
fn a_server_that_does_not_answer_the_greeting_is_disconnected() {
    let mut protocol = ServerConnection::greeting(ms(0));
    assert_eq!(protocol.check_timeouts(ms(9_999), INTERVAL, TIMEOUT, true), Timeout::Nothing);
    assert_eq!(protocol.next_timeout(INTERVAL, TIMEOUT), Some(ms(10_000)));
    assert_eq!(protocol.check_timeouts(ms(10_000), INTERVAL, TIMEOUT, true), Timeout::Unresponsive);
}

/// S6, S8.
#[test]
fn messages_while_serving() {
    let job = registered();
    let mut grabbing = registered();
    grabbing.grabs_sent(1, ms(2));
    for (name, protocol, heard, next) in [
        ("a job that was asked for", &grabbing, ServerMessage::Assigned, Reaction::Run),
        ("a job that was not asked for", &job, ServerMessage::Assigned, Reaction::Run),
        ("no job", &grabbing, ServerMessage::NoJob, Reaction::Sleep),
        ("no job, not asked", &job, ServerMessage::NoJob, Reaction::Unexpected),
        ("noop while asleep", &asleep(), ServerMessage::Noop, Reaction::Nothing),
        ("noop while awake", &job, ServerMessage::Noop, Reaction::Nothing),
        ("a late result", &job, ServerMessage::Error(b"JOB_NOT_FOUND"), Reaction::Superseded),
        ("another error", &job, ServerMessage::Error(b"server_error"), Reaction::LogError),
        ("an answer to nothing", &job, ServerMessage::Echo, Reaction::Unexpected),
        ("a packet for clients", &job, ServerMessage::Other, Reaction::Unexpected),
    ] {
        assert_eq!(protocol.clone().receive(heard, ms(5)), next, "{name}");
    }
}

#[test]
fn a_sleeper_asks_only_after_a_noop() {
    let mut protocol = asleep();
    assert!(!protocol.may_grab(ms(100)));
    protocol.receive(ServerMessage::Noop, ms(100));
    assert!(protocol.may_grab(ms(100)));
}

/// S17: what else was sent may have caused an ERROR, so the answer is waited for a little; then the GRAB was refused.
#[test]
fn a_grab_that_is_refused_is_sent_again_after_a_pause() {
    let mut protocol = registered();
    let (mut now, mut pauses) = (ms(2), Vec::new());
    for refusal in 1..=9 {
        protocol.grabs_sent(1, now);
        assert_eq!(protocol.receive(ServerMessage::Error(b"server_error"), now), Reaction::LogError);
        assert!(!protocol.may_grab(now), "its answer may come yet");
        assert_eq!(protocol.awaits_job(), refusal == 1, "others do not wait again and again");
        let until = protocol.next_timeout(Duration::ZERO, TIMEOUT).unwrap();
        pauses.push((until - now).as_millis());
        assert_eq!(protocol.check_timeouts(until - ms(1), Duration::ZERO, TIMEOUT, true), Timeout::Nothing);
        assert!(!protocol.may_grab(until - ms(1)));
        assert_eq!(protocol.check_timeouts(until, Duration::ZERO, TIMEOUT, true), Timeout::Nothing);
        assert!(protocol.may_grab(until) && !protocol.uses_old_grab(), "this form has been answered before");
        now = until;
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    for answer in [ServerMessage::NoJob, ServerMessage::Assigned] {
        let mut protocol = protocol.clone();
        protocol.grabs_sent(1, now);
        protocol.receive(answer, now);
        protocol.receive(ServerMessage::Noop, now);
        protocol.grabs_sent(1, now);
        protocol.receive(ServerMessage::Error(b"server_error"), now);
        assert_eq!(protocol.next_timeout(Duration::ZERO, TIMEOUT), Some(now + ms(10)), "an answer ends the row");
    }
}

/// S17: a refused warning comes before the answer to the GRAB that was sent with it.
#[test]
fn an_error_about_something_else_leaves_the_grab_alone() {
    for (answer, next) in [(ServerMessage::Assigned, Reaction::Run), (ServerMessage::NoJob, Reaction::Sleep)] {
        let mut protocol = registered();
        protocol.grabs_sent(1, ms(2));
        protocol.receive(ServerMessage::Error(b"unknown_command"), ms(3));
        assert_eq!(protocol.receive(answer, ms(3)), next);
        assert!(!protocol.awaits_job());
    }
    let mut late = registered();
    late.grabs_sent(1, ms(2));
    assert_eq!(late.receive(ServerMessage::Error(b"JOB_NOT_FOUND"), ms(3)), Reaction::Superseded);
    assert!(late.awaits_job(), "a result came too late: that is no answer to a GRAB");
    let mut exception = registered();
    exception.exception_sent();
    exception.grabs_sent(1, ms(2));
    let refused = ServerMessage::Error(b"JOB_NOT_FOUND");
    assert_eq!(exception.receive(refused, ms(3)), Reaction::Nothing, "the failure behind it");
    assert_eq!(exception.receive(refused, ms(3)), Reaction::Superseded);
    exception.exception_sent();
    exception.receive(ServerMessage::NoJob, ms(3));
    exception.grabs_sent(1, ms(4));
    assert_eq!(exception.receive(refused, ms(5)), Reaction::Superseded, "a server that took the failure");
    let mut idle = asleep();
    assert_eq!(idle.receive(ServerMessage::Error(b"server_error"), ms(3)), Reaction::LogError);
    assert!(!idle.may_grab(ms(60_000)), "no GRAB was out");
}

/// S17: whatever came instead of an answer. What is sent after it is answered after it.
#[test]
fn a_grab_that_is_never_answered_is_sent_again() {
    let mut protocol = registered();
    protocol.receive(ServerMessage::Echo, ms(2));
    protocol.grabs_sent(1, ms(10));
    assert_eq!(protocol.receive(ServerMessage::Error(b"JOB_NOT_FOUND"), ms(11)), Reaction::Superseded);
    assert_eq!(protocol.check_timeouts(ms(1010), Duration::ZERO, TIMEOUT, true), Timeout::Echo);
    protocol.echo_sent(ms(1010));
    let mut answered = protocol.clone();
    assert_eq!(answered.receive(ServerMessage::NoJob, ms(1020)), Reaction::Sleep);
    answered.receive(ServerMessage::Echo, ms(1021));
    assert!(!answered.may_grab(ms(1021)), "it is asleep");
    protocol.receive(ServerMessage::Echo, ms(1020));
    assert!(protocol.may_grab(ms(1020)) && !protocol.uses_old_grab());
    // The answer to an ECHO that was sent before the GRAB proves nothing about the GRAB.
    let mut before = registered();
    before.receive(ServerMessage::Echo, ms(2));
    before.echo_sent(ms(5));
    before.grabs_sent(1, ms(10));
    assert_eq!(before.check_timeouts(ms(1010), Duration::ZERO, TIMEOUT, true), Timeout::Nothing);
    before.receive(ServerMessage::Echo, ms(1020));
    assert!(!before.may_grab(ms(1020)));
}

/// S17: in answer to the greeting. Which of its packets the server does not know comes out in time.
#[test]
fn the_form_of_grab_that_a_server_knows_is_found() {
    let mut protocol = ServerConnection::greeting(ms(0));
    protocol.receive(ServerMessage::Error(b"server_error"), ms(1));
    assert!(protocol.uses_old_grab());
    let mut other_packet = protocol.clone();
    other_packet.receive(ServerMessage::NoJob, ms(1));
    assert!(!other_packet.uses_old_grab(), "it was the id that it does not know");
    protocol.functions_registered(ms(2));
    for old in [false, true, false] {
        let now = ms(10_000);
        protocol.grabs_sent(1, now);
        protocol.receive(ServerMessage::Error(b"server_error"), now);
        protocol.check_timeouts(now + LONGEST_PAUSE, Duration::ZERO, TIMEOUT, true);
        assert_eq!(protocol.uses_old_grab(), old);
    }
}

/// S18: a server that took long over a result may take as long again over what came behind it.
#[test]
fn a_server_that_read_slowly_is_given_time_to_answer() {
    let mut protocol = registered();
    protocol.grabs_sent(1, ms(20_000));
    protocol.answer_took(ms(15_000));
    assert_eq!(protocol.next_timeout(INTERVAL, TIMEOUT), Some(ms(21_000)), "others wait no longer for that");
    assert_eq!(protocol.check_timeouts(ms(44_999), Duration::ZERO, TIMEOUT, false), Timeout::Echo);
    assert_eq!(protocol.check_timeouts(ms(44_999), Duration::ZERO, TIMEOUT, false), Timeout::Nothing);
    assert_eq!(protocol.check_timeouts(ms(45_000), Duration::ZERO, TIMEOUT, false), Timeout::Unresponsive);
    protocol.receive(ServerMessage::NoJob, ms(44_000));
    protocol.receive(ServerMessage::Noop, ms(50_000));
    protocol.grabs_sent(1, ms(50_000));
    protocol.check_timeouts(ms(51_000), Duration::ZERO, TIMEOUT, false);
    assert_eq!(protocol.check_timeouts(ms(60_000), Duration::ZERO, TIMEOUT, false), Timeout::Unresponsive, "once");
}

/// S8, S14: also if two wake-ups come at a time.
#[test]
fn endless_wake_ups_without_work_are_slowed_down_and_a_job_ends_that() {
    [1, 2, 100].into_iter().for_each(are_slowed_down);
}

fn are_slowed_down(at_a_time: u32) {
    let mut protocol = asleep();
    let mut now = ms(10);
    let mut pauses = Vec::new();
    for round in 0..16 {
        // The server believes in work whenever somebody falls asleep.
        let falls_asleep = protocol.grabs_with_pre_sleep();
        protocol.grabs_sent(1, now);
        if falls_asleep {
            (0..at_a_time).for_each(|_| assert_eq!(protocol.receive(ServerMessage::Noop, now), Reaction::Nothing));
        }
        if protocol.receive(ServerMessage::NoJob, now) == Reaction::Sleep {
            assert!(round <= 3, "round {round}");
            (0..at_a_time).for_each(|_| assert_eq!(protocol.receive(ServerMessage::Noop, now), Reaction::Nothing));
        }
        let pause = protocol.grab_due().unwrap().saturating_sub(now);
        pauses.push(pause.as_millis());
        now += pause;
        assert!(protocol.may_grab(now));
    }
    assert_eq!(pauses, [0, 0, 0, 0, 0, 0, 10, 20, 40, 50, 50, 50, 50, 50, 50, 50]);
    protocol.grabs_sent(1, now);
    protocol.receive(ServerMessage::Assigned, now);
    assert!(protocol.may_grab(now) && !protocol.grabs_with_pre_sleep());
}

/// S20: who is woken for each job of a stream, and comes too late for it, asks at once all the same.
#[test]
fn many_workers_woken_for_each_job_do_not_pause() {
    let mut protocol = asleep();
    let (mut now, mut twice) = (ms(10), 0);
    for round in 0..10_000 {
        now += Duration::from_micros(500);
        protocol.receive(ServerMessage::Noop, now);
        assert!(protocol.may_grab(now), "round {round}");
        protocol.grabs_sent(1, now);
        while protocol.receive(ServerMessage::NoJob, now) != Reaction::Sleep {
            assert!(protocol.grabs_with_pre_sleep() && protocol.may_grab(now), "round {round}");
            protocol.grabs_sent(1, now);
            twice += 1;
        }
    }
    assert!(twice <= 10_000 / 3, "{twice} questions more");
}

#[test]
fn nobody_waits_for_a_greeting() {
    let mut protocol = ServerConnection::greeting(ms(0));
    assert!(!protocol.awaits_job());
    assert_eq!(protocol.check_timeouts(ms(9_999), INTERVAL, TIMEOUT, false), Timeout::Nothing);
    assert_eq!(protocol.check_timeouts(ms(10_000), INTERVAL, TIMEOUT, false), Timeout::Unresponsive);
}

#[test]
fn a_grab_without_an_answer_stays_behind_then_the_server_is_lost() {
    let mut protocol = registered();
    protocol.grabs_sent(1, ms(100));
    assert!(protocol.awaits_job());
    assert_eq!(protocol.check_timeouts(ms(1_100), INTERVAL, TIMEOUT, false), Timeout::Echo);
    protocol.echo_sent(ms(1_100));
    assert!(!protocol.awaits_job());
    assert_eq!(protocol.check_timeouts(ms(11_099), INTERVAL, TIMEOUT, false), Timeout::Nothing);
    assert_eq!(protocol.check_timeouts(ms(11_100), INTERVAL, TIMEOUT, false), Timeout::Unresponsive);
    protocol.bytes_received(ms(11_100));
    assert_eq!(protocol.receive(ServerMessage::Assigned, ms(11_100)), Reaction::Run, "a late job is run all the same");
}

#[test]
fn time_spent_in_a_job_is_not_held_against_a_server() {
    let mut protocol = registered();
    protocol.echo_sent(ms(100));
    protocol.forgive_silence(ms(60_000));
    assert_eq!(protocol.check_timeouts(ms(60_001), INTERVAL, TIMEOUT, false), Timeout::Nothing);
    assert_eq!(protocol.check_timeouts(ms(70_000), INTERVAL, TIMEOUT, false), Timeout::Unresponsive);
}

#[test]
fn a_sleeper_proves_the_line_and_asks_again_now_and_then() {
    let mut protocol = asleep();
    assert_eq!(protocol.next_timeout(INTERVAL, TIMEOUT), Some(ms(30_000)));
    assert_eq!(protocol.check_timeouts(ms(30_000), INTERVAL, TIMEOUT, true), Timeout::Echo);
    assert!(protocol.may_grab(ms(30_000)));
    let mut silent = asleep();
    assert_eq!(silent.next_timeout(Duration::ZERO, TIMEOUT), None, "with an interval of 0 nothing wakes up");
    assert_eq!(silent.check_timeouts(ms(99_999_999), Duration::ZERO, TIMEOUT, true), Timeout::Nothing);
}

/// S23: a job that comes when a sleeper asks by itself is one for which the server has woken nobody.
#[test]
fn a_job_for_which_nobody_was_woken_is_told_from_one_that_comes_after_noop() {
    use ServerMessage::{Assigned, NoJob, Noop};
    let (run, lost) = (Some(Reaction::Run), Some(Reaction::RunUnwoken));
    for (name, before_grab, after_grab, last) in [
        ("it had sent no NOOP", &[][..], &[][..], lost),
        ("NOOP crossed the GRAB", &[], &[Noop], run),
        ("NOOP came before the GRAB went out", &[Noop], &[], run),
        ("the queue was empty, and the worker slept again", &[], &[NoJob, Noop], run),
    ] {
        let mut protocol = asleep();
        assert_eq!(protocol.check_timeouts(ms(30_000), INTERVAL, TIMEOUT, true), Timeout::Echo);
        let take = |protocol: &mut ServerConnection, messages: &[ServerMessage<'static>]| {
            for message in messages {
                let _ = protocol.receive(*message, ms(30_001));
            }
        };
        take(&mut protocol, before_grab);
        protocol.grabs_sent(1, ms(30_000));
        take(&mut protocol, after_grab);
        assert_eq!(Some(protocol.receive(Assigned, ms(30_002))), last, "{name}");
        protocol.grabs_sent(1, ms(30_003));
        assert_eq!(Some(protocol.receive(Assigned, ms(30_004))), run, "the next job: {name}");
    }
}

/// S16: who owes an answer and sends a large packet first is alive as long as it does, and mute when it stops.
#[test]
fn bytes_that_come_are_life_until_they_stop() {
    let silence = |protocol: &mut ServerConnection, from: Duration| {
        assert_eq!(protocol.check_timeouts(from + TIMEOUT - ms(1), INTERVAL, TIMEOUT, false), Timeout::Nothing);
        assert_eq!(protocol.check_timeouts(from + TIMEOUT, INTERVAL, TIMEOUT, false), Timeout::Unresponsive);
    };
    let mut greeting = ServerConnection::greeting(ms(0));
    let mut asked = registered();
    asked.grabs_sent(1, ms(100));
    assert_eq!(asked.check_timeouts(ms(1_100), INTERVAL, TIMEOUT, false), Timeout::Echo);
    asked.echo_sent(ms(1_100));
    for protocol in [&mut greeting, &mut asked] {
        let mut last = ms(1_100);
        for _ in 0..10 {
            last += TIMEOUT - ms(1);
            protocol.bytes_received(last);
            assert_eq!(protocol.check_timeouts(last, INTERVAL, TIMEOUT, false), Timeout::Nothing);
        }
        silence(protocol, last);
    }
    let mut without_echo = ServerConnection::greeting(ms(0));
    without_echo.receive(ServerMessage::NoJob, ms(1));
    without_echo.functions_registered(ms(2));
    without_echo.grabs_sent(1, ms(100));
    without_echo.check_timeouts(ms(1_100), INTERVAL, TIMEOUT, false);
    without_echo.bytes_received(ms(5_000));
    silence(&mut without_echo, ms(5_000));
}
