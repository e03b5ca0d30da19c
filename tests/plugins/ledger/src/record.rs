//! What a run of a job leaves behind: lines in the history, and a lock for as long as it lasts.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// A job that runs. Its lock goes with the process, whatever becomes of that.
pub(crate) struct Run {
    sub: String,
    lock: File,
}

/// Where the history is, and a directory for the locks.
pub(crate) fn dir() -> PathBuf {
    std::env::var_os("GM_LEDGER").unwrap_or_default().into()
}

impl Run {
    /// Writes down the start, and that another run of this job has not ended where that is so.
    pub(crate) fn start(sub: &str, version: &str, mood: &str) -> io::Result<Self> {
        let job = sub.split('.').next().unwrap_or_default();
        let path = dir().join("locks").join(job);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        let run = Self { sub: sub.to_owned(), lock };
        run.write("started", &format!(",\"version\":\"{version}\",\"mood\":\"{mood}\""))?;
        match run.lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => run.write("overlap", "")?,
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(run)
    }

    /// Writes down the end.
    pub(crate) fn end(&self, how: &str) -> io::Result<()> {
        self.write("ended", &format!(",\"how\":\"{how}\""))
    }

    /// Whether this is the first run of the job with this unique.
    pub(crate) fn is_first(&self) -> bool {
        OpenOptions::new().write(true).create_new(true).open(dir().join("once").join(&self.sub)).is_ok()
    }

    /// The descriptor of the lock, which a forked child would hold, too.
    pub(crate) fn descriptor(&self) -> i32 {
        self.lock.as_raw_fd()
    }

    /// A whole line in one write to the end of the file, whose descriptor is opened for it: a job may have closed any.
    fn write(&self, record: &str, more: &str) -> io::Result<()> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let (sub, pid) = (&self.sub, std::process::id());
        let line = format!("{{\"record\":\"{record}\",\"at\":{at},\"sub\":\"{sub}\",\"pid\":{pid}{more}}}\n");
        OpenOptions::new().append(true).create(true).open(dir().join("history"))?.write_all(line.as_bytes())
    }
}
