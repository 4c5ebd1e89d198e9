//! Results, metrics and audit events of logins agree, for any sequence of events. Alone in its process,
//! so that nothing else is counted.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use portcullis::store::MemoryStore;
use portcullis::{
    ApiTokenId, AuditEvent, AuditSink, AuthorizationUpdate, Credentials, Engine, EngineBuilder,
    Error, ErrorKind, Principal, Refusal, Status, ThrottleConfig, User, UserId,
};
use portcullis_testkit::world::World;
use portcullis_testkit::{Call, Fault, Faults, FaultyStore, Method};
use proptest::prelude::*;
use serde_json::Value;

/// Keeps the audit events of logins.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<Value>>>);

impl AuditSink for Kept {
    fn record(&self, event: &AuditEvent<'_>) {
        let event = serde_json::to_value(event).unwrap();
        if event["action"] == "login" {
            self.0.lock().unwrap().push(event);
        }
    }
}

struct Observed {
    engine: Engine,
    faults: Faults,
    audit: Kept,
    metrics: PrometheusHandle,
    user: UserId,
    token: (ApiTokenId, String),
    authorization: portcullis::AuthorizationId,
    /// Where requests come from.
    source: Cell<u32>,
}

/// How credentials are presented.
#[derive(Clone, Copy, Debug)]
enum Step {
    Password(&'static str, &'static str),
    TokenAsPassword(&'static str),
    Token(bool),
    Caller(bool),
    /// Through the cache alone.
    Cached(bool),
    SwitchAuthorization(bool),
    SwitchToken(bool),
    SwitchUser(bool),
    Store(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let username = prop::sample::select(vec!["telegraf", "passwordless", "unknown"]);
    let password = prop::sample::select(vec!["telegraf-password", "wrong"]);
    prop_oneof![
        6 => (username.clone(), password).prop_map(|(name, password)| Step::Password(name, password)),
        2 => username.prop_map(Step::TokenAsPassword),
        3 => any::<bool>().prop_map(Step::Token),
        3 => any::<bool>().prop_map(Step::Caller),
        2 => any::<bool>().prop_map(Step::Cached),
        1 => any::<bool>().prop_map(Step::SwitchAuthorization),
        2 => any::<bool>().prop_map(Step::SwitchToken),
        1 => any::<bool>().prop_map(Step::SwitchUser),
        1 => any::<bool>().prop_map(Step::Store),
    ]
}

impl Observed {
    async fn new(metrics: PrometheusHandle) -> Self {
        let (faults, audit) = (Faults::new(), Kept::default());
        let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new().unwrap()), &faults));
        // Few failures of an address are free, so that logins are throttled as well.
        let throttle = ThrottleConfig::default().username_failures(1_000).source_failures(5);
        let settings = |builder: EngineBuilder| builder.throttle(throttle).audit(audit.clone());
        let world = World::on(store, settings).await;
        let authorization = world.credential("telegraf").await.id;
        world.authorization("passwordless").await;
        let (token, secret) = world.operator_token().await;
        let token = (token.id, secret.expose().to_owned());
        let World { engine, user: User { id: user, .. }, .. } = world;
        Self { engine, faults, audit, metrics, user, token, authorization, source: Cell::new(0) }
    }

    /// The counters of logins, by name and labels.
    fn counted(&self) -> BTreeMap<String, u64> {
        self.engine.publish_metrics();
        let shown = self.metrics.render();
        let lines = shown.lines().filter(|line| line.starts_with("portcullis_logins"));
        lines
            .map(|line| {
                let (name, count) = line.rsplit_once(' ').unwrap();
                (name.to_owned(), count.parse().unwrap())
            })
            .collect()
    }

    /// Takes a step; returns the result if the step is a login.
    async fn take(&self, step: Step) -> Option<Result<Principal, Error>> {
        let source = Some(IpAddr::from(Ipv4Addr::from_bits(self.source.get())));
        let secret = |right| if right { self.token.1.as_str() } else { "wrong" };
        let status = |on| if on { Status::Active } else { Status::Inactive };
        let engine = &self.engine;
        let response = match step {
            Step::Password(username, password) => {
                let credentials = Credentials::password(username, password);
                engine.authenticate(credentials.source(source)).await
            }
            Step::TokenAsPassword(username) => {
                let credentials = Credentials::password(username, secret(true));
                engine.authenticate(credentials.source(source)).await
            }
            Step::Token(right) => {
                engine.authenticate(Credentials::token(secret(right)).source(source)).await
            }
            Step::Caller(right) => {
                engine.authenticate_caller(Credentials::token(secret(right)).source(source)).await
            }
            Step::Cached(token) => {
                let credentials = match token {
                    true => Credentials::token(secret(true)),
                    false => Credentials::password("telegraf", "telegraf-password"),
                };
                return engine.authenticate_cached(credentials.source(source)).map(Ok);
            }
            Step::SwitchAuthorization(on) => {
                let update = AuthorizationUpdate::status(status(on));
                let _ = engine.update_authorization(self.authorization, update).await;
                return None;
            }
            Step::SwitchToken(on) => {
                let _ = engine.set_api_token_status(self.token.0, status(on)).await;
                return None;
            }
            Step::SwitchUser(on) => {
                let _ = engine.set_user_status(self.user, status(on)).await;
                return None;
            }
            Step::Store(fails) => {
                if fails {
                    self.faults.fail(Call::nth_of(Method::Get, 1).and_later(), Fault::Unavailable);
                } else {
                    self.faults.reset();
                }
                return None;
            }
        };
        Some(response)
    }

    /// Takes a step, and asserts that counters and audit events fit the result.
    async fn agrees(&self, step: Step) {
        let before = self.counted();
        self.audit.0.lock().unwrap().clear();
        let responded = self.take(step).await;
        let after = self.counted();
        let reported = std::mem::take(&mut *self.audit.0.lock().unwrap());
        let counted: Vec<_> = after
            .iter()
            .filter_map(|(name, count)| {
                let more = count - before.get(name).copied().unwrap_or_default();
                (more > 0).then_some((name.as_str(), more))
            })
            .collect();
        let Some(response) = responded else {
            assert!(
                counted.is_empty() && reported.is_empty(),
                "{step:?}: {counted:?} {reported:?}"
            );
            return;
        };
        let [(metric, 1)] = counted[..] else { panic!("{step:?}: {counted:?}") };
        match &response {
            Ok(_) => {
                let source = metric.strip_prefix("portcullis_logins_total{result=\"ok\",source=\"");
                let source = source.unwrap_or_else(|| panic!("{step:?}: admitted, and {metric}"));
                // A login that the cache answers is no event.
                let is_event = source.starts_with("verified");
                assert_eq!(reported.len(), usize::from(is_event), "{step:?} {metric} {reported:?}");
                assert!(reported.iter().all(|event| event["outcome"] == "done"), "{reported:?}");
            }
            Err(error) => {
                let [event] = &reported[..] else { panic!("{step:?}: {reported:?}") };
                let (expected, outcome) = match (error.refusal(), error.kind()) {
                    (Some(refusal), _) => (
                        format!(
                            "portcullis_logins_total{{result=\"refused\",reason=\"{}\"}}",
                            label(refusal)
                        ),
                        "refused",
                    ),
                    (None, ErrorKind::Unavailable) => {
                        ("portcullis_logins_total{result=\"unavailable\"}".to_owned(), "failed")
                    }
                    (None, kind) => panic!("{step:?}: {kind:?}"),
                };
                assert_eq!((metric, event["outcome"].as_str()), (&*expected, Some(outcome)));
                if let Some(refusal) = error.refusal() {
                    assert_eq!(event["reason"], refusal.to_string());
                }
            }
        }
    }
}

fn label(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Inactive => "inactive",
        Refusal::NoPassword => "no_password",
        Refusal::Org => "org",
        Refusal::PasswordChangeRequired => "password_change_required",
        Refusal::Throttled => "throttled",
        Refusal::UnknownToken => "unknown_token",
        Refusal::UnknownUsername => "unknown_username",
        Refusal::User => "user",
        Refusal::WrongPassword => "wrong_password",
        other => panic!("{other:?} has no label here"),
    }
}

#[test]
fn responses_metrics_and_audit_of_logins_agree() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    metrics::set_global_recorder(recorder).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // One for all: an engine publishes its counters as they are.
    let world = runtime.block_on(Observed::new(metrics));
    let on = [Step::SwitchAuthorization(true), Step::SwitchToken(true), Step::SwitchUser(true)];
    let run = |steps: Vec<Step>| {
        runtime.block_on(async {
            world.source.set(world.source.get() + 1);
            world.take(Step::Store(false)).await;
            for step in on {
                world.take(step).await;
            }
            for step in steps {
                world.agrees(step).await;
            }
        });
    };
    // An inactive token that a caller has brought into the cache is refused on the data path.
    run(vec![
        Step::SwitchToken(false),
        Step::Caller(true),
        Step::Token(true),
        Step::Cached(true),
        Step::TokenAsPassword("unknown"),
    ]);
    let mut runner = proptest::test_runner::TestRunner::default();
    runner
        .run(&prop::collection::vec(step(), 1..40), |steps| {
            run(steps);
            Ok(())
        })
        .unwrap();
}
