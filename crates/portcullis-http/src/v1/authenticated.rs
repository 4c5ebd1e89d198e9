//! The principal, as an argument of a handler.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use portcullis::Principal;

use crate::v1::rejection::V1Rejection;

/// Extractor for axum: whom [`V1CredentialLayer`](crate::V1CredentialLayer) has let in.
///
/// A route that nobody was let in to, because no such layer is around it or the path is `/ping`,
/// is answered with 401 as if there were no credentials, and a warning is logged: a route that was
/// left unprotected by mistake stays closed. `Option<Authenticated>` is `None` there.
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
        tracing::warn!("nobody was authenticated: is there a V1CredentialLayer around the route?");
        Err(NotAuthenticated)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Authenticated {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned().map(Self))
    }
}

/// Says that nobody was let in to a route: 401 `unauthorized access`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAuthenticated;

impl IntoResponse for NotAuthenticated {
    fn into_response(self) -> Response {
        V1Rejection::unauthorized_access().into_response()
    }
}
