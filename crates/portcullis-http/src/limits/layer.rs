//! A tower layer that limits each credential.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::Either;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use portcullis::Principal;
use tower_layer::Layer;
use tower_service::Service;

use super::{CredentialLimiter, RequestPermit};
use crate::v1::rejection::V1Rejection;

/// Refuses requests beyond the limits of their credential: 429 with `Retry-After`, in the form for v1 clients.
///
/// It belongs inside a [`V1CredentialLayer`](crate::V1CredentialLayer), whose [`Principal`] it reads. A request without
/// one is passed on. A request is in flight until the body of its response has ended or is dropped.
///
/// ```
/// use axum::Router;
/// use axum::routing::post;
/// use http::StatusCode;
/// use portcullis::Engine;
/// use portcullis_http::{CredentialLimitLayer, CredentialLimiter, V1CredentialLayer};
///
/// fn app(engine: Engine, limiter: CredentialLimiter) -> Router {
///     let route = post(async || StatusCode::NO_CONTENT);
///     // The last layer is the outermost.
///     let route = route.layer(CredentialLimitLayer::new(limiter));
///     Router::new().route("/write", route).layer(V1CredentialLayer::new(engine))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct CredentialLimitLayer(CredentialLimiter);

impl CredentialLimitLayer {
    /// Limits requests by the limiter.
    pub const fn new(limiter: CredentialLimiter) -> Self {
        Self(limiter)
    }
}

impl<S> Layer<S> for CredentialLimitLayer {
    type Service = CredentialLimitService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CredentialLimitService { inner, limiter: self.0.clone() }
    }
}

/// The service of [`CredentialLimitLayer`].
#[derive(Clone, Debug)]
pub struct CredentialLimitService<S> {
    inner: S,
    limiter: CredentialLimiter,
}

impl<S, B, R> Service<Request<B>> for CredentialLimitService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Response = Response<LimitedBody<R>>;
    type Error = S::Error;
    type Future =
        Either<LimitedFuture<S::Future>, std::future::Ready<Result<Self::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let permit = match request.extensions().get::<Principal>() {
            Some(principal) => self.limiter.begin(principal),
            None => Ok(RequestPermit::of_nothing()),
        };
        match permit {
            Ok(permit) => Either::Left(LimitedFuture {
                response: Box::pin(self.inner.call(request)),
                permit: Some(permit),
            }),
            Err(error) => {
                let response = V1Rejection::from(error).to_response_for::<R>(request.headers());
                let response = response.map(|body| RequestPermit::of_nothing().hold_by(body));
                Either::Right(std::future::ready(Ok(response)))
            }
        }
    }
}

/// The future of [`CredentialLimitService`].
#[derive(Debug)]
pub struct LimitedFuture<F> {
    response: Pin<Box<F>>,
    permit: Option<RequestPermit>,
}

impl<F, R, E> Future for LimitedFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<LimitedBody<R>>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.response.as_mut().poll(cx));
        let permit = self.permit.take().unwrap_or(RequestPermit::of_nothing());
        Poll::Ready(response.map(|response| response.map(|body| permit.hold_by(body))))
    }
}

/// The body of a response, with whose end a request of a limited credential ends.
#[derive(Debug)]
pub struct LimitedBody<B> {
    body: B,
    permit: Option<RequestPermit>,
}

impl<B> LimitedBody<B> {
    pub(super) fn new(body: B, permit: RequestPermit) -> Self {
        Self { body, permit: Some(permit) }
    }
}

/// The body of a refusal.
impl<B: From<Bytes>> From<Bytes> for LimitedBody<B> {
    fn from(body: Bytes) -> Self {
        Self { body: B::from(body), permit: None }
    }
}

impl<B: Body + Unpin> Body for LimitedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() {
            self.permit = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
