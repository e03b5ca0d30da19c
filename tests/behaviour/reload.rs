//! SIGHUP reads the configuration again: what it applies, what it cannot, and what
//! happens if the configuration is wrong (M9).

mod runs;
mod storms;
mod syslog;

use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::fixture::{Job, acting, lines, of, path, served, wait_serving, workers};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::plugins;
use crate::support::wait::{DEADLINE, wait_for};

/// Sends a HUP and waits until the configuration was read; returns the manager's line about it.
#[track_caller]
fn hang_up(manager: &mut Manager) -> String {
    manager.mark();
    manager.signal(Signal::SIGHUP);
    text(&manager.wait_event("reloaded", |_| true)).to_owned()
}

/// As [`hang_up`], of a configuration that is wrong; returns the reason.
#[track_caller]
fn hang_up_in_vain(manager: &mut Manager) -> String {
    manager.mark();
    manager.signal(Signal::SIGHUP);
    manager.wait_event("reload_failed", |_| true)["reason"].as_str().unwrap().to_owned()
}

fn is_reload(event: &Value) -> bool {
    event["event"] == "reloaded"
}

fn text(event: &Value) -> &str {
    event["text"].as_str().unwrap()
}

/// Waits until no worker of before is there, and all that are planned serve.
#[track_caller]
fn wait_replaced(manager: &Manager, before: &[nix::unistd::Pid]) {
    wait_for("all workers to be replaced", DEADLINE, || {
        workers(manager).iter().all(|worker| !before.contains(worker)).then_some(())
    });
    wait_serving(manager, "act");
}

#[test]
fn what_can_change_while_it_runs_is_applied() {
    let (first, second) = (Gearmand::start(), Gearmand::start());
    let setup = acting(&[&first]).all_in_ini();
    let [old_log, new_log, others] = ["gm.log", "new.log", "others"].map(|name| setup.dir().join(name));
    fs::create_dir(&others).unwrap();
    fs::copy(crate::fixture::library(), others.join("act.so")).unwrap();
    fs::copy(plugins::example("reverse_string"), others.join("reverse_string.so")).unwrap();
    let mut manager = setup.ini(&format!("log_file = {}\nverbose = 1", old_log.display())).start();
    wait_serving(&manager, "act");
    let before = workers(&manager);

    let hosts = format!("{},{}", first.server(), second.server());
    let (new_log, others) = (new_log.display().to_string(), others.display());
    let ini = format!("count = 2\nhost = {hosts}\nworker_dir = {others}\nlog_file = {new_log}\nverbose = 4\n");
    manager.configure(&format!("{ini}[reverse_string]\ndedicated_count = 2"));
    let changes = hang_up(&mut manager);
    for key in ["worker_dir", "count", "host", "log_file", "verbose"] {
        assert!(changes.contains(&format!("{key} in [GearmanManager]: ")), "{key}: {changes}");
    }
    assert!(changes.contains("dedicated_count in [reverse_string]: "), "{changes}");
    for server in [&first, &second] {
        server.wait_workers("act", 2);
        server.wait_workers("reverse_string", 4);
    }
    wait_replaced(&manager, &before);
    assert_eq!(Job::act(&second, "", "log after the reload").result(), b"");
    wait_for("the line in the new log", DEADLINE, || {
        lines(&new_log).iter().any(|line| line.contains("after the reload")).then_some(())
    });
    assert!(!lines(&path(&manager, "gm.log")).iter().any(|line| line.contains("after the reload")));

    // And back.
    manager.configure(&format!("log_file = {}", old_log.display()));
    hang_up(&mut manager);
    first.wait_workers("act", 1);
    second.wait_workers("act", 0);
    first.wait_workers("reverse_string", 0);
    assert!(of(&manager.status(), "functions", "name", "reverse_string").is_none());
}

/// Also where it is a mistake that only the plugin knows: then the workers that have the old one go on.
#[test]
fn a_setting_applies_to_new_workers_and_a_wrong_one_keeps_the_old_ones() {
    let gearmand = Gearmand::start();
    let setup = Setup::new(&[&gearmand.server()]).plugin("Avg", &plugins::example("Avg"));
    let mut manager = setup.start();
    wait_serving(&manager, "Avg");
    let before = workers(&manager);
    manager.configure("[Avg]\nsetting.cache = many");
    let line = hang_up(&mut manager);
    assert!(line.contains("setting.cache in [Avg]: unset is now \"many\""), "{line}");
    manager.wait_event("cannot_serve", |event| event["function"] == "Avg");
    let ask = || crate::support::callers::gearman(&gearmand, &["-f", "Avg"], b"[1, 2, 6]").out();
    assert_eq!((ask(), workers(&manager).contains(&before[0])), ("3".into(), true));
    manager.configure("[Avg]\nsetting.cache = 7");
    hang_up(&mut manager);
    manager.wait_event("worker_exited", |event| event["pid"] == before[0].as_raw());
    assert_eq!(ask(), "3");
}

#[test]
fn what_needs_a_restart_is_named_and_keeps_its_value() {
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]).all_in_ini();
    let ini = format!("pid_file = {}", setup.dir().join("gm.pid").display());
    let mut manager = setup.ini(&ini).start();
    let [other_pid, other_state, other_socket] = ["o.pid", "other", "o.sock"].map(|name| path(&manager, name));
    let others = format!("pid_file = {other_pid}\nstate_dir = {other_state}\ncontrol = {other_socket}");
    manager.configure(&format!("{others}\nuser = nobody\ndaemon = 1\ncount = 2"));
    let line = hang_up(&mut manager);
    assert!(line.contains("count in [GearmanManager]: \"0\" is now \"2\"") && !line.contains("pid_file"), "{line}");
    for key in ["pid_file", "user", "daemon", "state_dir", "control"] {
        let of = |event: &Value| text(event).starts_with(&format!("{key} in [GearmanManager]: "));
        let line = manager.wait_event("config_warning", of);
        assert!(text(&line).contains("the old value holds until the manager is stopped and started"), "{line}");
    }
    manager.configure(&format!("{ini}\ncount = 2"));
    gearmand.wait_workers("act", 2);
    let line = hang_up(&mut manager);
    assert!(line.contains("nothing in it has changed"), "{line}");
    assert_eq!(manager.status()["pid"], manager.pid().as_raw());
    assert_eq!(fs::read_to_string(path(&manager, "gm.pid")).unwrap(), format!("{}\n", manager.pid()));
    for path in [other_pid, other_state, other_socket] {
        assert!(!fs::exists(&path).unwrap(), "{path}");
    }
}

/// M9: a configuration that is refused is reported with its reason, and nothing changes.
#[test]
fn a_wrong_configuration_keeps_the_old_one() {
    let (gearmand, mut manager) = served("count = 2");
    let (ini, before) = (manager.dir().join("gm.ini"), workers(&manager));
    let missing = path(&manager, "nowhere");
    let cases = [
        (
            "count = many\ntimeout = soon".to_owned(),
            vec!["gm.ini:5: count in [GearmanManager]: \"many\"", "gm.ini:6: "],
        ),
        (format!("worker_dir = {missing}"), vec![missing.as_str(), "does not exist"]),
    ];
    for (text, reasons) in &cases {
        manager.configure(text);
        let line = hang_up_in_vain(&mut manager);
        assert!(reasons.iter().all(|reason| line.contains(reason)), "{text}: {line}");
    }
    manager.wait_log("\"many\"");
    manager.wait_log(&missing);
    let text = fs::read_to_string(&ini).unwrap();
    fs::remove_file(&ini).unwrap();
    let line = hang_up_in_vain(&mut manager);
    assert!(line.contains("gm.ini: the configuration cannot be read: No such file"), "{line}");
    fs::write(&ini, text).unwrap();
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
    assert_eq!(workers(&manager), before);
    manager.configure("count = 3");
    hang_up(&mut manager);
    wait_replaced(&manager, &before);
    gearmand.wait_workers("act", 3);
}

/// M9: nobody may have read the log since; the status names it until a reload succeeds, as do checks.
#[test]
fn a_failed_reload_shows_until_one_succeeds() {
    let (_gearmand, mut manager) = served("");
    let check = |manager: &Manager| {
        let check = manager.command("status", &["--check"]);
        (check.code(), check.out())
    };
    assert_eq!(manager.status()["failed_reload"], Value::Null);
    manager.configure("count = many");
    let reason = hang_up_in_vain(&mut manager);
    let failed = manager.status()["failed_reload"].clone();
    assert_eq!(failed["reason"], reason);
    assert!(failed["seconds_ago"].as_f64().is_some_and(|ago| ago >= 0.0), "{failed}");
    let text = manager.command("status", &[]).out();
    let line = text.lines().find(|line| line.contains("ago failed, so the old configuration stays in force: "));
    assert!(line.is_some_and(|line| line.starts_with("the reload ") && line.contains("gm.ini:5: count")), "{text}");
    let (code, line) = check(&manager);
    assert!(code == Some(1) && line.starts_with("WARNING: the reload ") && line.contains("gm.ini:5: count"), "{line}");
    manager.configure("count = 1");
    hang_up(&mut manager);
    assert_eq!(manager.status()["failed_reload"], Value::Null);
    wait_for("a check that finds nothing", DEADLINE, || (check(&manager).0 == Some(0)).then_some(()));
}

/// A log that is not where the configuration wants it is a warning for as long.
#[test]
fn a_log_that_cannot_be_opened_shows_until_it_can() {
    let (_gearmand, mut manager) = served("");
    let log = path(&manager, "gm.log");
    let warned = |manager: &Manager, what: &str| {
        let status = manager.status();
        let warnings = status["warnings"].as_array().unwrap().clone();
        let check = manager.command("status", &["--check"]).out();
        assert_eq!(warnings.is_empty(), what.is_empty(), "{warnings:?}");
        assert!(warnings.iter().all(|text| text.as_str().unwrap().contains(what)), "{warnings:?}");
        assert!(what.is_empty() || (check.starts_with("WARNING: ") && check.contains(what)), "{check}");
    };
    warned(&manager, "");
    // Somebody has rotated it, and something else is in its place.
    fs::rename(&log, path(&manager, "gm.log.1")).unwrap();
    fs::create_dir(&log).unwrap();
    manager.mark();
    manager.signal(Signal::SIGUSR1);
    manager.wait_event("manager_error", |event| text(event).contains("cannot reopen"));
    warned(&manager, "cannot reopen");
    fs::remove_dir(&log).unwrap();
    manager.signal(Signal::SIGUSR1);
    manager.wait_event("log_reopened", |_| true);
    warned(&manager, "");
}

/// M9: the library is looked at at a HUP also where nobody watches; one that is broken never replaces a good one.
#[test]
fn a_broken_library_at_a_reload_leaves_the_old_one_serving() {
    let (gearmand, mut manager) = served("auto_update = 0");
    let before = workers(&manager);
    let part = path(&manager, "part");
    fs::write(&part, "no library\n").unwrap();
    fs::rename(&part, manager.worker_dir().join("act.so")).unwrap();
    hang_up(&mut manager);
    manager.wait_event("library_refused", |event| event["function"] == "act" && !event["serving"].is_null());
    wait_replaced(&manager, &before);
    assert_eq!(Job::act(&gearmand, "", "say still").result(), b"still");
}

/// In the background its working directory is `/`: relative paths are still those of the start.
#[test]
fn relative_paths_hold_in_the_background() {
    let gearmand = Gearmand::start();
    let mut manager = acting(&[&gearmand]).relative().daemonize();
    let (log, moved) = (path(&manager, "gm.log"), path(&manager, "gm.log.1"));
    let before = workers(&manager);
    fs::rename(&log, &moved).unwrap();
    manager.configure("count = 2");
    hang_up(&mut manager);
    wait_replaced(&manager, &before);
    gearmand.wait_workers("act", 2);
    assert!(lines(&log).iter().any(|line| line.contains("count in [GearmanManager]: \"0\" is now \"2\"")));
    let pid = manager.pid();
    manager.signal(Signal::SIGTERM);
    manager.wait_gone();
    assert!(!fs::exists(path(&manager, "gm.pid")).unwrap(), "the pid file of {pid} was left behind");
}

/// As logrotate does it.
#[test]
fn usr1_reopens_the_log_and_nothing_else() {
    let (gearmand, mut manager) = served("");
    let (log, moved) = (path(&manager, "gm.log"), path(&manager, "gm.log.1"));
    let before = workers(&manager);
    manager.configure("count = 5");
    fs::rename(&log, &moved).unwrap();
    manager.mark();
    manager.signal(Signal::SIGUSR1);
    manager.wait_event("log_reopened", |event| event["by"] == "SIGUSR1");
    assert_eq!(Job::act(&gearmand, "", "log after it").result(), b"");
    wait_for("the line in the new log", DEADLINE, || {
        lines(&log).iter().any(|line| line.contains("after it")).then_some(())
    });
    assert!(!lines(&moved).iter().any(|line| line.contains("after it")));
    assert_eq!(workers(&manager), before);
    assert_eq!(manager.status()["functions"][0]["workers_planned"], 1);
}

/// H4: as root with a user set, what the configuration names is tried as that user before anything starts.
#[test]
fn a_user_without_access_is_refused_before_anything_starts() {
    use std::os::unix::fs::PermissionsExt;
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let gearmand = Gearmand::start();
    let mut manager = acting(&[&gearmand]).args(&["-u", "nobody"]).prepared();
    let allow = |path: &std::path::Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let (dir, worker_dir, ini) = (manager.dir().to_owned(), manager.worker_dir(), manager.dir().join("gm.ini"));
    let refused = |named: &std::path::Path, count: usize| {
        let finished = manager.run_to_end();
        assert_eq!((finished.code(), finished.err().lines().count()), (Some(2), count), "{finished:?}");
        let sentence = finished.err();
        assert!(sentence.contains(named.to_str().unwrap()), "{sentence}");
        assert!(sentence.contains("user \"nobody\" (-u)") && sentence.contains("Permission denied"), "{sentence}");
        assert!(!fs::exists(dir.join("gm.pid")).unwrap() && !fs::exists(dir.join("gm.log")).unwrap(), "it began");
    };
    allow(&ini, 0o644);
    allow(&dir, 0o700);
    // All at once: the file in it, too.
    refused(&worker_dir, 2);
    allow(&dir, 0o755);
    for mode in [0o700, 0o744, 0o711] {
        allow(&worker_dir, mode);
        refused(&worker_dir, 1);
    }
    allow(&worker_dir, 0o755);
    allow(&ini, 0o600);
    refused(&ini, 1);
    allow(&ini, 0o644);
    manager.start_again();
    let before = workers(&manager);
    manager.configure("count = 2");
    hang_up(&mut manager);
    wait_replaced(&manager, &before);
    gearmand.wait_workers("act", 2);
    let uid = |pid| lines(&format!("/proc/{pid}/status")).into_iter().find(|line| line.starts_with("Uid:")).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid;
    for pid in manager.processes() {
        assert_eq!(uid(pid).split_whitespace().skip(1).collect::<Vec<_>>(), vec![nobody.to_string(); 4]);
    }
}
