//! The cost of a login reveals nothing about the name, and is bounded.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::poll;
use portcullis::password::HashParams;
use portcullis::{AuthorizationUpdate, CacheConfig, Credentials, Engine, ErrorKind, Status};

use crate::support::{Salts, World, cheap_hashing};

/// A world with a name of each kind: `telegraf`, `inactive`, `passwordless`.
async fn with_every_kind(cache: CacheConfig) -> World {
    let world = World::with(|builder| builder.cache(cache).no_throttle()).await;
    world.credential("telegraf").await;
    world.authorization("passwordless").await;
    let inactive = world.credential("inactive").await;
    // Cached while it was active.
    world.login("inactive", "inactive-password").await.unwrap();
    let off = AuthorizationUpdate::status(Status::Inactive);
    world.engine.update_authorization(inactive.id, off).await.unwrap();
    world
}

/// [PW-12]
#[tokio::test]
async fn unknown_wrong_inactive_and_password_less_cost_one_hash_with_caches_warm_and_cold() {
    for cache in [CacheConfig::default(), CacheConfig::off()] {
        let world = with_every_kind(cache).await;
        let (_, secret) = world.operator_token().await;
        for warm in [false, true] {
            if warm {
                world.login("telegraf", "telegraf-password").await.unwrap();
                // With an API token as the password: the missing name is cached.
                world.login("unknown", secret.expose()).await.unwrap();
            }
            for (username, password) in [
                ("telegraf", "wrong"),
                ("inactive", "wrong"),
                ("inactive", "inactive-password"),
                ("passwordless", "whatever"),
                ("unknown", "whatever"),
                ("never seen", "whatever"),
            ] {
                for time in 0..3 {
                    let before = world.engine.hash_pool().computations();
                    assert!(world.login(username, password).await.is_err());
                    let computed = world.engine.hash_pool().computations() - before;
                    assert_eq!(computed, 1, "{username}, warm: {warm}, time {time}");
                }
            }
        }
    }
}

/// [PW-12]
#[tokio::test]
async fn the_dummy_hash_is_made_with_the_parameters_of_the_engine() {
    let world = with_every_kind(CacheConfig::default()).await;
    // Another engine on the same store, as after a start with other settings.
    let hashing = cheap_hashing().params(HashParams::new(32_768, 2, 1).unwrap());
    let builder = Engine::builder(world.store.clone()).hashing(hashing).no_throttle();
    let engine = builder.build().await.unwrap();
    let new = world.authorization("new").await;
    engine.set_password(new.id, "long-enough").await.unwrap();

    // The promise is that the dummy hash has the cost of this engine's parameters. The shortest of some
    // times, taken in turn: other work on the machine slows all alike, and the bounds are factors of 4.
    let names = ["new", "unknown", "passwordless", "inactive"];
    let mut shortest = [Duration::MAX; 4];
    let mut cheap = Duration::MAX;
    for number in 0..8 {
        let password = format!("wrong-{number}");
        let time = async |engine: &Engine, name| {
            let began = Instant::now();
            let outcome = engine.authenticate(Credentials::password(name, &password)).await;
            assert!(outcome.unwrap_err().refusal().is_some());
            began.elapsed()
        };
        for (name, shortest) in names.into_iter().zip(&mut shortest) {
            *shortest = time(&engine, name).await.min(*shortest);
        }
        cheap = time(&world.engine, "unknown").await.min(cheap);
    }
    let [wrong, dummies @ ..] = shortest;
    assert!(wrong > 5 * cheap, "{wrong:?} and {cheap:?} are too close");
    for dummy in dummies {
        assert!(dummy > wrong / 4 && dummy < 4 * wrong, "{dummy:?}, wrong: {wrong:?}");
    }
}

/// [QUEUE-3] [PW-14]
#[tokio::test]
async fn a_login_that_is_dropped_before_its_turn_frees_its_place_and_costs_nothing() {
    let salts = Salts::default();
    let hashing = cheap_hashing().threads(1).queue(8);
    let settings = |builder: portcullis::EngineBuilder| {
        builder.random(salts.clone()).hashing(hashing).no_throttle()
    };
    let world = World::with(settings).await;
    salts.shut(true);
    // It has begun when it is dropped, and is computed to its end.
    let mut first = Box::pin(world.login("first", "whatever"));
    assert!(poll!(&mut first).is_pending());
    salts.wait_until_waiting(1);
    drop(first);
    let names: Vec<_> = (0..40).map(|number| format!("unknown-{number}")).collect();
    for name in &names {
        // It waits, and is dropped.
        let mut login = Box::pin(world.login(name, "whatever"));
        assert!(poll!(&mut login).is_pending());
    }
    let mut waiting: Vec<_> =
        names.iter().take(8).map(|name| Box::pin(world.login(name, "whatever"))).collect();
    for login in &mut waiting {
        assert!(poll!(login).is_pending());
    }
    let error = world.login("unknown-0", "one too many").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.retry_after() > Some(Duration::ZERO));
    assert_eq!(error.refusal(), None);
    salts.shut(false);
    for outcome in join_all(waiting).await {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unauthorized);
    }
    assert_eq!(world.engine.hash_pool().computations(), 9);
}

#[tokio::test]
async fn a_thousand_logins_at_once_all_get_a_result() {
    let world = with_every_kind(CacheConfig::default()).await;
    let passwords: Vec<_> = (0..1_000).map(|number| format!("wrong-{number}")).collect();
    let names = ["telegraf", "unknown", "passwordless", "inactive"];
    let logins = passwords
        .iter()
        .enumerate()
        .map(|(number, password)| world.login(names[number % names.len()], password));
    for outcome in join_all(logins).await {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unauthorized);
    }
    world.login("telegraf", "telegraf-password").await.unwrap();
}
