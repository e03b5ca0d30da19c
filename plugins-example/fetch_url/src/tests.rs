//! Against a server on loopback, played by the test.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use gm_plugin_api::testing::TestObject;

/// A server that answers by the path; it ends with the test's process.
struct Server {
    address: String,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || serve(connection));
            }
        });
        Self { address, connections }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// One connection, kept open from request to request.
fn serve(connection: TcpStream) {
    let mut lines = BufReader::new(connection.try_clone().unwrap()).lines().map_while(Result::ok);
    while let Some(request) = lines.next() {
        let headers: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        let agent = headers.iter().find(|line| line.to_ascii_lowercase().starts_with("user-agent:"));
        let (status, body) = match request.split(' ').nth(1).unwrap_or_default() {
            "/page" => ("200 OK", "a page".to_owned()),
            "/agent" => ("200 OK", agent.cloned().unwrap_or_default()),
            "/silent" => continue,
            _ => ("404 Not Found", "no such page".to_owned()),
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        if (&connection).write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn fetches_and_keeps_the_connection() {
    let server = Server::start();
    let mut fetch = TestObject::<FetchUrl>::new(&[]).unwrap();
    for _ in 0..3 {
        let outcome = fetch.run(format!("{}\n", server.url("/page")));
        assert_eq!(outcome.text(), "a page");
        // What the HTTP client itself logs comes before, where the whole workspace is built with that.
        assert_eq!(outcome.log_texts().last(), Some(&format!("6 bytes from {}", server.url("/page")).as_str()));
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn settings_are_kept_to() {
    let server = Server::start();
    let settings = [("timeout_ms", "50"), ("max_bytes", "5"), ("agent", "somebody")];
    let mut fetch = TestObject::<FetchUrl>::new(&settings).unwrap();
    let silent = fetch.run(server.url("/silent"));
    assert!(silent.failure().message.contains("timeout"), "{:?}", silent.failure());
    let long = fetch.run(server.url("/page"));
    assert!(long.failure().message.contains("the response body is larger"), "{:?}", long.failure());
    let mut fetch = TestObject::<FetchUrl>::new(&[("agent", "somebody")]).unwrap();
    assert!(fetch.run(server.url("/agent")).text().ends_with(": somebody"));
    let wrong = TestObject::<FetchUrl>::new(&[("timeout", "50")]).unwrap_err();
    assert!(wrong.message.contains("setting.timeout is not known"), "{}", wrong.message);
}

#[test]
fn what_cannot_be_fetched_is_named() {
    let server = Server::start();
    let mut fetch = TestObject::<FetchUrl>::new(&[]).unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, why) in [
        (server.url("/nowhere"), "404"),
        (format!("http://{nobody}/"), "refused"),
        ("https://127.0.0.1/".into(), ""),
        ("no address".into(), ""),
        (String::new(), ""),
    ] {
        let outcome = fetch.run(url.clone());
        let message = &outcome.failure().message;
        assert!(message.starts_with(&format!("{url}: ")) && message.contains(why), "{message}");
    }
}
