//! The files of a new folder for a function in another language than Rust: sources, tests and a Makefile. Pure.
//!
//! `copied/` has links to files of plugin-api: cargo packages the files themselves with this crate, which plugin-api is
//! no part of.

use super::name::type_name;
use crate::cli::command_args::Language;

const GM_PLUGIN_H: (&str, &str) = ("include/gm_plugin.h", include_str!("copied/gm_plugin.h"));
const GM_PLUGIN_HPP: (&str, &str) = ("include/gm_plugin.hpp", include_str!("copied/gm_plugin.hpp"));
const GM_TESTING_H: (&str, &str) = ("include/gm_testing.h", include_str!("copied/gm_testing.h"));

/// What a language needs. `my_function` in names and contents stands for the function's name.
struct Template {
    language: &'static str,
    /// Name and content, with and without state.
    sources: &'static [(&'static str, &'static str, &'static str)],
    makefile: &'static str,
    gitignore: &'static str,
    notes: &'static str,
    /// Copied as they are, so that the folder builds where gm-native is not installed.
    copied: &'static [(&'static str, &'static str)],
}

const C: Template = Template {
    language: "C",
    sources: &[
        ("my_function.c", include_str!("templates/c/function.c"), include_str!("templates/c/object.c")),
        ("test_my_function.c", include_str!("templates/c/test_function.c"), include_str!("templates/c/test_object.c")),
    ],
    makefile: include_str!("templates/c/Makefile"),
    gitignore: "/build\n*.so\n",
    notes: include_str!("templates/c/notes.md"),
    copied: &[GM_PLUGIN_H, GM_TESTING_H],
};

const CPP: Template = Template {
    language: "C++",
    sources: &[
        ("my_function.cc", include_str!("templates/cpp/function.cc"), include_str!("templates/cpp/object.cc")),
        (
            "test_my_function.cc",
            include_str!("templates/cpp/test_function.cc"),
            include_str!("templates/cpp/test_object.cc"),
        ),
    ],
    makefile: include_str!("templates/cpp/Makefile"),
    copied: &[GM_PLUGIN_H, GM_PLUGIN_HPP, GM_TESTING_H],
    ..C
};

const GO: Template = Template {
    language: "Go",
    sources: &[
        ("my_function.go", include_str!("templates/go/function.go"), include_str!("templates/go/object.go")),
        (
            "my_function_test.go",
            include_str!("templates/go/function_test.go"),
            include_str!("templates/go/object_test.go"),
        ),
        ("go.mod", include_str!("templates/go/go.mod"), include_str!("templates/go/go.mod")),
    ],
    makefile: include_str!("templates/go/Makefile"),
    notes: include_str!("templates/go/notes.md"),
    copied: &[
        ("gm/gm.go", include_str!("copied/gm.go")),
        ("gm/gm_go.h", include_str!("copied/gm_go.h")),
        ("gm/gm_plugin.h", GM_PLUGIN_H.1),
        ("gm/job.go", include_str!("copied/job.go")),
        ("gm/testing.go", include_str!("copied/testing.go")),
        ("gm/worker.go", include_str!("copied/worker.go")),
    ],
    ..C
};

const ZIG: Template = Template {
    language: "Zig",
    sources: &[(
        "my_function.zig",
        include_str!("templates/zig/function.zig"),
        include_str!("templates/zig/object.zig"),
    )],
    makefile: include_str!("templates/zig/Makefile"),
    gitignore: "/build\n.zig-cache\n*.so\n",
    notes: include_str!("templates/zig/notes.md"),
    copied: &[("gm.zig", include_str!("copied/gm.zig"))],
};

/// The path of each file in the folder, and its content. `name` was checked.
pub(super) fn files(name: &str, language: Language, object: bool) -> Vec<(String, String)> {
    let template = match language {
        Language::C | Language::Rust => C,
        Language::Cpp => CPP,
        Language::Go => GO,
        Language::Zig => ZIG,
    };
    let mut class = type_name(name);
    if class == name {
        class += "Function";
    }
    let named = |text: &str| text.replace("MyFunction", &class).replace("my_function", name);
    let sources = template
        .sources
        .iter()
        .map(|(path, function, with_state)| (named(path), named(if object { with_state } else { function })));
    let settings = if object { include_str!("templates/settings.md") } else { "" };
    let readme = include_str!("templates/make_readme.md")
        .replace("my_settings\n", &format!("{settings}\n"))
        .replace("my_repository", env!("CARGO_PKG_REPOSITORY"))
        .replace("my_language", template.language)
        .replace("my_notes\n", template.notes);
    let rest = [
        ("Makefile".into(), named(template.makefile)),
        ("README.md".into(), named(&readme)),
        (".gitignore".into(), template.gitignore.into()),
    ];
    let copied = template.copied.iter().map(|(path, content)| ((*path).into(), (*content).into()));
    sources.chain(rest).chain(copied).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_placeholder_is_left() {
        for language in [Language::C, Language::Cpp, Language::Go, Language::Zig] {
            for (name, object) in [("word_count", false), ("Sum", true)] {
                for (path, text) in files(name, language, object) {
                    if !["include/", "gm/", "gm.zig"].iter().any(|copied| path.starts_with(copied)) {
                        assert!(!path.contains("my_") && !text.contains("my_"), "{path}: {text}");
                        assert!(!text.contains("MyFunction"), "{path}: {text}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_class_is_called_otherwise_than_its_function() {
        let files = files("Sum", Language::Cpp, true);
        assert!(files[0].1.contains("GM_CLASS(Sum, SumFunction);"), "{}", files[0].1);
    }
}
