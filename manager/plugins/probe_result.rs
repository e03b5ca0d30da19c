//! Decides a probe's result from its exit status and its messages. Pure: the manager's side.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::probe::EXIT_NOT_REPORTED;
use super::rejection::Rejection;
use super::report::{LoadableLibrary, ProbeMessage, decode};
use super::siblings::SiblingPlace;

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeExit {
    /// It exited by itself, with this code.
    Exited(i32),
    /// A signal killed it.
    Signalled(i32),
    /// The manager killed it, after this time without a report.
    Deadline(Duration),
    /// The manager stopped it for another reason: it has its report, or is stopping itself.
    Stopped,
    /// The manager could not read what it sent; it ended in either way.
    Unread,
}

/// glibc's loader exits with this if it cannot continue.
const LOADER_GAVE_UP: i32 = 127;

/// Decides the result of a probe. `messages` are the bytes of each message it sent, in order; `nonce` is the request's.
///
/// A report counts however the probe ended. Without one nothing counts: not exit code 0, nor what a constructor wrote.
///
/// # Errors
/// The rejection in the report; or the meaning of an end without a report.
pub fn judge_probe(nonce: &str, ended: ProbeExit, messages: &[Vec<u8>]) -> Result<LoadableLibrary, Rejection> {
    let mut loading = false;
    for message in messages {
        match decode(message) {
            Ok(ProbeMessage::Beside { nonce: theirs, .. }) if theirs == nonce => {}
            Ok(ProbeMessage::Loading { nonce: theirs }) if theirs == nonce => loading = true,
            Ok(ProbeMessage::Report(report)) if report.nonce == nonce => return report.result,
            _ => return Err(Rejection::Meddled { what: "wrote to".into() }),
        }
    }
    Err(if loading { in_the_library(ended) } else { before_the_library(ended) })
}

/// Where the library looks for others, if the probe got that far, else `None`.
pub fn sibling_places(nonce: &str, messages: &[Vec<u8>]) -> Option<Vec<SiblingPlace>> {
    let mut looked: Option<Vec<SiblingPlace>> = None;
    for message in messages {
        match decode(message) {
            Ok(ProbeMessage::Beside { nonce: theirs, beside }) if theirs == nonce => {
                looked.get_or_insert_default().extend(beside);
            }
            // This message comes after all of them.
            Ok(ProbeMessage::Loading { nonce: theirs }) if theirs == nonce => return Some(looked.unwrap_or_default()),
            _ => break,
        }
    }
    looked
}

fn in_the_library(ended: ProbeExit) -> Rejection {
    match ended {
        ProbeExit::Exited(EXIT_NOT_REPORTED) => Rejection::Meddled { what: "closed".into() },
        ProbeExit::Exited(LOADER_GAVE_UP) => Rejection::LoaderGaveUp,
        ProbeExit::Exited(code) => Rejection::Exited { code },
        ProbeExit::Signalled(nix::libc::SIGKILL) => Rejection::Killed,
        ProbeExit::Signalled(signal) => Rejection::Crashed { signal: signal_name(signal) },
        ProbeExit::Deadline(after) => Rejection::Hung { seconds: seconds(after) },
        ProbeExit::Stopped => Rejection::ProbeDied { how: "was stopped while it loaded the library".into() },
        ProbeExit::Unread => unread(),
    }
}

fn unread() -> Rejection {
    Rejection::ProbeDied { how: "sent a report that the manager could not read".into() }
}

fn before_the_library(ended: ProbeExit) -> Rejection {
    let how = match ended {
        ProbeExit::Unread => return unread(),
        ProbeExit::Deadline(after) => return Rejection::CopyHung { seconds: seconds(after) },
        ProbeExit::Signalled(nix::libc::SIGKILL) => return Rejection::Killed,
        ProbeExit::Exited(code) => format!("exited with code {code} before it loaded the library"),
        ProbeExit::Signalled(signal) => format!("was killed by {} before it loaded the library", signal_name(signal)),
        ProbeExit::Stopped => "was stopped before it loaded the library".into(),
    };
    Rejection::ProbeDied { how }
}

fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().into())
}

/// For a sentence, at least 1.
fn seconds(time: Duration) -> u64 {
    time.as_secs().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::content_hash::ContentHash;
    use crate::plugins::identity::FileIdentity;
    use crate::plugins::report::{ProbeReport, encode};

    fn found() -> LoadableLibrary {
        LoadableLibrary {
            hash: ContentHash::of_reader(&b""[..]).unwrap(),
            siblings: Vec::new(),
            elsewhere: Vec::new(),
            source: FileIdentity { dev: 1, ino: 1, size: 0, mtime: (0, 0), ctime: (0, 0) },
            name: "x".into(),
            functions: vec!["x".into()],
            version: "1.0.0".into(),
            interface: "1.0".into(),
            compiler: String::new(),
            unwinds: true,
            has_go: false,
            object: false,
            needed: vec![],
            glibc: None,
        }
    }

    fn report(nonce: &str, result: Result<LoadableLibrary, Rejection>) -> Vec<u8> {
        encode(&ProbeMessage::Report(Box::new(ProbeReport { nonce: nonce.into(), result }))).unwrap()
    }

    #[test]
    fn where_a_library_has_others_looked_for_is_known_once_that_was_read() {
        let found_there = vec![SiblingPlace { path: "/w/b.so".into(), identity: None }];
        let beside = |nonce: &str| {
            let beside = found_there.clone();
            encode(&ProbeMessage::Beside { nonce: nonce.into(), beside }).unwrap()
        };
        let loading = encode(&ProbeMessage::Loading { nonce: "n".into() }).unwrap();
        let refused = report("n", Err(Rejection::Vanished));
        for (what, messages, expected) in [
            ("no message", vec![], None),
            ("refused before", vec![refused.clone()], None),
            ("nowhere", vec![loading.clone()], Some(vec![])),
            ("there", vec![beside("n"), loading.clone()], Some(found_there.clone())),
            ("there, and refused for it", vec![beside("n"), refused], Some(found_there.clone())),
            (
                "there and there",
                vec![beside("n"), beside("n"), loading.clone()],
                Some([&found_there[..], &found_there].concat()),
            ),
            ("there, then somebody meddled", vec![beside("n"), b"ok".to_vec()], Some(found_there.clone())),
            ("by somebody else", vec![beside("m")], None),
        ] {
            assert_eq!(sibling_places("n", &messages), expected, "{what}");
        }
        let good = report("n", Ok(found()));
        assert!(judge_probe("n", ProbeExit::Exited(0), &[beside("n"), good.clone()]).is_ok());
        assert!(judge_probe("n", ProbeExit::Exited(0), &[beside("m"), good]).is_err());
    }

    #[test]
    fn every_end() {
        let loading = encode(&ProbeMessage::Loading { nonce: "n".into() }).unwrap();
        let ok = report("n", Ok(found()));
        let (forged, refused) = (report("", Ok(found())), report("n", Err(Rejection::Empty)));
        let closed = "closed file descriptors that it did not open; a constructor may use only its own";
        let wrote = closed.replace("closed", "wrote to");
        let empty = "is empty; copy it again, ideally under another name, then rename it";
        let unread = "was not checked: the probe sent a report that the manager could not read; please report this";
        let ten = ProbeExit::Deadline(Duration::from_secs(10));
        let cases: Vec<(ProbeExit, Vec<&[u8]>, &str)> = vec![
            // A report counts, however the probe ended.
            (ProbeExit::Stopped, vec![&loading, &ok], "found"),
            (ProbeExit::Exited(0), vec![&loading, &ok], "found"),
            (ProbeExit::Signalled(11), vec![&loading, &ok], "found"),
            (ten, vec![&loading, &ok], "found"),
            (ProbeExit::Exited(0), vec![&refused], empty),
            // Without a report there is no success.
            (
                ProbeExit::Exited(0),
                vec![&loading],
                "exited with code 0 while loading; a constructor must return, not exit",
            ),
            (
                ProbeExit::Exited(3),
                vec![&loading],
                "exited with code 3 while loading; a constructor must return, not exit",
            ),
            // A report that the manager could not read: the library is not to blame, whatever the probe was doing.
            (ProbeExit::Unread, vec![&loading], unread),
            (ProbeExit::Unread, vec![], unread),
            (ProbeExit::Exited(EXIT_NOT_REPORTED), vec![&loading], closed),
            (
                ProbeExit::Exited(127),
                vec![&loading],
                "made the system's loader give up; it is damaged: copy it again, or build it again",
            ),
            (
                ProbeExit::Signalled(11),
                vec![&loading],
                "crashed with SIGSEGV while loading (in a constructor, or it is damaged); try it under a debugger",
            ),
            (
                ProbeExit::Signalled(36),
                vec![&loading],
                "crashed with signal 36 while loading (in a constructor, or it is damaged); try it under a debugger",
            ),
            (ProbeExit::Signalled(9), vec![&loading], "was killed during the check, probably for lack of memory"),
            (
                ten,
                vec![&loading],
                "did not load within 10 s: one of its constructors does not return; fix it, or raise \
                 probe_timeout",
            ),
            // Messages that are not the probe's.
            (ProbeExit::Exited(0), vec![&loading, b"ok"], &wrote),
            (ProbeExit::Exited(0), vec![&loading, b""], &wrote),
            (ProbeExit::Exited(0), vec![&loading, &forged], &wrote),
            (ProbeExit::Stopped, vec![&loading, &forged, &ok], &wrote),
            // Not the library's doing.
            (
                ten,
                vec![],
                "could not be copied within 10 s: its file system is slow or hangs; raise probe_timeout if it is only \
                 slow",
            ),
            (
                ProbeExit::Signalled(7),
                vec![],
                "was not checked: the probe was killed by SIGBUS before it loaded the library; please report this",
            ),
            (
                ProbeExit::Exited(101),
                vec![],
                "was not checked: the probe exited with code 101 before it loaded the library; please report this",
            ),
            (ProbeExit::Signalled(9), vec![], "was killed during the check, probably for lack of memory"),
        ];
        for (ended, messages, expected) in cases {
            let messages: Vec<Vec<u8>> = messages.into_iter().map(<[u8]>::to_vec).collect();
            let exit_cause = match judge_probe("n", ended, &messages) {
                Ok(what) => {
                    assert_eq!(what, found());
                    "found".into()
                }
                Err(rejection) => rejection.to_string(),
            };
            assert_eq!(exit_cause, expected, "{ended:?} after {} messages", messages.len());
        }
    }
}
