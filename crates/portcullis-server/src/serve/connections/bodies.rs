//! Bodies of requests and responses that report their progress to their connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::Version;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use super::tracked::{ActiveRequest, TrackedConnection};

/// The body of a request. Its connection counts as idle from when the rest of the body is first
/// awaited until the body has ended.
pub(super) struct RequestBody {
    body: Incoming,
    connection: Arc<TrackedConnection>,
    is_pending: bool,
}

impl RequestBody {
    pub(super) fn new(body: Incoming, connection: Arc<TrackedConnection>) -> Self {
        Self { body, connection, is_pending: false }
    }

    fn end(&mut self) {
        if self.is_pending {
            self.is_pending = false;
            self.connection.body_ended();
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match &frame {
            Poll::Pending if !self.is_pending => {
                self.is_pending = true;
                self.connection.body_pending();
            }
            Poll::Pending | Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(None | Some(Err(_))) => self.end(),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.end();
    }
}

/// The body of a response. The request is in progress until hyper has written it.
pub(super) struct ResponseBody {
    body: Body,
    request: ActiveRequest,
    /// Whether a client could take the end of the connection for that of the body.
    may_end_with_connection: bool,
}

impl ResponseBody {
    pub(super) fn new(body: Body, request: ActiveRequest, version: Version) -> Self {
        Self { body, request, may_end_with_connection: version < Version::HTTP_11 }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Err(_))) = frame
            && self.may_end_with_connection
        {
            self.request.response_broken();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
