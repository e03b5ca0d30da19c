//! Formats what `check` prints about a file. Pure.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;

use super::{Checked, UnusableFile};
use crate::commands::output::OutputFormat;
use crate::logging::escape;
use crate::plugins::display_path::{DisplayPath, clipped};
use crate::plugins::glibc::GlibcVersion;
use crate::plugins::name::FunctionName;
use crate::plugins::report::LoadableLibrary;

/// One file, for people or as a line of JSON.
pub(super) fn render(file: &Path, checked: &Checked, format: OutputFormat) -> String {
    match (format, checked) {
        (OutputFormat::Json, checked) => json(file, checked),
        (OutputFormat::Text, Ok((function, found))) => text(file, function, found),
        (OutputFormat::Text, Err(reason)) => format!("{} {}\n", DisplayPath(file), escape(&reason.sentence)),
    }
}

/// A line of JSON. The meaning of its fields is stable.
#[derive(Serialize)]
struct ReportLine<'a> {
    file: String,
    usable: bool,
    #[serde(flatten)]
    what: ReportItem<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ReportItem<'a> {
    Usable {
        function: &'a str,
        functions: &'a [String],
        form: &'static str,
        interface: &'a str,
        crate_version: &'a str,
        compiler: &'a str,
        unwinds: bool,
        size: u64,
        version: String,
        sha256: String,
        needs: &'a [String],
        beside: Vec<String>,
        glibc: Option<&'a str>,
        has_go: bool,
        warning: Option<&'static str>,
    },
    Unusable {
        reason: &'a str,
        detail: Option<&'a str>,
    },
}

fn json(file: &Path, checked: &Checked) -> String {
    let what = match checked {
        Ok((function, found)) => ReportItem::Usable {
            function: function.as_str(),
            functions: &found.functions,
            form: form(found).0,
            interface: &found.interface,
            crate_version: &found.version,
            compiler: &found.compiler,
            unwinds: found.unwinds,
            size: found.source.size,
            version: found.hash.short().to_string(),
            sha256: found.hash.to_string(),
            needs: &found.needed,
            beside: beside(found),
            glibc: found.glibc.as_deref(),
            has_go: found.has_go,
            warning: found.warning(),
        },
        Err(UnusableFile { sentence, detail }) => ReportItem::Unusable { reason: sentence, detail: detail.as_deref() },
    };
    let line = ReportLine { file: file.to_string_lossy().into_owned(), usable: checked.is_ok(), what };
    format!("{}\n", serde_json::to_string(&line).unwrap_or_default())
}

/// The libraries that are stored with it.
fn beside(found: &LoadableLibrary) -> Vec<String> {
    found.siblings.iter().map(|sibling| clipped(sibling.path.as_os_str().as_bytes(), 200)).collect()
}

/// The form of the function, in one word and in a few more.
fn form(found: &LoadableLibrary) -> (&'static str, &'static str) {
    match found.object {
        true => ("object", "object: made once in each worker, used from job to job"),
        false => ("function", "function: nothing is kept from job to job"),
    }
}

fn text(file: &Path, function: &FunctionName, found: &LoadableLibrary) -> String {
    let known = |text: &str| if text.is_empty() { "not known".to_owned() } else { text.to_owned() };
    let glibc = match (&found.glibc, GlibcVersion::running()) {
        (Some(needed), Some(here)) => format!("{needed} or newer; here is {here}"),
        (Some(needed), None) => format!("{needed} or newer"),
        (None, _) => "any".into(),
    };
    let rows = [
        ("functions", found.functions.join(", ")),
        ("form", form(found).1.into()),
        ("crate", known(&found.version)),
        ("interface", found.interface.clone()),
        ("compiler", known(&found.compiler)),
        ("size", format!("{} bytes", found.source.size)),
        ("version", found.hash.short().to_string()),
        ("sha256", found.hash.to_string()),
        ("needs", if found.needed.is_empty() { "no library".into() } else { found.needed.join(", ") }),
        ("glibc", glibc),
    ];
    let mut out = format!("{} serves {function}\n", DisplayPath(file));
    let beside = beside(found);
    let beside = (!beside.is_empty()).then(|| ("beside", format!("{}: stored with it", beside.join(", "))));
    let go = found.has_go.then(|| ("runtime", "Go's, so it gets workers of its own".to_owned()));
    let warning = found.warning().map(|text| ("warning", format!("it {text}")));
    for (name, value) in rows.into_iter().chain(go).chain(beside).chain(warning) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {name:<11}{}", escape(&value));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::content_hash::ContentHash;
    use crate::plugins::identity::FileIdentity;

    fn found() -> LoadableLibrary {
        LoadableLibrary {
            hash: ContentHash::of_reader(&b"abc"[..]).unwrap(),
            elsewhere: Vec::new(),
            siblings: Vec::new(),
            source: FileIdentity { dev: 1, ino: 1, size: 4321, mtime: (0, 0), ctime: (0, 0) },
            name: "Sum".into(),
            functions: vec!["Avg".into(), "Sum".into()],
            version: "0.1.0".into(),
            interface: "1.0".into(),
            compiler: String::new(),
            unwinds: false,
            has_go: false,
            object: true,
            needed: vec!["libgcc_s.so.1".into(), "libc.so.6".into()],
            glibc: None,
        }
    }

    #[test]
    fn a_usable_library() {
        let checked = Ok((FunctionName::new("Sum").unwrap(), found()));
        let text = render(Path::new("a\n/libSum.so"), &checked, OutputFormat::Text);
        assert_eq!(
            text,
            "a\\n/libSum.so serves Sum\n  functions  Avg, Sum\n  form       object: made once in each worker, used from \
             job to job\n  crate      0.1.0\n  interface  1.0\n  compiler   not known\n  size       4321 bytes\n  \
             version    ba7816bf8f01\n  sha256     \
             ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n  needs      libgcc_s.so.1, \
             libc.so.6\n  glibc      any\n  warning    it is a panic = \"abort\" build: a panic in a job ends its worker \
             instead of failing the job; remove that line from its Cargo.toml profile\n"
        );
        let line: serde_json::Value =
            serde_json::from_str(&render(Path::new("x.so"), &checked, OutputFormat::Json)).unwrap();
        assert_eq!((&line["usable"], &line["form"], &line["size"]), (&true.into(), &"object".into(), &4321.into()));
    }

    /// The library itself states its version and its compiler.
    #[test]
    fn text_of_a_library_starts_no_line() {
        let found = LoadableLibrary { version: "1\n  warning    none\x1b[2J".into(), ..found() };
        let checked = Ok((FunctionName::new("Sum").unwrap(), found));
        let text = render(Path::new("x.so"), &checked, OutputFormat::Text);
        assert!(text.contains("  crate      1\\n  warning    none\\x1b[2J\n"), "{text}");
    }

    #[test]
    fn one_that_is_none() {
        let checked = Err(UnusableFile { sentence: "is empty; copy it again".into(), detail: None });
        assert_eq!(render(Path::new("x.so"), &checked, OutputFormat::Text), "x.so is empty; copy it again\n");
        let json = r#"{"file":"x.so","usable":false,"reason":"is empty; copy it again","detail":null}"#;
        assert_eq!(render(Path::new("x.so"), &checked, OutputFormat::Json).trim_end(), json);
    }
}
