//! Kills everything that a manager under test started, also what the manager itself can no longer kill.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::{DEADLINE, wait_for};

/// The environment variable by which a process is known to belong to a test. A child inherits it, also one that
/// daemonises or changes its parent.
pub const MARK: &str = "GM_NATIVE_TEST";

/// Waits for the end of its standard input, which is the end of the test's process, then kills what carries the mark.
/// More than once: a process that is just becoming another program has no environment to be known by.
const SCRIPT: &str = r#"
    trap '' HUP INT TERM
    cat > /dev/null
    for pass in 1 2 3; do
        for file in $(grep -slzxF -- "$1" /proc/[0-9]*/environ); do
            process="${file#/proc/}"
            kill -9 "${process%/environ}" 2> /dev/null
        done
        sleep 0.2
    done
"#;

/// How long a process without an environment is taken for one that is just becoming another program.
const NAMELESS: Duration = Duration::from_secs(2);

/// Kills all processes that carry a mark when it goes out of scope, or when the test's process is killed.
pub struct Watchdog {
    mark: String,
    shell: Child,
    /// When the shell was started, as `/proc` counts: what carries the mark was started later.
    since: u64,
}

impl Watchdog {
    /// Watches over the processes whose variable [`MARK`] is `mark`.
    pub fn over(mark: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh", &format!("{MARK}={mark}")]);
        let shell = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let since = stat(Pid::from_raw(shell.id().cast_signed())).unwrap().started;
        Self { mark: format!("{MARK}={mark}"), shell, since }
    }

    /// What the kernel does when the test's process is killed.
    pub fn disarm(&mut self) {
        drop(self.shell.stdin.take());
    }

    /// The marked processes that run.
    pub fn marked(&self) -> Vec<Pid> {
        self.look().0
    }

    /// Kills the marked processes and all that descend from `root`, which may have lost the mark.
    #[track_caller]
    pub fn kill_all(&self, root: Option<Pid>) {
        let family = root.map(descendants).unwrap_or_default();
        for pid in &family {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        // Until there is none: one may be starting another just now.
        let begin = Instant::now();
        wait_for("the end of the manager's processes", DEADLINE, || {
            let (marked, nameless) = self.look();
            for pid in &marked {
                let _ = kill(*pid, Signal::SIGKILL);
            }
            let all_known = nameless == 0 || begin.elapsed() > NAMELESS;
            (marked.is_empty() && all_known).then_some(())
        });
    }

    /// The marked processes, and how many may be: those that have no environment and are young enough.
    fn look(&self) -> (Vec<Pid>, usize) {
        let mut marked = Vec::new();
        let mut nameless = 0;
        for pid in processes() {
            let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { continue };
            if environment.split(|byte| *byte == 0).any(|variable| variable == self.mark.as_bytes()) {
                marked.push(pid);
            } else if environment.is_empty() {
                let young = stat(pid).is_some_and(|stat| stat.has_memory && stat.started >= self.since);
                nameless += usize::from(young);
            }
        }
        (marked, nameless)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.kill_all(None);
        // It has nothing left to do.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// `root` and its children, and theirs.
pub fn descendants(root: Pid) -> Vec<Pid> {
    let parents: Vec<(Pid, Pid)> = processes().filter_map(|pid| Some((pid, stat(pid)?.parent))).collect();
    let mut family = vec![root];
    let mut next = 0;
    while let Some(member) = family.get(next).copied() {
        family.extend(parents.iter().filter(|(_, parent)| *parent == member).map(|(pid, _)| *pid));
        next += 1;
    }
    family
}

/// Whether a process is there and no zombie: who adopts an orphan may take seconds to reap it.
pub fn runs(pid: Pid) -> bool {
    stat(pid).is_some_and(|stat| stat.has_memory)
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
}

/// What `/proc/PID/stat` says.
struct Stat {
    parent: Pid,
    /// In clock ticks since the machine was started.
    started: u64,
    /// Neither a zombie nor one of the kernel's threads.
    has_memory: bool,
}

/// Nothing when there is no such process. The fields come behind a name that may hold anything.
fn stat(pid: Pid) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    let field = |number: usize| fields.split_whitespace().nth(number - 3);
    Some(Stat {
        parent: Pid::from_raw(field(4)?.parse().ok()?),
        started: field(22)?.parse().ok()?,
        has_memory: field(23)? != "0",
    })
}
