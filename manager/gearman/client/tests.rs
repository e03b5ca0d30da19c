//! Against a scripted peer.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::*;
use crate::gearman::admin;
use crate::gearman::packet::{Priority, answer};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(30);
const NORMAL: Submission = Submission::Foreground(Priority::Normal);

/// A server that accepts one connection, reads something, sends `words`, and then either keeps the connection until its
/// peer closes it or closes it at once.
struct Peer {
    server: String,
    thread: JoinHandle<()>,
}

#[derive(PartialEq)]
enum After {
    Wait,
    Close,
}

impl Peer {
    fn saying(words: Vec<u8>, after: After) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap().to_string();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(&words).unwrap();
            if after == After::Wait {
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        Self { server, thread }
    }

    fn client(&self, timeout: Duration) -> Client {
        Client::connect(&self.server, timeout, 1 << 20).unwrap()
    }

    /// The error's text without the server's address, which varies.
    fn sentence(self, error: &ServerError) -> String {
        let sentence = error.to_string().replace(&self.server, "SERVER");
        self.thread.join().unwrap();
        sentence
    }
}

#[test]
fn what_arrives_before_an_answer_is_kept() {
    let mut words = Vec::new();
    answer::work_status(&mut words, b"H:1", 1, 2).unwrap();
    words.extend(answer::NOOP);
    answer::work_fail(&mut words, b"H:1").unwrap();
    answer::job_created(&mut words, b"H:2").unwrap();
    let peer = Peer::saying(words, After::Wait);
    let mut client = peer.client(LONG);
    assert_eq!(client.submit(NORMAL, b"f", b"", b"x").unwrap(), b"H:2");
    let mut next = || client.next_event(Instant::now()).unwrap().map(|event| (event.handle, event.event));
    assert_eq!(next(), Some((b"H:1".to_vec(), JobEvent::Status { done: 1, of: 2 })));
    assert_eq!(next(), Some((b"H:1".to_vec(), JobEvent::Fail)));
    assert_eq!(next(), None);
}

#[test]
fn an_unresponsive_server_is_waited_for_no_longer_than_asked() {
    let peer = Peer::saying(Vec::new(), After::Wait);
    let mut client = peer.client(SHORT);
    let error = client.echo(b"?").unwrap_err();
    drop(client);
    assert_eq!(peer.sentence(&error), "job server SERVER did not answer ECHO_REQ within 0.03 s");
}

#[test]
fn a_server_that_goes_away_is_named() {
    let peer = Peer::saying(Vec::new(), After::Close);
    let error = peer.client(LONG).echo(b"?").unwrap_err();
    assert_eq!(peer.sentence(&error), "job server SERVER closed the connection before it answered ECHO_REQ");
}

#[test]
fn a_refusal_is_escaped() {
    let mut words = Vec::new();
    answer::error(&mut words, b"queue_error", b"\x1b[2J").unwrap();
    let peer = Peer::saying(words, After::Close);
    let error = peer.client(LONG).submit(NORMAL, b"f", b"", b"x").unwrap_err();
    assert_eq!(peer.sentence(&error), "job server SERVER refused a job: queue_error: \\x1b[2J");
}

#[test]
fn nonsense_is_an_error() {
    let peer = Peer::saying(b"\0RES\0\0\0\x08\xff\xff\xff\xff".to_vec(), After::Wait);
    let mut client = peer.client(LONG);
    let error = client.submit(NORMAL, b"f", b"", b"x").unwrap_err();
    drop(client);
    assert_eq!(
        peer.sentence(&error),
        "job server SERVER sent something unreadable: a JOB_CREATED packet claims 4294967295 bytes, more than \
         max_packet allows (1048576)"
    );
}

#[test]
fn nobody_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = Client::connect(&server, LONG, 1).err().unwrap();
    assert!(error.to_string().starts_with(&format!("cannot connect to job server {server}: ")), "{error}");
    let error = Client::connect("no port", LONG, 1).err().unwrap();
    assert!(error.to_string().starts_with("cannot look up job server no port: "), "{error}");
}

#[test]
fn a_request_with_a_nul_is_not_sent() {
    let peer = Peer::saying(Vec::new(), After::Close);
    let mut client = peer.client(LONG);
    let error = client.submit(NORMAL, b"f\0", b"", b"x").unwrap_err();
    assert!(matches!(error, ServerError::Argument { .. }), "{error}");
    // The peer waits for something to read.
    assert!(client.echo(b"").is_err());
    assert!(peer.sentence(&error).starts_with("cannot ask job server SERVER: the function"));
}

#[test]
fn an_administrative_answer_is_bounded_too() {
    let peer = Peer::saying(b"ERR unknown_command Unknown+server+command\r\n".to_vec(), After::Wait);
    let error = admin::status(&peer.server, LONG).unwrap_err();
    let wanted =
        "job server SERVER answered status with \"ERR unknown_command Unknown+server+command\", which is not its form";
    assert_eq!(peer.sentence(&error), wanted);

    let peer = Peer::saying(b"reverse\t1\t1\t1\n".to_vec(), After::Wait);
    let error = admin::status(&peer.server, SHORT).unwrap_err();
    assert_eq!(peer.sentence(&error), "job server SERVER did not answer status within 0.03 s");

    let peer = Peer::saying(b"reverse\t1\t1\t1\n".to_vec(), After::Close);
    let error = admin::workers(&peer.server, LONG).unwrap_err();
    assert_eq!(peer.sentence(&error), "job server SERVER closed the connection before it answered workers");

    let peer = Peer::saying(b"reverse\t3\t2\t1\nodd\nname\t1\t0\t0\n.\n".to_vec(), After::Wait);
    let listed = admin::status(&peer.server, LONG).unwrap();
    let names: Vec<&str> = listed.iter().map(|status| status.function.as_str()).collect();
    assert_eq!(names, ["reverse", "name"]);
    peer.thread.join().unwrap();
}

#[test]
fn a_server_is_greeted_whatever_it_knows() {
    let unknown = JobStatus { known: false, running: false, done: 0, of: 0 };
    let mut status = Vec::new();
    answer::status_res(&mut status, b"H:nobody:0", unknown).unwrap();
    let mut option = Vec::new();
    answer::option_res(&mut option, b"exceptions").unwrap();
    let mut refusal = Vec::new();
    answer::error(&mut refusal, b"unknown_option", b"").unwrap();
    for words in [status.clone(), [option, status.clone()].concat(), [refusal, status].concat()] {
        let peer = Peer::saying(words, After::Wait);
        peer.client(LONG).greet().unwrap();
        peer.thread.join().unwrap();
    }
    let peer = Peer::saying(Vec::new(), After::Wait);
    let mut client = peer.client(LONG);
    client.set_timeout(SHORT).unwrap();
    let error = client.greet().unwrap_err();
    drop(client);
    assert_eq!(peer.sentence(&error), "job server SERVER did not answer GET_STATUS within 0.03 s");
}
