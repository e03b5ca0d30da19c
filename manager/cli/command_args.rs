//! The options of each command.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand, ValueEnum};

use super::CheckLevel;

/// Options of `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct StatusArgs {
    /// Print JSON, with everything that is known
    #[arg(long)]
    pub json: bool,

    /// List the worker processes, too
    #[arg(long, conflicts_with = "check")]
    pub workers: bool,

    /// Ask the job servers how many jobs of each function wait and run there
    #[arg(long, conflicts_with = "check")]
    pub queues: bool,

    /// Show it again each second until Ctrl-C; with --json, one line each
    #[arg(long, conflicts_with = "check")]
    pub watch: bool,

    /// Print one line for a monitoring system; exit with 0 (ok), 1 (warning), 2 (critical) or 3 (unknown)
    ///
    /// The line and the exit codes are those of a Nagios plugin, with performance data. Critical: no manager is
    /// running, a function has no ready worker, or no job server answers. Warning: workers are missing, a library is
    /// not served, a version was rejected, a library was removed, at least half of a function's jobs fail, or the like.
    /// Unknown: the state could not be determined. --check=live asks only whether the manager responds, for a liveness
    /// probe.
    #[arg(
        long,
        value_name = "LEVEL",
        value_enum,
        hide_possible_values = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "all"
    )]
    pub check: Option<CheckLevel>,
}

/// Options of `versions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct VersionsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `rollback`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct RollbackArgs {
    /// The function
    pub function: String,

    /// First digits of the version's hash [default: the version that was served before]
    pub hash: Option<String>,

    /// Roll back to a version that was rejected, or is pinned already
    #[arg(long)]
    pub force: bool,

    /// How long to wait
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Options of `retry`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct RetryArgs {
    /// The function
    pub function: String,

    /// How long to wait
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Options of `restart`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct RestartArgs {
    /// The function, or the word all
    #[arg(value_name = "FUNCTION | all")]
    pub function: String,

    /// How long to wait
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Options of `kill`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct KillArgs {
    /// The process of the job's worker, or the job's handle: see gm-native status --workers
    #[arg(value_name = "PID | HANDLE")]
    pub job: String,

    /// How long to wait
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Options of `pause`, `resume` and `drain`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct FunctionArgs {
    /// The function
    pub function: String,

    /// How long to wait
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Options of `scale`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ScaleArgs {
    /// The function
    pub function: String,

    /// How many workers
    #[arg(value_name = "N")]
    pub workers: u32,

    /// How long to wait
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Options of `reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ReloadArgs {
    /// How long to wait
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Options of `stop`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct StopArgs {
    /// Stop waiting after this time, for example 30 (seconds), 500ms or 10m [default: wait until the manager is gone]
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<OsString>,

    /// Return as soon as the manager has begun to stop
    #[arg(long, conflicts_with = "timeout")]
    pub no_wait: bool,
}

/// Options of `log-level`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct LogLevelArgs {
    /// The level, from 0 (warnings and errors) to 5 (everything): the number of v's in -vvvvv
    #[arg(value_name = "N", value_parser = clap::value_parser!(u8).range(0..=5))]
    pub level: u8,

    /// For how long, for example 30 (seconds) or 10m [default: until the next reload]
    #[arg(long = "for", value_name = "DURATION")]
    pub period: Option<OsString>,
}

/// How long a command waits for its effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct WaitArgs {
    /// Stop waiting after this time, for example 30 (seconds), 500ms or 10m [default: 1m]
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<OsString>,

    /// Return as soon as the manager has begun it
    #[arg(long, conflicts_with = "timeout")]
    pub no_wait: bool,
}

/// Options of `managers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ManagersArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct EventsArgs {
    /// Print new events as they happen, and none from before
    #[arg(long)]
    pub follow: bool,

    /// Only events of this time until now, for example 30 (seconds) or 10m; with --follow, before those that follow
    #[arg(long, value_name = "DURATION")]
    pub since: Option<OsString>,

    /// Print JSON, one object per line
    #[arg(long)]
    pub json: bool,
}

/// Options of `dev`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct DevArgs {
    /// Directories to build and serve: crates, or directories with a Makefile whose first target makes NAME.so
    /// [default: none, only the libraries in -w]
    #[arg(value_name = "DIR")]
    pub projects: Vec<PathBuf>,

    /// Build with this shell command, in each DIR, instead of cargo or make; it has to make NAME.so in DIR
    #[arg(long, value_name = "COMMAND", requires = "projects")]
    pub build: Option<OsString>,

    /// Build with cargo's release profile
    #[arg(long)]
    pub release: bool,

    /// Port of the job server on 127.0.0.1; 0 means any free port [default: 4730, or any free port if it is taken]
    #[arg(long, value_name = "PORT", conflicts_with = "host")]
    pub port: Option<u16>,

    /// Use these job servers instead of starting one
    #[arg(short = 'h', long, value_name = "HOST[:PORT][,...]")]
    pub host: Vec<OsString>,

    /// What to log, from -v (start, stop and deploys) to -vvvvv (everything) [default: -vvv]
    #[arg(short = 'v', long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// Options of `submit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct SubmitArgs {
    /// Function to call
    pub function: OsString,

    /// Workload: these bytes, - for standard input, or @FILE for the content of a file [default: empty]
    #[arg(value_name = "DATA | - | @FILE")]
    pub data: Option<OsString>,

    /// Print the job's handle and do not wait for the result
    #[arg(long)]
    pub background: bool,

    /// Unique id of the job; if a job with this id is already queued or running, join it
    #[arg(long, value_name = "ID")]
    pub unique: Option<OsString>,

    /// High priority: run it before other jobs of the function
    #[arg(long, conflicts_with = "low")]
    pub high: bool,

    /// Low priority: run it after other jobs of the function
    #[arg(long)]
    pub low: bool,

    /// Stop waiting after this time, such as 30 (seconds), 500ms, 10m; the job server then drops the job, unless a
    /// worker runs it already (gearmand counts it until a worker asks for the function)
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<OsString>,

    /// Job servers, tried in turn [default: those of -c, else 127.0.0.1:4730]
    #[arg(short = 'h', long, value_name = "HOST[:PORT][,...]")]
    pub host: Vec<OsString>,
}

/// Options of `call`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct CallArgs {
    /// The library
    pub file: PathBuf,

    /// The workload: text, - for standard input, or @FILE for the content of a file [default: empty]
    #[arg(value_name = "DATA")]
    pub data: Option<OsString>,

    /// Name of the function [default: from the file's name]
    #[arg(long, value_name = "NAME")]
    pub function: Option<String>,

    /// Prefix of the entry symbol, in front of the function's name
    #[arg(short = 'p', long, value_name = "PREFIX")]
    pub prefix: Option<String>,

    /// A setting of the function, like setting.NAME = VALUE in its section of the configuration
    #[arg(long = "setting", value_name = "NAME=VALUE")]
    pub settings: Vec<String>,

    /// Run the job N times, and print how long the runs took
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub repeat: u64,

    /// Log more: -v debug, -vv trace
    #[arg(short = 'v', long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// Options of `check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct CheckArgs {
    /// The libraries
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Print JSON, one object per line
    #[arg(long)]
    pub json: bool,

    /// Name of the function [default: from each file's name]
    #[arg(long, value_name = "NAME")]
    pub function: Option<String>,

    /// Prefix of the entry symbols, in front of the function's name
    #[arg(short = 'p', long, value_name = "PREFIX")]
    pub prefix: Option<String>,
}

/// Options of `new`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct NewArgs {
    /// Name of the function and of the directory
    pub name: String,

    /// Language of the function: rust (a crate), c, cpp, go or zig (a directory with a Makefile)
    #[arg(long, value_enum, value_name = "LANGUAGE", default_value_t, hide_possible_values = true)]
    pub lang: Language,

    /// Keep state from job to job
    #[arg(long)]
    pub object: bool,

    /// Read and return JSON (in Rust)
    #[arg(long)]
    pub json: bool,
}

/// The language of a new function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Rust: makes a crate
    #[default]
    Rust,
    /// C: makes a directory with a Makefile
    C,
    /// C++17: makes a directory with a Makefile
    Cpp,
    /// Go: makes a directory with a Makefile
    Go,
    /// Zig: makes a directory with a Makefile
    Zig,
}

/// Options of `crashes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct CrashesArgs {
    /// Only the reports of this function
    pub function: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// One line for each report, instead of one for those with the same function, version and place
    #[arg(long)]
    pub all: bool,

    /// What to do instead of listing the reports
    #[command(subcommand)]
    pub command: Option<CrashesCommand>,
}

/// What to do with a crash report.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum CrashesCommand {
    /// Show a report: where it crashed, the job, and what the worker printed last
    Show {
        /// The report's id, from the list or the log
        id: String,

        /// The file as it is, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Run the job of a report again, in a separate process, with the version and the settings it had
    ///
    /// Works like gm-native call. Needs the workload (crash_workload_max), and the version in the store (keep_versions).
    /// Settings that are secrets are not in the report: they come from -c. Root runs it as the user to whom the state
    /// directory belongs.
    Replay {
        /// The report's id
        id: String,

        /// Run it in gdb
        #[arg(long)]
        gdb: bool,

        /// Log more: -v debug, -vv trace
        #[arg(short = 'v', long, action = ArgAction::Count)]
        verbose: u8,
    },
}

/// Options of `quarantine`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct QuarantineArgs {
    /// Only the jobs of this function
    pub function: Option<String>,

    /// What to do; without it, list the jobs.
    #[command(subcommand)]
    pub command: Option<QuarantineCommand>,
}

/// What to do with jobs in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum QuarantineCommand {
    /// List the jobs (the default)
    List {
        /// Only the jobs of this function
        function: Option<String>,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a job, and how it killed its workers
    Show {
        /// The job's id, from the list or the log
        id: String,

        /// The file as it is, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Submit jobs again, in the background, to the servers they came from; they get all their attempts again
    ///
    /// A job keeps its unique id. It leaves quarantine once its server has accepted it. If its whole workload was not
    /// kept, it cannot be submitted from here.
    Resubmit {
        /// The jobs' ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,

        /// Priority; Gearman does not tell workers which one a job had
        #[arg(long, value_enum, default_value_t)]
        priority: JobPriority,
    },
    /// Remove jobs
    Drop {
        /// The jobs' ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

/// With which priority a job is submitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum JobPriority {
    /// Before others of the function
    High,
    /// In turn
    #[default]
    Normal,
    /// After others of the function
    Low,
}
