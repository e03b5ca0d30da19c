//! Workers and job servers from which nothing is heard although something should be.

use gm_native::gearman::packet::{Request, answer};

use crate::fixture::{library, of};
use crate::support::manager::{Manager, Setup};
use crate::support::scripted_server::{Peer, ScriptedServer};

fn played(server: &ScriptedServer, ini: &str) -> Manager {
    Setup::new(&[server.server()]).plugin("act", &library()).ini(ini).start()
}

/// Lets the worker go to sleep, and waits until it asks again by itself.
fn sleeps_and_asks(peer: &mut Peer) {
    peer.send(&answer::NO_JOB);
    peer.skip_to(|packet| packet == Request::PreSleep);
    peer.skip_to(|packet| packet == Request::GrabJobUniq);
}

/// S23: the job is done all the same, and that it had to wait is reported.
#[test]
fn a_lost_wake_up_heals_within_echo_interval_and_is_reported() {
    let server = ScriptedServer::listen();
    let manager = played(&server, "echo_interval = 100ms");
    let mut peer = server.accept_worker();
    let is_lost = || manager.events().iter().any(|event| event["event"] == "wake_up_lost");
    // Woken as it should be.
    peer.send(&answer::NO_JOB);
    peer.skip_to(|packet| packet == Request::PreSleep);
    peer.send(&answer::NOOP);
    peer.skip_to(|packet| packet == Request::GrabJobUniq);
    peer.assign(b"H:woken:1", b"act", b"say woken");
    assert_eq!(peer.next_end(), (b"H:woken:1".to_vec(), Some(b"woken".to_vec())));
    peer.skip_to(|packet| packet == Request::GrabJobUniq);
    // Nothing to do, twice.
    sleeps_and_asks(&mut peer);
    sleeps_and_asks(&mut peer);
    assert!(!is_lost(), "{}", manager.log());
    for number in ["H:lost:1", "H:lost:2"] {
        peer.assign(number.as_bytes(), b"act", b"say late");
        assert_eq!(peer.next_end(), (number.as_bytes().to_vec(), Some(b"late".to_vec())));
        peer.skip_to(|packet| packet == Request::GrabJobUniq);
        sleeps_and_asks(&mut peer);
    }
    let lost = manager.wait_event("wake_up_lost", |_| true);
    assert_eq!((&lost["server"], &lost["jobs"]), (&server.server().into(), &1.into()), "{lost}");
    manager.wait_status("both lost wake-ups", |status| {
        let server = of(status, "job_servers", "address", &server.server())?;
        (server["lost_wake_ups"] == 2).then_some(())
    });
}
