//! What operators see of denied requests: the log, and the audit log.

use std::net::IpAddr;

use portcullis::{Engine, Identity, Principal};
use portcullis_http::V1Denial;

use crate::parameters::Parameters;
use crate::route::Route;

/// How many characters of a statement are recorded.
const MAX_SHOWN: usize = 256;

/// Records denied requests.
pub(crate) struct Denials {
    /// Whether statements are recorded as they are, with their literals.
    pub(crate) shows_literals: bool,
}

impl Denials {
    /// Logs the request, and reports denied statements to the audit sink.
    pub(crate) fn record(
        &self,
        engine: &Engine,
        route: Route,
        principal: &Principal,
        source: Option<IpAddr>,
        denial: &V1Denial,
        parameters: &Parameters<'_>,
    ) {
        let why = match denial {
            V1Denial::Access { lacks: Some(permission), .. } => format!("it lacks {permission}"),
            V1Denial::Access { name, lacks: None, .. } => {
                format!("there is no bucket {}", cut(name).escape_debug())
            }
            V1Denial::Query(query) => {
                let statement = match self.shows_literals {
                    true => parameters.get("q").unwrap_or_default(),
                    false => query.statement_text(),
                };
                let why = denial.to_string();
                return Self::record_query(engine, route, principal, source, &why, statement);
            }
            other => other.to_string(),
        };
        log(route, principal, source, &why);
    }

    /// Logs a denied query, and reports it to the audit sink. The statement must be one without literals,
    /// unless they are shown.
    pub(crate) fn record_query(
        engine: &Engine,
        route: Route,
        principal: &Principal,
        source: Option<IpAddr>,
        why: &str,
        statement: &str,
    ) {
        let why = format!("{why}: {}", cut(statement).escape_debug());
        engine.report_refused_query(principal, source, &why);
        log(route, principal, source, &why);
    }
}

fn log(route: Route, principal: &Principal, source: Option<IpAddr>, why: &str) {
    let authorization = match principal.identity() {
        Identity::Authorization(id, _) => Some(id.to_string()),
        Identity::ApiToken(id) => Some(id.to_string()),
        _ => None,
    };
    tracing::info!(
        target: "portcullis::gateway",
        address = source.map(tracing::field::display),
        authorization,
        path = route.path(),
        "denied: {why}"
    );
}

fn cut(text: &str) -> &str {
    let end = text.char_indices().nth(MAX_SHOWN).map(|(end, _)| end);
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}
