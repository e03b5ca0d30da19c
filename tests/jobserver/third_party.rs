//! Third-party clients, workers and tools, against both servers.

use std::process::Command;

use nix::sys::signal::{Signal, kill};

use crate::peer::{BACKGROUND, FOREGROUND};
use crate::server::JobServer;
use crate::support::build;
use crate::support::callers::{Callback, perl, php};
use crate::support::child_guard::ChildGuard;
use crate::support::program::{Finished, run};
use crate::support::scripted_worker::{EVERY_WAY, run_any_way, serve};
use crate::support::wait::{DEADLINE, wait_for};
use crate::support::watchdog::descendants;

fn serve_all(server: &JobServer) {
    serve(&server.server(), &EVERY_WAY, run_any_way);
}

/// Runs a program with where the server is before its other arguments.
#[track_caller]
fn tool(program: &str, server: &JobServer, args: &[&str], stdin: &[u8]) -> Finished {
    let mut command = Command::new(program);
    command.args(["-h", &server.host(), "-p", &server.port()]).args(args);
    run(&mut command, stdin, DEADLINE).unwrap_or_else(|hung| panic!("{program} {args:?} hung: {hung:?}"))
}

/// A client on php-gearman, on Gearman::Client and on libgearman.
const LIBRARIES: [&str; 3] = ["php", "perl", "c"];

/// Submits one job and returns the callbacks, but for a handle.
#[track_caller]
fn call(library: &str, server: &JobServer, function: &str, how: &str, workload: &[u8]) -> Vec<Callback> {
    let (host, port) = (server.host(), server.port());
    let args = [host.as_str(), &port, function, "", how];
    let finished = match library {
        "php" => php("tests/support/php/client.php", &args, workload),
        "perl" => perl("tests/support/perl/client.pl", &args, workload),
        _ => {
            let program = build::c("client", include_str!("../support/c/client.c"), &["-lgearman"]);
            run(Command::new(program).args(args), workload, DEADLINE).unwrap()
        }
    };
    let lines = finished.success();
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let callbacks = lines.map(|line| serde_json::from_slice(line).unwrap());
    callbacks.filter(|callback| !matches!(callback, Callback::Created { .. }) || how == "background").collect()
}

/// Starts a foreign worker for one function and waits until the server lists it.
#[track_caller]
fn start(server: &JobServer, function: &str, command: &mut Command) -> ChildGuard {
    let worker = ChildGuard::start("worker", command);
    wait_for("the worker", DEADLINE, || server.status(function).filter(|status| status.ends_with(" 1")));
    worker
}

/// A result comes, and is the right one, from whichever worker there is.
#[track_caller]
fn check_worker(server: &JobServer, function: &str) {
    // The CLI writes all of a workload to its command before it reads: what a pipe holds is the limit.
    for workload in [&b"abc"[..], b"another", &b"x".repeat(30_000)] {
        let done = tool("gearman", server, &["-f", function], workload);
        let wanted: Vec<u8> = workload.to_ascii_uppercase();
        assert!(done.code() == Some(0) && done.stdout == wanted, "{:?} {}", done.status, done.err());
    }
}

const PHP_WORKER: &str = r"
    $worker = new GearmanWorker();
    $worker->addServer($argv[1], (int) $argv[2]);
    $worker->addFunction('upper', fn ($job) => strtoupper($job->workload()));
    while ($worker->work());
";

const PERL_WORKER: &str = r"
    use Gearman::Worker;
    my $worker = Gearman::Worker->new(job_servers => [qq{$ARGV[0]:$ARGV[1]}]);
    $worker->register_function(upper => sub { uc $_[0]->arg });
    $worker->work while 1;
";

on_both! {
    fn the_cli_gets_results_and_exits_1_for_a_failure(server) {
        serve_all(server);
        for way in [&["-f", "mirror"][..], &["-I", "-f", "mirror"], &["-L", "-f", "mirror"], &["-u", "u", "-f", "mirror"]] {
            let done = tool("gearman", server, way, b"abc\0def");
            assert_eq!((done.code(), done.stdout.as_slice()), (Some(0), &b"fed\0cba"[..]), "{way:?}");
        }
        let talk = tool("gearman", server, &["-f", "talk"], b"x");
        assert_eq!(talk.code(), Some(0));
        assert!(talk.err() == "careful\n" && talk.out().contains("part \0 onewhole"), "{talk:?}");
        assert_eq!(tool("gearman", server, &["-f", "fail"], b"x").code(), Some(1));
        assert_eq!(tool("gearman", server, &["-b", "-f", "mirror"], b"x").code(), Some(0));
        let lines = tool("gearman", server, &["-n", "-f", "mirror"], b"ab\ncd\n");
        assert_eq!(lines.out(), "\nba\ndc");
    }

    fn libraries_report_what_happens_to_a_job(server) {
        serve_all(server);
        for library in LIBRARIES {
            for how in ["normal", "high", "low"] {
                let complete = Callback::Complete { data: b"\xff\0ba".to_vec() };
                assert_eq!(call(library, server, "mirror", how, b"ab\0\xff"), [complete], "{library} {how}");
            }
            let talk = [
                Callback::Status { done: 1, of: 2 },
                Callback::Data { data: b"part \0 one".to_vec() },
                Callback::Warning { data: b"careful\n".to_vec() },
                Callback::Complete { data: b"whole".to_vec() },
            ];
            assert_eq!(call(library, server, "talk", "normal", b"x"), talk, "{library}");
            assert_eq!(call(library, server, "fail", "normal", b"x"), [Callback::Fail], "{library}");
            let background = call(library, server, "mirror", "background", b"x");
            assert!(matches!(&background[..], [Callback::Created { handle }] if handle.starts_with("H:")), "{library}");
        }
        // php-gearman asks for exceptions by itself.
        let exception = Callback::Exception { data: b"why".to_vec() };
        assert_eq!(call("php", server, "exception", "normal", b"x"), [exception]);
    }

    fn the_cli_is_a_worker(server) {
        let mut command = Command::new("gearman");
        command.args(["-h", &server.host(), "-p", &server.port(), "-w", "-f", "upper", "--", "tr", "a-z", "A-Z"]);
        let _worker = start(server, "upper", &mut command);
        check_worker(server, "upper");
    }

    fn php_is_a_worker(server) {
        let mut command = Command::new("php");
        let _worker = start(server, "upper", command.args(["-r", PHP_WORKER, "--", &server.host(), &server.port()]));
        check_worker(server, "upper");
    }

    fn perl_is_a_worker(server) {
        let mut command = Command::new("perl");
        let _worker = start(server, "upper", command.args(["-e", PERL_WORKER, &server.host(), &server.port()]));
        check_worker(server, "upper");
    }

    fn a_foreign_worker_that_is_killed_gives_its_job_back(server) {
        let mut command = Command::new("gearman");
        command.args(["-h", &server.host(), "-p", &server.port(), "-w", "-f", "upper", "--", "sleep", "1000"]);
        let mut worker = start(server, "upper", &mut command);
        let mut client = server.client();
        let handle = client.submit(FOREGROUND, b"upper", b"", b"x").unwrap();
        wait_for("the job to run", DEADLINE, || client.job_status(&handle).unwrap().running.then_some(()));
        // Its child holds the connection too; ended first, it would end the job.
        let family = descendants(worker.pid());
        worker.kill();
        for pid in family.into_iter().skip(1) {
            let _ = kill(pid, Signal::SIGKILL);
        }
        let mut other = server.worker(&["upper"]);
        wait_for("the job to be queued again", DEADLINE, || {
            other.grab().starts_with("JOB_ASSIGN_UNIQ #1").then_some(())
        });
    }

    fn gearadmin_reads_the_listings(server) {
        let mut worker = server.worker(&["f", "g"]);
        server.peer().submit(BACKGROUND, "f", "", b"");
        worker.grab();
        let admin = |option: &str| String::from_utf8(tool("gearadmin", server, &[option], b"").success()).unwrap();
        let status = admin("--status");
        assert!(status.contains("f\t1\t1\t1\n") && status.contains("g\t0\t0\t1\n"), "{status}");
        let workers = admin("--workers");
        assert!(workers.lines().any(|line| line.ends_with(" - : g f")), "{workers}");
        assert!(admin("--server-version").contains("1.1.20"));
        assert!(admin("--getpid").trim_start_matches("OK ").trim_end().parse::<u32>().is_ok());
    }
}
