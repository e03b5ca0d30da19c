//! What cargo notes beside a library: the files it is made of, those of the crate and of its path dependencies.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders of the packages whose files a library is made of. Nothing where cargo has noted nothing: then changes of
/// dependencies go unnoticed, and that is all. Reads a small file, and blocks that long.
pub(super) fn packages(library: &Path) -> BTreeSet<PathBuf> {
    let Ok(text) = fs::read_to_string(library.with_extension("d")) else { return BTreeSet::new() };
    let output = library.parent().unwrap_or(library);
    // A build script's files lie in cargo's output; they change with each build.
    let files = files(&text).into_iter().filter(|file| !file.starts_with(output));
    files.filter_map(|file| Some(package(&file)?.to_owned())).collect()
}

/// The files behind the colon, as make reads them: a blank in a name has a backslash before it. Pure.
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
