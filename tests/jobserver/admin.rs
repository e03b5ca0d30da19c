//! The administrative protocol.

use gm_native::gearman::admin;
use gm_native::gearman::packet::{PacketType, encode};

use crate::peer::BACKGROUND;
use crate::support::callers::version as version_of;
use crate::support::wait::{DEADLINE, wait_for};

on_both! {
    fn the_listing_of_functions(server) {
        let mut client = server.peer();
        assert_eq!(client.command("status"), ".\n");
        for _ in 0..3 {
            client.submit(BACKGROUND, "f", "", b"");
        }
        assert_eq!(server.status("f").unwrap(), "3 0 0");
        let (mut worker, other) = (server.worker(&["f"]), server.worker(&["f", "g"]));
        worker.grab();
        assert_eq!(server.status("f").unwrap(), "3 1 2");
        assert_eq!(server.status("g").unwrap(), "0 0 1");
        worker.work(PacketType::WorkFail, "#1", &[]);
        worker.quiet();
        assert_eq!(server.status("f").unwrap(), "2 0 2");
        // Offered twice on one connection counts as two.
        worker.offer(&["f"]);
        assert_eq!(server.status("f").unwrap(), "2 0 3");
        worker.send(&encode::RESET_ABILITIES);
        worker.quiet();
        assert_eq!(server.status("f").unwrap(), "2 0 1");
        drop(other);
        // A name stays listed. gearmand takes a connection out of its list before it takes back what was offered there.
        wait_for("the end of the offer", DEADLINE, || (server.status("g").unwrap() == "0 0 0").then_some(()));
    }

    fn the_listing_of_connections(server) {
        let mut worker = server.worker(&["b", "a"]);
        let listed = |id: &str| {
            let connections = admin::workers(&server.server(), DEADLINE).unwrap();
            connections.into_iter().find(|connection| connection.id == id)
        };
        let connection = listed("-").unwrap();
        assert!(connection.address.starts_with("127."), "{connection:?}");
        worker.encode(|buf| encode::set_client_id(buf, b"host:1:f:2"));
        worker.quiet();
        let mut functions = listed("host:1:f:2").unwrap().functions;
        functions.sort();
        assert_eq!(functions, ["a", "b"]);
        // Who asks is there too.
        assert!(listed("-").unwrap().functions.is_empty());
        worker.encode(|buf| encode::set_client_id(buf, "x".repeat(200).as_bytes()));
        worker.quiet();
        assert!(listed(&"x".repeat(127)).is_some());
    }

    fn commands_of_one_line(server) {
        let mut peer = server.peer();
        let version = peer.command("version");
        assert!(version.starts_with("OK 1.1.20+") && version.ends_with('\n'), "{version}");
        assert_eq!(peer.command("VERSION\r"), version);
        assert!(peer.command("getpid").strip_prefix("OK ").unwrap().trim_end().parse::<u32>().is_ok());
        assert_eq!(peer.command("nonsense"), "ERR UNKNOWN_COMMAND Unknown+server+commandnonsense\r\n");
        assert_eq!(peer.command("shutdown"), "ERR UNKNOWN_COMMAND Unknown+server+commandshutdown\r\n");
        assert_eq!(peer.command("GET / HTTP/1.1\r"), "ERR UNKNOWN_COMMAND Unknown+server+commandGET\r\n");
        assert_eq!(peer.command(""), "ERR UNKNOWN_COMMAND Unknown+server+command\r\n");
        assert_eq!(version_of(&server.server()).major, Some(1));
    }

    fn lines_and_packets_on_one_connection(server) {
        let mut peer = server.peer();
        let version = peer.command("version");
        peer.quiet();
        assert_eq!(peer.command("version"), version);
        // Packets right behind a line.
        peer.send(b"version\n\0REQ\0\0\0\x10\0\0\0\x01x");
        let mut text = vec![0; version.len()];
        std::io::Read::read_exact(&mut peer.stream, &mut text).unwrap();
        assert_eq!(text, version.as_bytes());
        assert_eq!(peer.next(), "ECHO_RES x");
    }
}
