//! Tables of the module above.

use super::*;

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(10);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn registered() -> Talk {
    let mut talk = Talk::greeting(ms(0));
    talk.heard_something(ms(1));
    talk.hear(Heard::Echo, ms(1));
    assert_eq!(talk.hear(Heard::NoJob, ms(1)), Next::Greeted);
    talk.registered(ms(0));
    talk.hear(Heard::Echo, ms(1));
    talk
}

fn asleep() -> Talk {
    let mut talk = registered();
    talk.asked(ms(2));
    assert_eq!(talk.hear(Heard::NoJob, ms(2)), Next::Sleep);
    talk
}

#[test]
fn any_answer_to_the_greeting_counts_as_life() {
    for (answers, old) in [
        (vec![Heard::Echo, Heard::NoJob], false),
        (vec![Heard::NoJob], false),
        (vec![Heard::Echo, Heard::Error(b"server_error")], true),
    ] {
        let mut talk = Talk::greeting(ms(0));
        let last = answers.iter().map(|heard| talk.hear(*heard, ms(1))).last();
        assert_eq!(last, Some(Next::Greeted), "{answers:?}");
        assert!(talk.is_greeted() && talk.uses_old_grab() == old, "{answers:?}");
    }
}

/// The end of another connection may be seen first by a server of several threads.
#[test]
fn the_functions_are_known_once_the_server_has_answered_what_came_after_them() {
    let mut talk = Talk::greeting(ms(0));
    talk.hear(Heard::Echo, ms(1));
    talk.hear(Heard::NoJob, ms(1));
    assert!(!talk.is_known());
    talk.registered(ms(2));
    assert!(!talk.is_known());
    talk.hear(Heard::Echo, ms(3));
    assert!(talk.is_known());
    let mut without_echo = Talk::greeting(ms(0));
    without_echo.hear(Heard::NoJob, ms(1));
    without_echo.registered(ms(2));
    assert!(without_echo.is_known());
}

#[test]
fn a_server_mute_to_the_greeting_is_lost() {
    let mut talk = Talk::greeting(ms(0));
    assert_eq!(talk.due(ms(9_999), INTERVAL, TIMEOUT, true), Due::Nothing);
    assert_eq!(talk.next_due(INTERVAL, TIMEOUT), Some(ms(10_000)));
    assert_eq!(talk.due(ms(10_000), INTERVAL, TIMEOUT, true), Due::Lost);
}

/// S6, S8.
#[test]
fn what_is_heard_while_serving() {
    let job = registered();
    let mut grabbing = registered();
    grabbing.asked(ms(2));
    for (name, talk, heard, next) in [
        ("a job that was asked for", &grabbing, Heard::Assigned, Next::Run),
        ("a job that was not asked for", &job, Heard::Assigned, Next::Run),
        ("no job", &grabbing, Heard::NoJob, Next::Sleep),
        ("no job, not asked", &job, Heard::NoJob, Next::Nothing),
        ("noop while asleep", &asleep(), Heard::Noop, Next::Nothing),
        ("noop while awake", &job, Heard::Noop, Next::Nothing),
        ("a late result", &job, Heard::Error(b"JOB_NOT_FOUND"), Next::Superseded),
        ("another error", &job, Heard::Error(b"server_error"), Next::Complain),
        ("an answer to nothing", &job, Heard::Echo, Next::Nothing),
        ("a packet for clients", &job, Heard::Other, Next::Nothing),
    ] {
        assert_eq!(talk.clone().hear(heard, ms(5)), next, "{name}");
    }
}

#[test]
fn a_sleeper_asks_only_after_a_noop() {
    let mut talk = asleep();
    assert!(!talk.may_ask(ms(100)));
    talk.hear(Heard::Noop, ms(100));
    assert!(talk.may_ask(ms(100)));
}

/// S17: what else was sent may have caused an ERROR, so the answer is waited for a little; then the GRAB was refused.
#[test]
fn a_grab_that_is_refused_is_sent_again_after_a_pause() {
    let mut talk = registered();
    let (mut now, mut pauses) = (ms(2), Vec::new());
    for refusal in 1..=9 {
        talk.asked(now);
        assert_eq!(talk.hear(Heard::Error(b"server_error"), now), Next::Complain);
        assert!(!talk.may_ask(now), "its answer may come yet");
        assert_eq!(talk.is_awaited(), refusal == 1, "others do not wait again and again");
        let until = talk.next_due(Duration::ZERO, TIMEOUT).unwrap();
        pauses.push((until - now).as_millis());
        assert_eq!(talk.due(until - ms(1), Duration::ZERO, TIMEOUT, true), Due::Nothing);
        assert!(!talk.may_ask(until - ms(1)));
        assert_eq!(talk.due(until, Duration::ZERO, TIMEOUT, true), Due::Nothing);
        assert!(talk.may_ask(until) && !talk.uses_old_grab(), "this form has been answered before");
        now = until;
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    for answer in [Heard::NoJob, Heard::Assigned] {
        let mut talk = talk.clone();
        talk.asked(now);
        talk.hear(answer, now);
        talk.hear(Heard::Noop, now);
        talk.asked(now);
        talk.hear(Heard::Error(b"server_error"), now);
        assert_eq!(talk.next_due(Duration::ZERO, TIMEOUT), Some(now + ms(10)), "an answer ends the row");
    }
}

/// S17: a refused warning comes before the answer to the GRAB that was sent with it.
#[test]
fn an_error_about_something_else_leaves_the_grab_alone() {
    for (answer, next) in [(Heard::Assigned, Next::Run), (Heard::NoJob, Next::Sleep)] {
        let mut talk = registered();
        talk.asked(ms(2));
        talk.hear(Heard::Error(b"unknown_command"), ms(3));
        assert_eq!(talk.hear(answer, ms(3)), next);
        assert!(!talk.is_awaited());
    }
    let mut late = registered();
    late.asked(ms(2));
    assert_eq!(late.hear(Heard::Error(b"JOB_NOT_FOUND"), ms(3)), Next::Superseded);
    assert!(late.is_awaited(), "a result came too late: that is no answer to a GRAB");
    let mut idle = asleep();
    assert_eq!(idle.hear(Heard::Error(b"server_error"), ms(3)), Next::Complain);
    assert!(!idle.may_ask(ms(60_000)), "no GRAB was out");
}

/// S17: whatever was said instead of an answer. What is sent behind it is answered behind it.
#[test]
fn a_grab_that_is_never_answered_is_sent_again() {
    let mut talk = registered();
    talk.hear(Heard::Echo, ms(2));
    talk.asked(ms(10));
    assert_eq!(talk.hear(Heard::Error(b"JOB_NOT_FOUND"), ms(11)), Next::Superseded);
    assert_eq!(talk.due(ms(1010), Duration::ZERO, TIMEOUT, true), Due::Echo);
    talk.echo_sent(ms(1010));
    let mut answered = talk.clone();
    assert_eq!(answered.hear(Heard::NoJob, ms(1020)), Next::Sleep);
    answered.hear(Heard::Echo, ms(1021));
    assert!(!answered.may_ask(ms(1021)), "it is asleep");
    talk.hear(Heard::Echo, ms(1020));
    assert!(talk.may_ask(ms(1020)) && !talk.uses_old_grab());
    // An ECHO that was sent before the GRAB says nothing of it.
    let mut before = registered();
    before.hear(Heard::Echo, ms(2));
    before.echo_sent(ms(5));
    before.asked(ms(10));
    assert_eq!(before.due(ms(1010), Duration::ZERO, TIMEOUT, true), Due::Nothing);
    before.hear(Heard::Echo, ms(1020));
    assert!(!before.may_ask(ms(1020)));
}

/// S17: in answer to the greeting. Which of its packets the server does not know comes out in time.
#[test]
fn the_form_of_grab_that_a_server_knows_is_found() {
    let mut talk = Talk::greeting(ms(0));
    talk.hear(Heard::Error(b"server_error"), ms(1));
    assert!(talk.uses_old_grab());
    let mut other_packet = talk.clone();
    other_packet.hear(Heard::NoJob, ms(1));
    assert!(!other_packet.uses_old_grab(), "it was the id that it does not know");
    talk.registered(ms(2));
    for old in [false, true, false] {
        let now = ms(10_000);
        talk.asked(now);
        talk.hear(Heard::Error(b"server_error"), now);
        talk.due(now + LONGEST_PAUSE, Duration::ZERO, TIMEOUT, true);
        assert_eq!(talk.uses_old_grab(), old);
    }
}

/// S17: a stop does not wait for what will not come.
#[test]
fn a_refused_grab_does_not_hold_up_a_leave() {
    for last in [false, true] {
        let mut talk = asleep();
        if last {
            talk.leave();
            assert_eq!(talk.farewell(), Farewell::Ask);
        }
        talk.asked(ms(50));
        talk.hear(Heard::Error(b"server_error"), ms(51));
        talk.leave();
        assert_eq!(talk.farewell(), Farewell::Echo);
        talk.said_farewell(ms(52));
        talk.hear(Heard::Echo, ms(53));
        assert_eq!(talk.farewell(), Farewell::Done);
    }
    let mut without_echo = Talk::greeting(ms(0));
    without_echo.hear(Heard::NoJob, ms(1));
    without_echo.registered(ms(2));
    without_echo.asked(ms(3));
    without_echo.hear(Heard::Error(b"server_error"), ms(4));
    without_echo.leave();
    assert_eq!(without_echo.farewell(), Farewell::Wait, "a job may come, and nothing would tell that none does");
    assert_eq!(without_echo.next_due(Duration::ZERO, TIMEOUT), Some(ms(14)));
    without_echo.due(ms(14), Duration::ZERO, TIMEOUT, false);
    assert_eq!(without_echo.farewell(), Farewell::Done);
}

/// S18: a server that took long over a result may take as long again over what came behind it.
#[test]
fn who_was_slow_to_take_is_given_time_to_answer() {
    let mut talk = registered();
    talk.asked(ms(20_000));
    talk.was_slow(ms(15_000));
    assert_eq!(talk.next_due(INTERVAL, TIMEOUT), Some(ms(21_000)), "others wait no longer for that");
    assert_eq!(talk.due(ms(44_999), Duration::ZERO, TIMEOUT, false), Due::Echo);
    assert_eq!(talk.due(ms(44_999), Duration::ZERO, TIMEOUT, false), Due::Nothing);
    assert_eq!(talk.due(ms(45_000), Duration::ZERO, TIMEOUT, false), Due::Lost);
    talk.hear(Heard::NoJob, ms(44_000));
    talk.hear(Heard::Noop, ms(50_000));
    talk.asked(ms(50_000));
    talk.due(ms(51_000), Duration::ZERO, TIMEOUT, false);
    assert_eq!(talk.due(ms(60_000), Duration::ZERO, TIMEOUT, false), Due::Lost, "once");
}

/// S8, S14: also where two wake-ups come at a time.
#[test]
fn endless_wake_ups_without_work_are_slowed_down_and_a_job_ends_that() {
    [1, 2, 100].into_iter().for_each(are_slowed_down);
}

fn are_slowed_down(at_a_time: u32) {
    let mut talk = asleep();
    let mut now = ms(10);
    let mut pauses = Vec::new();
    for round in 0..16 {
        // The server believes in work whenever somebody falls asleep.
        let falls_asleep = talk.asks_twice();
        talk.asked(now);
        if falls_asleep {
            (0..at_a_time).for_each(|_| assert_eq!(talk.hear(Heard::Noop, now), Next::Nothing));
        }
        if talk.hear(Heard::NoJob, now) == Next::Sleep {
            assert!(round <= 3, "round {round}");
            (0..at_a_time).for_each(|_| assert_eq!(talk.hear(Heard::Noop, now), Next::Nothing));
        }
        let pause = talk.ask_due().unwrap().saturating_sub(now);
        pauses.push(pause.as_millis());
        now += pause;
        assert!(talk.may_ask(now));
    }
    assert_eq!(pauses, [0, 0, 0, 0, 0, 0, 10, 20, 40, 50, 50, 50, 50, 50, 50, 50]);
    talk.asked(now);
    talk.hear(Heard::Assigned, now);
    assert!(talk.may_ask(now) && !talk.asks_twice());
}

/// S20: who is woken for each job of a stream, and comes too late for it, asks at once all the same.
#[test]
fn a_crowd_that_is_woken_for_each_job_does_not_pause() {
    let mut talk = asleep();
    let (mut now, mut twice) = (ms(10), 0);
    for round in 0..10_000 {
        now += Duration::from_micros(500);
        talk.hear(Heard::Noop, now);
        assert!(talk.may_ask(now), "round {round}");
        talk.asked(now);
        while talk.hear(Heard::NoJob, now) != Next::Sleep {
            assert!(talk.asks_twice() && talk.may_ask(now), "round {round}");
            talk.asked(now);
            twice += 1;
        }
    }
    assert!(twice <= 10_000 / 3, "{twice} questions more");
}

#[test]
fn nobody_waits_for_a_greeting() {
    let mut talk = Talk::greeting(ms(0));
    assert!(!talk.is_awaited());
    assert_eq!(talk.due(ms(9_999), INTERVAL, TIMEOUT, false), Due::Nothing);
    assert_eq!(talk.due(ms(10_000), INTERVAL, TIMEOUT, false), Due::Lost);
}

#[test]
fn a_grab_without_an_answer_stays_behind_then_the_server_is_lost() {
    let mut talk = registered();
    talk.asked(ms(100));
    assert!(talk.is_awaited());
    assert_eq!(talk.due(ms(1_100), INTERVAL, TIMEOUT, false), Due::Echo);
    talk.echo_sent(ms(1_100));
    assert!(!talk.is_awaited());
    assert_eq!(talk.due(ms(11_099), INTERVAL, TIMEOUT, false), Due::Nothing);
    assert_eq!(talk.due(ms(11_100), INTERVAL, TIMEOUT, false), Due::Lost);
    talk.heard_something(ms(11_100));
    assert_eq!(talk.hear(Heard::Assigned, ms(11_100)), Next::Run, "a late job is run all the same");
}

#[test]
fn time_spent_in_a_job_is_not_held_against_a_server() {
    let mut talk = registered();
    talk.echo_sent(ms(100));
    talk.was_busy(ms(60_000));
    assert_eq!(talk.due(ms(60_001), INTERVAL, TIMEOUT, false), Due::Nothing);
    assert_eq!(talk.due(ms(70_000), INTERVAL, TIMEOUT, false), Due::Lost);
}

#[test]
fn a_sleeper_proves_the_line_and_asks_again_now_and_then() {
    let mut talk = asleep();
    assert_eq!(talk.next_due(INTERVAL, TIMEOUT), Some(ms(30_000)));
    assert_eq!(talk.due(ms(30_000), INTERVAL, TIMEOUT, true), Due::Echo);
    assert!(talk.may_ask(ms(30_000)));
    let mut silent = asleep();
    assert_eq!(silent.next_due(Duration::ZERO, TIMEOUT), None, "with an interval of 0 nothing wakes up");
    assert_eq!(silent.due(ms(99_999_999), Duration::ZERO, TIMEOUT, true), Due::Nothing);
}

#[test]
fn leaving_walks_to_its_end() {
    let mut asks_first = asleep();
    asks_first.leave();
    assert_eq!(asks_first.farewell(), Farewell::Ask);
    asks_first.asked(ms(50));
    assert_eq!(asks_first.farewell(), Farewell::Wait);
    assert_eq!(asks_first.hear(Heard::NoJob, ms(51)), Next::Nothing, "no PRE_SLEEP any more");
    assert_eq!(asks_first.farewell(), Farewell::Echo);
    asks_first.said_farewell(ms(52));
    assert_eq!(asks_first.farewell(), Farewell::Wait);
    asks_first.hear(Heard::Echo, ms(53));
    assert_eq!(asks_first.farewell(), Farewell::Done);
}

#[test]
fn leaving_from_every_other_state() {
    let mut busy = registered();
    busy.asked(ms(2));
    let mut woken = asleep();
    woken.hear(Heard::Noop, ms(3));
    for (name, mut talk, first) in [
        ("GRAB out", busy, Farewell::Wait),
        ("woken and not asked yet", woken, Farewell::Ask),
        ("a job just done", registered(), Farewell::Echo),
        ("never greeted", Talk::greeting(ms(0)), Farewell::Done),
    ] {
        talk.leave();
        assert_eq!(talk.farewell(), first, "{name}");
    }
}

#[test]
fn an_older_echo_is_not_taken_for_the_last_one() {
    let mut talk = registered();
    talk.echo_sent(ms(10));
    talk.leave();
    talk.said_farewell(ms(11));
    talk.hear(Heard::Echo, ms(12));
    assert_eq!(talk.farewell(), Farewell::Wait);
    talk.hear(Heard::Echo, ms(13));
    assert_eq!(talk.farewell(), Farewell::Done);
}

#[test]
fn a_job_after_the_last_echo_asks_for_another() {
    let mut talk = registered();
    talk.leave();
    talk.said_farewell(ms(11));
    assert_eq!(talk.hear(Heard::Assigned, ms(12)), Next::Run);
    talk.farewell_again();
    assert_eq!(talk.farewell(), Farewell::Echo);
}

/// S16: who owes an answer and sends a large packet first is alive as long as it does, and mute when it stops.
#[test]
fn bytes_that_come_are_life_until_they_stop() {
    let silence = |talk: &mut Talk, from: Duration| {
        assert_eq!(talk.due(from + TIMEOUT - ms(1), INTERVAL, TIMEOUT, false), Due::Nothing);
        assert_eq!(talk.due(from + TIMEOUT, INTERVAL, TIMEOUT, false), Due::Lost);
    };
    let mut greeting = Talk::greeting(ms(0));
    let mut asked = registered();
    asked.asked(ms(100));
    assert_eq!(asked.due(ms(1_100), INTERVAL, TIMEOUT, false), Due::Echo);
    asked.echo_sent(ms(1_100));
    for talk in [&mut greeting, &mut asked] {
        let mut last = ms(1_100);
        for _ in 0..10 {
            last += TIMEOUT - ms(1);
            talk.heard_something(last);
            assert_eq!(talk.due(last, INTERVAL, TIMEOUT, false), Due::Nothing);
        }
        silence(talk, last);
    }
    let mut without_echo = Talk::greeting(ms(0));
    without_echo.hear(Heard::NoJob, ms(1));
    without_echo.registered(ms(2));
    without_echo.asked(ms(100));
    without_echo.due(ms(1_100), INTERVAL, TIMEOUT, false);
    without_echo.heard_something(ms(5_000));
    silence(&mut without_echo, ms(5_000));
}
