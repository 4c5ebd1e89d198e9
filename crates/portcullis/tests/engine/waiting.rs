//! Logins that wait for their hash: the queue is fair, and no login is admitted by a state from before
//! it waited.

use std::net::IpAddr;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::poll;
use portcullis::password::HashParams;
use portcullis::store::{Batch, Entity, Expect, Kind, Lookup, Operation, Revision};
use portcullis::{
    Action, AuthorizationUpdate, Credentials, Engine, EngineBuilder, ErrorKind, LoginHistory,
    NewApiToken, Permission, Principal, Refusal, Resource, Status, presets,
};

use crate::support::{ManualClock, Salts, World, builder, cheap_hashing};

const PASSWORD: &str = "telegraf-password";

fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

fn owner() -> Option<IpAddr> {
    address("198.51.100.7")
}

fn attacker(number: usize) -> Option<IpAddr> {
    address(&format!("203.0.{}.{}", 113 + number / 250, number % 250))
}

/// A hash thread that waits behind a gate while a credential is revoked.
async fn revoked_while_it_waits<F>(
    revoke: impl FnOnce(Engine, portcullis::Authorization) -> F,
) -> Result<Principal, portcullis::Error>
where
    F: Future<Output = ()>,
{
    let salts = Salts::default();
    let hashing = cheap_hashing().threads(1);
    let settings = |builder: EngineBuilder| builder.random(salts.clone()).hashing(hashing);
    let world = World::with(settings).await;
    let authorization = world.credential("telegraf").await;
    salts.shut(true);
    let mut before_it = Box::pin(world.login("unknown", "whatever"));
    assert!(poll!(&mut before_it).is_pending());
    salts.wait_until_waiting(1);
    let mut login = Box::pin(world.login("telegraf", PASSWORD));
    while world.engine.hash_pool().waiting() == 0 {
        assert!(poll!(&mut login).is_pending());
        tokio::task::yield_now().await;
    }
    // When this returns, the former credential is not admitted any more.
    revoke(world.engine.clone(), authorization).await;
    salts.shut(false);
    before_it.await.unwrap_err();
    login.await
}

/// [LOGIN-7]
#[tokio::test]
async fn a_credential_that_is_deleted_while_its_login_waits_is_not_admitted() {
    let outcome = revoked_while_it_waits(async |engine: Engine, authorization| {
        engine.delete_authorization(authorization.id).await.unwrap();
    });
    assert_eq!(outcome.await.unwrap_err().refusal(), Some(Refusal::UnknownUsername));
}

/// [LOGIN-7]
#[tokio::test]
async fn a_credential_that_is_disabled_while_its_login_waits_is_not_admitted() {
    let outcome = revoked_while_it_waits(async |engine: Engine, authorization| {
        let off = AuthorizationUpdate::status(Status::Inactive);
        engine.update_authorization(authorization.id, off).await.unwrap();
    });
    assert_eq!(outcome.await.unwrap_err().refusal(), Some(Refusal::Inactive));
}

/// [LOGIN-7]
#[tokio::test]
async fn a_password_that_is_replaced_while_its_login_waits_is_not_admitted() {
    let outcome = revoked_while_it_waits(async |engine: Engine, authorization| {
        // Another engine computes the hash, since the thread of this one waits.
        let other = builder(std::sync::Arc::new(portcullis::store::MemoryStore::new().unwrap()));
        let pool = other.build().await.unwrap();
        let password = portcullis::password::Password::new("another-password").unwrap();
        let hash = pool.hash_pool().hash(&password).await.unwrap();
        let mut changed = engine.authorization(authorization.id).await.unwrap().unwrap();
        changed.password_hash = Some(hash);
        replace(&engine, &changed).await;
    });
    assert_eq!(outcome.await.unwrap_err().refusal(), Some(Refusal::WrongPassword));
}

/// [LOGIN-7] [AUTH-6]
#[tokio::test]
async fn a_login_is_not_admitted_if_its_user_or_org_is_disabled_while_it_waits() {
    let outcome = revoked_while_it_waits(async |engine: Engine, authorization| {
        engine.set_user_status(authorization.user, Status::Inactive).await.unwrap();
    });
    assert_eq!(outcome.await.unwrap_err().refusal(), Some(Refusal::User));
    let outcome = revoked_while_it_waits(async |engine: Engine, authorization| {
        engine.set_org_status(authorization.org, Status::Inactive).await.unwrap();
    });
    assert_eq!(outcome.await.unwrap_err().refusal(), Some(Refusal::Org));
}

#[tokio::test]
async fn permissions_that_are_replaced_while_a_login_waits_are_those_it_gets() {
    let bucket = portcullis::BucketId::from_u64(1);
    let outcome = revoked_while_it_waits(async |engine: Engine, authorization| {
        let org = Permission::read(Resource::org(authorization.org));
        engine.set_permissions(authorization.id, vec![org]).await.unwrap();
    });
    let principal = outcome.await.unwrap();
    let bucket = Resource::bucket(principal.org(), bucket);
    assert!(!principal.check(Action::Write, &bucket).is_allowed());
    let org = Resource::org(principal.org());
    assert!(principal.check(Action::Read, &org).is_allowed());
}

async fn replace(engine: &Engine, changed: &portcullis::Authorization) {
    let store = engine.store();
    let key = Lookup::UniqueKey(Kind::Authorization, changed.username.as_str());
    let before = store.get(key).await.unwrap().unwrap();
    let record = changed.to_record(Revision::from_u128(7)).unwrap();
    let expect = Expect::Revision(before.revision);
    let put = Operation::Put { record, grants: Vec::new(), expect };
    store.commit(Batch::new().with(put)).await.unwrap();
}

/// Right passwords from other addresses, while sixteen addresses have filled the queue with guesses.
/// [QUEUE-6]
#[tokio::test]
async fn a_flood_of_guesses_takes_no_place_from_right_passwords() {
    let salts = Salts::default();
    let hashing = cheap_hashing().threads(1).queue(64);
    let settings = |builder: EngineBuilder| builder.random(salts.clone()).hashing(hashing);
    let world = World::with(settings).await;
    let names: Vec<_> = (0..20).map(|number| format!("agent-{number}")).collect();
    for name in &names {
        world.credential(name).await;
    }
    let login = |name: String, password: String, source| {
        let engine = world.engine.clone();
        async move { engine.authenticate(Credentials::password(&name, &password).source(source)).await }
    };
    salts.shut(true);
    let guesses = (0..960).map(|number| {
        let guess = login(format!("name-{number}"), "guess".to_owned(), attacker(number % 16));
        let mut guess = Box::pin(guess);
        async move {
            let _ = (&mut guess).await;
        }
    });
    let mut guesses = Box::pin(join_all(guesses));
    assert!(poll!(&mut guesses).is_pending());
    let right = names.iter().enumerate().map(|(number, name)| {
        let source = address(&format!("198.51.100.{number}"));
        login(name.clone(), format!("{name}-password"), source)
    });
    let mut right = Box::pin(join_all(right));
    assert!(poll!(&mut right).is_pending());
    salts.shut(false);
    let (outcomes, _) = tokio::join!(right, guesses);
    for outcome in outcomes {
        outcome.unwrap();
    }
}

/// [QUEUE-7]
#[tokio::test]
async fn an_owner_that_logged_in_before_a_restart_is_not_locked_out_by_a_distributed_attack() {
    let world = World::new().await;
    world.credential("telegraf").await;
    let before = Credentials::password("telegraf", PASSWORD);
    world.engine.authenticate(before.source(owner())).await.unwrap();
    let saved = world.engine.login_history().to_bytes();

    let restart = async |history: Option<LoginHistory>| {
        let clock = ManualClock::new();
        let mut restarted = builder(world.store.clone()).clock(clock.clone());
        if let Some(history) = history {
            restarted = restarted.login_history(history);
        }
        let engine = restarted.build().await.unwrap();
        for number in 0..400 {
            let guess = format!("wrong-{number}");
            let guess = Credentials::password("telegraf", &guess);
            let _ = engine.authenticate(guess.source(attacker(number % 200))).await;
        }
        engine.authenticate(Credentials::password("telegraf", PASSWORD).source(owner())).await
    };
    let history = LoginHistory::from_bytes(&saved).unwrap();
    restart(Some(history)).await.unwrap();
    // Without the history it waits like another new address.
    let error = restart(None).await.unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::Throttled));
    assert!(error.retry_after() <= Some(Duration::from_secs(1)));
}

/// [THROTTLE-9]
#[tokio::test]
async fn a_right_api_token_is_never_refused_for_the_failures_of_others() {
    let world = World::new().await;
    world.credential("telegraf").await;
    let token = async || {
        let (org, user) = (world.org.id, world.user.id);
        let permissions = presets::operator();
        let new = NewApiToken::new(org, user, permissions);
        world.engine.create_api_token(new).await.unwrap().1.expose().to_owned()
    };
    let throttled = |result: Result<Principal, portcullis::Error>| {
        result.err().is_some_and(|error| error.refusal() == Some(Refusal::Throttled))
    };
    // From the owner's address, as behind an untrusted proxy.
    for number in 0..=100 {
        let guess = format!("token-{number}");
        let outcome = world.engine.authenticate(Credentials::token(&guess).source(owner())).await;
        assert_eq!(throttled(outcome), number == 100, "{number}");
    }
    for number in 0..20 {
        let guess = format!("wrong-{number}");
        let guess = Credentials::password("telegraf", &guess);
        let _ = world.engine.authenticate(guess.source(attacker(0))).await;
    }
    for _ in 0..10 {
        let (alone, caller, as_password) = (token().await, token().await, token().await);
        let engine = &world.engine;
        engine.authenticate(Credentials::token(&alone).source(owner())).await.unwrap();
        engine.authenticate_caller(Credentials::token(&caller).source(owner())).await.unwrap();
        let as_password = Credentials::password("no-such-name", &as_password);
        engine.authenticate(as_password.source(owner())).await.unwrap();
        // It is no password of a name that exists.
        let of_another = token().await;
        let of_another = Credentials::password("telegraf", &of_another);
        assert!(throttled(engine.authenticate(of_another.source(attacker(0))).await));
    }
}

/// [THROTTLE-5]
#[tokio::test]
async fn the_throttle_does_not_reveal_that_a_password_is_right() {
    for (right, refusal) in [(true, Refusal::User), (false, Refusal::WrongPassword)] {
        let world = World::new().await;
        world.credential("telegraf").await;
        world.engine.set_user_status(world.user.id, Status::Inactive).await.unwrap();
        let password = if right { PASSWORD } else { "wrong" };
        for number in 0..30 {
            let credentials = Credentials::password("telegraf", password);
            let outcome = world.engine.authenticate(credentials.source(attacker(0))).await;
            let expected = if number < 10 { refusal } else { Refusal::Throttled };
            assert_eq!(outcome.unwrap_err().refusal(), Some(expected), "{right} {number}");
        }
    }
}

/// A caller that sets passwords on many connections does not keep logins from their hashes.
#[tokio::test]
async fn new_passwords_of_one_caller_leave_half_of_the_hashes_to_logins() {
    let salts = Salts::default();
    // At the default cost, so that few hashes are computed between a result and its count.
    let hashing = cheap_hashing().params(HashParams::default()).threads(1);
    // On a busy machine a hundred hashes take longer than the default.
    let hashing = hashing.max_wait(Duration::from_secs(60));
    let settings = |builder: EngineBuilder| builder.random(salts.clone()).hashing(hashing);
    let world = World::with(settings).await;
    let id = world.credential("telegraf").await.id;
    let agents: Vec<_> = (0..5).map(|number| format!("agent-{number}")).collect();
    for agent in &agents {
        world.credential(agent).await;
    }
    let caller = Principal::trusted(world.org.id, world.user.id, presets::operator());
    let on_behalf = world.engine.on_behalf_of(&caller);
    salts.shut(true);
    let mut first = Box::pin(on_behalf.set_password(id, "first-password"));
    assert!(poll!(&mut first).is_pending());
    salts.wait_until_waiting(1);
    let mut changes: Vec<_> =
        (0..100).map(|_| Box::pin(on_behalf.set_password(id, "the-same-password"))).collect();
    for change in &mut changes {
        assert!(poll!(change).is_pending());
    }
    let logins = agents.iter().map(|agent| {
        let world = &world;
        async move { world.login(agent, &format!("{agent}-password")).await }
    });
    let mut logins = Box::pin(join_all(logins));
    assert!(poll!(&mut logins).is_pending());
    let before = world.engine.hash_pool().computations();
    salts.shut(false);
    for outcome in logins.await {
        outcome.unwrap();
    }
    let computed = world.engine.hash_pool().computations() - before;
    assert!(computed <= 20, "{computed} hashes were computed until five logins had theirs");
}

/// [QUEUE-1] [QUEUE-2]
#[tokio::test]
async fn a_login_that_waits_too_long_gets_a_retry_time_and_is_not_refused() {
    let salts = Salts::default();
    let hashing = cheap_hashing().threads(1).max_wait(Duration::from_millis(100));
    let settings = |builder: EngineBuilder| builder.random(salts.clone()).hashing(hashing);
    let world = World::with(settings).await;
    world.credential("telegraf").await;
    salts.shut(true);
    let mut before_it = Box::pin(world.login("unknown", "whatever"));
    assert!(matches!(poll!(&mut before_it), Poll::Pending));
    salts.wait_until_waiting(1);
    let error = world.login("telegraf", PASSWORD).await.unwrap_err();
    assert_eq!((error.kind(), error.refusal()), (ErrorKind::Unavailable, None));
    assert!(error.retry_after().is_some());
    salts.shut(false);
    // It does not count as a failure, however often.
    for _ in 0..20 {
        world.login("telegraf", PASSWORD).await.unwrap();
    }
}

/// A client or proxy with a timeout that is shorter than a hash does not lock itself out.
/// [QUEUE-3]
#[tokio::test]
async fn right_passwords_of_clients_that_disconnect_are_not_counted_as_failures() {
    let hashing = cheap_hashing().params(HashParams::default()).threads(1);
    let world = World::with(|builder| builder.hashing(hashing)).await;
    world.credential("telegraf").await;
    for number in 0..20 {
        let before = world.engine.hash_pool().computations();
        let source = attacker(0);
        let credentials = Credentials::password("telegraf", PASSWORD);
        // No cache hit: a dropped login has inserted no entry.
        let mut login = Box::pin(world.engine.authenticate(credentials.source(source)));
        while world.engine.hash_pool().computations() == before {
            assert!(poll!(&mut login).is_pending(), "{number}");
            tokio::task::yield_now().await;
        }
        drop(login);
        while world.engine.hash_pool().waiting() > 0 {
            tokio::task::yield_now().await;
        }
    }
    let credentials = Credentials::password("telegraf", PASSWORD);
    world.engine.authenticate(credentials.source(attacker(0))).await.unwrap();
}
