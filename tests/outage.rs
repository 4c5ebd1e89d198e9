//! What an operator sees of an outage of the store: `/ready`, metrics, and one line in the log for each
//! change of state. Alone in its process, so that nothing else is measured.

mod shown;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use portcullis::password::{HashParams, HashPoolConfig};
use portcullis::store::{MemoryStore, Store};
use portcullis::{
    CacheConfig, Clock, Credentials, Engine, ErrorKind, Name, NewAuthorization, Permission,
    Resource, Timestamp, Username,
};
use portcullis_testkit::{Call, Fault, Faults, FaultyStore};
use serde_json::Value;
use tower::ServiceExt;

use shown::Shown;

/// A clock that the test moves, and that stands still otherwise. The feed's clock goes on.
#[derive(Clone, Debug)]
struct ManualClock {
    began: Instant,
    passed: Arc<Mutex<Duration>>,
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn instant(&self) -> Instant {
        self.began + *self.passed.lock().unwrap()
    }
}

struct World {
    engine: Engine,
    api: Router,
    faults: Faults,
    clock: ManualClock,
    log: Shown,
    metrics: PrometheusHandle,
}

impl World {
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

        let inner: Arc<dyn Store> = Arc::new(MemoryStore::new().unwrap());
        let hashing = HashPoolConfig::default().params(HashParams::new(8, 1, 1).unwrap());
        // By another engine, so that the feed has no events of these records.
        let engine = Engine::builder(Arc::clone(&inner)).hashing(hashing).build().await.unwrap();
        let name = |text| Name::new(text).unwrap();
        let org = engine.create_org(name("acme")).await.unwrap().id;
        let user = engine.create_user(name("ada")).await.unwrap().id;
        let bucket = engine.create_bucket(org, name("telemetry")).await.unwrap().id;
        let grant = [Permission::write(Resource::bucket(org, bucket))];
        let new = NewAuthorization::new(Username::new("telegraf").unwrap(), org, grant);
        let id = engine.create_authorization(new.for_user(user)).await.unwrap().id;
        engine.set_password(id, "telegraf-password").await.unwrap();

        let faults = Faults::new();
        let clock = ManualClock { began: Instant::now(), passed: Arc::default() };
        let engine = Engine::builder(FaultyStore::new(inner, &faults))
            .hashing(hashing)
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
        *self.clock.passed.lock().unwrap() += Duration::from_secs(seconds);
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
        let told = json["feedAgeSeconds"].as_f64().unwrap();
        assert!(age - 60.0 < told && told <= age, "{json}");
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
    let world = World::new().await;
    let stale = "portcullis_logins_total{result=\"ok\",source=\"stale\"}";
    let unavailable = "portcullis_logins_total{result=\"unavailable\"}";
    assert_eq!(world.login().await, None);
    world.assert_state(200, "fresh", 2.0, None).await;

    // The feed is behind, the store answers.
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
    *world.clock.passed.lock().unwrap() = world.clock.began.elapsed();
    assert_eq!(world.login().await, None);
    world.assert_state(200, "fresh", 2.0, Some(FRESH)).await;
    let times = [STALE, STALE_IF_ERROR, UNAVAILABLE, FRESH].map(|line| world.lines(line));
    assert_eq!(times, [1; 4], "{}", world.logged());
}
