//! The bodies of requests and responses that are streamed through, with limits.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf as _, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use metrics::Counter;
use thiserror::Error;
use tokio::time::Instant;

use crate::deadline::Deadline;
use crate::pool::PooledBody;

/// Why the body of a request was not passed on to its end.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum UploadError {
    #[error("the client closed the connection")]
    Gone,
    #[error("the body is too large")]
    TooLarge,
    #[error("the client sends nothing")]
    TooSlow,
}

/// The progress of the body of a request, which the upstream's connection takes out of the task that
/// waits for the response.
#[derive(Debug)]
pub(crate) struct Upload {
    begun: Instant,
    /// When bytes were last received, in milliseconds since it has begun.
    last_progress: AtomicU64,
    error: AtomicU8,
}

impl Upload {
    pub(crate) fn begin() -> Arc<Self> {
        let (last_progress, error) = Default::default();
        Arc::new(Self { begun: Instant::now(), last_progress, error })
    }

    /// Returns when bytes were last received.
    pub(crate) fn last_progress(&self) -> Instant {
        self.begun + Duration::from_millis(self.last_progress.load(Ordering::Relaxed))
    }

    pub(crate) fn error(&self) -> Option<UploadError> {
        match self.error.load(Ordering::Acquire) {
            1 => Some(UploadError::Gone),
            2 => Some(UploadError::TooLarge),
            3 => Some(UploadError::TooSlow),
            _ => None,
        }
    }

    fn progress(&self) {
        let passed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_progress.store(passed, Ordering::Relaxed);
    }

    fn fail(&self, error: UploadError) -> UploadError {
        let code = match error {
            UploadError::Gone => 1,
            UploadError::TooLarge => 2,
            UploadError::TooSlow => 3,
        };
        self.error.store(code, Ordering::Release);
        error
    }
}

/// The body of a request on its way to the upstream. An error in it breaks the upstream's connection off,
/// so that the upstream receives no half body as a whole one.
pub(crate) struct ClientBody {
    body: Body,
    left: u64,
    deadline: Deadline,
    upload: Arc<Upload>,
}

impl ClientBody {
    pub(crate) fn new(body: Body, max_bytes: u64, idle: Duration, upload: Arc<Upload>) -> Self {
        Self { body, left: max_bytes, deadline: Deadline::new(idle), upload }
    }
}

impl HttpBody for ClientBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                ready!(self.deadline.poll_elapsed(cx));
                return Poll::Ready(Some(Err(self.upload.fail(UploadError::TooSlow))));
            };
            self.deadline.stop();
            self.upload.progress();
            let data = match frame {
                None => return Poll::Ready(None),
                Some(Err(_)) => {
                    return Poll::Ready(Some(Err(self.upload.fail(UploadError::Gone))));
                }
                // Trailers are not passed on.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_) => continue,
                },
            };
            match self.left.checked_sub(data.remaining() as u64) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(self.upload.fail(UploadError::TooLarge)))),
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why a response was not passed on to its end.
#[derive(Debug, Error)]
pub(crate) enum DownloadError {
    #[error("the upstream closed the connection within a response")]
    Broken(#[source] hyper::Error),
    #[error("the upstream sent nothing of a response for {} seconds", .0.as_secs())]
    TooSlow(Duration),
}

/// The body of a response on its way to the client. An error in it breaks the client's connection off, so
/// that the client receives no half response as a whole one.
pub(crate) struct UpstreamBody {
    body: PooledBody,
    deadline: Deadline,
    broken: Counter,
}

impl UpstreamBody {
    /// Counts an error in `broken`.
    pub(crate) fn new(body: PooledBody, idle: Duration, broken: Counter) -> Self {
        Self { body, deadline: Deadline::new(idle), broken }
    }

    fn fail(&self, error: DownloadError) -> DownloadError {
        self.broken.increment(1);
        tracing::warn!(target: "portcullis::gateway", "a response is broken off: {error}");
        error
    }
}

impl HttpBody for UpstreamBody {
    type Data = Bytes;
    type Error = DownloadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadError>>> {
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                ready!(self.deadline.poll_elapsed(cx));
                let error = DownloadError::TooSlow(self.deadline.after());
                return Poll::Ready(Some(Err(self.fail(error))));
            };
            self.deadline.stop();
            return Poll::Ready(match frame {
                None => None,
                Some(Err(error)) => Some(Err(self.fail(DownloadError::Broken(error)))),
                // Trailers are not passed on.
                Some(Ok(frame)) if !frame.is_data() => continue,
                Some(Ok(frame)) => Some(Ok(frame)),
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
