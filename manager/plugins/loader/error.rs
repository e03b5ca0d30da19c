//! Why a library cannot be loaded.

use std::error::Error;
use std::path::PathBuf;

use gm_plugin_api::abi::{INTERFACE_MAJOR, INTERFACE_MINOR};

use super::c_plugin::CEntryError;

/// Why a library cannot be used: one sentence each, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// `dlopen` failed. libloading's own message is only "dlopen failed"; the loader's error is in its source.
    #[error("cannot load {path}: {}", dlopen_words(source))]
    Open {
        /// The file.
        path: PathBuf,
        /// The loader's refusal.
        source: libloading::Error,
    },
    /// The loader gave it another library instead of one that it brings along.
    #[error(
        "{path} brings {library} along, and another library of that name is loaded in this process already: build both \
         with the same one, or give them different sonames"
    )]
    NotItsOwn {
        /// The file.
        path: PathBuf,
        /// The library beside it.
        library: PathBuf,
    },
    /// The loader gave it a library that another function brings along, or that comes from elsewhere.
    #[error(
        "{path} needs {library}, and another library of that name is loaded in this process already, from {instead}: build \
         both with the same one, or give them different sonames"
    )]
    AnothersLibrary {
        /// The file.
        path: PathBuf,
        /// The library it was probed with.
        library: PathBuf,
        /// The library it got instead.
        instead: PathBuf,
    },
    /// No such symbol.
    #[error(
        "{path} exports no `{symbol}`: a library serves the functions it was built with, so its file's name and the \
         name of a #[function] in it must be the same"
    )]
    NoEntry {
        /// The file.
        path: PathBuf,
        /// The symbol looked for.
        symbol: String,
    },
    /// The symbol is something else.
    #[error("`{symbol}` in {path} is no entry of a gm-native plugin: build the library with gm-plugin-api")]
    NotAnEntry {
        /// The file.
        path: PathBuf,
        /// The symbol looked for.
        symbol: String,
    },
    /// An entry for C that is wrong.
    #[error("the entry `{symbol}` in {path} {wrong}")]
    CEntry {
        /// The file.
        path: PathBuf,
        /// The symbol looked for.
        symbol: String,
        /// What is wrong with it.
        wrong: CEntryError,
    },
    /// The versions are incompatible.
    #[error(
        "{path} is built for interface {built}, this manager knows {INTERFACE_MAJOR}.{INTERFACE_MINOR}: {}",
        advice(built)
    )]
    Interface {
        /// The file.
        path: PathBuf,
        /// The version it claims to be built for.
        built: String,
    },
    /// The versions are compatible but the types differ: a changed gm-plugin-api, or a compiler with another C ABI.
    #[error(
        "{path} differs from interface {INTERFACE_MAJOR}.{INTERFACE_MINOR}, which it claims to be built for: {ADVICE}"
    )]
    Layout {
        /// The file.
        path: PathBuf,
        /// The difference in full.
        report: String,
    },
}

const ADVICE: &str = "rebuild it with the gm-plugin-api of this release";

fn advice(built: &str) -> &'static str {
    match super::parse_version(built) {
        Some(built) if built > (INTERFACE_MAJOR, INTERFACE_MINOR) => {
            "update gm-native, or build with an older gm-plugin-api"
        }
        _ => ADVICE,
    }
}

impl LoadError {
    /// `abi_stable`'s report of a layout that differs, which is more than most people need.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Layout { report, .. } => Some(report),
            _ => None,
        }
    }
}

/// The error of `dlopen`.
fn dlopen_words(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}
