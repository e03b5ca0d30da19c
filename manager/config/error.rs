//! Where a value came from, and what is said about it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// So many errors are printed; a file that is no ini at all must not fill the terminal.
const SHOWN: usize = 50;

/// Where a value, an error or a warning comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    #[default]
    Default,
    /// A line of the configuration file, counted from 1.
    Line {
        /// The path as it was given.
        file: Arc<Path>,
        /// The line.
        line: usize,
    },
    /// The file as a whole.
    File(Arc<Path>),
    /// An option of the command line, as an operator writes it: `-D`.
    Option(&'static str),
}

impl Origin {
    /// Sorts findings: the file, its lines, the options, the rest. Options stay as they were given.
    fn place(&self) -> (u8, usize) {
        match self {
            Origin::File(_) => (0, 0),
            Origin::Line { line, .. } => (0, *line),
            Origin::Option(_) => (1, 0),
            Origin::Default => (2, 0),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Line { file, line } => write!(f, "{}:{line}", file.display()),
            Origin::File(file) => write!(f, "{}", file.display()),
            Origin::Option(option) => write!(f, "option {option}"),
        }
    }
}

/// One thing that is wrong (an error) or odd (a warning): where, what, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it is.
    pub origin: Origin,
    /// What was found and what to write instead: one sentence, no value that may be a secret.
    pub text: String,
}

/// What does not stop the manager, but should be read.
pub type Warning = Finding;

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => f.write_str(&self.text),
            origin => write!(f, "{origin}: {}", self.text),
        }
    }
}

/// Every error of a configuration, in the order of its lines, then of the options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Finding>);

impl fmt::Display for ConfigErrors {
    /// One sentence per line, without a newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().take(SHOWN).enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{error}")?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more errors"),
        }
    }
}

impl std::error::Error for ConfigErrors {}

/// What has been found so far: reading goes on after an error, so that all are told at once.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub errors: Vec<Finding>,
    pub warnings: Vec<Warning>,
}

impl Findings {
    pub(super) fn error(&mut self, origin: Origin, text: String) {
        self.errors.push(Finding { origin, text });
    }

    pub(super) fn warn(&mut self, origin: Origin, text: String) {
        self.warnings.push(Finding { origin, text });
    }

    /// Puts both lists into the order an operator reads: the file from its top, then the options.
    pub(super) fn sort(&mut self) {
        self.errors.sort_by_key(|finding| finding.origin.place());
        self.warnings.sort_by_key(|finding| finding.origin.place());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sentence_per_line_and_an_end() {
        let file: Arc<Path> = Arc::from(Path::new("gm.ini"));
        let at = |line| Finding { origin: Origin::Line { file: file.clone(), line }, text: "is wrong".into() };
        let errors = ConfigErrors((1..=SHOWN + 2).map(at).collect());
        let text = errors.to_string();
        assert_eq!(text.lines().count(), SHOWN + 1);
        assert!(text.starts_with("gm.ini:1: is wrong\ngm.ini:2: is wrong\n"));
        assert!(text.ends_with("gm.ini:50: is wrong\nand 2 more errors"));
    }

    #[test]
    fn a_finding_names_its_option() {
        let finding = Finding { origin: Origin::Option("-D"), text: "count is wrong".into() };
        assert_eq!(finding.to_string(), "option -D: count is wrong");
    }
}
