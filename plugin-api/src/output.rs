//! What a function returns.

use std::borrow::Cow;
use std::error::Error;

use crate::failure::Failure;

/// What most functions return: `Ok(bytes.into())`, or `?` on anything that went wrong.
pub type JobResult = Result<Output, Failure>;

/// The bytes of a result. A `Vec` or `String` is moved, not copied, and the worker sends it without copying.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output(pub(crate) Vec<u8>);

impl AsRef<[u8]> for Output {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// An empty result: the job is done.
impl From<()> for Output {
    fn from((): ()) -> Self {
        Self::default()
    }
}

impl From<Vec<u8>> for Output {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<String> for Output {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<Box<[u8]>> for Output {
    fn from(bytes: Box<[u8]>) -> Self {
        Self(bytes.into_vec())
    }
}

impl From<Box<str>> for Output {
    fn from(text: Box<str>) -> Self {
        Self(text.into_string().into_bytes())
    }
}

impl From<&str> for Output {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<&[u8]> for Output {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Output {
    fn from(bytes: &[u8; N]) -> Self {
        Self(bytes.to_vec())
    }
}

impl<const N: usize> From<[u8; N]> for Output {
    fn from(bytes: [u8; N]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<Cow<'_, str>> for Output {
    fn from(text: Cow<'_, str>) -> Self {
        text.into_owned().into()
    }
}

impl From<Cow<'_, [u8]>> for Output {
    fn from(bytes: Cow<'_, [u8]>) -> Self {
        bytes.into_owned().into()
    }
}

/// What a function may return: anything that is [`Into<Output>`], `Json` with the feature `json`, and a `Result` of those
/// whose error is [`Into<Failure>`] or a `Box<dyn Error + Send + Sync>`. `Kind` lets the compiler tell these cases
/// apart; you never write it.
///
/// Do not implement it for a type of your own, since its method is not part of the stable interface: implement
/// `From<YourType> for Output`, or return a `Result`.
///
/// ```
/// use gm_plugin_api::{Job, Log, function};
///
/// #[function]
/// fn echo(job: &Job, _log: &mut Log) -> Vec<u8> {
///     job.workload().to_vec()
/// }
///
/// #[function]
/// fn double(job: &Job, _log: &mut Log) -> Result<String, std::num::ParseIntError> {
///     let number: u64 = String::from_utf8_lossy(job.workload()).trim().parse()?;
///     Ok((number * 2).to_string())
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a function cannot return `{Self}`",
    label = "return bytes or text, `()`, `JobResult`, or a `Result` of one of those",
    note = "the error of a `Result` is any `std::error::Error`, text, or `Failure`",
    note = "numbers have no one way to be written: `.to_string()` does it",
    note = "with the feature `json`, `Json(value)` takes any type that is `serde::Serialize`"
)]
pub trait Reply<Kind = Direct> {
    // Not sealed by a supertrait: the compiler's errors would mention that instead of the text above.
    /// The result as it is sent.
    ///
    /// # Errors
    ///
    /// If the function failed, or its value cannot be converted to bytes.
    #[doc(hidden)]
    fn reply(self) -> JobResult;
}

/// The value itself, or a `Result` whose error is [`Into<Failure>`].
#[doc(hidden)]
pub enum Direct {}

/// A `Result` whose error is a `Box<dyn Error + Send + Sync>`. The standard library does not implement `Error` for that
/// type, but does not promise that it never will, so without the marker type this impl would conflict with the general
/// one.
#[doc(hidden)]
pub enum Boxed {}

#[diagnostic::do_not_recommend]
impl<T: Into<Output>> Reply for T {
    #[inline]
    fn reply(self) -> JobResult {
        Ok(self.into())
    }
}

#[diagnostic::do_not_recommend]
impl<T: Reply, E: Into<Failure>> Reply for Result<T, E> {
    #[inline]
    fn reply(self) -> JobResult {
        match self {
            Ok(value) => value.reply(),
            Err(error) => Err(error.into()),
        }
    }
}

#[diagnostic::do_not_recommend]
impl<T: Reply> Reply<Boxed> for Result<T, Box<dyn Error + Send + Sync>> {
    #[inline]
    fn reply(self) -> JobResult {
        match self {
            Ok(value) => value.reply(),
            Err(error) => Err(Failure::from_error(&*error)),
        }
    }
}
