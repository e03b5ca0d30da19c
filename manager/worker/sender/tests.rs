//! Over a pair of sockets, with the scoreboard that the manager would read.

use std::io::Read;
use std::os::unix::net::UnixStream;

use super::*;
use crate::plugins::loader::ResultBytes;
use crate::scoreboard::{self, ScoreboardView};

/// No socket takes as much at once.
const LARGE: usize = 8 << 20;

fn connected() -> (Mutex<Sender>, UnixStream, ScoreboardView) {
    let (here, there) = UnixStream::pair().unwrap();
    let (fd, view) = scoreboard::create(1, 0).unwrap();
    let scoreboard = Arc::new(ScoreboardWriter::map(&fd, 1).unwrap());
    (Mutex::new(Sender::new(Arc::new(Socket::from(here)), scoreboard, 1)), there, view)
}

fn limit() -> Duration {
    Duration::from_secs(60)
}

#[test]
fn a_part_is_sent_whole_when_its_call_returns_and_no_lock_is_held_meanwhile() {
    let (sender, mut there, view) = connected();
    let data = vec![7; LARGE];
    std::thread::scope(|threads| {
        let part = threads.spawn(|| send_part(&sender, [b"head", &data], || true, limit()));
        // Half a packet is on the wire, and others get at the sender all the time.
        while !view.read().sending || !lock(&sender).has_pending() {
            std::thread::yield_now();
        }
        assert!(lock(&sender).send_status(b"status"), "dropped, but the connection is there");
        let mut all = vec![0; LARGE + 4];
        there.read_exact(&mut all).unwrap();
        assert!(part.join().unwrap());
        assert_eq!(&all[..6], b"head\x07\x07");
    });
    assert!(!view.read().sending && !lock(&sender).has_pending());
}

/// S19: however a send fails, the flag is for the living.
#[test]
fn a_send_that_fails_lowers_the_flag_and_ends_the_connection() {
    type Fails = fn(&Mutex<Sender>);
    let send: Fails = |sender| assert!(lock(sender).send([b"x"]).is_err());
    let answer: Fails =
        |sender| assert!(lock(sender).send_answer(&mut b"x".to_vec(), &mut ResultBytes::default(), b"").is_err());
    let part: Fails = |sender| assert!(!send_part(sender, [b"x", b""], || true, limit()));
    for fails in [send, answer, part] {
        let (sender, there, view) = connected();
        lock(&sender).send([&vec![1; LARGE]]).unwrap();
        assert!(view.read().sending);
        drop(there);
        fails(&sender);
        assert!(!view.read().sending);
        assert!(lock(&sender).send([b"more"]).is_err(), "nothing follows half a packet");
    }
}

#[test]
fn a_part_without_room_is_dropped_and_stays_half_sent() {
    let (sender, _there, view) = connected();
    let data = vec![7; LARGE];
    assert!(!send_part(&sender, [b"head", &data], || true, Duration::from_millis(20)));
    assert!(view.read().sending, "a half of it is on the wire");
    assert!(!send_part(&sender, [b"next", b""], || true, Duration::from_millis(20)), "behind it");
    drop(sender);
    assert!(!view.read().sending, "with its connection");
}

#[test]
fn a_part_of_a_job_that_is_over_is_not_begun() {
    let (sender, mut there, _view) = connected();
    assert!(!send_part(&sender, [b"late", b""], || false, limit()));
    lock(&sender).send([b"next"]).unwrap();
    let mut came = [0; 4];
    there.read_exact(&mut came).unwrap();
    assert_eq!(&came, b"next");
}

/// Reads everything, from a thread, until the other end is dropped.
fn read_all(mut there: UnixStream) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        there.read_to_end(&mut all).unwrap();
        all
    })
}

fn flush_all(sender: &Mutex<Sender>) {
    while lock(sender).has_pending() {
        lock(sender).flush().unwrap();
        std::thread::yield_now();
    }
}

#[test]
fn an_answer_follows_what_was_pending() {
    let (sender, there, view) = connected();
    let data = vec![7; LARGE];
    lock(&sender).send([b"head", &data]).unwrap();
    let answered = lock(&sender).send_answer(&mut b"answer".to_vec(), &mut b"data".to_vec().into(), b"grab").unwrap();
    assert_eq!(answered, Answered::Pending);
    let reader = read_all(there);
    flush_all(&sender);
    assert!(!view.read().sending);
    drop(sender);
    let all = reader.join().unwrap();
    assert_eq!((all.len(), &all[LARGE + 4..]), (LARGE + 14, b"answerdata".as_slice()), "and no GRAB");
}

/// An answer that has room goes out with the GRAB, and its buffer is kept; else the rest waits, what comes later behind
/// it, and nobody is asked for a job.
#[test]
fn an_answer_without_room_is_pending_and_asks_for_nothing() {
    let (sender, mut there, view) = connected();
    let mut head = b"head".to_vec();
    let answered = lock(&sender).send_answer(&mut head, &mut b"data".to_vec().into(), b"grab").unwrap();
    assert_eq!((answered, head.as_slice(), view.read().sending), (Answered::Whole, b"head".as_slice(), false));
    let mut came = [0; 12];
    there.read_exact(&mut came).unwrap();
    assert_eq!(&came, b"headdatagrab");
    let answered = lock(&sender).send_answer(&mut head, &mut vec![7; LARGE].into(), b"grab").unwrap();
    assert_eq!((answered, view.read().sending), (Answered::Pending, true));
    lock(&sender).send([b"echo"]).unwrap();
    let reader = read_all(there);
    flush_all(&sender);
    assert!(!view.read().sending);
    drop(sender);
    let all = reader.join().unwrap();
    assert_eq!((all.len(), &all[..4], &all[LARGE + 4..]), (LARGE + 8, b"head".as_slice(), b"echo".as_slice()));
}

/// The server may have reset the connection at an answer that was sent before.
#[test]
fn a_job_is_to_blame_for_a_shutdown_only_if_nothing_was_sent_since_it_came() {
    for (sends, is_last, blamed) in [(false, true, true), (true, true, false), (false, false, false)] {
        let (sender, _there, _view) = connected();
        let mut sender = lock(&sender);
        sender.received();
        if sends {
            sender.send([b"the answer to the job before"]).unwrap();
        }
        sender.job_begins(is_last);
        sender.socket.shutdown(std::net::Shutdown::Both).unwrap();
        assert!(sender.send([b"its own"]).is_err());
        assert_eq!(sender.was_shut_down(), blamed);
    }
}
