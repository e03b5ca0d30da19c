//! encode -> these exact bytes -> decode, for every type the protocol has.

use super::super::{
    AssignedJob, JobStatus, Magic, Packet, PacketError, PacketType, Priority, Request, Response, Submission,
    SubmittedJob, answer, encode,
};
use super::{decoder, feed};

/// One packet: its bytes on the wire (after the magic), and its meaning.
struct Row<V> {
    kind: PacketType,
    wire: Vec<u8>,
    view: V,
    /// What our encoder makes; `None` for packets that nothing here sends.
    encoded: Option<Vec<u8>>,
}

/// Type and length as the test writes them, then the body.
fn wire(number: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend((body.len() as u32).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn row<V>(number: u32, body: &[u8], view: V, encoded: Option<Vec<u8>>) -> Row<V> {
    Row { kind: PacketType::try_from(number).unwrap(), wire: wire(number, body), view, encoded }
}

/// What an encoder appends.
fn made<E: std::fmt::Debug>(encoder: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Option<Vec<u8>> {
    let mut buf = Vec::new();
    encoder(&mut buf).unwrap();
    Some(buf)
}

/// What an encoder of a head appends, and the data behind it.
fn headed<E: std::fmt::Debug>(data: &[u8], head: impl FnOnce(&mut Vec<u8>, usize) -> Result<(), E>) -> Option<Vec<u8>> {
    made(|buf| head(buf, data.len()).map(|()| buf.extend_from_slice(data)))
}

fn submitted(how: Submission) -> Request<'static> {
    Request::Submit { how, job: SubmittedJob { function: b"f", unique: b"u1", workload: b"in\0put" } }
}

fn submitting(how: Submission) -> Option<Vec<u8>> {
    made(|buf| encode::submit(buf, how, b"f", b"u1", b"in\0put"))
}

/// How the jobs of the plain submit types are submitted.
const SUBMISSIONS: [(u32, Submission); 6] = [
    (7, Submission::Foreground(Priority::Normal)),
    (18, Submission::Background(Priority::Normal)),
    (21, Submission::Foreground(Priority::High)),
    (32, Submission::Background(Priority::High)),
    (33, Submission::Foreground(Priority::Low)),
    (34, Submission::Background(Priority::Low)),
];

fn worker_requests() -> Vec<Row<Request<'static>>> {
    use Request as R;
    let handle = &b"H:a:1"[..];
    vec![
        row(1, b"rev", R::CanDo { function: b"rev" }, made(|buf| encode::can_do(buf, b"rev"))),
        row(2, b"rev", R::CantDo { function: b"rev" }, made(|buf| encode::cant_do(buf, b"rev"))),
        row(3, b"", R::ResetAbilities, Some(encode::RESET_ABILITIES.to_vec())),
        row(4, b"", R::PreSleep, Some(encode::PRE_SLEEP.to_vec())),
        row(9, b"", R::GrabJob, Some(encode::GRAB_JOB.to_vec())),
        row(
            12,
            b"H:a:1\x007\x00100",
            R::WorkStatus { handle, done: 7, of: 100 },
            made(|buf| encode::work_status(buf, handle, 7, 100)),
        ),
        row(
            13,
            b"H:a:1\0re\0sult",
            R::WorkComplete { handle, data: b"re\0sult" },
            headed(b"re\0sult", |buf, len| encode::work_complete_head(buf, handle, len)),
        ),
        row(14, b"H:a:1", R::WorkFail { handle }, made(|buf| encode::work_fail(buf, handle))),
        row(22, b"host:1", R::SetClientId(b"host:1"), made(|buf| encode::set_client_id(buf, b"host:1"))),
        row(23, b"rev\x001500", R::CanDoTimeout { function: b"rev", milliseconds: 1500 }, None),
        row(24, b"", R::AllYours, None),
        row(
            25,
            b"H:a:1\0why",
            R::WorkException { handle, data: b"why" },
            headed(b"why", |buf, len| encode::work_exception_head(buf, handle, len)),
        ),
        row(
            28,
            b"H:a:1\0part",
            R::WorkData { handle, data: b"part" },
            headed(b"part", |buf, len| encode::work_data_head(buf, handle, len)),
        ),
        row(
            29,
            b"H:a:1\0oh\n",
            R::WorkWarning { handle, data: b"oh\n" },
            headed(b"oh\n", |buf, len| encode::work_warning_head(buf, handle, len)),
        ),
        row(30, b"", R::GrabJobUniq, Some(encode::GRAB_JOB_UNIQ.to_vec())),
        row(39, b"", R::GrabJobAll, None),
    ]
}

fn client_requests() -> Vec<Row<Request<'static>>> {
    use Request as R;
    let job = SubmittedJob { function: b"f", unique: b"u1", workload: b"in\0put" };
    let mut rows: Vec<_> = SUBMISSIONS
        .into_iter()
        .map(|(number, how)| row(number, b"f\0u1\0in\0put", submitted(how), submitting(how)))
        .collect();
    let at = Submission::At(1_795_000_000);
    let reduce = |how| R::SubmitReduce { how, job, reducer: b"sum" };
    rows.extend([
        row(15, b"H:a:1", R::GetStatus { handle: b"H:a:1" }, made(|buf| encode::get_status(buf, b"H:a:1"))),
        row(16, b"an\0y", R::EchoReq(b"an\0y"), made(|buf| encode::echo_req(buf, b"an\0y"))),
        row(26, b"exceptions", R::OptionReq(b"exceptions"), made(|buf| encode::option_req(buf, b"exceptions"))),
        row(
            35,
            b"f\0u1\x0030\x0012\x001\x006\x000\0in\0put",
            R::SubmitSched { when: [b"30", b"12", b"1", b"6", b"0"], job },
            None,
        ),
        row(36, b"f\0u1\x001795000000\0in\0put", submitted(at), submitting(at)),
        row(37, b"f\0u1\0sum\0\0in\0put", reduce(Submission::Foreground(Priority::Normal)), None),
        row(38, b"f\0u1\0sum\0\0in\0put", reduce(Submission::Background(Priority::Normal)), None),
        row(41, b"u1", R::GetStatusUnique { unique: b"u1" }, made(|buf| encode::get_status_unique(buf, b"u1"))),
    ]);
    rows
}

fn responses() -> Vec<Row<Response<'static>>> {
    use Response as F;
    let handle = &b"H:a:1"[..];
    let job = AssignedJob { handle, function: b"f", unique: b"u1", workload: b"in\0put" };
    let nameless = AssignedJob { unique: b"", ..job };
    let status = JobStatus { known: true, running: false, done: 3, of: 4 };
    vec![
        row(6, b"", F::Noop, Some(answer::NOOP.to_vec())),
        row(8, b"H:a:1", F::JobCreated { handle }, made(|buf| answer::job_created(buf, handle))),
        row(10, b"", F::NoJob, Some(answer::NO_JOB.to_vec())),
        row(11, b"H:a:1\0f\0in\0put", F::JobAssign(nameless), made(|buf| answer::job_assign(buf, &job))),
        row(
            12,
            b"H:a:1\x0018446744073709551615\x000",
            F::WorkStatus { handle, done: u64::MAX, of: 0 },
            made(|buf| answer::work_status(buf, handle, u64::MAX, 0)),
        ),
        row(
            13,
            b"H:a:1\0",
            F::WorkComplete { handle, data: b"" },
            headed(b"", |buf, len| answer::work_complete_head(buf, handle, len)),
        ),
        row(14, b"H:a:1", F::WorkFail { handle }, made(|buf| answer::work_fail(buf, handle))),
        row(17, b"an\0y", F::EchoRes(b"an\0y"), made(|buf| answer::echo_res(buf, b"an\0y"))),
        row(
            19,
            b"JOB_NOT_FOUND\0no such job",
            F::Error { code: b"JOB_NOT_FOUND", text: b"no such job" },
            made(|buf| answer::error(buf, b"JOB_NOT_FOUND", b"no such job")),
        ),
        row(
            20,
            b"H:a:1\x001\x000\x003\x004",
            F::StatusRes { handle, status },
            made(|buf| answer::status_res(buf, handle, status)),
        ),
        row(
            25,
            b"H:a:1\0why",
            F::WorkException { handle, data: b"why" },
            headed(b"why", |buf, len| answer::work_exception_head(buf, handle, len)),
        ),
        row(27, b"exceptions", F::OptionRes(b"exceptions"), made(|buf| answer::option_res(buf, b"exceptions"))),
        row(
            28,
            b"H:a:1\0part",
            F::WorkData { handle, data: b"part" },
            headed(b"part", |buf, len| answer::work_data_head(buf, handle, len)),
        ),
        row(
            29,
            b"H:a:1\0oh\n",
            F::WorkWarning { handle, data: b"oh\n" },
            headed(b"oh\n", |buf, len| answer::work_warning_head(buf, handle, len)),
        ),
        row(31, b"H:a:1\0f\0u1\0in\0put", F::JobAssignUniq(job), made(|buf| answer::job_assign_uniq(buf, &job))),
        row(
            40,
            b"H:a:1\0f\0u1\0sum\0in\0put",
            F::JobAssignAll { job, reducer: b"sum" },
            made(|buf| answer::job_assign_all(buf, &job, b"sum")),
        ),
        row(
            42,
            b"u1\x001\x000\x003\x004\x002",
            F::StatusResUnique { unique: b"u1", status, waiting: 2 },
            made(|buf| answer::status_res_unique(buf, b"u1", status, 2)),
        ),
    ]
}

fn requests() -> Vec<Row<Request<'static>>> {
    worker_requests().into_iter().chain(client_requests()).collect()
}

/// Each row's encoder produces its bytes, and its bytes parse to its meaning, wherever the stream is cut.
fn check<V: PartialEq + std::fmt::Debug>(
    magic: Magic,
    rows: &[Row<V>],
    parse: impl for<'a> Fn(Packet<'a>, &V) -> Result<bool, PacketError>,
) {
    for row in rows {
        let whole = [&magic.bytes()[..], &row.wire].concat();
        if let Some(encoded) = &row.encoded {
            assert_eq!(*encoded, whole, "{}: {}", row.kind, encoded.escape_ascii());
        }
        for cut in 0..=whole.len() {
            let mut decoder = decoder(magic);
            feed(&mut decoder, &whole[..cut], usize::MAX);
            if cut < whole.len() {
                assert_eq!(decoder.next(), Ok(None), "{} cut at {cut}", row.kind);
            }
            feed(&mut decoder, &whole[cut..], usize::MAX);
            let packet = decoder.next().unwrap().unwrap();
            assert_eq!(packet.kind, row.kind);
            assert!(parse(packet, &row.view).unwrap(), "{} cut at {cut}", row.kind);
            assert_eq!(decoder.next(), Ok(None));
            assert_eq!(decoder.pending(), 0);
        }
    }
}

#[test]
fn every_request_is_its_bytes() {
    check(Magic::Request, &requests(), |packet, view| Request::parse(packet).map(|seen| seen == *view));
}

#[test]
fn every_response_is_its_bytes() {
    check(Magic::Response, &responses(), |packet, view| Response::parse(packet).map(|seen| seen == *view));
}

#[test]
fn the_tables_have_every_type() {
    let requests = requests();
    let responses = responses();
    for kind in PacketType::ALL {
        let request = requests.iter().any(|row| row.kind == *kind);
        let response = responses.iter().any(|row| row.kind == *kind);
        assert_eq!(request, kind.travels_as(Magic::Request), "{kind} as a request");
        assert_eq!(response, kind.travels_as(Magic::Response), "{kind} as a response");
    }
    assert_eq!(PacketType::ALL.len(), 41);
}

#[test]
fn numbers_and_types_go_both_ways() {
    for number in 0..100 {
        let known = (1..=42).contains(&number) && number != 5;
        match PacketType::try_from(number) {
            Ok(kind) => assert!(known && kind as u32 == number),
            Err(unknown) => assert!(!known && unknown == number),
        }
    }
}

/// Every prefix of a body that lacks a separator lacks an argument; nothing may panic on any of them.
#[test]
fn missing_arguments_are_errors() {
    let least: &[(PacketType, usize)] = &[
        (PacketType::CanDoTimeout, 2),
        (PacketType::WorkStatus, 3),
        (PacketType::WorkData, 2),
        (PacketType::WorkWarning, 2),
        (PacketType::WorkComplete, 2),
        (PacketType::WorkException, 2),
        (PacketType::SubmitJob, 3),
        (PacketType::SubmitJobHighBg, 3),
        (PacketType::SubmitJobSched, 8),
        (PacketType::SubmitJobEpoch, 4),
        (PacketType::SubmitReduceJob, 5),
        (PacketType::JobAssign, 3),
        (PacketType::JobAssignUniq, 4),
        (PacketType::JobAssignAll, 5),
        (PacketType::Error, 2),
        (PacketType::StatusRes, 5),
        (PacketType::StatusResUnique, 6),
    ];
    for &(kind, expected) in least {
        for found in 1..=expected {
            let body = vec!["1"; found].join("\0");
            let packet = Packet { kind, body: body.as_bytes(), missing: 0 };
            let wanted = (found < expected).then_some(PacketError::MissingArguments { kind, found, expected });
            if kind.travels_as(Magic::Request) {
                assert_eq!(Request::parse(packet).err(), wanted);
            }
            if kind.travels_as(Magic::Response) {
                assert_eq!(Response::parse(packet).err(), wanted);
            }
        }
    }
}

#[test]
fn a_view_refuses_what_travels_the_other_way() {
    for &kind in PacketType::ALL {
        let packet = Packet { kind, body: b"1\x001\x001\x001\x001\x001\x001\x001", missing: 0 };
        let (request, response) = (Request::parse(packet), Response::parse(packet));
        assert_eq!(request.is_ok(), kind.travels_as(Magic::Request), "{kind}: {request:?}");
        assert_eq!(response.is_ok(), kind.travels_as(Magic::Response), "{kind}: {response:?}");
    }
}

#[test]
fn odd_numbers_and_names_are_read_as_gearmand_reads_them() {
    let progress = |done: &str, of: &str| {
        let body = format!("h\0{done}\0{of}");
        let packet = Packet { kind: PacketType::WorkStatus, body: body.as_bytes(), missing: 0 };
        match Response::parse(packet).unwrap() {
            Response::WorkStatus { done, of, .. } => (done, of),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(progress("", "x"), (0, 0));
    assert_eq!(progress("50.5", "100\0"), (50, 100));
    assert_eq!(progress("99999999999999999999999", "-1"), (u64::MAX, 0));

    let fail = Packet { kind: PacketType::WorkFail, body: b"H:a:1\0", missing: 0 };
    assert_eq!(Response::parse(fail), Ok(Response::WorkFail { handle: b"H:a:1" }));
}
