//! The text after the `=`, as PHP's ini reader reads it: quotes, comments, `${NAME}`.
//!
//! rust-ini parses it, one line at a time, so that nothing it misreads (an open quote, a backslash at the end) can
//! reach the next line. If it and PHP disagree, this module decides, with a warning if that changes a value.

use super::text::quoted;

/// The environment, as a function: this layer does no IO.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Whether a text begins a comment.
pub(super) fn is_comment(text: &str) -> bool {
    text.starts_with([';', '#'])
}

/// The value of a line. `note` receives what a user may not expect; `Err` says what is wrong, never with the value
/// itself, which may be a secret.
pub(super) fn read(raw: &str, env: Environment, note: &mut dyn FnMut(String)) -> Result<String, String> {
    match raw.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let text = rust_ini(whole_quote(raw, quote)?)?;
            // PHP: single quotes keep everything as it is.
            if quote == '\'' { Ok(text) } else { expand(&text, true, env, note) }
        }
        _ => {
            let text = rust_ini(before_comment(raw, note))?;
            expand(&text, false, env, note)
        }
    }
}

/// The one parser of values: trims, removes quotes, ends at ` #` and ` ;`. Leaves escapes to [`expand`].
fn rust_ini(value: &str) -> Result<String, String> {
    let line = format!("value = {value}");
    let ini = ini::Ini::load_from_str_noescape(&line).map_err(|error| format!("cannot be read: {}", error.msg))?;
    Ok(ini.general_section().get("value").unwrap_or_default().to_owned())
}

/// `raw` up to and including its closing quote. A backslash keeps the next character from closing it.
fn whole_quote(raw: &str, quote: char) -> Result<&str, String> {
    let mut chars = raw.char_indices().skip(1);
    let mut end = None;
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            end = Some(at + 1);
            break;
        }
    }
    let Some((value, after)) = end.and_then(|end| raw.split_at_checked(end)) else {
        return Err(format!(
            "the quote is not closed on its line; end the value with {quote} (after a backslash: \\\\)"
        ));
    };
    match after.trim_start() {
        "" => Ok(value),
        after if is_comment(after) => Ok(value),
        _ => Err("text follows the closing quote; put the whole value into one pair of quotes".into()),
    }
}

/// A bare value up to a `;`, with or without a space before it: so does PHP, while rust-ini requires the space.
fn before_comment<'a>(raw: &'a str, note: &mut dyn FnMut(String)) -> &'a str {
    let Some((value, _)) = raw.split_once(';') else { return raw };
    if value.ends_with(|c: char| !c.is_whitespace()) {
        note("the value ends at the \";\", which begins a comment; put the value in quotes to keep it whole".into());
    }
    value
}

/// Expands variables: `${NAME}`, or `${NAME:-default}`. With `escapes`, `\"` is a quote, `\$` a dollar and `\\` a
/// backslash, as in PHP's double quotes; other backslashes stay.
fn expand(text: &str, escapes: bool, env: Environment, note: &mut dyn FnMut(String)) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '$']) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        if let Some(variable) = special.strip_prefix("${") {
            let (name, after) = variable.split_once('}').ok_or("a \"${\" has no \"}\"; write ${NAME}")?;
            out.push_str(&value_of(name, env, note)?);
            rest = after;
            continue;
        }
        let mut chars = special.chars();
        let first = chars.next();
        match chars.clone().next() {
            Some(escaped @ ('"' | '$' | '\\')) if escapes && first == Some('\\') => {
                chars.next();
                out.push(escaped);
            }
            _ => out.extend(first),
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    Ok(out)
}

fn value_of(variable: &str, env: Environment, note: &mut dyn FnMut(String)) -> Result<String, String> {
    let (name, fallback) = match variable.split_once(":-") {
        Some((name, fallback)) => (name, Some(fallback)),
        None => (variable, None),
    };
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!("{} is not the name of an environment variable; write ${{NAME}}", quoted(name)));
    }
    Ok(env(name).or_else(|| fallback.map(str::to_owned)).unwrap_or_else(|| {
        note(format!(
            "the environment variable {name} is not set and is taken as empty; ${{{name}:-value}} has a default"
        ));
        String::new()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }

    fn value(raw: &str) -> (Result<String, String>, Vec<String>) {
        let mut notes = Vec::new();
        let value = read(raw, &env, &mut |note| notes.push(note));
        (value, notes)
    }

    /// Checked against PHP 8.2's `parse_ini_file`, except for the rows with `#` and the default of a variable (8.3).
    #[test]
    fn values_as_php_reads_them() {
        for (raw, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("two words", "two words"),
            ("10 ; ten", "10"),
            ("10 # ten", "10"),
            ("a#b", "a#b"),
            ("\"a ; b # c\" ; d", "a ; b # c"),
            ("\"a\";d", "a"),
            ("' a ' # d", " a "),
            ("\"x\\\"y\"", "x\"y"),
            ("\"x\\\\y\"", "x\\y"),
            ("\"x\\ny\"", "x\\ny"),
            ("\"C:\\\\\"", "C:\\"),
            ("C:\\", "C:\\"),
            ("x\\ny", "x\\ny"),
            ("${HOME}/x", "/root/x"),
            ("\"${HOME}/${HOME}\"", "/root//root"),
            ("\"\\${HOME}\"", "${HOME}"),
            ("'${HOME}'", "${HOME}"),
            ("${HOME:-x}", "/root"),
            ("${NOPE:-x y}", "x y"),
            ("${NOPE:-}", ""),
            ("$HOME", "$HOME"),
            ("5$", "5$"),
            ("it's", "it's"),
            ("a=b", "a=b"),
            ("mysql:host=a", "mysql:host=a"),
        ] {
            let (value, notes) = value(raw);
            assert_eq!(value.as_deref(), Ok(expected), "{raw}");
            assert_eq!(notes, [""; 0], "{raw}");
        }
    }

    #[test]
    fn what_changes_a_value_is_warned_of() {
        for (raw, expected, note) in
            [("10;ten", "10", "begins a comment"), ("${NOPE}x", "x", "NOPE is not set and is taken as empty")]
        {
            let (value, notes) = value(raw);
            assert_eq!(value.as_deref(), Ok(expected));
            assert!(notes.len() == 1 && notes[0].contains(note), "{notes:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_value() {
        for (raw, error) in [
            ("\"open", "not closed"),
            ("'open", "not closed"),
            ("'C:\\'", "not closed"),
            ("\"a\" b", "text follows"),
            ("\"a\"b", "text follows"),
            ("${HOME", "has no \"}\""),
            ("${}", "is not the name of"),
            ("${a b}", "is not the name of"),
        ] {
            let (value, _) = value(raw);
            assert!(value.as_ref().is_err_and(|text| text.contains(error)), "{raw}: {value:?}");
        }
    }
}
