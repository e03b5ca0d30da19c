//! Runs one job, and encodes the packets that answer it.

use gm_plugin_api::Failure;
use gm_plugin_api::abi::RawFail;

use crate::gearman::packet::{ArgumentError, AssignedJob, encode};
use crate::scoreboard::{JobEnd, JobStart, ScoreboardWriter};
use crate::system::{clock, crash_handler};
use crate::worker::job_log::job_name;
use crate::worker::manager_link::cut;
use crate::worker::messages::JobName;
use crate::worker::plugin::{LoadedFunction, PluginOutcome, explain};

/// A job that ran, or could not be run.
pub(crate) struct FinishedJob {
    /// Its outcome.
    pub outcome: PluginOutcome,
    /// How the job ended, for the scoreboard; the result's length is set later.
    pub end: JobEnd,
    /// Whether the scoreboard is intact, not overwritten by the job.
    pub scoreboard_intact: bool,
}

/// Which job of which connection is to be run.
pub(crate) struct Assignment<'a> {
    /// The job, still in the connection's buffer.
    pub job: AssignedJob<'a>,
    /// Counts the worker's jobs from 1.
    pub number: u64,
    /// Number of the connection it came over.
    pub connection: u32,
}

/// Runs a job, whose progress the scoreboard shows.
pub(crate) fn run(
    assignment: &Assignment<'_>,
    functions: &mut [LoadedFunction],
    scoreboard: &ScoreboardWriter,
) -> FinishedJob {
    let Assignment { job, number, connection } = *assignment;
    let started = clock::now();
    let found = functions.iter().position(|function| function.name.as_bytes() == job.function);
    let Some(index) = found else { return refuse(&job) };
    scoreboard.begin(&JobStart {
        function: index,
        number,
        connection,
        handle: job.handle,
        unique: job.unique,
        started_ns: u64::try_from(started.as_nanos()).unwrap_or(u64::MAX),
    });
    crash_handler::job_begins(number, job.workload);
    let outcome = functions[index].run(&job, number);
    crash_handler::job_ends();
    let scoreboard_intact = scoreboard.is_intact(number);
    scoreboard.returned();
    let run_ns = u64::try_from((clock::now().saturating_sub(started)).as_nanos()).unwrap_or(u64::MAX);
    let succeeded = outcome.is_ok();
    let bytes_in = job.workload.len() as u64;
    let end = JobEnd { function: index, succeeded, bytes_in, bytes_out: 0, run_ns };
    FinishedJob { outcome, end, scoreboard_intact }
}

/// A job for a function this worker never offered: failing it shows that, completing it would lose work silently.
fn refuse(job: &AssignedJob<'_>) -> FinishedJob {
    let name = String::from_utf8_lossy(job.function);
    refused(format!("this worker does not serve the function {name}"))
}

/// How log lines name a job that is not run.
pub(crate) fn name(job: &AssignedJob<'_>) -> JobName {
    job_name(&String::from_utf8_lossy(job.function), job.handle)
}

/// A job that fails without being run.
pub(crate) fn refused(reason: String) -> FinishedJob {
    let outcome = Err(failure(reason));
    let end = JobEnd { function: usize::MAX, succeeded: false, bytes_in: 0, bytes_out: 0, run_ns: 0 };
    FinishedJob { outcome, end, scoreboard_intact: true }
}

/// A job whose workload is larger than a packet may be: it fails, or every worker would get it in turn. It does not
/// count against the function. Returned with the line for the log.
pub(crate) fn refuse_long(job: &AssignedJob<'_>, missing: usize, max_packet: u64) -> (FinishedJob, String) {
    let length = job.workload.len().saturating_add(missing);
    let reason = format!("its workload of {length} bytes is larger than max_packet, {max_packet} bytes");
    let text = format!("a job for {} is refused: {reason}", String::from_utf8_lossy(job.function));
    (refused(reason), text)
}

fn failure(message: String) -> RawFail {
    Failure::new(message).into()
}

/// A result or an exception too large for a packet becomes a failure with that reason.
pub(crate) fn within(outcome: PluginOutcome, max_packet: u64, overhead: usize) -> PluginOutcome {
    let room = room(max_packet, overhead);
    let beyond = |what, length| {
        Err(failure(format!("its {what} of {length} bytes is larger than max_packet, {max_packet} bytes")))
    };
    match outcome {
        Ok(result) if result.len() > room => beyond("result", result.len()),
        Err(fail) if fail.kind == RawFail::EXCEPTION && fail.payload.len() > room => {
            beyond("exception", fail.payload.len())
        }
        other => other,
    }
}

/// Bytes that fit into a packet beside its arguments.
fn room(max_packet: u64, overhead: usize) -> usize {
    let most = usize::try_from(max_packet.min(u64::from(u32::MAX))).unwrap_or(usize::MAX);
    most.saturating_sub(overhead)
}

/// Writes the packets that answer a job into `head`, except for the bytes of a result, which are sent after it. The
/// outcome must be [`within`] the bounds.
///
/// A failure is a warning with the reason, truncated to fit into a packet, then the failure ([`encode::failure`]). An
/// exception is sent only if the plugin asks for one, followed by a WORK_FAIL for servers on which an exception does
/// not end a job.
///
/// # Errors
/// The handle does not fit into a packet; no server can have sent it.
pub(crate) fn answer(
    outcome: &PluginOutcome,
    handle: &[u8],
    max_packet: u64,
    head: &mut Vec<u8>,
) -> Result<(), ArgumentError> {
    match outcome {
        Ok(result) => encode::work_complete_head(head, handle, result.len()),
        Err(fail) if fail.kind == RawFail::EXCEPTION => {
            encode::work_exception_head(head, handle, fail.payload.len())?;
            head.extend_from_slice(&fail.payload);
            encode::work_fail(head, handle)
        }
        Err(fail) => {
            // The NUL after the handle, and the newline.
            let text = cut(&explain(fail), room(max_packet, handle.len() + 2));
            encode::failure(head, handle, &text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::loader::ResultBytes;
    use gm_plugin_api::abi::RString;

    fn packets(outcome: &PluginOutcome) -> Vec<u8> {
        let mut head = Vec::new();
        answer(outcome, b"H:a:1", 100, &mut head).unwrap();
        head
    }

    #[test]
    fn a_result_always_has_its_nul_and_is_not_copied() {
        assert_eq!(packets(&Ok(ResultBytes::default())), b"\0REQ\0\0\0\x0d\0\0\0\x06H:a:1\0");
        assert_eq!(packets(&Ok(b"abc".to_vec().into())), b"\0REQ\0\0\0\x0d\0\0\0\x09H:a:1\0");
    }

    #[test]
    fn a_failure_is_a_warning_and_a_fail_without_nul() {
        let head = packets(&Err(failure("no such row".into())));
        assert_eq!(head, b"\0REQ\0\0\0\x1d\0\0\0\x12H:a:1\0no such row\n\0REQ\0\0\0\x0e\0\0\0\x05H:a:1");
    }

    #[test]
    fn an_exception_goes_out_when_asked_for_and_ends_with_a_fail() {
        let fail = RawFail { kind: RawFail::EXCEPTION, payload: b"{}".to_vec().into(), ..failure("x".into()) };
        let head = packets(&Err(fail));
        assert_eq!(head, b"\0REQ\0\0\0\x19\0\0\0\x08H:a:1\0{}\0REQ\0\0\0\x0e\0\0\0\x05H:a:1");
    }

    #[test]
    fn a_panic_names_file_and_line() {
        let fail = RawFail { kind: RawFail::PANIC, file: "src/lib.rs".into(), line: 7, ..failure("boom".into()) };
        assert_eq!(explain(&fail), "panicked at src/lib.rs:7: boom");
        assert_eq!(explain(&RawFail { file: RString::new(), ..fail }), "panicked: boom");
    }

    #[test]
    fn a_result_beyond_max_packet_is_a_failure() {
        let Err(fail) = within(Ok(vec![0; 100].into()), 100, 6) else { panic!("let through") };
        assert_eq!(fail.message.as_str(), "its result of 100 bytes is larger than max_packet, 100 bytes");
        assert!(within(Ok(vec![0; 94].into()), 100, 6).is_ok());
    }

    #[test]
    fn an_exception_beyond_max_packet_is_a_failure() {
        let exception =
            |length| RawFail { kind: RawFail::EXCEPTION, payload: vec![b'e'; length].into(), ..failure("x".into()) };
        let Err(fail) = within(Err(exception(95)), 100, 6) else { panic!("a result") };
        assert_eq!(fail.kind, RawFail::FAIL);
        assert_eq!(fail.message.as_str(), "its exception of 95 bytes is larger than max_packet, 100 bytes");
        let Err(fail) = within(Err(exception(94)), 100, 6) else { panic!("a result") };
        assert_eq!(fail.kind, RawFail::EXCEPTION);
        // More than a header can hold, whatever is configured.
        assert_eq!(room(1 << 40, 6), u32::MAX as usize - 6);
    }

    #[test]
    fn a_reason_beyond_max_packet_is_cut_to_fit() {
        for (length, max_packet) in [(92, 100), (93, 100), (94, 100), (5_000, 100), (5_000, 30), (5_000, 3)] {
            let mut head = Vec::new();
            let outcome = Err(failure("\u{e9}".repeat(length / 2) + &"x".repeat(length % 2)));
            answer(&outcome, b"H:a:1", max_packet, &mut head).unwrap();
            let warned = u32::from_be_bytes(head[8..12].try_into().unwrap()) as usize;
            assert!(warned <= max_packet.max(7) as usize, "{length} bytes, at most {max_packet}: {warned}");
            assert!(head.ends_with(b"\0REQ\0\0\0\x0e\0\0\0\x05H:a:1"));
            let text = std::str::from_utf8(&head[18..12 + warned]).unwrap();
            assert_eq!(text.contains("...(truncated)"), length > 93 && max_packet >= 30, "{text}");
        }
    }
}
