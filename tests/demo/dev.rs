//! `gm-native dev`, played by a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use nix::sys::signal::Signal;

use crate::support::build::{BUILD_DEADLINE, alone, build_dir, repository};
use crate::support::child_guard::ChildGuard;
use crate::support::plugins::example;
use crate::support::program::{Finished, run};
use crate::support::wait::{DEADLINE, wait_for};
use crate::support::watchdog::{MARK, Watchdog};

/// A function as README.md has it.
pub const GREET: &str = "use gm_plugin_api::{function, Job, JobResult, Log};\n\n#[function]\n\
    fn greet(job: &Job, log: &mut Log) -> JobResult {\n    log.push(\"somebody is greeted\");\n    \
    Ok(format!(\"Hello, {}!\", job.text()?).into())\n}\n";

/// A directory to type commands in.
pub struct Place {
    pub dir: tempfile::TempDir,
    _watchdog: Watchdog,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let watchdog = Watchdog::over(&dir.path().display().to_string());
        Self { dir, _watchdog: watchdog }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command line as one types it, with gm-native on the PATH.
    fn shell(&self, line: &str) -> Command {
        let programs = Path::new(env!("CARGO_BIN_EXE_gm-native")).parent().unwrap().display().to_string();
        let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.dir.path()).env("PATH", path).env(MARK, self.dir.path());
        command.env("CARGO_TARGET_DIR", build_dir().join("cargo")).env("CARGO_NET_OFFLINE", "true");
        command.env("TMPDIR", self.dir.path()).env_remove("MAKEFLAGS");
        command
    }

    /// Runs it to its end.
    pub fn run(&self, line: &str) -> Finished {
        run(&mut self.shell(line), b"", DEADLINE).unwrap_or_else(|hung| panic!("{line} hung: {hung:?}"))
    }

    /// Runs what has to succeed: its output.
    pub fn succeed(&self, line: &str) -> String {
        String::from_utf8(self.run(line).success()).unwrap()
    }

    /// `gm-native new greet`, with the function of README.md.
    pub fn new_greet(&self) {
        self.new_crate();
        fs::write(self.path("greet/src/lib.rs"), GREET).unwrap();
    }

    /// `gm-native new greet`, and nothing to download.
    pub fn new_crate(&self) {
        self.succeed("gm-native new greet");
        fs::copy(repository().join("Cargo.lock"), self.path("greet/Cargo.lock")).unwrap();
    }

    /// Starts `gm-native dev` and waits until it serves.
    pub fn dev(&self, line: &str) -> Dev {
        let dev = self.start_dev(line);
        dev.wait_log("started: ");
        dev
    }

    /// Starts `gm-native dev`.
    fn start_dev(&self, line: &str) -> Dev {
        Dev { process: ChildGuard::start("dev", &mut self.shell(&format!("exec {line}"))) }
    }
}

/// It runs.
pub struct Dev {
    process: ChildGuard,
}

impl Dev {
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Waits for a line with this in it.
    #[track_caller]
    pub fn wait_log(&self, text: &str) -> String {
        wait_for(&format!("{text:?} in the log of dev"), BUILD_DEADLINE, || {
            self.log().lines().find(|line| line.contains(text)).map(str::to_owned)
        })
    }

    /// What stands in a line of its log from `before` to the next blank.
    #[track_caller]
    pub fn printed_after(&self, before: &str) -> String {
        let line = self.wait_log(before);
        line.split_once(before).unwrap().1.split_whitespace().next().unwrap().to_owned()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }
}

#[test]
fn a_change_is_built_and_served_and_what_does_not_compile_is_not() {
    // All builds of greet end in one file.
    alone(built_and_served);
}

fn built_and_served() {
    let place = Place::new();
    place.new_greet();
    let mut dev = place.dev("gm-native dev greet --port 0");
    let built = dev.log().lines().filter(|line| line.ends_with("greet: cargo build")).count();
    assert_eq!(built, 1, "what cargo writes into the crate is no change: {}", dev.log());
    let server = dev.printed_after("submit -h ");
    let submit = format!("gm-native submit -h {server} greet world");
    assert_eq!(place.succeed(&submit), "Hello, world!");
    fs::write(place.path("greet/src/lib.rs"), GREET.replace("Hello", "Goodbye")).unwrap();
    dev.wait_log("greet: serves the code of");
    assert_eq!(place.succeed(&submit), "Goodbye, world!");
    fs::write(place.path("greet/src/lib.rs"), "fn broken(").unwrap();
    dev.wait_log("greet: cargo build failed");
    assert!(dev.log().contains("unclosed delimiter"), "cargo's words: {}", dev.log());
    assert_eq!(place.succeed(&submit), "Goodbye, world!");
    for step in ["canary", "promoted", "generation 2", "draining: replaced"] {
        assert!(!dev.log().contains(step), "one line says that new code is served: {}", dev.log());
    }
    assert!(!dev.log().contains(".part"), "the manager never saw half a library: {}", dev.log());
    dev.signal(Signal::SIGINT);
    assert_eq!(dev.wait().code(), Some(0));
    assert!(dev.log().contains("stopped after"), "it drained: {}", dev.log());
    let left: Vec<_> = fs::read_dir(place.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["greet"], "its temporary directory is gone");
}

#[test]
fn a_crate_is_served_beside_the_files_libraries_and_follows_what_it_depends_on() {
    alone(beside_libraries_and_after_dependencies);
}

fn beside_libraries_and_after_dependencies() {
    let place = Place::new();
    place.new_greet();
    fs::create_dir_all(place.path("words/src")).unwrap();
    let word = |word: &str| {
        let source = format!("pub const WORD: &str = \"{word}\";\n");
        fs::write(place.path("words/src/lib.rs"), source).unwrap();
    };
    word("Hello");
    fs::write(place.path("words/Cargo.toml"), "[package]\nname = \"words\"\nversion = \"0.1.0\"\nedition = \"2024\"\n")
        .unwrap();
    let manifest = fs::read_to_string(place.path("greet/Cargo.toml")).unwrap();
    let manifest = manifest.replace("[dependencies]\n", "[dependencies]\nwords = { path = \"../words\" }\n");
    fs::write(place.path("greet/Cargo.toml"), manifest).unwrap();
    let source = GREET.replace("Hello, {}!\", ", "{}, {}!\", words::WORD, ");
    fs::write(place.path("greet/src/lib.rs"), source).unwrap();
    fs::create_dir(place.path("workers")).unwrap();
    fs::copy(example("reverse_string"), place.path("workers/reverse_string.so")).unwrap();
    fs::write(place.path("gm.ini"), "[GearmanManager]\nworker_dir = ./workers\n").unwrap();

    let mut dev = place.dev("gm-native -c gm.ini dev greet --port 0");
    let server = dev.printed_after("submit -h ");
    let greeted = || place.succeed(&format!("gm-native submit -h {server} greet world"));
    assert_eq!(greeted(), "Hello, world!");
    assert_eq!(place.succeed(&format!("gm-native submit -h {server} reverse_string abc")), "cba");
    word("Goodbye");
    dev.wait_log("greet: serves the code of");
    assert_eq!(greeted(), "Goodbye, world!");
    dev.signal(Signal::SIGQUIT);
    assert_eq!(dev.wait().code(), Some(0));
    let served = fs::read_dir(place.path("workers")).unwrap().count();
    assert_eq!(served, 1, "what is built does not go where production may look");
}

/// Stands for cargo: creates the folder of its output and Cargo.lock as cargo does, and builds a library.
const CARGO: &str = r#"#!/bin/sh
[ -e target ] || { mkdir targetA1b2C3 && touch targetA1b2C3/CACHEDIR.TAG && mv targetA1b2C3 target && touch Cargo.lock; }
cp "$LIBRARY" target/libgreet.so
echo "{\"reason\":\"compiler-artifact\",\"manifest_path\":\"$PWD/Cargo.toml\",\"target\":{\"crate_types\":[\"cdylib\"]},\
\"filenames\":[\"$PWD/target/libgreet.so\"]}"
"#;

#[test]
fn the_first_build_of_a_crate_is_one_build() {
    let place = Place::new();
    place.succeed("mkdir -p greet/src && touch greet/Cargo.toml greet/src/lib.rs");
    fs::write(place.path("cargo"), CARGO).unwrap();
    place.succeed("chmod +x cargo");
    let library = example("reverse_string");
    let line = format!("env CARGO=../cargo LIBRARY={} gm-native dev greet --port 0", library.display());
    // The library has another name: nothing is served.
    let mut dev = place.start_dev(&line);
    dev.wait_log("does not export greet");
    let builds = dev.log().lines().filter(|line| line.ends_with("greet: cargo build")).count();
    assert_eq!(builds, 1, "{}", dev.log());
    dev.signal(Signal::SIGINT);
    assert_eq!(dev.wait().code(), Some(0));
}

/// Greets with a word from a setting; the workload `stuck` never ends.
const GREET_WITH_A_SETTING: &str = r#"use gm_plugin_api::{Context, Failure, Job, JobResult, Log, function};

struct Greet(String);

#[function(name = "greet")]
impl Greet {
    fn new(cx: &Context) -> Result<Self, Failure> {
        Ok(Self(cx.required("word")?.to_owned()))
    }

    fn run(&mut self, job: &Job, log: &mut Log) -> JobResult {
        while job.workload() == b"stuck" {
            log.push("it is stuck");
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
        Ok(format!("{}, {}!", self.0, job.text()?).into())
    }
}
"#;

#[test]
fn each_mistake_waits_for_the_next_save() {
    alone(mistakes);
}

fn mistakes() {
    let place = Place::new();
    place.new_crate();
    let source = |text: &str| fs::write(place.path("greet/src/lib.rs"), text).unwrap();
    let ini = |lines: &str| {
        // As editors do it.
        let text = format!("[GearmanManager]\ngraceful_shutdown_wait_time = 1h\n{lines}");
        fs::write(place.path("gm.ini.new"), text).unwrap();
        fs::rename(place.path("gm.ini.new"), place.path("gm.ini")).unwrap();
    };
    ini("count = many\n");
    source("fn broken(");
    let mut dev = place.start_dev("gm-native -c gm.ini dev greet --port 0");
    dev.wait_log("dev tries again as soon as you save");
    ini("");
    dev.wait_log("nothing of it is served yet");
    source(&GREET_WITH_A_SETTING.replace("\"greet\"", "\"gret\""));
    dev.wait_log("does not export greet; it exports gret");
    source(GREET_WITH_A_SETTING);
    dev.wait_log("setting.word is missing");
    // The directory is one of production's, and missing here.
    ini("worker_dir = /nowhere/workers\n[greet]\nsetting.word = Hello\n");
    let server = dev.printed_after("submit -h ");
    let greeted = || place.succeed(&format!("gm-native submit -h {server} greet world"));
    assert_eq!(greeted(), "Hello, world!");
    assert!(!dev.log().contains("/nowhere"), "{}", dev.log());

    ini("[greet]\nsetting.word = Goodbye\n");
    wait_for("the new word", DEADLINE, || (greeted() == "Goodbye, world!").then_some(()));
    assert!(!dev.log().contains("SIGHUP"), "a save is no signal: {}", dev.log());
    dev.signal(Signal::SIGHUP);
    dev.wait_log("the configuration was read again: nothing in it has changed");
    // Other directories take another manager.
    fs::create_dir(place.path("workers")).unwrap();
    fs::copy(example("reverse_string"), place.path("workers/reverse_string.so")).unwrap();
    ini("worker_dir = ./workers\n[greet]\nsetting.word = Hi\n");
    dev.wait_log("the manager is started again");
    assert_eq!(place.succeed(&format!("gm-native submit -h {server} reverse_string abc")), "cba");
    assert_eq!(greeted(), "Hi, world!");

    let stuck = format!("exec gm-native submit -h {server} greet stuck");
    let _stuck = ChildGuard::start("submit", &mut place.shell(&stuck));
    dev.wait_log("it is stuck");
    dev.signal(Signal::SIGINT);
    dev.wait_log("the second signal kills what is left");
    let awaited = dev.wait_log("which is running a job: H:");
    assert!(awaited.contains("greet: waiting for worker "), "{awaited}");
    dev.signal(Signal::SIGINT);
    assert_eq!(dev.wait().code(), Some(0), "{}", dev.log());
    dev.wait_log("stopped after");
}

/// To a manager HUP is a reload, and to `dev` too; but not from a terminal that is gone.
#[test]
fn a_folder_with_a_makefile_is_built_and_served() {
    let place = Place::new();
    place.succeed("gm-native new --lang c words");
    let source = fs::read_to_string(place.path("words/words.c")).unwrap();
    let save = |text: &str| fs::write(place.path("words/words.c"), text).unwrap();
    let mut dev = place.dev("gm-native dev words --port 0");
    dev.wait_log("words: make");
    let server = dev.printed_after("submit -h ");
    let counted = || place.succeed(&format!("gm-native submit -h {server} words 'a job for you'"));
    assert_eq!(counted(), "4");
    save("#include \"gm_plugin.h\"\nGM_FUNCTION(words) { return missing_name; }\n");
    let failed = dev.wait_log("make failed after");
    assert!(failed.contains("see its messages above; the previous code stays in service"), "{failed}");
    assert!(dev.log().contains("missing_name"), "the compiler's words: {}", dev.log());
    assert_eq!(counted(), "4");
    save(&source.replace("\"%zu\", words", "\"%zu words\", words"));
    wait_for("the new code", DEADLINE, || (counted() == "4 words").then_some(()));
    dev.signal(Signal::SIGINT);
    assert_eq!(dev.wait().code(), Some(0), "{}", dev.log());
}

#[test]
fn another_command_builds_a_folder() {
    let place = Place::new();
    let include = repository().join("plugin-api/include").display().to_string();
    fs::create_dir(place.path("odd")).unwrap();
    fs::write(
        place.path("odd/odd.c"),
        "#include \"gm_plugin.h\"\nGM_FUNCTION(odd) { return gm_result_text(job, \"1\"); }\n",
    )
    .unwrap();
    let missing = place.run("gm-native dev odd --port 0");
    assert_eq!(missing.code(), Some(2));
    assert!(missing.err().contains("odd has no Cargo.toml and no Makefile"), "{}", missing.err());
    let build = format!("echo it is built; cc -shared -fPIC -I{include} -o odd.so odd.c");
    let mut dev = place.dev(&format!("gm-native dev --build '{build}' odd --port 0"));
    dev.wait_log("it is built");
    let server = dev.printed_after("submit -h ");
    assert_eq!(place.succeed(&format!("gm-native submit -h {server} odd")), "1");
    dev.signal(Signal::SIGTERM);
    assert_eq!(dev.wait().code(), Some(0), "{}", dev.log());
}

#[test]
fn a_build_that_hangs_ends_with_dev_and_so_do_its_children() {
    let place = Place::new();
    fs::create_dir(place.path("stuck")).unwrap();
    let mut dev = place.start_dev("gm-native dev --build 'sleep 1000 & echo $! > pid; wait' stuck --port 0");
    let written = || fs::read_to_string(place.path("stuck/pid")).ok().filter(|pid| pid.ends_with('\n'));
    let child = wait_for("a build that hangs", BUILD_DEADLINE, written);
    dev.signal(Signal::SIGINT);
    assert_eq!(dev.wait().code(), Some(0), "{}", dev.log());
    let process = format!("/proc/{}", child.trim());
    // Somebody has to reap it, so it may be a zombie for a while.
    let is_gone =
        || fs::read_to_string(format!("{process}/status")).map_or(true, |status| status.contains("State:\tZ"));
    wait_for("the end of what the build started", DEADLINE, || is_gone().then_some(()));
}

#[test]
fn it_ends_with_its_terminal() {
    if !Path::new("/usr/bin/script").exists() {
        eprintln!("skipped: there is no script(1) to make a terminal");
        return;
    }
    let place = Place::new();
    fs::create_dir(place.path("workers")).unwrap();
    fs::copy(example("reverse_string"), place.path("workers/reverse_string.so")).unwrap();
    // The tests may run under nohup, which dev honours.
    let line = "env --default-signal=HUP script -qec 'exec gm-native dev --port 0' /dev/null";
    let mut terminal = place.dev(line);
    let home = || {
        fs::read_dir(place.dir.path())
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("gm-native-dev-"))
    };
    assert!(home());
    terminal.signal(Signal::SIGKILL);
    terminal.wait();
    wait_for("the end of dev", DEADLINE, || (!home()).then_some(()));
}

#[test]
fn a_manager_whose_dev_is_killed_ends() {
    let place = Place::new();
    fs::create_dir(place.path("workers")).unwrap();
    fs::copy(example("reverse_string"), place.path("workers/reverse_string.so")).unwrap();
    let mut dev = place.dev("gm-native dev --port 0");
    dev.signal(Signal::SIGKILL);
    dev.wait();
    dev.wait_log("stopped after");
}

#[test]
fn what_cannot_start_is_one_sentence() {
    let place = Place::new();
    place.succeed("ln -s nothing link && mkdir greet && touch greet/Cargo.toml");
    for (line, code, text) in [
        ("gm-native dev nowhere", 2, "nowhere cannot be built: No such file or directory"),
        ("gm-native dev -w nowhere --port 0", 2, "worker_dir nowhere (from the working directory "),
        ("gm-native dev greet -w link", 1, "cannot be made: it is a link to nothing, which does not exist"),
        ("cd greet && gm-native dev", 2, "gm-native dev . builds and serves it"),
        ("gm-native dev -h a,:x", 2, "-h"),
    ] {
        let finished = place.run(line);
        assert_eq!(finished.code(), Some(code), "{line}: {}{}", finished.out(), finished.err());
        assert!(finished.err().contains(text), "{line}: {}", finished.err());
        assert_eq!(finished.out(), "", "{line}: nothing was started");
    }
}
