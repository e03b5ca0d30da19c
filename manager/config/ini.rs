//! The strict pass over the lines of an ini: each is blank, a comment, `[section]` or `key = value`; anything else is
//! an error with its line.
//!
//! It precedes rust-ini (see [`super::literal`]) because that parser misreads without an error: a bare key swallows the
//! next line, `[alpha` everything up to the next `]`. It also records the positions, which rust-ini does not keep.

use std::path::Path;
use std::sync::Arc;

use super::error::{Diagnostics, ValueOrigin};
use super::keys::KEYS;
use super::literal::{self, Environment, is_comment};
use super::text::{decode, is_foreign, quoted};

/// The manager's own section; case does not matter.
pub(super) const MANAGER: &str = "GearmanManager";

/// Whose keys a section holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    /// `[GearmanManager]`.
    Manager,
    /// The section of the function of that name.
    Function(String),
}

impl Section {
    fn named(name: &str) -> Section {
        match name.eq_ignore_ascii_case(MANAGER) {
            true => Section::Manager,
            false => Section::Function(name.to_owned()),
        }
    }

    /// The name between the brackets.
    pub(super) fn name(&self) -> &str {
        match self {
            Section::Manager => MANAGER,
            Section::Function(name) => name,
        }
    }
}

/// One `key = value` line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IniEntry {
    pub section: Section,
    pub key: String,
    /// Written as `key[] = value`.
    pub list: bool,
    pub value: String,
    pub line: usize,
}

/// A file's content, in the order of its lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Document {
    pub sections: Vec<(Section, usize)>,
    pub entries: Vec<IniEntry>,
}

/// What one line is.
#[derive(Debug, PartialEq, Eq)]
enum IniLine<'a> {
    Nothing,
    Section(&'a str),
    Entry { key: &'a str, list: bool, value: &'a str },
}

/// Parses the file. Reports and skips lines that are wrong, and takes the others.
pub(super) fn parse(file: &Arc<Path>, bytes: &[u8], env: Environment, diagnostics: &mut Diagnostics) -> Document {
    if let Some(problem) = no_text(bytes) {
        diagnostics.error(ValueOrigin::File(file.clone()), problem.into());
        return Document::default();
    }
    let text = decode(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
    let mut document = Document::default();
    for (index, line) in text.split('\n').enumerate() {
        let origin = ValueOrigin::Line { file: file.clone(), line: index + 1 };
        let taken = classify(line).and_then(|line| document.take(line, index + 1, env, &origin, diagnostics));
        if let Err(problem) = taken {
            diagnostics.error(origin, problem);
        }
    }
    if document.sections.is_empty() && diagnostics.errors.is_empty() {
        // A file truncated by a full disk must not start a manager with the defaults.
        diagnostics
            .error(ValueOrigin::File(file.clone()), format!("no configuration found: write at least [{MANAGER}]"));
    }
    document
}

/// Why this is no text at all: one error instead of one for every line.
fn no_text(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Some("the file is UTF-16; save it as UTF-8");
    }
    bytes.contains(&0).then_some("the file contains NUL bytes, so it is not an ini; name the text file")
}

fn classify(line: &str) -> Result<IniLine<'_>, String> {
    let line = line.trim();
    if line.is_empty() || is_comment(line) {
        return Ok(IniLine::Nothing);
    }
    if let Some(c) = line.chars().find(|c| c.is_ascii_control() && *c != '\t') {
        return Err(match c {
            '\r' => "there is a carriage return inside the line; save the file with Unix line ends".into(),
            c => format!("the control byte 0x{:02x} is in the line; remove it", u32::from(c)),
        });
    }
    match line.strip_prefix('[') {
        Some(rest) => section(rest),
        None => entry(line),
    }
}

/// `rest` is what follows the opening bracket.
fn section(rest: &str) -> Result<IniLine<'_>, String> {
    let Some((name, after)) = rest.split_once(']') else {
        return Err(format!("the section is not closed; write [{}]", quoted_bare(first_word(rest))));
    };
    let name = name.trim();
    if name.is_empty() {
        return Err(format!("the section has no name; write [{MANAGER}] or the name of a function"));
    }
    if name.contains('[') || is_foreign(name) {
        return Err(format!("{} is not a section name; write it in UTF-8, without brackets", quoted(name)));
    }
    match after.trim() {
        "" => Ok(IniLine::Section(name)),
        after if is_comment(after) => Ok(IniLine::Section(name)),
        _ => Err(format!("text follows [{}]; write it on the next line", quoted_bare(name))),
    }
}

fn entry(line: &str) -> Result<IniLine<'_>, String> {
    let Some((key, value)) = line.split_once('=') else {
        // Quotes only the name of a key: the line may be part of a secret that spans several lines.
        let word = first_word(line).trim_end_matches(':');
        let named = KEYS.iter().find(|key| key.name == word).map(|key| format!(" with {}", quoted(key.name)));
        let named = named.unwrap_or_default();
        return Err(format!("the line{named} is neither a comment nor [section] nor key = value; write one of these"));
    };
    let key = key.trim();
    let (name, list) = match key.strip_suffix("[]") {
        Some(name) => (name.trim_end(), true),
        None => (key, false),
    };
    if name.is_empty() {
        return Err("there is no key before the \"=\"; write key = value".into());
    }
    if name.contains(['[', ']']) || is_foreign(name) {
        return Err(format!("{} is not a key name; a list is written key[] = value", quoted(name)));
    }
    Ok(IniLine::Entry { key: name, list, value: value.trim() })
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

/// As [`quoted`], for a name that is already in brackets.
fn quoted_bare(text: &str) -> String {
    quoted(text).trim_matches('"').to_owned()
}

impl Document {
    /// Adds a line; `Err` says what is wrong with it.
    fn take(
        &mut self,
        line: IniLine<'_>,
        number: usize,
        env: Environment,
        origin: &ValueOrigin,
        diagnostics: &mut Diagnostics,
    ) -> Result<(), String> {
        match line {
            IniLine::Nothing => Ok(()),
            IniLine::Section(name) => {
                let section = Section::named(name);
                let before = self.sections.iter().find(|(known, _)| *known == section).map(|(_, line)| *line);
                self.sections.push((section, number));
                // PHP uses the last section of a name, other parsers merge them; both lose or gain keys without a
                // warning.
                match before {
                    None => Ok(()),
                    Some(before) => Err(format!("[{name}] began on line {before} already; move these keys there")),
                }
            }
            IniLine::Entry { key, list, value } => {
                let Some((section, _)) = self.sections.last() else {
                    return Err(format!("{key} comes before any section; write [{MANAGER}] above it"));
                };
                let section = section.clone();
                let value =
                    literal::read(value, env, &mut |note| diagnostics.warn(origin.clone(), format!("{key}: {note}")))
                        .map_err(|problem| format!("{key}: {problem}"))?;
                self.entries.push(IniEntry { section, key: key.to_owned(), list, value, line: number });
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (Document, Diagnostics) {
        let mut diagnostics = Diagnostics::default();
        let file: Arc<Path> = Arc::from(Path::new("gm.ini"));
        let document = parse(&file, bytes, &|_| None, &mut diagnostics);
        (document, diagnostics)
    }

    /// `line` of the file; `error` is a part of its text.
    fn refused(bytes: &[u8], line: usize, error: &str) {
        let (_, diagnostics) = read(bytes);
        let text = ConfigText(&diagnostics.errors).to_string();
        assert!(diagnostics.errors.len() == 1, "one error for {bytes:?}, not {text}");
        let place = format!("gm.ini:{line}: ");
        assert!(text.starts_with(&place) && text.contains(error), "{place}...{error}... for {bytes:?}, not {text}");
    }

    struct ConfigText<'a>(&'a [super::super::error::Diagnostic]);
    impl std::fmt::Display for ConfigText<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.iter().try_for_each(|diagnostic| write!(f, "{diagnostic}"))
        }
    }

    #[test]
    fn takes_what_an_ini_is() {
        let (document, diagnostics) = read(
            b"\xef\xbb\xbf; a comment\r\n  # another\r\n\r\n [ gearmanMANAGER ] ; the manager\r\n\
                   count=3\r\n\thost[] = a\n[f g]\nx=",
        );
        assert!(diagnostics.errors.is_empty() && diagnostics.warnings.is_empty(), "{diagnostics:?}");
        let function = Section::Function("f g".into());
        assert_eq!(document.sections, [(Section::Manager, 4), (function.clone(), 7)]);
        let entry = |section: &Section, key: &str, list, value: &str, line| IniEntry {
            section: section.clone(),
            key: key.into(),
            list,
            value: value.into(),
            line,
        };
        assert_eq!(
            document.entries,
            [
                entry(&Section::Manager, "count", false, "3", 5),
                entry(&Section::Manager, "host", true, "a", 6),
                entry(&function, "x", false, "", 8),
            ]
        );
    }

    #[test]
    fn refuses_every_other_line_with_its_number() {
        for (bytes, line, error) in [
            (&b"[m]\ncount\nhost = a"[..], 2, "the line with \"count\" is neither a comment"),
            (b"[m]\ncount: 2", 2, "the line with \"count\" is neither a comment"),
            (b"[m]\npassword hunter2", 2, "the line is neither a comment"),
            (b"[m]\n= 3", 2, "there is no key before"),
            (b"[alpha\n[m]\na = 1]", 1, "not closed; write [alpha]"),
            (b"[]\n", 1, "has no name"),
            (b"[a[b]\n", 1, "is not a section name"),
            (b"[caf\xe9]\n", 1, "is not a section name"),
            (b"[a] count = 3", 1, "text follows [a]"),
            (b"[m]\ncaf\xe9 = 3", 2, "is not a key name"),
            (b"[m]\na[x] = 3", 2, "a list is written key[] = value"),
            (b"count = 3\n[m]", 1, "comes before any section"),
            (b"[m]\na = 1\r b = 2", 2, "carriage return"),
            (b"[m]\na = \x1b[31m", 2, "control byte 0x1b"),
            (b"[a]\nx = 1\n[b]\n[a]\ny = 2", 4, "[a] began on line 1"),
            (b"[GearmanManager]\n[gearmanmanager]", 2, "began on line 1"),
            (b"[m]\na = \"open\nb = 2", 2, "a: the quote is not closed"),
        ] {
            refused(bytes, line, error);
        }
    }

    #[test]
    fn what_is_no_text_or_empty_is_one_error() {
        for bytes in [&b"\x7fELF\0\0\n\n\n"[..], b"\xff\xfea\0", b"", b"\n; only a comment\n"] {
            let (document, diagnostics) = read(bytes);
            assert_eq!(document, Document::default());
            assert_eq!(diagnostics.errors.len(), 1, "{bytes:?}");
            assert!(matches!(diagnostics.errors[0].origin, ValueOrigin::File(_)));
        }
    }

    #[test]
    fn a_secret_in_a_broken_line_is_not_repeated() {
        let (_, diagnostics) = read(
            b"[f]\nsetting.password = \"hunter2\nsetting.key = 'x' hunter2\npass hunter2\n\
                   setting.pem = \"-----BEGIN\nhunter2\n-----END\"",
        );
        assert_eq!(diagnostics.errors.len(), 6);
        assert!(!ConfigText(&diagnostics.errors).to_string().contains("hunter2"));
    }

    /// Any bytes become entries or errors, and every line that is neither empty nor wrong appears once.
    #[test]
    fn any_lines_are_taken_or_refused() {
        let parts =
            ["[a]", "[b", "x = 1", "y[] = \"q\"", "z", "= 2", "; c", "\"", "'", "\\", "\r", "]", "=", " ", "\u{e9}"];
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let lines: Vec<String> = (0..rng.usize(0..8))
                .map(|_| (0..rng.usize(0..4)).map(|_| parts[rng.usize(..parts.len())]).collect())
                .collect();
            let (document, diagnostics) = read(lines.join("\n").as_bytes());
            for (index, line) in lines.iter().enumerate() {
                let number = index + 1;
                let entries = document.entries.iter().filter(|entry| entry.line == number).count();
                let errors = diagnostics
                    .errors
                    .iter()
                    .filter(|error| matches!(error.origin, ValueOrigin::Line { line, .. } if line == number))
                    .count();
                let expected = match classify(line) {
                    Ok(IniLine::Nothing) => entries + errors == 0,
                    Ok(IniLine::Section(_)) => entries == 0,
                    Ok(IniLine::Entry { .. }) => entries + errors == 1,
                    Err(_) => entries == 0 && errors == 1,
                };
                assert!(expected, "{lines:?} line {number}: {entries} entries, {errors} errors");
            }
        }
    }
}
