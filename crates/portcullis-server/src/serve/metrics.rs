//! Metrics: what is measured of connections and requests, and showing it to Prometheus.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics::{
    Gauge, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use portcullis::Engine;

const CONNECTIONS: &str = "portcullis_connections";
const ACCEPTED: &str = "portcullis_connections_accepted_total";
const EVICTED: &str = "portcullis_connections_evicted_total";
const REQUESTS: &str = "portcullis_http_requests_total";
const DURATION: &str = "portcullis_http_request_duration_seconds";

/// Up to what durations are counted, in seconds: from a permission check to a client that is given
/// up.
const BUCKETS: [f64; 15] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
    30.0,
];

/// How often what was measured is summed up, in case that nobody asks for it.
const UPKEEP: Duration = Duration::from_secs(5);

/// The metrics of this process, which everything in it adds to.
pub(super) struct Metrics(PrometheusHandle);

#[derive(Clone)]
struct Shown {
    handle: PrometheusHandle,
    engine: Engine,
}

impl Metrics {
    /// Begins to measure. What was before is not counted, so this comes before the engine is built.
    pub(super) fn install() -> anyhow::Result<Self> {
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS);
        let recorder = builder.context("metrics cannot be set up")?.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).context("metrics cannot be set up")?;
        describe();
        Ok(Self(handle))
    }

    /// `GET /metrics`, and nothing else.
    pub(super) fn router(self, engine: Engine) -> Router {
        let state = Shown { handle: self.0, engine };
        Router::new().route("/metrics", get(show)).with_state(state)
    }

    /// Sums up what was measured, from time to time: it takes memory until then.
    pub(super) fn keep_up(&self) -> impl Future<Output = ()> + Send + 'static {
        let handle = self.0.clone();
        async move {
            let mut interval = tokio::time::interval(UPKEEP);
            loop {
                interval.tick().await;
                handle.run_upkeep();
            }
        }
    }
}

async fn show(State(shown): State<Shown>) -> Response {
    shown.engine.publish_metrics();
    let content_type = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, shown.handle.render()).into_response()
}

fn describe() {
    describe_gauge!(CONNECTIONS, "Connections that are open");
    describe_counter!(ACCEPTED, "Connections that were accepted");
    describe_counter!(
        EVICTED,
        "Connections that we ended: `crowded` to make room for others, `handshake` without TLS, \
         `idle` without a request, `slow` in sending or taking"
    );
    describe_counter!(REQUESTS, "Requests that were answered, by kind of route and status");
    describe_histogram!(DURATION, Unit::Seconds, "Time until the answer to a request begins");
}

/// Why a connection was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    Crowded,
    Handshake,
    Idle,
    Slow,
}

impl CloseReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Crowded => "crowded",
            Self::Handshake => "handshake",
            Self::Idle => "idle",
            Self::Slow => "slow",
        }
    }

    pub(super) fn count(self, listener: &'static str) {
        counter!(EVICTED, "listener" => listener, "reason" => self.as_str()).increment(1);
    }
}

/// A connection that is open, as long as this lives.
pub(super) struct OpenConnection(Gauge);

impl OpenConnection {
    pub(super) fn count(listener: &'static str) -> Self {
        counter!(ACCEPTED, "listener" => listener).increment(1);
        let open = gauge!(CONNECTIONS, "listener" => listener);
        open.increment(1);
        Self(open)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// Measures every request of the router.
pub(super) fn measured(router: Router) -> Router {
    router.layer(from_fn(measure))
}

async fn measure(request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let route = route_class(request.uri().path());
    let response = next.run(request).await;
    histogram!(DURATION, "route" => route).record(begin.elapsed());
    // Statuses are ours to choose, and few.
    let status = response.status().as_str().to_owned();
    counter!(REQUESTS, "route" => route, "status" => status).increment(1);
    response
}

/// The kind of route. Paths are the clients' to choose, and many.
pub(super) fn route_class(path: &str) -> &'static str {
    let below = |prefix: &str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if below("/legacy/authorizations") || below("/private/legacy/authorizations") {
        "authorizations"
    } else if below("/api/v2") {
        "lookups"
    } else if below("/forward-auth") {
        "forward_auth"
    } else if ["/ping", "/health", "/ready", "/openapi.json"].contains(&path) {
        "operations"
    } else {
        "other"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_of_few_kinds() {
        for (path, class) in [
            ("/legacy/authorizations", "authorizations"),
            ("/private/legacy/authorizations/0000000000000001/password", "authorizations"),
            ("/legacy/authorizationsx", "other"),
            ("/api/v2/orgs", "lookups"),
            ("/forward-auth", "forward_auth"),
            ("/ping", "operations"),
            ("/ping/x", "other"),
            ("/", "other"),
        ] {
            assert_eq!(route_class(path), class, "{path}");
        }
    }
}
