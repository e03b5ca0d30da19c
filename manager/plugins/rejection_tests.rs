use nix::libc;

use super::*;

fn sibling(reason: Rejection) -> Rejection {
    Rejection::Sibling { library: "b.so".into(), path: "/w/b.so".into(), reason: Box::new(reason) }
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
        assert_eq!(Rejection::cannot_open(String::new(), &error).lasts(), expected, "{error}");
    }
    for (rejection, expected) in [
        (Rejection::Killed, Lasts::Passing),
        (Rejection::Hung { seconds: 10 }, Lasts::Passing),
        (Rejection::CopyHung { seconds: 10 }, Lasts::Passing),
        (Rejection::ProbeDied { how: "exited with code 101".into() }, Lasts::Passing),
        (Rejection::CannotRead("Input/output error".into()), Lasts::Passing),
        (Rejection::NoExec { dir: "/s".into() }, Lasts::NoRoom),
        (Rejection::Crashed { signal: "SIGSEGV".into() }, Lasts::Wrong),
        (Rejection::Exited { code: 1 }, Lasts::Wrong),
        (Rejection::Empty, Lasts::Wrong),
        (Rejection::Vanished, Lasts::Wrong),
        (sibling(Rejection::Empty), Lasts::Wrong),
        (sibling(Rejection::CannotRead("Input/output error".into())), Lasts::Passing),
    ] {
        assert_eq!(rejection.lasts(), expected, "{rejection}");
    }
}
