//! The messages between the manager and a probe: one JSON document in one message of a SOCK_SEQPACKET socket.
//!
//! The nonce reaches the probe in the request, over that socket and not in its arguments or environment, and is read
//! before the library is loaded: what a constructor writes to all descriptors is no report.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::content_hash::ContentHash;
use super::identity::FileIdentity;
use super::name::FunctionName;
use super::permissions::FilePolicy;
use super::rejection::Rejection;
use super::siblings::{Sibling, SiblingPlace};

/// The most messages about libraries beside the candidate.
const MAX_PARTS: usize = 8;

/// The most messages a probe sends: the places beside the library, the start of loading, and its report. The manager
/// stops reading from a probe that sends more.
pub const MAX_WORDS: usize = MAX_PARTS + 2;

/// Longest message in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Manager to probe: check this file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// Returned in every message. Cannot be guessed.
    pub nonce: String,
    /// The file, by an absolute path.
    #[serde(with = "super::serde_path")]
    pub candidate: PathBuf,
    /// The function it has to serve.
    pub function: FunctionName,
    /// What precedes the function's name in its symbol.
    pub prefix: String,
    /// Where to put the copy: a name that does not exist yet, from [`super::store::Store::incoming`].
    #[serde(with = "super::serde_path")]
    pub copy_to: PathBuf,
    /// `max_plugin_size`, in bytes.
    pub max_size: u64,
    /// Who may own the file; `None`: permissions are not strict.
    pub file_policy: Option<FilePolicy>,
}

/// Probe to manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeMessage {
    /// Where the library looks for other libraries, in as many messages as that needs. Not sent if there is no such
    /// place.
    Beside {
        /// The request's.
        nonce: String,
        /// Each place once.
        beside: Vec<SiblingPlace>,
    },
    /// From here on the library's own code runs: if the probe dies now, that is the library's doing.
    Loading {
        /// The request's.
        nonce: String,
    },
    /// The last message.
    Report(Box<ProbeReport>),
}

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// The request's.
    pub nonce: String,
    /// A version that can be served, or why not.
    pub result: Result<LoadableLibrary, Rejection>,
}

/// A library that loads here and fits the interface. Its copy is where the request asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadableLibrary {
    /// The hash of the copy and its siblings.
    pub hash: ContentHash,
    /// The libraries that were beside it and are beside the copy now.
    pub siblings: Vec<Sibling>,
    /// The libraries loaded with it from elsewhere, except those that this program has loaded anyway.
    pub elsewhere: Vec<String>,
    /// The candidate as it was copied.
    pub source: FileIdentity,
    /// The function's name in the library.
    pub name: String,
    /// The functions it exports with the prefix, by name; if there are very many, only the first.
    pub functions: Vec<String>,
    /// Version of the crate it comes from.
    pub version: String,
    /// The interface it was built for, such as `1.0`.
    pub interface: String,
    /// The compiler that built it; empty if unknown.
    pub compiler: String,
    /// False for a `panic = "abort"` build, in which a panic ends the worker.
    pub unwinds: bool,
    /// True for the object form.
    pub object: bool,
    /// It brings Go's runtime along, so no other library may be loaded beside it.
    #[serde(default)]
    pub has_go: bool,
    /// The shared libraries it needs.
    pub needed: Vec<String>,
    /// The newest glibc that its symbols need.
    pub glibc: Option<String>,
}

impl LoadableLibrary {
    /// What its author should know although it works: a sentence that follows the file's path.
    pub fn warning(&self) -> Option<&'static str> {
        (!self.unwinds).then_some(
            "is a panic = \"abort\" build: a panic in a job ends its worker instead of failing the job; remove that \
             line from its Cargo.toml profile",
        )
    }
}

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
pub enum BadMessage {
    /// Too long to send, or longer than anything that is sent.
    #[error("a message of {0} bytes, and {MAX_MESSAGE} is the most")]
    TooLong(usize),
    /// Not what was expected.
    #[error("not a message of the probe: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// The bytes of one message.
///
/// # Errors
/// Longer than [`MAX_MESSAGE`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, BadMessage> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_MESSAGE { Err(BadMessage::TooLong(bytes.len())) } else { Ok(bytes) }
}

/// Decodes a message, which may come from anyone.
///
/// # Errors
/// Longer than [`MAX_MESSAGE`], or not of that type.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadMessage> {
    if bytes.len() > MAX_MESSAGE {
        return Err(BadMessage::TooLong(bytes.len()));
    }
    Ok(serde_json::from_slice(bytes)?)
}

/// Splits the places where a library looks for others into messages that can be sent.
///
/// # Errors
/// [`Rejection::TooManyPlaces`] if that needs more messages than the manager reads.
pub(super) fn parts(nonce: &str, looked: &[SiblingPlace]) -> Result<Vec<ProbeMessage>, Rejection> {
    // Each is sent with the nonce and a few names.
    let room = MAX_MESSAGE - 1024;
    let mut parts: Vec<Vec<SiblingPlace>> = Vec::new();
    let mut left = 0;
    for one in looked {
        let size = serde_json::to_vec(one).map_or(usize::MAX, |bytes| bytes.len().saturating_add(1));
        if size > room {
            return Err(Rejection::TooManyPlaces);
        }
        if size > left {
            parts.push(Vec::new());
            left = room;
        }
        left -= size;
        parts.last_mut().into_iter().for_each(|part| part.push(one.clone()));
    }
    if parts.len() > MAX_PARTS {
        return Err(Rejection::TooManyPlaces);
    }
    Ok(parts.into_iter().map(|beside| ProbeMessage::Beside { nonce: nonce.to_owned(), beside }).collect())
}

/// The bytes of the last message. If the names in it are too long for a message, it reports that.
pub(super) fn last_word(report: ProbeReport) -> Result<Vec<u8>, BadMessage> {
    let nonce = report.nonce.clone();
    encode(&ProbeMessage::Report(Box::new(report))).or_else(|_| {
        encode(&ProbeMessage::Report(Box::new(ProbeReport { nonce, result: Err(Rejection::TooManyPlaces) })))
    })
}

/// Whether the message is a probe's last one.
pub fn is_report(message: &[u8]) -> bool {
    matches!(decode(message), Ok(ProbeMessage::Report(_)))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn orders_survive_the_way() {
        let order = ProbeRequest {
            nonce: "n".into(),
            candidate: OsStr::from_bytes(b"/srv/w\xffrkers/x.so").into(),
            function: FunctionName::new("x").unwrap(),
            prefix: "wk_".into(),
            copy_to: "/state/store/incoming/1".into(),
            max_size: 1 << 30,
            file_policy: Some(FilePolicy { run_uid: 33 }),
        };
        assert_eq!(decode::<ProbeRequest>(&encode(&order).unwrap()).unwrap(), order);
    }

    #[test]
    fn paths_of_any_bytes_survive_and_those_of_earlier_managers_are_read() {
        let beside = |path: &[u8]| SiblingPlace { path: OsStr::from_bytes(path).into(), identity: None };
        for path in [&b"/w/x.so"[..], b"/w/\xff\n\".so", "/w/\u{e4}\n".as_bytes(), b""] {
            assert_eq!(decode::<SiblingPlace>(&encode(&beside(path)).unwrap()).unwrap(), beside(path));
        }
        let earlier = br#"{"path":{"Unix":[47,119,47,120]},"identity":null}"#;
        assert_eq!(decode::<SiblingPlace>(earlier).unwrap(), beside(b"/w/x"));
    }

    #[test]
    fn what_one_message_cannot_carry_takes_several_or_is_refused() {
        let looked = |count: usize, length: usize| -> Vec<SiblingPlace> {
            let path = |number| format!("/{number:0length$}").into();
            (0..count).map(|number| SiblingPlace { path: path(number), identity: None }).collect()
        };
        for (count, length, fits) in [(0, 1, 0), (1, 4000, 1), (1000, 20, 1), (1000, 300, 6), (1000, 4000, usize::MAX)]
        {
            let looked = looked(count, length);
            match parts("n", &looked) {
                Ok(parts) => {
                    assert_eq!(parts.len(), fits);
                    let together = parts.into_iter().flat_map(|part| match decode(&encode(&part).unwrap()).unwrap() {
                        ProbeMessage::Beside { beside, .. } => beside,
                        other => panic!("{other:?}"),
                    });
                    assert_eq!(together.collect::<Vec<_>>(), looked);
                }
                Err(rejection) => assert_eq!((rejection, fits), (Rejection::TooManyPlaces, usize::MAX)),
            }
        }
        let long = ProbeReport { nonce: "n".into(), result: Err(Rejection::NotAFile("x".repeat(MAX_MESSAGE))) };
        let expected = ProbeReport { nonce: "n".into(), result: Err(Rejection::TooManyPlaces) };
        let word: ProbeMessage = decode(&last_word(long).unwrap()).unwrap();
        assert_eq!(word, ProbeMessage::Report(Box::new(expected)));
    }

    #[test]
    fn messages_are_bounded() {
        assert!(matches!(encode(&"x".repeat(MAX_MESSAGE)), Err(BadMessage::TooLong(_))));
        assert!(matches!(decode::<String>(&vec![b' '; MAX_MESSAGE + 1]), Err(BadMessage::TooLong(_))));
        assert!(decode::<ProbeMessage>(b"ok").is_err());
        assert!(decode::<ProbeMessage>(&vec![b'['; MAX_MESSAGE]).is_err());
    }
}
