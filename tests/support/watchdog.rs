//! Ends everything a manager under test started, also what the manager itself can no longer end.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::{DEADLINE, wait_for};

/// The environment variable by which a process is known to belong to a test. A child inherits it, also one that
/// daemonises or changes its parent.
pub const MARK: &str = "GM_NATIVE_TEST";

/// Waits for the end of its standard input, which is the end of the test's process, then kills what carries the mark.
const SCRIPT: &str = r#"
    trap '' HUP INT TERM
    cat > /dev/null
    for process in /proc/[0-9]*; do
        if grep -qszxF -- "$1" "$process/environ"; then kill -9 "${process#/proc/}" 2> /dev/null; fi
    done
    exit 0
"#;

/// Kills all processes that carry a mark when it goes out of scope, or when the test's process is killed.
pub struct Watchdog {
    mark: String,
    shell: Child,
}

impl Watchdog {
    /// Watches over the processes whose variable [`MARK`] is `mark`.
    pub fn over(mark: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh", &format!("{MARK}={mark}")]);
        let shell = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { mark: format!("{MARK}={mark}"), shell }
    }

    /// What the kernel does when the test's process is killed.
    pub fn let_go(&mut self) {
        drop(self.shell.stdin.take());
    }

    /// The marked processes that run.
    pub fn marked(&self) -> Vec<Pid> {
        processes().filter(|pid| carries(*pid, &self.mark)).collect()
    }

    /// Kills the marked processes and all that descend from `root`, which may have lost the mark.
    pub fn kill_all(&self, root: Option<Pid>) {
        let family = root.map(descendants).unwrap_or_default();
        for pid in &family {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        // One may be starting another just now: until there is none.
        wait_for("the end of the manager's processes", DEADLINE, || {
            let left = self.marked();
            for pid in &left {
                let _ = kill(*pid, Signal::SIGKILL);
            }
            left.is_empty().then_some(())
        });
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.kill_all(None);
        self.let_go();
        let _ = self.shell.wait();
    }
}

/// `root` and its children, and theirs.
pub fn descendants(root: Pid) -> Vec<Pid> {
    let parents: Vec<(Pid, Pid)> = processes().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut family = vec![root];
    let mut next = 0;
    while let Some(member) = family.get(next).copied() {
        family.extend(parents.iter().filter(|(_, parent)| *parent == member).map(|(pid, _)| *pid));
        next += 1;
    }
    family
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
}

/// Zombies have no environment, and so are not waited for.
fn carries(pid: Pid, mark: &str) -> bool {
    let mut environment = Vec::new();
    let read = fs::File::open(format!("/proc/{pid}/environ")).and_then(|mut file| file.read_to_end(&mut environment));
    read.is_ok() && environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
}

/// The fourth field of `stat`, behind a name that may hold anything.
fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}
