//! Messages about files that are not what their user thinks they are.

use std::fs;
use std::os::unix::fs::symlink;

use crate::fixture::{gm_native, library};
use crate::support::manager::Setup;

fn setup() -> Setup {
    Setup::new(&["127.0.0.1:1"]).plugin("act", &library())
}

/// A link to nothing is named with what it leads to, wherever a file is named; also where it is on the way to the file.
#[test]
fn a_dangling_link_is_named_with_its_target() {
    let dir = setup();
    let at = |name: &str| dir.dir().join(name).display().to_string();
    symlink("gone", at("link")).unwrap();
    symlink("link", at("second")).unwrap();
    symlink("gone", at("link.so")).unwrap();
    for (args, sentence) in [
        (vec!["-c", "link", "-Z"], "it is a link to gone, which does not exist"),
        (vec!["-c", "second", "status"], "it is a link to gone, which does not exist"),
        (vec!["-c", "link/gm.ini", "-Z"], "link is a link to gone, which does not exist"),
        (vec!["-w", "link"], "it is a link to gone, which does not exist"),
        (vec!["-w", "link/workers"], "link is a link to gone, which does not exist"),
        (vec!["call", "link.so", "x"], "it is a link to gone, which does not exist"),
        (vec!["check", "link.so"], "it is a link to gone, which does not exist"),
        (vec!["call", "workers/act.so", "@link"], "it is a link to gone, which does not exist"),
        (vec!["submit", "-h", "127.0.0.1:1", "act", "@link"], "it is a link to gone, which does not exist"),
        (vec!["--state-dir", "link", "status"], "link is a link to gone, which does not exist"),
    ] {
        let finished = gm_native(dir.dir(), &args);
        let output = finished.err() + &finished.out();
        assert!(!finished.status.success() && output.contains(sentence), "{args:?}: {finished:?}");
    }
    let mut refused: Vec<(&str, String)> = vec![
        ("log_file = LINK/gm.log", "LINK is a link to gone, which does not exist".into()),
        ("pid_file = LINK/gm.pid", "LINK is a link to gone, which does not exist".into()),
    ];
    if nix::unistd::geteuid().is_root() {
        refused.push(("log_file = LINK", "it is a symbolic link to gone, which is not followed as root".into()));
        refused.push(("pid_file = LINK", "it is a symbolic link to gone, which is not followed as root".into()));
    }
    for (key, sentence) in refused {
        let setup = setup().all_in_ini();
        let link = setup.dir().join("link").display().to_string();
        symlink("gone", &link).unwrap();
        let finished = setup.ini(&key.replace("LINK", &link)).run_to_end();
        assert!(
            finished.code() == Some(1) && finished.err().contains(&sentence.replace("LINK", &link)),
            "{finished:?}"
        );
    }
    let manager = setup().verbosity("-vv").start();
    symlink("gone", manager.worker_dir().join("new.so")).unwrap();
    manager.wait_log("new.so is a link to gone, which does not exist");
    fs::remove_file(manager.worker_dir().join("new.so")).unwrap();
}

/// What the configuration names and the directories do not hold, and the other way round: by `-Z`, and in the log, once.
#[test]
fn what_is_named_and_what_is_there_do_not_match() {
    let ini = "[ack]\ncount = 2\n[nothing_like_it]";
    let dir = setup().ini(ini);
    let below = dir.dir().join("workers/old");
    fs::create_dir(&below).unwrap();
    fs::write(below.join("libreverse.so"), "").unwrap();
    let manager = dir.start();
    let finished = gm_native(manager.dir(), &["-c", "gm.ini", "-Z"]).err();
    let sentences = [
        "gm.ini:5: ack is named by section [ack], but no worker directory holds a library of that name; did you mean act?",
        "gm.ini:7: nothing_like_it is named by section [nothing_like_it], but no worker directory holds",
        "subdirectories are not read: move libraries up, or name their directory in worker_dir; not served: ",
    ];
    for sentence in sentences {
        assert!(
            finished.lines().any(|line| line.starts_with("gm-native: warning: ") && line.contains(sentence)),
            "{finished}"
        );
        manager.wait_log(sentence);
    }
    manager.signal(nix::sys::signal::Signal::SIGHUP);
    manager.wait_event("reloaded", |_| true);
    fs::write(below.join("another"), "").unwrap();
    manager.install("third", &library());
    manager.wait_event("library_refused", |event| event["function"] == "third");
    for sentence in sentences {
        assert_eq!(manager.log().matches(sentence).count(), 1, "{sentence}");
    }
}
