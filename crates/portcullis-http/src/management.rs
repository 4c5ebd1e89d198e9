//! The management API: its builder and its routes.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post, put};
use portcullis::{Bucket, Engine, Org, User};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;

use crate::api::wire::{API_TOKENS, PREFIX};
use crate::api::{api_tokens, authorizations, dbrps, list, lookups, tenants};
use crate::callers::{ApiTokenCallers, Callers};
use crate::extract::caller::require_caller;
use crate::openapi;
use crate::respond::ErrorBody;
use crate::state::Api;
use crate::trace::TraceLayer;

/// The documented prefix. Existing clients call [`PREFIX`].
const DOCUMENTED_PREFIX: &str = "/legacy/authorizations";

/// The management API: a router to be merged into a host's own.
///
/// Its routes are below `/legacy/authorizations` and `/private/legacy/authorizations`, and below `/api/v2`
/// API tokens (`authorizations`), orgs, users, buckets and DBRP mappings. All other paths stay the host's. A
/// host sets its store up itself ([`Engine::setup`]): only [`ServerApi`](crate::ServerApi) lets a client do it. With a [`ClientAddressLayer`](crate::ClientAddressLayer) around the router, the engine learns the
/// addresses of the callers.
///
/// ```
/// use portcullis::{Bucket, Engine, Org, User};
/// use portcullis_http::ManagementApi;
///
/// fn app(engine: Engine) -> axum::Router {
///     axum::Router::new().merge(ManagementApi::new(engine).into_router())
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ManagementApi {
    pub(crate) api: Api,
    openapi: bool,
}

impl ManagementApi {
    /// The management API of the engine, for callers with API tokens ([`ApiTokenCallers`]).
    pub fn new(engine: Engine) -> Self {
        let callers = Arc::new(ApiTokenCallers::new(engine.clone()));
        Self { api: Api { engine, callers }, openapi: false }
    }

    /// Sets how callers are authenticated. Default: [`ApiTokenCallers`].
    pub fn callers(self, callers: impl Callers) -> Self {
        Self { api: Api { callers: Arc::new(callers), ..self.api }, ..self }
    }

    /// Sets whether `GET /openapi.json` responds with the OpenAPI document of these routes, without
    /// credentials. Default: no, the path stays the host's.
    pub fn openapi(self, openapi: bool) -> Self {
        Self { openapi, ..self }
    }

    /// Returns the router.
    pub fn into_router(self) -> Router {
        let routes = routes(self.api);
        let routes = match self.openapi {
            true => routes.merge(openapi::router(openapi::Routes::Management)),
            false => routes,
        };
        routes.layer(TraceLayer)
    }
}

pub(crate) fn routes(api: Api) -> Router {
    Router::new()
        .merge(legacy_authorizations(PREFIX))
        .merge(legacy_authorizations(DOCUMENTED_PREFIX))
        .merge(tenant_routes())
        .merge(api_token_routes())
        .merge(dbrp_routes())
        .method_not_allowed_fallback(method_not_allowed)
        .route_layer(from_fn_with_state(api.clone(), require_caller))
        .with_state(api)
}

fn legacy_authorizations(prefix: &str) -> Router<Api> {
    // Only lists are compressed: every other response is short.
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
        &format!("{prefix}/{{id}}/password/previous"),
        delete(authorizations::end_previous_password),
    );
    let router = route(
        router,
        &format!("{prefix}/{{id}}/permissions"),
        put(authorizations::set_permissions),
    );
    // Every path below the prefix belongs to the API, so unknown ones have the error envelope too.
    router
        .route(&format!("{prefix}/{{id}}/{{*rest}}"), axum::routing::any(path_not_found))
        .route(&format!("{prefix}//"), axum::routing::any(path_not_found))
}

/// Compresses long responses for clients that accept it. The lowest level costs the worker least,
/// and still makes a list ten times smaller.
pub(crate) fn compression() -> CompressionLayer<SizeAbove> {
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(MIN_COMPRESSED_BYTES))
}

/// The shortest response that is compressed.
const MIN_COMPRESSED_BYTES: u64 = 1_024;

fn tenant_routes() -> Router<Api> {
    let router = Router::new();
    let orgs = get(lookups::list::<Org>).post(tenants::create_org);
    let router = route(router, "/api/v2/orgs", orgs);
    let org = get(lookups::get::<Org>).patch(tenants::update_org).delete(tenants::delete_org);
    let router = route(router, "/api/v2/orgs/{id}", org);
    let users = get(lookups::list::<User>).post(tenants::create_user);
    let router = route(router, "/api/v2/users", users);
    let user = get(lookups::get::<User>).patch(tenants::update_user).delete(tenants::delete_user);
    let router = route(router, "/api/v2/users/{id}", user);
    let buckets = get(lookups::list::<Bucket>).post(tenants::create_bucket);
    let router = route(router, "/api/v2/buckets", buckets);
    let bucket =
        get(lookups::get::<Bucket>).patch(tenants::update_bucket).delete(tenants::delete_bucket);
    let router = route(router, "/api/v2/buckets/{id}", bucket);
    let router = route(router, "/api/v2/me", get(lookups::me));
    let password = || post(tenants::refuse_password).put(tenants::refuse_password);
    let router = route(router, "/api/v2/me/password", password());
    route(router, "/api/v2/users/{id}/password", password())
}

fn api_token_routes() -> Router<Api> {
    let collection = get(list::list_api_tokens).layer(compression()).post(api_tokens::create);
    let item = get(api_tokens::get).patch(api_tokens::update).delete(api_tokens::delete);
    let router = route(Router::new(), API_TOKENS, collection);
    route(router, &format!("{API_TOKENS}/{{id}}"), item)
}

fn dbrp_routes() -> Router<Api> {
    let collection = get(dbrps::list).layer(compression()).post(dbrps::create);
    let item = get(dbrps::get).patch(dbrps::update).delete(dbrps::delete);
    let router = route(Router::new(), "/api/v2/dbrps", collection);
    route(router, "/api/v2/dbrps/{id}", item)
}

/// Adds the route with and without one slash at the end.
fn route(router: Router<Api>, path: &str, methods: MethodRouter<Api>) -> Router<Api> {
    router.route(&format!("{path}/"), methods.clone()).route(path, methods)
}

async fn method_not_allowed() -> ErrorBody {
    ErrorBody::method_not_allowed()
}

pub(crate) async fn path_not_found() -> ErrorBody {
    ErrorBody::path_not_found()
}
