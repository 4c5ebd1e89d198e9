//! Requests that a proxy and the server could read differently, of which hyper accepts some.

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};

/// Refuses a request without exactly one `Host`, and one with any `Transfer-Encoding` but a single
/// `chunked` (RFC 9112, 3.2 and 6.1).
///
/// # Errors
///
/// A message for the client.
pub(super) fn check_unambiguous<B>(request: &Request<B>) -> Result<(), &'static str> {
    let headers = request.headers();
    match headers.get_all(HOST).iter().count() {
        0 if request.version() == Version::HTTP_11 => return Err("the header `Host` is missing"),
        0 | 1 => {}
        _ => return Err("there is more than one header `Host`"),
    }
    if is_chunked_once(headers) {
        return Ok(());
    }
    Err("the header `Transfer-Encoding` is not `chunked` once")
}

fn is_chunked_once(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(encoding) = encodings.next() else { return true };
    encoding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") && encodings.next().is_none()
}

/// Returns a 400 that closes the connection, because it is not certain where its next request begins.
pub(super) fn rejection(why: &'static str) -> Response<Body> {
    let body = serde_json::json!({ "code": "invalid", "message": why, "error": why });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    headers.insert(CONTENT_TYPE, json);
    headers.insert("x-platform-error-code", HeaderValue::from_static("invalid"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
