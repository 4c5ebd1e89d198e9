//! Metrics of connections and requests, and the endpoint that serves all metrics to Prometheus.

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
use portcullis_http::CredentialLimiter;

const CONNECTIONS: &str = "portcullis_connections";
const ACCEPTED: &str = "portcullis_connections_accepted_total";
const EVICTED: &str = "portcullis_connections_evicted_total";
const REQUESTS: &str = "portcullis_http_requests_total";
const DURATION: &str = "portcullis_http_request_duration_seconds";
const LIMITED: &str = "portcullis_credential_limited_most";

/// How many credentials with the most refused requests have a line of their own.
const MOST_LIMITED: usize = 20;

/// The upper bounds of the histograms' buckets in seconds: from a permission check to the write timeout.
const BUCKETS: [f64; 15] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
    30.0,
];

/// The time between two aggregations of recorded values, which take memory until then.
const UPKEEP: Duration = Duration::from_secs(5);

/// The metrics of this process.
pub(super) struct Metrics(PrometheusHandle);

#[derive(Clone)]
struct MetricsState {
    handle: PrometheusHandle,
    engine: Engine,
    limiter: Option<CredentialLimiter>,
}

impl Metrics {
    /// Installs the recorder. It must be installed before the engine is built, which registers metrics.
    pub(super) fn install() -> anyhow::Result<Self> {
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS);
        let recorder = builder.context("cannot set up metrics")?.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).context("cannot set up metrics")?;
        describe();
        Ok(Self(handle))
    }

    /// Returns a router for `GET /metrics`, and nothing else.
    pub(super) fn router(self, engine: Engine, limiter: Option<CredentialLimiter>) -> Router {
        let state = MetricsState { handle: self.0, engine, limiter };
        Router::new().route("/metrics", get(show)).with_state(state)
    }

    /// Aggregates recorded values at intervals, as long as the future is polled.
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

async fn show(State(state): State<MetricsState>) -> Response {
    state.engine.publish_metrics();
    let content_type = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    let mut text = state.handle.render();
    if let Some(limiter) = &state.limiter {
        append_most_limited(&mut text, limiter);
    }
    (content_type, text).into_response()
}

/// Writes which credentials are refused most because of their limits. The recorder would keep the line of a
/// credential for ever; these are only those of the present ones.
fn append_most_limited(text: &mut String, limiter: &CredentialLimiter) {
    let counts = limiter.most_refused(MOST_LIMITED);
    if counts.is_empty() {
        return;
    }
    text.push_str(&format!(
        "# HELP {LIMITED} Requests that a limit of the credential has refused, of the credentials with the most\n\
         # TYPE {LIMITED} gauge\n"
    ));
    for (id, count) in counts {
        text.push_str(&format!("{LIMITED}{{credential=\"{id}\"}} {count}\n"));
    }
    text.push('\n');
}

fn describe() {
    describe_gauge!(CONNECTIONS, "Open connections");
    describe_counter!(ACCEPTED, "Accepted connections");
    describe_counter!(
        EVICTED,
        "Connections that the server closed: `crowded` to make room for another, `handshake` without \
         a TLS handshake, `idle` without a request, `slow` in sending a head or reading a response"
    );
    describe_counter!(REQUESTS, "Requests with a response, by class of route and status");
    describe_histogram!(
        DURATION,
        Unit::Seconds,
        "Time from a request to the beginning of its response"
    );
}

/// Why the server has closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// It was evicted to make room for another.
    Crowded,
    /// The TLS handshake failed or took too long.
    Handshake,
    /// There was no request for too long.
    Idle,
    /// The client was too slow in sending a head or in reading a response.
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

/// Counts an open connection until it is dropped.
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

/// Adds metrics for every request to the router.
pub(super) fn measured(router: Router) -> Router {
    router.layer(from_fn(measure))
}

async fn measure(request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let route = route_class(request.uri().path());
    let response = next.run(request).await;
    histogram!(DURATION, "route" => route).record(begin.elapsed());
    // The server chooses the statuses, of which there are few.
    let status = response.status().as_str().to_owned();
    counter!(REQUESTS, "route" => route, "status" => status).increment(1);
    response
}

/// Returns the class of a route. Labels have few values, although clients can send any path.
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
    fn routes_have_few_classes() {
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
