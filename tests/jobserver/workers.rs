//! How workers are given jobs, and what happens when they disconnect.

use gm_native::gearman::packet::{PacketType, encode};

use crate::peer::{BACKGROUND, FOREGROUND};

const LATE: &str = r"ERROR JOB_NOT_FOUND\x00Job given in work result not found";

on_both! {
    fn the_three_ways_to_ask_for_a_job(server) {
        let (mut client, mut worker) = (server.peer(), server.worker(&["f"]));
        for _ in 0..3 {
            client.submit(BACKGROUND, "f", "", b"w");
        }
        client.packet(PacketType::SubmitReduceJobBackground, &[b"f", b"u", b"reducer", b"", b"w"]);
        assert_eq!(client.next(), "JOB_CREATED #4");
        worker.send(&encode::GRAB_JOB);
        assert_eq!(worker.next(), r"JOB_ASSIGN #1\x00f\x00w");
        worker.send(&encode::GRAB_JOB_UNIQ);
        assert_eq!(worker.next(), r"JOB_ASSIGN_UNIQ #2\x00f\x00\x00w");
        worker.packet(PacketType::GrabJobAll, &[]);
        assert_eq!(worker.next(), r"JOB_ASSIGN_UNIQ #3\x00f\x00\x00w");
        worker.packet(PacketType::GrabJobAll, &[]);
        assert_eq!(worker.next(), r"JOB_ASSIGN_ALL #4\x00f\x00u\x00reducer\x00w");
        for kind in [PacketType::GrabJob, PacketType::GrabJobUniq, PacketType::GrabJobAll] {
            worker.packet(kind, &[]);
            assert_eq!(worker.next(), "NO_JOB");
        }
    }

    fn the_function_offered_last_is_served_first(server) {
        let (mut client, mut worker) = (server.peer(), server.worker(&["a", "b"]));
        for function in ["a", "b", "a", "b"] {
            client.submit(BACKGROUND, function, "", b"");
        }
        let order: Vec<String> = (0..4).map(|_| worker.grab()).collect();
        let wanted = [2, 4, 1, 3].map(|number| {
            let function = if number % 2 == 0 { "b" } else { "a" };
            format!(r"JOB_ASSIGN_UNIQ #{number}\x00{function}\x00\x00")
        });
        assert_eq!(order, wanted);
    }

    fn only_what_was_offered_is_given(server) {
        let (mut client, mut worker) = (server.peer(), server.worker(&["f"]));
        client.submit(BACKGROUND, "g", "", b"");
        assert_eq!(worker.grab(), "NO_JOB");
        worker.sleep();
        worker.packet(PacketType::CanDoTimeout, &[b"g", b"60"]);
        assert_eq!(worker.grab(), r"JOB_ASSIGN_UNIQ #1\x00g\x00\x00");
        worker.work(PacketType::WorkComplete, "#1", &[b""]);
        worker.encode(|buf| encode::cant_do(buf, b"g"));
        client.submit(BACKGROUND, "g", "", b"");
        assert_eq!(worker.grab(), "NO_JOB");
    }

    fn a_sleeper_is_woken_once(server) {
        let (mut client, mut worker) = (server.peer(), server.worker(&["f", "g"]));
        client.submit(BACKGROUND, "f", "", b"");
        worker.quiet();
        assert_eq!(worker.grab(), r"JOB_ASSIGN_UNIQ #1\x00f\x00\x00");
        assert_eq!(worker.grab(), "NO_JOB");
        worker.sleep();
        client.submit(BACKGROUND, "other", "", b"");
        worker.quiet();
        client.submit(BACKGROUND, "f", "", b"");
        assert_eq!(worker.next(), "NOOP");
        client.submit(BACKGROUND, "g", "", b"");
        worker.quiet();
        // A worker that sleeps while there is a job gets a NOOP each time.
        for _ in 0..2 {
            worker.send(&encode::PRE_SLEEP);
            assert_eq!(worker.next(), "NOOP");
        }
        // One that was woken and does not ask is not woken again.
        let mut asks = server.worker(&["f", "g"]);
        asks.grab();
        asks.grab();
        worker.sleep();
        client.submit(BACKGROUND, "f", "", b"");
        worker.quiet();
        assert_eq!(worker.grab(), r"JOB_ASSIGN_UNIQ #5\x00f\x00\x00");
    }

    fn all_sleepers_are_woken(server) {
        let mut workers = [server.worker(&["f"]), server.worker(&["f"]), server.worker(&["f"])];
        workers.iter_mut().for_each(|worker| worker.sleep());
        server.peer().submit(BACKGROUND, "f", "", b"");
        for worker in &mut workers {
            assert_eq!(worker.next(), "NOOP");
        }
        assert_eq!(workers[2].grab(), r"JOB_ASSIGN_UNIQ #1\x00f\x00\x00");
        assert_eq!(workers[0].grab(), "NO_JOB");
    }

    fn the_jobs_of_a_lost_worker_are_queued_again(server) {
        let (mut client, mut lost, mut sleeper) = (server.peer(), server.worker(&["f"]), server.worker(&["f"]));
        for number in 0..4 {
            client.submit(if number == 0 { FOREGROUND } else { BACKGROUND }, "f", "", b"");
        }
        for number in 1..4 {
            assert_eq!(lost.grab(), format!(r"JOB_ASSIGN_UNIQ #{number}\x00f\x00\x00"));
        }
        lost.work(PacketType::WorkStatus, "#1", &[b"1", b"2"]);
        assert_eq!(client.next(), r"WORK_STATUS #1\x001\x002");
        sleeper.grab();
        sleeper.sleep();
        drop(lost);
        assert_eq!(sleeper.next(), "NOOP");
        // Behind the others, the last one first.
        for number in [3, 2, 1] {
            assert_eq!(sleeper.grab(), format!(r"JOB_ASSIGN_UNIQ #{number}\x00f\x00\x00"));
        }
        client.encode(|buf| encode::get_status(buf, crate::peer::real("#1").as_bytes()));
        assert_eq!(client.next(), r"STATUS_RES #1\x001\x001\x000\x000");
        sleeper.work(PacketType::WorkComplete, "#1", &[b"r"]);
        assert_eq!(client.next(), r"WORK_COMPLETE #1\x00r");
    }

    fn a_worker_that_says_no_more_is_lost(server) {
        let (mut client, mut lost, mut sleeper) = (server.peer(), server.worker(&["f"]), server.worker(&["f"]));
        sleeper.sleep();
        client.submit(FOREGROUND, "f", "", b"");
        assert_eq!(sleeper.next(), "NOOP");
        lost.grab();
        sleeper.grab();
        sleeper.sleep();
        lost.half_close();
        assert_eq!(sleeper.next(), "NOOP");
        assert_eq!(sleeper.grab(), r"JOB_ASSIGN_UNIQ #1\x00f\x00\x00");
    }

    fn a_result_written_before_the_end_arrives(server) {
        let (mut client, mut worker) = (server.peer(), server.worker(&["f"]));
        let result = vec![b'r'; 1_000_000];
        for number in 1..20 {
            client.submit(FOREGROUND, "f", "", b"");
            worker.grab();
            worker.work(PacketType::WorkComplete, &format!("#{number}"), &[&result]);
            worker.half_close();
            worker = server.worker(&["f"]);
            assert!(client.next() == format!(r"WORK_COMPLETE #{number}\x00{}", "r".repeat(1_000_000)));
        }
    }

    /// Run twice, as gearmand has it: why a worker takes nothing back while it has a job.
    fn taking_an_offer_back_queues_the_job_in_hand(server) {
        let (mut client, mut worker, mut other) = (server.peer(), server.worker(&["f", "g"]), server.worker(&["f", "g"]));
        client.submit(FOREGROUND, "g", "", b"");
        client.submit(FOREGROUND, "f", "", b"");
        assert_eq!(worker.grab(), r"JOB_ASSIGN_UNIQ #1\x00g\x00\x00");
        assert_eq!(worker.grab(), r"JOB_ASSIGN_UNIQ #2\x00f\x00\x00");
        worker.encode(|buf| encode::cant_do(buf, b"g"));
        worker.work(PacketType::WorkComplete, "#1", &[b"late"]);
        assert_eq!(worker.next(), LATE);
        assert_eq!(other.grab(), r"JOB_ASSIGN_UNIQ #1\x00g\x00\x00");
        worker.send(&encode::RESET_ABILITIES);
        worker.work(PacketType::WorkComplete, "#2", &[b"late"]);
        assert_eq!(worker.next(), LATE);
        assert_eq!(other.grab(), r"JOB_ASSIGN_UNIQ #2\x00f\x00\x00");
        other.work(PacketType::WorkComplete, "#2", &[b"r"]);
        assert_eq!(client.next(), r"WORK_COMPLETE #2\x00r");
        assert_eq!(server.status("f").unwrap(), "0 0 1");
        assert_eq!(worker.grab(), "NO_JOB");
    }

    fn words_about_a_job_of_somebody_else(server) {
        let (mut client, mut worker, mut other) = (server.peer(), server.worker(&["f"]), server.worker(&["f"]));
        client.submit(FOREGROUND, "f", "", b"");
        let raises = r"ERROR JOB_NOT_FOUND\x00An exception was received for a job that does not exist";
        let no_such_job = r"ERROR JOB_NOT_FOUND\x00Job does not exist on server";
        let words: [(PacketType, &[&[u8]], &str); 6] = [
            (PacketType::WorkComplete, &[b"r"], LATE),
            (PacketType::WorkFail, &[], LATE),
            (PacketType::WorkStatus, &[b"1", b"2"], LATE),
            (PacketType::WorkException, &[b"e"], raises),
            (PacketType::WorkData, &[b"d"], no_such_job),
            (PacketType::WorkWarning, &[b"w"], no_such_job),
        ];
        // Nobody has it, then another one, then it has ended; and one that never was.
        for round in 0..3 {
            for handle in ["#1", "#77", "nonsense"] {
                for (kind, arguments, refused) in words {
                    other.work(kind, handle, arguments);
                    assert_eq!(other.next(), refused);
                }
            }
            match round {
                0 => assert_eq!(worker.grab(), r"JOB_ASSIGN_UNIQ #1\x00f\x00\x00"),
                _ => worker.work(PacketType::WorkComplete, "#1", &[b"r"]),
            }
            if round == 1 {
                assert_eq!(client.next(), r"WORK_COMPLETE #1\x00r");
            }
        }
        client.quiet();
    }
}
