//! What the command line accepts, and what it refuses.

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
    for line in ["-P gm.pid status", "status -P gm.pid", "crashes -P gm.pid"] {
        assert_eq!(parse(line).expect(line).place.pid_file, Some("gm.pid".into()), "{line}");
    }
    for line in ["submit f -P gm.pid", "-P gm.pid new f"] {
        let error = parse(line).expect_err(line).to_string();
        assert!(error.contains("--pid-file is for running the manager"), "{error}");
    }
    for line in ["-c gm.ini --control s status --json", "status -c gm.ini --json --control s"] {
        let cli = parse(line).expect(line);
        assert_eq!(cli.place.config, Some("gm.ini".into()), "{line}");
        assert_eq!(cli.command, Some(Command::Status(StatusArgs { json: true, ..StatusArgs::default() })), "{line}");
        assert_eq!(overrides(line), ["control --control s"]);
    }
    let cli = parse("events -w a --follow").expect("events");
    assert_eq!(cli.command, Some(Command::Events(EventsArgs { follow: true, since: None, json: false })));
    assert_eq!(overrides("events -w a --follow"), ["worker_dir -w a"]);
}

#[test]
fn submit_takes_job_servers_on_both_sides() {
    for line in ["-h a:1,b submit f x", "submit -h a:1,b f x", "submit f -h a:1 x -h b", "-h a:1 submit f x --host b"] {
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
    for line in ["submit", "submit f x y", "submit f --high --low", "-v submit f", "-t 3 submit f", "submit f -t 3"] {
        assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
    }
}

#[test]
fn dev_takes_projects_and_some_of_the_managers_options() {
    let cli = parse("dev -v --release a b -w w -vv --port 0").expect("dev");
    let projects = vec!["a".into(), "b".into()];
    let args = DevArgs { projects, build: None, release: true, port: Some(0), verbose: 3, host: vec![] };
    assert_eq!(cli.command, Some(Command::Dev(args)));
    assert_eq!(cli.overrides().len(), 2);
    assert_eq!(overrides("-v -h a dev -h b"), ["host -h a,b", "verbose -v 1"]);
    for line in ["dev -h a --port 1", "dev --port x", "dev -d", "-D 3 dev", "dev --build make"] {
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
    let args = NewArgs { name: "word_count".into(), lang: command_args::Language::Rust, object: true, json: false };
    assert_eq!(cli.command, Some(Command::New(args)));
}

#[test]
fn crashes_and_quarantine_take_commands_of_their_own() {
    let command = |line: &str| parse(line).expect(line).command;
    let Some(Command::Crashes(args)) = command("crashes --all --json") else { panic!("no crashes") };
    assert!(args.all && args.json && args.command.is_none());
    let Some(Command::Crashes(args)) = command("crashes resize --all") else { panic!("no crashes") };
    assert_eq!((args.function.as_deref(), args.all, args.command), (Some("resize"), true, None));
    for line in
        ["crashes -c gm.ini show 1 --json", "-c gm.ini crashes show 1 --json", "crashes show 1 --json -c gm.ini"]
    {
        let Some(Command::Crashes(args)) = command(line) else { panic!("{line}") };
        assert_eq!(args.command, Some(command_args::CrashesCommand::Show { id: "1".into(), json: true }), "{line}");
        assert_eq!(parse(line).expect(line).place.config, Some("gm.ini".into()), "{line}");
    }
    let Some(Command::Quarantine(args)) = command("quarantine resubmit 1 2 --priority low") else { panic!("no job") };
    let resubmit = command_args::QuarantineCommand::Resubmit {
        ids: vec!["1".into(), "2".into()],
        priority: command_args::JobPriority::Low,
    };
    assert_eq!(args.command, Some(resubmit));
    assert_eq!(command("quarantine"), Some(Command::Quarantine(QuarantineArgs { function: None, command: None })));
    for line in
        ["crashes show", "crashes replay", "crashes 1 2", "quarantine drop", "quarantine resubmit 1 --priority x"]
    {
        assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
    }
}

#[test]
fn help_lists_what_a_command_has_a_use_for() {
    let listed = |command: &str| {
        let help = parse(&format!("{command} --help")).expect_err(command).to_string();
        ["--config", "--worker-dir", "--state-dir", "--control", "--pid-file"].map(|option| help.contains(option))
    };
    assert_eq!(listed("status"), [true; 5]);
    assert_eq!(listed("dev"), [true, true, true, true, false]);
    assert_eq!(listed("new"), [false; 5]);
    for command in ["call", "check", "submit"] {
        assert_eq!(listed(command), [true, false, false, false, false], "{command}");
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

#[test]
fn an_h_that_is_no_option_leads_to_help() {
    for verb in ["new", "status", "check", "call", "rollback", "retry", "versions", "events", "crashes", "quarantine"] {
        let error = Cli::parse_args(["gm-native", verb, "-h"], "1").unwrap_err().to_string();
        assert!(error.contains("unexpected argument '-h'; for help, write -H or --help"), "{verb}: {error}");
        assert!(!error.contains("tip:"), "{verb}: {error}");
    }
}
