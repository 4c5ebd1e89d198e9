//! Why a request is not passed on, or has no response of the upstream; and the response that says so.

use std::borrow::Cow;

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use portcullis::Error;
use portcullis_http::{InfluxdbVersion, V1Rejection};

use crate::outcome::Outcome;
use crate::parameters::InvalidParameters;
use crate::route::Route;

/// Why a request is not passed on, or has no response of the upstream.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The credential may not.
    Denied(String),
    /// A limit of the credential is exceeded.
    Limited(Error),
    /// It is none that can be passed on: the status, and the reason for the client.
    Invalid(StatusCode, Cow<'static, str>),
    /// The route has other methods.
    Method(Route),
    /// No decision is possible.
    Undecided(Error),
    /// There is no response of the upstream, or none that may be passed on.
    Upstream(Outcome),
    /// A defect.
    Defect,
}

impl Refusal {
    pub(crate) fn bad_request(why: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid(StatusCode::BAD_REQUEST, why.into())
    }

    pub(crate) fn into_response(
        self,
        client: &HeaderMap,
        influxdb: Option<&InfluxdbVersion>,
    ) -> Response<Body> {
        let unavailable = |why: &str| V1Rejection::new(StatusCode::SERVICE_UNAVAILABLE, why);
        let mut allow = None;
        let (outcome, rejection) = match self {
            Self::Denied(why) => (Outcome::Denied, V1Rejection::new(StatusCode::FORBIDDEN, why)),
            Self::Invalid(status, why) => (Outcome::Invalid, V1Rejection::new(status, why)),
            Self::Method(route) => {
                allow = Some(HeaderValue::from_static(route.methods()));
                let why = "method not allowed, the header Allow lists those that are";
                (Outcome::Invalid, V1Rejection::new(StatusCode::METHOD_NOT_ALLOWED, why))
            }
            Self::Limited(error) => (Outcome::Limited, V1Rejection::from(error)),
            Self::Undecided(error) => (Outcome::Undecided, V1Rejection::from(error)),
            Self::Upstream(outcome) => {
                let why = match outcome {
                    Outcome::UpstreamTimeout => {
                        "the database has not responded in time, try again later"
                    }
                    _ => "the database is unavailable, try again later",
                };
                (outcome, unavailable(why))
            }
            Self::Defect => (Outcome::Undecided, unavailable("an internal error has occurred")),
        };
        let rejection = rejection.influxdb_version(influxdb.cloned());
        let mut response: Response<Body> = rejection.to_response_for(client);
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        response.extensions_mut().insert(outcome);
        response
    }
}

impl From<InvalidParameters> for Refusal {
    fn from(why: InvalidParameters) -> Self {
        Self::bad_request(why.to_string())
    }
}
