use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as Stream;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::task::LocalSet;

use super::*;
use crate::control::{ClientError, ControlClient, EventLine, MAX_CONNECTIONS, MAX_REQUEST, SOCKET_NAME, sample_status};
use crate::system::privileges::RunUser;
use crate::system::reexec;

/// Longer than anything takes that works.
const LONG: Duration = Duration::from_secs(30);

/// What a test's loop does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manager {
    Answers,
    NeverAnswers,
    IsGone,
}

/// What a test's clients ask of the server's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Publish an event about this pid.
    Publish(u32),
    /// From now on the server's clock jumps to the next deadline as soon as there is nothing else to do.
    JumpClock,
    /// Close the server.
    Close,
}

fn event(pid: u32, text: &str) -> EventLine<BTreeMap<String, String>> {
    let event = BTreeMap::from([("event".to_owned(), "worker_ready".to_owned())]);
    EventLine { time: "2026-11-24 12:00:00.000000".into(), level: "PROC".into(), pid, text: text.into(), event }
}

/// Runs a server, and the clients of a test in a thread beside it.
fn serve_while(manager: Manager, clients: impl FnOnce(&Path, &mpsc::Sender<Order>) + Send + 'static) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(SOCKET_NAME);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let feed = Feed::new();
        let (requests, mut incoming) = mpsc::channel(MAX_CONNECTIONS);
        let mut server = Some(
            ControlServer::start(ControlListener::bind(&path, Access::Full).unwrap(), feed.clone(), requests).unwrap(),
        );
        let (order, mut orders) = mpsc::channel(16);
        let (done, mut over) = oneshot::channel();
        let path = path.clone();
        let thread = std::thread::spawn(move || {
            clients(&path, &order);
            let _ = done.send(());
        });
        if manager == Manager::IsGone {
            incoming.close();
        }
        let mut kept = Vec::new();
        loop {
            tokio::select! {
                Some(PendingRequest { request, reply, .. }) = incoming.recv() => match manager {
                    Manager::Answers => {
                        assert_eq!(request, ControlRequest::Status { workers: true });
                        let _ = reply.send(Reply::Status(Box::new(sample_status())));
                    }
                    Manager::NeverAnswers | Manager::IsGone => {
                        kept.push(reply);
                        tokio::time::pause();
                    }
                },
                Some(order) = orders.recv() => match order {
                    Order::Publish(pid) => feed.publish(&event(pid, "an event")),
                    Order::JumpClock => tokio::time::pause(),
                    Order::Close => server.take().unwrap().close().await,
                },
                _ = &mut over => break,
            }
        }
        drop(server);
        thread.join().unwrap();
    });
    assert!(!path.exists(), "the socket goes with the server");
}

/// A raw connection, and the next line on it.
fn connect(path: &Path) -> BufReader<Stream> {
    let stream = Stream::connect(path).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    BufReader::new(stream)
}

fn read_line(stream: &mut BufReader<Stream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line
}

fn request(stream: &mut BufReader<Stream>, text: &[u8]) -> String {
    stream.get_mut().write_all(text).unwrap();
    read_line(stream)
}

#[test]
fn status_again_and_again_on_one_connection() {
    serve_while(Manager::Answers, |path, _| {
        let mut client = ControlClient::connect(path, LONG).unwrap();
        for _ in 0..100 {
            assert_eq!(client.status().unwrap(), sample_status());
        }
    });
}

#[test]
fn mistakes_are_answered_and_the_connection_stays() {
    serve_while(Manager::Answers, |path, _| {
        let mut stream = connect(path);
        assert!(request(&mut stream, b"hello\n").contains(r#""error":{"code":"bad_request""#));
        assert!(request(&mut stream, b"\xff\0\n").contains(r#""code":"bad_request""#));
        assert!(request(&mut stream, b"{\"v\":9,\"request\":\"status\"}\n").contains(r#""code":"version""#));
        assert!(request(&mut stream, b"{\"v\":1,\"request\":\"dance\"}\n").contains(r#""code":"unknown_request""#));
        assert!(request(&mut stream, b"{\"v\":1,\"request\":\"status\"}\n").starts_with(r#"{"v":1,"ok":{"schema""#));
    });
}

#[test]
fn a_request_may_come_byte_by_byte_and_end_with_the_connection() {
    serve_while(Manager::Answers, |path, _| {
        let mut stream = connect(path);
        for byte in br#"{"v":1,"request":"status"}"# {
            stream.get_mut().write_all(&[*byte]).unwrap();
        }
        stream.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
        assert!(read_line(&mut stream).starts_with(r#"{"v":1,"ok":"#));
        assert_eq!(read_line(&mut stream), "");
    });
}

/// H1: a request of a gigabyte is never read completely.
#[test]
fn a_request_without_end_is_cut_off() {
    serve_while(Manager::Answers, |path, _| {
        let mut stream = connect(path);
        let padded = format!("{{\"v\":1,\"request\":\"status\"{}}}\n", " ".repeat(MAX_REQUEST - 27));
        assert_eq!(padded.len(), MAX_REQUEST);
        assert!(request(&mut stream, padded.as_bytes()).starts_with(r#"{"v":1,"ok":"#), "the longest one is taken");
        // The server closes while this is being written.
        while stream.get_mut().write_all(&[b'x'; 4096]).is_ok() {}
        assert!(read_line(&mut stream).contains(r#""code":"too_long""#));
        let _ = ControlClient::connect(path, LONG).unwrap().status().unwrap();
    });
}

/// H1.
#[test]
fn a_silent_client_and_half_a_request_meet_the_deadline() {
    serve_while(Manager::Answers, |path, order| {
        let (mut silent, mut half) = (connect(path), connect(path));
        half.get_mut().write_all(b"{\"v\":1,").unwrap();
        // Both are being served once a third one was.
        assert!(request(&mut connect(path), b"{\"v\":1,\"request\":\"status\"}\n").contains("\"ok\""));
        order.blocking_send(Order::JumpClock).unwrap();
        for stream in [&mut silent, &mut half] {
            let answer = read_line(stream);
            assert!(answer.contains(r#""code":"deadline","text":"no request arrived within 5 s""#), "{answer}");
            assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "then it is closed");
        }
    });
}

#[test]
fn a_manager_that_makes_no_answer_meets_the_deadline() {
    serve_while(Manager::NeverAnswers, |path, _| {
        let error = ControlClient::connect(path, LONG).unwrap().status().unwrap_err();
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().contains("made no answer within 5 s"), "{error}");
    });
}

#[test]
fn a_manager_that_is_ending_reports_it() {
    serve_while(Manager::IsGone, |path, _| {
        let error = ControlClient::connect(path, LONG).unwrap().status().unwrap_err();
        assert!(error.to_string().contains("just ending"), "{error}");
    });
}

/// H1.
#[test]
fn connections_are_bounded_and_come_free_again() {
    serve_while(Manager::Answers, |path, _| {
        let mut connections: Vec<_> = (0..MAX_CONNECTIONS).map(|_| connect(path)).collect();
        // Answered means admitted: the next one is one too many.
        for stream in &mut connections {
            assert!(request(stream, b"{\"v\":1,\"request\":\"status\"}\n").contains("\"ok\""));
        }
        for _ in 0..1000 {
            let answer = read_line(&mut connect(path));
            assert!(answer.contains(r#""code":"busy""#), "{answer}");
        }
        assert!(request(&mut connections[0], b"{\"v\":1,\"request\":\"status\"}\n").contains("\"ok\""));
        drop(connections);
        let deadline = std::time::Instant::now() + LONG;
        while ControlClient::connect(path, LONG).unwrap().status().is_err() {
            assert!(std::time::Instant::now() < deadline, "connections do not come free");
        }
    });
}

#[test]
fn events_as_they_come_and_the_latest() {
    serve_while(Manager::Answers, |path, order| {
        let follow = || ControlClient::connect(path, LONG).unwrap().follow_events().unwrap();
        let (mut first, mut second) = (follow(), follow());
        for pid in [7, 8] {
            order.blocking_send(Order::Publish(pid)).unwrap();
        }
        for events in [&mut first, &mut second] {
            for pid in [7, 8] {
                let event = events.next().unwrap().unwrap();
                assert_eq!((event.pid, event.level.as_str(), event.text.as_str()), (pid, "PROC", "an event"));
                assert_eq!(event.event["event"], "worker_ready");
            }
        }
        let latest = ControlClient::connect(path, LONG).unwrap().latest_events().unwrap();
        assert_eq!(latest.map(|event| event.unwrap().pid).collect::<Vec<_>>(), [7, 8]);
        // The manager's last event arrives, then the end.
        order.blocking_send(Order::Publish(9)).unwrap();
        order.blocking_send(Order::Close).unwrap();
        assert_eq!(first.next().unwrap().unwrap().pid, 9);
        assert!(first.next().is_none());
        assert!(!path.exists());
    });
}

#[test]
fn a_follower_that_does_not_read_is_dropped_and_delays_nobody() {
    serve_while(Manager::Answers, |path, order| {
        let mut slow = connect(path);
        assert!(request(&mut slow, b"{\"v\":1,\"request\":\"events\",\"follow\":true}\n").contains("following"));
        // More than its socket and the feed hold.
        for pid in 1..20_000 {
            order.blocking_send(Order::Publish(pid)).unwrap();
        }
        assert_eq!(ControlClient::connect(path, LONG).unwrap().status().unwrap(), sample_status());
        let mut received = String::new();
        slow.read_to_string(&mut received).unwrap();
        let last = received.lines().last().unwrap();
        assert!(last.contains(r#""code":"slow_reader""#) && last.contains("were lost"), "{last}");
        assert!(received.lines().all(|line| line.starts_with("{\"v\":1,") && line.ends_with('}')), "no line is cut");
    });
}

#[test]
fn a_follower_that_reads_nothing_at_all_is_dropped() {
    serve_while(Manager::Answers, |path, order| {
        let mut stuck = connect(path);
        assert!(request(&mut stuck, b"{\"v\":1,\"request\":\"events\",\"follow\":true}\n").contains("following"));
        for pid in 1..20_000 {
            order.blocking_send(Order::Publish(pid)).unwrap();
        }
        order.blocking_send(Order::JumpClock).unwrap();
        // Nothing is read and nothing else ends it, and still the server hangs up.
        let mut stream = [PollFd::new(stuck.get_ref().as_fd(), PollFlags::empty())];
        assert_eq!(poll(&mut stream, PollTimeout::from(30_000u16)).unwrap(), 1);
        assert!(stream[0].revents().unwrap().contains(PollFlags::POLLHUP));
    });
}

#[test]
fn a_follower_that_disconnects_frees_its_slot() {
    serve_while(Manager::Answers, |path, _| {
        for _ in 0..MAX_CONNECTIONS * 3 {
            let deadline = std::time::Instant::now() + LONG;
            while ControlClient::connect(path, LONG).unwrap().follow_events().is_err() {
                assert!(std::time::Instant::now() < deadline, "followers that are gone hold their places");
            }
        }
    });
}

/// H1, H8.
#[test]
fn another_user_is_refused_with_one_line() {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    const TEST: &str = "control::server::tests::another_user_is_refused_with_one_line";
    if reexec::is_child() {
        let path = PathBuf::from(std::env::var_os("GM_TEST_PATH").unwrap());
        RunUser::lookup("nobody").unwrap().drop_privileges().unwrap();
        if std::env::var_os("GM_TEST_MODE").is_some() {
            let error = ControlClient::connect(&path, LONG).unwrap_err();
            assert!(matches!(error, ClientError::NotAllowed { .. }), "{error}");
            assert_eq!(error.exit_code(), 4);
            return;
        }
        let mut stream = connect(&path);
        let answer = read_line(&mut stream);
        assert!(answer.contains(r#""code":"forbidden""#) && answer.contains("uid 65534 may not ask"), "{answer}");
        assert_eq!(read_line(&mut stream), "");
        let error = ControlClient::connect(&path, LONG).unwrap().status().unwrap_err();
        assert_eq!(error.exit_code(), 4, "{error}");
        return;
    }
    serve_while(Manager::Answers, |path, _| {
        fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
        // Its mode keeps them out first ...
        reexec::passes(reexec::child(TEST).env("GM_TEST_PATH", path).env("GM_TEST_MODE", "0600"));
        // ... and if someone changed that, the server does.
        fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
        reexec::passes(reexec::child(TEST).env("GM_TEST_PATH", path));
    });
}
