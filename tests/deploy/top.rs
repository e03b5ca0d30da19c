//! `top` in a real terminal: typed to, and read from the screen.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{ask, served};
use crate::support::manager::Manager;
use crate::support::program::run;
use crate::support::tmux::Tmux;
use crate::support::wait::{DEADLINE, wait_for};

/// The line that runs `top` for a manager.
fn top(manager: &Manager) -> String {
    let command = manager.verb("top", &[]);
    let words: Vec<_> = [command.get_program()].into_iter().chain(command.get_args()).collect();
    words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
}

/// Waits until the shell has its terminal back, as it was.
#[track_caller]
fn wait_given_back(tmux: &Tmux, before: &str) {
    wait_for("the terminal to be given back", DEADLINE, || (!tmux.is_taken()).then_some(()));
    assert_eq!(modes(tmux), before);
}

/// The modes of the terminal, as `stty` prints them.
#[track_caller]
fn modes(tmux: &Tmux) -> String {
    tmux.run("clear; stty -a | tr ';' '\\n'; echo end of modes");
    let screen = tmux.wait_for("\nend of modes");
    screen.split("end of modes").next().unwrap().to_owned()
}

/// The process of `top`, a child of the shell.
#[track_caller]
fn top_pid(manager: &Manager) -> Pid {
    let config = manager.dir().join("gm.ini").display().to_string();
    let pid = wait_for("the process of top", DEADLINE, || {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid: &i32| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.ends_with(&format!("\0top\0-c\0{config}\0"))
        })
    });
    Pid::from_raw(pid)
}

#[test]
fn functions_are_seen_filtered_and_steered() {
    let Some(tmux) = Tmux::start(80, 24) else { return };
    let (gearmand, manager) = served("dedicated_count = 2");
    let before = modes(&tmux);
    tmux.run(&top(&manager));
    tmux.wait_for("serving         2/2");
    (0..3).for_each(|_| drop(ask(&gearmand, "stamped")));
    tmux.press(&["Enter"]);
    tmux.wait_for("3 completed, 0 failed");
    tmux.press(&["Escape"]);
    tmux.wait_for("LAST 60 S");

    tmux.write("/zzz");
    tmux.wait_for("nothing matches the filter");
    tmux.press(&["Enter", "Escape"]);
    tmux.wait_for("serving         2/2");

    tmux.write("p");
    tmux.wait_for("Pause stamped?");
    tmux.write("n");
    tmux.wait_for("pause stamped: not done");
    tmux.write("p");
    tmux.wait_for("Pause stamped?");
    tmux.write("y");
    manager.wait_event("request_finished", |event| event["command"] == "pause");
    tmux.wait_for("paused          0/");
    tmux.write("r");
    manager.wait_event("request_finished", |event| event["command"] == "resume");
    tmux.wait_for("serving         2/2");

    tmux.resize(120, 40);
    let screen = tmux.wait_for("LAST 2 MINUTES");
    assert!(screen.lines().nth(39).unwrap().starts_with("q quit"), "{screen}");
    tmux.resize(30, 8);
    tmux.wait_for("needs at least");
    tmux.resize(80, 24);
    tmux.wait_for("LAST 60 S");
    tmux.write("q");
    wait_given_back(&tmux, &before);
}

#[test]
fn the_terminal_is_given_back_whatever_ends_it() {
    let Some(tmux) = Tmux::start(80, 24) else { return };
    let (_gearmand, manager) = served("");
    let before = modes(&tmux);
    let is_shown = || tmux.wait_for("1 Functions");
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129), (Signal::SIGINT, 130)] {
        tmux.run(&format!("{}; echo code $?", top(&manager)));
        is_shown();
        kill(top_pid(&manager), signal).unwrap();
        tmux.wait_for(&format!("code {code}"));
        wait_given_back(&tmux, &before);
    }
    tmux.run(&format!("{}; echo code $?", top(&manager)));
    is_shown();
    tmux.press(&["C-c"]);
    tmux.wait_for("code 0");
    wait_given_back(&tmux, &before);

    tmux.run(&top(&manager));
    is_shown();
    for key in ["C-z", "C-z"] {
        tmux.press(&[key]);
        wait_given_back(&tmux, &before);
        tmux.run("fg");
        is_shown();
        assert!(tmux.is_taken());
    }
    tmux.write("q");
    wait_given_back(&tmux, &before);
}

#[test]
fn a_manager_that_goes_away_and_returns() {
    let Some(tmux) = Tmux::start(80, 24) else { return };
    let (_gearmand, mut manager) = served("");
    tmux.run(&top(&manager));
    tmux.wait_for("serving");
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    let screen = tmux.wait_for("no answer for");
    assert!(screen.contains("trying again") && screen.contains("stamped"), "{screen}");
    manager.start_again();
    tmux.wait_for("another manager answers");
    tmux.wait_gone("no answer for");
    tmux.write("q");
}

#[test]
fn where_it_cannot_draw_it_says_so() {
    let (_gearmand, manager) = served("");
    let done = run(&mut manager.verb("top", &[]), b"", DEADLINE).unwrap();
    assert!(done.code() == Some(2) && done.err().contains("standard output is none"), "{done:?}");
    assert_eq!((done.err().lines().count(), done.out().as_str()), (1, ""));
    let Some(tmux) = Tmux::start(80, 24) else { return };
    tmux.run(&format!("TERM=dumb {}; echo code $?", top(&manager)));
    let screen = tmux.wait_for("code 2");
    assert!(screen.contains("TERM is dumb"), "{screen}");
}
