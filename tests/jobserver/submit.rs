//! `gm-native submit`, as a program, against both servers.

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use gm_native::gearman::packet::encode;
use nix::sys::signal::Signal;

use crate::server::{Embedded, JobServer};
use crate::support::child_guard::ChildGuard;
use crate::support::gearmand::unused_server;
use crate::support::program::{Finished, run};
use crate::support::scripted_worker::{EVERY_WAY, Job, ScriptedWorker, run_any_way, serve};
use crate::support::wait::{DEADLINE, wait_for};

/// As [`run_any_way`], with texts for a terminal.
fn run_job(worker: &mut ScriptedWorker, job: Job) {
    let handle = &job.handle;
    match job.function.as_slice() {
        b"talk" => {
            worker.encode(|buf| encode::work_status(buf, handle, 1, 2));
            worker.send_data(encode::work_data_head, handle, b"first,");
            worker.send_data(encode::work_warning_head, handle, b"careful \x1b[2J\nnow\n");
            worker.send_data(encode::work_data_head, handle, b"then,");
            worker.complete(&job, b"last");
        }
        b"exception" => worker.send_data(encode::work_exception_head, handle, b"division by zero"),
        _ => run_any_way(worker, job),
    }
}

fn serve_all(server: &JobServer) {
    serve(&server.server(), &EVERY_WAY, run_job);
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gm-native"));
    command.arg("submit").args(args).env_remove("HOME").env("TERM", "xterm");
    command
}

#[track_caller]
fn submit(args: &[&str], stdin: &[u8]) -> Finished {
    run(&mut program(args), stdin, DEADLINE).unwrap_or_else(|hung| panic!("submit {args:?} hung: {hung:?}"))
}

/// Submits to that server.
#[track_caller]
fn submit_to(server: &JobServer, args: &[&str], stdin: &[u8]) -> Finished {
    submit(&[&["-h", &server.server()], args].concat(), stdin)
}

on_both! {
    fn data_comes_from_the_command_line_from_standard_input_or_from_a_file(server) {
        serve_all(server);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, b"in a\0file").unwrap();
        let at = format!("@{}", file.path().display());
        for (data, stdin, result) in [
            (&["some data"][..], &b"not read"[..], &b"atad emos"[..]),
            (&["-"], b"a\0b\xff", b"\xffb\0a"),
            (&[&at], b"", b"elif\0a ni"),
            (&[], b"not read", b""),
        ] {
            let done = submit_to(server, &[&["mirror"], data].concat(), stdin);
            assert_eq!((done.code(), done.stdout.as_slice(), done.err().as_str()), (Some(0), result, ""), "{data:?}");
        }
        let large: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
        let done = submit_to(server, &["mirror", "-"], &large);
        assert!(done.stdout.iter().rev().eq(&large), "{} {}", done.stdout.len(), done.err());
    }

    fn data_goes_to_standard_output_and_warnings_to_standard_error(server) {
        serve_all(server);
        let done = submit_to(server, &["talk"], b"");
        assert_eq!((done.code(), done.out().as_str()), (Some(0), "first,then,last"));
        // Not a terminal: no progress.
        assert_eq!(done.err(), "careful \\x1b[2J\nnow\n");
    }

    fn a_failure_is_exit_1(server) {
        serve_all(server);
        let failed = submit_to(server, &["warn_and_fail", "x"], b"");
        assert_eq!((failed.code(), failed.out().as_str()), (Some(1), ""));
        let lines: Vec<String> = failed.err().lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "no such file");
        assert!(lines[1].starts_with("gm-native: the job H:") && lines[1].ends_with(" of warn_and_fail failed"), "{lines:?}");
        let raised = submit_to(server, &["exception", "x"], b"");
        assert_eq!(raised.code(), Some(1));
        assert!(raised.err().starts_with("division by zero\n") && raised.err().contains("with an exception"), "{raised:?}");
    }

    fn in_the_background_the_handle_is_printed(server) {
        let created = submit_to(server, &["f", "x", "--background", "--unique", "u"], b"");
        assert_eq!(created.code(), Some(0), "{created:?}");
        let handle = created.out();
        assert!(handle.starts_with("H:") && handle.ends_with(":1\n"), "{handle}");
        // The same unique is the same job.
        assert_eq!(submit_to(server, &["f", "--background", "--unique", "u"], b"").out(), handle);
        assert!(server.client().job_status(handle.trim_end().as_bytes()).unwrap().known);
        submit_to(server, &["f", "--background", "--low"], b"");
        submit_to(server, &["f", "--background", "--high"], b"");
        let mut worker = server.worker(&["f"]);
        for number in [3, 1, 2] {
            assert!(worker.grab().starts_with(&format!("JOB_ASSIGN_UNIQ #{number}")));
        }
    }

    fn data_is_shown_as_it_comes(server) {
        let mut worker = ScriptedWorker::offering(&server.server(), &["slow"]);
        let mut command = program(&["-h", &server.server(), "slow"]);
        let mut client = ChildGuard::start("submit", &mut command);
        let job = worker.grab();
        worker.send_data(encode::work_data_head, &job.handle, b"so far");
        wait_for("the data", DEADLINE, || (client.output() == "so far").then_some(()));
        worker.complete(&job, b", done");
        assert!(client.wait().success());
        assert_eq!(client.output(), "so far, done");
    }

    fn a_deadline_is_exit_5(server) {
        let late = submit_to(server, &["nobody", "x", "--timeout", "100ms"], b"");
        assert_eq!((late.code(), late.out().as_str()), (Some(5), ""));
        assert!(late.err().contains("did not end within 0.1 s"), "{}", late.err());
        // Nobody waits for it any more.
        server.wait_connections(0);
        assert_eq!(server.worker(&["nobody"]).grab(), "NO_JOB");
    }

    fn a_function_that_nobody_serves_is_said(server) {
        serve_all(server);
        let late = submit_to(server, &["miror", "x", "--timeout", "2s"], b"");
        assert_eq!(late.code(), Some(5), "{}", late.err());
        let lines: Vec<String> = late.err().lines().map(str::to_owned).collect();
        assert_eq!(
            lines[0],
            "gm-native: no worker serves miror (nearest: mirror); waiting for up to 2 s; Ctrl-C stops waiting"
        );
        assert!(lines.len() == 2 && lines[1].ends_with(" of miror did not end within 2 s"), "{lines:?}");
        let queued = submit_to(server, &["miror", "x", "--background"], b"");
        assert_eq!(
            (queued.code(), queued.err().as_str()),
            (
                Some(0),
                "gm-native: no worker serves miror (nearest: mirror); the job stays queued until one does\n"
            )
        );
        // The one that waits gets its result as soon as somebody serves it.
        let mut client = ChildGuard::start("submit", &mut program(&["-h", &server.server(), "late", "x"]));
        wait_for("the line", DEADLINE, || client.output().contains("and --timeout limits it").then_some(()));
        let mut worker = ScriptedWorker::offering(&server.server(), &["late"]);
        let job = worker.grab();
        worker.complete(&job, b"done");
        assert!(client.wait().success());
        assert_eq!(
            client.output(),
            "gm-native: no worker serves late; waiting; Ctrl-C stops waiting, and --timeout limits it\ndone"
        );
    }

    fn ctrl_c_ends_it_although_a_script_has_started_it_in_the_background(server) {
        let command = format!("trap '' INT QUIT; exec {} -h {} submit nobody x", env!("CARGO_BIN_EXE_gm-native"), server.server());
        let mut client = ChildGuard::start("submit", Command::new("sh").args(["-c", &command]));
        wait_for("the line", DEADLINE, || client.output().contains("Ctrl-C stops waiting").then_some(()));
        client.signal(Signal::SIGINT);
        assert_eq!(client.wait().signal(), Some(Signal::SIGINT as i32));
    }

    fn a_job_that_runs_is_not_said_to_be_unserved(server) {
        let mut worker = ScriptedWorker::offering(&server.server(), &["slow"]);
        let mut client = ChildGuard::start("submit", &mut program(&["-h", &server.server(), "slow", "--timeout", "2s"]));
        worker.grab();
        assert_eq!(client.wait().code(), Some(5));
        assert!(!client.output().contains("no worker serves"), "{}", client.output());
    }

    fn job_servers_are_tried_in_turn(server) {
        serve_all(server);
        let (nobody, nobody_either, there) = (unused_server(), unused_server(), server.server());
        let list = format!("{nobody},{nobody_either},{there}");
        let done = submit(&["mirror", "abc", "-h", &list], b"");
        assert_eq!((done.code(), done.out().as_str()), (Some(0), "cba"));
        let errors: Vec<String> = done.err().lines().map(str::to_owned).collect();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].starts_with(&format!("gm-native: cannot connect to job server {nobody}: ")), "{errors:?}");
        // Before the command and more than once.
        let mut command = Command::new(env!("CARGO_BIN_EXE_gm-native"));
        command.args(["-h", &nobody, "submit", "-h", &there, "mirror", "abc"]);
        assert_eq!(run(&mut command, b"", DEADLINE).unwrap().out(), "cba");
    }

    fn the_servers_of_a_configuration_are_used(server) {
        serve_all(server);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gm.ini");
        std::fs::write(&path, format!("[GearmanManager]\nhost = {}\ntimeout = 1ms\n", server.server())).unwrap();
        let done = submit(&["-c", path.to_str().unwrap(), "mirror", "abc"], b"");
        assert_eq!((done.code(), done.out().as_str()), (Some(0), "cba"), "{}", done.err());
    }
}

#[test]
fn no_job_server_is_exit_3() {
    let nobody = unused_server();
    let done = submit(&["f", "x", "-h", &nobody], b"");
    assert_eq!(done.code(), Some(3));
    let errors: Vec<String> = done.err().lines().map(str::to_owned).collect();
    assert!(errors[0].starts_with(&format!("gm-native: cannot connect to job server {nobody}: ")), "{errors:?}");
    assert_eq!(errors[1], "gm-native: no job server can be reached; -h HOST[:PORT] names another one");
}

/// The kernel takes connections for a server that is stopped.
#[test]
fn an_unresponsive_server_is_skipped() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = listener.local_addr().unwrap().to_string();
    let server = JobServer::embedded();
    serve_all(&server);
    let both = format!("{mute},{}", server.server());
    let done = submit(&["mirror", "abc", "--timeout", "3s", "-h", &both], b"");
    assert_eq!((done.code(), done.out().as_str()), (Some(0), "cba"));
    assert_eq!(done.err(), format!("gm-native: job server {mute} did not answer GET_STATUS within 1.5 s\n"));
    let done = submit(&["f", "x", "--timeout", "200ms", "-h", &mute], b"");
    assert_eq!(done.code(), Some(5), "{done:?}");
    assert!(done.err().contains("no job server answered within 0.2 s"), "{}", done.err());
}

#[test]
fn a_server_that_goes_away_is_exit_1() {
    let server = Embedded::start(gm_native::jobserver::ServerOptions::default());
    let mut command = program(&["-h", &server.address.to_string(), "f"]);
    let mut client = ChildGuard::start("submit", &mut command);
    let mut worker = ScriptedWorker::offering(&server.address.to_string(), &["f"]);
    worker.grab();
    drop(server);
    assert_eq!(client.wait().code(), Some(1));
    let output = client.output();
    assert!(output.contains("whether the job H:") && output.contains("closed the connection"), "{output}");
}

#[test]
fn a_reader_that_has_seen_enough_does_not_end_the_job() {
    let server = JobServer::embedded();
    let mut worker = ScriptedWorker::offering(&server.server(), &["f"]);
    let mut command = program(&["-h", &server.server(), "f"]);
    let mut client = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(client.stdout.take());
    let job = worker.grab();
    worker.send_data(encode::work_data_head, &job.handle, b"unread");
    worker.complete(&job, b"unread too");
    assert!(client.wait().unwrap().success());
}

#[test]
fn usage_is_exit_2() {
    for args in [
        &[][..],
        &["f", "x", "y"],
        // As an unset variable of a shell leaves it.
        &["", "x", "-h", "127.0.0.1:1"],
        &["f", "--high", "--low"],
        &["f", "--timeout", "soon"],
        &["f", "-h", "a:b"],
        &["f", "@/nowhere/at/all"],
        &["f", "-c", "/nowhere/at/all.ini"],
    ] {
        let done = submit(args, b"");
        assert_eq!(done.code(), Some(2), "{args:?}: {}", done.err());
        assert!(!done.stderr.is_empty() && done.stdout.is_empty());
    }
}

/// On a terminal, which `script` makes, progress is a bar; on one that can do little it is lines.
#[test]
fn progress_is_shown_on_a_terminal() {
    if !Path::new("/usr/bin/script").exists() {
        eprintln!("skipped: there is no script(1) to make a terminal");
        return;
    }
    let server = JobServer::embedded();
    serve_all(&server);
    let line = format!("{} submit -h {} talk", env!("CARGO_BIN_EXE_gm-native"), server.server());
    for (term, shown) in [("xterm", "1/2 50%"), ("dumb", "1 of 2")] {
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env("TERM", term);
        let done = run(&mut command, b"", DEADLINE).unwrap();
        assert!(done.out().contains(shown), "{term}: {}", done.stdout.escape_ascii());
        // The bar takes nothing of the result with it, and the prompt begins a line.
        assert!(done.out().ends_with("then,last\r\n"), "{}", done.stdout.escape_ascii());
        assert_eq!(done.code(), Some(0));
    }
}
