//! The command line, defined with clap's derive.
//!
//! Nothing here refers to the rest of this crate: build.rs includes these files to make the man page and the
//! completions from them. What an option means to the configuration is a key and a text ([`Cli::overrides`]), checked
//! with the file's keys, so both get the same messages.

pub mod command_args;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub use command_args::{
    CallArgs, CheckArgs, CrashesArgs, DevArgs, EventsArgs, FunctionArgs, KillArgs, LogLevelArgs, ManagersArgs, NewArgs,
    QuarantineArgs, ReloadArgs, RestartArgs, RetryArgs, RollbackArgs, ScaleArgs, StatusArgs, StopArgs, SubmitArgs,
    VersionsArgs,
};

/// Serve Gearman jobs with native libraries: copy a library into a directory, and it becomes a function of that name
///
/// Without a command, gm-native runs the manager. Options override the configuration file.
#[derive(Clone, Debug, Parser)]
#[command(name = "gm-native", version, disable_help_flag = true, disable_version_flag = true, max_term_width = 100)]
pub struct Cli {
    /// Which manager to run or to address.
    #[command(flatten)]
    pub place: ManagerLocation,

    /// How the manager runs.
    #[command(flatten)]
    pub manager: ManagerOptions,

    /// Print this help
    #[arg(short = 'H', long, global = true, action = ArgAction::Help)]
    help: Option<bool>,

    /// Print version, target, compiler and plugin interface version
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,

    /// What to do; without one, run the manager.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of running the manager.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Show the functions, workers and job servers of a running manager
    Status(StatusArgs),
    /// Show a running manager live in a terminal: functions with their rates, workers, events
    ///
    /// Keys pause, resume, restart, scale and roll back functions and end jobs, as the commands of these names do; ? lists
    /// them. What takes something away is asked before it is done. It needs a terminal with at least 40 x 10 characters.
    /// With NO_COLOR set, it uses no colours. If the manager goes away, top says so and waits for it.
    Top,
    /// Print what a running manager decided, and why
    ///
    /// Without --follow or --since: the last thousand events. The manager keeps no more than these.
    Events(EventsArgs),
    /// Run one job with a library, without a job server or a manager
    ///
    /// The result goes to standard output. Everything that the function logs, prints or sends to its caller goes to
    /// standard error. With -c, the function's settings and the prefix come from the file. Ctrl-C asks the job to stop,
    /// as a manager would; a second one kills it.
    ///
    /// The exit code is 0 if the job succeeds, and 1 if it fails or the library cannot be used.
    #[command(args = unlisted(&["worker_dir", "state_dir", "control", "pid_file"]))]
    Call(CallArgs),
    /// Check libraries: print what each one is, or why it cannot be used
    ///
    /// Each library is copied, checked and loaded in a separate process, as a manager would do it.
    ///
    /// The exit code is 0 if all can be used, otherwise 1.
    #[command(args = unlisted(&["worker_dir", "state_dir", "control", "pid_file"]))]
    Check(CheckArgs),
    /// Create a crate for a new function, or a directory with a Makefile in another language
    ///
    /// It builds, has tests, and can be served without changes: see its README.md.
    #[command(args = unlisted(&["config", "worker_dir", "state_dir", "control", "pid_file"]))]
    New(NewArgs),
    /// List the managers that run and that you may ask
    ///
    /// Root sees those of every user. Without -c, -P, -w, --state-dir or --control, a command is for the manager of
    /// ./workers or, if there is none, for the only one that runs.
    #[command(args = unlisted(&["config", "worker_dir", "state_dir", "control", "pid_file"]))]
    Managers(ManagersArgs),
    /// List the stored versions of a running manager's functions
    Versions(VersionsArgs),
    /// Roll a function back to an earlier version, until its file changes
    ///
    /// Without a hash, the function goes back to the version that was served before; each further rollback goes one
    /// version further back, never forward. If a newer file is not in service yet, its deploy is cancelled, and the
    /// version in service stays. The command waits until every planned worker serves the version. gm-native versions
    /// lists the versions, and gm-native retry goes forward to the version in the file.
    Rollback(RollbackArgs),
    /// Try a function's file again, after it was refused, its version was rejected, or a rollback
    ///
    /// gm-native treats the file as if it had just been copied: it checks the file, and runs a canary if the file holds
    /// a version other than the one in service. The command waits until every planned worker serves the version in the
    /// file, and says why if that does not happen. It also ends a rollback.
    Retry(RetryArgs),
    /// Replace the workers of a function, or all workers, one after the other
    ///
    /// New workers take jobs before old ones stop, as in a rollout (rollout_surge); running jobs finish. A function that
    /// is backing off is started at once. The command waits until new workers serve in place of all old ones, but not
    /// for the last jobs of old ones.
    Restart(RestartArgs),
    /// End a job as its timeout would
    ///
    /// The job is asked to stop, and its worker is killed after timeout_grace. on_timeout decides whether the job fails or
    /// runs again. The command waits until the worker has ended.
    Kill(KillArgs),
    /// Take no more jobs of a function, until it is resumed
    ///
    /// Jobs that workers already have run to their end; others wait at the job servers. Workers that serve other functions as
    /// well go on with those. A new version of the function is checked and stored, and its canary starts at resume. A
    /// pause survives a restart of the manager, and is logged every hour. The command waits until no worker takes jobs of
    /// the function any more.
    Pause(FunctionArgs),
    /// Take jobs of a paused function again
    ///
    /// The command waits until every planned worker serves the function.
    Resume(FunctionArgs),
    /// Pause a function, and wait until none of its jobs runs
    ///
    /// With --timeout, the function stays paused when the time is over.
    Drain(FunctionArgs),
    /// Set how many workers serve a function, until the next reload
    ///
    /// N counts the workers that serve all functions, so it cannot be lower than count. The command waits until N workers
    /// serve the function.
    Scale(ScaleArgs),
    /// Read the configuration again, and replace all workers; the same as SIGHUP
    ///
    /// The command waits until every planned worker serves with the new configuration. If that cannot be used, the old
    /// one stays in force, and the command says what is wrong with it.
    Reload(ReloadArgs),
    /// Let running jobs finish, and stop the manager; the same as SIGTERM
    ///
    /// After graceful_shutdown_wait_time, workers that are left are killed. The command waits until the manager's process
    /// is gone, so another one can be started at once.
    Stop(StopArgs),
    /// Log more, or less, without a reload
    LogLevel(LogLevelArgs),
    /// List the reports of workers that died, show one, or run its job again
    ///
    /// Reads the manager's state directory; no manager has to run. Crashes of the same function and version at the same
    /// place are one line, the last one first.
    ///
    /// The exit code is 0, or 1 if the reports cannot be read.
    Crashes(CrashesArgs),
    /// List the jobs that killed as many workers as they may, submit them again, or drop them
    ///
    /// Reads the manager's state directory; no manager has to run. A job gets there when it has cost max_attempts workers.
    Quarantine(QuarantineArgs),
    /// Build crates as you edit them and serve them, with a job server in memory
    ///
    /// Starts a job server in memory, and a manager that serves the libraries in -w. Crates are built with cargo's dev
    /// profile, other directories with make, and each is built again when its source changes; if a build fails, the
    /// previous code stays in service. New code goes into service at once, without a canary; the log then says which code
    /// a function is served with. If nothing can be served, dev says why and tries again at the next save. With -c, dev
    /// reads the file again when it changes and on SIGHUP; it ignores the file's log, pid file, user, state directory,
    /// control socket and job servers. The log goes to standard output, at -vvv. Ctrl-C lets running jobs finish, says
    /// what it waits for, then stops; a second Ctrl-C kills them.
    ///
    /// The exit code is 0 in both cases.
    #[command(args = [vec![worker_dir_of_dev()], unlisted(&["pid_file"])].concat())]
    Dev(DevArgs),
    /// Submit a job: print its result to standard output and its warnings to standard error
    ///
    /// If no worker serves the function, submit says so and waits for one. Ctrl-C stops waiting: the job server then
    /// drops the job, unless a worker runs it already.
    ///
    /// The exit code is 0 if the job succeeded (with --background: if it is queued), 1 if it failed, 2 for a usage
    /// error, 3 if no job server can be reached, and 5 if --timeout expired.
    #[command(args = unlisted(&["worker_dir", "state_dir", "control", "pid_file"]))]
    Submit(SubmitArgs),
}

/// `-h` means hosts, as in GearmanManager. For a command without hosts, clap would take it for a misplaced value, and
/// advise accordingly.
fn help_is_not_h(error: clap::Error, definition: &mut clap::Command) -> clap::Error {
    let unknown = error.get(ContextKind::InvalidArg);
    match (error.kind(), unknown) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(text))) if text == "-h" => {
            definition.error(ErrorKind::UnknownArgument, "unexpected argument '-h'; for help, write -H or --help")
        }
        _ => error,
    }
}

/// What `status --check` checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckLevel {
    /// Whether everything is served as it should be
    All,
    /// Only whether the manager answers
    Live,
}

/// Where a manager is: to run it, or to find a running one. These options may come before or after a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ManagerLocation {
    /// Configuration file (ini)
    #[arg(short = 'c', long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Directories with the libraries [default: ./workers]
    #[arg(short = 'w', long, value_name = "DIR[,DIR]", global = true)]
    pub worker_dir: Vec<OsString>,

    /// Directory for stored libraries, crash reports and the lock
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<OsString>,

    /// Socket between the manager and its commands
    #[arg(long, value_name = "PATH", global = true)]
    pub control: Option<OsString>,

    /// Pid file: the manager writes and locks it, and a command finds the manager by it
    #[arg(short = 'P', long, value_name = "FILE", global = true)]
    pub pid_file: Option<OsString>,
}

/// Options of [`ManagerLocation`] that a command ignores: accepted, since they may come before any command, but not
/// shown in its help.
fn unlisted(ids: &[&str]) -> Vec<Arg> {
    let place = ManagerLocation::augment_args(clap::Command::new("place"));
    let meant = |arg: &&Arg| ids.contains(&arg.get_id().as_str());
    place.get_arguments().filter(meant).map(|arg| arg.clone().hide(true)).collect()
}

/// `-w` of `dev`, which has another default.
fn worker_dir_of_dev() -> Arg {
    let place = ManagerLocation::augment_args(clap::Command::new("place"));
    let arg = place.get_arguments().find(|arg| arg.get_id() == "worker_dir").cloned();
    arg.unwrap_or_else(|| Arg::new("worker_dir")).help(
        "Directories with the libraries, also for installing what is built [default: those of -c, otherwise ./workers; with \
         a DIR, those of -c that exist and a temporary one]",
    )
}

/// How the manager runs; not allowed with a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ManagerOptions {
    /// Watch the worker directories and roll out new code (the default; accepted for compatibility)
    #[arg(short = 'a', long)]
    pub auto_update: bool,

    /// Detach from the terminal; return once the workers are loaded
    #[arg(short = 'd', long)]
    pub daemonize: bool,

    /// Number of workers that serve all functions
    #[arg(short = 'D', long, value_name = "N", allow_negative_numbers = true)]
    pub count: Option<OsString>,

    /// Job servers [default: 127.0.0.1:4730]
    #[arg(short = 'h', long, value_name = "HOST[:PORT][,...]")]
    pub host: Vec<OsString>,

    /// Log to a file, or to syslog [default: standard output; with -d: syslog]
    #[arg(short = 'l', long, value_name = "FILE")]
    pub log_file: Option<OsString>,

    /// Prefix of the entry symbols, in front of the function's name
    #[arg(short = 'p', long, value_name = "PREFIX")]
    pub prefix: Option<OsString>,

    /// Replace a worker after N jobs
    #[arg(short = 'r', long, value_name = "N", allow_negative_numbers = true)]
    pub max_runs: Option<OsString>,

    /// Seconds that a job may run
    #[arg(short = 't', long, value_name = "SEC", allow_negative_numbers = true)]
    pub timeout: Option<OsString>,

    /// Run as this user
    #[arg(short = 'u', long, value_name = "USER")]
    pub user: Option<OsString>,

    /// Log more than warnings and errors: -v adds start, stop and deploys, -vv worker processes, -vvv jobs, -vvvv debug
    /// messages, -vvvvv everything
    #[arg(short = 'v', long, action = ArgAction::Count)]
    pub verbose: u8,

    /// Seconds after which a worker is replaced [default: 3600]
    #[arg(short = 'x', long, value_name = "SEC", allow_negative_numbers = true)]
    pub max_worker_lifetime: Option<OsString>,

    /// Fail the start if a library is refused or a function cannot be served, instead of leaving it out
    #[arg(long)]
    pub strict: bool,

    /// Print the effective configuration, where each value came from, and the planned workers; start nothing
    #[arg(short = 'Z', long)]
    pub dump_config: bool,
}

impl Cli {
    /// Parses a command line, which starts with the program's name. `version` is what `-V` prints after that name.
    ///
    /// # Errors
    ///
    /// A usage error, or help or version text to print: [`clap::Error::exit`] handles all of them and exits with 2 or
    /// 0.
    pub fn parse_args<I, T>(args: I, version: &'static str) -> Result<Cli, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let mut definition = Cli::command().version(version);
        let matches =
            definition.try_get_matches_from_mut(args).map_err(|error| help_is_not_h(error, &mut definition))?;
        if let Some(command) = matches.subcommand_name() {
            let given = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
            let allowed = |id: &&str| match *id {
                "host" => matches!(command, "submit" | "dev"),
                "verbose" => command == "dev",
                "pid_file" => !WITHOUT_MANAGER.contains(&command),
                _ => false,
            };
            if let Some(id) = RUN_ONLY.iter().chain(&["pid_file"]).find(|id| given(id) && !allowed(id)) {
                let option = id.replace('_', "-");
                let text = format!("the option --{option} is for running the manager, not for {command}");
                return Err(definition.error(ErrorKind::ArgumentConflict, text));
            }
        }
        Cli::from_arg_matches(&matches)
    }

    /// The options that set keys of the configuration: key, option as written, value.
    pub fn overrides(&self) -> Vec<(&'static str, &'static str, OsString)> {
        let ManagerLocation { config: _, worker_dir, state_dir, control, pid_file } = &self.place;
        let manager = &self.manager;
        let verbose = manager.verbose.saturating_add(match &self.command {
            Some(Command::Dev(args)) => args.verbose,
            _ => 0,
        });
        let verbose = (verbose > 0).then(|| verbose.min(5).to_string().into());
        let switch = |on: bool| on.then(|| "1".into());
        let all = [
            ("worker_dir", "-w", joined(worker_dir)),
            ("state_dir", "--state-dir", state_dir.clone()),
            ("control", "--control", control.clone()),
            ("auto_update", "-a", switch(manager.auto_update)),
            ("daemon", "-d", switch(manager.daemonize)),
            ("count", "-D", manager.count.clone()),
            ("host", "-h", joined(&self.hosts())),
            ("log_file", "-l", manager.log_file.clone()),
            ("prefix", "-p", manager.prefix.clone()),
            ("pid_file", "-P", pid_file.clone()),
            ("max_runs_per_worker", "-r", manager.max_runs.clone()),
            ("timeout", "-t", manager.timeout.clone()),
            ("user", "-u", manager.user.clone()),
            ("verbose", "-v", verbose),
            ("max_worker_lifetime", "-x", manager.max_worker_lifetime.clone()),
            ("strict", "--strict", switch(manager.strict)),
        ];
        all.into_iter().filter_map(|(key, option, value)| Some((key, option, value?))).collect()
    }

    /// Job servers, from before and after a command that takes them.
    fn hosts(&self) -> Vec<OsString> {
        let after = match &self.command {
            Some(Command::Submit(args)) => args.host.as_slice(),
            Some(Command::Dev(args)) => args.host.as_slice(),
            _ => &[],
        };
        [&self.manager.host, after].concat()
    }
}

/// Commands that address no running manager.
const WITHOUT_MANAGER: [&str; 6] = ["call", "check", "new", "dev", "submit", "managers"];

/// The ids of [`ManagerOptions`].
const RUN_ONLY: [&str; 13] = [
    "auto_update",
    "daemonize",
    "count",
    "host",
    "log_file",
    "prefix",
    "max_runs",
    "timeout",
    "user",
    "verbose",
    "max_worker_lifetime",
    "strict",
    "dump_config",
];

/// A repeated option adds up: `-h a -h b` means `-h a,b`.
fn joined(values: &[OsString]) -> Option<OsString> {
    (!values.is_empty()).then(|| values.join(",".as_ref()))
}

#[cfg(test)]
mod tests;
