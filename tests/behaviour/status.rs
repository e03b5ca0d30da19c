//! `status` with its options: JSON as documented, the queues of job servers, and `--watch`.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::fixture::{Job, acting, background, of, path, served, touch, wait_busy, wait_serving};
use crate::support::build::repository;
use crate::support::child_guard::ChildGuard;
use crate::support::gearmand::{Gearmand, unused_server};
use crate::support::manager::Setup;
use crate::support::schema::violations;
use crate::support::wait::{DEADLINE, wait_for};

fn schema() -> Value {
    serde_json::from_slice(&fs::read(repository().join("docs/status.schema.json")).unwrap()).unwrap()
}

/// With a bit of everything: a job, a failure, a file that is refused, and a job server that is down.
#[test]
fn json_is_as_its_schema_says() {
    let gearmand = Gearmand::start();
    let setup = Setup::new(&[&gearmand.server(), &unused_server()]).ini("count = 2");
    let manager = setup.plugin("act", &crate::fixture::library()).start();
    wait_serving(&manager, "act");
    fs::write(manager.worker_dir().join("broken.so"), "no library\n").unwrap();
    manager.wait_event("library_refused", |event| event["function"] == "broken");
    Job::act(&gearmand, "", "fail oh").news();
    let gate = path(&manager, "gate");
    let job = Job::act(&gearmand, "order-77", &format!("wait {gate}"));
    wait_busy(&manager, &job.handle);
    let schema = schema();
    for args in [&["--json"][..], &["--json", "--queues"], &["--check", "--json"]] {
        let status: Value = serde_json::from_str(&manager.command("status", args).out()).unwrap();
        assert_eq!(violations(&schema, &status), Vec::<String>::new(), "{args:?}: {status}");
        assert_eq!(status["schema"], 1);
        let worker = of(&status, "workers", "state", "busy").unwrap();
        assert_eq!(worker["unique"], "order-77", "{worker}");
        let mut more = status.clone();
        more["functions"][0]["more"] = json!(1);
        assert_eq!(violations(&schema, &more), ["status.functions[0].more is not in the schema"]);
    }
    touch(&gate);
    assert_eq!(job.result(), b"");
}

/// One that is stopped accepts connections and answers nothing.
#[test]
fn queues_are_those_of_the_job_servers_that_answer() {
    let (gearmand, silent) = (Gearmand::start(), Gearmand::start());
    let manager = acting(&[&gearmand, &silent]).ini("count = 1").start();
    wait_serving(&manager, "act");
    let gate = path(&manager, "gate");
    let job = Job::act(&gearmand, "", &format!("wait {gate}"));
    wait_busy(&manager, &job.handle);
    for number in 0..3 {
        background(&gearmand, &number.to_string(), "say later");
    }
    silent.stop();
    let status: Value = serde_json::from_str(&manager.command("status", &["--queues", "--json"]).out()).unwrap();
    let answer = |server: &Gearmand| of(&status, "queues", "address", &server.server()).unwrap()["answer"].clone();
    let answered = answer(&gearmand);
    let queue = of(&answered, "functions", "function", "act").unwrap();
    assert!(queue["waiting"] == 3 && queue["running"] == 1 && queue["workers"] == 1, "{queue}");
    assert_eq!(answer(&silent)["kind"], "none", "{status}");
    let text = manager.command("status", &["--queues"]).out();
    let line = text.lines().find(|line| line.starts_with("act ") && line.contains(&gearmand.server())).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>()[2..], ["3", "1", "1"], "{text}");
    assert!(text.contains(&format!("{}  ", silent.server())) && text.contains("QUEUES UNKNOWN"), "{text}");
    assert!(manager.status()["queues"].is_null(), "only on request");
    silent.cont();
    touch(&gate);
    assert_eq!(job.result(), b"");
}

#[test]
fn watch_shows_a_status_each_second_and_waits_for_a_manager_that_is_gone() {
    let (_gearmand, mut manager) = served("");
    let mut watch = ChildGuard::start("status --watch", &mut manager.verb("status", &["--watch"]));
    let mut lines = ChildGuard::start("status --watch --json", &mut manager.verb("status", &["--watch", "--json"]));
    let shown = |output: String| output.matches(", pid ").count() + output.matches("{\"schema\":1").count();
    for watched in [&watch, &lines] {
        wait_for("two statuses", DEADLINE, || (shown(watched.output()) >= 2).then_some(()));
        assert!(!watched.output().contains('\x1b'), "{}", watched.output());
    }
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    for watched in [&watch, &lines] {
        wait_for("the end to be said", DEADLINE, || watched.output().contains("; waiting for it").then_some(()));
    }
    let before = [&watch, &lines].map(|watched| shown(watched.output()));
    manager.start_again();
    for (watched, before) in [&watch, &lines].into_iter().zip(before) {
        wait_for("the next manager", DEADLINE, || (shown(watched.output()) > before).then_some(()));
        assert_eq!(watched.output().matches("; waiting for it").count(), 1, "{}", watched.output());
    }
    for watched in [&mut watch, &mut lines] {
        watched.signal(Signal::SIGINT);
        assert_eq!(watched.wait().code(), Some(0));
    }
}
