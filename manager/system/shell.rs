//! Quotes words for a shell, in commands that we print.

use std::ffi::OsStr;

/// A word quoted so that a shell reads it back. Bytes that are not UTF-8 become the replacement character.
pub(crate) fn for_shell(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "-_./,:=@%+".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.into_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_every_word_back() {
        for word in ["gm.ini", "/srv/a b/gm.ini", "it's", "$HOME", "", "-c", "*", "a;b", "gr\u{fc}n", "a\\b", "~x"] {
            let script = format!("printf %s {}", for_shell(OsStr::new(word)));
            let out = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&out.stdout), word, "{script}");
        }
    }
}
