//! The log file: reopened after logrotate, created again after it was removed.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, Gid, Uid, access, fchown};

use super::line_writer::LineWriter;
use super::log_output::LogOutput;
use crate::system::errors::reason;
use crate::system::{directory, plain_file};

/// How often to check whether the file was removed: often enough to lose little, seldom enough to cost nothing.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A log file that is appended to.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    /// The open file, or why there is none: it was removed, and could not be created again so far.
    file: Result<File, String>,
    line_writer: LineWriter,
    looked: Instant,
    look_every: Duration,
    notice: Option<String>,
}

impl LogFile {
    /// Opens or creates the file, with mode 0640 less the umask, since at `-vvvv` it contains parts of workloads.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = Ok(open(path)?);
        let path = path.to_owned();
        Ok(Self {
            path,
            file,
            line_writer: LineWriter::default(),
            looked: Instant::now(),
            look_every: CHECK_INTERVAL,
            notice: None,
        })
    }

    /// Reopens the path, for instance after logrotate has moved the file away. If that fails, the old file stays in
    /// use.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.file = Ok(open(&self.path)?);
        self.line_writer = LineWriter::default();
        Ok(())
    }

    /// Gives the file to the user that the manager will run as. Leaves devices and FIFOs alone, since they belong to
    /// others.
    pub(super) fn hand_over(&self, uid: Uid, gid: Gid) -> io::Result<()> {
        if let Ok(file) = &self.file
            && file.metadata()?.is_file()
        {
            fchown(file, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// Whether this user may create the log file again. A device or FIFO never has to be created.
    pub(super) fn can_recreate(&self) -> bool {
        let plain = self.file.as_ref().is_ok_and(|file| file.metadata().is_ok_and(|found| found.is_file()));
        let above = self.path.parent().unwrap_or(Path::new("/"));
        !plain || access(above, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
    }

    /// Creates the file again, with its directory, if it was removed: what is written to a file without a name is lost.
    fn recreate_if_removed(&mut self) {
        if let Ok(file) = &self.file {
            if file.metadata().is_ok_and(|found| found.nlink() > 0) {
                return;
            }
            self.file = Err("it was removed".into());
        }
        let made = self.path.parent().map_or(Ok(()), |dir| directory::make(dir).map(drop));
        let made = made.and_then(|()| self.reopen());
        match made {
            Ok(()) => self.notice = Some(format!("log file {} was removed; it was made again", self.path.display())),
            Err(error) => self.file = Err(format!("it was removed and cannot be made again: {}", reason(&error))),
        }
    }
}

impl LogOutput for LogFile {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let now = Instant::now();
        if now.saturating_duration_since(self.looked) >= self.look_every {
            self.looked = now;
            self.recreate_if_removed();
        }
        match &mut self.file {
            Ok(file) => self.line_writer.write(file, line),
            Err(reason) => Err(io::Error::other(reason.clone())),
        }
    }

    fn take_notice(&mut self) -> Option<String> {
        self.notice.take()
    }
}

fn open(path: &Path) -> io::Result<File> {
    plain_file::open(path, OFlag::O_WRONLY | OFlag::O_APPEND, Mode::from_bits_truncate(0o640))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn log_in(dir: &Path) -> (PathBuf, LogFile) {
        let path = dir.join("logs/gm.log");
        fs::create_dir_all(dir.join("logs")).unwrap();
        let mut file = LogFile::open(&path).unwrap();
        file.look_every = Duration::ZERO;
        (path, file)
    }

    #[test]
    fn appends_and_is_not_readable_for_all() {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut file) = log_in(dir.path());
        file.write_line(b"one\n").unwrap();
        file.reopen().unwrap();
        file.write_line(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(path.metadata().unwrap().mode() & 0o007, 0);
    }

    #[test]
    fn moved_away_it_goes_on_until_reopened() {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut file) = log_in(dir.path());
        let moved = path.with_extension("1");
        fs::rename(&path, &moved).unwrap();
        file.write_line(b"one\n").unwrap();
        assert!(!path.exists(), "logrotate has not sent its signal yet");
        file.reopen().unwrap();
        file.write_line(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "one\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    }

    #[test]
    fn removed_with_its_directory_it_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut file) = log_in(dir.path());
        fs::remove_dir_all(dir.path().join("logs")).unwrap();
        file.write_line(b"one\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
        assert!(file.take_notice().unwrap().contains("was removed; it was made again"));
        file.write_line(b"two\n").unwrap();
        assert!(file.take_notice().is_none(), "reported once");
    }

    #[test]
    fn removed_and_in_the_way_it_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut file) = log_in(dir.path());
        fs::remove_dir_all(dir.path().join("logs")).unwrap();
        fs::write(dir.path().join("logs"), "a file where the directory was").unwrap();
        let error = file.write_line(b"lost\n").unwrap_err();
        assert!(error.to_string().contains("cannot be made again"), "{error}");
        fs::remove_file(dir.path().join("logs")).unwrap();
        file.write_line(b"one\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
    }

    #[test]
    fn a_failed_reopen_keeps_the_open_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut file) = log_in(dir.path());
        let moved = path.with_extension("1");
        fs::rename(&path, &moved).unwrap();
        fs::create_dir(&path).unwrap();
        file.reopen().unwrap_err();
        file.write_line(b"one\n").unwrap();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "one\n");
    }
}
