//! Job servers by others: Perl's gearman-server, and geard of the Python package gear. scripts/install-test-deps
//! unpacks them below the target directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use gm_native::gearman::client::Client;

use super::child_guard::ChildGuard;
use super::gearmand::unused_server;
use super::wait::{DEADLINE, wait_for};

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherServer {
    /// Perl's gearman-server.
    Perl,
    /// geard.
    Geard,
}

/// A job server that dies with the test.
pub struct Running {
    _process: ChildGuard,
    address: String,
}

impl Running {
    /// HOST:PORT.
    pub fn server(&self) -> String {
        self.address.clone()
    }
}

impl OtherServer {
    /// Starts one and waits until it accepts connections; if it is not installed, prints that and returns `None`.
    ///
    /// # Panics
    ///
    /// If it exits instead.
    #[track_caller]
    pub fn start(self) -> Option<Running> {
        let Some(program) = self.program() else {
            eprintln!("skipped: {self:?} is not installed (scripts/install-test-deps)");
            return None;
        };
        let address = unused_server();
        let (host, port) = address.rsplit_once(':').unwrap();
        let mut command = Command::new(program);
        match self {
            Self::Perl => {
                command.env("PERL5LIB", servers().join("perl/usr/share/perl5")).args(["-L", host, "-p", port])
            }
            Self::Geard => command.args(["-d", "--listen-address", host, "-p", port]),
        };
        command.current_dir(env!("CARGO_TARGET_TMPDIR"));
        let mut process = ChildGuard::start(&format!("{self:?}"), &mut command);
        wait_for("a job server to listen", DEADLINE, || {
            let ended = process.ended();
            assert!(ended.is_none(), "{self:?} ended: {ended:?}: {}", process.output());
            Client::connect(&address, DEADLINE, 1024).ok().map(drop)
        });
        Some(Running { _process: process, address })
    }

    fn program(self) -> Option<PathBuf> {
        let program = servers().join(match self {
            Self::Perl => "perl/usr/bin/gearmand",
            Self::Geard => "geard/bin/geard",
        });
        program.exists().then_some(program)
    }
}

fn servers() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("test-servers")
}
