//! Logins while the feed lags and the store does not respond: none is admitted, or for a configured time
//! those with a cache entry, and never by an outdated entry.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portcullis::store::Kind;
use portcullis::toolkit::Feed;
use portcullis::{
    AuthorizationUpdate, CacheConfig, Clock, Credentials, Engine, Error, ErrorKind, Permission,
    Principal, Status, TokenSecret, TrustState,
};
use portcullis_testkit::{Call, Fault, Faults, FaultyStore, Method};

use crate::audit::Kept;
use crate::shared_store::{ScriptedStore, SharedStore};
use crate::support::{ManualClock, builder};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_secs(10);
const PASSWORD: &str = "telegraf-password";

/// An engine with ten seconds of stale-if-error, with every credential in its cache, as of the feed's last
/// event, which is now.
struct World {
    engine: Engine,
    shared: SharedStore,
    faults: Faults,
    clock: ManualClock,
    audit: Kept,
    token: portcullis::ApiToken,
    secret: TokenSecret,
}

impl Deref for World {
    type Target = SharedStore;

    fn deref(&self) -> &SharedStore {
        &self.shared
    }
}

impl World {
    async fn new() -> Self {
        Self::with_stale_if_error(LIMIT).await
    }

    async fn with_stale_if_error(stale_if_error: Duration) -> Self {
        let shared = SharedStore::new().await;
        let (token, secret) = shared.operator_token().await;
        let (faults, clock, audit) = (Faults::new(), ManualClock::new(), Kept::default());
        let config = CacheConfig::default().stale_if_error(stale_if_error);
        let engine = builder(Arc::new(FaultyStore::new(Arc::clone(&shared.store), &faults)));
        let engine = engine.clock(clock.clone()).cache(config).audit(audit.clone());
        let engine = engine.build().await.unwrap();
        clock.advance(SECOND);
        let world = Self { engine, shared, faults, clock, audit, token, secret };
        for outcome in world.login_all().await {
            outcome.unwrap();
        }
        world.bucket_id().await.unwrap();
        world.fresh(&world.clock).await;
        world
    }

    async fn login(&self, password: &str) -> Result<Principal, Error> {
        self.engine.authenticate(Credentials::password("telegraf", password)).await
    }

    async fn bucket_id(&self) -> Result<Option<portcullis::BucketId>, Error> {
        self.engine.bucket_id(self.org.id, "telemetry").await
    }

    /// Logs in with each cached credential: a password, an API token as password, an API token.
    async fn login_all(&self) -> [Result<Principal, Error>; 3] {
        let secret = self.secret.expose();
        [
            self.login(PASSWORD).await,
            self.engine.authenticate(Credentials::password("unknown", secret)).await,
            self.engine.authenticate(Credentials::token(secret)).await,
        ]
    }

    fn fail(&self, fault: Fault) {
        self.faults.reset();
        self.faults.fail(Call::nth(1).and_later(), fault);
    }

    /// Beyond `max_staleness`, with a store that does not respond.
    fn outage(&self) {
        self.clock.advance(3 * SECOND);
        self.fail(Fault::Unavailable);
    }

    async fn assert_unavailable(&self, what: &str) {
        let error = self.login(PASSWORD).await.unwrap_err();
        assert_eq!((error.kind(), error.refusal()), (ErrorKind::Unavailable, None), "{what}");
    }
}

/// How a store responds to reads.
#[derive(Clone, Copy, Debug)]
enum Reads {
    Respond,
    Fail(Fault),
    /// Never.
    Hang,
}

/// [OUTAGE-1]
#[tokio::test]
async fn the_result_of_a_login_in_each_trust_state() {
    use TrustState::{Fresh, Stale, StaleIfError, Unavailable};

    let none = Duration::ZERO;
    let until = 2 * SECOND;
    let admitted = None;
    let unavailable = Some(ErrorKind::Unavailable);
    let internal = Some(ErrorKind::Internal);
    let fails = Reads::Fail(Fault::Unavailable);
    for (stale_if_error, reads, age, state, expected) in [
        (none, Reads::Respond, until, Fresh, admitted),
        (none, Reads::Respond, until + MILLISECOND, Stale, admitted),
        (none, fails, until, Fresh, admitted),
        (none, fails, until + MILLISECOND, Unavailable, unavailable),
        (none, Reads::Fail(Fault::Backend), until + MILLISECOND, Stale, internal),
        (LIMIT, Reads::Respond, until, Fresh, admitted),
        (LIMIT, Reads::Respond, until + LIMIT + MILLISECOND, Stale, admitted),
        (LIMIT, fails, until, Fresh, admitted),
        (LIMIT, fails, until + MILLISECOND, StaleIfError, admitted),
        (LIMIT, fails, until + LIMIT, StaleIfError, admitted),
        (LIMIT, fails, until + LIMIT + MILLISECOND, Unavailable, unavailable),
        (LIMIT, Reads::Fail(Fault::ResponseLost), until + LIMIT, StaleIfError, admitted),
        (LIMIT, Reads::Hang, until + MILLISECOND, StaleIfError, admitted),
        // An error of a broken store is a response.
        (LIMIT, Reads::Fail(Fault::Backend), until + MILLISECOND, Stale, internal),
    ] {
        let what = format!("stale_if_error {stale_if_error:?}, {reads:?}, {age:?}");
        let world = World::with_stale_if_error(stale_if_error).await;
        let hashes = world.engine.hash_pool().computations();
        world.clock.advance(age);
        let _gate = match reads {
            Reads::Respond => None,
            Reads::Fail(fault) => {
                world.fail(fault);
                None
            }
            Reads::Hang => {
                world.faults.reset();
                Some(world.faults.hold(Call::nth_of(Method::Get, 1).and_later()))
            }
        };
        for outcome in world.login_all().await {
            assert_eq!(outcome.err().map(|error| error.kind()), expected, "{what}");
        }
        let found = world.bucket_id().await;
        assert_eq!(found.as_ref().err().map(Error::kind), expected, "{what}");
        assert!(found.is_err() || found.unwrap() == Some(world.bucket.id), "{what}");
        assert_eq!(world.engine.trust_state(), state, "{what}");
        assert_eq!(world.engine.change_feed_lag(), Some(age), "{what}");
        // `/ready` reads the store, even while cache hits need no read.
        let is_ready =
            matches!(reads, Reads::Respond) || world.engine.trust_state() == StaleIfError;
        let is_ready = is_ready || (state == Fresh && stale_if_error > none);
        assert_eq!(world.engine.ready().await.is_ok(), is_ready, "{what}");
        assert_eq!(world.engine.hash_pool().computations(), hashes, "{what}");
    }
}

/// [OUTAGE-5] [OUTAGE-8]
#[tokio::test]
async fn stale_if_error_is_for_cached_credentials_with_the_right_secret() {
    let world = World::new().await;
    world.outage();
    let secret = world.secret.expose();
    for (username, password) in
        [("telegraf", "wrong"), ("telegraf", ""), ("telegraf", secret), ("unknown", PASSWORD)]
    {
        let outcome = world.engine.authenticate(Credentials::password(username, password)).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable, "{username} {password}");
    }
    for token in [PASSWORD, "wrong"] {
        let outcome = world.engine.authenticate(Credentials::token(token)).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable, "{token}");
    }
    // A caller of the management API could not do anything.
    let caller = world.engine.authenticate_caller(Credentials::token(secret)).await;
    assert_eq!(caller.unwrap_err().kind(), ErrorKind::Unavailable);
    // `authenticate_cached` relies on the feed alone.
    let right = Credentials::password("telegraf", PASSWORD);
    assert!(world.engine.authenticate_cached(right).is_none());
    let other = world.engine.bucket_id(world.org.id, "another").await;
    assert_eq!(other.unwrap_err().kind(), ErrorKind::Unavailable);
    world.login(PASSWORD).await.unwrap();
}

#[tokio::test]
async fn the_store_decides_as_soon_as_it_responds() {
    let world = World::new().await;
    world.outage();
    world.login(PASSWORD).await.unwrap();
    let off = AuthorizationUpdate::status(Status::Inactive);
    world.other.update_authorization(world.telegraf.id, off).await.unwrap();
    world.login(PASSWORD).await.unwrap();
    world.faults.reset();
    let refused = world.login(PASSWORD).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthorized);
    assert_eq!(world.engine.trust_state(), TrustState::Stale);
    // It stays so when the store fails again.
    world.fail(Fault::Unavailable);
    world.assert_unavailable("after it was refused").await;
}

/// A change through the engine itself.
async fn change(world: &World, change: u8) -> Result<(), Error> {
    let (engine, id) = (&world.engine, world.telegraf.id);
    match change {
        0 => engine.set_password(id, "a-new-password").await,
        1 => {
            let off = AuthorizationUpdate::status(Status::Inactive);
            engine.update_authorization(id, off).await.map(drop)
        }
        2 => {
            let grant = Permission::read(world.resource());
            engine.set_permissions(id, vec![grant]).await.map(drop)
        }
        3 => engine.delete_authorization(id).await,
        4 => engine.set_user_status(world.user.id, Status::Inactive).await.map(drop),
        5 => engine.set_org_status(world.org.id, Status::Inactive).await.map(drop),
        6 => engine.delete_user(world.user.id).await,
        _ => engine.delete_org(world.org.id).await,
    }
}

const CHANGES: u8 = 8;

/// [OUTAGE-6]
#[tokio::test]
async fn a_change_of_this_engine_takes_effect_during_stale_if_error() {
    for number in 0..CHANGES {
        let world = World::new().await;
        change(&world, number).await.unwrap();
        world.outage();
        world.assert_unavailable(&format!("change {number}")).await;
    }
    let world = World::new().await;
    world.engine.revoke_api_token(world.token.id).await.unwrap();
    world.outage();
    let [telegraf, as_password, token] = world.login_all().await;
    assert!(telegraf.is_ok() && as_password.is_err() && token.is_err());
    // A bucket, too.
    world.faults.reset();
    world.bucket_id().await.unwrap();
    world.engine.delete_bucket(world.bucket.id).await.unwrap();
    world.fail(Fault::Unavailable);
    assert!(world.bucket_id().await.is_err());
}

/// The outcome of an ambiguous commit is unknown. A revocation takes effect in either case.
/// [OUTAGE-6]
#[tokio::test]
async fn an_ambiguous_change_of_this_engine_takes_effect_during_stale_if_error() {
    for number in 0..CHANGES {
        for fault in [Fault::Unavailable, Fault::RequestLost, Fault::ResponseLost] {
            let world = World::new().await;
            world.clock.advance(3 * SECOND);
            world.faults.reset();
            world.faults.fail(Call::nth_of(Method::Commit, 1).and_later(), fault);
            // The engine may resolve it by the revision.
            let _ = change(&world, number).await;
            world.fail(Fault::Unavailable);
            world.assert_unavailable(&format!("change {number}, {fault:?}")).await;
        }
    }
}

/// [OUTAGE-6]
#[tokio::test]
async fn a_change_that_the_feed_has_reported_takes_effect_during_stale_if_error() {
    let (user, org) = (Kind::User, Kind::Org);
    for event in 0..4 {
        let world = World::new().await;
        let (user, org) = ((user, world.user.id.untyped()), (org, world.org.id.untyped()));
        let telegraf = (Kind::Authorization, world.telegraf.id.untyped());
        world
            .apply(|feed| match event {
                0 => _ = feed.announce([telegraf]),
                1 => _ = feed.announce([user]),
                2 => _ = feed.announce([org]),
                _ => feed.resync(1),
            })
            .await;
        world.outage();
        world.assert_unavailable(&format!("{event}")).await;
    }
}

/// The feed has reported nothing, but a login read the change and was refused or admitted by it.
/// [OUTAGE-6]
#[tokio::test]
async fn a_change_that_a_login_has_found_takes_effect_during_stale_if_error() {
    for found in 0..4 {
        let world = World::new().await;
        world.clock.advance(3 * SECOND);
        match found {
            0 => {
                world.other.set_password(world.telegraf.id, "a-new-password").await.unwrap();
                world.login(PASSWORD).await.unwrap_err();
            }
            1 => {
                world.other.set_password(world.telegraf.id, "a-new-password").await.unwrap();
                world.login("a-new-password").await.unwrap();
            }
            2 => {
                world.other.delete_authorization(world.telegraf.id).await.unwrap();
                world.login(PASSWORD).await.unwrap_err();
            }
            _ => {
                world.other.set_user_status(world.user.id, Status::Inactive).await.unwrap();
                // With another credential of the same user.
                let token = Credentials::token(world.secret.expose());
                world.engine.authenticate(token).await.unwrap_err();
            }
        }
        world.fail(Fault::Unavailable);
        world.assert_unavailable(&format!("{found}")).await;
    }
    for found in 0..3 {
        let world = World::new().await;
        world.clock.advance(3 * SECOND);
        match found {
            0 => world.other.revoke_api_token(world.token.id).await.unwrap(),
            1 => {
                _ = world.other.set_org_status(world.org.id, Status::Inactive).await.unwrap();
            }
            _ => world.other.delete_bucket(world.bucket.id).await.unwrap(),
        }
        let token = Credentials::token(world.secret.expose());
        assert_eq!(world.engine.authenticate(token).await.is_err(), found < 2);
        let bucket = world.bucket_id().await.unwrap();
        assert_eq!(bucket.is_none(), found == 2);
        world.fail(Fault::Unavailable);
        assert_eq!(world.engine.authenticate(token).await.is_err(), found < 2);
        assert_eq!(world.bucket_id().await.is_err(), found == 2);
    }
}

/// The time to live bounds changes that a host did not report, during stale-if-error as well.
/// [OUTAGE-5]
#[tokio::test]
async fn an_entry_that_had_expired_at_the_feeds_last_event_is_not_valid_during_stale_if_error() {
    let world = World::new().await;
    world.clock.advance(61 * SECOND);
    world.fresh(&world.clock).await;
    world.fail(Fault::Unavailable);
    world.assert_unavailable("read 61 seconds before").await;
}

#[tokio::test]
async fn a_change_while_a_login_waits_for_the_store_takes_effect() {
    let world = World::new().await;
    world.clock.advance(3 * SECOND);
    world.faults.reset();
    let first = Call::nth_of(Method::Get, 1);
    let mut gate = world.faults.hold(first);
    world.faults.fail(first, Fault::Unavailable);
    let change = async {
        gate.reached().await;
        world.engine.set_password(world.telegraf.id, "a-new-password").await.unwrap();
        gate.open();
    };
    let (outcome, ()) = tokio::join!(world.login(PASSWORD), change);
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_password_that_was_changed_here_is_refused_from_then_on_however_the_store_comes_and_goes()
{
    for round in 0..30 {
        let world = Arc::new(World::new().await);
        world.clock.advance(3 * SECOND);
        world.faults.reset();
        for call in (round % 3..3_000).step_by(3) {
            world.faults.fail(Call::nth_of(Method::Get, call + 1), Fault::Unavailable);
        }
        let changed = Arc::new(AtomicBool::new(false));
        let logins: Vec<_> = (0..3)
            .map(|_| {
                let (world, changed) = (Arc::clone(&world), Arc::clone(&changed));
                tokio::spawn(async move {
                    for _ in 0..100 {
                        let is_changed = changed.load(Ordering::SeqCst);
                        let outcome = world.login(PASSWORD).await;
                        assert!(!is_changed || outcome.is_err(), "let in after the change");
                    }
                })
            })
            .collect();
        for number in 0.. {
            let password = format!("a-new-password-{number}");
            let outcome = world.engine.set_password(world.telegraf.id, password).await;
            if outcome.is_ok() {
                break;
            }
        }
        changed.store(true, Ordering::SeqCst);
        for login in logins {
            login.await.unwrap();
        }
        assert!(world.login(PASSWORD).await.is_err());
    }
}

/// Cached logins do not wait long for a store that hangs; one waits from time to time to try it again.
/// [OUTAGE-3]
#[tokio::test]
async fn a_store_that_hangs_delays_only_some_cache_hits() {
    let world = World::new().await;
    world.clock.advance(3 * SECOND);
    world.faults.reset();
    let _gate = world.faults.hold(Call::nth_of(Method::Get, 1).and_later());
    let waited = async || {
        let began = Instant::now();
        world.login(PASSWORD).await.unwrap();
        began.elapsed()
    };
    assert!(waited().await >= SECOND);
    assert!(waited().await >= SECOND, "the first one since it stopped responding");
    for _ in 0..3 {
        assert!(waited().await < SECOND);
    }
    world.clock.advance(SECOND);
    assert!(waited().await >= SECOND);
}

#[tokio::test]
async fn the_audit_gets_one_event_for_each_cached_login_in_each_outage() {
    let world = World::new().await;
    let take_reported = || {
        let events = world.audit.take();
        let events = events.into_iter().filter(|(action, ..)| action == "loginStaleIfError");
        events.map(|(_, outcome, _, event)| (outcome, event["record"].clone())).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        world.fresh(&world.clock).await;
        world.outage();
        for _ in 0..3 {
            for outcome in world.login_all().await {
                outcome.unwrap();
            }
        }
        let reported = take_reported();
        assert_eq!(reported.len(), 2, "{reported:?}");
        let (outcome, record) = &reported[0];
        assert_eq!((&**outcome, &record["name"]), ("done", &"telegraf".into()));
        assert_eq!(record["id"], world.telegraf.id.to_string());
        assert_eq!(reported[1].1["id"], world.token.id.to_string());
        world.faults.reset();
        for outcome in world.login_all().await {
            outcome.unwrap();
        }
        assert!(take_reported().is_empty());
    }
}

/// A host's own directory that does not respond is no outage of the store.
mod host_directory {
    use portcullis::StaticDirectory;
    use portcullis_testkit::HookedDirectory;

    use super::*;

    /// [OUTAGE-3]
    #[tokio::test]
    async fn stale_if_error_is_for_outages_of_the_store_and_not_of_a_directory() {
        let world = World::new().await;
        let tenants = StaticDirectory::new()
            .with_user(world.user.clone())
            .with_org(world.org.clone())
            .with_bucket(world.bucket.clone());
        let (gone, faults, clock) =
            (Arc::new(AtomicBool::new(false)), Faults::new(), ManualClock::new());
        let is_gone = Arc::clone(&gone);
        let directory = HookedDirectory(move |_: &str| match is_gone.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::Unavailable, "the directory is gone")),
            false => Ok(tenants.clone()),
        });
        // A store of its own, with faults of its own.
        let feed = Feed::of_shared_store(7, 0);
        let inner = ScriptedStore::new(&feed);
        let followers = inner.followers();
        let engine = builder(Arc::new(FaultyStore::new(Arc::new(inner), &faults)))
            .directory(directory)
            .clock(clock.clone())
            .cache(CacheConfig::default().stale_if_error(LIMIT))
            .build()
            .await
            .unwrap();
        let id = engine.create_authorization(world.new_authorization("telegraf")).await.unwrap().id;
        engine.set_password(id, PASSWORD).await.unwrap();
        let login = async || engine.authenticate(Credentials::password("telegraf", PASSWORD)).await;
        let bucket = async || engine.bucket_id(world.org.id, "telemetry").await;
        clock.advance(SECOND);
        login().await.unwrap();
        bucket().await.unwrap();
        followers.apply(|| feed.fresh(clock.instant())).await;
        clock.advance(3 * SECOND);

        gone.store(true, Ordering::SeqCst);
        assert_eq!(login().await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(bucket().await.unwrap_err().kind(), ErrorKind::Unavailable);
        // The record itself cannot be read: that is an outage.
        faults.fail(Call::nth(1).and_later(), Fault::Unavailable);
        login().await.unwrap();
    }
}
