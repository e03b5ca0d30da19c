//! Checks the name of a new crate or folder, which is also that of a function and of a library's file. Pure.

use crate::cli::command_args::Language;

/// The longest name: with `lib`, `.so` and what cargo appends it must fit a file's name.
const LONGEST: usize = 200;

/// Keywords, which cannot name a crate or a function.
const KEYWORDS: [&str; 52] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "Self", "static", "struct", "super", "trait",
    "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Crates that the new one uses under these names, or that the compiler provides; and names in its own code.
const TAKEN: [&str; 12] =
    ["std", "core", "alloc", "test", "proc_macro", "gm_plugin_api", "serde", "tests", "Ok", "Err", "Some", "None"];

/// The same in C and C++. An entry is a symbol of C in every language but Rust.
const C_KEYWORDS: &[&str] = &[
    "alignas",
    "alignof",
    "and",
    "asm",
    "auto",
    "bitand",
    "bitor",
    "bool",
    "break",
    "case",
    "catch",
    "char",
    "class",
    "co_await",
    "co_return",
    "co_yield",
    "compl",
    "concept",
    "const",
    "constexpr",
    "continue",
    "decltype",
    "default",
    "delete",
    "do",
    "double",
    "else",
    "enum",
    "explicit",
    "export",
    "extern",
    "false",
    "final",
    "float",
    "for",
    "friend",
    "goto",
    "if",
    "import",
    "inline",
    "int",
    "long",
    "module",
    "mutable",
    "namespace",
    "new",
    "noexcept",
    "not",
    "nullptr",
    "operator",
    "or",
    "override",
    "private",
    "protected",
    "public",
    "register",
    "requires",
    "restrict",
    "return",
    "short",
    "signed",
    "sizeof",
    "static",
    "struct",
    "switch",
    "template",
    "this",
    "thread_local",
    "throw",
    "true",
    "try",
    "typedef",
    "typeid",
    "typename",
    "typeof",
    "union",
    "unsigned",
    "using",
    "virtual",
    "void",
    "volatile",
    "wchar_t",
    "while",
    "xor",
    "defined",
    "linux",
    "unix",
];

/// Names of the templates in C, and of the headers that they include.
const C_TAKEN: &[&str] = &[
    "assert",
    "calloc",
    "create",
    "exit",
    "free",
    "gm",
    "gm_job",
    "gm_plugin",
    "index",
    "main",
    "malloc",
    "printf",
    "run",
    "state",
    "std",
    "stderr",
    "strcmp",
    "test",
    "memcpy",
];

/// Types in the templates, which the object's own type must differ from.
const TYPES: [&str; 15] = [
    "Answer",
    "Context",
    "Default",
    "Deserialize",
    "Failure",
    "Job",
    "JobResult",
    "Json",
    "Log",
    "Question",
    "Result",
    "Serialize",
    "Settings",
    "String",
    "TestObject",
];

/// Whether a crate, or a folder in another language, can have this name.
///
/// # Errors
/// One sentence, with a valid name if there is an obvious one.
pub(super) fn check(name: &str, language: Language) -> Result<(), String> {
    let what = if language == Language::Rust { "a function's crate" } else { "a function" };
    let wrong = |why: String| Err(format!("{name:?} cannot be the name of {what}: {why}"));
    if name.is_empty() || name.chars().all(|c| c == '_') {
        return wrong("it has no letter".into());
    }
    if let Some(odd) = name.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '_') {
        let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let plain = plain.trim_matches('_');
        let hint = if check(plain, language).is_ok() { format!(", such as {plain}") } else { String::new() };
        return wrong(format!("it contains {odd:?}; use letters, digits and _{hint}"));
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return wrong("it begins with a digit; begin with a letter".into());
    }
    if name.len() > LONGEST {
        return wrong(format!("it has {} characters, and {LONGEST} are the most", name.len()));
    }
    let (keywords, taken, of) = match language {
        Language::Rust => (&KEYWORDS[..], &TAKEN[..], "Rust"),
        Language::C => (C_KEYWORDS, C_TAKEN, "C"),
        Language::Cpp => (C_KEYWORDS, C_TAKEN, "C++"),
        // Its entry is in C.
        Language::Go => (C_KEYWORDS, C_TAKEN, "C"),
        // The name is a text in its source, and a file beside gm.zig.
        Language::Zig => (&[][..], &["gm"][..], "Zig"),
    };
    if keywords.contains(&name) {
        return wrong(format!("it is a word of the {of} language; choose another"));
    }
    if taken.contains(&name) {
        return wrong(format!("{of} has something of that name already; choose another"));
    }
    Ok(())
}

/// The type of the object form: `word_count` becomes `WordCount`, `Sum` stays.
pub(super) fn type_name(name: &str) -> String {
    let capital = |part: &str| part[..1].to_ascii_uppercase() + &part[1..];
    let camel: String = name.split('_').filter(|part| !part.is_empty()).map(capital).collect();
    // `_9` is a valid name, `9` is not.
    let camel = if camel.starts_with(|c: char| c.is_ascii_digit()) { format!("F{camel}") } else { camel };
    if TYPES.contains(&camel.as_str()) || check(&camel, Language::Rust).is_err() { camel + "Function" } else { camel }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "fetch_url", "Sum", "_x9", "v2", &"n".repeat(200)] {
            assert_eq!(check(good, Language::Rust), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "it has no letter"),
            ("__", "it has no letter"),
            ("fetch-url", "it contains '-'; use letters, digits and _, such as fetch_url"),
            ("some/where", "it contains '/'; use letters, digits and _, such as some_where"),
            ("../x", "it contains '.'; use letters, digits and _, such as x"),
            ("gr\u{f6}\u{df}e", "it contains '\u{f6}'; use letters, digits and _, such as gr__e"),
            ("-", "it contains '-'; use letters, digits and _"),
            ("9lives", "it begins with a digit; begin with a letter"),
            ("match", "it is a word of the Rust language; choose another"),
            ("std", "Rust has something of that name already; choose another"),
            (&"n".repeat(201), "it has 201 characters, and 200 are the most"),
        ] {
            let expected = format!("{bad:?} cannot be the name of a function's crate: {why}");
            assert_eq!(check(bad, Language::Rust), Err(expected));
        }
    }

    #[test]
    fn names_in_other_languages() {
        for name in ["match", "crate", "word_count"] {
            assert_eq!(check(name, Language::C), Ok(()), "{name}");
        }
        for (name, language, why) in [
            ("int", Language::C, "it is a word of the C language; choose another"),
            ("template", Language::Cpp, "it is a word of the C++ language; choose another"),
            ("main", Language::C, "C has something of that name already; choose another"),
            ("a b", Language::C, "it contains ' '; use letters, digits and _, such as a_b"),
        ] {
            assert_eq!(check(name, language), Err(format!("{name:?} cannot be the name of a function: {why}")));
        }
    }

    #[test]
    fn types() {
        for (name, expected) in [
            ("word_count", "WordCount"),
            ("Sum", "Sum"),
            ("fetch_url2", "FetchUrl2"),
            ("_9", "F9"),
            ("job", "JobFunction"),
            ("self_", "SelfFunction"),
            ("ok", "OkFunction"),
        ] {
            assert_eq!(type_name(name), expected);
        }
    }
}
