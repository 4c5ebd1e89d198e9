//! Connections: accepting them, serving them, ending them in good order.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long a client may take to send the head of a request, and a connection may lie idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How long to wait when no connection can be accepted, for want of file descriptors for instance.
const ACCEPT_AGAIN: Duration = Duration::from_millis(250);

/// Serves until `end`, then lets requests in flight finish for as long as `grace`.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    end: impl Future<Output = ()>,
    grace: Duration,
) {
    let (ending, _) = watch::channel(());
    let mut end = pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            (stream, peer) = accept(&listener) => {
                let connection = serve_connection(stream, peer, router.clone(), ending.subscribe());
                tokio::spawn(connection);
            }
        }
    }
    // Those who come now are refused, not left waiting.
    drop(listener);
    // An error means that there is nobody to tell.
    let _ = ending.send(());
    if timeout(grace, ending.closed()).await.is_err() {
        let left = ending.receiver_count();
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

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    mut ending: watch::Receiver<()>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    // Hyper does not end a connection in good order before its first request has begun.
    tokio::select! {
        readable = timeout(HEAD_TIMEOUT, stream.readable()) => match readable {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        },
        _ = ending.changed() => return,
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), telling(peer, router));
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = ending.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection failed");
    }
}

/// Tells the router who is at the other end.
fn telling(
    peer: SocketAddr,
    router: Router,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> {
    let service = TowerToHyperService::new(router);
    service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        service.call(request)
    })
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::io::Write;
    use std::sync::Arc;
    use std::time::Instant;

    use axum::routing::get;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn what_does_not_finish_is_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let begun = Arc::new(Notify::new());
        let begin = Arc::clone(&begun);
        let endless = get(move || async move {
            begin.notify_one();
            pending::<()>().await;
        });
        let router = Router::new().route("/", endless);
        let mut client = std::net::TcpStream::connect(address).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();

        let before = Instant::now();
        let grace = Duration::from_millis(50);
        serve(listener, router, begun.notified(), grace).await;
        assert!(before.elapsed() >= grace, "it was not waited for");
        assert!(std::net::TcpStream::connect(address).is_err(), "it still listens");
    }
}
