//! The engine's error: a kind for programs, a message for people, a cause for operators.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

type Source = Box<dyn StdError + Send + Sync>;

/// What kind of failure an [`Error`] is.
///
/// Not `non_exhaustive`: an adapter that does not know how to answer a new kind must not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// It collides with what is there: the name is taken.
    Conflict,
    /// The caller is known and may not do this at all.
    Forbidden,
    /// Something broke on our side. Details are in the source, for logs only.
    Internal,
    /// What was given breaks a rule that the message names.
    Invalid,
    /// What it refers to does not exist.
    NotFound,
    /// Too much at once; see [`Error::retry_after`].
    TooManyRequests,
    /// The credentials are wrong, or the caller lacks the permission that the message names.
    Unauthorized,
    /// The store or the directory cannot be reached now. Nothing is known, so nobody gets in.
    Unavailable,
}

impl ErrorKind {
    /// Tells whether the same request may succeed later without anybody changing anything.
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::TooManyRequests | Self::Unavailable => true,
            Self::Conflict
            | Self::Forbidden
            | Self::Internal
            | Self::Invalid
            | Self::NotFound
            | Self::Unauthorized => false,
        }
    }
}

/// A failed operation.
///
/// The message ([`fmt::Display`]) is fit to be shown to the caller and never holds a secret or an
/// internal detail. The cause, when there is one, is the [source](StdError::source): for the log.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    source: Option<Source>,
}

impl Error {
    /// Makes an error. The message must be fit to be shown to the caller.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), retry_after: None, source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(self, source: impl Into<Source>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// Adds the time after which it is worth trying again.
    #[must_use]
    pub fn with_retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// Returns the kind.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the message, the same as [`fmt::Display`] prints.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns after how long it is worth trying again, where that is known.
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    pub(crate) fn internal(source: impl Into<Source>) -> Self {
        Self::new(ErrorKind::Internal, "an internal error has occurred").with_source(source)
    }

    pub(crate) fn unavailable(source: impl Into<Source>) -> Self {
        Self::new(ErrorKind::Unavailable, "the service is unavailable, try again later")
            .with_source(source)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<crate::RandomUnavailable> for Error {
    fn from(error: crate::RandomUnavailable) -> Self {
        Self::internal(error)
    }
}
