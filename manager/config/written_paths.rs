//! Relative paths as the operator wrote them: a message about `/workers` does not help someone who wrote `./workers`.

use std::path::{Path, PathBuf};

/// The relative paths of a configuration, and the directory they start from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenPaths {
    start: PathBuf,
    /// Each path as resolved, and as written.
    relative: Vec<(PathBuf, PathBuf)>,
}

impl WrittenPaths {
    pub(super) fn new(start: &Path) -> Self {
        Self { start: start.to_owned(), relative: Vec::new() }
    }

    pub(super) fn add(&mut self, written: &Path, resolved: &Path) {
        if written.is_relative() {
            self.relative.push((resolved.to_owned(), written.to_owned()));
        }
    }

    /// A message in which the first path that was resolved from a relative one is as it was written, followed by the
    /// directory it was resolved from.
    pub fn explain(&self, message: &str) -> String {
        let places = self.relative.iter().filter_map(|(resolved, written)| {
            let resolved = resolved.display().to_string();
            let end = end_of(message, &resolved)?;
            Some((end, resolved.len(), written))
        });
        // The longest path, if several start alike.
        match places.max_by_key(|(end, ..)| *end) {
            Some((end, length, written)) => {
                let (before, after) = (&message[..end - length], &message[end..]);
                let (written, start) = (written.display(), self.start.display());
                format!("{before}{written} (from the working directory {start}){after}")
            }
            None => message.to_owned(),
        }
    }
}

/// Where a path ends in a message that contains it as a whole, not as the start of another one.
fn end_of(message: &str, path: &str) -> Option<usize> {
    let goes_on = |rest: &str| rest.starts_with(|next: char| next == '/' || next == '-' || next.is_alphanumeric());
    let ends = message.match_indices(path).map(|(at, _)| at + path.len());
    ends.into_iter().find(|end| !path.is_empty() && !goes_on(&message[*end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_as_it_was_written() {
        let mut paths = WrittenPaths::new(Path::new("/"));
        for (written, resolved) in [("./workers", "/workers"), ("workers/b", "/workers/b"), ("/opt/w", "/opt/w")] {
            paths.add(Path::new(written), Path::new(resolved));
        }
        for (message, expected) in [
            (
                "worker_dir /workers does not exist: create it",
                "worker_dir ./workers (from the working directory /) does not exist: create it",
            ),
            ("/workers/b: no", "workers/b (from the working directory /): no"),
            ("/workers-old is full", "/workers-old is full"),
            ("/opt/w does not exist", "/opt/w does not exist"),
        ] {
            assert_eq!(paths.explain(message), expected);
        }
    }
}
