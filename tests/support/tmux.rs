//! A real terminal: a shell in tmux, which is typed to and whose screen is read.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::child_guard::ChildGuard;
use super::program::run;
use super::wait::{DEADLINE, wait_for};

/// A shell in a terminal of its own. It ends with this.
pub struct Tmux {
    socket: PathBuf,
    _server: ChildGuard,
    _dir: TempDir,
}

impl Tmux {
    /// Starts one of this size; `None`, with a line that says so, where tmux is missing. The prompt of the shell is `$ `.
    #[track_caller]
    pub fn start(width: u16, height: u16) -> Option<Self> {
        if !Command::new("tmux").arg("-V").output().is_ok_and(|done| done.status.success()) {
            eprintln!("skipped: needs tmux");
            return None;
        }
        let dir = TempDir::with_prefix("gm-native-tmux-").unwrap();
        let socket = dir.path().join("socket");
        let mut server = Command::new("tmux");
        server.args(["-D", "-u", "-f", "/dev/null", "-S"]).arg(&socket).current_dir(dir.path());
        server.env_remove("TMUX").env_remove("NO_COLOR").env("LC_ALL", "C.UTF-8");
        let server = ChildGuard::start("tmux", &mut server);
        let tmux = Self { socket, _server: server, _dir: dir };
        wait_for("tmux", DEADLINE, || tmux.socket.exists().then_some(()));
        let (width, height) = (width.to_string(), height.to_string());
        // Job control, as in a user's shell.
        tmux.tmux(&["new-session", "-d", "-x", &width, "-y", &height, "env PS1='$ ' ENV= sh -im"]);
        tmux.wait_for("$");
        Some(tmux)
    }

    #[track_caller]
    fn tmux(&self, args: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(args);
        String::from_utf8(run(&mut command, b"", DEADLINE).unwrap().success()).unwrap()
    }

    /// Types text as it is.
    #[track_caller]
    pub fn write(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// Presses keys by tmux's names, such as `Enter` and `C-z`.
    #[track_caller]
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Runs a command of the shell.
    #[track_caller]
    pub fn run(&self, command: &str) {
        self.write(command);
        self.press(&["Enter"]);
    }

    /// What is on the screen.
    #[track_caller]
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until this is on the screen, and returns the whole screen.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        let mut last = String::new();
        let seen = super::wait::try_wait_for(DEADLINE, || {
            last = self.screen();
            last.contains(text).then_some(())
        });
        assert!(seen.is_some(), "{text:?} does not come on the screen, which is\n{last}");
        last
    }

    /// Waits until this is not on the screen.
    #[track_caller]
    pub fn wait_gone(&self, text: &str) {
        wait_for(&format!("a screen without {text:?}"), DEADLINE, || (!self.screen().contains(text)).then_some(()));
    }

    /// Makes the terminal larger or smaller.
    #[track_caller]
    pub fn resize(&self, width: u16, height: u16) {
        self.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// Whether a program has taken the terminal over: the alternate screen, or a hidden cursor.
    #[track_caller]
    pub fn is_taken(&self) -> bool {
        self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]).trim() != "0 1"
    }
}
