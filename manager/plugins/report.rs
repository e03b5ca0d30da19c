//! What the manager and a probe say to each other: one JSON document in one message of a SOCK_SEQPACKET socket.
//!
//! The nonce comes to the probe inside the order, over that socket and not over its arguments or environment, and has
//! been read before the library is loaded: what a constructor writes to every descriptor is no report.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::hash::ContentHash;
use super::identity::Identity;
use super::name::FunctionName;
use super::permissions::Trust;
use super::refusal::Refusal;
use super::siblings::{Beside, Sibling};

/// Most messages a probe sends: what it found beside the library, that it begins to load, and its report. Who sends more
/// is not heard out.
pub const MAX_WORDS: usize = 3;

/// Longest message in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Manager to probe: look at this file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeOrder {
    /// Comes back with every word. Not to be guessed.
    pub nonce: String,
    /// The file, by an absolute path.
    #[serde(with = "path")]
    pub candidate: PathBuf,
    /// The function it is to serve.
    pub function: FunctionName,
    /// What stands before the function's name in its symbol.
    pub prefix: String,
    /// Where the copy goes: a name that does not exist yet, from [`super::store::Store::incoming`].
    #[serde(with = "path")]
    pub copy_to: PathBuf,
    /// `max_plugin_size`, in bytes.
    pub max_size: u64,
    /// Whom the file may belong to; `None`: permissions are not strict.
    pub trust: Option<Trust>,
}

/// Probe to manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeWord {
    /// Where the library has other libraries looked for. Not sent where there is no such place.
    Beside {
        /// The order's.
        nonce: String,
        /// Each place once.
        beside: Vec<Beside>,
    },
    /// From here on the library's own code runs: what ends the probe now is its doing.
    Loading {
        /// The order's.
        nonce: String,
    },
    /// The last word.
    Report(Box<ProbeReport>),
}

/// What the probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// The order's.
    pub nonce: String,
    /// A version that can be served, or why not.
    pub result: Result<Found, Refusal>,
}

/// A library that loads here and fits the interface. Its copy lies where the order said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Of the copy and its siblings.
    pub hash: ContentHash,
    /// The libraries beside it that lie beside the copy now.
    pub siblings: Vec<Sibling>,
    /// The candidate as it was copied.
    pub source: Identity,
    /// The function's name as the library has it.
    pub name: String,
    /// Every function it exports under the prefix, by name; of very many only the first.
    pub functions: Vec<String>,
    /// Version of the crate it comes from.
    pub version: String,
    /// The interface it was built for, as `1.0`.
    pub interface: String,
    /// The compiler that built it; empty where it does not say.
    pub compiler: String,
    /// False: a `panic = "abort"` build, in which a panic ends the worker.
    pub unwinds: bool,
    /// True: the object form.
    pub object: bool,
    /// The shared libraries it asks for.
    pub needed: Vec<String>,
    /// The newest glibc its symbols ask for.
    pub glibc: Option<String>,
}

impl Found {
    /// What the author should know although it works: a sentence that follows the file's path.
    pub fn warning(&self) -> Option<&'static str> {
        (!self.unwinds).then_some(
            "is a panic = \"abort\" build: a panic in a job ends its worker instead of failing the job; remove that \
             line from its Cargo.toml profile",
        )
    }
}

/// A message that is none.
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

/// A message from its bytes, which may be anybody's.
///
/// # Errors
/// Longer than [`MAX_MESSAGE`], or not of that type.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadMessage> {
    if bytes.len() > MAX_MESSAGE {
        return Err(BadMessage::TooLong(bytes.len()));
    }
    Ok(serde_json::from_slice(bytes)?)
}

/// Whether the message is a probe's last word.
pub fn is_report(message: &[u8]) -> bool {
    matches!(decode(message), Ok(ProbeWord::Report(_)))
}

/// Paths as they are: serde's own form takes only UTF-8.
pub(super) mod path {
    use std::path::Path;

    use super::{Deserialize, OsString, PathBuf, Serialize};

    pub fn serialize<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().serialize(serializer)
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Ok(OsString::deserialize(deserializer)?.into())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn orders_survive_the_way() {
        let order = ProbeOrder {
            nonce: "n".into(),
            candidate: OsStr::from_bytes(b"/srv/w\xffrkers/x.so").into(),
            function: FunctionName::new("x").unwrap(),
            prefix: "wk_".into(),
            copy_to: "/state/store/incoming/1".into(),
            max_size: 1 << 30,
            trust: Some(Trust { run_uid: 33 }),
        };
        assert_eq!(decode::<ProbeOrder>(&encode(&order).unwrap()).unwrap(), order);
    }

    #[test]
    fn messages_are_bounded() {
        assert!(matches!(encode(&"x".repeat(MAX_MESSAGE)), Err(BadMessage::TooLong(_))));
        assert!(matches!(decode::<String>(&vec![b' '; MAX_MESSAGE + 1]), Err(BadMessage::TooLong(_))));
        assert!(decode::<ProbeWord>(b"ok").is_err());
        assert!(decode::<ProbeWord>(&vec![b'['; MAX_MESSAGE]).is_err());
    }
}
