//! Recognises a file that was read before without reading it again.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

/// Device, inode, size and both times of a file. Equal means unchanged: no writer can set ctime. Different only means
/// that its content has to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Device number of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the content: seconds since 1970 and nanoseconds.
    pub mtime: (i64, i64),
    /// Last change of content or inode: seconds since 1970 and nanoseconds.
    pub ctime: (i64, i64),
}

impl FileIdentity {
    /// From a file's metadata.
    pub fn of(meta: &Metadata) -> Self {
        FileIdentity {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.size(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}
