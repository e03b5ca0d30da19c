//! How a job fails.

use std::error::Error;
use std::fmt;

use crate::abi::RawFail;

/// Why a job failed. The caller gets a warning with the message, then the failure.
///
/// `?` converts any [`std::error::Error`] (with its causes), text, `Box<dyn Error>`, `anyhow::Error` and `eyre::Report`
/// into a `Failure`:
///
/// ```
/// use gm_plugin_api::{Job, JobResult, Log, function};
///
/// #[function]
/// fn head(job: &Job, _log: &mut Log) -> JobResult {
///     let path = job.text()?;
///     if path.is_empty() {
///         return Err("an empty path".into());
///     }
///     let text = std::fs::read_to_string(path)?;
///     let line = text.lines().next().ok_or_else(|| format!("{path} has no line"))?;
///     Ok(line.into())
/// }
/// ```
///
/// It deliberately does not implement `std::error::Error`: otherwise the conversion from all such errors would not
/// compile.
pub struct Failure {
    message: String,
    exception: Option<Vec<u8>>,
}

/// How many bytes of an exception's payload are also used as its message, for the log.
const SHOWN: usize = 1024;

impl Failure {
    /// A failure with a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), exception: None }
    }

    /// A failure whose caller gets an exception with `payload` (WORK_EXCEPTION). Only clients that asked for exceptions
    /// understand it, such as PHP's; the `gearman` command-line client waits forever. If in doubt, return any other
    /// failure.
    pub fn exception(payload: impl Into<Vec<u8>>) -> Self {
        let payload = payload.into();
        let shown = &payload[..payload.len().min(SHOWN)];
        Self { message: String::from_utf8_lossy(shown).into_owned(), exception: Some(payload) }
    }

    /// Makes a failure from a borrowed error, with its causes. Use it for a `Box<dyn Error + Send + Sync>` in a
    /// function that returns a [`JobResult`](crate::JobResult), since `?` cannot convert that into a `Failure`:
    /// `.map_err(|error| Failure::from_error(&*error))?`.
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        Self::new(with_causes(error))
    }

    /// The text for the manager's log and the caller.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// As it crosses the interface.
impl From<Failure> for RawFail {
    fn from(failure: Failure) -> Self {
        let kind = if failure.exception.is_some() { Self::EXCEPTION } else { Self::FAIL };
        Self {
            kind,
            message: failure.message.into(),
            payload: failure.exception.unwrap_or_default().into(),
            file: "".into(),
            line: 0,
        }
    }
}

impl<E: Into<Box<dyn Error>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::from_error(&*error.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.exception {
            Some(payload) => write!(f, "exception of {} bytes: {}", payload.len(), self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// An error and its causes, in one line. A cause whose text is already included is not repeated: many errors quote
/// their cause and also return it as their source.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|layer| layer as _)
        }
    }

    fn layers(texts: &[&'static str]) -> Layer {
        let (first, rest) = texts.split_first().unwrap();
        Layer(first, (!rest.is_empty()).then(|| Box::new(layers(rest))))
    }

    #[test]
    fn causes_are_printed_once() {
        for (texts, message) in [
            (&["a"][..], "a"),
            (&["reading x", "no such file"], "reading x: no such file"),
            (&["reading x: no such file", "no such file"], "reading x: no such file"),
            (&["a", "b", "c"], "a: b: c"),
            (&["a", ""], "a"),
        ] {
            assert_eq!(Failure::from(layers(texts)).message(), message);
        }
    }

    #[test]
    fn taken_by_the_question_mark() {
        fn each(which: u8) -> Result<(), Failure> {
            match which {
                0 => Err("text")?,
                1 => Err(String::from("text"))?,
                2 => Err(Box::<dyn Error>::from("text"))?,
                3 => Err(layers(&["text"]))?,
                4 => Err(Box::<dyn Error + Send + Sync>::from("text")).map_err(|e| Failure::from_error(&*e))?,
                _ => Err(Failure::new("text"))?,
            }
            Ok(())
        }
        for which in 0..=5 {
            assert_eq!(each(which).unwrap_err().message(), "text");
        }
        let anyhow = anyhow::Error::from(layers(&["inner"])).context("outer");
        assert_eq!(Failure::from(anyhow).message(), "outer: inner");
    }

    #[test]
    fn crosses_with_its_payload() {
        let raw = RawFail::from(Failure::exception(b"\x00no".to_vec()));
        assert_eq!((raw.kind, raw.payload.as_slice()), (RawFail::EXCEPTION, &b"\x00no"[..]));
        let raw = RawFail::from(Failure::new("no"));
        assert_eq!((raw.kind, raw.message.as_str(), raw.payload.len()), (RawFail::FAIL, "no", 0));
    }
}
