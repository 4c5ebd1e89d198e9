//! Connections: accepting them within limits, serving them, and closing them in good order.

mod ambiguous;
mod bodies;
mod limits;
mod registry;
mod timeout_stream;
mod tracked;

use std::convert::Infallible;
use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use portcullis_gateway::Outcome;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, sleep_until, timeout};
use tower_service::Service as _;

use ambiguous::{check_unambiguous, rejection};
use bodies::{RequestBody, ResponseBody};
pub(super) use limits::Limits;
use registry::{ConnectionRegistry, Eviction, Idle};
use timeout_stream::{Reset, TimeoutStream};
use tracked::TrackedConnection;

use super::metrics::{CloseReason, OpenConnection, route_class};
use super::tls::Tls;

/// The pause after a connection could not be accepted, for instance for lack of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(250);

/// The size in bytes of a socket's send buffer. The system reports progress only after a third of it
/// has been sent: with the default of megabytes, a slow client would look like one that reads nothing.
const SEND_BUFFER: u32 = 128 * 1024;

/// The most connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// A socket that accepts connections, and what it serves.
pub(super) struct Listener {
    /// Its name in metrics.
    pub(super) name: &'static str,
    pub(super) socket: TcpListener,
    pub(super) tls: Option<Tls>,
    pub(super) router: Router,
}

/// What the connections of a listener share.
struct Connections {
    listener: &'static str,
    router: Router,
    tls: Option<Tls>,
    limits: Limits,
    registry: Arc<ConnectionRegistry>,
    ending: watch::Receiver<()>,
}

/// Listens on this address.
///
/// # Errors
///
/// Those of the system, such as an address that is in use.
pub(super) fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // On Windows, this would let two servers share an address.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    // Connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `end`, then gives requests in flight the time of [`Limits::shutdown`] to finish.
pub(super) async fn serve(listener: Listener, limits: Limits, end: impl Future<Output = ()>) {
    let Listener { name, socket, tls, router } = listener;
    let (ending, receiver) = watch::channel(());
    let permits = Arc::new(Semaphore::new(limits.connections));
    let connections = Arc::new(Connections {
        listener: name,
        router,
        tls,
        limits,
        registry: ConnectionRegistry::new(limits.connections, limits.min_idle),
        ending: receiver,
    });
    let mut end = pin!(end);
    loop {
        let next = async {
            let (stream, peer) = accept(&socket).await;
            (stream, peer, connections.permit(&permits).await)
        };
        tokio::select! {
            () = &mut end => break,
            (stream, peer, permit) = next => {
                let connections = Arc::clone(&connections);
                tokio::spawn(async move {
                    let open = OpenConnection::count(connections.listener);
                    if let Some(close_reason) = connections.serve(stream, peer).await {
                        close_reason.count(connections.listener);
                    }
                    drop((open, permit));
                });
            }
        }
    }
    // New connections are refused from now on, instead of waiting to be accepted.
    drop(socket);
    drop(connections);
    // An error means that there are no connections.
    let _ = ending.send(());
    if timeout(limits.shutdown, ending.closed()).await.is_err() {
        let left = limits.connections.saturating_sub(permits.available_permits());
        tracing::warn!(
            connections = left,
            "requests in flight are dropped: they did not finish in time"
        );
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client has closed the connection before it was accepted.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot accept connections");
                sleep(ACCEPT_BACKOFF).await;
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
    /// Waits for a permit to serve a connection. If there is none, an idle connection is evicted
    /// ([`ConnectionRegistry::evict_one`]); if none is idle, the first that becomes so.
    async fn permit(&self, permits: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
            return Some(permit);
        }
        loop {
            let free = Arc::clone(permits).acquire_owned();
            let changed = async {
                match self.registry.evict_one() {
                    Eviction::Begun => self.registry.eviction_cancelled().await,
                    Eviction::NotBefore(then) => sleep_until(then).await,
                    Eviction::NoneIdle => self.registry.became_idle().await,
                }
            };
            tokio::select! {
                permit = free => return permit.ok(),
                () = changed => {}
            }
        }
    }

    /// Serves a connection to its end. Returns why the server has closed it, `None` if its client has.
    async fn serve(&self, stream: TcpStream, peer: SocketAddr) -> Option<CloseReason> {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        let tracked = TrackedConnection::new(&self.registry, peer.ip());
        let Some(tls) = &self.tls else { return self.serve_http(stream, peer, tracked).await };
        let mut ending = self.ending.clone();
        let handshake = tokio::select! {
            handshake = timeout(self.limits.handshake, tls.accept(stream)) => handshake,
            _ = ending.changed() => return None,
            () = tracked.evicted() => return Some(CloseReason::Crowded),
        };
        match handshake {
            Ok(Ok(stream)) => return self.serve_http(stream, peer, tracked).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        }
        Some(CloseReason::Handshake)
    }

    async fn serve_http<S>(
        &self,
        stream: S,
        peer: SocketAddr,
        tracked: Arc<TrackedConnection>,
    ) -> Option<CloseReason>
    where
        S: AsyncRead + AsyncWrite + Reset + Unpin + Send + 'static,
    {
        let limits = &self.limits;
        let stream = TimeoutStream::new(stream, Arc::clone(&tracked), limits.head, limits.write);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle)
            .max_header_size(limits.head_bytes)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(|request| self.respond(request, peer, &tracked)),
            );
        let mut connection = pin!(connection);
        let mut ending = self.ending.clone();
        let mut is_ending = false;
        let mut crowded = None;
        let result = loop {
            tokio::select! {
                // The connection is polled first: a request that has arrived is read and not dropped.
                biased;
                result = connection.as_mut() => break result,
                _ = ending.changed(), if !is_ending => {
                    // Hyper's graceful shutdown needs a first request.
                    if !tracked.has_received() {
                        return None;
                    }
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = tracked.evicted() => {
                    crowded = Some(CloseReason::Crowded);
                    match tracked.idle() {
                        // A request has just begun: it is finished, as the connection's last one.
                        None => connection.as_mut().graceful_shutdown(),
                        Some(Idle::NextRequest) if !tracked.head_has_begun() => {
                            connection.as_mut().graceful_shutdown();
                            if let Poll::Ready(result) = futures_util::poll!(connection.as_mut()) {
                                break result;
                            }
                            if tracked.idle().is_some() {
                                return crowded;
                            }
                        }
                        // The client has not sent all of a request: waiting for the rest would free no permit.
                        Some(_) => return crowded,
                    }
                }
            }
        };
        let Err(error) = result else { return crowded };
        tracing::debug!(%peer, %error, "connection failed");
        crowded.or_else(|| timeout_of(&error))
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        tracked: &Arc<TrackedConnection>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        let in_progress = tracked.begin_request();
        let version = request.version();
        if let Err(why) = check_unambiguous(&request) {
            return Ok(rejection(why).map(|body| ResponseBody::new(body, in_progress, version)));
        }
        let mut request = request.map(|body| {
            if body.is_end_stream() {
                return Body::new(body);
            }
            Body::new(RequestBody::new(body, Arc::clone(tracked)))
        });
        request.extensions_mut().insert(ConnectInfo(peer));
        let class = (!tracked.is_authenticated()).then(|| {
            (request.method() != Method::OPTIONS).then(|| route_class(request.uri().path()))
        });
        let response = self.router.clone().call(request).await?;
        if class.flatten().is_some_and(|class| is_authenticated(class, &response)) {
            tracked.set_authenticated();
        }
        Ok(response.map(|body| ResponseBody::new(body, in_progress, version)))
    }
}

/// Returns whether a response proves that its request was authenticated. `false` proves nothing.
fn is_authenticated(class: &str, response: &Response<Body>) -> bool {
    if let Some(outcome) = response.extensions().get::<Outcome>() {
        return outcome.is_authenticated();
    }
    match class {
        "authorizations" | "lookups" => response.status().is_success(),
        "forward_auth" => response.headers().contains_key("x-portcullis-user"),
        _ => false,
    }
}

/// Returns the timeout that has closed the connection, if one has.
fn timeout_of(error: &hyper::Error) -> Option<CloseReason> {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    if error.is_timeout() {
        Some(CloseReason::Idle)
    } else if source.is_some_and(|source| source.kind() == io::ErrorKind::TimedOut) {
        Some(CloseReason::Slow)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
