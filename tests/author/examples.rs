//! The examples, through the loader: what their own tests cannot see.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::run_gm_native;
use crate::support::callers::gearman;
use crate::support::gearmand::Gearmand;
use crate::support::manager::Setup;
use crate::support::plugins::example;

const EXAMPLES: [&str; 5] = ["Avg", "Sum", "fetch_url", "reverse_string", "thumbnail"];

#[test]
fn each_is_the_function_its_library_is_called_by() {
    let libraries = EXAMPLES.map(|name| example(name).display().to_string());
    let args: Vec<&str> = std::iter::once("check").chain(libraries.iter().map(String::as_str)).collect();
    let checked = run_gm_native(&args, b"");
    assert_eq!(checked.code(), Some(0), "{}", checked.out());
    for (name, path) in EXAMPLES.iter().zip(&libraries) {
        assert!(checked.out().contains(&format!("{path} serves {name}\n  functions  {name}\n")), "{}", checked.out());
    }
}

/// One answer over HTTP, then the end.
fn serve_once(body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        write!(connection, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    });
    url
}

#[test]
fn they_work_as_libraries() {
    let call = |name: &str, args: &[&str]| {
        let library = example(name).display().to_string();
        let all: Vec<&str> = ["call", &library].into_iter().chain(args.iter().copied()).collect();
        run_gm_native(&all, b"").out()
    };
    assert_eq!(call("Sum", &["[1, 2, 3.5]"]), "6.5");
    assert_eq!(call("Avg", &["[1, 2, 4.5]"]), "2.5");
    assert_eq!(call("fetch_url", &[&serve_once("a page"), "--setting", "timeout_ms=20000"]), "a page");
    let picture = tempfile::NamedTempFile::with_suffix(".png").unwrap();
    std::fs::write(picture.path(), PNG).unwrap();
    let library = example("thumbnail").display().to_string();
    let from = format!("@{}", picture.path().display());
    let small = run_gm_native(&["call", &library, &from], b"");
    assert!(small.stdout.starts_with(b"\x89PNG"), "{}", small.err());
    assert!(
        small.err().contains("status  3 of 3\n") && small.err().contains("INFO    1x1 to 1x1\n"),
        "{}",
        small.err()
    );
}

/// One pixel.
const PNG: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\0\0\0\nIDATx\x9cc`\0\0\0\x02\0\x01\
    H\xaf\xa4q\0\0\0\0IEND\xaeB`\x82";

/// As its users know it: the cache of each worker is its own and lives from job to job.
#[test]
fn sum_keeps_its_cache_in_a_worker() {
    let gearmand = Gearmand::start();
    let manager = Setup::new(&[&gearmand.server()]).plugin("Sum", &example("Sum")).start();
    for _ in 0..2 {
        assert_eq!(gearman(&gearmand, &["-f", "Sum"], b"[20, 22]").out(), "42");
    }
    let first = manager.wait_log("2 numbers");
    let second = manager.wait_log("from the cache");
    assert!(first.contains("Sum H:") && second.contains("Sum H:"), "{first}\n{second}");
}
