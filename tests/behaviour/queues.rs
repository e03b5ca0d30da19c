//! The queues of the job servers: what is reported about them, and servers that do not list them as they should.

use std::io::{Read, Write, copy};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread::spawn;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gm_native::gearman::packet::{Priority, Submission};
use serde_json::Value;

use crate::fixture::{Job, acting, library, of, path, touch, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::plugins;
use crate::support::wait::{DEADLINE, wait_for};

/// A condition is reported after a minute.
const LONG: Duration = Duration::from_secs(180);

/// The first event of that name for a function.
#[track_caller]
fn wait_long(manager: &Manager, name: &str, function: &str) -> Value {
    wait_for(&format!("{name} of {function}"), LONG, || {
        let is_it = |event: &Value| event["event"] == name && event["function"] == function;
        manager.events().into_iter().find(is_it)
    })
}

/// S25, S26, S27: each is reported once after a minute, shown by `status`, and its end is reported.
#[test]
fn what_is_wrong_with_a_queue_for_a_minute_is_reported_once() {
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]).plugin("reverse_string", &plugins::example("reverse_string"));
    std::fs::write(setup.dir().join("workers/Sum.so"), "no library").unwrap();
    let manager = setup.ini("queue_check = 250ms").start();
    wait_serving(&manager, "act");
    let gate = path(&manager, "gate");
    let _busy = Job::act(&gearmand, "", &format!("wait {gate}"));
    let mut client = gearmand.client();
    let mut submit = |how, function: &[u8]| client.submit(how, function, b"", b"say done").unwrap();
    let soon = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 3600;
    submit(Submission::At(soon), b"reverse_string");
    submit(Submission::Background(Priority::Normal), b"Sum");
    let growing = wait_for("a growing queue", LONG, || {
        submit(Submission::Background(Priority::Normal), b"act");
        // Takes long enough that not too many are submitted.
        manager.status();
        manager.events().into_iter().find(|event| event["event"] == "queue_growing")
    });
    assert_eq!((&growing["function"], &growing["workers"]), (&"act".into(), &1.into()), "{growing}");
    assert_eq!(growing["server"], gearmand.server(), "{growing}");
    assert!(growing["waiting"].as_u64() > growing["before"].as_u64(), "{growing}");
    let unserved = wait_long(&manager, "function_unserved", "Sum");
    assert_eq!((&unserved["waiting"], &unserved["servers"][0]), (&1.into(), &gearmand.server().into()), "{unserved}");
    let untaken = wait_long(&manager, "jobs_not_taken", "reverse_string");
    assert_eq!((&untaken["waiting"], &untaken["idle"]), (&1.into(), &1.into()), "{untaken}");

    let status = manager.status();
    let function = |name| of(&status, "functions", "name", name).unwrap().clone();
    assert!(function("act")["queue_warnings"][0].as_str().unwrap().contains("all workers are busy"), "{status}");
    assert!(function("reverse_string")["note"].as_str().unwrap().contains("although 1 worker is idle"), "{status}");
    assert_eq!(function("reverse_string")["queue_warnings"], serde_json::json!([]));
    let checked = manager.command("status", &["--check"]);
    assert!(checked.out().contains("act: ") && checked.out().contains("all workers are busy"), "{checked:?}");

    touch(&gate);
    manager.install("Sum", &plugins::example("Sum"));
    for (function, condition) in [("act", "growing"), ("Sum", "unserved")] {
        let over = manager.wait_event("queue_recovered", |event| event["function"] == function);
        assert_eq!(over["condition"], condition, "{over}");
    }
    for name in ["queue_growing", "function_unserved", "jobs_not_taken"] {
        assert_eq!(manager.events().iter().filter(|event| event["event"] == name).count(), 1, "{name}");
    }
}

/// How a job server answers `status`.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// As it should.
    Right,
    Nothing,
    Garbage,
    /// Lines, without end.
    Endless,
    /// One line without end.
    OneLine,
}

/// A job server's relay that answers `status` in its own way.
struct Relay {
    address: String,
    asked: Arc<AtomicUsize>,
    sent: Arc<AtomicU64>,
}

impl Relay {
    fn to(server: &Gearmand, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (asked, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
        let (server, counts) = (server.server(), (Arc::clone(&asked), Arc::clone(&sent)));
        spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (server, (asked, sent)) = (server.clone(), (Arc::clone(&counts.0), Arc::clone(&counts.1)));
                spawn(move || {
                    let mut first = [0];
                    let is_question = client.peek(&mut first).is_ok_and(|count| count > 0) && first[0] == b's';
                    asked.fetch_add(usize::from(is_question), SeqCst);
                    match answer {
                        _ if !is_question => relay(client, &server),
                        Answer::Right => relay(client, &server),
                        Answer::Nothing => drop((&client).read_to_end(&mut Vec::new())),
                        Answer::Garbage => drop((&client).write_all(b"\x7f\xff\0ELF\n.\n")),
                        Answer::Endless => pour(&client, b"another\t1\t1\t1\n", &sent),
                        Answer::OneLine => pour(&client, b"another one", &sent),
                    }
                });
            }
        });
        Self { address, asked, sent }
    }

    /// How often it was asked.
    fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }
}

fn relay(client: TcpStream, server: &str) {
    let Ok(server) = TcpStream::connect(server) else { return };
    let (mut to_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    spawn(move || {
        let _ = copy(&mut &client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let _ = copy(&mut &server, &mut to_client);
    let _ = to_client.shutdown(Shutdown::Both);
}

/// Sends until the other end has had enough.
fn pour(mut client: &TcpStream, piece: &[u8], sent: &AtomicU64) {
    let piece = piece.repeat(4096);
    while client.write_all(&piece).is_ok() {
        sent.fetch_add(piece.len() as u64, SeqCst);
    }
}

/// S28: it is asked once, however long it does not answer, and the other is asked as before.
#[test]
fn a_job_server_that_does_not_list_its_queues_delays_nothing() {
    let gearmand = Gearmand::start();
    let (silent, right) = (Relay::to(&gearmand, Answer::Nothing), Relay::to(&gearmand, Answer::Right));
    let setup = Setup::new(&[&silent.address, &right.address]).plugin("act", &library());
    let manager = setup.ini("queue_check = 100ms\necho_timeout = 1h").start();
    wait_serving(&manager, "act");
    wait_for("twenty questions to the other", DEADLINE, || (right.asked() >= 20).then_some(()));
    assert_eq!(silent.asked(), 1, "an unanswered question is not repeated");
    assert_eq!(Job::act(&gearmand, "", "say done").result(), b"done");
    assert_eq!(manager.status()["state"], "running");
}

/// S28: not much of it is read, and nothing of it is kept.
#[test]
fn an_answer_without_end_or_sense_costs_the_manager_nothing() {
    let gearmand = Gearmand::start();
    for answer in [Answer::Garbage, Answer::Endless, Answer::OneLine] {
        let relay = Relay::to(&gearmand, answer);
        let manager = Setup::new(&[&relay.address]).plugin("act", &library()).ini("queue_check = 100ms").start();
        wait_serving(&manager, "act");
        let before = peak_kib(&manager);
        wait_for("three more questions", DEADLINE, || (relay.asked() >= 4).then_some(()));
        assert!(relay.sent.load(SeqCst) < 5 * (32 << 20), "{answer:?}: {} bytes", relay.sent.load(SeqCst));
        let grown = peak_kib(&manager).saturating_sub(before);
        assert!(grown < 4096, "{answer:?}: it took {grown} KiB");
        assert_eq!(Job::act(&gearmand, "", "say done").result(), b"done");
    }
}

/// The most memory that the manager has used.
fn peak_kib(manager: &Manager) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", manager.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
