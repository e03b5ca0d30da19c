//! Every way a job can end, as real clients see it.

use std::time::Instant;

use gm_native::gearman::client::JobEvent;
use gm_native::gearman::packet::{Priority, Submission};

use crate::fixture::{lines, path, pattern, served, wait_done, workers};
use crate::support::callers::{Callback, Caller, Mode, gearman};
use crate::support::gearmand::Gearmand;
use crate::support::manager::Setup;
use crate::support::plugins;
use crate::support::wait::DEADLINE;

fn warning(text: &str) -> Callback {
    Callback::Warning { data: text.as_bytes().to_vec() }
}

fn complete(data: &[u8]) -> Callback {
    Callback::Complete { data: data.to_vec() }
}

#[test]
fn a_library_in_the_directory_answers_the_gearman_command() {
    let gearmand = Gearmand::start();
    let setup = Setup::new(&[&gearmand.server()]);
    let manager = setup.plugin("reverse_string", &plugins::example("reverse_string")).start();
    let done = gearman(&gearmand, &["-f", "reverse_string"], b"hello");
    assert_eq!((done.code(), done.out().as_str()), (Some(0), "olleh"));
    let done = gearman(&gearmand, &["-f", "reverse_string", "as an argument"], b"");
    assert_eq!((done.code(), done.out().as_str()), (Some(0), "tnemugra na sa"));
    let all_bytes: Vec<u8> = (0..=255).collect();
    let done = gearman(&gearmand, &["-f", "reverse_string"], &all_bytes);
    assert!(done.code() == Some(0) && done.stdout.iter().rev().eq(&all_bytes), "{done:?}");
    let done = gearman(&gearmand, &["-f", "reverse_string"], b"");
    assert_eq!((done.code(), done.out().as_str()), (Some(0), ""));
    assert_eq!(manager.status()["functions"][0]["jobs_completed"], 4);
}

#[test]
fn every_client_gets_its_result() {
    let gearmand = Gearmand::start();
    let setup = Setup::new(&[&gearmand.server()]);
    let _manager = setup.plugin("reverse_string", &plugins::example("reverse_string")).start();
    let all_bytes: Vec<u8> = (0..=255).collect();
    let backwards: Vec<u8> = (0..=255).rev().collect();
    for caller in Caller::ALL {
        assert_eq!(caller.call(&gearmand, "reverse_string", &all_bytes), [complete(&backwards)], "{caller:?}");
        // php-gearman cannot send an empty string.
        if caller != Caller::Php {
            assert_eq!(caller.call(&gearmand, "reverse_string", b""), [complete(b"")], "{caller:?}");
        }
    }
}

#[test]
fn every_client_receives_every_event() {
    let (gearmand, _manager) = served("");
    for caller in Caller::ALL {
        let talk = [
            Callback::Status { done: 1, of: 2 },
            Callback::Data { data: b"part \0 one".to_vec() },
            warning("careful\n"),
            complete(b"sent"),
        ];
        assert_eq!(caller.call(&gearmand, "act", b"talk"), talk, "{caller:?}");
        assert_eq!(caller.call(&gearmand, "act", b"fail no row"), [warning("no row\n"), Callback::Fail], "{caller:?}");
    }
    let exception = Callback::Exception { data: b"why".to_vec() };
    assert_eq!(Caller::Php.call(&gearmand, "act", b"exception why"), [exception]);
}

/// A client that asked for exceptions gets one, and nothing after it; the worker goes on.
#[test]
fn an_exception_ends_a_job_once() {
    let (gearmand, manager) = served("");
    let mut client = gearmand.client();
    client.forward_exceptions().unwrap();
    let submit = Submission::Foreground(Priority::Normal);
    client.submit(submit, b"act", b"", b"exception why").unwrap();
    client.submit(submit, b"act", b"", b"say next").unwrap();
    let mut next = || client.next_event(Instant::now() + DEADLINE).unwrap().unwrap().event;
    assert_eq!([next(), next()], [JobEvent::Exception(b"why".to_vec()), JobEvent::Complete(b"next".to_vec())]);
    // The server refuses the failure behind the exception, since it has ended the job: nobody else has it.
    assert!(!manager.log().contains("came too late"), "{}", manager.log());
}

#[test]
fn a_failure_ends_the_gearman_command_with_1() {
    let (gearmand, _manager) = served("");
    let failed = gearman(&gearmand, &["-f", "act"], b"fail no such row");
    assert_eq!(failed.code(), Some(1), "{failed:?}");
    assert!(format!("{}{}", failed.out(), failed.err()).contains("no such row\n"), "{failed:?}");
    // A failure by the function's own `?` is reported in the same way.
    let failed = gearman(&gearmand, &["-f", "act"], b"note /no/such/directory");
    assert_eq!(failed.code(), Some(1), "{failed:?}");
    assert!(format!("{}{}", failed.out(), failed.err()).contains("No such file or directory"), "{failed:?}");
}

/// P1.
#[test]
fn a_panic_fails_its_job_and_names_the_line() {
    let (gearmand, manager) = served("");
    let before = workers(&manager);
    let failed = gearman(&gearmand, &["-f", "act"], b"panic out of luck");
    assert_eq!(failed.code(), Some(1), "{failed:?}");
    let output = format!("{}{}", failed.out(), failed.err());
    let file = "tests/plugins/jobs/src/lib.rs:";
    assert!(output.contains("out of luck") && output.contains(file), "{output}");
    for caller in Caller::ALL {
        let [Callback::Warning { data }, Callback::Fail] = &caller.call(&gearmand, "act", b"panic oh")[..] else {
            panic!("{caller:?} did not get the panic's message")
        };
        let text = String::from_utf8_lossy(data);
        assert!(text.starts_with("panicked at ") && text.contains(file) && text.ends_with(": oh\n"), "{text}");
    }
    assert_eq!(gearman(&gearmand, &["-f", "act"], b"say alive").out(), "alive");
    assert_eq!(workers(&manager), before, "a panic is no reason for another worker");
}

/// P12.
#[test]
fn large_workloads_and_results_pass_whole() {
    const LARGE: usize = 20_000_000;
    let gearmand = Gearmand::start();
    let setup = Setup::new(&[&gearmand.server()]);
    let setup = setup.plugin("reverse_string", &plugins::example("reverse_string"));
    let _manager = setup.plugin("act", &crate::fixture::library()).start();
    let workload: Vec<u8> = (0..LARGE).map(|n| (n ^ (n >> 8)) as u8).collect();
    let backwards: Vec<u8> = workload.iter().rev().copied().collect();
    assert!(Caller::Perl.call(&gearmand, "reverse_string", &workload) == [complete(&backwards)]);
    let mut client = gearmand.client();
    client.submit(Submission::Foreground(Priority::Normal), b"reverse_string", b"", &workload).unwrap();
    let event = client.next_event(Instant::now() + DEADLINE).unwrap().unwrap();
    assert!(event.event == JobEvent::Complete(backwards));
    // libgearman sends 64 KiB each 44 ms: its clients only receive.
    assert!(gearman(&gearmand, &["-f", "act"], format!("size {LARGE}").as_bytes()).stdout == pattern(LARGE));
    for caller in [Caller::Php, Caller::C] {
        assert!(caller.call(&gearmand, "act", b"size 5000000") == [complete(&pattern(5_000_000))], "{caller:?}");
    }
}

/// P12.
#[test]
fn a_result_beyond_max_packet_fails_its_job_and_says_why() {
    let (gearmand, _manager) = served("max_packet = 64K");
    let failed = Caller::C.call(&gearmand, "act", b"size 70000");
    let words = "its result of 70000 bytes is larger than max_packet, 65536 bytes\n";
    assert_eq!(failed, [warning(words), Callback::Fail]);
    assert_eq!(Caller::C.call(&gearmand, "act", b"size 65000"), [complete(&pattern(65_000))]);
}

#[test]
fn background_jobs_are_done() {
    let (gearmand, manager) = served("");
    let notes = path(&manager, "notes");
    let workload = format!("note {notes}");
    let mut uniques = Vec::new();
    for caller in Caller::ALL {
        let unique = format!("{caller:?}");
        let created = caller.submit(&gearmand, "act", &unique, Mode::Background, workload.as_bytes());
        assert!(matches!(created[..], [Callback::Created { .. }]), "{created:?}");
        uniques.push(unique);
    }
    let done = gearman(&gearmand, &["-b", "-u", "cli", "-f", "act"], workload.as_bytes());
    assert_eq!(done.code(), Some(0), "{done:?}");
    uniques.push("cli".into());
    wait_done(&gearmand);
    assert_eq!(lines(&notes), uniques);
}
