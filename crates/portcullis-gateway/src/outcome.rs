//! What came of a request: for metrics, and for the server around the gateway.

use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};

use crate::route::Route;

const REQUESTS: &str = "portcullis_gateway_requests_total";
const DURATION: &str = "portcullis_gateway_request_duration_seconds";
const BROKEN: &str = "portcullis_gateway_broken_responses_total";

/// What came of a request: an extension of each response of a [`GatewayService`](crate::GatewayService).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The gateway has answered it itself: `SHOW DATABASES`.
    Answered,
    /// The credential is valid, and may not do it.
    Denied,
    /// The upstream has responded.
    Forwarded,
    /// It is none that is passed on, or cannot be read in one way only.
    Invalid,
    /// The credential is valid, and has sent more than its limits allow.
    Limited,
    /// The upstream has responded to a request that needs no credentials: `/ping`, `/health`, a preflight.
    Open,
    /// Its credentials are refused, throttled, or missing.
    Unauthenticated,
    /// No decision was possible.
    Undecided,
    /// The upstream does not accept connections, or has closed one without a response.
    UpstreamAway,
    /// The upstream has refused the gateway's own credentials.
    UpstreamRefused,
    /// The upstream has not responded in time.
    UpstreamTimeout,
}

impl Outcome {
    const ALL: [Self; 11] = [
        Self::Answered,
        Self::Denied,
        Self::Forwarded,
        Self::Invalid,
        Self::Limited,
        Self::Open,
        Self::Unauthenticated,
        Self::Undecided,
        Self::UpstreamAway,
        Self::UpstreamRefused,
        Self::UpstreamTimeout,
    ];

    /// Returns the label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Denied => "denied",
            Self::Forwarded => "forwarded",
            Self::Invalid => "invalid",
            Self::Limited => "limited",
            Self::Open => "open",
            Self::Unauthenticated => "unauthenticated",
            Self::Undecided => "undecided",
            Self::UpstreamAway => "upstream_away",
            Self::UpstreamRefused => "upstream_refused",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }

    /// Returns whether the request was authenticated. `false` proves nothing.
    pub const fn is_authenticated(self) -> bool {
        matches!(self, Self::Answered | Self::Denied | Self::Forwarded | Self::Limited)
    }

    /// The outcome of a response that has none of its own: a refusal of the credentials.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {
                Self::Unauthenticated
            }
            _ => Self::Undecided,
        }
    }
}

/// The handles of all metrics, so that a request looks none up.
pub(crate) struct Metrics {
    requests: Vec<[Counter; Outcome::ALL.len()]>,
    durations: Vec<Histogram>,
    broken: Vec<Counter>,
}

impl Metrics {
    pub(crate) fn register() -> Self {
        describe_counter!(REQUESTS, "Requests to the gateway, by route and outcome");
        describe_histogram!(
            DURATION,
            Unit::Seconds,
            "Time from a request to the gateway to the beginning of its response"
        );
        describe_counter!(
            BROKEN,
            "Responses of the upstream that ended or stalled before they were complete"
        );
        // The last row is that of paths that are no routes.
        let labels = || Route::ALL.into_iter().map(Route::label).chain(["other"]);
        let requests = labels().map(|route| {
            Outcome::ALL
                .map(|outcome| counter!(REQUESTS, "route" => route, "outcome" => outcome.as_str()))
        });
        Self {
            requests: requests.collect(),
            durations: labels().map(|route| histogram!(DURATION, "route" => route)).collect(),
            broken: labels().map(|route| counter!(BROKEN, "route" => route)).collect(),
        }
    }

    pub(crate) fn record(&self, route: Option<Route>, outcome: Outcome, duration: Duration) {
        let row = route.map_or(Route::ALL.len(), |route| route as usize);
        if let Some(counter) = self.requests.get(row).and_then(|row| row.get(outcome as usize)) {
            counter.increment(1);
        }
        if let Some(histogram) = self.durations.get(row) {
            histogram.record(duration);
        }
    }

    /// Returns the counter of responses that are broken off.
    pub(crate) fn broken(&self, route: Route) -> Counter {
        self.broken.get(route as usize).cloned().unwrap_or(Counter::noop())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_the_order_of_the_variants() {
        for (row, route) in Route::ALL.into_iter().enumerate() {
            assert_eq!(route as usize, row);
        }
        for (row, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, row);
        }
    }
}
