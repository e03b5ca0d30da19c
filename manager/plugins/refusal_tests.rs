use nix::libc;

use super::*;

fn sibling(reason: Refusal) -> Refusal {
    Refusal::Sibling { library: "b.so".into(), path: "/w/b.so".into(), reason: Box::new(reason) }
}

#[test]
fn what_may_pass() {
    for (code, expected) in [
        (libc::EMFILE, true),
        (libc::ENFILE, true),
        (libc::EIO, true),
        (libc::ENOMEM, true),
        (libc::ESTALE, true),
        (libc::ETIMEDOUT, true),
        (libc::EACCES, false),
        (libc::ELOOP, false),
        (libc::ENOENT, false),
    ] {
        let error = io::Error::from_raw_os_error(code);
        assert_eq!(passes(&error), expected, "{error}");
        let expected = if expected { Lasts::Passing } else { Lasts::Wrong };
        assert_eq!(Refusal::cannot_open(String::new(), &error).lasts(), expected, "{error}");
    }
    for (refusal, expected) in [
        (Refusal::Killed, Lasts::Passing),
        (Refusal::Hung { seconds: 10 }, Lasts::Passing),
        (Refusal::CopyHung { seconds: 10 }, Lasts::Passing),
        (Refusal::ProbeDied { how: "exited with code 101".into() }, Lasts::Passing),
        (Refusal::CannotRead("Input/output error".into()), Lasts::Passing),
        (Refusal::NoExec { dir: "/s".into() }, Lasts::NoRoom),
        (Refusal::Crashed { signal: "SIGSEGV".into() }, Lasts::Wrong),
        (Refusal::Exited { code: 1 }, Lasts::Wrong),
        (Refusal::Empty, Lasts::Wrong),
        (Refusal::Vanished, Lasts::Wrong),
        (sibling(Refusal::Empty), Lasts::Wrong),
        (sibling(Refusal::CannotRead("Input/output error".into())), Lasts::Passing),
    ] {
        assert_eq!(refusal.lasts(), expected, "{refusal}");
    }
}
