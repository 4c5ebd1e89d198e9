//! Connections: accepting them, bounding them, serving them, ending them in good order.

use std::convert::Infallible;
use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, Response};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, sleep_until, timeout};
use tower_service::Service as _;

use super::ambiguous::{refused, unambiguous};
use super::client_timeouts::TimeoutStream;
use super::evictions::{Eviction, Registry, Tracked, Wait, Work};
use super::metrics::{CutOff, OpenConnection, route_class};
use super::tls::Tls;

/// How long to wait when no connection can be accepted, for want of file descriptors for instance.
const ACCEPT_AGAIN: Duration = Duration::from_millis(250);

/// How many bytes of an answer the system holds. It tells that a client takes something only when a
/// third of that was taken: with the megabytes of its default a slow client would seem to take nothing.
const SEND_BUFFER: u32 = 128 * 1024;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1_024;

/// What clients may take, in time, number and size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How many connections there are at the most.
    pub(super) connections: usize,
    /// How long a TLS handshake may take.
    pub(super) handshake: Duration,
    /// How long a connection may wait for a request.
    pub(super) idle: Duration,
    /// How long the head of a request may take from its first byte.
    pub(super) head: Duration,
    /// The largest head of a request, in bytes.
    pub(super) head_bytes: usize,
    /// How long a client may take nothing of an answer.
    pub(super) write: Duration,
    /// How long a connection may wait for its client, even if others have no place.
    pub(super) stay: Duration,
    /// How long requests in flight may take once the end was asked for.
    pub(super) grace: Duration,
}

impl Limits {
    /// What the server has, with so many connections.
    pub(super) const fn new(connections: usize) -> Self {
        Self {
            connections,
            handshake: Duration::from_secs(10),
            // Longer than proxies keep theirs, so that they close first: 60 s is usual.
            idle: Duration::from_secs(75),
            head: Duration::from_secs(15),
            // An original URI of 64 KiB beside one of our own.
            head_bytes: 160 * 1024,
            write: Duration::from_secs(30),
            // Enough for a handshake and a head from afar.
            stay: Duration::from_millis(500),
            grace: Duration::from_secs(10),
        }
    }
}

/// Where connections are accepted, and what is served there.
pub(super) struct Listener {
    /// What metrics call it.
    pub(super) name: &'static str,
    pub(super) socket: TcpListener,
    pub(super) tls: Option<Tls>,
    pub(super) router: Router,
}

/// What every connection is served with.
struct Connections {
    listener: &'static str,
    router: Router,
    tls: Option<Tls>,
    limits: Limits,
    registry: Arc<Registry>,
    ending: watch::Receiver<()>,
}

/// Listens at this address.
///
/// # Errors
///
/// Those of the system, such as an address that is in use.
pub(super) fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // On Windows this would let two servers share an address.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    // Connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `end`, then lets requests in flight finish for as long as the limits say.
pub(super) async fn serve(listener: Listener, limits: Limits, end: impl Future<Output = ()>) {
    let Listener { name, socket, tls, router } = listener;
    let (ending, receiver) = watch::channel(());
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = Arc::new(Connections {
        listener: name,
        router,
        tls,
        limits,
        registry: Registry::new(limits.connections, limits.stay),
        ending: receiver,
    });
    let mut end = pin!(end);
    loop {
        let next = async {
            let (stream, peer) = accept(&socket).await;
            (stream, peer, connections.place(&places).await)
        };
        tokio::select! {
            () = &mut end => break,
            (stream, peer, place) = next => {
                let connections = Arc::clone(&connections);
                tokio::spawn(async move {
                    let open = OpenConnection::count(connections.listener);
                    if let Some(cut_off) = connections.serve(stream, peer).await {
                        cut_off.count(connections.listener);
                    }
                    drop((open, place));
                });
            }
        }
    }
    // Those who come now are refused, not left waiting.
    drop(socket);
    drop(connections);
    // An error means that there is nobody to tell.
    let _ = ending.send(());
    if timeout(limits.grace, ending.closed()).await.is_err() {
        let left = limits.connections.saturating_sub(places.available_permits());
        tracing::warn!(connections = left, "requests were still in flight and are cut off");
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client was faster in leaving than we in accepting.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections");
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

impl Connections {
    /// Waits for a place. Where all are taken, one is made free ([`Registry::evict_one`]); where each
    /// has a request in work, it is that of the first which has finished.
    async fn place(&self, places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return Some(place);
        }
        loop {
            let free = Arc::clone(places).acquire_owned();
            let changed = async {
                match self.registry.evict_one() {
                    Eviction::Told => self.registry.one_stays().await,
                    Eviction::NotBefore(then) => sleep_until(then).await,
                    Eviction::NoneWaits => self.registry.one_waits().await,
                }
            };
            tokio::select! {
                place = free => return place.ok(),
                () = changed => {}
            }
        }
    }

    /// Serves a connection to its end, and tells if and why we have put it to one.
    async fn serve(&self, stream: TcpStream, peer: SocketAddr) -> Option<CutOff> {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        let tracked = self.registry.add(peer.ip());
        let Some(tls) = &self.tls else { return self.serve_http(stream, peer, tracked).await };
        let mut ending = self.ending.clone();
        let shaken = tokio::select! {
            shaken = timeout(self.limits.handshake, tls.accept(stream)) => shaken,
            _ = ending.changed() => return None,
            () = tracked.told_to_leave() => return Some(CutOff::Crowded),
        };
        match shaken {
            Ok(Ok(stream)) => return self.serve_http(stream, peer, tracked).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        }
        Some(CutOff::Handshake)
    }

    async fn serve_http<S>(
        &self,
        stream: S,
        peer: SocketAddr,
        tracked: Arc<Tracked>,
    ) -> Option<CutOff>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = &self.limits;
        let stream = TimeoutStream::new(stream, Arc::clone(&tracked), limits.head, limits.write);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle)
            .max_header_size(limits.head_bytes)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(|request| self.answer(request, peer, &tracked)),
            );
        let mut connection = pin!(connection);
        let mut ending = self.ending.clone();
        let mut is_ending = false;
        let mut crowded = None;
        let result = loop {
            tokio::select! {
                // First it reads what there is, so that no request is dropped that has arrived.
                biased;
                result = connection.as_mut() => break result,
                _ = ending.changed(), if !is_ending => {
                    // Hyper does not end a connection in good order before its first request.
                    if !tracked.has_received() {
                        return None;
                    }
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = tracked.told_to_leave() => {
                    crowded = Some(CutOff::Crowded);
                    match tracked.wait() {
                        // It has begun a request at the last moment, which is its last one.
                        None => connection.as_mut().graceful_shutdown(),
                        Some(Wait::Next) if !tracked.head_has_begun() => {
                            connection.as_mut().graceful_shutdown();
                            if let Poll::Ready(result) = futures_util::poll!(connection.as_mut()) {
                                break result;
                            }
                            if tracked.wait().is_some() {
                                return crowded;
                            }
                        }
                        // What is not there yet would have to be waited for.
                        Some(_) => return crowded,
                    }
                }
            }
        };
        let Err(error) = result else { return crowded };
        tracing::debug!(%peer, %error, "connection failed");
        crowded.or_else(|| timeout_of(&error))
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        tracked: &Arc<Tracked>,
    ) -> Result<Response<Answer>, Infallible> {
        let work = tracked.work();
        if let Err(why) = unambiguous(&request) {
            return Ok(refused(why).map(|body| Answer { body, _work: work }));
        }
        let mut request = request.map(|body| {
            if body.is_end_stream() {
                return Body::new(body);
            }
            Body::new(RequestBody { body, connection: Arc::clone(tracked), is_late: false })
        });
        request.extensions_mut().insert(ConnectInfo(peer));
        let class = (!tracked.is_authenticated()).then(|| {
            (request.method() != Method::OPTIONS).then(|| route_class(request.uri().path()))
        });
        let response = self.router.clone().call(request).await?;
        if class.flatten().is_some_and(|class| is_authenticated(class, &response)) {
            tracked.note_authenticated();
        }
        Ok(response.map(|body| Answer { body, _work: work }))
    }
}

/// Tells whether an answer shows that the request was authenticated. It may be too careful.
fn is_authenticated(class: &str, response: &Response<Body>) -> bool {
    match class {
        "authorizations" | "lookups" => response.status().is_success(),
        "forward_auth" => response.headers().contains_key("x-portcullis-user"),
        _ => false,
    }
}

/// Which of our timeouts has ended the connection.
fn timeout_of(error: &hyper::Error) -> Option<CutOff> {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    if error.is_timeout() {
        Some(CutOff::Idle)
    } else if source.is_some_and(|source| source.kind() == io::ErrorKind::TimedOut) {
        Some(CutOff::Slow)
    } else {
        None
    }
}

/// The body of a request. Its connection waits for its client from when it is first late until it
/// has ended.
struct RequestBody {
    body: Incoming,
    connection: Arc<Tracked>,
    is_late: bool,
}

impl RequestBody {
    fn end(&mut self) {
        if self.is_late {
            self.is_late = false;
            self.connection.note_end_of_body();
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
            Poll::Pending if !self.is_late => {
                self.is_late = true;
                self.connection.note_late_body();
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

/// The body of an answer. The request is worked on until hyper is done with it.
struct Answer {
    body: Body,
    _work: Work,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
