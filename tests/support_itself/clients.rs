//! Real clients, the real job server, and a worker made of nothing but our packets.

use std::time::Instant;

use gm_native::gearman::admin;
use gm_native::gearman::client::JobEvent;
use gm_native::gearman::packet::{Priority, Submission, encode};

use crate::support::callers::{Callback, Caller, Mode, gearman, version};
use crate::support::gearmand::Gearmand;
use crate::support::scripted_worker::{EVERY_WAY, ScriptedWorker, run_any_way, serve};
use crate::support::wait::DEADLINE;

fn served() -> Gearmand {
    let gearmand = Gearmand::start();
    serve(&gearmand.server(), &EVERY_WAY, run_any_way);
    gearmand
}

fn complete(data: &[u8]) -> Callback {
    Callback::Complete { data: data.to_vec() }
}

#[test]
fn the_cli_gets_results_and_exits_1_for_a_failure() {
    let gearmand = served();
    let done = gearman(&gearmand, &["-f", "mirror"], b"abc\0def");
    assert_eq!((done.code(), done.stdout.as_slice()), (Some(0), &b"fed\0cba"[..]));
    let failed = gearman(&gearmand, &["-f", "fail"], b"x");
    assert_eq!(failed.code(), Some(1), "{failed:?}");
    let warned = gearman(&gearmand, &["-f", "warn_and_fail"], b"x");
    assert_eq!(warned.code(), Some(1), "{warned:?}");
    assert!(format!("{}{}", warned.out(), warned.err()).contains("no such file"), "{warned:?}");
}

#[test]
fn every_client_gets_its_result() {
    let gearmand = served();
    let all_bytes: Vec<u8> = (0..=255).collect();
    let backwards: Vec<u8> = (0..=255).rev().collect();
    for caller in Caller::ALL {
        assert_eq!(caller.call(&gearmand, "mirror", &all_bytes), [complete(&backwards)], "{caller:?}");
        // php-gearman hands an empty string to libgearman in a way that it refuses.
        if caller != Caller::Php {
            assert_eq!(caller.call(&gearmand, "mirror", b""), [complete(b"")], "{caller:?}");
        }
    }
}

#[test]
fn every_client_receives_every_event() {
    let gearmand = served();
    for caller in Caller::ALL {
        let talk = [
            Callback::Status { done: 1, of: 2 },
            Callback::Data { data: b"part \0 one".to_vec() },
            Callback::Warning { data: b"careful\n".to_vec() },
            complete(b"whole"),
        ];
        assert_eq!(caller.call(&gearmand, "talk", b"x"), talk, "{caller:?}");
        assert_eq!(caller.call(&gearmand, "fail", b"x"), [Callback::Fail], "{caller:?}");
        let warned = [Callback::Warning { data: b"no such file\n".to_vec() }, Callback::Fail];
        assert_eq!(caller.call(&gearmand, "warn_and_fail", b"x"), warned, "{caller:?}");
    }
    let exception = Callback::Exception { data: b"why".to_vec() };
    assert_eq!(Caller::Php.call(&gearmand, "exception", b"x"), [exception]);
}

#[test]
fn large_workloads_pass_whole() {
    let gearmand = served();
    let workload: Vec<u8> = (0..20_000_000_u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    let backwards: Vec<u8> = workload.iter().rev().copied().collect();
    let end = |size: usize| &backwards[backwards.len() - size..];
    // libgearman sends 64 KiB each 44 ms (its small send buffer meets delayed acknowledgements): it gets a part.
    for (caller, size) in [(Caller::Perl, workload.len()), (Caller::Php, 1_000_000), (Caller::C, 1_000_000)] {
        let callbacks = caller.call(&gearmand, "mirror", &workload[..size]);
        assert!(callbacks == [complete(end(size))], "{caller:?}");
    }
    // The CLI copies its input once for each KiB that it reads: more would take it minutes.
    let done = gearman(&gearmand, &["-f", "mirror"], &workload[..1_000_000]);
    assert!(done.stdout == end(1_000_000), "{} bytes came back", done.stdout.len());

    let mut client = gearmand.client();
    let handle = client.submit(Submission::Foreground(Priority::Normal), b"mirror", b"", &workload).unwrap();
    let event = client.next_event(Instant::now() + DEADLINE).unwrap().unwrap();
    assert_eq!(event.handle, handle);
    assert!(event.event == JobEvent::Complete(backwards));
}

#[test]
fn background_jobs_have_a_status_by_handle_and_by_unique() {
    let gearmand = Gearmand::start();
    let mut handles = Vec::new();
    for caller in Caller::ALL {
        let created = caller.submit(&gearmand, "later", &format!("{caller:?}"), Mode::Background, b"x");
        let [Callback::Created { handle }] = created.as_slice() else { panic!("{created:?}") };
        handles.push(handle.clone());
    }
    let mut client = gearmand.client();
    for handle in &handles {
        let status = client.job_status(handle.as_bytes()).unwrap();
        assert!(status.known && !status.running, "{handle}: {status:?}");
    }
    let mut worker = ScriptedWorker::offering(&gearmand.server(), &["later"]);
    for caller in Caller::ALL {
        let job = worker.grab();
        assert_eq!(job.unique, format!("{caller:?}").into_bytes());
        worker.complete(&job, b"");
    }
    worker.echo();
    assert!(!client.job_status(handles[0].as_bytes()).unwrap().known);
}

#[test]
fn our_client_submits_every_way() {
    let gearmand = Gearmand::start();
    let mut client = gearmand.client();
    let ways = [
        (Submission::Foreground(Priority::Low), "5"),
        (Submission::Background(Priority::Low), "6"),
        (Submission::Foreground(Priority::Normal), "3"),
        (Submission::At(1), "4"),
        (Submission::Foreground(Priority::High), "1"),
        (Submission::Background(Priority::High), "2"),
    ];
    for (how, order) in ways {
        client.submit(how, b"f", order.as_bytes(), b"").unwrap();
    }
    let mut worker = ScriptedWorker::offering(&gearmand.server(), &["f"]);
    for order in 1..=6 {
        let job = worker.grab();
        assert_eq!(job.unique, order.to_string().into_bytes());
        worker.complete(&job, b"done");
    }
    for _ in 0..3 {
        let event = client.next_event(Instant::now() + DEADLINE).unwrap().unwrap();
        assert_eq!(event.event, JobEvent::Complete(b"done".to_vec()));
    }
    let error = client.submit(ways[0].0, b"f", &[b'u'; 65], b"").unwrap_err();
    assert!(error.to_string().starts_with(&format!("job server {} refused a job: ", gearmand.server())), "{error}");
}

#[test]
fn our_client_is_sent_exceptions_when_it_asks() {
    let gearmand = served();
    let mut client = gearmand.client();
    client.forward_exceptions().unwrap();
    client.submit(Submission::Foreground(Priority::Normal), b"exception", b"", b"x").unwrap();
    let event = client.next_event(Instant::now() + DEADLINE).unwrap().unwrap();
    assert_eq!(event.event, JobEvent::Exception(b"why".to_vec()));
}

#[test]
fn the_admin_listings() {
    let gearmand = Gearmand::start();
    let server = gearmand.server();
    let mut worker = ScriptedWorker::offering(&server, &["a", "b"]);
    worker.encode(|buf| encode::set_client_id(buf, b"host:1:a:3f2a"));
    worker.echo();
    let mut client = gearmand.client();
    for _ in 0..3 {
        client.submit(Submission::Background(Priority::Normal), b"a", b"", b"").unwrap();
    }
    let job = worker.grab();
    let a = admin::AdminFunctionStatus { function: "a".into(), total: 3, running: 1, workers: 1 };
    assert_eq!(gearmand.status("a"), Some(a));
    worker.complete(&job, b"");

    let listed = admin::workers(&server, DEADLINE).unwrap();
    let ours = listed.iter().find(|connection| connection.id == "host:1:a:3f2a").unwrap();
    let mut functions = ours.functions.clone();
    functions.sort();
    assert_eq!(functions, ["a", "b"]);
    assert!(version(&server).major.is_some());
}
