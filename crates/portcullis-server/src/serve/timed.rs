//! A stream whose other end may not take as long as it likes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::waiting::Seat;

/// Fails where the client has not sent the whole head of a request for too long after it began,
/// and where it has not taken anything of an answer for too long.
pub(super) struct TimedStream<S> {
    stream: S,
    seat: Arc<Seat>,
    head: Deadline,
    /// Which wait for a request `head` is of.
    head_of: u64,
    write: Deadline,
}

impl<S> TimedStream<S> {
    pub(super) fn new(stream: S, seat: Arc<Seat>, head: Duration, write: Duration) -> Self {
        let (head, write) = (Deadline::new(head), Deadline::new(write));
        Self { stream, seat, head, head_of: 0, write }
    }
}

/// A time-out that can be begun again and again.
struct Deadline {
    after: Duration,
    runs: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn new(after: Duration) -> Self {
        Self { after, runs: false, sleep: None }
    }

    /// Begins, unless it has begun already.
    fn begin(&mut self) {
        if !self.runs {
            self.runs = true;
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(Instant::now() + self.after),
                None => self.sleep = Some(Box::pin(sleep(self.after))),
            }
        }
    }

    fn end(&mut self) {
        self.runs = false;
    }

    /// Fails when it has begun and passed, and has the task woken when it passes.
    fn check<T>(&mut self, cx: &mut Context<'_>, what: &'static str) -> Poll<io::Result<T>> {
        match &mut self.sleep {
            Some(sleep) if self.runs => {
                ready!(sleep.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what)))
            }
            _ => Poll::Pending,
        }
    }

    /// Runs while what is waited for is pending.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(result) => {
                self.end();
                Poll::Ready(result)
            }
            Poll::Pending => {
                self.begin();
                self.check(cx, "the client takes nothing")
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let wait = this.seat.wait_number();
        if this.head_of != wait {
            this.head.end();
            this.head_of = wait;
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                this.seat.note_received();
                if wait != Seat::WORKS {
                    this.head.begin();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => this.head.check(cx, "the client does not finish its request's head"),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.write.watch(cx, result)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_flush(cx);
        this.write.watch(cx, result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.write.watch(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.write.watch(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
