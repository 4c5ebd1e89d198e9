//! After a resync a node reads all credentials again, and computes no hash again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use portcullis::password::{HashParams, HashPoolConfig, Password};
use portcullis::store::{Batch, Change, Entity as _, Expect, Operation, Revision, Store};
use portcullis::{
    AuthorizationId, CacheConfig, Credentials, Engine, Name, NewAuthorization, Permission,
    Principal, Refusal, Resource, Setup, Username,
};
use portcullis_testkit::postgres::{Database, server};

use crate::common::{next_change, open, run, until, watch, with_database};

#[test]
fn a_resync_costs_no_hash_of_an_unchanged_credential() {
    with_database(async |database| login_after_a_resync(database, 2_000).await);
}

#[test]
#[ignore = "takes half a minute: cargo test -p portcullis-postgres --test it -- --ignored 100_000"]
fn a_resync_costs_no_hash_of_100_000() {
    let Some(server) = server() else { return };
    let database = server.database();
    run(login_after_a_resync(&database, 100_000));
}

/// How many credentials are changed while the feed only reports a resync.
const CHANGED: usize = 5;

/// How many log in at a time.
const AT_A_TIME: usize = 64;

async fn login_after_a_resync(database: &Database, count: usize) {
    let store: Arc<dyn Store> = Arc::new(open(database).await);
    let node = engine(Arc::clone(&store)).await;
    let ids = fill(&node, count).await;
    let other = engine(Arc::new(open(database).await)).await;
    let computed = || node.hash_pool().computations();

    let before = computed();
    login_all(&node, count).await;
    assert_eq!(computed() - before, count as u64, "the first time, one each");
    assert_eq!(warm(&node, count), count, "all of them are in memory");

    let mut changes = watch(&*store).await;
    database.run("UPDATE portcullis.meta SET value = 'another' WHERE name = 'incarnation'");
    assert!(matches!(next_change(&mut changes).await, Change::Resync { .. }));
    until("the node has received it", || warm(&node, count) == 0).await;

    let (before, began) = (computed(), Instant::now());
    login_all(&node, count).await;
    assert_eq!(computed() - before, 0, "hashes after a resync");
    println!("{count} logins after a resync in {:?}, no hash computed", began.elapsed());
    assert_eq!(warm(&node, count), count, "all of them are in memory again");

    // Credentials that were changed at that time are not accepted from the cache.
    for (number, id) in ids.iter().enumerate().take(CHANGED) {
        other.set_password(*id, format!("another-{number}")).await.unwrap();
    }
    database.run("UPDATE portcullis.meta SET value = 'a third' WHERE name = 'incarnation'");
    assert!(matches!(until_resync(&mut changes).await, Change::Resync { .. }));
    until("the node has received it", || warm(&node, count) == 0).await;
    let before = computed();
    for number in 0..CHANGED {
        let refused = login(&node, number, &password(number)).await.unwrap_err();
        assert_eq!(refused.refusal(), Some(Refusal::WrongPassword));
    }
    assert_eq!(computed() - before, CHANGED as u64, "a hash for each that was changed");
    let unchanged = stream::iter(CHANGED..count).map(async |number| {
        login(&node, number, &password(number)).await.unwrap();
    });
    unchanged.buffer_unordered(AT_A_TIME).collect::<Vec<_>>().await;
    assert_eq!(computed() - before, CHANGED as u64, "and none for the others");
}

async fn until_resync(changes: &mut crate::common::Changes) -> Change {
    loop {
        match next_change(changes).await {
            Change::Changed { .. } => {}
            other => return other,
        }
    }
}

async fn engine(store: Arc<dyn Store>) -> Engine {
    let hashing = HashPoolConfig::default().params(HashParams::new(8, 1, 1).unwrap()).queue(4_096);
    let day = Duration::from_secs(24 * 60 * 60);
    let cache = CacheConfig::default().max_bytes(256 << 20).time_to_live(day);
    Engine::builder(store).hashing(hashing).cache(cache).no_throttle().build().await.unwrap()
}

fn username(number: usize) -> String {
    format!("telegraf-{number:06}")
}

fn password(number: usize) -> String {
    format!("s3cret-of-{number}")
}

/// So many authorizations, put into the store past the engine, which would take a commit for each.
async fn fill(engine: &Engine, count: usize) -> Vec<AuthorizationId> {
    let name = |text| Name::new(text).unwrap();
    let setup = Setup { org: name("acme"), user: name("ada"), buckets: vec![name("telemetry")] };
    let done = engine.setup(setup).await.unwrap();
    let may = Permission::write(Resource::bucket(done.org.id, done.buckets[0].id));
    let new = NewAuthorization::new(Username::new("template").unwrap(), done.org.id, [may]);
    let template = engine.create_authorization(new.for_user(done.user.id)).await.unwrap();
    let all = stream::iter(0..count).map(|number| {
        let mut authorization = template.clone();
        async move {
            authorization.id = AuthorizationId::from_u64(number as u64 + 1);
            authorization.username = Username::new(username(number)).unwrap();
            let password = Password::new(password(number).as_bytes()).unwrap();
            authorization.password_hash = Some(engine.hash_pool().hash(&password).await.unwrap());
            authorization
        }
    });
    let all: Vec<_> = all.buffered(AT_A_TIME).collect().await;
    for chunk in all.chunks(1_000) {
        let puts = chunk.iter().map(|authorization| Operation::Put {
            record: authorization.to_record(Revision::from_u128(1)).unwrap(),
            grants: authorization.grants(),
            expect: Expect::Absent,
        });
        engine.store().commit(puts.collect::<Batch>()).await.unwrap();
    }
    all.into_iter().map(|authorization| authorization.id).collect()
}

async fn login(
    engine: &Engine,
    number: usize,
    password: &str,
) -> Result<Principal, portcullis::Error> {
    engine.authenticate(Credentials::password(&username(number), password.as_bytes())).await
}

async fn login_all(engine: &Engine, count: usize) {
    let all = stream::iter(0..count).map(async |number| {
        login(engine, number, &password(number)).await.unwrap();
    });
    all.buffer_unordered(AT_A_TIME).collect::<Vec<_>>().await;
}

/// How many are let in from memory alone.
fn warm(engine: &Engine, count: usize) -> usize {
    let is_known = |number: &usize| {
        let (username, password) = (username(*number), password(*number));
        let credentials = Credentials::password(&username, password.as_bytes());
        engine.authenticate_cached(credentials).is_some()
    };
    (0..count).filter(is_known).count()
}
