//! The table of faults in docs/reliability.md: every test it names exists, and every code in a comment has its row.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The suites that are a directory; others are one file. `unit` tests stand beside the code.
const SUITES: [&str; 9] =
    ["author", "behaviour", "compat", "demo", "deploy", "jobserver", "ledger", "packaging", "support_itself"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// P1, M17 and the like.
fn is_code(word: &str) -> bool {
    let digits = word.strip_prefix(['P', 'M', 'S', 'H']).unwrap_or_default();
    (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0')
}

fn codes(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| is_code(word))
}

/// Code and last column of every row.
fn rows(page: &str) -> Vec<(&str, &str)> {
    page.lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
            is_code(cells[0]).then(|| {
                assert_eq!(cells.len(), 4, "not four columns: {line}");
                (cells[0], cells[3])
            })
        })
        .collect()
}

/// Files that may hold the tests of such a path, most of which do not exist.
fn files(suite: &str, module: &str) -> Vec<PathBuf> {
    let path = module.replace("::", "/");
    let names = match suite {
        "unit" => {
            let outer = path.strip_suffix("/tests").unwrap_or(&path);
            let all = [format!("{path}.rs"), format!("{outer}.rs"), format!("{outer}/mod.rs")];
            all.map(|name| format!("manager/{name}")).to_vec()
        }
        _ if SUITES.contains(&suite) && path.is_empty() => vec![format!("tests/{suite}/main.rs")],
        _ if SUITES.contains(&suite) => vec![format!("tests/{suite}/{path}.rs")],
        _ => vec![format!("tests/{suite}.rs")],
    };
    names.into_iter().map(|name| root().join(name)).collect()
}

/// Whether a file has a test of that name, also one made by the macro that `tests/jobserver` has.
fn has_test(text: &str, name: &str) -> bool {
    let (plain, made) = (format!("fn {name}() {{"), format!("fn {name}(server) {{"));
    let mut is_test = false;
    text.lines().map(str::trim).any(|line| {
        let found = line == made || (is_test && line.trim_start_matches("async ") == plain);
        is_test =
            line.starts_with("#[test]") || line.starts_with("#[tokio::test") || (is_test && line.starts_with("#["));
        found
    })
}

/// What is wrong with the name of a test.
pub fn complaint(test: &str) -> Option<String> {
    let Some((suite, path)) = test.split_once(' ') else { return Some(format!("{test}: no suite and path")) };
    let (module, name) = path.rsplit_once("::").unwrap_or(("", path));
    let texts: Vec<String> = files(suite, module).iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    match texts.iter().any(|text| has_test(text, name)) {
        true => None,
        false if texts.is_empty() => Some(format!("{test}: no such module")),
        false => Some(format!("{test}: no such test in that module")),
    }
}

/// What stands between backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Every code in a comment below a directory, with one file that has it.
fn cited(dir: &Path, found: &mut BTreeMap<String, PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            cited(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("packaging/faults.rs")
        {
            let text = fs::read_to_string(&path).unwrap();
            let comments = text.lines().filter_map(|line| line.split_once("//"));
            for code in comments.flat_map(|(_, comment)| codes(comment)) {
                found.entry(code.to_owned()).or_insert_with(|| path.clone());
            }
        }
    }
}

fn page() -> String {
    fs::read_to_string(root().join("docs/reliability.md")).unwrap()
}

#[test]
fn every_row_names_tests_that_exist_or_says_that_there_is_none() {
    let page = page();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for (code, shown_by) in rows(&page) {
        assert!(seen.insert(code), "two rows for {code}");
        let tests: Vec<&str> = quoted(shown_by).collect();
        let admits = ["No test yet", "Not built yet"].iter().any(|words| shown_by.starts_with(words));
        assert!(!tests.is_empty() || admits, "{code} has no test and does not say so");
        wrong.extend(tests.into_iter().filter_map(complaint).map(|why| format!("{code}: {why}")));
    }
    assert!(seen.len() > 50, "the tables were not found: {seen:?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_code_in_a_comment_has_its_row() {
    let page = page();
    let known: BTreeSet<&str> = rows(&page).into_iter().map(|(code, _)| code).collect();
    let mut found = BTreeMap::new();
    for dir in ["manager", "tests"] {
        cited(&root().join(dir), &mut found);
    }
    assert!(found.len() > 40, "the comments were not found: {found:?}");
    let unknown: Vec<_> = found.iter().filter(|(code, _)| !known.contains(code.as_str())).collect();
    assert!(unknown.is_empty(), "docs/reliability.md has no row for these: {unknown:#?}");
}

#[test]
fn names_that_are_wrong_are_found() {
    for wrong in [
        "behaviour deaths::a_test_that_never_was",
        "behaviour no_such_module::a_job_that_ends_its_worker_is_no_success_and_is_tried_again",
        "no_such_suite deaths::a_job_that_ends_its_worker_is_no_success_and_is_tried_again",
        // No test, but a helper of one.
        "behaviour deaths::death",
        "unit supervisor::backoff::tests::ms",
    ] {
        assert!(complaint(wrong).is_some(), "{wrong}");
    }
    assert_eq!(codes("P1, S9: also M17's; SP3, P123, H0, P4_x, x86").collect::<Vec<_>>(), ["P1", "S9", "M17"]);
}
