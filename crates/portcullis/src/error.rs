//! The engine's error: a kind for programs, a message for users, a cause for the log.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

type Source = Box<dyn StdError + Send + Sync>;

/// The kind of an [`Error`].
///
/// Not `non_exhaustive`: an adapter that has no response for a new kind must not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// It conflicts with an existing record: the name is taken.
    Conflict,
    /// The caller is authenticated and may not do this.
    Forbidden,
    /// A failure inside the engine, the store or the directory. The source has details for the log.
    Internal,
    /// The input breaks a rule, which the message names.
    Invalid,
    /// The record does not exist.
    NotFound,
    /// The record has another revision than the caller expects ([`Precondition`](crate::Precondition)); see
    /// [`Error::current_revision`]. Nothing was changed.
    PreconditionFailed,
    /// Too many requests at once; see [`Error::retry_after`].
    TooManyRequests,
    /// The credentials are wrong, or the caller lacks the permission that the message names.
    Unauthorized,
    /// The store or the directory is unavailable, so the request can neither be accepted nor refused.
    Unavailable,
}

impl ErrorKind {
    /// Tells whether the same request may succeed later without any change.
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::TooManyRequests | Self::Unavailable => true,
            Self::Conflict
            | Self::Forbidden
            | Self::Internal
            | Self::Invalid
            | Self::NotFound
            | Self::PreconditionFailed
            | Self::Unauthorized => false,
        }
    }
}

/// A failed operation.
///
/// The message ([`fmt::Display`]) may be shown to the caller: it never contains a secret or an
/// internal detail. The cause, if any, is the [source](StdError::source), for the log.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    source: Option<Source>,
}

impl Error {
    /// Makes an error. The message is shown to the caller.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), retry_after: None, source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(self, source: impl Into<Source>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// Adds the time after which to retry.
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

    /// Returns the time after which to retry, if it is known.
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
