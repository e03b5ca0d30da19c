//! A packet for a peer, or the text that answers an administrative command.

use std::rc::Rc;

use crate::gearman::packet::{ArgumentError, HEADER_LEN, answer};

/// A reply to one connection. The data of a job is shared, not copied, however many clients wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReply {
    head: Vec<u8>,
    data: Option<Rc<[u8]>>,
}

impl ServerReply {
    /// What an encoder of [`answer`] makes; if it fails, an `ERROR` packet that says why.
    pub(super) fn packet(encode: impl FnOnce(&mut Vec<u8>) -> Result<(), ArgumentError>) -> Self {
        let mut head = Vec::new();
        if let Err(error) = encode(&mut head) {
            // Neither argument contains a NUL, and both are short.
            let _ = answer::error(&mut head, b"INTERNAL_ERROR", error.to_string().as_bytes());
        }
        Self { head, data: None }
    }

    /// What an encoder of a packet's head makes, followed by the data.
    pub(super) fn with_data(
        data: &Rc<[u8]>,
        encode: impl FnOnce(&mut Vec<u8>, usize) -> Result<(), ArgumentError>,
    ) -> Self {
        let mut head = Vec::new();
        match encode(&mut head, data.len()) {
            Ok(()) => Self { head, data: Some(Rc::clone(data)) },
            Err(error) => Self::packet(|_| Err(error)),
        }
    }

    /// Wakes a worker.
    pub(super) fn noop() -> Self {
        Self { head: answer::NOOP.to_vec(), data: None }
    }

    /// There is nothing for a worker.
    pub(super) fn no_job() -> Self {
        Self { head: answer::NO_JOB.to_vec(), data: None }
    }

    /// A job failed.
    pub(super) fn fail(handle: &[u8]) -> Self {
        Self::packet(|buf| answer::work_fail(buf, handle))
    }

    /// A job failed, in the form in which gearmand 1.1.x forwards it from a worker that ends the handle with a NUL.
    /// Clients of that age then wait forever: better found here than with the real server.
    pub(super) fn fail_with_nul(handle: &[u8]) -> Self {
        let mut failure = Self::fail(handle);
        failure.head.push(0);
        let len = failure.head.len() - HEADER_LEN;
        // A handle of this server is short.
        if let (Ok(len), Some(field)) = (u32::try_from(len), failure.head.get_mut(HEADER_LEN - 4..HEADER_LEN)) {
            field.copy_from_slice(&len.to_be_bytes());
        }
        failure
    }

    /// An `ERROR` packet.
    pub(super) fn error(code: &str, text: &str) -> Self {
        Self::packet(|buf| answer::error(buf, code.as_bytes(), text.as_bytes()))
    }

    /// Bytes that are no packet.
    pub(super) fn text(text: Vec<u8>) -> Self {
        Self { head: text, data: None }
    }

    /// How many bytes it is.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no answer is empty")]
    pub fn len(&self) -> usize {
        self.head.len() + self.data.as_ref().map_or(0, |data| data.len())
    }

    /// Its bytes, copied into one piece.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.head, self.data.as_deref().unwrap_or_default()].concat()
    }

    /// Its bytes in two pieces; the second is shared.
    pub(super) fn into_parts(self) -> (Vec<u8>, Option<Rc<[u8]>>) {
        (self.head, self.data)
    }
}
