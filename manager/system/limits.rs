//! Limits of the operating system that starting a process can hit: which one, and where it is set.

use std::io;

use super::errors::reason;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// Descriptors that workers leave to commands, probes, look-ups and the log.
const SPARE: rlim_t = 32;

/// Raises the soft limit of descriptors to the hard one. Returns what both were.
///
/// # Errors
/// None known.
pub(crate) fn lift_descriptors() -> io::Result<(rlim_t, rlim_t)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok((soft, hard))
}

/// Fails as the kernel does when no descriptor is left, but while a few are still free beside the `taken` ones.
///
/// # Errors
/// `EMFILE`.
pub(crate) fn leave_spare(taken: usize) -> io::Result<()> {
    let (most, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let needed = rlim_t::try_from(taken).unwrap_or(rlim_t::MAX).saturating_add(SPARE);
    if needed >= most { Err(Errno::EMFILE.into()) } else { Ok(()) }
}

/// The system's error in words, with the limit behind it, its value, and how to raise it.
pub(crate) fn explained(error: &io::Error) -> String {
    let now = |limit| match getrlimit(limit) {
        Ok((soft, _)) => format!("(now {soft})"),
        Err(_) => String::new(),
    };
    let hint = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMFILE) => format!(
            "the manager's limit of open files {} is too low for so many workers: each takes 3, and one more for each \
             job server; raise the hard limit (LimitNOFILE= in the unit, ulimit -n in a shell) and start it again",
            now(Resource::RLIMIT_NOFILE)
        ),
        Some(Errno::ENFILE) => "the machine's limit of open files is reached: raise fs.file-max".into(),
        Some(Errno::EAGAIN) => format!(
            "the limit of processes of this user {} or of its control group is reached: raise LimitNPROC= and TasksMax= \
             in the unit, or ulimit -u in a shell",
            now(Resource::RLIMIT_NPROC)
        ),
        Some(Errno::ENOSPC) => {
            "the limit of watched descriptors of this user is reached: raise fs.epoll.max_user_watches".into()
        }
        Some(Errno::EFBIG) => format!(
            "the limit of the size of files {} is below the size of the memory that the manager shares with its workers: raise \
             LimitFSIZE= in the unit, or ulimit -f in a shell",
            now(Resource::RLIMIT_FSIZE)
        ),
        _ => return reason(error),
    };
    format!("{}: {hint}", reason(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_with_its_setting() {
        for (error, setting) in [
            (Errno::EMFILE, "LimitNOFILE"),
            (Errno::ENFILE, "fs.file-max"),
            (Errno::EAGAIN, "LimitNPROC"),
            (Errno::ENOSPC, "fs.epoll.max_user_watches"),
            (Errno::EFBIG, "LimitFSIZE"),
        ] {
            let before = reason(&io::Error::from(error));
            let text = explained(&io::Error::from(error));
            assert!(text.starts_with(&format!("{before}: ")) && text.contains(setting), "{text}");
        }
        assert_eq!(explained(&Errno::ENOMEM.into()), "Cannot allocate memory");
    }
}
