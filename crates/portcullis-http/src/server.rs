//! The routes of a server of its own.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use portcullis::Engine;

use crate::api::{health, setup};
use crate::client_address::{ClientAddressLayer, TrustedProxy};
use crate::extract::caller::require_caller;
use crate::forward_auth::{self, ForwardAuthConfig};
use crate::limits::CredentialLimiter;
use crate::management::{self, ManagementApi, path_not_found};
use crate::openapi;
use crate::state::Api;
use crate::trace::TraceLayer;

/// All that a server of its own serves: the management API, `/api/v2/setup`, `/forward-auth`, `/ping`,
/// `/health`, `/ready` and the OpenAPI document of all of them at `/openapi.json`. A store that is not
/// set up is set up by the first client that asks for it. Every other path has a response too, with the
/// error envelope.
///
/// ```
/// use portcullis::Engine;
/// use portcullis_http::ServerApi;
///
/// fn app(engine: Engine) -> Result<axum::Router, Box<dyn std::error::Error>> {
///     let proxy = "10.0.0.0/8".parse()?;
///     Ok(ServerApi::new(engine).trusted_proxies([proxy]).into_router())
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ServerApi {
    engine: Engine,
    forward_auth: ForwardAuthConfig,
    limiter: Option<CredentialLimiter>,
    addresses: ClientAddressLayer,
}

impl ServerApi {
    /// A server of the engine, for callers with API tokens ([`ApiTokenCallers`](crate::ApiTokenCallers)).
    pub fn new(engine: Engine) -> Self {
        let (forward_auth, addresses) = (ForwardAuthConfig::new(), ClientAddressLayer::new([]));
        Self { engine, forward_auth, limiter: None, addresses }
    }

    /// Sets how `/forward-auth` and reverse proxies work together. Default:
    /// [`ForwardAuthConfig::new`].
    pub fn forward_auth(self, forward_auth: ForwardAuthConfig) -> Self {
        Self { forward_auth, ..self }
    }

    /// Sets what limits the rate of each credential at `/forward-auth`
    /// ([`ForwardAuth::limiter`](crate::ForwardAuth::limiter)). Callers of the management API are never limited.
    /// Default: nothing is limited.
    pub fn limiter(self, limiter: impl Into<Option<CredentialLimiter>>) -> Self {
        Self { limiter: limiter.into(), ..self }
    }

    /// Sets the proxies whose `X-Forwarded-For` is trusted ([`ClientAddressLayer`]). Default: none.
    pub fn trusted_proxies(self, proxies: impl IntoIterator<Item = TrustedProxy>) -> Self {
        Self { addresses: ClientAddressLayer::new(proxies), ..self }
    }

    /// Returns the router.
    pub fn into_router(self) -> Router {
        let Self { engine, forward_auth, limiter, addresses } = self;
        let ManagementApi { api, .. } = ManagementApi::new(engine.clone());
        let unknown = Router::new()
            .fallback(path_not_found)
            .layer(from_fn_with_state(api.clone(), require_caller_below_api));
        management::routes(api.clone())
            .merge(setup::router(api.clone()))
            .merge(health::router(api, forward_auth.influxdb.clone()))
            .merge(openapi::router(openapi::Routes::Server))
            .fallback_service(unknown)
            // Together, as each layer of a router costs a request two allocations.
            .layer((addresses.clone(), TraceLayer))
            .merge(forward_auth::routes(engine, forward_auth, limiter, Some(addresses)))
    }
}

/// Below the prefixes of the API, the caller is authenticated before an unknown path is a 404.
async fn require_caller_below_api(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let below = |prefix: &str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if ["/private", "/legacy", "/api/v2"].into_iter().any(below) {
        return require_caller(State(api), request, next).await;
    }
    next.run(request).await.into_response()
}
