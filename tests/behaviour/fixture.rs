//! What most tests start with: a job server, a manager with the library `gm_test_jobs`, and a job in hand.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use gm_native::gearman::client::{Client, JobEvent};
use gm_native::gearman::packet::{Priority, Submission};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::plugins;
use crate::support::program::{Finished, run};
use crate::support::wait::{DEADLINE, wait_for};

/// The library of `act`; see its own words for what that can do.
pub fn library() -> PathBuf {
    plugins::example("gm_test_jobs")
}

/// A directory for other users: they may enter it, read its configuration, in which `DIR` is the directory, and run the
/// program in it.
pub fn open_directory(ini: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(at("workers")).unwrap();
    fs::copy(library(), at("workers/act.so")).unwrap();
    // By another process: while this one writes it, a child of another test holds it open for writing, too, and what is
    // open for writing cannot be executed.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_gm-native")).arg(at("gm-native")).status().unwrap();
    assert!(copied.success());
    let ini = ini.replace("DIR", dir.path().to_str().unwrap());
    let text = format!("[GearmanManager]\nhost = 127.0.0.1:1\nworker_dir = {}\n{ini}\n", at("workers").display());
    fs::write(at("gm.ini"), text).unwrap();
    dir
}

/// A manager for these job servers, with `act`.
pub fn acting(servers: &[&Gearmand]) -> Setup {
    let servers: Vec<String> = servers.iter().map(|server| server.server()).collect();
    let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
    Setup::new(&servers).plugin("act", &library())
}

/// A job server, and a manager whose workers for `act` all serve.
pub fn served(ini: &str) -> (Gearmand, Manager) {
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).ini(ini).start();
    wait_serving(&manager, "act");
    (gearmand, manager)
}

/// Waits until every planned worker for a function serves.
#[track_caller]
pub fn wait_serving(manager: &Manager, function: &str) {
    manager.wait_status(&format!("all workers for {function}"), |status| {
        let function = of(status, "functions", "name", function)?;
        (function["workers_planned"] != 0 && function["workers_ready"] == function["workers_planned"]).then_some(())
    });
}

/// The element of a list in a status whose `key` is `value`.
pub fn of<'a>(status: &'a Value, list: &str, key: &str, value: &str) -> Option<&'a Value> {
    status[list].as_array()?.iter().find(|element| element[key] == value)
}

/// The processes of the workers that are there, in the order they were started.
#[track_caller]
pub fn workers(manager: &Manager) -> Vec<Pid> {
    manager.status()["workers"].as_array().unwrap().iter().map(pid).collect()
}

/// The processes of the workers that serve, in the order they were started.
#[track_caller]
pub fn serving(manager: &Manager) -> Vec<Pid> {
    let status = manager.status();
    let serves = |worker: &&Value| worker["state"] == "idle" || worker["state"] == "busy";
    status["workers"].as_array().unwrap().iter().filter(serves).map(pid).collect()
}

/// Waits until a worker is at the job with this handle.
#[track_caller]
pub fn wait_busy(manager: &Manager, handle: &str) -> Pid {
    manager.wait_status(&format!("a worker at {handle}"), |status| of(status, "workers", "handle", handle).map(pid))
}

/// The process an event or a part of a status is about.
pub fn pid(about: &Value) -> Pid {
    Pid::from_raw(about["pid"].as_i64().unwrap().try_into().unwrap())
}

/// A path in the manager's directory, as text.
pub fn path(manager: &Manager, name: &str) -> String {
    manager.dir().join(name).display().to_string()
}

/// Makes the file a job waits for.
#[track_caller]
pub fn touch(path: &str) {
    fs::write(path, "").unwrap();
}

/// The lines of a file that jobs write to.
pub fn lines(path: &str) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The result of `size`.
pub fn pattern(size: usize) -> Vec<u8> {
    let round: Vec<u8> = (0..=255).collect();
    let mut all = round.repeat(size.div_ceil(round.len()));
    all.truncate(size);
    all
}

/// A job in the foreground, on a connection of its own.
pub struct Job {
    /// The connection.
    pub client: Client,
    /// Its handle.
    pub handle: String,
}

impl Job {
    /// Has `act` do something.
    #[track_caller]
    pub fn act(server: &Gearmand, unique: &str, workload: &str) -> Self {
        let mut client = server.client();
        let how = Submission::Foreground(Priority::Normal);
        let handle = client.submit(how, b"act", unique.as_bytes(), workload.as_bytes()).unwrap();
        Self { client, handle: String::from_utf8(handle).unwrap() }
    }

    /// All that happens to it, to its end.
    #[track_caller]
    pub fn news(mut self) -> Vec<JobEvent> {
        let mut all = Vec::new();
        while !all.last().is_some_and(JobEvent::is_end) {
            let event = self.client.next_event(Instant::now() + DEADLINE).unwrap();
            all.push(event.unwrap_or_else(|| panic!("nothing more became of {}: {all:?}", self.handle)).event);
        }
        all
    }

    /// The result of a job of which nothing else is heard.
    #[track_caller]
    pub fn result(self) -> Vec<u8> {
        match self.news().as_slice() {
            [JobEvent::Complete(result)] => result.clone(),
            other => panic!("no plain result: {other:?}"),
        }
    }

    /// The reason of a job that failed, of which nothing else is heard.
    #[track_caller]
    pub fn failure(self) -> String {
        match self.news().as_slice() {
            [JobEvent::Warning(text), JobEvent::Fail] => String::from_utf8(text.clone()).unwrap(),
            other => panic!("no plain failure: {other:?}"),
        }
    }
}

/// Submits a job for `act` in the background.
#[track_caller]
pub fn background(server: &Gearmand, unique: &str, workload: &str) {
    let how = Submission::Background(Priority::Normal);
    server.client().submit(how, b"act", unique.as_bytes(), workload.as_bytes()).unwrap();
}

/// Waits until the job server has no job of `act`'s any more.
#[track_caller]
pub fn wait_done(server: &Gearmand) {
    wait_for("all jobs to be done", DEADLINE, || {
        server.status("act").is_none_or(|status| status.total == 0).then_some(())
    });
}

/// Runs gm-native to its end, in a directory.
#[track_caller]
pub fn gm_native(dir: &Path, args: &[&str]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gm-native"));
    let finished = run(command.args(args).current_dir(dir), b"", DEADLINE);
    finished.unwrap_or_else(|hung| panic!("gm-native {args:?} hung: {hung:?}"))
}

/// Whether this process may mount something for itself.
pub fn may_mount() -> bool {
    let tried = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "gm-native-test", "/mnt"]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// Makes a program of a script. It is written by another process: while this one writes it, a child of another test holds
/// it open for writing, too, and what is open for writing cannot be executed.
#[track_caller]
pub fn make_script(path: &Path, text: &str) {
    let mut writer = Command::new("sh");
    writer.args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""]).arg(path).arg(text);
    assert!(writer.status().unwrap().success());
}
