//! Streams: several packets in one read, one packet in many, false headers, and the memory they cost.

use super::super::{
    ArgumentError, AssignedJob, Decoder, HEADER_LEN, Magic, PacketError, PacketType, Response, Submission, answer,
    encode,
};
use super::{decoder, feed};

/// A header with any numbers in it.
fn header(magic: &[u8; 4], kind: u32, len: u32) -> Vec<u8> {
    [&magic[..], &kind.to_be_bytes(), &len.to_be_bytes()].concat()
}

#[test]
fn failures_are_the_exact_bytes_that_clients_do_not_hang_on() {
    let mut buf = Vec::new();
    encode::work_warning_head(&mut buf, b"H:h:12", 5).unwrap();
    buf.extend_from_slice(b"boom\n");
    encode::work_fail(&mut buf, b"H:h:12").unwrap();
    assert_eq!(
        buf,
        b"\0REQ\0\0\0\x1d\0\0\0\x0cH:h:12\0boom\n\
          \0REQ\0\0\0\x0e\0\0\0\x06H:h:12"
    );

    buf.clear();
    encode::work_exception_head(&mut buf, b"H:h:12", 0).unwrap();
    assert_eq!(buf, b"\0REQ\0\0\0\x19\0\0\0\x07H:h:12\0");

    // An empty result: a handle and its NUL.
    buf.clear();
    encode::work_complete_head(&mut buf, b"H:h:12", 0).unwrap();
    assert_eq!(buf, b"\0REQ\0\0\0\x0d\0\0\0\x07H:h:12\0");
}

/// S5: cut at every byte.
#[test]
fn several_packets_in_one_read_come_in_their_order() {
    let job = AssignedJob { handle: b"H:a:1", function: b"f", unique: b"u", workload: b"work" };
    let mut stream = Vec::new();
    answer::echo_res(&mut stream, b"").unwrap();
    stream.extend(answer::NOOP);
    answer::job_assign_uniq(&mut stream, &job).unwrap();
    stream.extend(answer::NO_JOB);
    for piece in 1..=stream.len() {
        let mut decoder = decoder(Magic::Response);
        let mut seen = 0;
        for bytes in stream.chunks(piece) {
            feed(&mut decoder, bytes, usize::MAX);
            while let Some(packet) = decoder.next().unwrap() {
                let wanted = [Response::EchoRes(b""), Response::Noop, Response::JobAssignUniq(job), Response::NoJob];
                assert_eq!(Response::parse(packet).unwrap(), wanted[seen], "pieces of {piece}");
                seen += 1;
            }
        }
        assert_eq!(seen, 4);
    }
}

/// S5.
#[test]
fn a_bad_header_is_refused_when_it_is_there_and_ever_after() {
    let cases = [
        (header(b"\0REQ", 6, 0), PacketError::Magic { expected: Magic::Response, found: *b"\0REQ" }),
        (header(b"HTTP", 6, 0), PacketError::Magic { expected: Magic::Response, found: *b"HTTP" }),
        (header(b"\0RES", 0, 0), PacketError::UnknownKind(0)),
        (header(b"\0RES", 5, 0), PacketError::UnknownKind(5)),
        (header(b"\0RES", 43, 0), PacketError::UnknownKind(43)),
        (header(b"\0RES", u32::MAX, 0), PacketError::UnknownKind(u32::MAX)),
        (header(b"\0RES", 30, 0), PacketError::Direction { kind: PacketType::GrabJobUniq, magic: Magic::Response }),
        (
            header(b"\0RES", 31, u32::MAX),
            PacketError::TooLong { kind: PacketType::JobAssignUniq, claimed: u32::MAX, max: 1 << 20 },
        ),
        (
            header(b"\0RES", 31, (1 << 20) + 1),
            PacketError::TooLong { kind: PacketType::JobAssignUniq, claimed: (1 << 20) + 1, max: 1 << 20 },
        ),
    ];
    for (bytes, error) in cases {
        let mut decoder = decoder(Magic::Response);
        feed(&mut decoder, &bytes[..HEADER_LEN - 1], usize::MAX);
        assert_eq!(decoder.next(), Ok(None), "{error}");
        let before = decoder.memory();
        feed(&mut decoder, &bytes[HEADER_LEN - 1..], usize::MAX);
        assert_eq!(decoder.next(), Err(error.clone()));
        assert_eq!(decoder.next(), Err(error));
        assert_eq!(decoder.memory(), before);
    }
}

/// A job that is too long arrives without its end, wherever the stream is cut, and nothing after it is lost.
#[test]
fn a_job_that_is_too_long_is_cut_where_that_is_wanted() {
    const MAX: usize = 20_000;
    let long = vec![b'w'; MAX];
    let job = AssignedJob { handle: b"H:a:1", function: b"f", unique: b"u", workload: &long };
    let short = AssignedJob { workload: b"work", ..job };
    let mut stream = Vec::new();
    answer::job_assign_uniq(&mut stream, &short).unwrap();
    for (handle, workload) in [(b"H:a:1", &long[..]), (b"H:a:2", &long[..]), (b"H:a:3", b"work")] {
        answer::job_assign_uniq(&mut stream, &AssignedJob { handle, workload, ..job }).unwrap();
    }
    stream.extend(answer::NOOP);
    for piece in [1, 7, 100, 4096, 8191, 30_000, stream.len()] {
        let mut decoder = Decoder::new(Magic::Response, MAX).cutting_jobs();
        let mut seen = Vec::new();
        for bytes in stream.chunks(piece) {
            feed(&mut decoder, bytes, usize::MAX);
            while let Some(packet) = decoder.next().unwrap() {
                let missing = packet.missing;
                match Response::parse(packet).unwrap() {
                    Response::JobAssignUniq(job) => {
                        seen.push((job.handle.to_vec(), job.workload.len() + missing, missing > 0));
                    }
                    other => assert_eq!(other, Response::Noop),
                }
            }
        }
        let expected = [("H:a:1", 4, false), ("H:a:1", MAX, true), ("H:a:2", MAX, true), ("H:a:3", 4, false)];
        let expected = expected.map(|(handle, length, cut)| (handle.as_bytes().to_vec(), length, cut));
        assert_eq!((seen.as_slice(), decoder.pending()), (&expected[..], 0), "pieces of {piece}");
    }
    // None of it is kept while no packet is taken, and no memory is allocated for a claimed length.
    let mut decoder = Decoder::new(Magic::Response, MAX).cutting_jobs();
    feed(&mut decoder, &header(b"\0RES", 31, u32::MAX), usize::MAX);
    (0..1000).for_each(|_| feed(&mut decoder, &[b'w'; 10_000], usize::MAX));
    assert!(decoder.is_partial() && decoder.pending() < MAX && decoder.memory() < 2 * MAX, "{}", decoder.memory());
    let mut other = Decoder::new(Magic::Response, MAX).cutting_jobs();
    feed(&mut other, &header(b"\0RES", 17, u32::MAX), usize::MAX);
    assert!(matches!(other.next(), Err(PacketError::TooLong { .. })), "only jobs are answered");
}

#[test]
fn the_sentences_are_plain_text() {
    let magic = PacketError::Magic { expected: Magic::Response, found: *b"\x1b[2J" };
    assert_eq!(
        magic.to_string(),
        "a packet began with \"\\x1b[2J\" instead of \"\\x00RES\": the peer does not speak the Gearman protocol, \
         or lost its place in it"
    );
    let long = PacketError::TooLong { kind: PacketType::JobAssign, claimed: 4_294_967_295, max: 268_435_456 };
    assert_eq!(
        long.to_string(),
        "a JOB_ASSIGN packet claims 4294967295 bytes, more than max_packet allows (268435456)"
    );
    let missing = PacketError::MissingArguments { kind: PacketType::JobAssignUniq, found: 2, expected: 4 };
    assert_eq!(missing.to_string(), "a JOB_ASSIGN_UNIQ packet has 2 of its 4 arguments");
}

/// S5: no memory is allocated for a length that is only claimed.
#[test]
fn a_claimed_length_takes_no_memory_until_its_bytes_come() {
    let mut decoder = Decoder::new(Magic::Response, 256 << 20);
    feed(&mut decoder, &header(b"\0RES", 31, 256 << 20), usize::MAX);
    assert_eq!(decoder.next(), Ok(None));
    assert_eq!(decoder.memory(), 16 << 10);
    feed(&mut decoder, &vec![7; 100 << 10], 5000);
    assert_eq!(decoder.next(), Ok(None));
    assert!(decoder.memory() <= 256 << 10, "{}", decoder.memory());
}

#[test]
fn a_large_packet_takes_what_it_needs_and_gives_it_back() {
    let workload: Vec<u8> = (0..700_001_u32).map(|n| n as u8).collect();
    let job = AssignedJob { handle: b"H:a:1", function: b"f", unique: b"u", workload: &workload };
    let mut stream = Vec::new();
    answer::job_assign_uniq(&mut stream, &job).unwrap();
    for piece in [1460, 65_536, usize::MAX] {
        let mut decoder = decoder(Magic::Response);
        for bytes in stream.chunks(piece.min(stream.len())) {
            assert_eq!(decoder.next(), Ok(None));
            feed(&mut decoder, bytes, usize::MAX);
        }
        let packet = decoder.next().unwrap().unwrap();
        assert_eq!(Response::parse(packet), Ok(Response::JobAssignUniq(job)));
        assert!(decoder.memory() < 2 * stream.len());
        assert_eq!(decoder.next(), Ok(None));
        assert_eq!(decoder.memory(), 0);
        assert_eq!(decoder.read_from(|space| Err(space.len())), Err(16 << 10));
    }
}

#[test]
fn a_long_run_of_packets_needs_no_more_than_the_usual_buffer() {
    let mut decoder = decoder(Magic::Response);
    let mut packet = Vec::new();
    answer::work_data_head(&mut packet, b"H:a:1", 1000).unwrap();
    packet.resize(packet.len() + 1000, b'x');
    let stream = packet.repeat(200);
    let mut seen = 0;
    for bytes in stream.chunks(8191) {
        feed(&mut decoder, bytes, usize::MAX);
        while decoder.next().unwrap().is_some() {
            seen += 1;
        }
    }
    assert_eq!((seen, decoder.pending()), (200, 0));
    assert_eq!(decoder.memory(), 16 << 10);
}

#[test]
fn packets_left_untaken_are_kept() {
    let mut decoder = decoder(Magic::Response);
    let stream = answer::NOOP.repeat(10_000);
    feed(&mut decoder, &stream, usize::MAX);
    for _ in 0..10_000 {
        assert_eq!(decoder.next().unwrap().unwrap().kind, PacketType::Noop);
    }
    assert_eq!(decoder.next(), Ok(None));
}

#[test]
fn arguments_that_no_packet_can_carry_leave_the_buffer_as_it_was() {
    let mut buf = b"before".to_vec();
    let nul = encode::can_do(&mut buf, b"re\0verse").unwrap_err();
    assert_eq!(
        nul.to_string(),
        "the function \"re\\x00verse\" of a CAN_DO packet contains a NUL byte, where the protocol ends it"
    );
    assert!(matches!(encode::work_fail(&mut buf, b"H:a:1\0"), Err(ArgumentError::Nul { .. })));
    assert!(matches!(encode::work_status(&mut buf, b"\0", 1, 2), Err(ArgumentError::Nul { .. })));
    let at = Submission::At(1);
    assert!(matches!(encode::submit(&mut buf, at, b"f", b"\0", b""), Err(ArgumentError::Nul { .. })));
    let length = u32::MAX as usize;
    let long = encode::work_complete_head(&mut buf, b"H", length).unwrap_err();
    assert_eq!(long, ArgumentError::TooLong { kind: PacketType::WorkComplete, length: length + 2 });
    assert!(encode::work_complete_head(&mut buf, b"H", usize::MAX).is_err());
    assert_eq!(buf, b"before");
    assert!(encode::work_complete_head(&mut buf, b"H", length - 2).is_ok());
}

/// S5. Whatever arrives: no panic, no more memory than bytes arrived, and the same packets however the stream is cut.
#[test]
fn mangled_streams_are_read_the_same_however_they_are_cut() {
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..500 {
        let mut stream = Vec::new();
        for _ in 0..random.usize(1..6) {
            let kind = PacketType::ALL[random.usize(..PacketType::ALL.len())];
            let body: Vec<u8> = (0..random.usize(..40)).map(|_| b"\0\x001aH:"[random.usize(..6)]).collect();
            stream.extend(header(&kind_magic(kind).bytes(), kind as u32, body.len() as u32));
            stream.extend(body);
        }
        for _ in 0..random.usize(..3) {
            let place = random.usize(..stream.len());
            stream[place] ^= 1 << random.u8(..8);
        }
        let read = |piece: &mut dyn FnMut() -> usize| {
            let mut decoder = decoder(Magic::Response);
            let (mut seen, mut rest) = (Vec::new(), &stream[..]);
            loop {
                let (now, later) = rest.split_at(piece().min(rest.len()));
                feed(&mut decoder, now, usize::MAX);
                rest = later;
                let error = loop {
                    match decoder.next() {
                        Ok(Some(packet)) => seen.push(format!("{:?}", Response::parse(packet))),
                        Ok(None) => break None,
                        Err(error) => break Some(error),
                    }
                };
                assert!(decoder.memory() <= 16 << 10, "round {round}");
                if error.is_some() || rest.is_empty() {
                    return (seen, error);
                }
            }
        };
        let whole = read(&mut || usize::MAX);
        assert_eq!(read(&mut || random.usize(1..20)), whole, "round {round}");
    }
}

/// Mostly what a decoder of responses expects.
fn kind_magic(kind: PacketType) -> Magic {
    if kind.travels_as(Magic::Response) { Magic::Response } else { Magic::Request }
}

/// S16: whether only reading more can produce a packet.
#[test]
fn a_packet_is_partial_until_its_last_byte() {
    let mut decoder = decoder(Magic::Response);
    let job = AssignedJob { handle: b"H:a:1", function: b"f", unique: b"u", workload: &[7; 100_000] };
    let mut stream = answer::NOOP.to_vec();
    answer::job_assign_uniq(&mut stream, &job).unwrap();
    for (at, byte) in stream.iter().enumerate() {
        assert!(decoder.is_partial(), "before byte {at}");
        feed(&mut decoder, &[*byte], 1);
        if at + 1 == HEADER_LEN {
            assert!(!decoder.is_partial(), "a whole NOOP");
            assert!(decoder.next().unwrap().is_some());
        }
    }
    assert!(!decoder.is_partial());
    assert!(decoder.next().unwrap().is_some() && decoder.is_partial());
    feed(&mut decoder, b"HTTP/1.1 400 Bad Request", usize::MAX);
    assert!(!decoder.is_partial(), "an error can be taken");
}
