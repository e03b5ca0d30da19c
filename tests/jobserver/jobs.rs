//! How a job runs and ends, as its clients see it.

use gm_native::gearman::packet::{PacketType, Priority, Submission, encode};
use nix::unistd::gethostname;

use crate::peer::{BACKGROUND, FOREGROUND, packet, real};

on_both! {
    fn everything_a_worker_says_is_relayed_in_order(server) {
        let (mut client, mut worker) = (server.peer(), server.worker(&["f"]));
        assert_eq!(client.submit(FOREGROUND, "f", "u", b"in\0put"), "JOB_CREATED #1");
        assert_eq!(worker.grab(), r"JOB_ASSIGN_UNIQ #1\x00f\x00u\x00in\x00put");
        worker.work(PacketType::WorkStatus, "#1", &[b"1", b"2"]);
        worker.work(PacketType::WorkData, "#1", &[b"some\0data"]);
        worker.work(PacketType::WorkData, "#1", &[b""]);
        worker.work(PacketType::WorkWarning, "#1", &[b"careful\n"]);
        worker.work(PacketType::WorkStatus, "#1", &[b"200", b"2"]);
        worker.work(PacketType::WorkComplete, "#1", &[b"out\0put"]);
        for wanted in [
            r"WORK_STATUS #1\x001\x002",
            r"WORK_DATA #1\x00some\x00data",
            r"WORK_DATA #1\x00",
            r"WORK_WARNING #1\x00careful\n",
            r"WORK_STATUS #1\x00200\x002",
            r"WORK_COMPLETE #1\x00out\x00put",
        ] {
            assert_eq!(client.next(), wanted);
        }
        client.quiet();
        worker.quiet();
        assert_eq!(worker.grab(), "NO_JOB");
    }

    fn a_handle_names_the_host_and_counts(server) {
        let mut client = server.peer();
        for number in 1..4 {
            client.encode(|buf| encode::submit(buf, BACKGROUND, b"f", b"", b""));
            let wanted = format!("H:{}:{number}", gethostname().unwrap().to_str().unwrap());
            assert_eq!(client.next_body(), Some((PacketType::JobCreated, wanted.into_bytes())));
        }
    }

    fn the_client_of_a_background_job_gets_only_its_handle(server) {
        let (mut client, mut worker) = (server.peer(), server.worker(&["f"]));
        assert_eq!(client.submit(BACKGROUND, "f", "", b"x"), "JOB_CREATED #1");
        assert_eq!(worker.grab(), r"JOB_ASSIGN_UNIQ #1\x00f\x00\x00x");
        worker.work(PacketType::WorkWarning, "#1", &[b"w"]);
        worker.work(PacketType::WorkComplete, "#1", &[b"r"]);
        worker.quiet();
        client.quiet();
    }

    fn failures(server) {
        let (mut client, mut worker) = (server.peer(), server.worker(&["f"]));
        client.submit(FOREGROUND, "f", "", b"");
        worker.grab();
        worker.work(PacketType::WorkWarning, "#1", &[b"why\n"]);
        worker.work(PacketType::WorkFail, "#1", &[]);
        assert_eq!(client.next(), r"WORK_WARNING #1\x00why\n");
        assert_eq!(client.next(), "WORK_FAIL #1");
        // A NUL behind the handle goes to the client as it came, which not every client survives.
        client.submit(FOREGROUND, "f", "", b"");
        worker.grab();
        worker.work(PacketType::WorkFail, "#2", &[b""]);
        assert_eq!(client.next(), r"WORK_FAIL #2\x00");
        worker.quiet();
        client.quiet();
    }

    fn exceptions_reach_who_asked_for_them(server) {
        let (mut one, mut other, mut worker) = (server.peer(), server.peer(), server.worker(&["f"]));
        one.encode(|buf| encode::option_req(buf, b"Exceptions"));
        assert_eq!(one.next(), "OPTION_RES Exceptions");
        one.submit(FOREGROUND, "f", "u", b"");
        other.submit(FOREGROUND, "f", "u", b"");
        worker.grab();
        worker.work(PacketType::WorkException, "#1", &[b"what\0now"]);
        assert_eq!(one.next(), r"WORK_EXCEPTION #1\x00what\x00now");
        assert_eq!(other.next(), r"WORK_FAIL #1\x00");
        // The job is over.
        worker.work(PacketType::WorkFail, "#1", &[]);
        assert_eq!(worker.next(), r"ERROR JOB_NOT_FOUND\x00Job given in work result not found");
        one.quiet();
        other.quiet();
    }

    fn priorities_come_before_age(server) {
        let mut client = server.peer();
        let order = [Priority::Low, Priority::Normal, Priority::High, Priority::Low, Priority::High, Priority::Normal];
        for (number, priority) in order.into_iter().enumerate() {
            let how = if number % 2 == 0 { Submission::Foreground(priority) } else { Submission::Background(priority) };
            client.submit(how, "f", "", b"");
        }
        let mut worker = server.worker(&["f"]);
        for number in [3, 5, 2, 6, 1, 4] {
            assert_eq!(worker.grab(), format!(r"JOB_ASSIGN_UNIQ #{number}\x00f\x00\x00"));
        }
    }

    fn the_same_unique_is_the_same_job(server) {
        let (mut one, mut other, mut worker) = (server.peer(), server.peer(), server.worker(&["f", "g"]));
        assert_eq!(one.submit(FOREGROUND, "f", "u", b"first"), "JOB_CREATED #1");
        assert_eq!(other.submit(FOREGROUND, "f", "u", b"second"), "JOB_CREATED #1");
        // Of another function it is another job; without a unique each is.
        assert_eq!(other.submit(BACKGROUND, "g", "u", b""), "JOB_CREATED #2");
        assert_eq!(other.submit(BACKGROUND, "g", "", b""), "JOB_CREATED #3");
        assert_eq!(other.submit(BACKGROUND, "g", "", b""), "JOB_CREATED #4");
        for _ in 0..3 {
            worker.grab();
        }
        assert_eq!(worker.grab(), r"JOB_ASSIGN_UNIQ #1\x00f\x00u\x00first");
        // While it runs, and twice for one client.
        assert_eq!(one.submit(FOREGROUND, "f", "u", b"third"), "JOB_CREATED #1");
        assert_eq!(other.submit(BACKGROUND, "f", "u", b"fourth"), "JOB_CREATED #1");
        worker.work(PacketType::WorkStatus, "#1", &[b"1", b"2"]);
        worker.work(PacketType::WorkComplete, "#1", &[b"r"]);
        for (client, times) in [(&mut one, 2), (&mut other, 1)] {
            for wanted in [r"WORK_STATUS #1\x001\x002", r"WORK_COMPLETE #1\x00r"] {
                (0..times).for_each(|_| assert_eq!(client.next(), wanted));
            }
            client.quiet();
        }
        // Afterwards it is a new job.
        assert_eq!(one.submit(BACKGROUND, "f", "u", b""), "JOB_CREATED #5");
    }

    fn the_unique_that_stands_for_the_workload(server) {
        let mut client = server.peer();
        let mut submit = |workload: &[u8]| client.submit(BACKGROUND, "f", "-", workload);
        assert_eq!(submit(b"same"), "JOB_CREATED #1");
        assert_eq!(submit(b"same"), "JOB_CREATED #1");
        assert_eq!(submit(b"other"), "JOB_CREATED #2");
        assert_eq!(submit(b""), "JOB_CREATED #3");
        assert_eq!(submit(b""), "JOB_CREATED #4");
    }

    fn a_unique_has_64_bytes_at_most(server) {
        let mut client = server.peer();
        let refused = r"ERROR ARGUMENT_TOO_LARGE\x00Unique value too large";
        assert_eq!(client.submit(BACKGROUND, "f", &"u".repeat(65), b""), refused);
        assert_eq!(client.submit(FOREGROUND, "f", &"u".repeat(65), b""), refused);
        assert_eq!(client.submit(BACKGROUND, "f", &"u".repeat(64), b""), "JOB_CREATED #1");
    }

    fn a_job_nobody_waits_for_is_not_run(server) {
        let (mut client, mut worker) = (server.peer(), server.worker(&["f"]));
        let mut other = server.peer();
        client.submit(FOREGROUND, "f", "", b"abandoned");
        client.submit(FOREGROUND, "f", "u", b"shared");
        other.submit(FOREGROUND, "f", "u", b"");
        client.submit(BACKGROUND, "f", "", b"background");
        drop(client);
        server.wait_connections(2);
        assert_eq!(worker.grab(), r"JOB_ASSIGN_UNIQ #2\x00f\x00u\x00shared");
        assert_eq!(worker.grab(), r"JOB_ASSIGN_UNIQ #3\x00f\x00\x00background");
        assert_eq!(worker.grab(), "NO_JOB");
        worker.work(PacketType::WorkComplete, "#2", &[b"r"]);
        assert_eq!(other.next(), r"WORK_COMPLETE #2\x00r");
    }

    fn a_job_whose_client_went_while_it_ran_is_finished(server) {
        let (mut client, mut worker) = (server.peer(), server.worker(&["f"]));
        client.submit(FOREGROUND, "f", "", b"");
        worker.grab();
        drop(client);
        server.wait_connections(1);
        worker.work(PacketType::WorkStatus, "#1", &[b"1", b"2"]);
        worker.work(PacketType::WorkComplete, "#1", &[b"r"]);
        worker.quiet();
        assert_eq!(server.status("f").unwrap(), "0 0 1");
    }

    fn workloads_and_results_of_every_size(server) {
        let (mut client, mut worker) = (server.peer(), server.worker(&["f"]));
        for size in [0, 1, 4095, 4096, 4097, 65_536, 5_000_000] {
            let data: Vec<u8> = (0..size).map(|at: usize| (at % 251) as u8).collect();
            client.encode(|buf| encode::submit(buf, FOREGROUND, b"f", b"u", &data));
            let (_, handle) = client.next_body().unwrap();
            worker.send(&encode::GRAB_JOB_UNIQ);
            let (_, assigned) = worker.next_body().unwrap();
            assert!(assigned == [handle.as_slice(), b"f", b"u", &data].join(&0), "the workload of {size} bytes changed");
            worker.packet(PacketType::WorkComplete, &[&handle, &data]);
            let (_, complete) = client.next_body().unwrap();
            assert!(complete == [handle.as_slice(), &data].join(&0), "the result of {size} bytes changed");
        }
    }

    fn packets_in_pieces_and_many_in_one(server) {
        let mut worker = server.worker(&["f"]);
        let mut client = server.peer();
        let submit = packet(PacketType::SubmitJob, &[b"f", b"", b"workload"]);
        for byte in &submit {
            client.send(&[*byte]);
        }
        assert_eq!(client.next(), "JOB_CREATED #1");
        client.send(&submit.repeat(500));
        for number in 2..502 {
            assert_eq!(client.next(), format!("JOB_CREATED #{number}"));
        }
        // A result and the next question in one write, as workers do.
        let grab = packet(PacketType::GrabJobUniq, &[]);
        worker.send(&grab);
        for number in 1..502 {
            assert_eq!(worker.next(), format!(r"JOB_ASSIGN_UNIQ #{number}\x00f\x00\x00workload"));
            let complete = packet(PacketType::WorkComplete, &[real(&format!("#{number}")).as_bytes(), b"r"]);
            worker.send(&[complete, grab.clone()].concat());
            assert_eq!(client.next(), format!(r"WORK_COMPLETE #{number}\x00r"));
        }
        assert_eq!(worker.next(), "NO_JOB");
    }

    fn a_job_for_a_time_that_is_over_is_run_at_once(server) {
        let (mut client, mut worker) = (server.peer(), server.worker(&["f"]));
        assert_eq!(client.submit(Submission::At(1), "f", "u", b"x"), "JOB_CREATED #1");
        assert_eq!(worker.grab(), r"JOB_ASSIGN_UNIQ #1\x00f\x00u\x00x");
    }

    fn a_job_for_later_is_counted_and_not_run(server) {
        let (mut client, mut worker) = (server.peer(), server.worker(&["f"]));
        assert_eq!(client.submit(Submission::At(4_000_000_000), "f", "u", b"x"), "JOB_CREATED #1");
        assert_eq!(client.submit(BACKGROUND, "f", "", b"now"), "JOB_CREATED #2");
        assert_eq!(server.status("f").unwrap(), "2 0 1");
        assert_eq!(worker.grab(), r"JOB_ASSIGN_UNIQ #2\x00f\x00\x00now");
        assert_eq!(worker.grab(), "NO_JOB");
        assert_eq!(client.submit(BACKGROUND, "f", "u", b""), "JOB_CREATED #1");
    }
}
