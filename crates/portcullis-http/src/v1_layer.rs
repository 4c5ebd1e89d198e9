//! A tower layer that lets only v1 clients with valid credentials through.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use portcullis::{Engine, Error, ErrorKind};
use tower_layer::Layer;
use tower_service::Service;

use crate::envelope::Envelope;
use crate::v1_credentials::V1Credentials;

/// How many characters of a username are logged.
const MAX_NAME: usize = 128;

/// What a browser or a 1.x client is told to present.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"portcullis\"");

/// Protects a server's own v1 routes, such as `/write` and `/query`.
///
/// A request with valid v1 credentials goes through, with its
/// [`Principal`](portcullis::Principal) in the request's extensions; what it may do is for the
/// route to ask. Every other request is answered with the error envelope. The path `/ping` goes
/// through without credentials (`docs/behaviour.md`, "Logging in").
#[derive(Clone, Debug)]
pub struct V1CredentialLayer {
    engine: Engine,
}

impl V1CredentialLayer {
    /// Lets in whom the engine lets in.
    pub const fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

impl<S> Layer<S> for V1CredentialLayer {
    type Service = V1CredentialService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        V1CredentialService { inner, engine: self.engine.clone() }
    }
}

/// The service that [`V1CredentialLayer`] makes.
#[derive(Clone, Debug)]
pub struct V1CredentialService<S> {
    inner: S,
    engine: Engine,
}

impl<S, B, R> Service<Request<B>> for V1CredentialService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<Bytes>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that is ready is called, its clone waits for the next request.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let engine = self.engine.clone();
        Box::pin(async move {
            if request.uri().path() == "/ping" {
                return inner.call(request).await;
            }
            let rejection = match V1Credentials::parse(request.uri(), request.headers()) {
                Err(_) => Envelope::unauthorized_access(),
                Ok(credentials) => match engine.authenticate(credentials.as_credentials()).await {
                    Ok(principal) => {
                        drop(credentials);
                        request.extensions_mut().insert(principal);
                        return inner.call(request).await;
                    }
                    Err(error) => {
                        if let Some(refusal) = error.refusal() {
                            tracing::info!(
                                username = ?credentials.username().chars().take(MAX_NAME).collect::<String>(),
                                scheme = credentials.scheme().as_str(),
                                reason = %refusal,
                                "log-in refused"
                            );
                        }
                        v1_envelope(error)
                    }
                },
            };
            Ok(respond(&rejection))
        })
    }
}

/// The answer to a v1 client that was not let in: status, code and message.
///
/// A host that authenticates v1 clients in its own way answers them like this, so that they are
/// told what [`V1CredentialLayer`] tells them. Failures stay failures: what cannot be decided now
/// is never reported as wrong credentials.
pub fn v1_rejection(error: Error) -> (StatusCode, &'static str, String) {
    let Envelope { status, code, message, .. } = v1_envelope(error);
    (status, code, message)
}

fn v1_envelope(error: Error) -> Envelope {
    match error.kind() {
        ErrorKind::Forbidden
        | ErrorKind::Unauthorized
        | ErrorKind::TooManyRequests
        | ErrorKind::Unavailable
        | ErrorKind::Internal => error.into(),
        // Whatever else is wrong with credentials, they are wrong.
        ErrorKind::Conflict | ErrorKind::Invalid | ErrorKind::NotFound => {
            Envelope::unauthorized_access()
        }
    }
}

fn respond<R: From<Bytes>>(envelope: &Envelope) -> Response<R> {
    let body = Bytes::from(envelope.compact_body());
    let mut response = Response::new(R::from(body));
    envelope.dress(&mut response);
    if envelope.status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
    }
    response
}
