//! The principal of an admitted request, as an argument of a handler.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use portcullis::Principal;

use crate::v1::rejection::V1Rejection;

/// Extractor for axum: the principal that [`V1CredentialLayer`](crate::V1CredentialLayer) has
/// authenticated.
///
/// If there is none, because the route is not inside such a layer or the path is `/ping`, the
/// response is 401, as without credentials, and a warning is logged: a route that was left
/// unprotected by mistake stays closed. `Option<Authenticated>` is `None` there.
///
/// ```
/// use axum::http::StatusCode;
/// use portcullis::{Action, Resource};
/// use portcullis_http::Authenticated;
///
/// async fn write(Authenticated(client): Authenticated) -> StatusCode {
///     let buckets = Resource::all(portcullis::ResourceType::Buckets).in_org(client.org());
///     match client.check(Action::Write, &buckets).is_allowed() {
///         true => StatusCode::NO_CONTENT,
///         false => StatusCode::FORBIDDEN,
///     }
/// }
/// # let _: axum::Router = axum::Router::new().route("/write", axum::routing::post(write));
/// ```
#[derive(Clone, Debug)]
pub struct Authenticated(pub Principal);

impl<S: Sync> FromRequestParts<S> for Authenticated {
    type Rejection = NotAuthenticated;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NotAuthenticated> {
        if let Some(principal) = parts.extensions.get() {
            return Ok(Self(Principal::clone(principal)));
        }
        tracing::warn!(
            "the request is not authenticated: is there a V1CredentialLayer around the route?"
        );
        Err(NotAuthenticated)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Authenticated {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned().map(Self))
    }
}

/// The rejection of a request that is not authenticated: 401 `unauthorized access`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAuthenticated;

impl IntoResponse for NotAuthenticated {
    fn into_response(self) -> Response {
        V1Rejection::unauthorized_access().into_response()
    }
}
