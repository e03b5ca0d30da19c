//! gm-native under test: a process with a directory of its own.
//!
//! The directory contains `gm.ini`, `workers/`, `state/`, `gm.pid` and `gm.log`; all of it goes with the [`Manager`].

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::child_guard::ChildGuard;
use super::events::Events;
use super::program::{Finished, run};
use super::wait::{DEADLINE, wait_for};
use super::watchdog::{MARK, Watchdog};

/// A manager to be started.
pub struct Setup {
    dir: TempDir,
    program: PathBuf,
    config: PathBuf,
    state_dir: bool,
    servers: Vec<String>,
    ini: String,
    call: Vec<String>,
    log: String,
    args: Vec<String>,
    env: Vec<(OsString, OsString)>,
}

impl Setup {
    /// A manager for these job servers (HOST:PORT), with an empty worker directory.
    pub fn new(servers: &[impl AsRef<str>]) -> Self {
        let dir = TempDir::with_prefix("gm-native-test-").unwrap();
        fs::create_dir(dir.path().join("workers")).unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        let servers = servers.iter().map(|server| server.as_ref().to_owned()).collect();
        let program = PathBuf::from(env!("CARGO_BIN_EXE_gm-native"));
        let (ini, log) = (String::new(), dir.path().join("gm.log").display().to_string());
        let config = dir.path().join("gm.ini");
        let call = everyday_call(dir.path());
        let (state_dir, args, env) = (true, vec!["-vvvv".into()], Vec::new());
        Self { dir, program, config, state_dir, servers, ini, call, log, args, env }
    }

    /// Another path for `gm.ini`, below the test's directory; its own directory is created.
    pub fn config(mut self, path: &str) -> Self {
        self.config = self.dir.path().join(path);
        self.call[1] = self.config.display().to_string();
        self
    }

    /// Another path for the pid file, below the test's directory.
    pub fn pid_file(mut self, path: &str) -> Self {
        self.call[3] = self.dir.path().join(path).display().to_string();
        self
    }

    /// Without the line for state_dir.
    pub fn usual_place(mut self) -> Self {
        self.state_dir = false;
        self
    }

    /// Lines for the ini. The first ones belong to `[GearmanManager]`, which has directories and servers already;
    /// sections may follow.
    pub fn ini(mut self, text: &str) -> Self {
        self.ini.push_str(text);
        self.ini.push('\n');
        self
    }

    /// Puts a library into the worker directory, as function `name`.
    #[track_caller]
    pub fn plugin(self, name: &str, library: &Path) -> Self {
        install(self.dir.path(), name, library);
        self
    }

    /// Another log than `gm.log`, by `-l`.
    pub fn log(mut self, target: &str) -> Self {
        target.clone_into(&mut self.log);
        self
    }

    /// An option instead of -vvvv, or none.
    pub fn verbosity(mut self, option: &str) -> Self {
        self.args.retain(|arg| !arg.starts_with("-v"));
        self.args.extend((!option.is_empty()).then(|| option.to_owned()));
        self
    }

    /// Only `-c gm.ini` on the command line, whose other options would override the file.
    pub fn all_in_ini(mut self) -> Self {
        self.call.truncate(2);
        self.log.clear();
        self.args.clear();
        self
    }

    /// Starts it with relative paths, from the manager's directory.
    pub fn relative(mut self) -> Self {
        self.call = everyday_call(Path::new(""));
        self.log = "gm.log".into();
        self
    }

    /// More arguments.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Without a line for every job: for measurements.
    pub fn quiet(mut self) -> Self {
        self.args.retain(|arg| arg != "-vvvv");
        self
    }

    /// A variable for its environment.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Another program instead of gm-native: the test of this module has none.
    pub fn program(mut self, program: PathBuf) -> Self {
        self.program = program;
        self
    }

    /// The test's directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it in the foreground, and waits until it answers commands.
    #[track_caller]
    pub fn start(self) -> Manager {
        let mut manager = self.prepared();
        manager.start_again();
        manager
    }

    /// Starts it with `-d`. The command returns once the workers are loaded.
    ///
    /// # Panics
    ///
    /// If it does not start, or the command does not return.
    #[track_caller]
    pub fn daemonize(mut self) -> Manager {
        self.args.push("-d".into());
        let mut manager = self.prepared();
        let finished = manager.run_to_end();
        assert!(finished.status.success(), "gm-native -d: {}{}", finished.out(), finished.err());
        manager.wait_answering();
        manager
    }

    /// Runs it in the foreground to its end, for starts that must fail.
    ///
    /// # Panics
    ///
    /// If it does not end.
    #[track_caller]
    pub fn run_to_end(self) -> Finished {
        self.prepared().run_to_end()
    }

    /// Prepares everything that a start needs, and starts nothing.
    #[track_caller]
    pub fn prepared(self) -> Manager {
        let path = self.dir.path();
        let text = format!(
            "[GearmanManager]\nhost = {}\nworker_dir = {}\n{}{}",
            self.servers.join(","),
            path.join("workers").display(),
            if self.state_dir { format!("state_dir = {}\n", path.join("state").display()) } else { String::new() },
            self.ini,
        );
        fs::write(&self.config, text).unwrap();
        let watchdog = Watchdog::over(&path.display().to_string());
        Manager {
            process: None,
            events: None,
            mark: 0,
            watchdog,
            program: self.program,
            config: self.config,
            call: self.call,
            log: self.log,
            args: self.args,
            env: self.env,
            dir: self.dir,
        }
    }
}

/// A running manager, and the commands for it. It is killed with everything it started when this goes out of scope; its
/// log is shown if the test panics.
pub struct Manager {
    /// In the foreground: the child.
    process: Option<ChildGuard>,
    events: Option<Events>,
    /// Events before this one are skipped.
    mark: usize,
    watchdog: Watchdog,
    program: PathBuf,
    config: PathBuf,
    call: Vec<String>,
    log: String,
    args: Vec<String>,
    env: Vec<(OsString, OsString)>,
    // Last: it is removed after everything else has ended.
    dir: TempDir,
}

impl Manager {
    /// The test's directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its worker directory.
    pub fn worker_dir(&self) -> PathBuf {
        self.dir.path().join("workers")
    }

    /// The manager's process id: the child's, or the one in the pid file.
    #[track_caller]
    pub fn pid(&self) -> Pid {
        self.process.as_ref().map_or_else(|| self.pid_in_file().unwrap(), ChildGuard::pid)
    }

    /// Further arguments for the next start.
    pub fn add_args(&mut self, args: &[&str]) {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
    }

    /// Starts another one in the same directory, in the foreground, and waits until it answers commands, whatever
    /// happened to the one before.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.launch();
        self.wait_answering();
    }

    /// As [`start_again`](Self::start_again), but without waiting. Its events are not followed.
    #[track_caller]
    pub fn launch(&mut self) {
        let name = format!("gm-native in {}", self.dir.path().display());
        self.process = Some(ChildGuard::start(&name, &mut self.run_command()));
        self.events = None;
    }

    /// The exit status of a manager in the foreground, if it has exited.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(ChildGuard::ended)
    }

    /// Runs the usual command to its end: a start that fails or, with `-d`, one that returns.
    ///
    /// # Panics
    ///
    /// If it does not end.
    #[track_caller]
    pub fn run_to_end(&self) -> Finished {
        let finished = run(&mut self.run_command(), b"", DEADLINE);
        finished.unwrap_or_else(|hung| panic!("gm-native did not end: {hung:?}\n{}", self.log()))
    }

    /// Its running processes: the manager and its workers.
    pub fn processes(&self) -> Vec<Pid> {
        self.watchdog.marked()
    }

    /// The guardian, while there is one.
    pub fn guardian(&self) -> Option<Pid> {
        let is_one = |pid: &Pid| {
            let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            title.starts_with(b"gm-native: guardian of manager ")
        };
        self.processes().into_iter().find(is_one)
    }

    /// Rewrites `gm.ini`: the lines of every manager under test, and these.
    #[track_caller]
    pub fn configure(&self, text: &str) {
        let file = self.dir().join("gm.ini");
        let old = fs::read_to_string(&file).unwrap();
        let kept: Vec<&str> = old.lines().take(4).collect();
        fs::write(&file, format!("{}\n{text}\n", kept.join("\n"))).unwrap();
    }

    /// Puts a library into the worker directory as a deploy does: by a rename.
    #[track_caller]
    pub fn install(&self, name: &str, library: &Path) {
        install(self.dir(), name, library);
    }

    /// Removes a function's library from the worker directory.
    #[track_caller]
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.worker_dir().join(format!("{name}.so"))).unwrap();
    }

    /// Runs another command for this manager: `gm-native VERB -c gm.ini ARGS`.
    #[track_caller]
    pub fn command(&self, verb: &str, args: &[&str]) -> Finished {
        let finished = run(&mut self.verb(verb, args), b"", DEADLINE);
        finished.unwrap_or_else(|hung| panic!("gm-native {verb} {args:?} hung: {hung:?}"))
    }

    /// The output of `gm-native status --json`; `None` if no manager answers.
    pub fn try_status(&self) -> Option<Value> {
        let finished = self.command("status", &["--json"]);
        finished.status.success().then(|| serde_json::from_slice(&finished.stdout).unwrap())
    }

    /// The output of `gm-native status --json`.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.try_status().expect("the manager does not answer `status`")
    }

    /// Waits until `status` shows what `see` looks for.
    #[track_caller]
    pub fn wait_status<T>(&self, what: &str, look: impl Fn(&Value) -> Option<T>) -> T {
        wait_for(what, DEADLINE, || look(&self.try_status()?))
    }

    /// The first event of that name since the last [`mark`](Self::mark) that is `right`; waits for it if necessary.
    #[track_caller]
    pub fn wait_event(&self, name: &str, right: impl Fn(&Value) -> bool) -> Value {
        self.events.as_ref().unwrap().wait(name, self.mark, right)
    }

    /// All events since the manager's start, except those that it had too many of to keep.
    pub fn events(&self) -> Vec<Value> {
        self.events.as_ref().map(Events::all).unwrap_or_default()
    }

    /// All events of a manager that has exited.
    #[track_caller]
    pub fn wait_last_events(&self) -> Vec<Value> {
        self.events.as_ref().map(Events::wait_end).unwrap_or_default()
    }

    /// From now on only later events and lines count.
    #[track_caller]
    pub fn mark(&mut self) {
        let control = self.control();
        self.mark = self.events.as_ref().map_or(0, |events| events.now(&control));
    }

    /// Sends the manager a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits until a manager in the foreground has exited.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        self.process.as_mut().expect("only a child can be waited for: not after daemonize()").wait()
    }

    /// Waits until none of its processes runs any more.
    #[track_caller]
    pub fn wait_gone(&mut self) {
        wait_for("the end of all its processes", DEADLINE, || {
            // A child that has exited stays a zombie until it is reaped.
            let _ = self.process.as_mut().map(ChildGuard::ended);
            self.processes().is_empty().then_some(())
        });
    }

    /// Its log: from its file, and from its output if that is ours.
    pub fn log(&self) -> String {
        let file = fs::read(self.log_file()).unwrap_or_default();
        let output = self.process.as_ref().map(ChildGuard::output).unwrap_or_default();
        String::from_utf8_lossy(&file).into_owned() + &output
    }

    /// Its log, if that is a file: `gm.log`, or another that the setup names.
    fn log_file(&self) -> PathBuf {
        let other = Path::new(&self.log);
        // A stream of the test's own, such as /dev/stdout or /proc/self/fd/7, would never end.
        let is_stream = other.starts_with("/dev") || other.starts_with("/proc");
        let is_file = other.is_absolute() && !is_stream;
        if is_file { other.to_owned() } else { self.dir().join("gm.log") }
    }

    /// Waits for a line in the log that contains this, and returns it.
    #[track_caller]
    pub fn wait_log(&self, text: &str) -> String {
        wait_for(&format!("a log line with {text:?}"), DEADLINE, || {
            self.log().lines().find(|line| line.contains(text)).map(str::to_owned)
        })
    }

    /// The usual command: `gm-native -c gm.ini -P gm.pid -l gm.log`, and what the setup adds.
    fn run_command(&self) -> Command {
        let mut command = self.gm_native();
        // The mark is for the manager, not for a command of the test's.
        command.env(MARK, self.dir());
        command.args(&self.call);
        if !self.log.is_empty() {
            command.arg("-l").arg(&self.log);
        }
        command.args(&self.args);
        command
    }

    pub fn verb(&self, verb: &str, args: &[&str]) -> Command {
        let mut command = self.gm_native();
        command.arg(verb).arg("-c").arg(&self.config).args(args);
        command
    }

    fn gm_native(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(self.dir());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Waits for the control socket, then opens the event stream.
    #[track_caller]
    fn wait_answering(&mut self) {
        wait_for("the manager to answer `status`", DEADLINE, || {
            let ended = self.process.as_mut().and_then(ChildGuard::ended);
            assert!(ended.is_none(), "the manager ended: {}\n{}", ended.unwrap_or_default(), self.log());
            self.try_status()
        });
        let control = self.control();
        self.mark = 0;
        self.events = control.exists().then(|| Events::follow(&control));
    }

    fn control(&self) -> PathBuf {
        self.dir().join("state/control.sock")
    }

    fn pid_in_file(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.dir().join("gm.pid")).ok()?;
        text.trim().parse().ok().map(Pid::from_raw)
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let root = self.process.as_ref().map(ChildGuard::pid).or_else(|| self.pid_in_file());
        // A pid file may be old, and its pid another process's by now.
        let ours = root.filter(|root| self.watchdog.marked().contains(root));
        self.watchdog.kill_all(ours);
        if !std::thread::panicking() {
            // Why a plugin failed a job is the plugin's own text; ours contain no numbers of std's after an error.
            let is_ours = |line: &&str| !line.contains(": failed after ") && !line.contains("; the last, job ");
            let numbered =
                self.log().lines().filter(is_ours).find(|line| line.contains("(os error ")).map(str::to_owned);
            assert_eq!(numbered, None, "an error is logged with its number");
        }
        if std::thread::panicking() {
            let log = fs::read(self.log_file()).unwrap_or_default();
            eprintln!("---- gm.log\n{}---- events", String::from_utf8_lossy(&log));
            for event in self.events() {
                eprintln!("{event}");
            }
        }
    }
}

/// `-c gm.ini -P gm.pid` in a directory.
fn everyday_call(dir: &Path) -> Vec<String> {
    let path = |name| dir.join(name).display().to_string();
    vec!["-c".into(), path("gm.ini"), "-P".into(), path("gm.pid")]
}

/// Copies to a name that is skipped, then renames.
#[track_caller]
fn install(dir: &Path, name: &str, library: &Path) {
    let part = dir.join(format!("{name}.part"));
    fs::copy(library, &part).unwrap_or_else(|error| panic!("cannot copy {}: {error}", library.display()));
    fs::rename(part, dir.join("workers").join(format!("{name}.so"))).unwrap();
}
