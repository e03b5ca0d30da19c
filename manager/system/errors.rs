//! The system's errors in a form for people.

use std::fmt::Display;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// How std marks the number of a system error.
const MARK: &str = " (os error ";

/// How many links are followed in a row; the kernel gives up after as many.
const MAX_LINKS: usize = 40;

/// An error's text without the number that the standard library appends: "No such file or directory", not "No such file
/// or directory (os error 2)". Every message for a person gets its errors from here.
pub(crate) fn reason(error: &impl Display) -> String {
    let mut text = error.to_string();
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find(MARK)).map(|at| from + at) {
        let digits = text[at + MARK.len()..].bytes().take_while(u8::is_ascii_digit).count();
        let end = at + MARK.len() + digits;
        if digits > 0 && text[end..].starts_with(')') {
            text.replace_range(at..=end, "");
            from = at;
        } else {
            from = end;
        }
    }
    text
}

/// [`reason`] for a file that could not be opened or examined. If its path leads through a link to nothing, that is the
/// reason, and the text names the link and its target.
pub(crate) fn reason_at(path: &Path, error: &io::Error) -> String {
    match dangling(path).filter(|_| error.kind() == ErrorKind::NotFound) {
        Some(link) => link.sentence(path),
        None => reason(error),
    }
}

/// A link to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dangling {
    /// The link: a prefix of the path that was looked up.
    pub link: PathBuf,
    /// What it leads to in the end, as written in the link if it leads there directly.
    pub to: PathBuf,
}

impl Dangling {
    /// The text about a `path` that leads through it, to be put after the path. No name in it can end its line.
    pub(crate) fn sentence(&self, path: &Path) -> String {
        let what = if self.link == path { "it".to_owned() } else { shown(&self.link) };
        format!("{what} is a link to {}, which does not exist", shown(&self.to))
    }
}

/// The first link on the way to `path` that leads to nothing, if that is why nothing is there.
pub(crate) fn dangling(path: &Path) -> Option<Dangling> {
    let mut parts: Vec<&Path> = path.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
    parts.reverse();
    let link = parts.into_iter().find(|part| is_link(part) && !leads_somewhere(part))?;
    let mut to = fs::read_link(link).ok()?;
    let mut at = beside(link, &to);
    for _ in 0..MAX_LINKS {
        let Ok(next) = fs::read_link(&at) else { break };
        at = beside(&at, &next);
        to.clone_from(&at);
    }
    Some(Dangling { link: link.to_owned(), to })
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_symlink())
}

fn leads_somewhere(link: &Path) -> bool {
    !link.metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// A path as text, control characters escaped.
pub(crate) fn shown(path: &Path) -> String {
    let printable = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    path.display().to_string().chars().map(printable).collect()
}

/// Resolves a link's text: a relative one starts where the link is.
fn beside(link: &Path, to: &Path) -> PathBuf {
    link.parent().unwrap_or(Path::new("")).join(to)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::errno::Errno;

    use super::*;

    #[test]
    fn the_error_number_is_removed_and_the_text_stays() {
        let missing = io::Error::from(Errno::ENOENT);
        let nested = io::Error::other(format!("a: {missing}; b: {missing}"));
        for (error, expected) in [
            (missing, "No such file or directory"),
            (nested, "a: No such file or directory; b: No such file or directory"),
            (io::Error::other("no mark"), "no mark"),
            (io::Error::other("f (os error x)"), "f (os error x)"),
            (io::Error::other("f (os error "), "f (os error "),
            (io::Error::other("f (os error 7"), "f (os error 7"),
        ] {
            assert_eq!(reason(&error), expected);
        }
    }

    /// By name, since types cannot tell: everything called an error is printed through [`reason`].
    #[test]
    fn no_message_prints_an_error_as_it_is() {
        let manager = Path::new(env!("CARGO_MANIFEST_DIR")).join("manager");
        let mut left = vec![manager];
        let mut bare = Vec::new();
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            // The configuration layer does no IO; the texts in a rejection have been through here already.
            let skipped = ["tests.rs", "matrix.rs", "rejection.rs"];
            let name = path.to_str().unwrap();
            if !name.ends_with(".rs")
                || name.contains("/tests/")
                || name.contains("/config/")
                || skipped.iter().any(|end| name.ends_with(end))
            {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for (number, line) in code.lines().enumerate() {
                let printed = ["error", "source", "err", "errno", "e"].map(|name| format!("{{{name}}}"));
                if printed.iter().any(|printed| line.contains(printed.as_str())) {
                    bare.push(format!("{name}:{}: {line}", number + 1));
                }
            }
        }
        assert!(bare.is_empty(), "print reason(&error), not {{error}}:\n{}", bare.join("\n"));
    }

    #[test]
    fn a_link_to_nothing_is_named_with_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (to, link) in [("gone", "one"), ("one", "two"), ("here", "fine"), ("sub", "current"), ("away/x", "deep")] {
            symlink(to, at(link)).unwrap();
        }
        fs::write(at("here"), "").unwrap();
        let described = |name: &str| {
            let path = at(name);
            let error = fs::read(&path).unwrap_err();
            reason_at(&path, &error).replace(dir.path().to_str().unwrap(), "DIR")
        };
        assert_eq!(described("one"), "it is a link to gone, which does not exist");
        assert_eq!(described("two"), "it is a link to DIR/gone, which does not exist");
        assert_eq!(described("current/gm.ini"), "DIR/current is a link to sub, which does not exist");
        assert_eq!(described("deep"), "it is a link to away/x, which does not exist");
        assert_eq!(described("nothing"), "No such file or directory");
        assert_eq!(described("fine/x"), "Not a directory");
        assert_eq!(dangling(&at("fine")), None);
    }
}
