//! `gm-native quarantine resubmit`: submits jobs again, to the servers they came from.

use std::process::ExitCode;
use std::time::Duration;

use crate::cli::command_args::JobPriority;
use crate::commands::output::{fail, fail_of};
use crate::commands::records::Records;
use crate::control::{AttemptsOf, ClientError, ControlClient, DEADLINE};
use crate::crash::quarantine::QuarantinedJob;
use crate::crash::record_id::RecordId;
use crate::crash::workload_hash::WorkloadHash;
use crate::gearman::client::Client;
use crate::gearman::packet::{Priority, Submission};
use crate::logging::escape;
use crate::system::errors::reason;

const FAILED: u8 = 1;
const NO_SERVER: u8 = 3;
const NOT_KEPT: u8 = 4;

/// How long the job server may take for each answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Its answers are short.
const MAX_PACKET: usize = 64 * 1024;

/// Submits every job that can be; reports the others.
pub(super) fn resubmit(
    jobs: &Records<QuarantinedJob>,
    ids: &[String],
    priority: JobPriority,
) -> Result<ExitCode, ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for id in ids {
        let submitted = super::read(jobs, id).and_then(|(id, job)| submit(jobs, id, &job, priority));
        code = submitted.err().unwrap_or(code);
    }
    Ok(code)
}

fn submit(
    jobs: &Records<QuarantinedJob>,
    id: RecordId,
    job: &QuarantinedJob,
    priority: JobPriority,
) -> Result<(), ExitCode> {
    if !job.workload_kept {
        let note = job.workload_note.as_deref().unwrap_or("nobody knows why");
        let text = format!(
            "{id} cannot be submitted: its workload was not kept: {}. The key crash_workload_max says up to which size \
             workloads are kept",
            escape(note)
        );
        return Err(fail(&text, NOT_KEPT));
    }
    let workload = jobs.workload(id, job.workload_size);
    let workload = workload
        .map_err(|reason| fail(&format!("{id} cannot be submitted: its workload was kept, but {reason}"), NOT_KEPT))?;
    let mut client = reach(id, job)?;
    // Before a worker can get it, and as late as possible.
    clear_attempts(jobs, job, &workload)?;
    let how = Submission::Background(match priority {
        JobPriority::High => Priority::High,
        JobPriority::Normal => Priority::Normal,
        JobPriority::Low => Priority::Low,
    });
    let handle = client.submit(how, job.function.as_bytes(), job.unique.as_bytes(), &workload).map_err(|error| {
        fail(&format!("{id} was not accepted, and stays in quarantine: {}", reason(&error)), FAILED)
    })?;
    println!("{id}: submitted to {} as {}", escape(&job.server), escape(&handle));
    let removed = jobs.remove(id);
    removed.map_err(|reason| fail(&format!("{id} was submitted, but stays in quarantine: {reason}"), FAILED))
}

fn reach(id: RecordId, job: &QuarantinedJob) -> Result<Client, ExitCode> {
    let client = Client::connect(&job.server, TIMEOUT, MAX_PACKET);
    let client = client.and_then(|mut client| client.greet().map(|()| client));
    client.map_err(|error| fail(&format!("{id} stays in quarantine: {}", reason(&error)), NO_SERVER))
}

/// A running manager counts on where it was, and would fail the job at its next death. Where none runs, nothing counts.
fn clear_attempts(jobs: &Records<QuarantinedJob>, job: &QuarantinedJob, workload: &[u8]) -> Result<(), ExitCode> {
    let of = AttemptsOf {
        function: job.function.clone(),
        server: job.server.clone(),
        handle: job.handle.clone(),
        unique: job.unique.clone(),
        workload: Some(WorkloadHash::of(workload, workload.len() as u64).to_string()),
    };
    let cleared =
        ControlClient::connect(&jobs.configuration.control, DEADLINE).and_then(|mut client| client.clear_attempts(of));
    match cleared {
        Ok(_) | Err(ClientError::NoManager { .. }) => Ok(()),
        Err(error) => Err(fail_of(&error)),
    }
}
