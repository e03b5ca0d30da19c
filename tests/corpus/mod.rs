//! Libraries that are wrong, one small source each, with the sentence that is expected of the manager beside it.
//!
//! A source in `plugins/` begins with comment lines: what is wrong with it; optionally `name:` (its file name; else the
//! stem of the source, with `.so`), `build:` (shell lines that make `$OUT` from `$SRC` in a directory `$TMP` of its
//! own, with gm-plugin-api in `$API` and what it needs in `$DEPS`; else the compiler's plain call) and `expect:` (the
//! sentence that follows the file's path; `…` stands for anything). To add a case is to add a file. What no compiler
//! makes is in `made.rs`.
//!
//! [`cases`] builds what is out of date, once, however many tests ask at a time. A case is a file in a directory of its
//! own: copy it, link it or point worker_dir at it.
#![allow(dead_code)] // each test uses its part of it
#![allow(clippy::unwrap_used)] // these are tests, though not marked so

mod made;
pub mod probe;

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One way of being wrong.
#[derive(Debug, Clone)]
pub struct Case {
    /// The function its file name stands for.
    pub function: String,
    /// The file (or what is there in its place).
    pub path: PathBuf,
    /// The sentence that follows the file's path. `…` stands for anything.
    pub expect: String,
}

impl Case {
    /// Whether a sentence is the expected one.
    pub fn matches(&self, sentence: &str) -> bool {
        let mut parts = self.expect.split('…');
        let Some(mut rest) = parts.next().and_then(|first| sentence.strip_prefix(first)) else { return false };
        let mut end = "";
        for part in parts {
            end = part;
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.is_empty() || (self.expect.contains('…') && sentence.ends_with(end))
    }
}

/// Every case, built.
pub fn cases() -> Vec<Case> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("corpus");
    fs::create_dir_all(&dir).unwrap();
    let lock = File::create(dir.join("lock")).unwrap();
    lock.lock().unwrap();
    let mut cases: Vec<Case> = sources().iter().map(|source| compiled(source, &dir)).collect();
    let whole = find(&cases, "returns").path.clone();
    cases.extend(made::cases(&dir, &whole));
    cases.extend(fixtures(&dir));
    cases
}

/// The case of this function.
pub fn find<'a>(cases: &'a [Case], function: &str) -> &'a Case {
    cases.iter().find(|case| case.function == function).unwrap_or_else(|| panic!("no case {function}"))
}

/// A library that is served, and its function: the example.
pub fn good() -> (PathBuf, &'static str) {
    (beside("libreverse_string.so"), "reverse_string")
}

/// What cargo built for the tests lies beside them.
fn beside(name: &str) -> PathBuf {
    std::env::current_exe().unwrap().with_file_name(name)
}

/// Entries that only gm-plugin-api's fixtures can make, each under a file name of its own.
fn fixtures(dir: &Path) -> Vec<Case> {
    let other = "is built for interface …, this manager knows …; build it with the gm-plugin-api of this release, or \
                 update gm-native";
    let differs = "differs from interface …, which it claims to be built for; build it with the gm-plugin-api of this \
                   release";
    let another = "exports other_abi_stable as an entry of … bytes, which has … here; build it with the gm-plugin-api of \
                   this release";
    let bytes = fs::read(beside("libgm_plugin_fixtures.so")).unwrap();
    let cases = [
        ("newer", other),
        ("newer_major", other),
        ("older_major", other),
        ("no_version", other),
        ("other_layout", differs),
        ("other_abi_stable", another),
    ];
    cases.map(|(name, expect)| made::file(dir, name, &bytes, expect)).to_vec()
}

/// The directory this case has to itself, created if it does not exist.
fn place(dir: &Path, name: &str) -> PathBuf {
    let place = dir.join(name);
    fs::create_dir_all(&place).unwrap();
    place
}

fn sources() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/plugins");
    let mut sources: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    sources.retain(|path| path.extension().is_some_and(|ending| ending == "c" || ending == "rs"));
    sources.sort();
    sources
}

fn compiled(source: &Path, dir: &Path) -> Case {
    let text = fs::read_to_string(source).unwrap();
    let comments: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("// ")).collect();
    let field = |key: &str| comments.iter().filter_map(|line| line.strip_prefix(key)).collect::<Vec<_>>();
    let stem = source.file_stem().unwrap().to_str().unwrap();
    let name = field("name: ").first().map_or_else(|| format!("{stem}.so"), |name| (*name).to_owned());
    let expect = field("expect: ").join(" ");
    assert!(!expect.is_empty(), "{} has no expect: line", source.display());
    let build = match field("build: ") {
        lines if lines.is_empty() => "cc -shared -fPIC -o $OUT $SRC".to_owned(),
        lines => lines.join("\n"),
    };
    let path = place(dir, stem).join(&name);
    make(source, &text, &build, &path);
    let stem = name.strip_suffix(".so").unwrap();
    Case { function: stem.strip_prefix("lib").unwrap_or(stem).to_owned(), path, expect }
}

/// gm-plugin-api as cargo built it last.
pub fn api() -> PathBuf {
    let is_api = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("libgm_plugin_api-") && name.ends_with(".rlib")
    };
    let built = fs::read_dir(beside("")).unwrap().map(|entry| entry.unwrap().path()).filter(is_api);
    built.max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap()).expect("the example needs it")
}

/// Builds, unless it was built from the same text before.
fn make(source: &Path, text: &str, build: &str, out: &Path) {
    let mut hasher = DefaultHasher::new();
    let shared = fs::read_to_string(source.with_file_name("entry.h")).unwrap();
    let api = api();
    let built = build.contains("$API").then(|| fs::metadata(&api).unwrap().modified().unwrap());
    (text, build, shared, built).hash(&mut hasher);
    let key = format!("{:016x}", hasher.finish());
    let tmp = out.with_extension("build");
    if out.exists() && fs::read_to_string(tmp.join("key")).is_ok_and(|built| built == key) {
        return;
    }
    fs::create_dir_all(&tmp).unwrap();
    let done = Command::new("sh")
        .args(["-ec", build])
        .env("SRC", source)
        .env("OUT", out)
        .env("TMP", &tmp)
        .env("API", api)
        .env("DEPS", beside(""))
        .current_dir(&tmp)
        .output()
        .expect("the corpus is built by sh");
    let words = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{} could not be built by:\n{build}\n{words}", source.display());
    fs::write(tmp.join("key"), key).unwrap();
}
