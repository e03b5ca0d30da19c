//! Values with a few choices: where the log goes, how many workers a rollout adds, what happens to a lost job.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::text::{from_path, is_foreign, quoted, to_path};
use super::value::{NONE, ValueForm, is_unset, number};

/// Where log lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    #[default]
    Stdout,
    /// The local syslog socket.
    Syslog,
    /// A stream that was open when the manager was started, by its number.
    Stream(i32),
    /// A file, appended to.
    File(PathBuf),
}

/// The number of the stream that a path names: `/dev/stdout`, `/dev/stderr`, `/dev/fd/N`. Opening such a path differs
/// from using the stream: a file would be written from its beginning, and after dropping root it might not open at all.
pub fn stream(path: &Path) -> Option<i32> {
    let path: PathBuf = path.components().collect();
    match path.to_str()? {
        "/dev/stdout" => Some(1),
        "/dev/stderr" => Some(2),
        "/dev/stdin" => Some(0),
        path => {
            let number = ["/dev/fd/", "/proc/self/fd/"].iter().find_map(|place| path.strip_prefix(place))?;
            number.parse().ok().filter(|_| number.bytes().all(|byte| byte.is_ascii_digit()))
        }
    }
}

pub(super) const LOG_TARGET: ValueForm<LogTarget> = ValueForm {
    read: |text| match text {
        "syslog" => Ok(LogTarget::Syslog),
        "stdout" => Ok(LogTarget::Stdout),
        path => (PATH.read)(path).map(|path| stream(&path).map_or(LogTarget::File(path), LogTarget::Stream)),
    },
    show: |target| match target {
        LogTarget::Syslog => "syslog".into(),
        LogTarget::Stdout => "stdout".into(),
        LogTarget::Stream(1) => "/dev/stdout".into(),
        LogTarget::Stream(2) => "/dev/stderr".into(),
        LogTarget::Stream(number) => format!("/dev/fd/{number}"),
        LogTarget::File(path) => from_path(path),
    },
    example: "/var/log/gm.log",
};

pub(super) const PATH: ValueForm<PathBuf> = ValueForm {
    read: |text| if text.is_empty() { Err("the path is empty".into()) } else { Ok(to_path(text)) },
    show: |path| from_path(path),
    example: "/run/gm.pid",
};

/// Any text: the prefix, the user.
pub(super) const TEXT: ValueForm<String> = ValueForm {
    read: |text| match is_foreign(text) || text.contains(char::is_control) {
        true => Err(format!("{} is not plain UTF-8", quoted(text))),
        false => Ok(text.to_owned()),
    },
    show: String::clone,
    example: "gm_",
};

/// The name of a user.
pub(super) const USER: ValueForm<String> = ValueForm { example: "www-data", ..TEXT };

/// The name of a group.
pub(super) const GROUP: ValueForm<String> = ValueForm { example: "monitoring", ..TEXT };

/// How many workers more than planned a rollout may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutSurge {
    /// Of the planned number, rounded up.
    Percent(u32),
    /// This many. With 0 a successor takes over only when the old worker has exited.
    Count(u32),
}

impl RolloutSurge {
    /// How many workers may be added to `planned` ones.
    pub fn of(self, planned: u32) -> u32 {
        match self {
            RolloutSurge::Count(count) => count,
            // A percentage of a u32, at most 100, is a u32.
            RolloutSurge::Percent(percent) => {
                let part = (u64::from(planned) * u64::from(percent)).div_ceil(100);
                u32::try_from(part).unwrap_or(u32::MAX)
            }
        }
    }
}

pub(super) const SURGE: ValueForm<RolloutSurge> = ValueForm {
    read: surge,
    show: |surge| match surge {
        RolloutSurge::Percent(percent) => format!("{percent}%"),
        RolloutSurge::Count(count) => count.to_string(),
    },
    example: "25%",
};

fn surge(text: &str) -> Result<RolloutSurge, String> {
    let read = match text.strip_suffix('%') {
        Some(percent) => percent.trim_end().parse().ok().filter(|percent| *percent <= 100).map(RolloutSurge::Percent),
        None => number(text).parse().ok().map(RolloutSurge::Count),
    };
    read.ok_or_else(|| format!("{} is neither a number of workers nor a percentage up to 100%", quoted(text)))
}

/// What happens to a job whose worker died, or that timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostJobPolicy {
    /// It is requeued to the job server, at most `max_attempts` times.
    Retry,
    /// Its caller gets a failure.
    Fail,
}

pub(super) const LOST_JOB_POLICY: ValueForm<LostJobPolicy> = ValueForm {
    read: |text| match text {
        "retry" => Ok(LostJobPolicy::Retry),
        "fail" => Ok(LostJobPolicy::Fail),
        _ => Err(format!("{} is neither retry nor fail", quoted(text))),
    },
    show: |disposition| match disposition {
        LostJobPolicy::Retry => "retry".into(),
        LostJobPolicy::Fail => "fail".into(),
    },
    example: "retry",
};

/// `ADDRESS:PORT`, or a port of the loopback address; `off` turns it off.
pub(super) const LISTEN: ValueForm<Option<String>> =
    ValueForm { read: listen, show: |address| address.clone().unwrap_or_else(|| NONE.into()), example: "9100" };

fn listen(text: &str) -> Result<Option<String>, String> {
    if is_unset(text) {
        return Ok(None);
    }
    // Open to the network only if you write an address.
    let address = match text.parse::<u16>() {
        Ok(port) => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        Err(_) => text.parse::<SocketAddr>(),
    };
    match address {
        Ok(address) if address.port() != 0 => Ok(Some(address.to_string())),
        _ => Err(format!("{} is neither a port nor ADDRESS:PORT", quoted(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_targets() {
        for (text, target) in [
            ("syslog", LogTarget::Syslog),
            ("stdout", LogTarget::Stdout),
            ("./syslog", LogTarget::File("./syslog".into())),
            ("/dev/stdout", LogTarget::Stream(1)),
            ("/dev/stderr", LogTarget::Stream(2)),
            ("/dev/fd/7", LogTarget::Stream(7)),
            ("/dev/fd/+7", LogTarget::File("/dev/fd/+7".into())),
            ("/dev/fd/", LogTarget::File("/dev/fd/".into())),
            ("/dev/full", LogTarget::File("/dev/full".into())),
        ] {
            assert_eq!((LOG_TARGET.read)(text), Ok(target.clone()));
            assert_eq!((LOG_TARGET.show)(&target), text);
        }
        for (text, number) in [("/dev//stdout", 1), ("/dev/fd/2", 2), ("/proc/self/fd/12", 12), ("/dev/./stderr", 2)] {
            assert_eq!((LOG_TARGET.read)(text), Ok(LogTarget::Stream(number)), "{text}");
        }
    }

    #[test]
    fn a_surge_is_rounded_up_and_read_again() {
        for (text, planned, added) in [
            ("25%", 0, 0),
            ("25%", 1, 1),
            ("25%", 4, 1),
            ("25%", 5, 2),
            ("0%", 5, 0),
            ("100%", u32::MAX, u32::MAX),
            ("0", 9, 0),
            ("2", 9, 2),
        ] {
            let surge = (SURGE.read)(text).expect(text);
            assert_eq!((surge.of(planned), (SURGE.show)(&surge).as_str()), (added, text));
        }
        for text in ["", "%", "101%", "-1", "half", "2.5%"] {
            assert!((SURGE.read)(text).is_err(), "{text}");
        }
    }

    #[test]
    fn metrics_stay_on_loopback_unless_an_address_is_written() {
        for (text, address) in [
            ("9100", Some("127.0.0.1:9100")),
            ("0.0.0.0:9100", Some("0.0.0.0:9100")),
            ("[::1]:9100", Some("[::1]:9100")),
            ("off", None),
        ] {
            assert_eq!((LISTEN.read)(text), Ok(address.map(str::to_owned)));
        }
        for text in [":9100", "localhost:9100", "70000", "a"] {
            assert!((LISTEN.read)(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fates_and_texts() {
        assert_eq!((LOST_JOB_POLICY.read)("retry"), Ok(LostJobPolicy::Retry));
        assert_eq!((LOST_JOB_POLICY.read)("fail"), Ok(LostJobPolicy::Fail));
        assert!((LOST_JOB_POLICY.read)("Retry").is_err_and(|text| text.contains("neither retry nor fail")));
        assert!((TEXT.read)("a\u{1b}").is_err());
        assert!((PATH.read)("").is_err());
    }
}
