//! The command line, as clap's derive has it.
//!
//! No path of this crate is named here: build.rs takes this file as a module of its own and makes the man page and the
//! completions from it. What an option means for the configuration is a key and a text ([`Cli::overrides`]), checked
//! with the file's keys, so that both are refused in the same words.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

/// Serves Gearman jobs with native libraries: drop a file into a directory and its name becomes a function.
///
/// Without a command it runs the manager. Options beat the configuration file.
#[derive(Clone, Debug, Parser)]
#[command(name = "gm-native", version, disable_help_flag = true, disable_version_flag = true, max_term_width = 100)]
pub struct Cli {
    /// Which manager is meant.
    #[command(flatten)]
    pub place: Place,

    /// How the manager runs.
    #[command(flatten)]
    pub manager: ManagerOptions,

    /// Print this help
    #[arg(short = 'H', long, global = true, action = ArgAction::Help)]
    help: Option<bool>,

    /// Print version, target, compiler and plugin interface version
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,

    /// What to do; none: run the manager.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of running the manager.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Show a running manager: functions, workers, job servers
    Status(StatusArgs),
    /// Print what a running manager does
    Events(EventsArgs),
    /// Run one job of a library here, without a job server or a manager
    ///
    /// The result goes to standard output; what the function logs, tells its caller and prints goes to standard error.
    /// The exit code is 0 if the job is done, 1 if it failed or the library cannot be used. With -c, the function's
    /// settings and the prefix are read from the file. Ctrl-C asks the job to stop, as a manager would; a second one
    /// kills it.
    #[command(args = unlisted(&["worker_dir", "state_dir", "control"]))]
    Call(CallArgs),
    /// Say what libraries are, or why they cannot be used
    ///
    /// Each is copied, checked and loaded in a process of its own, as a manager does it. The exit code is 0 if all can be
    /// used, else 1.
    #[command(args = unlisted(&["worker_dir", "state_dir", "control"]))]
    Check(CheckArgs),
    /// Make a crate for a function of your own
    ///
    /// It builds, is tested and can be served as it is: see its README.md.
    #[command(args = unlisted(&["config", "worker_dir", "state_dir", "control"]))]
    New(NewArgs),
    /// List the stored versions of a running manager's functions
    Versions(VersionsArgs),
    /// Serve an earlier version of a function until its file changes
    Rollback(RollbackArgs),
    /// Try a version again that was given up
    Retry(RetryArgs),
    /// Serve here, with a job server of its own, and build what is being written
    ///
    /// Starts a job server in memory and a manager of the libraries in -w. The folder of a crate is built with cargo, in
    /// the dev profile; its library is served, and built again when its source changes; while it cannot be built, the
    /// code before goes on. New code answers at once, without a trial. The log is on standard output, at -vvv. Ctrl-C
    /// finishes what runs. With -c, the file's log, pid file, user, directories of state and job servers are not used.
    Dev(DevArgs),
    /// Have a job done: its result to standard output, its warnings to standard error
    #[command(args = unlisted(&["worker_dir", "state_dir", "control"]))]
    Submit(SubmitArgs),
}

/// Options of `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct StatusArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,

    /// Print nothing but what is wrong; exit 0 if all is well, else 1
    #[arg(long)]
    pub check: bool,
}

/// Options of `versions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct VersionsArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `rollback`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct RollbackArgs {
    /// The function
    pub function: String,

    /// First digits of the version's hash [default: the newest earlier one]
    pub hash: Option<String>,
}

/// Options of `retry`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct RetryArgs {
    /// The function
    pub function: String,
}

/// Options of `events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct EventsArgs {
    /// Go on as they happen
    #[arg(long)]
    pub follow: bool,

    /// As JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// Options of `dev`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct DevArgs {
    /// Folders of crates to build and serve; without -w from a temporary directory, beside those of -c
    #[arg(value_name = "CRATE")]
    pub crates: Vec<PathBuf>,

    /// Build with cargo's release profile
    #[arg(long)]
    pub release: bool,

    /// Port of the job server on 127.0.0.1; 0 is any free one [default: 4730, or any if it is taken]
    #[arg(long, value_name = "PORT", conflicts_with = "host")]
    pub port: Option<u16>,

    /// Use these job servers, and start none
    #[arg(short = 'h', long, value_name = "HOST[:PORT][,...]")]
    pub host: Vec<OsString>,

    /// How much to log: -v start and stop ... -vvvvv every packet [default: -vvv]
    #[arg(short = 'v', long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// Options of `submit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct SubmitArgs {
    /// Function that does the job
    pub function: OsString,

    /// What it is done with: these bytes, standard input, or a file [default: nothing]
    #[arg(value_name = "DATA | - | @FILE")]
    pub data: Option<OsString>,

    /// Print the job's handle and do not wait for it
    #[arg(long)]
    pub background: bool,

    /// Name of the job: another one of that name is not run but joined
    #[arg(long, value_name = "ID")]
    pub unique: Option<OsString>,

    /// Before other jobs of the function
    #[arg(long, conflicts_with = "low")]
    pub high: bool,

    /// After other jobs of the function
    #[arg(long)]
    pub low: bool,

    /// Give up after so long, such as 30 (seconds), 500ms, 10m
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

    /// The workload: text, - for standard input, @FILE for what is in a file [default: nothing]
    #[arg(value_name = "DATA")]
    pub data: Option<OsString>,

    /// The function [default: what the file's name says]
    #[arg(long, value_name = "NAME")]
    pub function: Option<String>,

    /// What the entry symbol has in front of the function's name
    #[arg(short = 'p', long, value_name = "PREFIX")]
    pub prefix: Option<String>,

    /// A setting of the function, as setting.NAME = VALUE in its section
    #[arg(long = "setting", value_name = "NAME=VALUE")]
    pub settings: Vec<String>,

    /// Run the job so many times, and print how long it took
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub repeat: u64,

    /// Show more of the log: -v debug, -vv trace
    #[arg(short = 'v', long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// Options of `check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct CheckArgs {
    /// The libraries
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// As JSON, one object a line
    #[arg(long)]
    pub json: bool,

    /// The function [default: what each file's name says]
    #[arg(long, value_name = "NAME")]
    pub function: Option<String>,

    /// What the entry symbols have in front of the function's name
    #[arg(short = 'p', long, value_name = "PREFIX")]
    pub prefix: Option<String>,
}

/// Options of `new`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct NewArgs {
    /// The function's name, and the directory's
    pub name: String,

    /// With state that is kept from job to job
    #[arg(long)]
    pub object: bool,

    /// JSON in and out
    #[arg(long)]
    pub json: bool,
}

/// Where a manager is: to run it, or to find the one that runs. They may stand before or after a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Place {
    /// Configuration file (ini)
    #[arg(short = 'c', long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Directories of the libraries [default: ./workers]
    #[arg(short = 'w', long, value_name = "DIR[,DIR]", global = true)]
    pub worker_dir: Vec<OsString>,

    /// Directory for stored libraries, crash reports and the lock
    #[arg(long, value_name = "DIR", global = true)]
    pub state_dir: Option<OsString>,

    /// Socket between the manager and its commands
    #[arg(long, value_name = "PATH", global = true)]
    pub control: Option<OsString>,
}

/// Options of [`Place`] that say nothing to a command: taken, since they may stand before any, and not in its help.
fn unlisted(ids: &[&str]) -> Vec<Arg> {
    let place = Place::augment_args(clap::Command::new("place"));
    let meant = |arg: &&Arg| ids.contains(&arg.get_id().as_str());
    place.get_arguments().filter(meant).map(|arg| arg.clone().hide(true)).collect()
}

/// How the manager runs; not allowed beside a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ManagerOptions {
    /// Watch the worker directories and roll new code out (the default; for old habits)
    #[arg(short = 'a', long)]
    pub auto_update: bool,

    /// Detach from the terminal; exits once the workers are loaded
    #[arg(short = 'd', long)]
    pub daemonize: bool,

    /// Workers that do all functions
    #[arg(short = 'D', long, value_name = "N", allow_negative_numbers = true)]
    pub count: Option<OsString>,

    /// Job servers [default: 127.0.0.1:4730]
    #[arg(short = 'h', long, value_name = "HOST[:PORT][,...]")]
    pub host: Vec<OsString>,

    /// Log to a file, or to syslog [default: standard output; with -d syslog]
    #[arg(short = 'l', long, value_name = "FILE")]
    pub log_file: Option<OsString>,

    /// What the entry symbols have in front of the function's name
    #[arg(short = 'p', long, value_name = "PREFIX")]
    pub prefix: Option<OsString>,

    /// Write the manager's pid to a file and lock it
    #[arg(short = 'P', long, value_name = "FILE")]
    pub pid_file: Option<OsString>,

    /// Replace a worker after so many jobs
    #[arg(short = 'r', long, value_name = "N", allow_negative_numbers = true)]
    pub max_runs: Option<OsString>,

    /// Seconds a job may run
    #[arg(short = 't', long, value_name = "SEC", allow_negative_numbers = true)]
    pub timeout: Option<OsString>,

    /// Run as this user
    #[arg(short = 'u', long, value_name = "USER")]
    pub user: Option<OsString>,

    /// Log more: start and stop, -vv processes, -vvv jobs, -vvvv debug, -vvvvv every packet
    #[arg(short = 'v', long, action = ArgAction::Count)]
    pub verbose: u8,

    /// Seconds after which a worker is replaced [default: 3600]
    #[arg(short = 'x', long, value_name = "SEC", allow_negative_numbers = true)]
    pub max_worker_lifetime: Option<OsString>,

    /// Stop the start where a library cannot be taken, instead of leaving it out
    #[arg(long)]
    pub strict: bool,

    /// Print the effective configuration, where each value came from, and the planned workers; start nothing
    #[arg(short = 'Z', long)]
    pub dump_config: bool,
}

impl Cli {
    /// Reads a command line, the program's name first. `version` is what `-V` prints after that name.
    ///
    /// # Errors
    ///
    /// A usage error, or help or version to print: [`clap::Error::exit`] does either, with 2 or 0.
    pub fn parse_args<I, T>(args: I, version: &'static str) -> Result<Cli, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let mut definition = Cli::command().version(version);
        let matches = definition.try_get_matches_from_mut(args)?;
        if let Some(command) = matches.subcommand_name() {
            let given = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
            let allowed = |id: &&str| matches!((command, *id), ("submit" | "dev", "host") | ("dev", "verbose"));
            if let Some(id) = RUN_ONLY.iter().find(|id| given(id) && !allowed(id)) {
                let option = id.replace('_', "-");
                let text = format!("the option --{option} is for running the manager, not for {command}");
                return Err(definition.error(ErrorKind::ArgumentConflict, text));
            }
        }
        Cli::from_arg_matches(&matches)
    }

    /// The options that stand for keys of the configuration: key, option as written, value.
    pub fn overrides(&self) -> Vec<(&'static str, &'static str, OsString)> {
        let Place { config: _, worker_dir, state_dir, control } = &self.place;
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
            ("pid_file", "-P", manager.pid_file.clone()),
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

/// The ids of [`ManagerOptions`].
const RUN_ONLY: [&str; 14] = [
    "auto_update",
    "daemonize",
    "count",
    "host",
    "log_file",
    "prefix",
    "pid_file",
    "max_runs",
    "timeout",
    "user",
    "verbose",
    "max_worker_lifetime",
    "strict",
    "dump_config",
];

/// A repeated option adds up: `-h a -h b` is `-h a,b`.
fn joined(values: &[OsString]) -> Option<OsString> {
    (!values.is_empty()).then(|| values.join(",".as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::parse_args(std::iter::once("gm-native").chain(line.split_whitespace()), "1.2.3 (here)")
    }

    fn overrides(line: &str) -> Vec<String> {
        let cli = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let shown = |(key, option, value): (&str, &str, OsString)| format!("{key} {option} {}", value.display());
        cli.overrides().into_iter().map(shown).collect()
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
        let ids = ManagerOptions::augment_args(clap::Command::new("x"));
        let ids: Vec<_> = ids.get_arguments().map(|arg| arg.get_id().as_str().to_owned()).collect();
        assert_eq!(ids, RUN_ONLY);
    }

    #[test]
    fn the_everyday_call() {
        let cli = parse("-c gm.ini -P gm.pid -d").expect("the everyday call");
        assert_eq!(cli.place.config, Some("gm.ini".into()));
        assert_eq!(cli.command, None);
        assert_eq!(overrides("-c gm.ini -P gm.pid -d"), ["daemon -d 1", "pid_file -P gm.pid"]);
    }

    #[test]
    fn every_option_of_the_original() {
        for (short, long, expected) in [
            ("-a", "--auto-update", "auto_update -a 1"),
            ("-d", "--daemonize", "daemon -d 1"),
            ("-D 3", "--count 3", "count -D 3"),
            ("-h a:1,b", "--host a:1,b", "host -h a:1,b"),
            ("-h a -h b", "--host a --host=b", "host -h a,b"),
            ("-l syslog", "--log-file syslog", "log_file -l syslog"),
            ("-p gm_", "--prefix gm_", "prefix -p gm_"),
            ("-P pid", "--pid-file pid", "pid_file -P pid"),
            ("-r 100", "--max-runs 100", "max_runs_per_worker -r 100"),
            ("-t 30", "--timeout 30", "timeout -t 30"),
            ("-u nobody", "--user nobody", "user -u nobody"),
            ("-v", "--verbose", "verbose -v 1"),
            ("-vvv", "-v -v --verbose", "verbose -v 3"),
            ("-vvvvvvv", "-vvvvv", "verbose -v 5"),
            ("-w a,b", "--worker-dir a,b", "worker_dir -w a,b"),
            ("-x 60", "--max-worker-lifetime 60", "max_worker_lifetime -x 60"),
            ("--strict", "--strict", "strict --strict 1"),
            ("--state-dir s", "--state-dir=s", "state_dir --state-dir s"),
            ("--control c", "--control=c", "control --control c"),
        ] {
            assert_eq!(overrides(short), [expected], "{short}");
            assert_eq!(overrides(long), [expected], "{long}");
        }
        for line in ["-Z", "--dump-config"] {
            assert!(parse(line).is_ok_and(|cli| cli.manager.dump_config));
        }
        assert_eq!(overrides("-D3 -ha -vvd"), ["daemon -d 1", "count -D 3", "host -h a", "verbose -v 2"]);
    }

    #[test]
    fn help_and_version_are_not_errors() {
        for line in ["-H", "--help", "status -H", "events --help"] {
            assert!(parse(line).is_err_and(|error| error.kind() == ErrorKind::DisplayHelp), "{line}");
        }
        for line in ["-V", "--version"] {
            let error = parse(line).expect_err("a version");
            assert_eq!((error.kind(), error.exit_code()), (ErrorKind::DisplayVersion, 0));
            assert_eq!(error.to_string(), "gm-native 1.2.3 (here)\n");
        }
    }

    #[test]
    fn commands_find_the_manager_from_both_sides() {
        for line in ["-c gm.ini --control s status --json", "status -c gm.ini --json --control s"] {
            let cli = parse(line).expect(line);
            assert_eq!(cli.place.config, Some("gm.ini".into()), "{line}");
            assert_eq!(cli.command, Some(Command::Status(StatusArgs { json: true, check: false })), "{line}");
            assert_eq!(overrides(line), ["control --control s"]);
        }
        let cli = parse("events -w a --follow").expect("events");
        assert_eq!(cli.command, Some(Command::Events(EventsArgs { follow: true, json: false })));
        assert_eq!(overrides("events -w a --follow"), ["worker_dir -w a"]);
    }

    #[test]
    fn submit_takes_job_servers_on_both_sides() {
        for line in
            ["-h a:1,b submit f x", "submit -h a:1,b f x", "submit f -h a:1 x -h b", "-h a:1 submit f x --host b"]
        {
            let cli = parse(line).expect(line);
            let Some(Command::Submit(args)) = &cli.command else { panic!("{line}") };
            assert_eq!((&args.function, &args.data), (&"f".into(), &Some("x".into())), "{line}");
            assert_eq!(overrides(line), ["host -h a:1,b"], "{line}");
        }
        let line = "submit --background --unique u --high --timeout 5s f -";
        let args = SubmitArgs {
            function: "f".into(),
            data: Some("-".into()),
            background: true,
            unique: Some("u".into()),
            high: true,
            timeout: Some("5s".into()),
            ..SubmitArgs::default()
        };
        assert_eq!(parse(line).expect(line).command, Some(Command::Submit(args)));
        for line in ["submit", "submit f x y", "submit f --high --low", "-v submit f", "-t 3 submit f", "submit f -t 3"]
        {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn dev_takes_crates_and_some_of_the_managers_options() {
        let cli = parse("dev -v --release a b -w w -vv --port 0").expect("dev");
        let crates = vec!["a".into(), "b".into()];
        let args = DevArgs { crates, release: true, port: Some(0), verbose: 3, host: vec![] };
        assert_eq!(cli.command, Some(Command::Dev(args)));
        assert_eq!(cli.overrides().len(), 2);
        assert_eq!(overrides("-v -h a dev -h b"), ["host -h a,b", "verbose -v 1"]);
        for line in ["dev -h a --port 1", "dev --port x", "dev -d", "-D 3 dev"] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn commands_for_authors() {
        let cli = parse("call -v ./libSum.so [1,2] --setting a=b --setting c=d --repeat 9 -c gm.ini").expect("call");
        let Some(Command::Call(args)) = cli.command else { panic!("no call") };
        assert_eq!((args.verbose, args.repeat, args.settings.len()), (1, 9, 2));
        assert_eq!(args.data, Some("[1,2]".into()));
        assert_eq!(parse("call x.so -").map(|cli| cli.overrides().len()).expect("standard input"), 0);
        let cli = parse("check a.so b.so --json").expect("check");
        let args = CheckArgs { files: vec!["a.so".into(), "b.so".into()], json: true, ..CheckArgs::default() };
        assert_eq!(cli.command, Some(Command::Check(args)));
        let cli = parse("new word_count --object").expect("new");
        let args = NewArgs { name: "word_count".into(), object: true, json: false };
        assert_eq!(cli.command, Some(Command::New(args)));
    }

    #[test]
    fn help_lists_what_a_command_has_a_use_for() {
        let listed = |command: &str| {
            let help = parse(&format!("{command} --help")).expect_err(command).to_string();
            ["--config", "--worker-dir", "--state-dir", "--control"].map(|option| help.contains(option))
        };
        assert_eq!(listed("status"), [true; 4]);
        assert_eq!(listed("dev"), [true; 4]);
        assert_eq!(listed("new"), [false; 4]);
        for command in ["call", "check", "submit"] {
            assert_eq!(listed(command), [true, false, false, false], "{command}");
        }
        for line in ["-w a submit f", "submit -w a f", "new x -w a", "-w a call x.so", "check -w a x.so"] {
            assert_eq!(overrides(line), ["worker_dir -w a"], "{line}");
        }
    }

    #[test]
    fn usage_errors_exit_with_2() {
        for line in [
            "call",
            "check",
            "new",
            "call x.so --repeat 0",
            "-v call x.so",
            "-D",
            "--nope",
            "stats",
            "-d status",
            "-h a status",
            "status -d",
            "-h",
            "-c a -c b",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}: {error}");
        }
        let error = parse("-v status").expect_err("an option of the manager").to_string();
        assert!(error.contains("--verbose is for running the manager, not for status"), "{error}");
    }
}
