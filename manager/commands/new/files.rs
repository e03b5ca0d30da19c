//! The files of a new crate. Pure.

use super::name::type_name;

/// The kind of a crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CrateKind {
    /// Keeps state from job to job.
    pub object: bool,
    /// Takes and returns JSON.
    pub json: bool,
}

/// Where it gets gm-plugin-api from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ApiSource {
    /// A source tree on this machine.
    Path(String),
    /// The project's repository.
    Git(&'static str),
}

/// Where the crate will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CrateLocation {
    /// No manifest of cargo's is above it.
    Alone,
    /// Below a workspace that it is no member of; cargo requires a line about that in its manifest.
    BelowWorkspace,
}

/// The path of each file in the crate's directory, and its content. `name` was checked.
pub(super) fn files(name: &str, kind: CrateKind, api: &ApiSource, place: CrateLocation) -> Vec<(String, String)> {
    let files = [
        ("Cargo.toml", manifest(name, kind, api, place)),
        ("src/lib.rs", source(name, kind)),
        ("README.md", readme(name, kind)),
        (".gitignore", "/target\n".into()),
    ];
    files.map(|(path, content)| (path.to_owned(), content)).into()
}

fn manifest(name: &str, kind: CrateKind, api: &ApiSource, place: CrateLocation) -> String {
    let from = match api {
        ApiSource::Path(path) => format!("path = {path:?}"),
        ApiSource::Git(url) => format!("git = {url:?}"),
    };
    let (features, serde) = match kind.json {
        true => (", features = [\"json\"]", "serde = { version = \"1.0\", features = [\"derive\"] }\n"),
        false => ("", ""),
    };
    let workspace = match place {
        CrateLocation::Alone => "",
        CrateLocation::BelowWorkspace => {
            "\n# No member of the workspace above; take this out to make it one.\n[workspace]\n"
        }
    };
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lib]\n\
         # The first is what gm-native loads, the second is for tests.\n\
         crate-type = [\"cdylib\", \"rlib\"]\n\n[dependencies]\n\
         gm-plugin-api = {{ {from}{features} }}\n{serde}{workspace}"
    )
}

fn source(name: &str, kind: CrateKind) -> String {
    let template = match kind {
        CrateKind { object: false, json: false } => include_str!("templates/function.rs"),
        CrateKind { object: false, json: true } => include_str!("templates/function_json.rs"),
        CrateKind { object: true, json: false } => include_str!("templates/object.rs"),
        CrateKind { object: true, json: true } => include_str!("templates/object_json.rs"),
    };
    let of = type_name(name);
    let named = if of == name {
        template.replace("#[function(name = \"my_function\")]", "#[function]")
    } else {
        template.into()
    };
    let text = named.replace("MyFunction", &of).replace("my_function", name);
    // A crate's name should be lower case, and this one has its function's name.
    let allow = match name.contains(|c: char| c.is_ascii_uppercase()) {
        true => "#![allow(non_snake_case)] // The function's name is the crate's.\n\n",
        false => "",
    };
    let (about, code) = text.split_once("\n\n").unwrap_or(("", &text));
    format!("{about}\n\n{allow}{code}")
}

fn readme(name: &str, kind: CrateKind) -> String {
    let (workload, answer) = match kind {
        CrateKind { json: false, .. } => ("a job for you", "4"),
        CrateKind { object: false, json: true } => (r#"{"text":"a job for you"}"#, r#"{"words":4}"#),
        CrateKind { object: true, json: true } => (r#"{"text":"a job for you"}"#, r#"{"words":4,"total":4}"#),
    };
    let settings = if kind.object { include_str!("templates/settings.md") } else { "" };
    include_str!("templates/README.md")
        .replace("my_settings\n", &format!("{settings}\n"))
        .replace("my_repository", env!("CARGO_PKG_REPOSITORY"))
        .replace("my_workload", workload)
        .replace("my_answer", answer)
        .replace("my_function", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, name: &str, object: bool, json: bool) -> String {
        let api = ApiSource::Path("/src/plugin-api".into());
        let files = files(name, CrateKind { object, json }, &api, CrateLocation::Alone);
        files.into_iter().find(|(found, _)| *found == path).unwrap().1
    }

    #[test]
    fn no_placeholder_is_left() {
        for name in ["word_count", "Sum"] {
            for (object, json) in [(false, false), (false, true), (true, false), (true, true)] {
                for path in ["Cargo.toml", "src/lib.rs", "README.md"] {
                    let text = file(path, name, object, json);
                    for placeholder in ["my_", "MyFunction"] {
                        assert!(!text.contains(placeholder), "{path} of {name}: {text}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_name_with_capitals_is_the_types_own() {
        let sum = file("src/lib.rs", "Sum", true, false);
        assert!(sum.contains("#[function]\nimpl Sum {") && sum.contains("\n\n#![allow(non_snake_case)]"), "{sum}");
        let word_count = file("src/lib.rs", "word_count", true, false);
        assert!(word_count.contains("#[function(name = \"word_count\")]\nimpl WordCount {"), "{word_count}");
        assert!(!word_count.contains("non_snake_case"));
    }

    #[test]
    fn the_manifest_says_where_the_api_is() {
        let path = file("Cargo.toml", "a", false, false);
        assert!(path.ends_with("gm-plugin-api = { path = \"/src/plugin-api\" }\n"), "{path}");
        let kind = CrateKind { object: false, json: true };
        let files = files("a", kind, &ApiSource::Git("https://x"), CrateLocation::BelowWorkspace);
        let git = &files[0].1;
        assert!(git.contains("gm-plugin-api = { git = \"https://x\", features = [\"json\"] }\nserde ="), "{git}");
        assert!(git.ends_with("[workspace]\n"), "{git}");
    }
}
