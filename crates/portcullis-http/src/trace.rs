//! A tracing span around each request, without its query and without headers that hold credentials.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};
use std::thread;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::{CatchUnwind, Map};
use http::{HeaderMap, HeaderName};
use portcullis::{Error, ErrorKind};
use tower_layer::Layer;
use tower_service::Service;
use tracing::instrument::Instrumented;
use tracing::{Instrument, Span};

use crate::respond::ErrorBody;
use crate::v1::redact::mark_sensitive;

/// The header of the public document.
const ZAP_TRACE_SPAN: HeaderName = HeaderName::from_static("zap-trace-span");

/// The header of W3C Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The longest part of a path that is logged, in bytes. Paths are ASCII.
const MAX_PATH_BYTES: usize = 256;

/// The longest trace context that is taken from a header, in bytes.
const MAX_CONTEXT_BYTES: usize = 256;

/// Runs the service inside the span, and responds with 500 if it panics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TraceLayer;

impl<S> Layer<S> for TraceLayer {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Traced(inner)
    }
}

/// The service of [`TraceLayer`]. Its future needs no allocation of its own, as every request passes
/// here.
#[derive(Clone, Debug)]
pub(crate) struct Traced<S>(S);

type Outcome = Result<Response, Infallible>;

impl<S> Service<Request> for Traced<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Instrumented<
        Map<CatchUnwind<AssertUnwindSafe<S::Future>>, fn(thread::Result<Outcome>) -> Outcome>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        mark_sensitive(request.headers_mut());
        let span = span(&request);
        let future = span.in_scope(|| self.0.call(request));
        let finish: fn(thread::Result<Outcome>) -> Outcome = finish;
        AssertUnwindSafe(future).catch_unwind().map(finish).instrument(span)
    }
}

fn span(request: &Request) -> Span {
    let span = tracing::info_span!(
        "request",
        method = %request.method(),
        path = shorten(request.uri().path()),
        zap_trace_span = zap_trace_span(request.headers()),
        trace_id = tracing::field::Empty,
        parent_id = tracing::field::Empty,
    );
    if !span.is_disabled()
        && let Some(TraceParent { trace_id, parent_id }) = trace_parent(request.headers())
    {
        span.record("trace_id", trace_id).record("parent_id", parent_id);
    }
    span
}

/// Turns a panic into a response, and logs the status.
fn finish(outcome: thread::Result<Outcome>) -> Outcome {
    let response = outcome.unwrap_or_else(|_| {
        tracing::error!("a handler panicked");
        let error = Error::new(ErrorKind::Internal, "an internal error has occurred");
        Ok(ErrorBody::from(error).into_response())
    });
    if let Ok(response) = &response {
        tracing::debug!(status = response.status().as_u16(), "response");
    }
    response
}

/// Returns the beginning of a path that is too long for the log.
fn shorten(path: &str) -> &str {
    path.get(..MAX_PATH_BYTES).unwrap_or(path)
}

/// Returns the header if it is visible ASCII: a client must not write lines into the log.
fn zap_trace_span(headers: &HeaderMap) -> Option<&str> {
    headers.get(ZAP_TRACE_SPAN)?.to_str().ok().filter(|text| text.len() <= MAX_CONTEXT_BYTES)
}

#[derive(Debug, PartialEq, Eq)]
struct TraceParent<'a> {
    trace_id: &'a str,
    parent_id: &'a str,
}

/// Parses `00-TRACE-PARENT-FLAGS`; anything else is ignored, as W3C Trace Context requires.
fn trace_parent(headers: &HeaderMap) -> Option<TraceParent<'_>> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace_id, parent_id, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let ids = |text: &str, length| hex(text, length) && text.bytes().any(|b| b != b'0');
    let is_version =
        hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    let valid = is_version && ids(trace_id, 32) && ids(parent_id, 16) && hex(flags, 2);
    valid.then_some(TraceParent { trace_id, parent_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, text.parse().unwrap());
        trace_parent(&headers).map(|p| (p.trace_id.to_owned(), p.parent_id.to_owned()))
    }

    #[test]
    fn a_trace_parent_is_parsed() {
        assert_eq!(
            parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            Some(("4bf92f3577b34da6a3ce929d0e0e4736".into(), "00f067aa0ba902b7".into()))
        );
        assert!(parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later").is_some());
    }

    #[test]
    fn an_invalid_trace_parent_is_ignored() {
        for text in [
            "",
            "00",
            "00-0-0-0",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
