//! Requests of peers, and which of them are refused.

use gm_native::gearman::packet::{PacketType, encode};

use crate::peer::{BACKGROUND, FOREGROUND, real};

on_both! {
    fn an_echo_comes_back_whole(server) {
        let mut peer = server.peer();
        for data in [&b""[..], b"x", b"a\0b\0", &[0xff; 100_000]] {
            peer.encode(|buf| encode::echo_req(buf, data));
            assert_eq!(peer.next_body(), Some((PacketType::EchoRes, data.to_vec())));
        }
    }

    fn the_status_of_a_handle(server) {
        let (mut client, mut worker) = (server.peer(), server.worker(&["f"]));
        client.submit(BACKGROUND, "f", "", b"");
        let mut status = |handle: &str| {
            client.encode(|buf| encode::get_status(buf, real(handle).as_bytes()));
            client.next()
        };
        assert_eq!(status("#1"), r"STATUS_RES #1\x001\x000\x000\x000");
        assert_eq!(status("#2"), r"STATUS_RES #2\x000\x000\x000\x000");
        assert_eq!(status(""), r"STATUS_RES \x000\x000\x000\x000");
        worker.grab();
        assert_eq!(status("#1"), r"STATUS_RES #1\x001\x001\x000\x000");
        worker.work(PacketType::WorkStatus, "#1", &[b"3", b"4"]);
        worker.quiet();
        assert_eq!(status("#1"), r"STATUS_RES #1\x001\x001\x003\x004");
        worker.work(PacketType::WorkComplete, "#1", &[b""]);
        worker.quiet();
        assert_eq!(status("#1"), r"STATUS_RES #1\x000\x000\x000\x000");
    }

    fn the_status_of_a_unique(server) {
        let (mut client, mut worker) = (server.peer(), server.worker(&["f"]));
        let status = |client: &mut crate::peer::Peer, unique: &str| {
            client.encode(|buf| encode::get_status_unique(buf, unique.as_bytes()));
            client.next()
        };
        assert_eq!(status(&mut client, "u"), r"STATUS_RES_UNIQUE u\x000\x000\x000\x000\x000");
        client.submit(BACKGROUND, "f", "u", b"");
        assert_eq!(status(&mut client, "u"), r"STATUS_RES_UNIQUE u\x001\x000\x000\x000\x000");
        client.submit(FOREGROUND, "f", "u", b"");
        client.submit(FOREGROUND, "f", "u", b"");
        worker.grab();
        worker.work(PacketType::WorkStatus, "#1", &[b"3", b"4"]);
        for _ in 0..2 {
            client.next();
        }
        assert_eq!(status(&mut client, "u"), r"STATUS_RES_UNIQUE u\x001\x001\x003\x004\x002");
        assert_eq!(status(&mut client, "v"), r"STATUS_RES_UNIQUE v\x000\x000\x000\x000\x000");
        assert_eq!(status(&mut client, ""), r"STATUS_RES_UNIQUE \x000\x000\x000\x000\x000");
    }

    fn what_no_server_does(server) {
        let mut peer = server.peer();
        peer.packet(PacketType::OptionReq, &[b"colours"]);
        assert_eq!(peer.next(), r"ERROR UNKNOWN_OPTION\x00Server does not recognize given option");
        let unexpected = r"ERROR INVALID_COMMAND\x00Command not expected";
        peer.packet(PacketType::AllYours, &[]);
        assert_eq!(peer.next(), unexpected);
        peer.packet(PacketType::SubmitJobSched, &[b"f", b"u", b"1", b"2", b"3", b"4", b"5", b"w"]);
        assert_eq!(peer.next(), unexpected);
        // The connection goes on.
        peer.quiet();
        assert_eq!(peer.submit(BACKGROUND, "f", "", b""), "JOB_CREATED #1");
    }

    fn bytes_that_are_no_packet_end_the_connection(server) {
        for bytes in [
            &b"\0REX\0\0\0\x10\0\0\0\0"[..],
            b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            b"\0REQ\0\0\0\x4d\0\0\0\0",
        ] {
            let mut peer = server.peer();
            peer.quiet();
            peer.send(bytes);
            // The embedded server sends the reason first.
            let packet = peer.try_next();
            assert_eq!(packet.is_some(), server.is_embedded(), "{packet:?}");
            assert!(packet.is_none_or(|packet| packet.starts_with(r"ERROR INVALID_PACKET\x00a packet ")));
            assert_eq!(peer.try_next(), None);
        }
        server.peer().quiet();
    }
}
