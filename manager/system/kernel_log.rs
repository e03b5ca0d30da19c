//! The kernel's log, as far as it may be read: only what is written from now on, and never waiting for it.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::makedev;

/// The longest record the kernel returns.
const RECORD: usize = 8192;
/// Records of one look. Of more than these, the rest is skipped.
const MAX_RECORDS: usize = 1000;
/// What `/proc/self/ns/pid` is a link to in the first namespace: only there does the log have the pids that we know.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// The log, from where it was read last.
#[derive(Debug)]
pub(crate) struct KernelLog {
    file: File,
    buffer: Vec<u8>,
}

/// What was read of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KernelLogReading {
    pub records: Vec<String>,
    /// Whether these are all records since the last reading.
    pub is_complete: bool,
}

impl KernelLog {
    /// The log below this root directory. None if this process may not read it, or if its pids are not ours.
    pub(crate) fn open(root: &Path) -> Option<Self> {
        let namespace = fs::read_link(root.join("proc/self/ns/pid")).ok()?;
        if namespace.as_os_str() != FIRST_PID_NAMESPACE {
            return None;
        }
        let path = root.join("dev/kmsg");
        let is_log = |metadata: &Metadata| metadata.is_file() || metadata.rdev() == makedev(1, 11);
        // Before it is opened: in some containers it is a terminal.
        fs::metadata(&path).ok().filter(is_log)?;
        let flags = libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY;
        let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
        file.seek(SeekFrom::End(0)).ok()?;
        Some(Self { file, buffer: vec![0; RECORD] })
    }

    /// The records since the last reading.
    pub(crate) fn read(&mut self) -> KernelLogReading {
        let mut reading = KernelLogReading { records: Vec::new(), is_complete: true };
        for _ in 0..MAX_RECORDS {
            match self.file.read(&mut self.buffer) {
                Ok(0) => return reading,
                Ok(length) => {
                    let text = String::from_utf8_lossy(&self.buffer[..length]);
                    reading.records.extend(text.lines().map(str::to_owned));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return reading,
                // The kernel has overwritten some that were not read yet; the next read continues behind them.
                Err(error) if error.raw_os_error() == Some(Errno::EPIPE as i32) => reading.is_complete = false,
                Err(_) => break,
            }
        }
        reading.is_complete = false;
        // An error means that the log is gone. Then the next reading finds nothing, and says that it is not complete.
        let _ = self.file.seek(SeekFrom::End(0));
        reading
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;

    fn root(namespace: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc/self/ns")).unwrap();
        fs::create_dir(root.path().join("dev")).unwrap();
        symlink(namespace, root.path().join("proc/self/ns/pid")).unwrap();
        fs::write(root.path().join("dev/kmsg"), "6,1,1,-;before\n").unwrap();
        root
    }

    #[test]
    fn only_what_is_written_from_now_on_is_read() {
        let root = root(FIRST_PID_NAMESPACE);
        let mut log = KernelLog::open(root.path()).unwrap();
        assert_eq!(log.read(), KernelLogReading { records: vec![], is_complete: true });
        let mut file = OpenOptions::new().append(true).open(root.path().join("dev/kmsg")).unwrap();
        file.write_all(b"6,2,1,-;one\n3,3,1,-;two \xff\n").unwrap();
        assert_eq!(log.read().records, ["6,2,1,-;one", "3,3,1,-;two \u{fffd}"]);
        assert_eq!(log.read().records, [""; 0]);
    }

    #[test]
    fn a_log_without_end_is_cut() {
        let root = root(FIRST_PID_NAMESPACE);
        let mut log = KernelLog::open(root.path()).unwrap();
        let mut file = OpenOptions::new().append(true).open(root.path().join("dev/kmsg")).unwrap();
        file.write_all(&b"6,2,1,-;a line\n".repeat((MAX_RECORDS + 1) * RECORD / 15)).unwrap();
        assert!(!log.read().is_complete);
        assert_eq!(log.read(), KernelLogReading { records: vec![], is_complete: true }, "the rest is skipped");
    }

    #[test]
    fn in_another_pid_namespace_or_without_a_log_nothing_is_read() {
        assert!(KernelLog::open(root("pid:[4026532201]").path()).is_none());
        let without = root(FIRST_PID_NAMESPACE);
        let kmsg = without.path().join("dev/kmsg");
        fs::remove_file(&kmsg).unwrap();
        assert!(KernelLog::open(without.path()).is_none());
        symlink("/dev/null", &kmsg).unwrap();
        assert!(KernelLog::open(without.path()).is_none(), "another device");
        assert!(KernelLog::open(Path::new("/nowhere")).is_none());
    }
}
