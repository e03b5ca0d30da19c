//! Comma lists: directories and names of functions.

use std::fmt::Display;
use std::path::PathBuf;

use super::text::{from_path, to_path};
use super::value::ValueForm;

/// The items of a comma list, trimmed, without empty ones.
pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Joins items to a comma list.
pub(super) fn join<T: Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

/// Directories. The name of one cannot contain a comma, as in GearmanManager.
pub(super) const DIRECTORIES: ValueForm<Vec<PathBuf>> = ValueForm {
    read: directories,
    show: |dirs| join(&dirs.iter().map(|dir| from_path(dir)).collect::<Vec<_>>()),
    example: "./workers,/opt/workers",
};

fn directories(text: &str) -> Result<Vec<PathBuf>, String> {
    let dirs: Vec<PathBuf> = items(text).map(to_path).collect();
    if dirs.is_empty() { Err("no directory is named".into()) } else { Ok(dirs) }
}

/// Names of functions.
pub(super) const NAMES: ValueForm<Vec<String>> = ValueForm {
    read: |text| Ok(items(text).map(str::to_owned).collect()),
    show: |names| join(names),
    example: "reverse_string,fetch_url",
};

/// Names of functions, or `*` for all of them, which is an empty list.
pub(super) const NAMES_OR_ALL: ValueForm<Vec<String>> = ValueForm {
    read: |text| if items(text).any(|item| item == "*") { Ok(Vec::new()) } else { (NAMES.read)(text) },
    show: |names| if names.is_empty() { "*".into() } else { join(names) },
    example: "*",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_trimmed() {
        assert_eq!((NAMES.read)(" a, b c ,,d "), Ok(vec!["a".into(), "b c".into(), "d".into()]));
        assert_eq!((NAMES.read)(""), Ok(vec![]));
        assert_eq!((NAMES_OR_ALL.read)("*"), Ok(vec![]));
        assert_eq!((NAMES_OR_ALL.read)("a,*"), Ok(vec![]));
        assert_eq!((NAMES_OR_ALL.show)(&vec![]), "*");
        assert_eq!((DIRECTORIES.read)("./a, /b"), Ok(vec!["./a".into(), "/b".into()]));
    }

    #[test]
    fn a_directory_keeps_its_bytes() {
        let text = super::super::text::decode(b"./caf\xe9");
        let dirs = (DIRECTORIES.read)(&text).expect("a directory");
        assert_eq!(dirs[0].as_os_str().as_encoded_bytes(), b"./caf\xe9");
        assert_eq!((DIRECTORIES.show)(&dirs), text);
    }
}
