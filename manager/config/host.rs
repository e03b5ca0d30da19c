//! The address of a job server.

use std::fmt;
use std::net::Ipv6Addr;

use super::list;
use super::secret::shown;
use super::text::quoted;
use super::value::ValueForm;

/// Gearman's port.
pub const DEFAULT_PORT: u16 = 4730;

/// A job server: a name or an address, and a port. Names are resolved later, by a child.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobServerAddress {
    /// A name, an IPv4 address, or an IPv6 address without its brackets.
    pub host: String,
    /// The port, never 0.
    pub port: u16,
}

impl fmt::Display for JobServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A comma list of servers.
pub(super) const HOSTS: ValueForm<Vec<JobServerAddress>> =
    ValueForm { read: hosts, show: |hosts| list::join(hosts), example: "10.0.0.1:4730,10.0.0.2" };

fn hosts(text: &str) -> Result<Vec<JobServerAddress>, String> {
    let hosts: Vec<JobServerAddress> = list::items(text).map(host).collect::<Result<_, _>>()?;
    if hosts.is_empty() { Err("no host is named".into()) } else { Ok(hosts) }
}

/// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
fn host(text: &str) -> Result<JobServerAddress, String> {
    if text.contains("://") {
        return Err(format!("{} is a URL, not HOST:PORT", quoted(&shown("host", text))));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => bracketed(text, rest)?,
        None => named(text)?,
    };
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => match port.parse() {
            Ok(port) if port != 0 => port,
            _ => return Err(format!("the port {} of {} is not from 1 to 65535", quoted(port), quoted(text))),
        },
    };
    Ok(JobServerAddress { host: host.to_owned(), port })
}

fn named(text: &str) -> Result<(&str, Option<&str>), String> {
    let (host, port) = match text.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            return Err(match text.parse::<Ipv6Addr>() {
                Ok(_) => format!("{} is an IPv6 address without its brackets ([{text}])", quoted(text)),
                Err(_) => format!("{} has more than one \":\"", quoted(text)),
            });
        }
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    match !host.is_empty() && host.chars().all(is_of_name) {
        true => Ok((host, port)),
        false => Err(format!("{} is not a host name", quoted(host))),
    }
}

/// `rest` is what follows the opening bracket of `text`. Keeps a zone: `fe80::1%eth0`.
fn bracketed<'a>(text: &str, rest: &'a str) -> Result<(&'a str, Option<&'a str>), String> {
    let (host, after) = rest.split_once(']').ok_or_else(|| format!("{} has no \"]\"", quoted(text)))?;
    let (address, zone) = host.split_once('%').unwrap_or((host, "0"));
    if address.parse::<Ipv6Addr>().is_err() || !zone.chars().all(is_of_name) {
        return Err(format!("{} is not an IPv6 address", quoted(host)));
    }
    match after.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if after.is_empty() => Ok((host, None)),
        None => Err(format!("{} stands where \":PORT\" belongs", quoted(after))),
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_and_shown() {
        for (text, shown) in [
            ("127.0.0.1", "127.0.0.1:4730"),
            ("a", "a:4730"),
            ("my_queue-1.example.:4731", "my_queue-1.example.:4731"),
            ("[::1]", "[::1]:4730"),
            ("[::1]:99", "[::1]:99"),
            ("[fe80::1%eth0]:99", "[fe80::1%eth0]:99"),
            (" a , b:1,, [::]:65535 ", "a:4730,b:1,[::]:65535"),
        ] {
            let hosts = (HOSTS.read)(text).expect(text);
            assert_eq!((HOSTS.show)(&hosts), shown);
            assert_eq!((HOSTS.read)(shown).as_ref(), Ok(&hosts), "{shown}");
        }
        let hosts = (HOSTS.read)("[::1]:99").expect("an address");
        assert_eq!(hosts, [JobServerAddress { host: "::1".into(), port: 99 }]);
    }

    #[test]
    fn what_is_no_host() {
        for (text, error) in [
            ("a:", "the port \"\" of \"a:\""),
            ("a:0", "not from 1 to 65535"),
            ("a:65536", "not from 1 to 65535"),
            ("a:x", "not from 1 to 65535"),
            (":4730", "not a host name"),
            ("a b", "not a host name"),
            ("tcp://a:4730", "\"tcp://a:4730\" is a URL"),
            ("tcp://me:hunter2@a", "\"tcp://me:****@a\" is a URL"),
            ("::1", "\"::1\" is an IPv6 address without its brackets ([::1])"),
            ("a:1:2", "more than one"),
            ("[::1", "\"[::1\" has no \"]\""),
            ("[a]", "not an IPv6 address"),
            ("[::1]x", "where \":PORT\" belongs"),
        ] {
            let read = (HOSTS.read)(text);
            assert!(read.as_ref().is_err_and(|found| found.contains(error)), "{text}: {read:?}");
        }
    }
}
