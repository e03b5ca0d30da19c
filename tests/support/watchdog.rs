//! Kills everything that a manager under test started, even what the manager itself can no longer kill.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::{DEADLINE, wait_for};

/// The environment variable that marks a process as a test's. A child inherits it, even one that daemonises or changes
/// its parent.
pub const MARK: &str = "GM_NATIVE_TEST";

/// Waits for the end of its standard input, which means the end of the test's process, then kills the marked processes.
/// More than once: a process that is just executing another program has no environment to be recognised by.
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

/// How long a process without an environment may be one that is just executing another program.
const NAMELESS: Duration = Duration::from_secs(2);

/// Kills all marked processes when it goes out of scope, or when the test's process is killed.
pub struct Watchdog {
    mark: String,
    shell: Child,
    /// When the shell was started, in `/proc`'s units: marked processes started later.
    since: u64,
}

impl Watchdog {
    /// Watches the processes whose variable [`MARK`] is `mark`.
    pub fn over(mark: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh", &format!("{MARK}={mark}")]);
        let shell = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let since = stat(Pid::from_raw(shell.id().cast_signed())).unwrap().started;
        Self { mark: format!("{MARK}={mark}"), shell, since }
    }

    /// Closes the standard input of the shell, as the kernel does when the test's process is killed.
    pub fn disarm(&mut self) {
        drop(self.shell.stdin.take());
    }

    /// The marked processes that run.
    pub fn marked(&self) -> Vec<Pid> {
        self.look().0
    }

    /// Kills the marked processes and all descendants of `root`, which may have lost the mark.
    #[track_caller]
    pub fn kill_all(&self, root: Option<Pid>) {
        let family = root.map(descendants).unwrap_or_default();
        for pid in &family {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        // Until there is none: one may just be starting another.
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

    /// The marked processes, and how many more may be: those without an environment that are young enough.
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

/// `root`, its children, and their descendants.
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

/// Whether a process exists and is no zombie: the process that adopts an orphan may take seconds to reap it.
pub fn runs(pid: Pid) -> bool {
    stat(pid).is_some_and(|stat| stat.has_memory)
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
}

/// The content of `/proc/PID/stat`.
struct Stat {
    parent: Pid,
    /// In clock ticks since boot.
    started: u64,
    /// Neither a zombie nor a kernel thread.
    has_memory: bool,
}

/// `None` if there is no such process. The fields follow a name that may contain anything.
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
