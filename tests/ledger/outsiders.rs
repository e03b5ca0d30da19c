//! Clients as users have them. A process of its own submits each job, and reports what happened to it.

use std::process::Command;
use std::time::Duration;

use crate::history::{Answer, ClientKind};
use crate::jobs::Job;
use crate::support::callers::{Callback, Caller, Mode};
use crate::support::program::run;

impl ClientKind {
    /// Those that are installed here.
    pub fn installed_outsiders() -> Vec<Self> {
        let (here, missing): (Vec<Self>, Vec<Self>) =
            [Self::Cli, Self::Php, Self::Perl].into_iter().partition(|kind| kind.is_installed());
        if !missing.is_empty() {
            println!("ledger: not installed, so not among the clients: {missing:?}");
        }
        here
    }

    /// Whether it submits this job by a process of its own. The CLI reads a workload in pieces of 1,024 bytes and
    /// copies all of it each time, which takes minutes for the largest.
    pub fn can_submit(self, job: &Job) -> bool {
        match self {
            Self::Own => false,
            Self::Cli => job.workload.len() < 1_000_000,
            Self::Php | Self::Perl => true,
        }
    }

    fn is_installed(self) -> bool {
        let (program, args): (_, &[&str]) = match self {
            Self::Own => return true,
            Self::Cli => ("gearman", &["-H"]),
            Self::Php => ("php", &["-r", "exit(extension_loaded('gearman') ? 0 : 1);"]),
            Self::Perl => ("perl", &["-MGearman::Client", "-e", "1"]),
        };
        // gearman has 1 after its help.
        let is_there = |code: Option<i32>| code == Some(0) || (self == Self::Cli && code == Some(1));
        Command::new(program).args(args).output().is_ok_and(|output| is_there(output.status.code()))
    }
}

/// Has a process submit a job to a server (HOST:PORT). Nothing is answered of a job in the background. An error is a
/// connection that broke, or a client that hung.
pub fn submit(kind: ClientKind, server: &str, job: &Job, sub: &str, time: Duration) -> Result<Option<Answer>, String> {
    let mode = if job.background { Mode::Background } else { Mode::Normal };
    let caller = match kind {
        ClientKind::Own => unreachable!("that is no process of its own"),
        ClientKind::Cli => return cli(server, job, sub, time),
        ClientKind::Php => Caller::Php,
        ClientKind::Perl => Caller::Perl,
    };
    let callbacks = caller.try_submit(server, job.function, sub, mode, &job.workload, time)?;
    answer(job, sub, &callbacks)
}

fn answer(job: &Job, sub: &str, callbacks: &[Callback]) -> Result<Option<Answer>, String> {
    let mut warnings = Vec::new();
    for callback in callbacks {
        match callback {
            Callback::Warning { data } => warnings.extend(data),
            Callback::Complete { data } => return Ok(Some(job.answer(sub, data))),
            Callback::Fail | Callback::Exception { .. } => return Ok(Some(Answer::failed(&warnings))),
            Callback::Created { .. } if job.background => return Ok(None),
            Callback::Created { .. } | Callback::Status { .. } | Callback::Data { .. } => {}
        }
    }
    Err("it reported no end of the job".into())
}

/// The CLI prints on standard error that its connection broke, and exits with 0. It prints data, then the result.
fn cli(server: &str, job: &Job, sub: &str, time: Duration) -> Result<Option<Answer>, String> {
    let (host, port) = server.rsplit_once(':').ok_or("no HOST:PORT")?;
    let mut command = Command::new("gearman");
    command.args(["-h", host, "-p", port, "-u", sub, "-f", job.function]).args(job.background.then_some("-b"));
    let done = run(&mut command, &job.workload, time).map_err(|hung| format!("it hung: {hung:?}"))?;
    let broke = ["gearman_client_", "GEARMAN_", "Error"].iter().any(|word| done.err().contains(word));
    match done.code() {
        _ if broke => Err(done.err()),
        Some(0) if job.background => Ok(None),
        Some(0) => {
            let data = done.stdout.iter().take_while(|byte| **byte == b'd').count();
            Ok(Some(job.answer(sub, &done.stdout[data..])))
        }
        Some(1) => Ok(Some(Answer::failed(&[done.stdout, done.stderr].concat()))),
        _ => Err(format!("{done:?}")),
    }
}
