//! The man pages: gm-native(1) and one for each command, made from the definition of the command line. The texts here are
//! what that definition does not know. The page of the configuration file, gm-native.ini(5), lies beside this file.

use std::fs::File;
use std::io;
use std::path::Path;

use clap::{Arg, ArgAction, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// When the pages last changed. Not the day of the build, so that two builds give the same files.
const DATE: &str = "2026-11-27";

/// A section: its heading, and terms with what they mean.
type Section = (&'static str, &'static [(&'static str, &'static str)]);

/// What follows the options of gm-native(1).
const SECTIONS: [Section; 4] = [
    (
        "EXIT STATUS",
        &[
            ("0", "Done. With -d: the manager is up; standard error names functions that are not served."),
            ("1", "It failed, or could not start."),
            ("2", "Usage or configuration error; nothing was started."),
            ("3", "A command found no manager, or submit no job server."),
            ("4", "The manager refused."),
            ("5", "The deadline passed."),
            ("status --check", "0 ok, 1 warning, 2 critical, 3 unknown, as Nagios plugins."),
        ],
    ),
    (
        "SIGNALS",
        &[
            (
                "TERM, INT, QUIT",
                "Stop: workers take no new jobs and finish running ones. graceful_shutdown_wait_time after the first \
                 signal, workers that are left are killed. The fifth signal kills them at once.",
            ),
            ("HUP", "Reload. In the foreground on a terminal: stop."),
            ("USR1", "Reopen the log file, after it was rotated."),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            ("NO_COLOR", "Do not colour the log on a terminal, nor top."),
            (
                "SUPERVISOR_ENABLED",
                "Set by supervisord: lines on standard output carry their date, since it adds none.",
            ),
            ("XDG_STATE_HOME", "Parent of the state directory for users other than root [default: ~/.local/state]."),
            (
                "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID",
                "Set by a service manager that wants to know of the start, reloads and the stop, see sd_notify(3). \
                 Workers do not get them.",
            ),
        ],
    ),
    (
        "FILES",
        &[
            (
                "gm-native-worker",
                "What workers run, where it lies beside gm-native and is of the same build: it takes less memory. Not \
                 for use by hand.",
            ),
            ("./workers", "The libraries, unless you set worker_dir: NAME.so or libNAME.so is the function NAME."),
            (
                "/var/lib/gm-native/INSTANCE",
                "State of a manager that root starts: stored libraries, the lock, and the socket for its commands. For \
                 other users: ~/.local/state/gm-native/INSTANCE.",
            ),
        ],
    ),
];

/// What follows the options of a command's page.
struct Verb {
    name: &'static str,
    exit: &'static [(&'static str, &'static str)],
    examples: &'static [(&'static str, &'static str)],
    see_also: &'static [&'static str],
}

const NO_MANAGER: (&str, &str) = ("3", "No manager answers.");
const REFUSED: (&str, &str) = ("4", "The manager refused, or this user may not ask it; standard error says why.");
const LATE: (&str, &str) = ("5", "The manager did not answer within 5 seconds.");
const NOTHING_CHANGED: (&str, &str) = ("4", "Refused, and nothing has changed; standard error says why.");
const NOT_IN_TIME: (&str, &str) = ("5", "Not done after --timeout; the manager goes on with it.");
const USAGE: (&str, &str) = ("2", "Usage or configuration error.");

/// Every command.
const VERBS: [Verb; 23] = [
    Verb {
        name: "status",
        exit: &[
            ("0", "Printed; with --watch: Ctrl-C was pressed, or nobody reads any more."),
            USAGE,
            NO_MANAGER,
            REFUSED,
            LATE,
            (
                "with --check",
                "As a Nagios plugin. 0 OK, 1 WARNING, 2 CRITICAL: a function is not served, no job server answers or no \
                 manager runs. 3 UNKNOWN: usage, configuration, permission or deadline. No other codes.",
            ),
        ],
        examples: &[
            ("gm-native -c gm.ini status", "Functions and job servers."),
            ("gm-native -c gm.ini status --workers", "And each worker process, with the job it runs."),
            ("gm-native -c gm.ini status --queues", "And how many jobs wait at each job server."),
            ("gm-native -c gm.ini status --watch", "Again each second, until Ctrl-C."),
            ("gm-native -c gm.ini status --json", "For programs, with the processes: see docs/status.schema.json."),
            ("gm-native -c gm.ini status --check", "For Nagios, Icinga and others: one line with performance data."),
            ("gm-native -c gm.ini status --check=live", "For a liveness probe: whether the manager answers."),
        ],
        see_also: &["gm-native-events(1)", "gm-native-versions(1)"],
    },
    Verb {
        name: "top",
        exit: &[
            ("0", "You quit."),
            ("1", "The terminal cannot be used."),
            ("2", "Usage or configuration error, or standard output is no terminal that top can draw on."),
            NO_MANAGER,
            REFUSED,
            LATE,
        ],
        examples: &[
            ("gm-native -c gm.ini top", "Press ? for the keys."),
            ("NO_COLOR=1 gm-native -c gm.ini top", "Without colours."),
        ],
        see_also: &["gm-native-status(1)", "gm-native-events(1)"],
    },
    Verb {
        name: "events",
        exit: &[
            ("0", "Printed; with --follow: the manager ended, or nobody reads any more."),
            USAGE,
            NO_MANAGER,
            REFUSED,
            LATE,
        ],
        examples: &[
            ("gm-native -c gm.ini events | tail", "What the manager decided last."),
            ("gm-native -c gm.ini events --follow --json", "Each event as it happens, as one JSON object a line."),
        ],
        see_also: &["gm-native-status(1)"],
    },
    Verb {
        name: "call",
        exit: &[("0", "The job is done."), ("1", "It failed, or the library cannot be used."), USAGE],
        examples: &[
            ("gm-native call ./libgreet.so world", "One job with this workload."),
            (
                "gm-native -c gm.ini call workers/greet.so @job.bin",
                "With the settings of gm.ini, the workload from a file.",
            ),
        ],
        see_also: &["gm-native-check(1)", "gm-native-dev(1)"],
    },
    Verb {
        name: "check",
        exit: &[("0", "All libraries can be used."), ("1", "One cannot; the line says why."), USAGE],
        examples: &[("gm-native -c gm.ini check workers/*.so", "Every library, with the prefix of gm.ini.")],
        see_also: &["gm-native-call(1)", "gm-native.ini(5)"],
    },
    Verb {
        name: "new",
        exit: &[
            ("0", "The crate or directory is made."),
            ("1", "It cannot be: its directory is there, or cannot be written."),
            ("2", "The name cannot be that of a function, or the usage is wrong."),
        ],
        examples: &[
            ("gm-native new greet", "A crate in ./greet for the function greet."),
            ("gm-native new --lang cpp --object score", "A directory in ./score with a class in C++ and a Makefile."),
        ],
        see_also: &["gm-native-dev(1)", "gm-native-check(1)"],
    },
    Verb {
        name: "managers",
        exit: &[("0", "Printed, even if none runs."), ("1", "The list cannot be printed."), USAGE],
        examples: &[("gm-native managers", "Instance, pid, age, functions, workers, and the command for each.")],
        see_also: &["gm-native-status(1)"],
    },
    Verb {
        name: "versions",
        exit: &[("0", "Printed."), USAGE, NO_MANAGER, REFUSED, LATE],
        examples: &[("gm-native -c gm.ini versions", "Which version is served, and what a rollback can lead to.")],
        see_also: &["gm-native-rollback(1)", "gm-native-retry(1)"],
    },
    Verb {
        name: "rollback",
        exit: &[
            ("0", "Every planned worker serves the version; with --no-wait, the rollback has begun."),
            (
                "1",
                "Some or all of its workers cannot be started, another version took its place, or the manager ended. Old workers that have no successor stay in service.",
            ),
            USAGE,
            NO_MANAGER,
            (
                "4",
                "Refused, and nothing has changed: no earlier version, one that was rejected (see --force), or nobody would serve it.",
            ),
            ("5", "Not every worker serves it after --timeout; the manager goes on with it."),
        ],
        examples: &[
            ("gm-native -c gm.ini rollback greet", "To the version that was served before."),
            ("gm-native -c gm.ini rollback greet 3f2a91", "To the version whose hash begins with 3f2a91."),
            ("gm-native -c gm.ini retry greet", "Forward again, to what the file holds."),
        ],
        see_also: &["gm-native-versions(1)", "gm-native-retry(1)"],
    },
    Verb {
        name: "retry",
        exit: &[
            ("0", "Every planned worker serves what the file holds; with --no-wait, the file is tried again."),
            (
                "1",
                "The file is refused, its version rejected, or something else took the place of the retry. What was served before goes on.",
            ),
            USAGE,
            NO_MANAGER,
            ("4", "Refused, and nothing has changed: there is no such function, or nobody would serve it."),
            ("5", "The outcome is not known after --timeout; the manager goes on with it."),
        ],
        examples: &[("gm-native -c gm.ini retry greet", "Tries the file in worker_dir again, and ends a rollback.")],
        see_also: &["gm-native-versions(1)", "gm-native-rollback(1)", "gm-native-events(1)"],
    },
    Verb {
        name: "restart",
        exit: &[
            ("0", "New workers serve in place of all old ones; with --no-wait, that has begun."),
            ("1", "Workers cannot be started; old ones that have no successor stay in service."),
            USAGE,
            NO_MANAGER,
            NOTHING_CHANGED,
            NOT_IN_TIME,
        ],
        examples: &[
            ("gm-native -c gm.ini restart resize", "New workers for one function."),
            ("gm-native -c gm.ini restart all", "New workers for all functions."),
        ],
        see_also: &["gm-native-reload(1)", "gm-native-status(1)"],
    },
    Verb {
        name: "kill",
        exit: &[
            ("0", "The job has ended, and its worker with it; with --no-wait, the job was asked to stop."),
            ("1", "The manager ended before that."),
            USAGE,
            NO_MANAGER,
            ("4", "Refused: no such job, or several jobs with this handle; standard error lists them."),
            NOT_IN_TIME,
        ],
        examples: &[
            ("gm-native -c gm.ini kill H:host:12", "Ends the job with this handle."),
            ("gm-native -c gm.ini kill 4711", "Ends the job that this worker runs."),
        ],
        see_also: &["gm-native-status(1)", "gm-native.ini(5)"],
    },
    Verb {
        name: "pause",
        exit: &[
            ("0", "No worker takes jobs of the function; with --no-wait, it is being paused."),
            ("1", "It was resumed meanwhile, or the manager ended."),
            USAGE,
            NO_MANAGER,
            NOTHING_CHANGED,
            NOT_IN_TIME,
        ],
        examples: &[("gm-native -c gm.ini pause resize", "Its jobs wait at the job servers.")],
        see_also: &["gm-native-resume(1)", "gm-native-drain(1)"],
    },
    Verb {
        name: "resume",
        exit: &[
            ("0", "Every planned worker serves the function; with --no-wait, it is being resumed."),
            ("1", "Workers cannot be started."),
            USAGE,
            NO_MANAGER,
            NOTHING_CHANGED,
            NOT_IN_TIME,
        ],
        examples: &[("gm-native -c gm.ini resume resize", "Its jobs run again.")],
        see_also: &["gm-native-pause(1)"],
    },
    Verb {
        name: "drain",
        exit: &[
            ("0", "The function is paused, and none of its jobs runs; with --no-wait, it is being paused."),
            ("1", "It was resumed meanwhile, or the manager ended."),
            USAGE,
            NO_MANAGER,
            NOTHING_CHANGED,
            ("5", "Jobs still run after --timeout; the function stays paused."),
        ],
        examples: &[("gm-native -c gm.ini drain resize --timeout 10m", "Before its database is moved.")],
        see_also: &["gm-native-pause(1)", "gm-native-resume(1)"],
    },
    Verb {
        name: "scale",
        exit: &[
            ("0", "N workers serve the function; with --no-wait, that has begun."),
            ("1", "Workers cannot be started."),
            USAGE,
            NO_MANAGER,
            ("4", "Refused: fewer than the workers that serve all functions, no such function, or it is paused."),
            NOT_IN_TIME,
        ],
        examples: &[("gm-native -c gm.ini scale resize 20", "Twenty workers, until the next reload.")],
        see_also: &["gm-native-status(1)", "gm-native.ini(5)"],
    },
    Verb {
        name: "reload",
        exit: &[
            ("0", "Every planned worker serves with the new configuration; with --no-wait, it is being read."),
            ("1", "The configuration cannot be used, or workers cannot be started with it."),
            USAGE,
            NO_MANAGER,
            NOTHING_CHANGED,
            NOT_IN_TIME,
        ],
        examples: &[("gm-native -c gm.ini reload", "Reads gm.ini again.")],
        see_also: &["gm-native-restart(1)", "gm-native.ini(5)"],
    },
    Verb {
        name: "stop",
        exit: &[
            ("0", "The manager is gone; with --no-wait, it is stopping."),
            USAGE,
            NO_MANAGER,
            REFUSED,
            ("5", "It is still there after --timeout, or did not answer."),
        ],
        examples: &[("gm-native -c gm.ini stop", "Stops the manager once its jobs are done.")],
        see_also: &["gm-native-status(1)"],
    },
    Verb {
        name: "log-level",
        exit: &[("0", "Done."), USAGE, NO_MANAGER, REFUSED, LATE],
        examples: &[("gm-native -c gm.ini log-level 4 --for 10m", "Debug messages for ten minutes.")],
        see_also: &["gm-native-events(1)"],
    },
    Verb {
        name: "crashes",
        exit: &[
            ("0", "Printed; with replay: the job is done."),
            (
                "1",
                "The reports cannot be read, or there is none of that id. With replay: the job failed, crashed, or cannot be run again; standard error says why.",
            ),
            USAGE,
            ("4", "There is no function of that name."),
        ],
        examples: &[
            ("gm-native -c gm.ini crashes", "What crashed where, and how often."),
            ("gm-native -c gm.ini crashes resize", "Only the crashes of one function."),
            ("gm-native -c gm.ini crashes show 20261124-3", "Everything about one crash."),
            ("gm-native -c gm.ini crashes replay 20261124-3 --gdb", "Runs its job again in gdb."),
        ],
        see_also: &["gm-native-quarantine(1)", "gm-native-call(1)", "gm-native-events(1)"],
    },
    Verb {
        name: "quarantine",
        exit: &[
            ("0", "Printed, submitted or removed."),
            ("1", "A job cannot be read, submitted or removed."),
            USAGE,
            ("3", "The job server of a job cannot be reached; the job stays in quarantine."),
            (
                "4",
                "The workload of a job was not kept, so it cannot be submitted; or there is no function of that name.",
            ),
        ],
        examples: &[
            ("gm-native -c gm.ini quarantine", "The jobs that killed too many workers."),
            ("gm-native -c gm.ini quarantine resubmit 20261124-1", "Once the library is repaired."),
        ],
        see_also: &["gm-native-crashes(1)", "gm-native-submit(1)"],
    },
    Verb {
        name: "dev",
        exit: &[
            ("0", "Stopped by Ctrl-C or SIGTERM, also if a second one killed running jobs."),
            ("1", "It could not start."),
            USAGE,
        ],
        examples: &[
            (
                "gm-native dev greet",
                "Builds the crate in ./greet, serves it, and builds it again when its source changes.",
            ),
            ("gm-native submit greet world", "In another terminal: a job for it."),
            ("gm-native dev --build ./build.sh score", "Builds ./score, which has no Makefile, with another command."),
        ],
        see_also: &["gm-native-new(1)", "gm-native-submit(1)"],
    },
    Verb {
        name: "submit",
        exit: &[
            ("0", "The job is done; with --background: it is queued."),
            ("1", "It failed."),
            USAGE,
            ("3", "No job server answers."),
            ("5", "It did not end within --timeout."),
        ],
        examples: &[
            ("gm-native submit greet world", "A job for the job server on this machine."),
            ("gm-native -c gm.ini submit resize @photo.jpg --timeout 30 > small.jpg", "To the job servers of gm.ini."),
        ],
        see_also: &["gm-native-dev(1)", "gm-native-call(1)"],
    },
];

/// Writes all pages to a directory.
pub fn write(command: clap::Command, dir: &Path) -> io::Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let names: Vec<String> =
        command.get_subcommands().map(|verb| format!("gm-native-{}(1)", verb.get_name())).collect();
    for verb in command.get_subcommands() {
        let of_it = VERBS.iter().find(|one| one.name == verb.get_name());
        let of_it =
            of_it.ok_or_else(|| io::Error::other(format!("packaging/man.rs has nothing on {}", verb.get_name())))?;
        of_verb(verb, of_it, dir)?;
    }
    let man = page(command.clone());
    let mut file = File::create(dir.join(man.get_filename()))?;
    man.render_title(&mut file)?;
    man.render_name_section(&mut file)?;
    synopsis(&command, "gm-native").to_writer(&mut file)?;
    description(&command).to_writer(&mut file)?;
    man.render_options_section(&mut file)?;
    man.render_subcommands_section(&mut file)?;
    let mut more = Roff::new();
    for (heading, entries) in SECTIONS {
        section(&mut more, heading, entries);
    }
    section(&mut more, "EXAMPLES", &EXAMPLES);
    let names: Vec<&str> = ["gm-native.ini(5)"].into_iter().chain(names.iter().map(String::as_str)).collect();
    see_also(&mut more, &names);
    more.to_writer(&mut file)
}

/// What gm-native without a command is for.
const EXAMPLES: [(&str, &str); 4] = [
    ("gm-native -c gm.ini -Z", "What the configuration means, without starting anything."),
    ("gm-native -c gm.ini -v", "Run the manager in the foreground, and log starts, stops and deploys."),
    ("gm-native -c gm.ini -P /run/gm.pid -l /var/log/gm.log -u gm-native -d", "In the background, as another user."),
    ("kill -HUP $(cat /run/gm.pid)", "Reload; without -HUP: finish running jobs and stop."),
];

fn of_verb(command: &Command, verb: &Verb, dir: &Path) -> io::Result<()> {
    let man = page(command.clone());
    let mut file = File::create(dir.join(man.get_filename()))?;
    man.render_title(&mut file)?;
    man.render_name_section(&mut file)?;
    synopsis(command, &format!("gm-native {}", verb.name)).to_writer(&mut file)?;
    description(command).to_writer(&mut file)?;
    man.render_options_section(&mut file)?;
    let mut more = Roff::new();
    subcommands(&mut more, command);
    section(&mut more, "EXIT STATUS", verb.exit);
    section(&mut more, "EXAMPLES", verb.examples);
    let names: Vec<&str> = ["gm-native(1)"].iter().chain(verb.see_also).copied().collect();
    see_also(&mut more, &names);
    more.to_writer(&mut file)
}

/// The commands of a command, with their options.
fn subcommands(roff: &mut Roff, command: &Command) {
    if command.has_subcommands() {
        roff.control("SH", ["COMMANDS"]);
    }
    for one in command.get_subcommands() {
        let own = |arg: &&Arg| !arg.is_hide_set() && !arg.is_global_set() && arg.get_id() != "help";
        let (operands, options): (Vec<&Arg>, Vec<&Arg>) =
            one.get_arguments().filter(own).partition(|arg| arg.is_positional());
        let words: Vec<String> =
            options.iter().map(|arg| option(arg)).chain(operands.into_iter().map(operand)).collect();
        let about = one.get_long_about().or(one.get_about()).map(ToString::to_string).unwrap_or_default();
        let name = format!("{} {}", one.get_name(), words.join(" "));
        roff.control("TP", []).text([bold(name.trim_end())]).text([roman(about.replace("\n\n", ". "))]);
        for arg in options {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            roff.control("RS", [])
                .control("TP", [])
                .text([bold(option(arg).trim_matches(['[', ']']))])
                .text([roman(help)]);
            roff.control("RE", []);
        }
    }
}

/// What the command does, without what NAME and EXIT STATUS say: clap_mangen's own repeats both.
fn description(command: &Command) -> Roff {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    let is_new = |text: &&str| !text.is_empty() && *text != about && !text.starts_with("The exit code is");
    let mut paragraphs: Vec<&str> = long.split("\n\n").filter(is_new).collect();
    if paragraphs.is_empty() {
        paragraphs.push(&about);
    }
    let mut roff = Roff::new();
    roff.control("SH", ["DESCRIPTION"]);
    for (at, paragraph) in paragraphs.into_iter().enumerate() {
        // The first one follows its heading: mandoc warns of a break between them.
        if at > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(paragraph)]);
    }
    roff
}

/// All options with their values, and how many files a command takes: clap_mangen's own shows neither.
fn synopsis(command: &Command, name: &str) -> Roff {
    let visible = || command.get_arguments().filter(|arg| !arg.is_hide_set());
    let (operands, options): (Vec<&Arg>, Vec<&Arg>) = visible().partition(|arg| arg.is_positional());
    let mut words: Vec<String> = options.into_iter().map(option).collect();
    words.extend(operands.into_iter().map(operand));
    if command.has_subcommands() {
        words.push("[COMMAND]".into());
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([bold(name), roman(format!(" {}", words.join(" ")))]);
    roff
}

/// `[-c FILE]`, by its short name if it has one.
fn option(arg: &Arg) -> String {
    let name = match (arg.get_short(), arg.get_long()) {
        (Some(short), _) => format!("-{short}"),
        (None, long) => format!("--{}", long.unwrap_or_default()),
    };
    let value = value_name(arg);
    match (arg.get_action().takes_values(), arg.is_require_equals_set()) {
        (false, _) => format!("[{name}]"),
        (true, true) => format!("[{name}[={value}]]"),
        (true, false) => format!("[{name} {value}]"),
    }
}

/// `FILE...`, in brackets if it may be left out.
fn operand(arg: &Arg) -> String {
    let more = if matches!(arg.get_action(), ArgAction::Append) { "..." } else { "" };
    let name = value_name(arg);
    if arg.is_required_set() { format!("{name}{more}") } else { format!("[{name}]{more}") }
}

fn value_name(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ")
}

fn section(roff: &mut Roff, heading: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [heading]);
    for (term, text) in entries {
        roff.control("TP", []).text([bold(*term)]).text([roman(*text)]);
    }
}

/// Other pages, and what is installed beside them.
fn see_also(roff: &mut Roff, pages: &[&str]) {
    roff.control("SH", ["SEE ALSO"]);
    let mut words = Vec::new();
    for (at, name) in pages.iter().enumerate() {
        let (title, section) = name.split_once('(').unwrap_or((name, ""));
        let end = if at + 1 < pages.len() { ", " } else { "" };
        words.extend([bold(title), roman(format!("({section}{end}"))]);
    }
    roff.text(words);
    roff.control("PP", [])
        .text([roman("Documentation is in share/doc/gm-native, below the prefix of the installation.")]);
}

/// The page of a command, which names the program and its version at its foot.
fn page(command: clap::Command) -> Man {
    Man::new(command).date(DATE).source(concat!("gm-native ", env!("CARGO_PKG_VERSION")))
}
