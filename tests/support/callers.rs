//! Real clients, as users run them.

use std::process::Command;
use std::time::Duration;

use gm_native::gearman::admin::{self, ServerVersion};
use serde::Deserialize;

use super::build::{self, repository};
use super::gearmand::Gearmand;
use super::program::{Finished, Hung, run};
use super::wait::DEADLINE;

/// Runs the `gearman` CLI against `server` with `stdin` as the workload.
///
/// # Panics
///
/// When it hangs.
#[track_caller]
pub fn gearman(server: &Gearmand, args: &[&str], stdin: &[u8]) -> Finished {
    try_gearman(server, args, stdin, DEADLINE).unwrap_or_else(|hung| panic!("gearman {args:?} hung: {hung:?}"))
}

/// As [`gearman`], for tests in which it may hang.
#[track_caller]
pub fn try_gearman(server: &Gearmand, args: &[&str], stdin: &[u8], deadline: Duration) -> Result<Finished, Hung> {
    let mut command = Command::new("gearman");
    command.args(["-h", &server.host(), "-p", &server.port().to_string()]).args(args);
    run(&mut command, stdin, deadline)
}

/// Runs a PHP script with php-gearman; its path is relative to the repository.
///
/// # Panics
///
/// When it hangs.
#[track_caller]
pub fn php(script: &str, args: &[&str], stdin: &[u8]) -> Finished {
    run(php_command(script).args(args), stdin, DEADLINE).unwrap_or_else(|hung| panic!("php {script} hung: {hung:?}"))
}

/// Runs a Perl script; its path is relative to the repository.
///
/// # Panics
///
/// When it hangs.
#[track_caller]
pub fn perl(script: &str, args: &[&str], stdin: &[u8]) -> Finished {
    run(perl_command(script).args(args), stdin, DEADLINE).unwrap_or_else(|hung| panic!("perl {script} hung: {hung:?}"))
}

fn php_command(script: &str) -> Command {
    let mut command = Command::new("php");
    command.args(["-d", "memory_limit=-1", "-d", "display_errors=stderr"]).arg(repository().join(script));
    command
}

fn perl_command(script: &str) -> Command {
    let mut command = Command::new("perl");
    command.arg(repository().join(script));
    command
}

/// Client libraries with callbacks. Each program takes the same arguments and prints each callback as a line of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// php-gearman, which is built on libgearman.
    Php,
    /// Gearman::Client, which is pure Perl.
    Perl,
    /// libgearman.
    C,
}

/// How a job is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In the foreground, with that priority.
    Normal,
    /// In the foreground, with that priority.
    High,
    /// In the foreground, with that priority.
    Low,
    /// In the background: only [`Callback::Created`] follows.
    Background,
}

/// A callback from a client library.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "callback", rename_all = "lowercase")]
pub enum Callback {
    /// The job has a handle. Not every library reports that for foreground jobs.
    Created {
        /// The handle.
        handle: String,
    },
    /// Progress.
    Status {
        /// How much is done...
        done: u64,
        /// ... of how much.
        of: u64,
    },
    /// Data from the running job.
    Data {
        /// The bytes.
        #[serde(deserialize_with = "hex")]
        data: Vec<u8>,
    },
    /// A warning from the running job.
    Warning {
        /// The bytes.
        #[serde(deserialize_with = "hex")]
        data: Vec<u8>,
    },
    /// The result.
    Complete {
        /// The bytes.
        #[serde(deserialize_with = "hex")]
        data: Vec<u8>,
    },
    /// The job failed.
    Fail,
    /// The job failed, with data.
    Exception {
        /// The bytes.
        #[serde(deserialize_with = "hex")]
        data: Vec<u8>,
    },
}

impl Caller {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Php, Self::Perl, Self::C];

    /// Submits a job of `function`, waits for it, and returns the library's callbacks, except for the handle of a
    /// foreground job.
    ///
    /// # Panics
    ///
    /// If the client hangs or cannot submit the job at all. A job that fails is no panic.
    #[track_caller]
    pub fn call(self, server: &Gearmand, function: &str, workload: &[u8]) -> Vec<Callback> {
        let mut callbacks = self.submit(server, function, "", Mode::Normal, workload);
        callbacks.retain(|callback| !matches!(callback, Callback::Created { .. }));
        callbacks
    }

    /// Submits a job in this mode, with a unique unless it is empty, and returns all callbacks of the library.
    #[track_caller]
    pub fn submit(self, server: &Gearmand, function: &str, unique: &str, mode: Mode, workload: &[u8]) -> Vec<Callback> {
        let callbacks = self.try_submit(&server.server(), function, unique, mode, workload, DEADLINE);
        callbacks.unwrap_or_else(|why| panic!("{self:?}: {why}"))
    }

    /// As [`submit`](Self::submit), but to a server at HOST:PORT, and with an error if the client hangs or cannot do
    /// it.
    pub fn try_submit(
        self,
        server: &str,
        function: &str,
        unique: &str,
        mode: Mode,
        workload: &[u8],
        deadline: Duration,
    ) -> Result<Vec<Callback>, String> {
        let (host, port) = server.rsplit_once(':').ok_or("no HOST:PORT")?;
        let mut command = match self {
            Self::Php => php_command("tests/support/php/client.php"),
            Self::Perl => perl_command("tests/support/perl/client.pl"),
            Self::C => Command::new(build::c("client", include_str!("c/client.c"), &["-lgearman"])),
        };
        command.args([host, port, function, unique, mode.word()]);
        let finished = run(&mut command, workload, deadline).map_err(|hung| format!("the client hung: {hung:?}"))?;
        if !finished.status.success() {
            return Err(format!("{finished:?}"));
        }
        let lines = finished.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok(lines.map(|line| serde_json::from_slice(line).unwrap()).collect())
    }
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::High => "high",
            Self::Low => "low",
            Self::Background => "background",
        }
    }
}

fn hex<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pair = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks_exact(2).map(pair).collect();
    bytes.ok_or_else(|| serde::de::Error::custom("not hexadecimal"))
}

/// The version of a job server (ADDRESS:PORT).
#[track_caller]
pub fn version(server: &str) -> ServerVersion {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asked = async { tokio::time::timeout(DEADLINE, admin::version_at(server.parse().unwrap())).await };
    runtime.block_on(asked).expect("an answer in time").unwrap()
}
