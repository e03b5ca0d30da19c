//! What became of a probe, from how it ended and what it said. Pure: the manager's side.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::probe::EXIT_UNHEARD;
use super::refusal::Refusal;
use super::report::{Found, ProbeWord, decode};
use super::siblings::Beside;

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// By the manager, after this time without a report.
    Deadline(Duration),
    /// By the manager for another reason: it has its report, or is itself stopping.
    Stopped,
}

/// glibc's loader ends the process with this when it cannot go on.
const LOADER_GAVE_UP: i32 = 127;

/// Judges a probe. `messages` are the bytes of each message it sent, in order; `nonce` is the order's.
///
/// A report counts however the probe ended. Without one nothing does: not exit code 0, nor what a constructor wrote.
///
/// # Errors
/// The report's refusal; or what the end without a report means.
pub fn judge_probe(nonce: &str, ended: Ended, messages: &[Vec<u8>]) -> Result<Found, Refusal> {
    let mut loading = false;
    for message in messages {
        match decode(message) {
            Ok(ProbeWord::Beside { nonce: theirs, .. }) if theirs == nonce => {}
            Ok(ProbeWord::Loading { nonce: theirs }) if theirs == nonce => loading = true,
            Ok(ProbeWord::Report(report)) if report.nonce == nonce => return report.result,
            _ => return Err(Refusal::Meddled { what: "wrote to".into() }),
        }
    }
    Err(if loading { in_the_library(ended) } else { before_the_library(ended) })
}

/// Where the library has others looked for, as far as the probe came: `None` where it did not come so far.
pub fn looked_beside(nonce: &str, messages: &[Vec<u8>]) -> Option<Vec<Beside>> {
    let mut looked: Option<Vec<Beside>> = None;
    for message in messages {
        match decode(message) {
            Ok(ProbeWord::Beside { nonce: theirs, beside }) if theirs == nonce => {
                looked.get_or_insert_default().extend(beside);
            }
            // It comes after all of it.
            Ok(ProbeWord::Loading { nonce: theirs }) if theirs == nonce => return Some(looked.unwrap_or_default()),
            _ => break,
        }
    }
    looked
}

fn in_the_library(ended: Ended) -> Refusal {
    match ended {
        Ended::Exited(EXIT_UNHEARD) => Refusal::Meddled { what: "closed".into() },
        Ended::Exited(LOADER_GAVE_UP) => Refusal::LoaderGaveUp,
        Ended::Exited(code) => Refusal::Exited { code },
        Ended::Signalled(nix::libc::SIGKILL) => Refusal::Killed,
        Ended::Signalled(signal) => Refusal::Crashed { signal: signal_name(signal) },
        Ended::Deadline(after) => Refusal::Hung { seconds: seconds(after) },
        Ended::Stopped => Refusal::ProbeDied { how: "was stopped".into() },
    }
}

fn before_the_library(ended: Ended) -> Refusal {
    let how = match ended {
        Ended::Deadline(after) => return Refusal::CopyHung { seconds: seconds(after) },
        Ended::Signalled(nix::libc::SIGKILL) => return Refusal::Killed,
        Ended::Exited(code) => format!("exited with code {code}"),
        Ended::Signalled(signal) => format!("was ended by {}", signal_name(signal)),
        Ended::Stopped => "was stopped".into(),
    };
    Refusal::ProbeDied { how }
}

fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().into())
}

/// In a sentence, at least 1.
fn seconds(time: Duration) -> u64 {
    time.as_secs().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::hash::ContentHash;
    use crate::plugins::identity::Identity;
    use crate::plugins::report::{ProbeReport, encode};

    fn found() -> Found {
        Found {
            hash: ContentHash::of_reader(&b""[..]).unwrap(),
            siblings: Vec::new(),
            elsewhere: Vec::new(),
            source: Identity { dev: 1, ino: 1, size: 0, mtime: (0, 0), ctime: (0, 0) },
            name: "x".into(),
            functions: vec!["x".into()],
            version: "1.0.0".into(),
            interface: "1.0".into(),
            compiler: String::new(),
            unwinds: true,
            object: false,
            needed: vec![],
            glibc: None,
        }
    }

    fn report(nonce: &str, result: Result<Found, Refusal>) -> Vec<u8> {
        encode(&ProbeWord::Report(Box::new(ProbeReport { nonce: nonce.into(), result }))).unwrap()
    }

    #[test]
    fn where_a_library_has_others_looked_for_is_known_once_that_was_read() {
        let found_there = vec![Beside { path: "/w/b.so".into(), identity: None }];
        let beside = |nonce: &str| {
            let beside = found_there.clone();
            encode(&ProbeWord::Beside { nonce: nonce.into(), beside }).unwrap()
        };
        let loading = encode(&ProbeWord::Loading { nonce: "n".into() }).unwrap();
        let refused = report("n", Err(Refusal::Vanished));
        for (what, messages, expected) in [
            ("nothing was said", vec![], None),
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
            assert_eq!(looked_beside("n", &messages), expected, "{what}");
        }
        let good = report("n", Ok(found()));
        assert!(judge_probe("n", Ended::Exited(0), &[beside("n"), good.clone()]).is_ok());
        assert!(judge_probe("n", Ended::Exited(0), &[beside("m"), good]).is_err());
    }

    #[test]
    fn every_end() {
        let loading = encode(&ProbeWord::Loading { nonce: "n".into() }).unwrap();
        let ok = report("n", Ok(found()));
        let (forged, refused) = (report("", Ok(found())), report("n", Err(Refusal::Empty)));
        let closed =
            "closed descriptors that are not its own while it was loaded; a constructor may use only what it opened";
        let wrote = closed.replace("closed", "wrote to");
        let empty = "is empty; copy it again, best to another name that is then renamed to this one";
        let ten = Ended::Deadline(Duration::from_secs(10));
        let cases: Vec<(Ended, Vec<&[u8]>, &str)> = vec![
            // A report counts, however the probe ended.
            (Ended::Stopped, vec![&loading, &ok], "found"),
            (Ended::Exited(0), vec![&loading, &ok], "found"),
            (Ended::Signalled(11), vec![&loading, &ok], "found"),
            (ten, vec![&loading, &ok], "found"),
            (Ended::Exited(0), vec![&refused], empty),
            // Without one, success is none.
            (
                Ended::Exited(0),
                vec![&loading],
                "ended the process with exit code 0 while it was loaded; a constructor must return, not exit",
            ),
            (
                Ended::Exited(3),
                vec![&loading],
                "ended the process with exit code 3 while it was loaded; a constructor must return, not exit",
            ),
            (Ended::Exited(EXIT_UNHEARD), vec![&loading], closed),
            (
                Ended::Exited(127),
                vec![&loading],
                "made the system's loader give up while it was loaded; it is damaged: copy it again, or build it again",
            ),
            (
                Ended::Signalled(11),
                vec![&loading],
                "crashed with SIGSEGV while loading (in a constructor, or it is damaged); try it under a debugger",
            ),
            (
                Ended::Signalled(36),
                vec![&loading],
                "crashed with signal 36 while loading (in a constructor, or it is damaged); try it under a debugger",
            ),
            (Ended::Signalled(9), vec![&loading], "was killed while it was looked at, probably for lack of memory"),
            (
                ten,
                vec![&loading],
                "was not loaded within 10 s: one of its constructors does not return; mend it, or raise \
                 probe_timeout",
            ),
            // Words that are not ours.
            (Ended::Exited(0), vec![&loading, b"ok"], &wrote),
            (Ended::Exited(0), vec![&loading, b""], &wrote),
            (Ended::Exited(0), vec![&loading, &forged], &wrote),
            (Ended::Stopped, vec![&loading, &forged, &ok], &wrote),
            // Not the library's doing.
            (
                ten,
                vec![],
                "was not copied within 10 s: its file system is slow or hangs; raise probe_timeout if it is only slow",
            ),
            (
                Ended::Signalled(7),
                vec![],
                "was not looked at: the probe was ended by SIGBUS before loading it; please report this",
            ),
            (
                Ended::Exited(101),
                vec![],
                "was not looked at: the probe exited with code 101 before loading it; please report this",
            ),
            (Ended::Signalled(9), vec![], "was killed while it was looked at, probably for lack of memory"),
        ];
        for (ended, messages, expected) in cases {
            let messages: Vec<Vec<u8>> = messages.into_iter().map(<[u8]>::to_vec).collect();
            let verdict = match judge_probe("n", ended, &messages) {
                Ok(what) => {
                    assert_eq!(what, found());
                    "found".into()
                }
                Err(refusal) => refusal.to_string(),
            };
            assert_eq!(verdict, expected, "{ended:?} after {} messages", messages.len());
        }
    }
}
