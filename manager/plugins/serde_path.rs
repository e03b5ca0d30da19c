//! Paths in messages, unchanged: as text if they are UTF-8, else as bytes. For `#[serde(with)]`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(untagged)]
enum Either {
    Text(String),
    Bytes(OsString),
}

pub(super) fn serialize<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    match path.to_str() {
        Some(text) => text.serialize(serializer),
        None => path.as_os_str().serialize(serializer),
    }
}

pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Ok(match Either::deserialize(deserializer)? {
        Either::Text(text) => text.into(),
        Either::Bytes(bytes) => bytes.into(),
    })
}
