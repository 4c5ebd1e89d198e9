//! A query that is allowed, as an argument of a handler.

use axum::extract::{FromRef, FromRequest, FromRequestParts, Request};
use http::{Method, StatusCode, header};
use portcullis::Principal;

use crate::extract::body::LimitedBody;
use crate::extract::query::parameters;
use crate::v1::authenticated::Authenticated;
use crate::v1::policy::V1Denial;
use crate::v1::query::{AllowedStatement, QueryDecision, QueryPolicy, QueryRequest};
use crate::v1::rejection::V1Rejection;

const FORM: &str = "application/x-www-form-urlencoded";

/// Parameters that decide: of two values, a handler could take the other one.
const DECISIVE: [&str; 4] = ["q", "db", "rp", "params"];

/// Extractor for axum: a query of an authenticated client, all of whose statements are allowed.
///
/// It reads `q`, `db`, `rp` and `params` from the URL and, in a `POST`, from a form of at most one mebibyte,
/// and decides by the [`QueryPolicy`] in the state of the router. The route is inside a
/// [`V1CredentialLayer`](crate::V1CredentialLayer). A handler executes [`AuthorizedQuery::statements`] with
/// the database and the parameters that are here, and with no others.
///
/// ```
/// use axum::{Router, routing::get};
/// use portcullis::{Engine, store::MemoryStore};
/// use portcullis_http::{AuthorizedQuery, QueryPolicy, V1CredentialLayer};
/// use serde_json::json;
///
/// async fn query(query: AuthorizedQuery) -> String {
///     let results = query.statements().iter().enumerate().map(|(number, statement)| {
///         // Reads statement.text() from statement.buckets().
///         json!({ "statement_id": number, "series": [{ "name": statement.kind().keywords() }] })
///     });
///     json!({ "results": results.collect::<Vec<_>>() }).to_string()
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder(MemoryStore::new()?).build().await?;
/// let app: Router = Router::new()
///     .route("/query", get(query).post(query))
///     .layer(V1CredentialLayer::new(engine.clone()))
///     .with_state(QueryPolicy::new(engine));
/// # Ok(())
/// # }
/// ```
///
/// # Rejections
///
/// In v1 form ([`V1Rejection`]):
///
/// | status | when |
/// |---|---|
/// | 400 | there is no `q`, or it cannot be parsed (`error parsing query: …`), or one of the parameters is given twice or is not UTF-8 |
/// | 401 | the request is not authenticated |
/// | 403 | a statement is denied; the message names it, with the permission that it needs |
/// | 408, 413 | the form did not arrive within 30 seconds, or is larger than a mebibyte |
/// | 415 | the body of a `POST` is no such form |
/// | 503 | a bucket cannot be looked up, with `Retry-After` |
#[derive(Clone)]
pub struct AuthorizedQuery {
    principal: Principal,
    parameters: Vec<(String, String)>,
    statements: Vec<AllowedStatement>,
}

impl AuthorizedQuery {
    /// Returns the authenticated client.
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Returns the statements of `q`, each with the buckets that it uses. There are none in a `q` that has
    /// only semicolons.
    pub fn statements(&self) -> &[AllowedStatement] {
        &self.statements
    }

    /// Returns the parameters that the decision is about. `q` is the whole text.
    pub fn request(&self) -> QueryRequest<'_> {
        let given = |name| self.parameter(name).filter(|value| !value.is_empty());
        QueryRequest {
            q: given("q").unwrap_or_default(),
            db: given("db"),
            rp: given("rp"),
            params: given("params"),
        }
    }

    /// Returns another parameter, such as `epoch` or `chunked`: the form's, or else the URL's first one.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// The statements may hold a password.
impl std::fmt::Debug for AuthorizedQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds: Vec<_> = self.statements.iter().map(AllowedStatement::kind).collect();
        f.debug_struct("AuthorizedQuery")
            .field("principal", &self.principal)
            .field("statements", &kinds)
            .finish_non_exhaustive()
    }
}

impl<S> FromRequest<S> for AuthorizedQuery
where
    S: Send + Sync,
    QueryPolicy: FromRef<S>,
{
    type Rejection = V1Rejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, V1Rejection> {
        let (mut parts, body) = request.into_parts();
        let Ok(Authenticated(principal)) =
            Authenticated::from_request_parts(&mut parts, state).await
        else {
            return Err(V1Rejection::unauthorized_access());
        };
        let request = Request::from_parts(parts, body);
        let url = request.uri().query().unwrap_or_default().to_owned();
        let form = read_form(request).await?;
        let parameters = decode(&form, &url)?;
        let mut query = Self { principal, parameters, statements: Vec::new() };
        let policy = QueryPolicy::from_ref(state);
        if query.request().q.is_empty() {
            return Err(invalid("missing required parameter \"q\""));
        }
        match policy.decide(&query.principal, query.request()).await {
            Ok(QueryDecision::Allowed(statements)) => query.statements = statements,
            Ok(QueryDecision::Denied(denial)) => {
                let message = V1Denial::Query(denial).to_string();
                return Err(V1Rejection::new(StatusCode::FORBIDDEN, message));
            }
            Ok(QueryDecision::Unreadable(why)) => return Err(invalid(why.to_string())),
            Err(error) => return Err(error.into()),
        }
        Ok(query)
    }
}

/// Returns the form of a `POST`, which may be empty.
async fn read_form(request: Request) -> Result<String, V1Rejection> {
    let mut types = request.headers().get_all(header::CONTENT_TYPE).into_iter();
    let is_form = match (types.next(), types.next()) {
        (Some(value), None) => value.to_str().is_ok_and(|value| {
            let essence = value.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case(FORM)
        }),
        _ => false,
    };
    let is_post = request.method() == Method::POST;
    let LimitedBody(body) = LimitedBody::from_request(request, &()).await?;
    if !is_post || body.is_empty() {
        return Ok(String::new());
    }
    if !is_form {
        let message = format!("the body of a query must be a form ({FORM}), with InfluxQL in `q`");
        return Err(V1Rejection::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    String::from_utf8(body.into()).map_err(|_| invalid("the form is not UTF-8"))
}

/// Decodes the parameters of the form, and then those of the URL, which come second as in InfluxDB.
fn decode(form: &str, url: &str) -> Result<Vec<(String, String)>, V1Rejection> {
    let mut decoded: Vec<(String, String)> = Vec::new();
    for parameter in parameters(form).chain(parameters(url)) {
        let name = parameter.name().and_then(|name| String::from_utf8(name.decode()).ok());
        let Some(name) = name else {
            return Err(invalid(format!("{} is no name of a parameter", parameter.shown_name())));
        };
        let value = parameter.value().and_then(|value| String::from_utf8(value.decode()).ok());
        let Some(value) = value else {
            return Err(invalid(format!(
                "{} cannot be read: encode it for a URL",
                parameter.shown_name()
            )));
        };
        if DECISIVE.contains(&&*name) && decoded.iter().any(|(other, _)| *other == name) {
            return Err(invalid(format!("`{name}` is given twice")));
        }
        decoded.push((name, value));
    }
    Ok(decoded)
}

fn invalid(message: impl Into<String>) -> V1Rejection {
    V1Rejection::new(StatusCode::BAD_REQUEST, message)
}
