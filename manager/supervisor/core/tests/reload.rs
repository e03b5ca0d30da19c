//! Reloads, runs and the mutex that a surge of 0 is.

use super::*;

/// One function, one worker that serves.
fn one(ini: &str) -> Stage {
    let mut stage = Stage::new(ini);
    stage.input(scan(&[("a", 1)])).input(found("a", 1)).serves(1);
    stage.take_actions();
    stage
}

fn reads_again(stage: &mut Stage, ini: &str) {
    let source = ConfigFile { path: "gm.ini".as_ref(), bytes: ini.as_bytes() };
    let (config, _) = load(Some(source), &Overrides::default(), &|_| None).unwrap();
    stage.input(Input::Reload(Box::new(config), Vec::new()));
}

#[test]
fn a_reload_replaces_every_worker_in_its_turn() {
    let mut stage = two_functions();
    reads_again(&mut stage, "[GearmanManager]\ndedicated_count = 2\n[b]\ndedicated_count = 3\n");
    assert_eq!(stage.take_actions(), ["Scan", "start a", "start b"], "a successor, and the worker that is new");
    stage.serves(5).serves(6);
    assert_eq!(stage.take_actions(), ["start b", "go 5", "leave 1", "start a", "go 6"]);
    stage.leaves(1).serves(7).serves(8);
    assert_eq!(stage.take_actions(), ["go 7", "leave 3", "start b", "go 8", "leave 2"]);
    stage.leaves(2).leaves(3).serves(9);
    assert_eq!(stage.take_actions(), ["go 9", "leave 4"]);
    stage.leaves(4);
    assert_eq!(stage.ids(), [5, 6, 7, 8, 9]);
    stage.later(Duration::from_secs(60));
    assert_eq!(stage.take_actions(), [""; 0], "once");
    assert_eq!(stage.left_at(None), 4, "they have come to no limit");
}

#[test]
fn old_workers_keep_serving_what_the_new_configuration_cannot() {
    let mut stage = one("[GearmanManager]\n");
    reads_again(&mut stage, "[a]\nsetting.dsn = wrong\n");
    assert_eq!(stage.take_actions(), ["Scan", "start a"]);
    stage.input(Input::Spawned { worker: WorkerId(2), pid: 102 });
    stage.message(2, WorkerMessage::CannotServe { function: 0, reason: "no such database".into() });
    stage.ends(2, exit_report(ExitStatus::Exit(1), ExitCause::OutsideJob, 0));
    assert_eq!(stage.ids(), [1]);
    stage.take_actions();
    reads_again(&mut stage, "[a]\nsetting.dsn = right\n");
    assert_eq!(stage.take_actions(), ["Scan", "start a"], "nothing waits after a reload");
    stage.serves(3);
    assert_eq!(stage.take_actions(), ["go 3", "leave 1"]);
}

#[test]
fn new_job_servers_are_for_new_workers_and_old_workers_report_the_old_ones() {
    let mut stage = one("[GearmanManager]\nhost = 127.0.0.1:1,127.0.0.1:2\n");
    reads_again(&mut stage, "[GearmanManager]\nhost = 127.0.0.1:2,127.0.0.1:3\n");
    let names: Vec<&str> = stage.started[1].servers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["127.0.0.1:2", "127.0.0.1:3"]);
    stage.message(1, WorkerMessage::ServerUp { server: 1 });
    let workers = |stage: &Stage| -> Vec<(String, usize)> {
        stage.core.servers().map(|server| (server.name.clone(), server.workers())).collect()
    };
    assert_eq!(workers(&stage), [("127.0.0.1:2".into(), 1), ("127.0.0.1:3".into(), 0)]);
    stage.message(2, WorkerMessage::ServerUp { server: 1 });
    assert_eq!(workers(&stage), [("127.0.0.1:2".into(), 1), ("127.0.0.1:3".into(), 1)]);
    stage.message(1, WorkerMessage::ServerDown { server: 0, reason: "gone".into() });
    assert_eq!(
        stage.count_events(|event| matches!(event, Event::ServerDown { .. })),
        0,
        "nobody asks about that one any more"
    );
    for _ in 0..1000 {
        reads_again(&mut stage, "[GearmanManager]\nhost = 127.0.0.1:1\n");
        reads_again(&mut stage, "[GearmanManager]\nhost = 127.0.0.1:2\n");
    }
    assert_eq!(stage.core.servers.len(), 3, "a thousand reloads remember no more than there are");
}

#[test]
fn a_reload_while_stopping_changes_nothing() {
    let mut stage = one("[GearmanManager]\n");
    stage.input(Input::Stop { by: "SIGTERM" });
    stage.take_actions();
    reads_again(&mut stage, "[GearmanManager]\ncount = 5\n");
    assert_eq!(stage.take_actions(), [""; 0]);
}

#[test]
fn a_successor_is_ready_before_the_last_job_and_admitted_after_it() {
    let mut stage = one("[GearmanManager]\nmax_runs_per_worker = 10\n");
    stage.message(1, WorkerMessage::FewJobsLeft);
    assert_eq!(stage.take_actions(), ["start a"]);
    stage.message(2, WorkerMessage::Loaded).message(2, WorkerMessage::Ready);
    assert_eq!(stage.take_actions(), [""; 0], "never more at work than planned");
    stage.message(1, WorkerMessage::NoJobsLeft);
    assert_eq!(stage.take_actions(), ["go 2"]);
    stage.message(2, WorkerMessage::Serving);
    assert_eq!(stage.take_actions(), ["leave 1"], "its function is never without a worker");
    assert_eq!(stage.left_at(Some("max_runs_per_worker")), 1);
    stage.leaves(1);
    assert_eq!(stage.ids(), [2]);
}

#[test]
fn with_one_job_each_the_start_is_reported_although_successors_wait() {
    let mut stage = Stage::new("[GearmanManager]\nmax_runs_per_worker = 1\n");
    stage.input(scan(&[("a", 1)])).input(found("a", 1));
    stage.input(Input::Spawned { worker: WorkerId(1), pid: 101 });
    stage
        .message(1, WorkerMessage::Loaded)
        .message(1, WorkerMessage::ServerUp { server: 0 })
        .message(1, WorkerMessage::Ready);
    stage
        .message(1, WorkerMessage::FewJobsLeft)
        .message(2, WorkerMessage::Loaded)
        .message(2, WorkerMessage::Ready)
        .message(1, WorkerMessage::Serving);
    assert_eq!(stage.take_actions().last().unwrap(), "announce None");
}

/// People use one dedicated worker as a mutex.
#[test]
fn with_no_surge_two_never_take_jobs_at_once() {
    let mut stage =
        one("[GearmanManager]\nmax_worker_lifetime = 100\nworker_restart_splay = 0\n[a]\nrollout_surge = 0\n");
    stage.later(Duration::from_secs(100));
    assert_eq!(stage.take_actions(), ["start a"]);
    stage.message(2, WorkerMessage::Loaded).message(2, WorkerMessage::Ready);
    assert_eq!(stage.take_actions(), ["leave 1"], "its successor is ready");
    stage.leaves(1);
    assert_eq!(stage.take_actions(), ["go 2"]);

    // A canary is no surplus worker here: it takes the place of the old one.
    stage.message(2, WorkerMessage::Serving).input(scan(&[("a", 2)])).input(found("a", 2));
    assert_eq!(stage.take_actions(), ["probe a", "start a"]);
    stage.message(3, WorkerMessage::Loaded).message(3, WorkerMessage::Ready);
    assert_eq!(stage.take_actions(), ["leave 2"]);
    stage.leaves(2);
    assert_eq!(stage.take_actions(), ["go 3"]);
    stage.message(3, WorkerMessage::Serving).dies_in_job(3, 0).ends_in_job(3, KILLED, 0);
    stage.take_actions();
    let at_work = |stage: &Stage| stage.core.workers.values().filter(|worker| worker.state.is_activated()).count();
    assert!(at_work(&stage) <= 1);
}

#[test]
fn a_function_s_own_surge_counts() {
    let mut stage =
        one("[GearmanManager]\nmax_worker_lifetime = 100\nworker_restart_splay = 0\n[a]\nrollout_surge = 0\n");
    stage.later(Duration::from_secs(100));
    stage.take_actions();
    stage.message(2, WorkerMessage::Loaded).message(2, WorkerMessage::Ready);
    assert_eq!(stage.take_actions(), ["leave 1"]);
}

#[test]
fn a_function_that_moves_to_shared_workers_is_served_meanwhile() {
    let mut stage = one("[GearmanManager]\n");
    reads_again(&mut stage, "[GearmanManager]\ncount = 2\n");
    assert_eq!(stage.take_actions(), ["Scan", "start a", "start a"]);
    stage.serves(2);
    assert_eq!(stage.take_actions(), ["go 2"]);
    stage.serves(3);
    assert_eq!(stage.take_actions(), ["go 3", "leave 1"]);
}

#[test]
fn functions_of_a_directory_no_longer_configured_are_removed() {
    let mut stage = two_functions();
    reads_again(&mut stage, "[GearmanManager]\nworker_dir = /elsewhere\n");
    stage.input(scan(&[]));
    stage.later(Duration::from_secs(60)).input(scan(&[]));
    assert_eq!(stage.count_events(|event| matches!(event, Event::FunctionRemoved { .. })), 2);
    assert_eq!(stage.count_events(|event| matches!(event, Event::DirectoryEmptied { .. })), 0);
}

fn warned(stage: &mut Stage) -> Vec<String> {
    let warned = stage.events.iter().filter(|event| matches!(event, Event::ConfigWarning { .. })).map(Event::line);
    let warned = warned.map(|line| line.split(", but").next().unwrap_or_default().to_owned()).collect();
    stage.events.clear();
    warned
}

/// A section without a library is reported once for as long as there is none, whatever is reloaded or deployed meanwhile;
/// never while the directories are being read, or if there is a file.
#[test]
fn a_section_without_a_library_is_warned_of_once_per_change() {
    let mut stage = Stage::new("[GearmanManager]\n[a]\n[b]\n");
    stage.input(scan(&[("a", 1)]));
    assert_eq!(warned(&mut stage), [""; 0], "not all is known");
    stage.input(found("a", 1)).serves(1);
    assert_eq!(warned(&mut stage), ["gm.ini:3: b is named by section [b]"]);
    stage.input(Input::Rescan).input(scan(&[("a", 1)]));
    reads_again(&mut stage, "[GearmanManager]\n\n[a]\n[b]\n[c]\n");
    assert_eq!(warned(&mut stage), [""; 0], "the directories are being read");
    stage.input(scan(&[("a", 1)]));
    assert_eq!(warned(&mut stage), ["gm.ini:5: c is named by section [c]"], "b was reported, if on another line");
    stage.input(scan(&[("a", 1), ("b", 2), ("c", 3)]));
    let refused = Input::Probed { function: "b".into(), identity: identity(2), result: Err("is no library".into()) };
    stage.input(refused).input(found("c", 3));
    assert_eq!(warned(&mut stage), [""; 0], "there are files");
    stage.input(scan(&[("a", 1)])).later(Duration::from_secs(60)).input(scan(&[("a", 1)]));
    assert_eq!(warned(&mut stage), ["gm.ini:4: b is named by section [b]", "gm.ini:5: c is named by section [c]"]);
}
