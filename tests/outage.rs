//! What an operator sees of an outage of the store: `/ready`, metrics, and one line in the log for each
//! change of state. Alone in its process, so that nothing else is measured.

mod shown;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use portcullis::{CacheConfig, Credentials, Engine, ErrorKind};
use portcullis_testkit::world::{ManualClock, World, builder};
use portcullis_testkit::{Call, Fault, Faults, FaultyStore};
use serde_json::Value;
use tower::ServiceExt;

use shown::Shown;

struct Outage {
    engine: Engine,
    api: Router,
    faults: Faults,
    /// The feed's clock goes on while this one stands still.
    clock: ManualClock,
    log: Shown,
    metrics: PrometheusHandle,
}

impl Outage {
    async fn new() -> Self {
        let log = Shown::default();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .with_writer(log.clone())
            .init();
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        metrics::set_global_recorder(recorder).unwrap();

        // By another engine, so that the feed has no events of these records.
        let world = World::new().await;
        world.credential("telegraf").await;

        let (faults, clock) = (Faults::new(), ManualClock::new());
        let engine = builder(Arc::new(FaultyStore::new(world.store, &faults)))
            .clock(clock.clone())
            .cache(CacheConfig::default().stale_if_error(Duration::from_secs(600)))
            .build()
            .await
            .unwrap();
        while engine.change_feed_lag().is_none() {
            tokio::task::yield_now().await;
        }
        let api = portcullis_http::ServerApi::new(engine.clone()).into_router();
        Self { engine, api, faults, clock, log, metrics }
    }

    async fn login(&self) -> Option<ErrorKind> {
        let credentials = Credentials::password("telegraf", "telegraf-password");
        self.engine.authenticate(credentials).await.err().map(|error| error.kind())
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn ready(&self) -> (u16, Value) {
        let request = Request::get("/ready").body(Body::empty()).unwrap();
        let (parts, body) = self.api.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), serde_json::from_slice(&body).unwrap())
    }

    /// Asserts `/ready` and the metrics, and waits until the log has the line.
    async fn assert_state(&self, status: u16, state: &str, age: f64, line: Option<&str>) {
        let (answered, json) = self.ready().await;
        assert_eq!((answered, json["state"].as_str()), (status, Some(state)), "{json}");
        let lag = json["feedAgeSeconds"].as_f64().unwrap();
        assert!(age - 60.0 < lag && lag <= age, "{json}");
        let shown = self.metrics();
        for other in ["fresh", "stale", "stale_if_error", "unavailable"] {
            let is = u8::from(other == state);
            let line = format!("portcullis_trust_state{{state=\"{other}\"}} {is}");
            assert!(shown.lines().any(|shown| shown == line), "no {line} in {shown}");
        }
        let Some(line) = line else { return };
        // The state is logged by a timer. The limit of ten seconds only ends a test that would never end.
        for _ in 0..200 {
            if self.lines(line) > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no {line:?} in {}", self.logged());
    }

    fn metrics(&self) -> String {
        self.engine.publish_metrics();
        self.metrics.render()
    }

    fn counted(&self, metric: &str) -> u64 {
        let shown = self.metrics();
        let count = shown.lines().find_map(|line| line.strip_prefix(metric));
        count.map_or(0, |count| count.trim().parse().unwrap())
    }

    fn logged(&self) -> String {
        self.log.text()
    }

    fn lines(&self, text: &str) -> usize {
        self.logged().lines().filter(|line| line.contains(text)).count()
    }
}

const STALE: &str = "the change feed lags";
const STALE_IF_ERROR: &str = "cached logins are admitted without it";
const UNAVAILABLE: &str = "logins are refused as unavailable";
const FRESH: &str = "the change feed is complete again";

#[tokio::test]
async fn every_state_of_an_outage_is_shown_and_logged_once() {
    let world = Outage::new().await;
    let stale = "portcullis_logins_total{result=\"ok\",source=\"stale\"}";
    let unavailable = "portcullis_logins_total{result=\"unavailable\"}";
    assert_eq!(world.login().await, None);
    world.assert_state(200, "fresh", 2.0, None).await;

    // The feed is behind, the store responds.
    world.pass(300);
    assert_eq!(world.login().await, None);
    world.assert_state(200, "stale", 300.0, Some(STALE)).await;

    // The store does not respond any more.
    world.faults.fail(Call::nth(1).and_later(), Fault::Unavailable);
    world.pass(100);
    for _ in 0..100 {
        assert_eq!(world.login().await, None);
    }
    world.assert_state(200, "stale_if_error", 400.0, Some(STALE_IF_ERROR)).await;
    assert_eq!((world.counted(stale), world.counted(unavailable)), (100, 0));

    // For longer than is allowed.
    world.pass(300);
    for _ in 0..100 {
        assert_eq!(world.login().await, Some(ErrorKind::Unavailable));
    }
    world.assert_state(503, "unavailable", 700.0, Some(UNAVAILABLE)).await;
    let (_, json) = world.ready().await;
    assert_eq!((&json["code"], &json["status"]), (&"unavailable".into(), &"fail".into()));
    assert_eq!((world.counted(stale), world.counted(unavailable)), (100, 100));

    // The feed's own time.
    world.faults.reset();
    world.clock.catch_up();
    assert_eq!(world.login().await, None);
    world.assert_state(200, "fresh", 2.0, Some(FRESH)).await;
    let times = [STALE, STALE_IF_ERROR, UNAVAILABLE, FRESH].map(|line| world.lines(line));
    assert_eq!(times, [1; 4], "{}", world.logged());
}
