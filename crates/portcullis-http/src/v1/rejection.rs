//! Responses to v1 clients that are refused.

use axum::response::IntoResponse;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use portcullis::{Error, ErrorKind};

use crate::respond::{DEFAULT_RETRY_AFTER, ErrorBody};
use crate::v1::influxdb_version::InfluxdbVersion;

/// The challenge for browsers and 1.x clients.
const CHALLENGE: HeaderValue =
    HeaderValue::from_static("Basic realm=\"portcullis\", charset=\"UTF-8\"");

/// The response to a v1 client that is refused.
///
/// A host that authenticates v1 clients in its own way responds with it, so that the clients get
/// what [`V1CredentialLayer`](crate::V1CredentialLayer) sends them. A client that gets 401 or 403
/// treats its credentials as wrong and drops the points that it was to write. A temporary failure is
/// therefore 503, or 429 after too many failed logins, both with `Retry-After`: [`Error::retry_after`], or
/// else five seconds.
///
/// ```
/// use http::StatusCode;
/// use portcullis::{Error, ErrorKind};
/// use portcullis_http::V1Rejection;
///
/// let rejection = V1Rejection::from(Error::new(ErrorKind::Internal, "a disk is full"));
/// assert_eq!(rejection.status(), StatusCode::SERVICE_UNAVAILABLE);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V1Rejection {
    /// In a box, so that a `Result` stays small.
    body: Box<ErrorBody>,
    influxdb: Option<InfluxdbVersion>,
}

impl V1Rejection {
    /// A refusal of credentials that are missing or cannot be read: 401.
    pub(crate) fn unauthorized_access() -> Self {
        ErrorBody::unauthorized_access().into()
    }

    /// A response with this status, of 400 or above, and a message for the client. One of 429 or of 500
    /// and above has a `Retry-After` of five seconds.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let (code, retry_after) = match status {
            StatusCode::UNAUTHORIZED => ("unauthorized", None),
            StatusCode::FORBIDDEN => ("forbidden", None),
            StatusCode::NOT_FOUND => ("not found", None),
            StatusCode::METHOD_NOT_ALLOWED => ("method not allowed", None),
            StatusCode::PAYLOAD_TOO_LARGE => ("request too large", None),
            StatusCode::TOO_MANY_REQUESTS => ("too many requests", Some(DEFAULT_RETRY_AFTER)),
            status if status.is_server_error() => ("unavailable", Some(DEFAULT_RETRY_AFTER)),
            _ => ("invalid", None),
        };
        let message = message.into();
        let body = ErrorBody { status, code, message, retry_after: None, etag: None };
        body.retry_after(retry_after).into()
    }

    /// Adds the version of the database to the headers. Default: none.
    #[must_use]
    pub fn influxdb_version(self, version: impl Into<Option<InfluxdbVersion>>) -> Self {
        Self { influxdb: version.into(), ..self }
    }

    /// Returns the status of the response.
    pub const fn status(&self) -> StatusCode {
        self.body.status
    }

    /// Returns the code in the body and in `X-Platform-Error-Code`.
    pub const fn code(&self) -> &'static str {
        self.body.code
    }

    /// Returns the message in the body.
    pub fn message(&self) -> &str {
        &self.body.message
    }

    /// Returns the response, with the reason as `error` in the body, where v1 clients look for it.
    pub fn to_response<R: From<Bytes>>(&self) -> Response<R> {
        let mut response = Response::new(R::from(Bytes::from(self.body.v1_body())));
        self.body.apply_to(&mut response);
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
        if let Some(influxdb) = &self.influxdb {
            influxdb.apply_to(headers);
        }
        response
    }

    /// Returns the response to a client with these headers: without `Retry-After` for a client that
    /// misreads it.
    pub fn to_response_for<R: From<Bytes>>(&self, client: &HeaderMap) -> Response<R> {
        without_unreadable_retry_after(client, self.to_response())
    }
}

impl From<ErrorBody> for V1Rejection {
    fn from(body: ErrorBody) -> Self {
        Self { body: Box::new(body), influxdb: None }
    }
}

impl From<Error> for V1Rejection {
    fn from(error: Error) -> Self {
        let body: ErrorBody = match error.kind() {
            ErrorKind::Forbidden
            | ErrorKind::Unauthorized
            | ErrorKind::TooManyRequests
            | ErrorKind::Unavailable => error.into(),
            // Temporary, like an outage: it must not cost the client its data.
            ErrorKind::Internal => {
                let retry_after = error.retry_after().unwrap_or(DEFAULT_RETRY_AFTER);
                let status = StatusCode::SERVICE_UNAVAILABLE;
                ErrorBody { status, code: "unavailable", ..error.into() }
                    .retry_after(Some(retry_after))
            }
            // Every reason for a refusal has the same response.
            ErrorKind::Conflict
            | ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::PreconditionFailed => ErrorBody::unauthorized_access(),
        };
        body.into()
    }
}

impl IntoResponse for V1Rejection {
    fn into_response(self) -> axum::response::Response {
        self.to_response()
    }
}

/// Removes `Retry-After` from the response to a client that misreads it.
///
/// InfluxDB's JavaScript client reads the seconds as milliseconds, soon uses up its retries, and drops
/// its points. Without the header it backs off exponentially.
pub(crate) fn without_unreadable_retry_after<R>(
    client: &HeaderMap,
    mut response: Response<R>,
) -> Response<R> {
    let agent = client.get(header::USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
    if agent.starts_with(b"influxdb-client-js/") {
        response.headers_mut().remove(header::RETRY_AFTER);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// [LOGIN-9]
    #[test]
    fn what_may_pass_is_503_or_429_with_retry_after_and_only_a_refusal_is_401_or_403() {
        for (kind, status, code, retry_after) in [
            (ErrorKind::Conflict, 401, "unauthorized", None),
            (ErrorKind::Forbidden, 403, "forbidden", None),
            (ErrorKind::Internal, 503, "unavailable", Some("5")),
            (ErrorKind::Invalid, 401, "unauthorized", None),
            (ErrorKind::NotFound, 401, "unauthorized", None),
            (ErrorKind::PreconditionFailed, 401, "unauthorized", None),
            (ErrorKind::TooManyRequests, 429, "too many requests", Some("5")),
            (ErrorKind::Unauthorized, 401, "unauthorized", None),
            (ErrorKind::Unavailable, 503, "unavailable", Some("5")),
        ] {
            let response: Response<Bytes> = V1Rejection::from(Error::new(kind, "m")).to_response();
            let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(response.status().as_u16(), status, "{kind:?}");
            assert_eq!(header("retry-after"), retry_after, "{kind:?}");
            assert_eq!(header("www-authenticate").is_some(), status == 401, "{kind:?}");
            assert_eq!(header("x-platform-error-code"), Some(code), "{kind:?}");
            let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!((&body["code"], &body["error"]), (&code.into(), &body["message"]));
        }
    }

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        for kind in [ErrorKind::TooManyRequests, ErrorKind::Unavailable, ErrorKind::Internal] {
            let error = Error::new(kind, "m").with_retry_after(Duration::from_millis(41_001));
            let response: Response<Bytes> = V1Rejection::from(error).to_response();
            assert_eq!(response.headers().get("retry-after").unwrap(), "42");
        }
    }
}
