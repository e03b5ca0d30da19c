//! A machine of the test's own: a copy of this system, in which a test installs gm-native, adds users and writes to /etc.
//!
//! It is an overlay over the root, in namespaces of its own. Nothing of it is left when its script ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::fixture::library;
use crate::support::build::repository;
use crate::support::gearmand::Gearmand;
use crate::support::program::{Finished, run};
use crate::support::wait::DEADLINE;
use crate::support::watchdog::{MARK, Watchdog};

/// A script does many things, each of which may take long on a loaded machine.
const SCRIPT_DEADLINE: Duration = Duration::from_secs(3 * DEADLINE.as_secs());

/// What a script of a test begins with. Where a test says no more, a command that fails ends it.
const PRELUDE: &str = "set -e
await() {
    tries=0
    until \"$@\"; do tries=$((tries + 1)); [ $tries -lt 300 ] || { echo \"in vain: $*\" >&2; return 1; }; sleep 0.1; done
}
status() { gm-native -c /etc/gm-native/gm.ini status \"$@\"; }
serves() { status --check > /tmp/check 2>&1 && grep -q ^OK /tmp/check; }
cd /root/gm-native
make install-files > /dev/null
";

/// The blocks of a page in docs/, each with its language.
pub fn blocks(page: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(repository().join("docs").join(page)).unwrap();
    let fenced = text.split("```").skip(1).step_by(2);
    let block = fenced.map(|block| block.split_once('\n').unwrap());
    block.map(|(language, block)| (language.to_owned(), unindented(block))).collect()
}

/// The block of a page that has this in it.
#[track_caller]
pub fn block(page: &str, text: &str) -> String {
    let found = blocks(page).into_iter().find(|(_, block)| block.contains(text));
    found.unwrap_or_else(|| panic!("no block of {page} has {text}")).1
}

/// Without the indentation of a list.
fn unindented(block: &str) -> String {
    let indent = block.len() - block.trim_start_matches(' ').len();
    let lines = block.lines().map(|line| line.get(indent..).unwrap_or_default());
    lines.flat_map(|line| [line, "\n"]).collect()
}

pub fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// The machine. The function `act` is in its worker_dir, and its job server is outside.
pub struct Machine {
    dir: TempDir,
    pub gearmand: Gearmand,
    _watchdog: Watchdog,
}

impl Machine {
    /// `None` where a program that is needed is not here, or no machine can be made.
    pub fn with(programs: &[&str]) -> Option<Self> {
        let missing: Vec<&&str> = programs.iter().filter(|program| !has(program)).collect();
        if !missing.is_empty() {
            eprintln!("skipped: needs {missing:?}");
            return None;
        }
        if !is_root() {
            return None;
        }
        let dir = TempDir::with_prefix("gm-native-test-").unwrap();
        let watchdog = Watchdog::over(&dir.path().display().to_string());
        let machine = Self { dir, gearmand: Gearmand::start(), _watchdog: watchdog };
        let made = machine.enter("true");
        if !made.status.success() {
            eprintln!("skipped: no overlay of this system can be mounted: {}", made.err());
            return None;
        }
        Some(machine)
    }

    /// Runs a script in it, to its end, after docs/running.md has made the user and the directories.
    #[track_caller]
    pub fn run(&self, script: &str) -> Finished {
        let users = block("running.md", "useradd --system --home-dir");
        self.enter(&format!("{PRELUDE}{users}{script}"))
    }

    /// As [`Machine::run`], of a script that must succeed: its standard output.
    #[track_caller]
    pub fn succeed(&self, script: &str) -> String {
        let done = self.run(script);
        assert!(done.status.success(), "{}\n{}\n{}", script, done.out(), done.err());
        done.out()
    }

    /// Runs a script in it as it is: nothing of gm-native is installed.
    pub fn enter(&self, script: &str) -> Finished {
        self.start("exec chroot . sh /root/script\n", script, SCRIPT_DEADLINE)
    }

    /// The same, after the commands that start the machine. They run in its root.
    pub fn start(&self, commands: &str, script: &str, deadline: Duration) -> Finished {
        let (script_file, outer) = (self.dir.path().join("script"), self.dir.path().join("outer"));
        fs::write(&script_file, script).unwrap();
        fs::write(&outer, self.mounts(&script_file) + commands).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--cgroup", "--fork", "--kill-child", "sh", "-e"]).arg(outer);
        run(command.env(MARK, self.dir.path()), b"", deadline).unwrap_or_else(|hung| panic!("{script} hung: {hung:?}"))
    }

    /// What was written to descriptor 8, which a script run with [`Machine::start`] can bind a file to.
    pub fn printed(&self) -> String {
        fs::read_to_string(self.dir.path().join("out")).unwrap()
    }

    /// Mounts it, and puts into it what an operator has before the installation, and the script.
    fn mounts(&self, script: &Path) -> String {
        let [dir, repository] = [self.dir.path(), repository()].map(|path| path.display().to_string());
        let program = PathBuf::from(env!("CARGO_BIN_EXE_gm-native"));
        let built = program.parent().unwrap().display();
        let (library, server, script) = (library(), self.gearmand.server(), script.display());
        format!(
            "exec 9< {script} 8> {dir}/out\nmount --make-rprivate /\nmount -t tmpfs tmpfs {dir}\nmkdir {dir}/upper {dir}/work {dir}/root\n\
             mount -t overlay overlay -o lowerdir=/,upperdir={dir}/upper,workdir={dir}/work {dir}/root\n\
             cd {dir}/root\nmount -t proc proc proc\nmount --rbind /dev dev\nmount -t tmpfs tmpfs run\n\
             mkdir -p srv/workers etc/gm-native root/gm-native/target/release\n\
             cp {library} srv/workers/act.so\n\
             printf '[GearmanManager]\\nhost = {server}\\nworker_dir = /srv/workers\\n' > etc/gm-native/gm.ini\n\
             cp -r {repository}/packaging {repository}/docs {repository}/Makefile {repository}/*.md {repository}/LICENSE* \
             root/gm-native\n\
             mkdir root/gm-native/plugin-api && cp -r {repository}/plugin-api/include root/gm-native/plugin-api\n\
             cp -r {built}/gm-native {built}/gm-native-worker {built}/assets root/gm-native/target/release\n\
             cat <&9 > root/script\nexec 9<&-\n",
            library = library.display()
        )
    }
}

/// Whether a program is there, or a file, where its path is given.
fn has(program: &str) -> bool {
    if program.contains('/') { Path::new(program).exists() } else { crate::is_there(program) }
}
