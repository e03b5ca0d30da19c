//! The manager under test: gm-native, or the original with the same ini and functions of the same names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use gm_native::gearman::packet::{Priority, Submission};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::child_guard::ChildGuard;
use crate::support::gearmand::Gearmand;
use crate::support::plugins;
use crate::support::program::{Finished, run};
use crate::support::wait::{DEADLINE, wait_for};
use crate::support::watchdog::{MARK, Watchdog};

/// Which of the two is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Ours,
    Theirs,
}

impl Which {
    /// As `GM_UNDER_TEST` says: `ours`, which is the default, or `theirs`.
    pub fn under_test() -> Self {
        match std::env::var("GM_UNDER_TEST").as_deref() {
            Err(_) | Ok("ours") => Self::Ours,
            Ok("theirs") => Self::Theirs,
            Ok(other) => panic!("GM_UNDER_TEST is {other:?}: it has to be ours or theirs"),
        }
    }
}

/// Whether this is gm-native.
pub fn ours() -> bool {
    Which::under_test() == Which::Ours
}

/// A manager to be started.
pub struct Fixture {
    /// With `gm.ini`, `workers/` and what a test puts there.
    pub dir: TempDir,
    args: Vec<String>,
}

impl Fixture {
    /// With these functions, and an ini that begins with what both need; `ini` goes on in `[GearmanManager]`.
    #[track_caller]
    pub fn new(servers: &str, functions: &str, ini: &str) -> Self {
        let dir = TempDir::with_prefix("gm-compat-").unwrap();
        let path = dir.path();
        for sub in ["workers", "state"] {
            fs::create_dir(path.join(sub)).unwrap();
        }
        functions.split_whitespace().for_each(|name| put(&path.join("workers"), name, name));
        // The original takes a splay of 0 for one that nobody set; state_dir it does not know and passes over.
        let shown = path.display();
        let text = format!(
            "[GearmanManager]\nhost = {servers}\nworker_dir = {shown}/workers\nstate_dir = {shown}/state\n\
             worker_initial_spawn_splay = 1\n{ini}\n"
        );
        fs::write(path.join("gm.ini"), text).unwrap();
        Self { dir, args: Vec::new() }
    }

    /// More options.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// A path in its directory.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// `MANAGER -c gm.ini ARGS`, in its directory.
    pub fn command(&self) -> Command {
        let mut command = self.bare();
        command.arg("-c").arg(self.dir.path().join("gm.ini")).args(&self.args);
        command
    }

    /// The program, in its directory.
    pub fn bare(&self) -> Command {
        let mut command = match Which::under_test() {
            Which::Ours => Command::new(env!("CARGO_BIN_EXE_gm-native")),
            Which::Theirs => {
                let checkout = std::env::var_os("GEARMAN_MANAGER_DIR");
                let checkout = checkout.expect("GEARMAN_MANAGER_DIR has to name a checkout of GearmanManager");
                let mut command = Command::new("php");
                command.args(["-d", "error_reporting=0"]).arg(PathBuf::from(checkout).join("bin/pecl_manager.php"));
                command
            }
        };
        command.current_dir(self.dir.path()).env(MARK, self.dir.path());
        command
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run_to_end(&self) -> Finished {
        run(&mut self.command(), b"", DEADLINE).unwrap_or_else(|hung| panic!("it hung: {hung:?}"))
    }

    /// Starts it in the foreground.
    #[track_caller]
    pub fn start(self) -> Subject {
        let watchdog = Watchdog::over(&self.dir.path().display().to_string());
        let process = ChildGuard::start("the manager", &mut self.command());
        Subject { process, watchdog, fixture: self }
    }
}

/// A manager that runs. It is killed with all its workers when this goes out of scope.
pub struct Subject {
    process: ChildGuard,
    watchdog: Watchdog,
    /// Last: its directory goes when all the others have ended.
    pub fixture: Fixture,
}

impl Subject {
    /// The manager's process.
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Its processes that run.
    pub fn processes(&self) -> Vec<Pid> {
        self.watchdog.marked()
    }

    /// Sends the manager a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end, which the original may take long over: its idle workers are only killed.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        self.process.wait()
    }

    /// A path in its directory.
    pub fn path(&self, name: &str) -> String {
        self.fixture.path(name)
    }

    /// What it has printed, and what is in `gm.log`.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("gm.log")).unwrap_or_default() + &self.process.output()
    }

    /// The lines that jobs have noted in a file.
    pub fn notes(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until so many jobs have noted something.
    #[track_caller]
    pub fn wait_notes(&self, name: &str, count: usize) -> Vec<String> {
        wait_for(&format!("{count} lines in {name}"), DEADLINE, || {
            let notes = self.notes(name);
            (notes.len() >= count).then_some(notes)
        })
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let root = self.watchdog.marked().contains(&self.process.pid()).then(|| self.process.pid());
        self.watchdog.kill_all(root);
        if std::thread::panicking() {
            eprintln!("---- log\n{}----", self.log());
        }
    }
}

/// Puts the function `name` into a directory, with what `entry` names in the code.
#[track_caller]
pub fn put(dir: &Path, name: &str, entry: &str) {
    match Which::under_test() {
        Which::Ours => {
            let part = dir.join(format!("{name}.part"));
            fs::copy(plugins::example("gm_test_compat"), &part).unwrap();
            fs::rename(part, dir.join(format!("{name}.so"))).unwrap();
        }
        Which::Theirs => {
            let text = include_str!("worker.php").replace("FUNCTION", entry);
            fs::write(dir.join(format!("{name}.php")), text).unwrap();
        }
    }
}

/// The multiset of function sets of all workers, as `gearadmin --workers` shows it: `["a b", "a b", "c"]`.
#[track_caller]
pub fn shown(server: &Gearmand) -> Vec<String> {
    let mut command = Command::new("gearadmin");
    command.args(["-h", &server.host(), "-p", &server.port().to_string(), "--workers"]);
    let finished = run(&mut command, b"", DEADLINE).unwrap_or_else(|hung| panic!("gearadmin hung: {hung:?}"));
    let text = String::from_utf8(finished.success()).unwrap();
    let functions = |line: &str| -> Option<String> {
        let names: BTreeSet<&str> = line.rsplit_once(" :")?.1.split_whitespace().collect();
        (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join(" "))
    };
    let mut all: Vec<String> = text.lines().filter_map(functions).collect();
    all.sort();
    all
}

/// Waits until the workers are exactly these: `3 a b, 1 c` is three for a and b, and one for c.
#[track_caller]
pub fn wait_shown(server: &Gearmand, plan: &str) {
    let mut wanted = Vec::new();
    for group in plan.split(", ").filter(|group| !group.is_empty()) {
        let (count, names) = group.split_once(' ').unwrap();
        let names: BTreeSet<&str> = names.split(' ').collect();
        let names = names.into_iter().collect::<Vec<_>>().join(" ");
        wanted.extend(std::iter::repeat_n(names, count.parse().unwrap()));
    }
    wanted.sort();
    let mut last = Vec::new();
    let seen = crate::support::wait::try_wait_for(Duration::from_secs(30), || {
        last = shown(server);
        (last == wanted).then_some(())
    });
    assert!(seen.is_some(), "gearadmin --workers shows {last:?}, not {wanted:?}");
}

/// Submits a job in the background.
#[track_caller]
pub fn background(server: &Gearmand, function: &str, workload: &str) {
    let how = Submission::Background(Priority::Normal);
    server.client().submit(how, function.as_bytes(), b"", workload.as_bytes()).unwrap();
}

/// A job's result, by the `gearman` command.
#[track_caller]
pub fn ask(server: &Gearmand, function: &str, workload: &str) -> String {
    crate::support::callers::gearman(server, &["-f", function], workload.as_bytes()).out()
}

/// Waits until the job server has no job of a function's any more.
#[track_caller]
pub fn wait_done(server: &Gearmand, function: &str) {
    wait_for("all jobs to be done", DEADLINE, || {
        server.status(function).is_none_or(|status| status.total == 0).then_some(())
    });
}
