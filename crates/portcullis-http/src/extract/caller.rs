//! The caller of a management request: authenticated before the handlers run.

use std::net::IpAddr;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use portcullis::store::Revision;
use portcullis::{Engine, Error, ErrorKind, OnBehalfOf, OrgId, Principal};
use serde::Serialize;

use crate::client_address::source;
use crate::extract::conditions::Conditions;
use crate::log::refusals::log_refusal;
use crate::respond::{ErrorBody, not_modified, record_response};
use crate::state::Api;

/// Extension of a management request: its caller, and the address it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    principal: Principal,
    source: Option<IpAddr>,
}

impl Caller {
    /// Checks that the caller's token is active.
    pub(crate) fn require_active(&self) -> Result<(), ErrorBody> {
        match self.principal.is_active() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Unauthorized, "token is inactive").into()),
        }
    }

    /// Checks that the caller's credential is still valid and has the same permissions. The
    /// credential is read again if it may have changed.
    pub(crate) async fn revalidate(&mut self, engine: &Engine) -> Result<(), Error> {
        let now = engine.revalidate(&self.principal, self.source).await?;
        let before = std::mem::replace(&mut self.principal, now);
        engine.on_behalf_of(&self.principal).require_active()?;
        if before.permissions() == self.principal.permissions() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unauthorized, "the caller's permissions have been changed"))
    }

    /// Returns the org that the caller belongs to.
    pub(crate) fn org(&self) -> OrgId {
        self.principal.org()
    }

    /// Returns the engine's operations on the caller's behalf.
    pub(crate) fn engine_for<'a>(&'a self, engine: &'a Engine) -> OnBehalfOf<'a> {
        engine.on_behalf_of(&self.principal).source(self.source)
    }
}

/// A management request: the engine, the caller on whose behalf it is used, and the conditions.
pub(crate) struct ManagementRequest {
    pub(crate) engine: Engine,
    pub(crate) caller: Caller,
    pub(crate) conditions: Conditions,
}

impl ManagementRequest {
    /// Returns the engine's operations on the caller's behalf, under the condition of `If-Match`.
    pub(crate) fn on_behalf(&self) -> OnBehalfOf<'_> {
        self.caller.engine_for(&self.engine).if_match(&self.conditions.if_match)
    }

    /// Returns the response to a `GET` that has found the record: 304 if the client has its revision.
    pub(crate) fn respond_found(
        &self,
        revision: Option<Revision>,
        body: &impl Serialize,
    ) -> Response {
        match revision {
            Some(revision) if self.conditions.is_held(revision) => not_modified(revision),
            revision => record_response(StatusCode::OK, revision, body),
        }
    }
}

impl FromRequestParts<Api> for ManagementRequest {
    type Rejection = ErrorBody;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ErrorBody> {
        let caller = parts.extensions.get::<Caller>().cloned();
        let caller = caller.ok_or_else(ErrorBody::unauthorized_access)?;
        let conditions = match Conditions::read(&parts.method, &parts.headers) {
            Ok(conditions) => conditions,
            Err(unreadable) => {
                caller.require_active()?;
                return Err(unreadable);
            }
        };
        Ok(Self { engine: api.engine.clone(), caller, conditions })
    }
}

/// Middleware that authenticates the caller: passes the request on with its [`Caller`], or refuses it.
pub(crate) async fn require_caller(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let source = source(&parts.extensions);
    match api.callers.caller(&parts).await {
        Ok(principal) => {
            parts.extensions.insert(Caller { principal, source });
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => {
            match error.refusal() {
                Some(refusal) => log_refusal(source, "caller", refusal, ""),
                None => tracing::info!("caller refused: {error}"),
            }
            let envelope = ErrorBody::from(error);
            if envelope.status.is_server_error() {
                return envelope.into_response();
            }
            envelope.into_compact_response()
        }
    }
}
