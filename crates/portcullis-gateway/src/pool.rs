//! Connections to the upstream that are kept for the next request.
//!
//! A request drives its connection itself, in the task of its client's connection: a task for each
//! connection would cost every request two switches between threads.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::poll_fn;
use http::{Request, Response, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower_service::Service as _;

use crate::forward::describe;

/// How long an idle connection is kept. Databases and the proxies before them close theirs after a minute
/// at the earliest: they must not close one that a request is being sent on.
const MAX_IDLE_TIME: Duration = Duration::from_secs(30);

/// The most idle connections that are kept.
const MAX_IDLE: usize = 512;

/// The most bytes that are buffered of a connection, in each direction.
const BUFFER: usize = 128 * 1024;

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// A connection, and the part of it that sends and receives.
struct Pooled {
    sender: SendRequest<Body>,
    driver: Connection<Stream, Body>,
}

impl Pooled {
    /// Sends and receives what it can. Ready when the connection has ended.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        Pin::new(&mut self.driver).poll(cx)
    }

    /// Returns whether a request can be sent on it.
    fn is_free(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.drive(&mut cx).is_pending() && self.sender.is_ready()
    }
}

/// The connections to one upstream.
pub(crate) struct Pool {
    connector: HttpsConnector<HttpConnector>,
    upstream: Uri,
    /// The one that was used last is at the end.
    idle: Mutex<VecDeque<(Instant, Box<Pooled>)>>,
}

impl Pool {
    pub(crate) fn new(connector: HttpsConnector<HttpConnector>, upstream: Uri) -> Arc<Self> {
        Arc::new(Self { connector, upstream, idle: Mutex::default() })
    }

    fn take(&self) -> Option<Box<Pooled>> {
        let oldest = Instant::now().checked_sub(MAX_IDLE_TIME);
        loop {
            let popped = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_back();
            let (since, mut pooled) = popped?;
            if oldest.is_none_or(|oldest| since > oldest) && pooled.is_free() {
                return Some(pooled);
            }
        }
    }

    fn put(&self, mut pooled: Box<Pooled>) {
        if !pooled.is_free() {
            return;
        }
        let now = Instant::now();
        let mut closed = Vec::new();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while idle.len() >= MAX_IDLE
            || idle.front().is_some_and(|(since, _)| now.duration_since(*since) > MAX_IDLE_TIME)
        {
            closed.extend(idle.pop_front());
        }
        idle.push_back((now, pooled));
        drop(idle);
    }

    async fn connect(&self) -> Result<Box<Pooled>, String> {
        let mut connector = self.connector.clone();
        poll_fn(|cx| connector.poll_ready(cx)).await.map_err(|error| describe(&*error))?;
        let stream = connector.call(self.upstream.clone()).await;
        let stream = stream.map_err(|error| describe(&*error))?;
        let (sender, driver) = Builder::new()
            .max_buf_size(BUFFER)
            .handshake(stream)
            .await
            .map_err(|error| describe(&error))?;
        Ok(Box::new(Pooled { sender, driver }))
    }

    /// Sends the request, in the form of HTTP/1.1 to an origin, and returns the response. It is sent again
    /// only if nothing of it was sent.
    ///
    /// # Errors
    ///
    /// The reason why there is none, for the log.
    pub(crate) async fn send(
        self: &Arc<Self>,
        mut request: Request<Body>,
    ) -> Result<Response<PooledBody>, String> {
        loop {
            let (mut pooled, is_new) = match self.take() {
                Some(pooled) => (pooled, false),
                None => (self.connect().await?, true),
            };
            let mut response = Box::pin(pooled.sender.try_send_request(request));
            let received = poll_fn(|cx| {
                let ended = Pin::new(&mut pooled.driver).poll(cx).is_ready();
                match response.as_mut().poll(cx) {
                    // With the connection, its requests end.
                    Poll::Pending if ended => response.as_mut().poll(cx),
                    polled => polled,
                }
            });
            match received.await {
                Ok(response) => {
                    let pooled = Some(pooled);
                    return Ok(response.map(|body| {
                        let mut body = PooledBody { body, pooled, pool: Arc::clone(self) };
                        if body.body.is_end_stream() {
                            body.end();
                        }
                        body
                    }));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !is_new => request = unsent,
                    _ => return Err(describe(error.error())),
                },
            }
        }
    }
}

/// The body of a response, which drives its connection, and returns it at the end.
pub(crate) struct PooledBody {
    body: Incoming,
    pooled: Option<Box<Pooled>>,
    pool: Arc<Pool>,
}

impl PooledBody {
    fn end(&mut self) {
        if let Some(pooled) = self.pooled.take() {
            self.pool.put(pooled);
        }
    }
}

impl HttpBody for PooledBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let mut frame = Pin::new(&mut this.body).poll_frame(cx);
        if frame.is_pending()
            && let Some(pooled) = &mut this.pooled
        {
            // Its error is the body's as well.
            let _ = pooled.drive(cx);
            frame = Pin::new(&mut this.body).poll_frame(cx);
        }
        if let Poll::Ready(None) = frame {
            this.end();
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
