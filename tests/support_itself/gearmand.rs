//! The job server as tests use it.

use std::time::Duration;

use gm_native::gearman::ServerError;
use gm_native::gearman::client::Client;
use gm_native::gearman::packet::{Priority, Submission};

use crate::support::gearmand::{Gearmand, unused_server};
use crate::support::scripted_worker::ScriptedWorker;
use crate::support::wait::{DEADLINE, wait_for};

#[test]
fn two_at_once_are_two() {
    let (one, two) = (Gearmand::start(), Gearmand::start());
    assert_ne!(one.server(), two.server());
    let _worker = ScriptedWorker::offering(&one.server(), &["only_one"]);
    one.wait_workers("only_one", 1);
    assert_eq!(two.status("only_one"), None);
}

#[test]
fn killed_and_started_again_it_forgets() {
    let mut gearmand = Gearmand::start();
    let server = gearmand.server();
    let submit = |client: &mut Client| client.submit(Submission::Background(Priority::Normal), b"f", b"", b"").unwrap();
    let mut client = gearmand.client();
    let first = submit(&mut client);
    gearmand.kill();
    assert!(client.echo(b"still there?").is_err());
    gearmand.restart_same_port();
    assert_eq!(gearmand.server(), server);
    assert_eq!(submit(&mut gearmand.client()), first, "handles begin at 1 again");
    gearmand.terminate();
    gearmand.restart_same_port();
    assert_eq!(gearmand.status("f"), None);
}

#[test]
fn stopped_it_is_unresponsive_until_it_continues() {
    let gearmand = Gearmand::start();
    let mut client = Client::connect(&gearmand.server(), Duration::from_millis(50), 1024).unwrap();
    gearmand.stop();
    wait_for("gearmand to stop", DEADLINE, || {
        matches!(client.echo(b"?"), Err(ServerError::Deadline { .. })).then_some(())
    });
    gearmand.cont();
    gearmand.client().echo(b"!").unwrap();
}

#[test]
fn it_takes_arguments() {
    let gearmand = Gearmand::with_args(&["--job-handle-prefix", "H:mine"]);
    let handle = gearmand.client().submit(Submission::Background(Priority::Normal), b"f", b"", b"").unwrap();
    assert_eq!(handle, b"H:mine:1");
}

#[test]
fn nobody_listens_on_an_unused_server() {
    let error = Client::connect(&unused_server(), DEADLINE, 1).err().unwrap();
    assert!(matches!(error, ServerError::Connect { .. }), "{error}");
}
