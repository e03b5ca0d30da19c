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
        assert_eq!(is_transient(&error), expected, "{error}");
        let expected = if expected { RejectionKind::Transient } else { RejectionKind::Permanent };
        assert_eq!(Rejection::cannot_open(String::new(), &error).kind(), expected, "{error}");
    }
    for (rejection, expected) in [
        (Rejection::Killed, RejectionKind::Transient),
        (Rejection::Hung { seconds: 10 }, RejectionKind::Transient),
        (Rejection::CopyHung { seconds: 10 }, RejectionKind::Transient),
        (Rejection::ProbeDied { how: "exited with code 101".into() }, RejectionKind::Transient),
        (Rejection::CannotRead("Input/output error".into()), RejectionKind::Transient),
        (Rejection::NoExec { dir: "/s".into() }, RejectionKind::StoreUnavailable),
        (Rejection::Crashed { signal: "SIGSEGV".into() }, RejectionKind::Permanent),
        (Rejection::Exited { code: 1 }, RejectionKind::Permanent),
        (Rejection::Empty, RejectionKind::Permanent),
        (Rejection::Vanished, RejectionKind::Permanent),
        (sibling(Rejection::Empty), RejectionKind::Permanent),
        (sibling(Rejection::CannotRead("Input/output error".into())), RejectionKind::Transient),
    ] {
        assert_eq!(rejection.kind(), expected, "{rejection}");
    }
}
