//! Configurations from text to [`Config`], as an operator writes them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

mod durations;

type Loaded = Result<(Config, Vec<Warning>), Diagnostics>;

fn load_bytes(ini: &[u8], options: &[(&'static str, &'static str, &str)]) -> Loaded {
    let options = options.iter().map(|(key, option, value)| (*key, *option, OsString::from(value))).collect();
    let env = |name: &str| (name == "QUEUE").then(|| "queue:4731".to_owned());
    load(Some(ConfigFile { path: Path::new("gm.ini"), bytes: ini }), &options, &env)
}

/// An ini without warnings.
fn read(ini: &str) -> Config {
    let (config, warnings) = load_bytes(ini.as_bytes(), &[]).unwrap_or_else(|errors| panic!("{ini}\n{errors}"));
    assert_eq!(warnings, [], "{ini}");
    config
}

/// The warnings of an ini that is taken.
fn warnings(ini: &str) -> (Config, Vec<String>) {
    let (config, warnings) = load_bytes(ini.as_bytes(), &[]).unwrap_or_else(|errors| panic!("{ini}\n{errors}"));
    (config, warnings.iter().map(Warning::to_string).collect())
}

/// The errors of an ini that is refused.
fn errors(ini: &str) -> Vec<String> {
    match load_bytes(ini.as_bytes(), &[]) {
        Ok(taken) => panic!("{ini} is taken as {taken:?}"),
        Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
    }
}

#[test]
fn nothing_said_is_the_default() {
    let (config, warnings) = load(None, &Overrides::default(), &|_| None).expect("the defaults");
    assert_eq!((config, warnings), (Config::default(), vec![]));
}

#[test]
fn the_samples_are_right() {
    let simple = read(include_str!("../../packaging/simple.ini"));
    assert_eq!((simple.count, simple.functions["reverse_string"].count), (3, Some(3)));
    let advanced = read(include_str!("../../packaging/advanced.ini"));
    assert_eq!((advanced.count, advanced.dedicated_count), (10, Some(1)));
    assert_eq!(advanced.timeout("fetch_url"), Some(Duration::from_secs(30)));
    assert_eq!(advanced.timeout("Sum"), Some(Duration::from_secs(300)));
}

#[test]
fn every_key_of_the_original() {
    let config = read(
        "[gearmanmanager]\nworker_dir = ./a, /b\ninclude = x,y\nexclude = z\ncount = 2\ndedicated_count = 3\n\
         max_worker_lifetime = 60\nworker_restart_splay = 0\nworker_initial_spawn_splay = 500000\n\
         max_runs_per_worker = 1000\nauto_update = off\nhost = a,b:1\ntimeout = 5m\ngraceful_shutdown_wait_time = 7\n\
         log_file = gm.log\npid_file = gm.pid\nprefix = gm_\nuser = nobody\ndaemon = yes\nverbose = vv\n\
         [f]\ncount = 1\ndedicated_count = 2\ndedicated_only = 0\ntimeout = 250ms\npriority = -5\n",
    );
    assert_eq!(config.worker_dirs, [PathBuf::from("./a"), PathBuf::from("/b")]);
    assert_eq!((config.include.join(","), config.exclude.join(",")), ("x,y".into(), "z".into()));
    assert_eq!((config.count, config.dedicated_count, config.max_runs), (2, Some(3), 1000));
    assert_eq!(config.max_worker_lifetime, Duration::from_secs(60));
    assert_eq!(config.worker_restart_splay, Duration::ZERO);
    assert_eq!(config.worker_initial_spawn_splay, Duration::from_millis(500));
    assert_eq!(config.hosts.iter().map(JobServerAddress::to_string).collect::<Vec<_>>(), ["a:4730", "b:1"]);
    assert_eq!(
        (config.timeout, config.timeout("f")),
        (Some(Duration::from_secs(300)), Some(Duration::from_millis(250)))
    );
    assert_eq!(config.graceful_shutdown_wait_time, Duration::from_secs(7));
    assert_eq!(config.log, LogTarget::File("gm.log".into()));
    assert_eq!((config.pid_file, config.user), (Some("gm.pid".into()), Some("nobody".into())));
    assert_eq!((config.prefix.as_str(), config.daemon, config.verbose, config.auto_update), ("gm_", true, 2, false));
    let own = &config.functions["f"];
    assert_eq!((own.count, own.dedicated_count, own.dedicated_only, own.priority), (Some(1), Some(2), false, -5));
}

#[test]
fn what_php_does_with_lists_and_repeats() {
    let config = read("[GearmanManager]\nhost[] = a\nhost[] = \" b:1 , c\"\nworker_dir[] = /x\nworker_dir[]=/y");
    assert_eq!(config.hosts.iter().map(JobServerAddress::to_string).collect::<Vec<_>>(), ["a:4730", "b:1", "c:4730"]);
    assert_eq!(config.worker_dirs.len(), 2);

    let (config, warnings) =
        warnings("[GearmanManager]\ncount = 1\nhost = a\nhost[] = b\n[f]\ncount = 3\n[g]\ncount = 4\ncount = 5");
    assert_eq!((config.count, config.hosts[0].host.as_str()), (1, "b"));
    assert_eq!((config.functions["f"].count, config.functions["g"].count), (Some(3), Some(5)));
    assert_eq!(
        warnings,
        [
            "gm.ini:4: host in [GearmanManager] is on line 3 and again on line 4; the last counts, \
             remove the other",
            "gm.ini:9: count in [g] is on line 8 and again on line 9; the last counts, remove the other",
        ]
    );
    assert_eq!(
        errors("[GearmanManager]\ncount[] = 1"),
        ["gm.ini:2: count in [GearmanManager] is not a list; write count = 10"]
    );
}

#[test]
fn one_file_for_log_and_pid_is_an_error() {
    assert_eq!(
        errors("[GearmanManager]\nlog_file = gm.log\npid_file = gm.log"),
        ["gm.ini:3: pid_file \"gm.log\" is the log_file, too; write another path"]
    );
}

/// `-u "$RUN_AS"` with the variable not set is not a wish to stay root.
#[test]
fn an_empty_option_is_an_error_but_for_the_prefix() {
    let refused = |key, option| load_bytes(b"[GearmanManager]\n", &[(key, option, "")]).expect_err(key).to_string();
    assert_eq!(refused("user", "-u"), "option -u: user: nothing is given; write for example -u www-data");
    assert_eq!(refused("pid_file", "-P"), "option -P: pid_file: nothing is given; write for example -P /run/gm.pid");
    load_bytes(b"[GearmanManager]\nprefix = x_\n", &[("prefix", "-p", "")]).expect("no prefix");
}

#[test]
fn all_errors_come_at_once_in_order() {
    let options = [("count", "-D", "ten"), ("host", "-h", "a:x")];
    let ini =
        b"[GearmanManager]\ncount\ntimeout = soon\nhost = a:99999\n[Sum]\ndedicated_only = 1\n[f]\non_crash = forget\n";
    let errors = load_bytes(ini, &options).expect_err("errors").to_string();
    assert_eq!(
        errors.lines().collect::<Vec<_>>(),
        [
            "gm.ini:2: the line with \"count\" is neither a comment nor [section] nor key = value; write one of these",
            "gm.ini:3: timeout in [GearmanManager]: \"soon\" is not a duration (a number of seconds, or one with us, \
             ms, s, m or h); write for example timeout = 30",
            "gm.ini:4: host in [GearmanManager]: the port \"99999\" of \"a:99999\" is not from 1 to 65535; write for \
             example host = 10.0.0.1:4730,10.0.0.2",
            "gm.ini:6: dedicated_only in [Sum] needs a dedicated_count there; write dedicated_count = 1",
            "gm.ini:8: on_crash in [f]: \"forget\" is neither retry nor fail; write for example on_crash = retry",
            "option -D: count: \"ten\" is not a whole number from 0 to 100000; write for example -D 10",
            "option -h: host: the port \"x\" of \"a:x\" is not from 1 to 65535; write for example -h \
             10.0.0.1:4730,10.0.0.2",
        ]
    );
}

/// A page of wrong inis: the sentence each gets.
#[test]
fn wrong_values() {
    for (lines, error) in [
        ("worker_dir = ,", "no directory is named"),
        ("host = ,", "no host is named"),
        ("count = -1", "\"-1\" is not a whole number"),
        ("auto_update = maybe", "neither yes nor no"),
        ("verbose = loud", "neither a number from 0 to 5"),
        ("max_packet = 5G", "too large"),
        ("keep_versions = 0", "from 1"),
        ("rollout_surge = 200%", "percentage up to 100%"),
        ("prefetch = 0", "from 1 to 1024"),
        ("start_timeout = 0", "too short"),
        ("metrics_listen = here", "neither a port nor ADDRESS:PORT"),
        ("max_memory = 2G\nmax_memory_hard = 1G", "max_memory_hard is less than max_memory"),
        ("max_memory = 1G\n[f]\nmax_memory_hard = 512M", "max_memory_hard of [f] is less than max_memory"),
        ("[f]\npriority = high", "from -5 to 5"),
        ("[f]\nsetting. = x", "write setting.NAME = value"),
        ("[f]\nsetting.x[] = 1", "write setting.NAME = value"),
        ("count = ${NOPE", "count: a \"${\" has no \"}\""),
    ] {
        let errors = errors(&format!("[GearmanManager]\n{lines}"));
        assert!(errors.len() == 1 && errors[0].contains(error), "{lines}: {errors:?}");
        assert!(errors[0].starts_with("gm.ini:"), "{errors:?}");
        assert!(!errors[0].ends_with('.'), "{errors:?}");
    }
}

/// Each wrong item of a list, with the line it stands on.
#[test]
fn every_wrong_item_of_a_list_is_reported_with_its_line() {
    let ini = "[GearmanManager]\nhost[] = a:0\nhost[] = b\nhost[] = c:x, d, ::1\nhost[] =\nhost[] = [e]\n\
               count[] = 1\ncount[] = 2\n";
    let places: Vec<String> = errors(ini).iter().map(|line| line.split(';').next().unwrap().to_owned()).collect();
    assert_eq!(
        places,
        [
            "gm.ini:2: host in [GearmanManager]: the port \"0\" of \"a:0\" is not from 1 to 65535",
            "gm.ini:4: host in [GearmanManager]: the port \"x\" of \"c:x\" is not from 1 to 65535",
            "gm.ini:4: host in [GearmanManager]: \"::1\" is an IPv6 address without its brackets ([::1])",
            "gm.ini:6: host in [GearmanManager]: \"e\" is not an IPv6 address",
            "gm.ini:7: count in [GearmanManager] is not a list",
            "gm.ini:8: count in [GearmanManager] is not a list",
        ]
    );
    assert_eq!(errors("[GearmanManager]\nhost = a:0,b:0\n").len(), 2, "in one line, too");
    let diagnostics = load_bytes(b"[GearmanManager]\n", &[("host", "-h", "a:0,b,c:0")]).expect_err("two are wrong");
    assert_eq!(
        diagnostics.errors.iter().map(|error| error.origin.to_string()).collect::<Vec<_>>(),
        ["option -h", "option -h"]
    );
}

/// PHP reads the words as numbers before the original sees them; ours does whatever the quotes.
#[test]
fn words_are_numbers_as_in_php() {
    let config = read(
        "[GearmanManager]\ncount = on\ndedicated_count = \"TRUE\"\nmax_runs_per_worker = 'Off'\nverbose = Yes\n\
         worker_restart_splay = none\nrollout_surge = on\nprefetch = yes\n\
         [f]\ncount = true\ndedicated_count = false\ntimeout = no\npriority = On\nmax_attempts = yes\n",
    );
    assert_eq!((config.count, config.dedicated_count, config.max_runs, config.verbose), (1, Some(1), 0, 1));
    assert_eq!((config.worker_restart_splay, config.prefetch), (Duration::ZERO, 1));
    assert_eq!(config.rollout_surge, RolloutSurge::Count(1));
    let own = &config.functions["f"];
    assert_eq!((own.count, own.dedicated_count, own.timeout), (Some(1), None, Some(Duration::ZERO)));
    assert_eq!((own.priority, own.max_attempts), (1, Some(1)));
}

/// Each with the words that its warning has.
#[test]
fn a_prefetch_that_has_no_effect_is_warned_of() {
    for (ini, expected) in [
        ("prefetch = 8", None),
        ("prefetch_hold = 0", None),
        ("prefetch = 8\nprefetch_hold = 0", Some("gm.ini:3: prefetch_hold = 0 in [GearmanManager] lets no job wait")),
        ("prefetch = 8\n[f]\nprefetch_hold = 0", Some("gm.ini:4: prefetch_hold = 0 in [f] lets no job wait")),
        ("max_runs_per_worker = 1000", None),
        ("prefetch = 8\nmax_runs_per_worker = 1001", None),
        ("prefetch = 8\nmax_runs_per_worker = 1000", Some("gm.ini:3: max_runs_per_worker = 1000 ends a worker before")),
        ("prefetch = 8\nmax_runs_per_worker = 9\nprefetch_probation = 8", None),
        ("[f]\nprefetch = 8", None),
        ("count = 2\n[f]\nprefetch = 8", Some("gm.ini:4: prefetch = 8 in [f] has an effect only if every function")),
        ("count = 2\n[f]\nprefetch = 8\n[g]\nprefetch = 1", Some("gm.ini:4: prefetch = 8 in [f] has no effect")),
        ("count = 2\nprefetch = 4\n[f]\nprefetch = 8", None),
        ("count = 2\n[f]\nprefetch = 8\ndedicated_count = 1", None),
        ("count = 2\nprefetch = 8\n[f]\nprefetch = 8\n[g]\ndedicated_count = 1", None),
        ("count = 2\ninclude = f\n[f]\nprefetch = 8", None),
        ("count = 2\ninclude = f,g\n[f]\nprefetch = 8\n[g]\nprefetch = 8", None),
    ] {
        let (_, reported) = warnings(&format!("[GearmanManager]\n{ini}\n"));
        match expected {
            Some(expected) => assert!(reported.len() == 1 && reported[0].contains(expected), "{ini}: {reported:?}"),
            None => assert_eq!(reported, [""; 0], "{ini}"),
        }
    }
}

#[test]
fn a_key_without_effect_is_warned_of_where_it_is_set_to_something_else() {
    let (_, reported) = warnings("[GearmanManager]\nmetrics_listen = 9100\ncrash_keep = 100\n");
    let no_effect = "metrics_listen = 9100 in [GearmanManager] has no effect in this version of gm-native";
    assert_eq!(reported, [format!("gm.ini:2: {no_effect}")]);
}

/// Where 0 is no time at all, `none` is taken as the original takes it, and not in silence.
#[test]
fn an_endless_duration_is_refused_with_how_to_write_a_long_one() {
    for key in ["graceful_shutdown_wait_time", "stop_timeout", "timeout_grace"] {
        let (_, reported) = warnings(&format!("[GearmanManager]\n{key} = none\n"));
        assert!(reported.len() == 1 && reported[0].contains("is 0") && reported[0].contains("87600h"), "{reported:?}");
        assert_eq!(warnings(&format!("[GearmanManager]\n{key} = 0\n")).1, [""; 0]);
    }
    for (key, value) in
        [("start_timeout", "0"), ("connect_timeout", "none"), ("max_worker_lifetime", "never"), ("stop_timeout", "-1")]
    {
        let reported = errors(&format!("[GearmanManager]\n{key} = {value}\n"));
        assert!(reported.len() == 1 && reported[0].contains("write 87600h"), "{reported:?}");
    }
}

#[test]
fn unknown_keys_are_reported_with_the_nearest_known_one() {
    let (_, reported) = warnings(
        "[GearmanManager]\nworker-dir = x\nhosts = a\nmax_runs = 3\nColour = red\npriority = 1\nsetting.x = 1\n\
         [f]\nmax_packet = 1\ndedicated = 1\ndatabase = x\n",
    );
    assert_eq!(
        reported,
        [
            "gm.ini:2: unknown key \"worker-dir\" in [GearmanManager] is ignored; did you mean worker_dir?",
            "gm.ini:3: unknown key \"hosts\" in [GearmanManager] is ignored; did you mean host?",
            "gm.ini:4: unknown key \"max_runs\" in [GearmanManager] is ignored; did you mean max_runs_per_worker?",
            "gm.ini:5: unknown key \"Colour\" in [GearmanManager] is ignored; see docs/configuration.md for the keys",
            "gm.ini:6: unknown key \"priority\" in [GearmanManager] is ignored; it belongs in the section of a \
             function",
            "gm.ini:7: unknown key \"setting.x\" in [GearmanManager] is ignored; it belongs in the section of a \
             function",
            "gm.ini:9: unknown key \"max_packet\" in [f] is ignored; it belongs in [GearmanManager]",
            "gm.ini:10: unknown key \"dedicated\" in [f] is ignored; did you mean dedicated_only?",
            "gm.ini:11: unknown key \"database\" in [f] is ignored; for the plugin write setting.database = value",
        ]
    );
}

#[test]
fn a_misspelt_section_is_reported() {
    for (name, misspelt) in [
        ("GearmanManger", true),
        ("Gearman Manager", true),
        ("GearmanManagers", true),
        ("gearman_mail", false),
        ("manager", false),
        ("gearman_resize", false),
    ] {
        let (_, reported) = warnings(&format!("[{name}]\ncount = 3"));
        assert_eq!(
            reported.iter().any(|warning| warning.contains("did you mean [GearmanManager]?")),
            misspelt,
            "{name}: {reported:?}"
        );
    }
}

#[test]
fn what_is_read_differently_from_how_it_is_written_is_warned_of() {
    for (lines, sentence) in [
        ("max_worker_lifetime = 0", "max_worker_lifetime = 0 is taken as 3600"),
        ("host = a,b,a:4730", "host names \"a:4730\" twice"),
        ("worker_dir = ./w,/x,./w", "worker_dir names \"./w\" twice"),
        ("count =", "count in [GearmanManager] is empty, so its default holds"),
        ("[f]\npriority = 100", "priority in [f] is not from -5 to 5 and is taken as 5"),
        ("[f]\npriority = -1000", "is taken as -5"),
        ("[f]\ndedicated_only = 1\ndedicated_count = 1\ncount = 2", "count in [f] has no effect beside dedicated_only"),
        ("prefix = ${NOPE}", "prefix: the environment variable NOPE is not set"),
        ("count = 10;ten", "count: the value ends at the \";\""),
    ] {
        let (_, reported) = warnings(&format!("[GearmanManager]\n{lines}"));
        assert!(reported.len() == 1 && reported[0].contains(sentence), "{lines}: {reported:?}");
    }
    let (config, _) = warnings("[GearmanManager]\nmax_worker_lifetime = 0\nhost = a,a\n[f]\npriority = 7");
    assert_eq!((config.max_worker_lifetime.as_secs(), config.hosts.len(), config.priority("f")), (3600, 1, 5));
}

#[test]
fn nothing_unsets() {
    let config = read(
        "[GearmanManager]\npid_file =\nuser = none\ntimeout = 0s\nmax_memory = off\nauto_update =\ndedicated_count = 0\n\
         prefix =\nmax_memory_hard = 1G\n[f]\ntimeout = none\nmax_memory_hard = 0\ncount = 0",
    );
    assert_eq!((config.pid_file.clone(), config.user.clone(), config.timeout), (None, None, None));
    assert_eq!((config.auto_update, config.dedicated_count), (false, None));
    assert_eq!((config.max_memory_hard("f"), config.max_memory_hard("g")), (None, Some(1 << 30)));
    assert_eq!(config.functions["f"].count, None);
}

#[test]
fn options_beat_the_file() {
    let ini = b"[GearmanManager]\ncount = 1\nhost = ${QUEUE}\nworker_dir = a\n";
    let (config, _) = load_bytes(ini, &[("count", "-D", "9"), ("worker_dir", "-w", "b,c")]).expect("a configuration");
    assert_eq!((config.count, config.hosts[0].to_string().as_str()), (9, "queue:4731"));
    assert_eq!(config.worker_dirs, [PathBuf::from("b"), PathBuf::from("c")]);
    let origin = |key| config.origins.of(None, key).to_string();
    assert_eq!(
        ["count", "host", "worker_dir", "timeout"].map(origin),
        ["option -D", "gm.ini:3", "option -w", "default"]
    );
}

#[test]
fn options_of_the_command_line_are_keys_of_the_table() {
    let args =
        "gm-native -a -d -D 1 -h a -l f -p p -P g -r 1 -t 1 -u u -v -w d -x 1 --strict --state-dir s --control c";
    let cli = crate::cli::Cli::parse_args(args.split(' '), "").expect("options");
    let overrides = cli.overrides();
    assert_eq!(overrides.len(), 16);
    let (config, _) = load(None, &overrides.into_iter().collect(), &|_| None).expect("a configuration");
    // All but auto_update, which is the default, and dedicated_count, whose default follows count.
    assert_eq!(config.changes(&Config::default()).len(), 15 + 1);
}

#[test]
fn the_log_goes_to_syslog_only_by_default_and_as_a_daemon() {
    for (lines, log) in [
        ("", LogTarget::Stdout),
        ("daemon = 1", LogTarget::Syslog),
        ("daemon = 1\nlog_file = stdout", LogTarget::Stdout),
        ("daemon = 1\nlog_file = x", LogTarget::File("x".into())),
    ] {
        assert_eq!(read(&format!("[GearmanManager]\n{lines}")).log, log, "{lines}");
    }
}

/// In the background there is nobody left who opened it.
#[test]
fn a_stream_is_no_log_of_a_manager_in_the_background() {
    for stream in ["/dev/stdout", "/dev/stderr", "/dev/fd/5", "/proc/self/fd/1"] {
        let errors = errors(&format!("[GearmanManager]\nlog_file = {stream}\ndaemon = 1\n"));
        assert!(errors.len() == 1 && errors[0].starts_with("gm.ini:2: log_file = "), "{errors:?}");
        let config = read(&format!("[GearmanManager]\nlog_file = {stream}\n"));
        let (running, _) = load_bytes(b"[GearmanManager]\nlog_file = gm.log\ndaemon = 1\n", &[]).unwrap();
        assert_eq!(running.with_changes_of(config).log, LogTarget::File("gm.log".into()), "nor by a reload");
    }
}

#[test]
fn a_php_configuration_is_refused_with_how_to_write_it_as_ini() {
    let source = ConfigFile { path: Path::new("etc/config.PHP"), bytes: b"<?php $gearman_config = array();" };
    let errors = load(Some(source), &Overrides::default(), &|_| None).expect_err("an error").to_string();
    assert!(errors.starts_with("etc/config.PHP: a configuration in PHP is not run; write it as an ini"), "{errors}");
    assert!(errors.contains("[GearmanManager]") && errors.lines().count() == 1, "{errors}");
}

#[test]
fn bytes_that_are_no_utf8_are_kept() {
    let ini = b"; caf\xe9\n[GearmanManager]\nworker_dir = ./caf\xe9\n[f]\nsetting.name = caf\xe9";
    let (config, warnings) = load_bytes(ini, &[]).expect("a configuration");
    assert_eq!(warnings, []);
    assert_eq!(config.worker_dirs[0].as_os_str().as_encoded_bytes(), b"./caf\xe9");
    assert_eq!(config.functions["f"].settings.bytes("name").as_deref(), Some(&b"caf\xe9"[..]));
    assert!(config.dump().windows(6).any(|part| part == b"./caf\xe9"[..6].as_ref()));
    assert!(errors("[GearmanManager]\nuser = x\u{1b}").concat().contains("control byte 0x1b"));
}

#[test]
fn settings_reach_the_plugin_as_written() {
    let config = read("[f]\nsetting.dsn = 'mysql:host=a;dbname=b'\nsetting.a.b = 1\nsetting.empty =\n[g]\n");
    let settings = &config.functions["f"].settings;
    let pairs: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(pairs, [("a.b", "1"), ("dsn", "mysql:host=a;dbname=b"), ("empty", "")]);
    assert!(config.functions["g"].settings.is_empty());
}

#[test]
fn the_dump_names_the_origin_of_each_value() {
    let ini =
        b"[GearmanManager]\ncount = 2\n[f]\ntimeout = 90s\nsetting.db_password = hunter2\nsetting.title = \"a; b\"\n";
    let (config, _) = load_bytes(ini, &[("verbose", "-v", "3")]).expect("a configuration");
    let dump = String::from_utf8(config.dump()).expect("text");
    let lines: Vec<String> = dump.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "[GearmanManager]",
        "count = 2 ; gm.ini:2",
        "dedicated_count = 0 ; default",
        "host = 127.0.0.1:4730 ; default",
        "verbose = 3 ; option -v",
        "settle_time = 50ms ; default",
        "[f]",
        "timeout = 90 ; gm.ini:4",
        "setting.db_password = **** ; gm.ini:5",
        "setting.title = \"a; b\" ; gm.ini:6",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line} in\n{dump}");
    }
    assert!(!dump.contains("hunter2"));
    let of_manager = KEYS.iter().filter(|key| key.scope() != KeyScope::Function).count();
    assert_eq!(lines.iter().filter(|line| line.contains(" ; ")).count(), of_manager + 3, "{dump}");
}

/// What the dump shows is read as the same configuration, whatever stands in the values.
#[test]
fn the_dump_is_an_ini() {
    let parts = ["a", " ", "\"", "'", ";", "#", "\\", "$", "${X}", "=", "[", "\u{e9}", "1"];
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..500 {
        let value: String = (0..rng.usize(0..6)).map(|_| parts[rng.usize(..parts.len())]).collect();
        let mut config =
            read("[GearmanManager]\nmax_memory = 1.5G\nrollout_surge = 2\nhost = [::1]:1\n[f]\ncanary_seconds = 2us");
        let own = config.functions.entry("f".into()).or_default();
        own.settings.insert("text".into(), value.clone());
        let again = load_bytes(&config.dump(), &[]).unwrap_or_else(|errors| panic!("{value:?}: {errors}"));
        let (again, warnings) = again;
        assert_eq!(warnings, [], "{value:?}");
        assert_eq!(config.changes(&again), [], "{value:?}");
    }
}

/// The default of `log_file` hangs on `daemon`, which a reload cannot change.
#[test]
fn a_log_that_nobody_moved_stays_where_it_is() {
    let (front, back) = (read("[GearmanManager]"), read("[GearmanManager]\ndaemon = 1"));
    let changes: Vec<String> = front.changes(&back).iter().map(ConfigChange::to_string).collect();
    assert_eq!(changes, ["daemon in [GearmanManager]: \"0\" is now \"1\" (needs a restart)"]);
    assert_eq!(front.with_changes_of(back.clone()).log, LogTarget::Stdout);
    assert_eq!(back.with_changes_of(front).log, LogTarget::Syslog);
}

/// Which keys a reload cannot change stands in the table; what it leaves alone has to be the same.
#[test]
fn what_needs_a_restart_is_what_a_reload_leaves_alone() {
    let flagged: Vec<&str> = KEYS.iter().filter(|key| key.needs_restart).map(|key| key.name).collect();
    let values = flagged.iter().map(|name| format!("{name} = {}\n", if *name == "daemon" { "1" } else { "/other" }));
    let newer = read(&format!("[GearmanManager]\n{}", values.collect::<String>()));
    let old = Config::default();
    let waits = |changes: Vec<ConfigChange>| -> Vec<String> {
        changes.into_iter().filter(|change| change.needs_restart).map(|change| change.key).collect()
    };
    assert_eq!(waits(old.changes(&newer)), flagged);
    assert_eq!(waits(old.changes(&old.with_changes_of(newer))), [""; 0]);
}

/// H5.
#[test]
fn changes_are_named_and_masked() {
    let old =
        read("[GearmanManager]\ncount = 1\nuser = a\n[f]\ntimeout = 5\nsetting.api_key = old\n[gone]\npriority = 1");
    let new = read("[GearmanManager]\ncount = 2\nuser = b\n[f]\nsetting.api_key = new\nsetting.size = 1");
    let changes: Vec<String> = old.changes(&new).iter().map(ConfigChange::to_string).collect();
    assert_eq!(
        changes,
        [
            "count in [GearmanManager]: \"1\" is now \"2\"",
            "user in [GearmanManager]: \"a\" is now \"b\" (needs a restart)",
            "timeout in [f]: \"5\" is now unset",
            "setting.api_key in [f]: \"****\" is now \"****\"",
            "setting.size in [f]: unset is now \"1\"",
            "priority in [gone]: \"1\" is now \"0\"",
        ]
    );
    assert_eq!(old.changes(&old), []);
}
