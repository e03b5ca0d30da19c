use std::os::unix::net::UnixListener;

use super::*;

/// Longer than anything takes that works.
const LONG: Duration = Duration::from_secs(30);

/// A listener that sends `answer` to one client and closes, and the client's result.
fn status_of(answer: &'static [u8]) -> Result<StatusReply, ClientError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let manager = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        reader.read_until(b'\n', &mut Vec::new()).unwrap();
        reader.get_mut().write_all(answer).unwrap();
    });
    let status = ControlClient::connect(&path, LONG).unwrap().status();
    manager.join().unwrap();
    status
}

#[test]
fn nobody_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let error = ControlClient::connect(&path, LONG).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().starts_with(&format!("no manager answers at {}: No such file", path.display())));
    drop(UnixListener::bind(&path).unwrap());
    let error = ControlClient::connect(&path, LONG).unwrap_err();
    assert_eq!(error.exit_code(), 3, "a stale socket: {error}");
    assert_eq!(status_of(b"").unwrap_err().exit_code(), 3, "gone before it answered");
}

#[test]
fn an_unresponsive_manager_meets_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    // It never accepts, like a stopped manager.
    let _listener = UnixListener::bind(&path).unwrap();
    let error = ControlClient::connect(&path, Duration::from_millis(50)).unwrap().status().unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(error.to_string().contains("did not answer within 50ms"), "{error}");
}

#[test]
fn answers_that_are_not_understood() {
    let cases: [(&[u8], &str); 5] = [
        (b"hello\n", "expected value"),
        (b"{\"v\":1}\n", "neither ok nor error"),
        (b"{\"v\":2,\"ok\":{}}\n", "it speaks version 2"),
        (b"{\"v\":1,\"ok\":{}}\n", "missing field"),
        (b"{\"v\":1,\"ok\":", "EOF while parsing"),
    ];
    for (answer, expected) in cases {
        let error = status_of(answer).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn refusals_have_their_exit_codes() {
    let cases: [(&[u8], u8); 4] = [
        (b"{\"v\":1,\"error\":{\"code\":\"forbidden\",\"text\":\"no\"}}\n", 4),
        (b"{\"v\":1,\"error\":{\"code\":\"busy\",\"text\":\"no\"}}\n", 4),
        (b"{\"v\":1,\"error\":{\"code\":\"deadline\",\"text\":\"no\"}}\n", 5),
        (b"{\"v\":1,\"error\":{\"code\":\"of a later manager\",\"text\":\"no\"}}\n", 4),
    ];
    for (answer, code) in cases {
        let error = status_of(answer).unwrap_err();
        assert_eq!(error.exit_code(), code, "{error}");
        assert_eq!(error.to_string(), "no");
    }
}
