//! What cargo records beside a library: the files it is made from, of the crate and its path dependencies.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders of the packages whose files a library is made from. Empty if cargo has recorded nothing: then changes of
/// dependencies are not noticed. Reads a small file, and blocks for that long.
pub(super) fn packages(library: &Path) -> BTreeSet<PathBuf> {
    let Ok(text) = fs::read_to_string(library.with_extension("d")) else { return BTreeSet::new() };
    let output = library.parent().unwrap_or(library);
    // A build script's files are in cargo's output, and change with each build.
    let files = files(&text).into_iter().filter(|file| !file.starts_with(output));
    files.filter_map(|file| Some(package(&file)?.to_owned())).collect()
}

/// The files after the colon, in make's syntax: a space in a name is preceded by a backslash. Pure.
fn files(text: &str) -> Vec<PathBuf> {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    let whole =
        lines.flat_map(|(_, files)| files.replace("\\ ", "\0").split(' ').map(str::to_owned).collect::<Vec<_>>());
    whole.filter(|file| !file.is_empty()).map(|file| file.replace('\0', " ").into()).collect()
}

/// The nearest folder above with a manifest.
fn package(file: &Path) -> Option<&Path> {
    file.ancestors().skip(1).find(|dir| dir.join("Cargo.toml").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_make_reads_them() {
        let text = "/t/libf.so: /f/src/lib.rs /a\\ b/src/x.rs\n\n/t/libf.rlib:\n";
        assert_eq!(files(text), [PathBuf::from("/f/src/lib.rs"), "/a b/src/x.rs".into()]);
    }

    #[test]
    fn a_librarys_packages() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["f/src", "dep/src/deep", "out"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::write(at("f/Cargo.toml"), "").unwrap();
        fs::write(at("dep/Cargo.toml"), "").unwrap();
        let files = ["f/src/lib.rs", "dep/src/deep/x.rs", "dep/src/lib.rs", "out/made.rs", "elsewhere.rs"];
        let files: Vec<_> = files.iter().map(|name| at(name).display().to_string()).collect();
        fs::write(at("out/libf.d"), format!("libf.so: {}", files.join(" "))).unwrap();
        assert_eq!(packages(&at("out/libf.so")), BTreeSet::from([at("dep"), at("f")]));
        assert_eq!(packages(&at("out/libg.so")), BTreeSet::new());
    }
}
