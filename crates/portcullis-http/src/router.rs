//! Which path leads where.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use portcullis::Engine;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;

use crate::callers::{ApiTokenCallers, Callers, require_caller};
use crate::client_address::{ClientAddressLayer, TrustedProxy};
use crate::envelope::Envelope;
use crate::forward_auth::ForwardAuthConfig;
use crate::trace::TraceLayer;
use crate::wire::PREFIX;
use crate::{authorizations, forward_auth, list, lookups, operations};

/// The documented prefix. Existing clients call [`PREFIX`].
const DOCUMENTED_PREFIX: &str = "/legacy/authorizations";

/// What the handlers share.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) engine: Engine,
    pub(crate) callers: Arc<dyn Callers>,
}

/// The management API, for callers with API tokens: to be merged into a host's own router.
///
/// It answers below `/legacy/authorizations` and `/private/legacy/authorizations`, and the
/// lookups of orgs, users and buckets below `/api/v2` that existing clients need. All other paths
/// stay the host's. With a [`ClientAddressLayer`] around it, the engine is told where callers are.
pub fn router(engine: Engine) -> Router {
    let callers = ApiTokenCallers::new(engine.clone());
    router_with_callers(engine, callers)
}

/// The management API for callers of the host's own.
pub fn router_with_callers(engine: Engine, callers: impl Callers) -> Router {
    let api = Api { engine, callers: Arc::new(callers) };
    management(api).layer(TraceLayer)
}

/// Settings of a server of its own. The defaults are those of its fields.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServerConfig {
    /// How reverse proxies are answered.
    pub forward_auth: ForwardAuthConfig,
    /// The proxies whose word on a client's address is taken ([`ClientAddressLayer`]). Default:
    /// none.
    pub trusted_proxies: Vec<TrustedProxy>,
}

/// Everything that a server of its own serves: the management API, `/forward-auth`, `/ping`,
/// `/health` and `/ready`. Every other path is answered too, with the error envelope.
pub fn server_router(engine: Engine) -> Router {
    server_router_with(engine, ServerConfig::default())
}

/// Does what [`server_router`] does, with other settings.
pub fn server_router_with(engine: Engine, config: ServerConfig) -> Router {
    let ServerConfig { forward_auth, trusted_proxies } = config;
    let callers = Arc::new(ApiTokenCallers::new(engine.clone()));
    let api = Api { engine: engine.clone(), callers };
    let unknown = Router::new()
        .fallback(path_not_found)
        .layer(from_fn_with_state(api.clone(), require_caller_below_api));
    let addresses = ClientAddressLayer::new(trusted_proxies);
    management(api.clone())
        .merge(operations::router(api, forward_auth.influxdb_version.clone()))
        .fallback_service(unknown)
        // Together, as each layer of a router costs a request two allocations.
        .layer((addresses.clone(), TraceLayer))
        .merge(forward_auth::routes(engine, forward_auth, Some(addresses)))
}

fn management(api: Api) -> Router {
    Router::new()
        .merge(legacy_authorizations(PREFIX))
        .merge(legacy_authorizations(DOCUMENTED_PREFIX))
        .merge(lookup_routes())
        .method_not_allowed_fallback(method_not_allowed)
        .route_layer(from_fn_with_state(api.clone(), require_caller))
        .with_state(api)
}

fn legacy_authorizations(prefix: &str) -> Router<Api> {
    // The list alone: everything else is short.
    let collection = get(list::list).layer(compression()).post(authorizations::create);
    let item =
        get(authorizations::get).patch(authorizations::update).delete(authorizations::delete);
    let router = Router::new();
    let router = route(router, prefix, collection);
    let router = route(router, &format!("{prefix}/{{id}}"), item);
    let router =
        route(router, &format!("{prefix}/{{id}}/password"), post(authorizations::set_password));
    let router = route(
        router,
        &format!("{prefix}/{{id}}/permissions"),
        put(authorizations::set_permissions),
    );
    // Below the prefix nothing is the host's, so that unknown paths get the envelope as well.
    router
        .route(&format!("{prefix}/{{id}}/{{*rest}}"), axum::routing::any(path_not_found))
        .route(&format!("{prefix}//"), axum::routing::any(path_not_found))
}

/// Compresses what is long for whoever asks for it. At the lowest level: the worker's time is dear,
/// and a list is a tenth of its size all the same.
fn compression() -> CompressionLayer<SizeAbove> {
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(MIN_COMPRESSED_BYTES))
}

/// The shortest answer that is compressed.
const MIN_COMPRESSED_BYTES: u64 = 1_024;

fn lookup_routes() -> Router<Api> {
    let router = Router::new();
    let router = route(router, "/api/v2/orgs", get(lookups::orgs));
    let router = route(router, "/api/v2/orgs/{id}", get(lookups::org));
    let router = route(router, "/api/v2/users", get(lookups::users));
    let router = route(router, "/api/v2/users/{id}", get(lookups::user));
    let router = route(router, "/api/v2/buckets", get(lookups::buckets));
    let router = route(router, "/api/v2/buckets/{id}", get(lookups::bucket));
    route(router, "/api/v2/me", get(lookups::me))
}

/// Adds the route with and without one slash at the end.
fn route(router: Router<Api>, path: &str, methods: MethodRouter<Api>) -> Router<Api> {
    router.route(&format!("{path}/"), methods.clone()).route(path, methods)
}

async fn method_not_allowed() -> Envelope {
    Envelope::method_not_allowed()
}

async fn path_not_found() -> Envelope {
    Envelope::path_not_found()
}

/// Where the API lives, who calls is asked before whether there is anything.
async fn require_caller_below_api(
    State(api): State<Api>,
    request: Request,
    next: axum::middleware::Next,
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
