//! Connections: accepting them, bounding them, serving them, ending them in good order.

use std::convert::Infallible;
use std::error::Error as _;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, sleep_until, timeout};
use tower_service::Service as _;

use super::metrics::{CutOff, OpenConnection};
use super::timed::TimedStream;
use super::tls::Tls;
use super::waiting::{Seat, SentAway, WaitingRoom, Work};

/// How long to wait when no connection can be accepted, for want of file descriptors for instance.
const ACCEPT_AGAIN: Duration = Duration::from_millis(250);

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
    /// How long a connection may stay without a request, even if others have no place.
    pub(super) stay: Duration,
    /// How long a connection may take to close that makes room for another.
    pub(super) leave: Duration,
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
            leave: Duration::from_secs(1),
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
    room: Arc<WaitingRoom>,
    ending: watch::Receiver<()>,
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
        room: Arc::default(),
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
    /// Waits for a place. Where all are taken, the connection that has waited longest for a request
    /// makes room; where each has one in work, the first that is done with it.
    async fn place(&self, places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return Some(place);
        }
        loop {
            let free = Arc::clone(places).acquire_owned();
            let changed = async {
                match self.room.send_away_one(self.limits.stay) {
                    SentAway::One => pending().await,
                    SentAway::NotBefore(then) => sleep_until(then).await,
                    SentAway::Nobody => self.room.somebody_waits().await,
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
        let seat = Seat::new(Arc::clone(&self.room));
        let Some(tls) = &self.tls else { return self.serve_http(stream, peer, seat).await };
        let mut ending = self.ending.clone();
        let shaken = tokio::select! {
            shaken = timeout(self.limits.handshake, tls.accept(stream)) => shaken,
            _ = ending.changed() => return None,
            () = seat.told_to_leave() => return Some(CutOff::Crowded),
        };
        match shaken {
            Ok(Ok(stream)) => return self.serve_http(stream, peer, seat).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        }
        Some(CutOff::Handshake)
    }

    async fn serve_http<S>(&self, stream: S, peer: SocketAddr, seat: Arc<Seat>) -> Option<CutOff>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = &self.limits;
        let stream = TimedStream::new(stream, Arc::clone(&seat), limits.head, limits.write);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle)
            .max_header_size(limits.head_bytes)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(|request| self.answer(request, peer, &seat)),
            );
        let mut connection = pin!(connection);
        let mut ending = self.ending.clone();
        let mut crowded = None;
        let result = tokio::select! {
            // First it reads what there is, so that no request is dropped that has arrived.
            biased;
            result = connection.as_mut() => result,
            _ = ending.changed() => {
                // Hyper does not end a connection in good order before its first request.
                if !seat.has_received() {
                    return None;
                }
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = seat.told_to_leave() => {
                crowded = Some(CutOff::Crowded);
                if !seat.has_received() {
                    return crowded;
                }
                connection.as_mut().graceful_shutdown();
                match timeout(self.limits.leave, connection.as_mut()).await {
                    Ok(result) => result,
                    // It has begun a request at the last moment.
                    Err(_) if !seat.is_waiting() => connection.await,
                    Err(_) => return crowded,
                }
            }
        };
        let Err(error) = result else { return crowded };
        tracing::debug!(%peer, %error, "connection failed");
        crowded.or_else(|| time_out(&error))
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        seat: &Arc<Seat>,
    ) -> Result<Response<Answer>, Infallible> {
        let work = seat.work();
        request.extensions_mut().insert(ConnectInfo(peer));
        let response = self.router.clone().call(request.map(Body::new)).await?;
        Ok(response.map(|body| Answer { body, _work: work }))
    }
}

/// Which of our time-outs has ended the connection.
fn time_out(error: &hyper::Error) -> Option<CutOff> {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    if error.is_timeout() {
        Some(CutOff::Idle)
    } else if source.is_some_and(|source| source.kind() == io::ErrorKind::TimedOut) {
        Some(CutOff::Slow)
    } else {
        None
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
