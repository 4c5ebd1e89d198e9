//! Responses: JSON with a status, and the error envelope of every response that is not 2xx.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use portcullis::store::Revision;
use portcullis::{Error, ErrorKind};
use serde::Serialize;

use crate::json;
use crate::log::failures::log_failure;

/// The `Retry-After` of errors that have none of their own.
pub(crate) const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The header that repeats the code in the body.
pub(crate) const ERROR_CODE: HeaderName = HeaderName::from_static("x-platform-error-code");

/// Returns the value as JSON.
pub(crate) fn json_response(status: StatusCode, value: &impl Serialize) -> Response {
    let content_type: (_, HeaderValue) = (header::CONTENT_TYPE, json::CONTENT_TYPE);
    (status, [content_type], json::pretty(value)).into_response()
}

/// Returns one record as JSON, with its tag if it has a revision.
pub(crate) fn record_response(
    status: StatusCode,
    revision: Option<Revision>,
    value: &impl Serialize,
) -> Response {
    let mut response = json_response(status, value);
    if let Some(revision) = revision {
        response.headers_mut().insert(header::ETAG, etag(revision));
    }
    response
}

/// Returns 304: the client has this revision of the record.
pub(crate) fn not_modified(revision: Revision) -> Response {
    (StatusCode::NOT_MODIFIED, [(header::ETAG, etag(revision))]).into_response()
}

/// Returns the strong entity tag of a record of the revision.
pub(crate) fn etag(revision: Revision) -> HeaderValue {
    // Digits in quotation marks are always a header.
    HeaderValue::try_from(format!("\"{revision}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// A response that is not 2xx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorBody {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// In seconds.
    pub(crate) retry_after: Option<u64>,
    /// The tag of the record as it is.
    pub(crate) etag: Option<HeaderValue>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct V1Body<'a> {
    code: &'a str,
    message: &'a str,
    error: &'a str,
}

/// The one place where a kind of error becomes a status and a code.
fn status_and_code(kind: ErrorKind) -> (StatusCode, &'static str) {
    match kind {
        // A conflict is 422 in this API, not 409.
        ErrorKind::Conflict => (StatusCode::UNPROCESSABLE_ENTITY, "conflict"),
        ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
        ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "invalid"),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, "not found"),
        ErrorKind::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "precondition failed"),
        ErrorKind::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "too many requests"),
        ErrorKind::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
    }
}

impl ErrorBody {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Invalid, message.into()).into()
    }

    pub(crate) fn unauthorized_access() -> Self {
        Error::new(ErrorKind::Unauthorized, "unauthorized access").into()
    }

    pub(crate) fn path_not_found() -> Self {
        Error::new(ErrorKind::NotFound, "path not found").into()
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            code: "method not allowed",
            message: "method not allowed, the header Allow lists those that are".to_owned(),
            retry_after: None,
            etag: None,
        }
    }

    /// A body that can be read and asks for what cannot be, in the words of the v2 API.
    pub(crate) fn unprocessable(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            code: "unprocessable entity",
            message: message.into(),
            retry_after: None,
            etag: None,
        }
    }

    pub(crate) fn too_slow(limit: Duration) -> Self {
        Self {
            status: StatusCode::REQUEST_TIMEOUT,
            code: "invalid",
            message: format!("the request body did not arrive within {} seconds", limit.as_secs()),
            retry_after: None,
            etag: None,
        }
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            code: "request too large",
            message: format!("the request body is larger than {limit} bytes"),
            retry_after: None,
            etag: None,
        }
    }

    /// Sets `Retry-After`.
    pub(crate) fn retry_after(self, after: Option<Duration>) -> Self {
        Self { retry_after: after.map(seconds), ..self }
    }

    /// Returns the body without indentation, as authentication errors have it.
    fn compact_body(&self) -> Vec<u8> {
        json::compact(&Body { code: self.code, message: &self.message })
    }

    /// Returns the body for v1 clients, which show the member `error`.
    pub(crate) fn v1_body(&self) -> Vec<u8> {
        let (code, message) = (self.code, self.message.as_str());
        json::compact(&V1Body { code, message, error: message })
    }

    /// Sets the status and the headers that go with the body.
    pub(crate) fn apply_to<B>(&self, response: &mut http::Response<B>) {
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, json::CONTENT_TYPE);
        headers.insert(ERROR_CODE, HeaderValue::from_static(self.code));
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, after.into());
        }
        if let Some(etag) = &self.etag {
            headers.insert(header::ETAG, etag.clone());
        }
    }

    /// Returns the response without indentation.
    pub(crate) fn into_compact_response(self) -> Response {
        let body = self.compact_body();
        self.respond(body)
    }

    /// Returns the response with another body, which must hold the code and the message.
    pub(crate) fn with_body(self, body: &impl Serialize) -> Response {
        let body = json::pretty(body);
        self.respond(body)
    }

    fn respond(self, body: Vec<u8>) -> Response {
        let mut response = body.into_response();
        self.apply_to(&mut response);
        response
    }
}

impl From<Error> for ErrorBody {
    fn from(error: Error) -> Self {
        let (status, code) = status_and_code(error.kind());
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            log_failure(&error);
        }
        // An error that may pass has a `Retry-After`.
        let default = error.kind().is_retryable().then_some(DEFAULT_RETRY_AFTER);
        Self {
            status,
            code,
            message: error.message().to_owned(),
            retry_after: error.retry_after().or(default).map(seconds),
            etag: error.current_revision().map(etag),
        }
    }
}

/// Rounds up to whole seconds, at least one.
fn seconds(after: Duration) -> u64 {
    let whole = after.as_secs();
    if after.subsec_nanos() > 0 { whole.saturating_add(1) } else { whole.max(1) }
}

impl IntoResponse for ErrorBody {
    fn into_response(self) -> Response {
        let body = json::pretty(&Body { code: self.code, message: &self.message });
        self.respond(body)
    }
}
