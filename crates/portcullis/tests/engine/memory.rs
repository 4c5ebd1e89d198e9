//! Cache hits, and what invalidates an entry.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis::store::{Entity, Expect, Kind, Operation, Store, StoreExt};
use portcullis::toolkit::Feed;
use portcullis::{
    Authorization, AuthorizationUpdate, CacheConfig, Clock, Credentials, Engine, Error,
    NewAuthorization, Org, OrgId, Permission, Principal, Refusal, Resource, StaticDirectory,
    Status, User, UserId, Username,
};
use portcullis_testkit::{Counts, HookedDirectory, InstrumentedStore, Method};

use crate::shared_store::{ScriptedStore, SharedStore};
use crate::support::{ManualClock, builder, name};

/// An engine with one cached login, on a store whose calls are counted.
struct World {
    engine: Engine,
    shared: SharedStore,
    clock: ManualClock,
    counts: Counts,
    id: portcullis::AuthorizationId,
}

impl Deref for World {
    type Target = SharedStore;

    fn deref(&self) -> &SharedStore {
        &self.shared
    }
}

const PASSWORD: &str = "telegraf-password";

impl World {
    async fn new() -> Self {
        let shared = SharedStore::new().await;
        let (counts, clock, id) = (Counts::new(), ManualClock::new(), shared.telegraf.id);
        let counted = Arc::new(InstrumentedStore::new(Arc::clone(&shared.store), &counts));
        let engine = builder(counted).clock(clock.clone()).build().await.unwrap();
        let world = Self { engine, shared, clock, counts, id };
        world.login(PASSWORD).await.unwrap();
        world.counts.reset();
        world
    }

    async fn login(&self, password: &str) -> Result<Principal, Error> {
        self.engine.authenticate(Credentials::password("telegraf", password)).await
    }

    async fn refusal(&self, password: &str) -> Refusal {
        self.login(password).await.unwrap_err().refusal().unwrap()
    }

    /// The cost of a login with the right password: reads of the store, and hashes.
    async fn cost(&self) -> (u64, u64) {
        let reads = self.counts.of(Method::Get) + self.counts.of(Method::List);
        let hashes = self.engine.hash_pool().computations();
        self.login(PASSWORD).await.unwrap();
        let reads_after = self.counts.of(Method::Get) + self.counts.of(Method::List);
        (reads_after - reads, self.engine.hash_pool().computations() - hashes)
    }

    async fn stored(&self) -> Authorization {
        self.other.authorization(self.id).await.unwrap().unwrap()
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// [CACHE-1]
#[tokio::test]
async fn a_cache_hit_costs_no_read_and_no_hash() {
    let world = World::new().await;
    for _ in 0..100 {
        assert_eq!(world.cost().await, (0, 0));
    }
    let principal = world.login(PASSWORD).await.unwrap();
    assert!(principal.check(portcullis::Action::Write, &world.resource()).is_allowed());
    assert_eq!(world.refusal("another-password").await, Refusal::WrongPassword);
    assert_eq!(world.cost().await, (0, 0), "a wrong password evicted the right one");
}

/// [CACHE-5]
#[tokio::test]
async fn an_edited_authorization_costs_one_read_and_no_hash() {
    let world = World::new().await;
    let update = AuthorizationUpdate::description("changed");
    world.engine.update_authorization(world.id, update).await.unwrap();
    assert_eq!(world.cost().await, (1, 0));
    assert_eq!(world.cost().await, (0, 0));
    // The same after a change by another process, as soon as the feed reports it.
    let update = AuthorizationUpdate::description("changed again");
    world.other.update_authorization(world.id, update).await.unwrap();
    let changed = (Kind::Authorization, world.id.untyped());
    world.apply(|feed| _ = feed.announce([changed])).await;
    assert_eq!(world.cost().await, (1, 0));
    assert_eq!(world.cost().await, (0, 0));
}

#[tokio::test]
async fn a_record_edited_by_hand_takes_effect_although_its_revision_is_the_same() {
    for change in [
        (|authorization: &mut Authorization| authorization.status = Status::Inactive) as fn(&mut _),
        |authorization| authorization.permissions.clear(),
        |authorization| authorization.password_hash = None,
    ] {
        let world = World::new().await;
        let id = world.id.untyped();
        let (mut edited, revision) = world.store.find::<Authorization>(id).await.unwrap().unwrap();
        change(&mut edited);
        let put = Operation::Put {
            record: edited.to_record(revision).unwrap(),
            grants: edited.grants(),
            expect: Expect::Revision(revision),
        };
        world.store.commit([put].into_iter().collect()).await.unwrap();
        world.apply(|feed| _ = feed.announce([(Kind::Authorization, id)])).await;
        let write = (portcullis::Action::Write, world.resource());
        let login = world.login(PASSWORD).await;
        assert!(!login.is_ok_and(|principal| principal.check(write.0, &write.1).is_allowed()));
    }
}

#[tokio::test]
async fn a_resync_costs_one_read_each_and_no_hash() {
    let world = World::new().await;
    for number in 0..10 {
        let new = world.new_authorization(&format!("agent-{number}"));
        let id = world.engine.create_authorization(new).await.unwrap().id;
        world.engine.set_password(id, PASSWORD).await.unwrap();
    }
    let login = async |number: usize| {
        let username = format!("agent-{number}");
        world.engine.authenticate(Credentials::password(&username, PASSWORD)).await.unwrap();
    };
    for number in 0..10 {
        login(number).await;
    }
    world.apply(|feed| feed.resync(1)).await;
    world.counts.reset();
    let hashes = world.engine.hash_pool().computations();
    for number in 0..10 {
        login(number).await;
    }
    assert_eq!(world.engine.hash_pool().computations(), hashes);
    // The user and the org that they share are read once.
    assert_eq!(world.counts.of(Method::Get), 10 + 2);
}

#[tokio::test]
async fn a_feed_that_is_behind_costs_a_read_every_two_seconds_and_no_hash() {
    let world = World::new().await;
    world.clock.advance(2 * SECOND);
    assert_eq!(world.cost().await, (0, 0), "it was read two seconds ago");
    world.clock.advance(SECOND);
    // The user and the org are read as well.
    assert_eq!(world.cost().await, (3, 0));
    assert_eq!(world.cost().await, (0, 0));
    // The feed is back: no read until the time to live ends.
    for _ in 0..57 {
        world.clock.advance(SECOND);
        world.fresh(&world.clock).await;
        assert_eq!(world.cost().await, (0, 0));
    }
    world.clock.advance(5 * SECOND);
    world.fresh(&world.clock).await;
    assert_eq!(world.cost().await, (3, 0));
}

/// [CACHE-3]
#[tokio::test]
async fn changes_of_other_processes_take_effect_within_max_staleness() {
    let world = World::new().await;
    world.other.set_password(world.id, "a-new-password").await.unwrap();
    // There was no event, and no more time has passed than `max_staleness`.
    world.clock.advance(2 * SECOND);
    assert!(world.login(PASSWORD).await.is_ok());
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.refusal(PASSWORD).await, Refusal::WrongPassword);
    assert!(world.login("a-new-password").await.is_ok());
    assert_eq!(world.refusal(PASSWORD).await, Refusal::WrongPassword);
}

#[tokio::test]
async fn without_a_store_no_login_is_admitted_once_its_cache_entry_is_stale() {
    let world = World::new().await;
    world.store.close().await.unwrap();
    world.clock.advance(2 * SECOND);
    assert!(world.login(PASSWORD).await.is_ok());
    world.clock.advance(SECOND);
    let error = world.login(PASSWORD).await.unwrap_err();
    assert_eq!((error.kind(), error.refusal()), (portcullis::ErrorKind::Unavailable, None));
}

/// [CACHE-2] [AUTH-6]
#[tokio::test]
async fn the_status_of_user_and_org_takes_effect_at_once() {
    let world = World::new().await;
    world.engine.set_user_status(world.user.id, Status::Inactive).await.unwrap();
    assert_eq!(world.refusal(PASSWORD).await, Refusal::User);
    world.engine.set_user_status(world.user.id, Status::Active).await.unwrap();
    assert_eq!(world.cost().await.1, 0);
    world.engine.set_org_status(world.org.id, Status::Inactive).await.unwrap();
    assert_eq!(world.refusal(PASSWORD).await, Refusal::Org);
    world.engine.set_org_status(world.org.id, Status::Active).await.unwrap();
    world.engine.delete_org(world.org.id).await.unwrap();
    assert_eq!(world.refusal(PASSWORD).await, Refusal::UnknownUsername);
}

/// [CACHE-2]
#[tokio::test]
async fn replaced_permissions_take_effect_at_once() {
    let world = World::new().await;
    let bucket = world.resource();
    let read = vec![Permission::read(bucket)];
    world.engine.set_permissions(world.id, read).await.unwrap();
    let principal = world.login(PASSWORD).await.unwrap();
    assert!(!principal.check(portcullis::Action::Write, &bucket).is_allowed());
}

#[tokio::test]
async fn an_api_token_is_cached_and_invalidated_like_a_password() {
    let world = World::new().await;
    let (token, secret) = world.engine.create_api_token(world.new_operator_token()).await.unwrap();
    let secret = secret.expose();
    let in_three_ways = async || {
        let alone = world.engine.authenticate(Credentials::token(secret)).await;
        let as_password = Credentials::password("other", secret);
        let as_password = world.engine.authenticate(as_password).await;
        (
            alone.is_ok(),
            as_password.is_ok(),
            world.engine.authenticate_caller(Credentials::token(secret)).await.is_ok(),
        )
    };
    assert_eq!(in_three_ways().await, (true, true, true));
    world.counts.reset();
    assert_eq!(in_three_ways().await, (true, true, true));
    assert_eq!(world.counts.of(Method::Get), 0);

    // The username is taken: the token is no password for it any more.
    let new = world.new_authorization("other");
    let id = world.engine.create_authorization(new).await.unwrap().id;
    assert_eq!(in_three_ways().await, (true, false, true));
    world.engine.delete_authorization(id).await.unwrap();
    assert_eq!(in_three_ways().await, (true, true, true));

    world.engine.set_api_token_status(token.id, Status::Inactive).await.unwrap();
    assert_eq!(in_three_ways().await, (false, false, true));
    let caller = world.engine.authenticate_caller(Credentials::token(secret)).await.unwrap();
    assert!(!caller.is_active());
    world.engine.revoke_api_token(token.id).await.unwrap();
    assert_eq!(in_three_ways().await, (false, false, false));
}

#[tokio::test]
async fn a_bucket_name_is_cached_until_a_bucket_changes() {
    let world = World::new().await;
    let (org, bucket) = (world.org.id, world.bucket.id);
    let named = async |name| world.engine.bucket_id(org, name).await.unwrap();
    assert_eq!(named("telemetry").await, Some(bucket));
    world.counts.reset();
    assert_eq!(named("telemetry").await, Some(bucket));
    assert_eq!(world.counts.of(Method::Get), 0);
    assert_eq!(named("Telemetry").await, None);
    let by_id = world.engine.bucket_id(org, &bucket.to_string()).await.unwrap();
    assert_eq!(by_id, None, "an id is only a name here");
    let elsewhere = OrgId::from_u64(99);
    assert_eq!(world.engine.bucket_id(elsewhere, "telemetry").await.unwrap(), None);
    world.engine.delete_bucket(bucket).await.unwrap();
    assert_eq!(named("telemetry").await, None);
    let again = world.engine.create_bucket(org, name("telemetry")).await.unwrap().id;
    assert_eq!(named("telemetry").await, Some(again));
}

/// [CACHE-4]
#[tokio::test]
async fn a_change_that_a_host_did_not_report_takes_effect_when_the_time_to_live_ends() {
    let (org, user) = (OrgId::from_u64(1), UserId::from_u64(2));
    let acme = |status| Org { id: org, name: name("acme"), status };
    let ada = User { id: user, name: name("ada"), status: Status::Active };
    let without_user = StaticDirectory::new().with_org(acme(Status::Active));
    let with_user = without_user.clone().with_user(ada);
    let without_org = with_user.clone().with_org(acme(Status::Inactive));
    let [off, org_off] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (is_off, is_org_off) = (Arc::clone(&off), Arc::clone(&org_off));
    let host = HookedDirectory(move |_: &str| {
        Ok(match (is_off.load(Ordering::SeqCst), is_org_off.load(Ordering::SeqCst)) {
            (true, _) => without_user.clone(),
            (false, true) => without_org.clone(),
            (false, false) => with_user.clone(),
        })
    });
    let feed = Feed::of_shared_store(7, 0);
    let store = ScriptedStore::new(&feed);
    let followers = store.followers();
    let clock = ManualClock::new();
    let engine =
        builder(Arc::new(store)).directory(host).clock(clock.clone()).build().await.unwrap();
    let grant = Permission::read(Resource::all(portcullis::ResourceType::Buckets));
    let new = NewAuthorization::new(Username::new("telegraf").unwrap(), org, [grant]);
    let id = engine.create_authorization(new.for_user(user)).await.unwrap().id;
    engine.set_password(id, PASSWORD).await.unwrap();
    let works = async || {
        followers.apply(|| feed.fresh(clock.instant())).await;
        engine.authenticate(Credentials::password("telegraf", PASSWORD)).await.is_ok()
    };
    assert!(works().await);
    off.store(true, Ordering::SeqCst);
    clock.advance(60 * SECOND);
    assert!(works().await);
    clock.advance(SECOND);
    assert!(!works().await);
    off.store(false, Ordering::SeqCst);
    assert!(!works().await);
    engine.invalidate_user(user);
    assert!(works().await);
    org_off.store(true, Ordering::SeqCst);
    assert!(works().await);
    engine.invalidate_org(org);
    assert!(!works().await);
    org_off.store(false, Ordering::SeqCst);
    engine.invalidate_org(org);
    assert!(works().await);
    off.store(true, Ordering::SeqCst);
    engine.invalidate_user(user);
    assert!(!works().await);
}

#[tokio::test]
async fn nothing_is_cached_if_the_cache_is_off() {
    let world = World::new().await;
    let engine = builder(Arc::clone(&world.store)).cache(CacheConfig::off()).build().await.unwrap();
    for expected in 1..=3 {
        engine.authenticate(Credentials::password("telegraf", PASSWORD)).await.unwrap();
        assert_eq!(engine.hash_pool().computations(), expected);
    }
}

/// [CACHE-6]
#[tokio::test]
async fn equal_logins_at_once_share_one_hash() {
    let world = World::new().await;
    // It takes long enough for all to arrive meanwhile.
    let dear = portcullis::password::HashParams::default();
    let engine = builder(Arc::clone(&world.store)).hash_params(dear).build().await.unwrap();
    let new = "a-dear-password";
    engine.set_password(world.id, new).await.unwrap();
    let login = |password| {
        let engine = engine.clone();
        async move { engine.authenticate(Credentials::password("telegraf", password)).await.is_ok() }
    };
    let right = (0..100).map(|_| login(new));
    let all = futures_util::future::join_all(right).await;
    assert!(all.into_iter().all(|is_admitted| is_admitted));
    assert_eq!(engine.hash_pool().computations(), 2, "one to set it, one to verify it");
    // Another password is another computation.
    let wrong = futures_util::future::join_all((0..100).map(|_| login("another-password"))).await;
    assert!(wrong.into_iter().all(|is_admitted| !is_admitted));
    assert_eq!(engine.hash_pool().computations(), 3);
}

mod rehash {
    use super::*;

    /// `secret-pass-1`, with bcrypt of cost 4.
    const BCRYPT: &str = "$2b$04$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9erFFhGg5Ml6";

    async fn with_bcrypt() -> World {
        let world = World::new().await;
        world.other.delete_authorization(world.id).await.unwrap();
        let snapshot = format!(
            r#"{{"type":"authorization","id":"{}","token":"telegraf","orgID":"{}","userID":"{}","status":"active","description":"","permissions":[],"passwordHash":"{BCRYPT}","createdAt":"2020-01-01T00:00:00Z","updatedAt":"2020-01-01T00:00:00Z"}}"#,
            world.id, world.org.id, world.user.id
        );
        let snapshot = portcullis::snapshot::Snapshot::read(snapshot.as_bytes()).unwrap();
        world.other.import(snapshot, false).await.unwrap();
        world
    }

    /// Waits until the hash was replaced; panics if it stays.
    async fn replaced(world: &World) -> Authorization {
        for _ in 0..10_000 {
            let stored = world.stored().await;
            if stored.password_hash.as_ref().unwrap().expose() != BCRYPT {
                return stored;
            }
            tokio::task::yield_now().await;
            std::thread::yield_now();
        }
        panic!("the weak hash was not replaced");
    }

    /// [QUEUE-9]
    #[tokio::test]
    async fn bcrypt_is_replaced_at_login_and_nothing_else_changes() {
        let world = with_bcrypt().await;
        let engine = builder(Arc::clone(&world.store)).build().await.unwrap();
        let login = async || {
            engine.authenticate(Credentials::password("telegraf", "secret-pass-1")).await.unwrap()
        };
        let before = world.stored().await;
        login().await;
        let mut after = replaced(&world).await;
        let hash = after.password_hash.clone().unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{}", hash.expose());
        after.password_hash.clone_from(&before.password_hash);
        assert_eq!(after, before);
        // Two were computed: to verify and to replace. The new one is cached.
        login().await;
        assert_eq!(engine.hash_pool().computations(), 2);
    }

    #[tokio::test]
    async fn a_wrong_password_replaces_nothing() {
        let world = with_bcrypt().await;
        let engine = builder(Arc::clone(&world.store)).build().await.unwrap();
        let wrong = Credentials::password("telegraf", "secret-pass-2");
        assert!(engine.authenticate(wrong).await.is_err());
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.stored().await.password_hash.unwrap().expose(), BCRYPT);
        assert_eq!(engine.hash_pool().computations(), 1);
    }

    #[tokio::test]
    async fn a_hash_stays_if_rehashing_is_off() {
        let world = with_bcrypt().await;
        let engine =
            builder(Arc::clone(&world.store)).rehash_on_login(false).build().await.unwrap();
        engine.authenticate(Credentials::password("telegraf", "secret-pass-1")).await.unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.stored().await.password_hash.unwrap().expose(), BCRYPT);
        assert_eq!(engine.hash_pool().computations(), 1);
    }

    /// [QUEUE-9]
    #[tokio::test(flavor = "multi_thread")]
    async fn a_new_password_wins_against_a_replacement() {
        for round in 0..200 {
            let world = with_bcrypt().await;
            let engine = builder(Arc::clone(&world.store)).build().await.unwrap();
            let login = async {
                let old = Credentials::password("telegraf", "secret-pass-1");
                let _ = engine.authenticate(old).await;
            };
            let set = async {
                for _ in 0..round % 7 {
                    tokio::task::yield_now().await;
                }
                engine.set_password(world.id, "a-new-password").await.unwrap();
            };
            tokio::join!(login, set);
            for password in ["secret-pass-1", "a-new-password"] {
                let is_admitted =
                    engine.authenticate(Credentials::password("telegraf", password)).await;
                assert_eq!(is_admitted.is_ok(), password == "a-new-password", "round {round}");
            }
        }
    }
}
