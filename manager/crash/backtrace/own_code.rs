//! Which code is the plugin's own.

use std::path::{Path, PathBuf};

use crate::system::worker_program;

/// Where the plugin's files are.
#[derive(Debug, Clone)]
pub(crate) struct OwnCode {
    places: Vec<PathBuf>,
}

/// Directories of the system's libraries. Code in a plugin that is from there is a header's.
const SYSTEM: [&str; 4] = ["/usr/", "/lib/", "/lib64/", "/rustc/"];
/// In the paths of the standard library's sources, and of the plugin interface's.
const FOREIGN_SOURCES: [&str; 4] =
    ["/lib/rustlib/src/rust/library/", "/plugin-api/src/", "/gm-plugin-api-", "/abi_stable-"];
/// Crates that every plugin contains.
const FOREIGN_CRATES: [&str; 5] = ["std::", "core::", "alloc::", "gm_plugin_api::", "abi_stable::"];
/// Functions of Rust's runtime, whose names are no paths.
const FOREIGN_FUNCTIONS: [&str; 6] =
    ["rust_panic", "__rust_", "__rustc::", "rust_begin_unwind", "rust_eh_personality", "__rdl_"];

/// The type to which `#[function]` ties a function.
const GLUE: &str = "::_::Exported as gm_plugin_api::";

impl OwnCode {
    /// Everything in a directory that has only plugins in it and what they bring along.
    pub(crate) fn in_directory(directory: &Path) -> Self {
        Self { places: [directory].into_iter().flat_map(both_names).collect() }
    }

    /// A library, and what is beside it unless that is a directory of the system's.
    pub(crate) fn of_library(library: &Path) -> Self {
        let is_system = |path: &Path| SYSTEM.iter().any(|system| path.starts_with(system));
        let directory = library.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned));
        let directory = directory.filter(|directory| !is_system(directory) && *directory != Path::new("/"));
        Self { places: both_names(library).chain(directory).collect() }
    }

    /// How large tables for debuggers are read of a file. Those of gm-native explain nothing, and others' little.
    pub(super) fn tables_max(&self, path: &str) -> u64 {
        const OTHERS: u64 = 64 << 20;
        let is_program = |program: PathBuf| {
            Path::new(path) == program || Path::new(path) == program.with_file_name(worker_program::NAME)
        };
        if self.contains(path) {
            u64::MAX
        } else if std::env::current_exe().is_ok_and(is_program) {
            0
        } else {
            OTHERS
        }
    }

    /// Whether a mapped file is the plugin's.
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.places.iter().any(|place| Path::new(path).starts_with(place))
    }
}

/// As it was named, and without links, as the kernel names it.
fn both_names(path: &Path) -> impl Iterator<Item = PathBuf> {
    [Some(path.to_owned()), path.canonicalize().ok()].into_iter().flatten()
}

/// Whether code in a plugin's file is what its author wrote, or is from a crate that the author chose.
pub(super) fn is_own(function: Option<&str>, file: Option<&str>) -> bool {
    let is_foreign_source = |file: &str| {
        SYSTEM.iter().any(|system| file.starts_with(system)) || FOREIGN_SOURCES.iter().any(|part| file.contains(part))
    };
    let is_foreign_function = |function: &str| {
        // `<core::panic::AssertUnwindSafe<F> as core::ops::FnOnce<()>>::call_once`
        let path = function.trim_start_matches(['<', '&']);
        FOREIGN_CRATES.iter().any(|of| path.starts_with(of))
            || function.contains(GLUE)
            || FOREIGN_FUNCTIONS.iter().any(|of| function.starts_with(of))
    };
    !file.is_some_and(is_foreign_source) && !function.is_some_and(is_foreign_function)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_plugins_own() {
        for (function, file, own) in [
            (Some("resize::parse"), Some("src/lib.rs"), true),
            (Some("parse"), Some("/home/me/resize/parse.c"), true),
            (Some("serde_json::de::parse"), Some("/home/me/.cargo/registry/src/i/serde_json-1.0/src/de.rs"), true),
            (None, None, true),
            (Some("core::ptr::write_volatile"), Some("/rustc/1234/library/core/src/ptr/mod.rs"), false),
            (Some("parse"), Some("/home/me/.rustup/toolchains/t/lib/rustlib/src/rust/library/core/src/a.rs"), false),
            (Some("<core::panic::AssertUnwindSafe<F> as core::ops::FnOnce<()>>::call_once"), None, false),
            (Some("std::process::abort"), None, false),
            (Some("__rustc::rust_begin_unwind"), None, false),
            (Some("rust_panic"), None, false),
            (Some("gm_plugin_api::run::run"), Some("/src/gm-native/plugin-api/src/run.rs"), false),
            (Some("<resize::_::Exported as gm_plugin_api::glue::Plain>::run"), Some("src/lib.rs"), false),
            (Some("<resize::Resize as gm_plugin_api::Function>::run"), Some("src/lib.rs"), true),
            (Some("std::vector<int>::at"), Some("/usr/include/c++/12/bits/stl_vector.h"), false),
            (Some("stdlib_of_mine"), Some("src/stdlib.c"), true),
        ] {
            assert_eq!(is_own(function, file), own, "{function:?} {file:?}");
        }
    }

    #[test]
    fn files_of_the_plugin() {
        let store = OwnCode::in_directory(Path::new("/state/store"));
        assert!(store.contains("/state/store/abc/f.so") && !store.contains("/state/storey/f.so"));
        assert!(!store.contains("/usr/lib/libc.so.6") && !store.contains("[vdso]") && !store.contains(""));
        let system = OwnCode::of_library(Path::new("/usr/lib/f.so"));
        assert!(system.contains("/usr/lib/f.so") && !system.contains("/usr/lib/libc.so.6"));
    }
}
