//! A worker and a job server, both scripted, against each other.

use gm_native::gearman::packet::{Request, answer};

use crate::support::scripted_server::ScriptedServer;
use crate::support::scripted_worker::ScriptedWorker;

#[test]
fn a_job_from_hand_to_hand() {
    let server = ScriptedServer::listen();
    let address = server.server();
    let worker = std::thread::spawn(move || {
        let mut worker = ScriptedWorker::offering(&address, &["f"]);
        let job = worker.grab();
        worker.complete(&job, b"result");
        worker.echo();
        job
    });
    let mut peer = server.accept();
    assert!(peer.next(|packet| packet == Request::CanDo { function: b"f" }));
    peer.skip_to(|packet| packet == Request::GrabJobUniq);
    peer.send(&answer::NO_JOB);
    peer.skip_to(|packet| packet == Request::PreSleep);
    peer.send(&answer::NOOP);
    peer.skip_to(|packet| packet == Request::GrabJobUniq);
    peer.assign(b"H:1", b"f", b"work");
    peer.skip_to(|packet| packet == Request::WorkComplete { handle: b"H:1", data: b"result" });
    peer.skip_to(|packet| matches!(packet, Request::EchoReq(_)));
    assert_eq!(worker.join().unwrap().workload, b"work");
    assert_eq!(peer.try_next(|_| ()), None);
}
