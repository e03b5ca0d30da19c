//! Where a value came from, and the errors and warnings about it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The most errors to print, so that a file that is no ini does not fill the terminal.
const SHOWN: usize = 50;

/// What a line of a warning begins with.
const WARNING: &str = "warning: ";

/// Where a value, an error or a warning comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ValueOrigin {
    /// It is a default.
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
    /// An option of the command line, as written there: `-D`.
    Option(&'static str),
}

impl ValueOrigin {
    /// For sorting: the file, its lines, the options, the rest. Options stay in the order given.
    fn place(&self) -> (u8, usize) {
        match self {
            ValueOrigin::File(_) => (0, 0),
            ValueOrigin::Line { line, .. } => (0, *line),
            ValueOrigin::Option(_) => (1, 0),
            ValueOrigin::Default => (2, 0),
        }
    }
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueOrigin::Default => f.write_str("default"),
            ValueOrigin::Line { file, line } => write!(f, "{}:{line}", file.display()),
            ValueOrigin::File(file) => write!(f, "{}", file.display()),
            ValueOrigin::Option(option) => write!(f, "option {option}"),
        }
    }
}

/// One error or warning: where, what, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where it is.
    pub origin: ValueOrigin,
    /// What was found and what to write instead: one sentence, without any value that may be a secret.
    pub text: String,
}

/// Something that does not stop the manager, but that you should read.
pub type Warning = Diagnostic;

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            ValueOrigin::Default => f.write_str(&self.text),
            origin => write!(f, "{origin}: {}", self.text),
        }
    }
}

/// The errors and warnings about a configuration: reading continues after an error, so that all are reported at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    /// What is wrong.
    pub errors: Vec<Diagnostic>,
    /// One of them may explain an error.
    pub warnings: Vec<Warning>,
}

impl fmt::Display for Diagnostics {
    /// One sentence per line, without a newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.errors.iter().take(SHOWN).map(|error| (error.origin.place(), error.to_string()));
        let warnings = self.warnings.iter().take(SHOWN);
        let warnings = warnings.map(|warning| (warning.origin.place(), format!("{WARNING}{warning}")));
        let mut lines: Vec<((u8, usize), String)> = errors.chain(warnings).collect();
        // Stable: for the same line, errors come first.
        lines.sort_by_key(|(place, _)| *place);
        let mut lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
        for (found, what) in [(&self.errors, "errors"), (&self.warnings, "warnings")] {
            if let more @ 1.. = found.len().saturating_sub(SHOWN) {
                lines.push(format!("and {more} more {what}"));
            }
        }
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Diagnostics {}

/// The same on one line, for a log: the errors, and after them the warnings, which may explain one.
pub fn on_one_line(diagnostics: &str) -> String {
    let (warnings, errors): (Vec<&str>, Vec<&str>) = diagnostics.lines().partition(|line| line.starts_with(WARNING));
    let warnings: Vec<&str> = warnings.iter().filter_map(|line| line.strip_prefix(WARNING)).collect();
    let errors = errors.join("; ");
    match warnings.len() {
        0 => errors,
        1 => format!("{errors} (a warning: {})", warnings[0]),
        count => format!("{errors} ({count} warnings: {})", warnings.join("; ")),
    }
}

impl Diagnostics {
    pub(super) fn error(&mut self, origin: ValueOrigin, text: String) {
        self.errors.push(Diagnostic { origin, text });
    }

    pub(super) fn warn(&mut self, origin: ValueOrigin, text: String) {
        self.warnings.push(Diagnostic { origin, text });
    }

    /// Sorts both lists for the operator: the file from its top, then the options.
    pub(super) fn sort(&mut self) {
        self.errors.sort_by_key(|diagnostic| diagnostic.origin.place());
        self.warnings.sort_by_key(|diagnostic| diagnostic.origin.place());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sentence_per_line_and_an_end() {
        let file: Arc<Path> = Arc::from(Path::new("gm.ini"));
        let at = |line| Diagnostic { origin: ValueOrigin::Line { file: file.clone(), line }, text: "is wrong".into() };
        let errors = Diagnostics { errors: (1..=SHOWN + 2).map(at).collect(), warnings: Vec::new() };
        let text = errors.to_string();
        assert_eq!(text.lines().count(), SHOWN + 1);
        assert!(text.starts_with("gm.ini:1: is wrong\ngm.ini:2: is wrong\n"));
        assert!(text.ends_with("gm.ini:50: is wrong\nand 2 more errors"));
    }

    #[test]
    fn errors_do_not_hide_warnings() {
        let file: Arc<Path> = Arc::from(Path::new("gm.ini"));
        let at =
            |line, text: &str| Diagnostic { origin: ValueOrigin::Line { file: file.clone(), line }, text: text.into() };
        let option = Diagnostic { origin: ValueOrigin::Option("-D"), text: "is wrong".into() };
        let errors = Diagnostics {
            errors: vec![at(2, "is wrong"), at(9, "is wrong"), option],
            warnings: vec![at(1, "is odd"), at(2, "is odd")],
        };
        let lines = [
            "warning: gm.ini:1: is odd",
            "gm.ini:2: is wrong",
            "warning: gm.ini:2: is odd",
            "gm.ini:9: is wrong",
            "option -D: is wrong",
        ];
        assert_eq!(errors.to_string(), lines.join("\n"));
        let line = "gm.ini:2: is wrong; gm.ini:9: is wrong; option -D: is wrong (2 warnings: gm.ini:1: is odd; gm.ini:2: is odd)";
        assert_eq!(on_one_line(&errors.to_string()), line);
        assert_eq!(on_one_line("a\nb"), "a; b");
        assert_eq!(on_one_line("a\nwarning: b"), "a (a warning: b)");
    }

    #[test]
    fn a_finding_names_its_option() {
        let diagnostic = Diagnostic { origin: ValueOrigin::Option("-D"), text: "count is wrong".into() };
        assert_eq!(diagnostic.to_string(), "option -D: count is wrong");
    }
}
