//! A job's result, where the library has put it.

use std::ops::Deref;
use std::ptr::NonNull;

use gm_plugin_api::abi::RVec;
use gm_plugin_api::c_abi::ReleaseFn;

use crate::system::fork;

/// The bytes of a result. They are sent from where they lie, and freed by the library's own allocator.
#[derive(Debug)]
pub enum ResultBytes {
    /// In a vector: of a Rust library, or a copy made here.
    Vector(RVec<u8>),
    /// Handed over by a library in C.
    HandedOver(HandedOver),
}

/// Memory that a library has handed over, with the function that frees it.
#[derive(Debug)]
pub struct HandedOver {
    start: NonNull<u8>,
    size: usize,
    release: Option<ReleaseFn>,
}

// SAFETY: whoever made the value promised that it may be read and released on any thread, and nothing changes it.
unsafe impl Send for HandedOver {}

impl HandedOver {
    /// Takes the memory over.
    ///
    /// # Safety
    /// `size` bytes from `start` on, at most `isize::MAX`, can be read until `release` is called, and do not change.
    /// `release` may be called on any thread.
    pub(super) unsafe fn new(start: NonNull<u8>, size: usize, release: Option<ReleaseFn>) -> Self {
        Self { start, size, release }
    }
}

impl Drop for HandedOver {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: whoever made the value promised that it may be called, and it is called once.
            unsafe { release(self.start.as_ptr().cast()) };
            fork::exit_if_child();
        }
    }
}

impl Deref for ResultBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Vector(bytes) => bytes,
            // SAFETY: whoever made the value promised that the bytes are there.
            Self::HandedOver(bytes) => unsafe { std::slice::from_raw_parts(bytes.start.as_ptr(), bytes.size) },
        }
    }
}

impl Default for ResultBytes {
    fn default() -> Self {
        Self::Vector(RVec::new())
    }
}

impl From<Vec<u8>> for ResultBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Vector(bytes.into())
    }
}
