//! A stream with timeouts for receiving a request's head and for sending.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::server::TlsStream;

use super::tracked::TrackedConnection;

/// A stream that can be reset, in place of an orderly end.
pub(super) trait Reset {
    /// Makes the stream end with a reset when it is closed.
    fn reset(&self) -> io::Result<()>;
}

impl Reset for TcpStream {
    fn reset(&self) -> io::Result<()> {
        self.set_zero_linger()
    }
}

impl<S: Reset> Reset for TlsStream<S> {
    fn reset(&self) -> io::Result<()> {
        self.get_ref().0.reset()
    }
}

/// Fails when the head of a request is incomplete for too long after its first byte, and when the
/// client has read nothing of a response for too long.
///
/// A connection is reset that ends within a response to a client of HTTP/1.0, which could take an orderly
/// end for that of the response.
pub(super) struct TimeoutStream<S: Reset> {
    stream: S,
    connection: Arc<TrackedConnection>,
    head: Deadline,
    /// The number of the request to which `head` applies, `None` while one is in progress.
    head_of: Option<u64>,
    write: Deadline,
}

impl<S: Reset> TimeoutStream<S> {
    pub(super) fn new(
        stream: S,
        connection: Arc<TrackedConnection>,
        head: Duration,
        write: Duration,
    ) -> Self {
        let (head, write) = (Deadline::new(head), Deadline::new(write));
        Self { stream, connection, head, head_of: None, write }
    }

    /// Applies the write timeout to the result of a write.
    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let was_stuck = self.write.runs;
        let result = self.write.watch(cx, result);
        if self.write.runs != was_stuck {
            self.connection.set_response_stuck(self.write.runs);
        }
        result
    }
}

impl<S: Reset> Drop for TimeoutStream<S> {
    fn drop(&mut self) {
        if self.connection.has_broken_response()
            && let Err(error) = self.stream.reset()
        {
            tracing::debug!(%error, "cannot reset a connection");
        }
    }
}

/// A timeout that can run many times.
struct Deadline {
    after: Duration,
    runs: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn new(after: Duration) -> Self {
        Self { after, runs: false, sleep: None }
    }

    /// Starts it, unless it runs already.
    fn start(&mut self) {
        if !self.runs {
            self.runs = true;
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(Instant::now() + self.after),
                None => self.sleep = Some(Box::pin(sleep(self.after))),
            }
        }
    }

    fn stop(&mut self) {
        self.runs = false;
    }

    /// Fails if it runs and has passed; otherwise the task is woken when it passes.
    fn check<T>(&mut self, cx: &mut Context<'_>, what: &'static str) -> Poll<io::Result<T>> {
        match &mut self.sleep {
            Some(sleep) if self.runs => {
                ready!(sleep.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what)))
            }
            _ => Poll::Pending,
        }
    }

    /// Runs while the result is pending.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(result) => {
                self.stop();
                Poll::Ready(result)
            }
            Poll::Pending => {
                self.start();
                self.check(cx, "the client reads nothing")
            }
        }
    }
}

impl<S: AsyncRead + Reset + Unpin> AsyncRead for TimeoutStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let request = this.connection.awaited_request();
        if this.head_of != request {
            this.head.stop();
            this.head_of = request;
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                this.connection.bytes_received();
                if request.is_some() {
                    this.head.start();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => {
                this.head.check(cx, "the client does not complete the head of its request")
            }
        }
    }
}

impl<S: AsyncWrite + Reset + Unpin> AsyncWrite for TimeoutStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.watch_write(cx, result)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_flush(cx);
        this.watch_write(cx, result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.watch_write(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.watch_write(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
