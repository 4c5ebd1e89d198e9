//! When credentials were last used: recorded once in an interval, over all engines of a store, and
//! without a change of the credential.

use std::collections::HashSet;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use portcullis::snapshot::Snapshot;
use portcullis::store::{Index, Kind, MemoryStore, Record, Store, StoreExt as _};
use portcullis::{
    Authorization, AuthorizationFilter, Clock, Credentials, Engine, EngineBuilder, LastUse,
    LastUseConfig, Timestamp,
};
use portcullis_testkit::{Call, Counts, Fault, Faults, FaultyStore, InstrumentedStore, Method};

use crate::support::{ManualClock, World, builder};

const HOUR: Duration = Duration::from_secs(60 * 60);
const ALL: NonZeroUsize = NonZeroUsize::MAX;
/// An interval and the time by which the next note of a credential is later.
const NEXT: Duration = Duration::from_secs(75 * 60);

/// A clock whose time of day moves with its monotonic time.
#[derive(Clone, Debug, Default)]
struct Day(ManualClock, Option<Instant>);

impl Day {
    fn new() -> Self {
        let clock = ManualClock::new();
        let start = clock.instant();
        Self(clock, Some(start))
    }
}

impl Clock for Day {
    fn now(&self) -> Timestamp {
        let passed = self.1.map(|start| self.0.instant() - start).unwrap_or_default();
        let noon: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
        let millis = noon.as_unix_millis() + i64::try_from(passed.as_millis()).unwrap();
        Timestamp::from_unix_millis(millis).unwrap()
    }

    fn instant(&self) -> Instant {
        self.0.instant()
    }
}

/// Uses are written only by [`Engine::flush_last_uses`].
fn by_hand(builder: EngineBuilder) -> EngineBuilder {
    builder.last_use(LastUseConfig::default().flush_every(HOUR))
}

async fn world(clock: &Day) -> World {
    World::with(|builder| by_hand(builder).clock(clock.clone())).await
}

async fn records(store: &dyn Store, kind: Kind) -> Vec<Record> {
    let pages = store.pages(Index::All(kind), ALL);
    pages.map(|page| page.unwrap().records).concat().await
}

fn password<'a>(username: &'a str, password: &'a str) -> Credentials<'a> {
    Credentials::password(username, password)
}

async fn log_in(engine: &Engine, username: &str) {
    let word = format!("{username}-password");
    engine.authenticate(password(username, &word)).await.unwrap();
}

async fn last_use(engine: &Engine, authorization: &Authorization) -> Option<LastUse> {
    engine.last_use(authorization.id).await.unwrap()
}

/// [USE-1] [USE-2]
#[tokio::test]
async fn a_login_is_recorded_once_in_an_interval_and_changes_nothing_of_the_credential() {
    let clock = Day::new();
    let world = world(&clock).await;
    let created = world.credential("telegraf").await;
    let before = records(world.store.as_ref(), Kind::Authorization).await;
    assert_eq!(last_use(&world.engine, &created).await, None);

    let from: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
    let login = password("telegraf", "telegraf-password").source(from);
    for _ in 0..3 {
        world.engine.authenticate(login).await.unwrap();
    }
    assert_eq!(last_use(&world.engine, &created).await, None, "it is written later");
    world.engine.flush_last_uses().await;
    let first = last_use(&world.engine, &created).await.unwrap();
    assert_eq!(first, LastUse::new(clock.now(), Some("192.0.2.7".parse().unwrap())));
    assert_eq!(records(world.store.as_ref(), Kind::Authorization).await, before);

    // Within the interval: hits, and logins after a miss.
    for _ in 0..6 {
        clock.0.advance(Duration::from_secs(9 * 60));
        world.engine.authenticate(login).await.unwrap();
        world.engine.flush_last_uses().await;
    }
    assert_eq!(last_use(&world.engine, &created).await, Some(first));
    clock.0.advance(NEXT);
    let elsewhere = password("telegraf", "telegraf-password");
    world.engine.authenticate(elsewhere).await.unwrap();
    world.engine.flush_last_uses().await;
    assert_eq!(last_use(&world.engine, &created).await, Some(LastUse::new(clock.now(), None)));
}

/// [USE-1]
#[tokio::test]
async fn refused_logins_are_no_use_and_api_tokens_are_recorded_everywhere() {
    let clock = Day::new();
    let world = world(&clock).await;
    let created = world.credential("telegraf").await;
    world.engine.authenticate(password("telegraf", "wrong")).await.unwrap_err();
    let (token, secret) = world.operator_token().await;
    let (caller, caller_secret) = world.operator_token().await;
    let (as_password, password_secret) = world.operator_token().await;
    let (off, off_secret) = world.operator_token().await;
    world.engine.set_api_token_status(off.id, portcullis::Status::Inactive).await.unwrap();
    world.engine.authenticate(Credentials::token(secret.expose())).await.unwrap();
    let caller_credentials = Credentials::token(caller_secret.expose());
    world.engine.authenticate_caller(caller_credentials).await.unwrap();
    world.engine.authenticate(password("any", password_secret.expose())).await.unwrap();
    let off_credentials = Credentials::token(off_secret.expose());
    world.engine.authenticate_caller(off_credentials).await.unwrap();
    world.engine.authenticate(off_credentials).await.unwrap_err();
    world.engine.flush_last_uses().await;
    for (token, is_used) in [(token, true), (caller, true), (as_password, true), (off, false)] {
        let used = world.engine.api_token_last_use(token.id).await.unwrap();
        assert_eq!(used.is_some(), is_used, "{}", token.id);
    }
    assert_eq!(last_use(&world.engine, &created).await, None);
}

/// [USE-2]
#[tokio::test]
async fn two_engines_on_one_store_record_a_use_once_in_an_interval_together() {
    let clock = Day::new();
    let counts = Counts::default();
    let store: Arc<dyn Store> =
        Arc::new(InstrumentedStore::new(Arc::new(MemoryStore::new().unwrap()), &counts));
    let world =
        World::on(Arc::clone(&store), |builder| by_hand(builder).clock(clock.clone())).await;
    let other = by_hand(builder(store)).clock(clock.clone()).build().await.unwrap();
    world.credential("telegraf").await;
    let created = world.credential("grafana").await;
    let before = counts.of(Method::Commit);
    let (mut written, mut last) = (0, None);
    for step in 0..120 {
        clock.0.advance(Duration::from_secs(5 * 60));
        log_in(&world.engine, "grafana").await;
        // The other engine has a phase of its own.
        if step > 5 {
            log_in(&other, "grafana").await;
        }
        tokio::join!(world.engine.flush_last_uses(), other.flush_last_uses());
        let used = last_use(&world.engine, &created).await;
        if used != last {
            let apart =
                |from: LastUse| used.unwrap().at.as_unix_millis() - from.at.as_unix_millis();
            assert!(last.is_none_or(|last| apart(last) >= 3_600_000), "{last:?} {used:?}");
            (written, last) = (written + 1, used);
        }
    }
    // Ten hours.
    assert!((7..=10).contains(&written), "{written}");
    assert!(counts.of(Method::Commit) - before <= 10 + 2);
}

/// [USE-2]
#[tokio::test]
async fn a_hundred_thousand_credentials_in_constant_use_cost_at_most_thirty_writes_a_second() {
    // A part of them: the records written are counted, and each credential is on its own.
    const CREDENTIALS: u64 = 250;
    const HOURS: u64 = 12;
    const MINUTES: u64 = 3;

    let clock = Day::new();
    let world = world(&clock).await;
    let mut secrets = Vec::new();
    for _ in 0..CREDENTIALS {
        secrets.push(world.operator_token().await.1);
    }
    let (mut written, mut seen) = (0, HashSet::new());
    let mut most = 0;
    for _ in 0..HOURS * 60 / MINUTES {
        clock.0.advance(Duration::from_secs(60 * MINUTES));
        for secret in &secrets {
            world.engine.authenticate(Credentials::token(secret.expose())).await.unwrap();
        }
        world.engine.flush_last_uses().await;
        let now = records(world.store.as_ref(), Kind::ApiTokenUse).await;
        let changed = now.iter().filter(|record| !seen.contains(&record.revision)).count();
        (written, most) = (written + changed as u64, most.max(changed));
        seen = now.into_iter().map(|record| record.revision).collect();
    }
    let each = written as f64 / CREDENTIALS as f64;
    let per_second = each * 100_000.0 / (HOURS * 3_600) as f64;
    println!(
        "{per_second:.1} writes a second for 100,000 credentials; {most} of {CREDENTIALS} at once"
    );
    assert!(per_second <= 30.0, "{per_second}");
    assert!(written >= CREDENTIALS * HOURS * 8 / 10, "{written}");
}

/// [USE-3]
#[tokio::test]
async fn a_crash_loses_the_uses_that_are_not_written_and_no_more() {
    let clock = Day::new();
    let world = world(&clock).await;
    let created = world.credential("telegraf").await;
    log_in(&world.engine, "telegraf").await;
    world.engine.flush_last_uses().await;
    let first = last_use(&world.engine, &created).await;
    clock.0.advance(NEXT);
    log_in(&world.engine, "telegraf").await;
    let store = Arc::clone(&world.store);
    drop(world);
    let engine = by_hand(builder(store)).clock(clock.clone()).build().await.unwrap();
    assert_eq!(last_use(&engine, &created).await, first);
    log_in(&engine, "telegraf").await;
    engine.flush_last_uses().await;
    assert_eq!(last_use(&engine, &created).await, Some(LastUse::new(clock.now(), None)));
}

/// [USE-3]
#[tokio::test]
async fn uses_wait_while_the_store_is_away_and_logins_do_not() {
    let clock = Day::new();
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new().unwrap());
    let faults = Faults::new();
    let faulty: Arc<dyn Store> = Arc::new(FaultyStore::new(Arc::clone(&memory), &faults));
    let world = World::on(faulty, |builder| by_hand(builder).clock(clock.clone())).await;
    let created = world.credential("telegraf").await;
    for fault in Fault::ALL {
        for call in [Call::nth(1).and_later(), Call::nth_of(Method::Commit, 1)] {
            clock.0.advance(NEXT);
            log_in(&world.engine, "telegraf").await;
            let used = LastUse::new(clock.now(), None);
            faults.fail(call, fault);
            world.engine.flush_last_uses().await;
            log_in(&world.engine, "telegraf").await;
            faults.reset();
            world.engine.flush_last_uses().await;
            assert_eq!(last_use(&world.engine, &created).await, Some(used), "{fault:?} {call:?}");
        }
    }
}

/// [USE-4]
#[tokio::test]
async fn a_last_use_is_deleted_with_its_credential_its_user_and_its_org() {
    let clock = Day::new();
    let world = world(&clock).await;
    let created = world.credential("telegraf").await;
    world.credential("grafana").await;
    let (token, secret) = world.operator_token().await;
    let (_, kept) = world.operator_token().await;
    let use_all = async || {
        for secret in [&secret, &kept] {
            let _ = world.engine.authenticate(Credentials::token(secret.expose())).await;
        }
        for name in ["telegraf", "grafana"] {
            let word = format!("{name}-password");
            let _ = world.engine.authenticate(password(name, &word)).await;
        }
        world.engine.flush_last_uses().await;
    };
    let counts = async || {
        let store = world.store.as_ref();
        let of = async |kind| records(store, kind).await.len();
        (of(Kind::AuthorizationUse).await, of(Kind::ApiTokenUse).await)
    };
    use_all().await;
    assert_eq!(counts().await, (2, 2));
    world.engine.delete_authorization(created.id).await.unwrap();
    world.engine.revoke_api_token(token.id).await.unwrap();
    assert_eq!(counts().await, (1, 1));
    // A use that was noted before the deletion is not written after it.
    clock.0.advance(NEXT);
    log_in(&world.engine, "grafana").await;
    world.engine.delete_user(world.user.id).await.unwrap();
    world.engine.flush_last_uses().await;
    assert_eq!(counts().await, (0, 0));
}

/// [USE-5]
#[tokio::test]
async fn a_snapshot_carries_last_uses_and_an_import_overwrites_none() {
    let clock = Day::new();
    let source = world(&clock).await;
    let created = source.credential("telegraf").await;
    let export = async |engine: &Engine| {
        let mut text = Vec::new();
        engine.export(&mut text).await.unwrap();
        text
    };
    let unused = String::from_utf8(export(&source.engine).await).unwrap();
    assert!(!unused.contains("Use\""), "nothing shows unless used");
    log_in(&source.engine, "telegraf").await;
    source.engine.flush_last_uses().await;
    let first = last_use(&source.engine, &created).await;
    assert!(first.is_some());
    let text = export(&source.engine).await;
    let snapshot = Snapshot::read(text.as_slice()).unwrap();

    let store = Arc::new(MemoryStore::new().unwrap());
    let restored = builder(store).build().await.unwrap();
    assert_eq!(restored.import(snapshot.clone(), false).await.unwrap(), snapshot.len());
    assert_eq!(last_use(&restored, &created).await, first);
    assert_eq!(export(&restored).await, text);

    clock.0.advance(NEXT);
    log_in(&source.engine, "telegraf").await;
    source.engine.flush_last_uses().await;
    let later = last_use(&source.engine, &created).await;
    assert_ne!(later, first);
    assert_eq!(source.engine.import(snapshot, false).await.unwrap(), 0);
    assert_eq!(last_use(&source.engine, &created).await, later);
}

/// [USE-6]
#[tokio::test]
async fn a_list_of_unused_credentials_shows_when_each_was_used_last() {
    let clock = Day::new();
    let world = world(&clock).await;
    let mut all = Vec::new();
    for number in 0..40 {
        all.push(world.credential(&format!("name-{number}")).await);
    }
    let (_, secret) = world.operator_token().await;
    let caller =
        world.engine.authenticate_caller(Credentials::token(secret.expose())).await.unwrap();
    let created_at = clock.now();
    for (number, used) in all.iter().enumerate() {
        if number % 3 != 0 {
            clock.0.advance(Duration::from_secs(60));
            log_in(&world.engine, used.username.as_str()).await;
        }
    }
    world.engine.flush_last_uses().await;
    let on_behalf = world.engine.on_behalf_of(&caller);
    for org in [None, Some(world.org.id)] {
        for user in [None, Some(world.user.id)] {
            for minutes in [-1, 0, 1, 10, 30] {
                let since = created_at.as_unix_millis() + minutes * 60_000;
                let mut filter = AuthorizationFilter { org, user, ..AuthorizationFilter::all() };
                filter.unused_since = Timestamp::from_unix_millis(since);
                if minutes == 10 {
                    filter.permits = Some(portcullis::Permission::write(world.resource()));
                }
                let mut expected = Vec::new();
                for authorization in &all {
                    let used = last_use(&world.engine, authorization).await;
                    if filter.matches(authorization)
                        && filter.matches_use(authorization, used.as_ref())
                    {
                        expected.push((authorization.id, used));
                    }
                }
                expected.sort_unstable_by_key(|(id, _)| *id);
                for limit in [1, 7, 1_000] {
                    let limit = NonZeroUsize::new(limit).unwrap();
                    let (mut found, mut after) = (Vec::new(), None);
                    loop {
                        let page =
                            on_behalf.list_authorizations(&filter, after, limit).await.unwrap();
                        found
                            .extend(page.items.iter().map(|it| (it.authorization.id, it.last_use)));
                        after = page.next;
                        if after.is_none() {
                            break;
                        }
                    }
                    assert_eq!(found, expected, "{filter:?} {limit}");
                }
                let trusted = world.engine.list_authorizations(&filter, None, ALL).await.unwrap();
                let trusted: Vec<_> = trusted.items.iter().map(|it| it.id).collect();
                assert_eq!(trusted, expected.iter().map(|(id, _)| *id).collect::<Vec<_>>());
            }
        }
    }
    // Other lists show it only if they are asked to.
    let filter = AuthorizationFilter::all();
    for (shows, on_behalf) in [(false, on_behalf), (true, on_behalf.show_last_use(true))] {
        let page = on_behalf.list_authorizations(&filter, None, ALL).await.unwrap();
        let shown = page.items.iter().filter(|it| it.last_use.is_some()).count();
        assert_eq!(shown, if shows { 26 } else { 0 });
    }
    let one = on_behalf.authorization(all[1].id).await.unwrap();
    assert!(one.last_use.is_some());
}

/// [USE-6]
#[tokio::test]
async fn api_tokens_are_unused_since_the_time_in_their_id() {
    let clock = Day::new();
    let world = world(&clock).await;
    let (never, _) = world.operator_token().await;
    let (used, secret) = world.operator_token().await;
    clock.0.advance(HOUR);
    let login = Credentials::token(secret.expose());
    let caller = world.engine.authenticate_caller(login).await.unwrap();
    world.engine.flush_last_uses().await;
    let on_behalf = world.engine.on_behalf_of(&caller);
    let unused = async |since: Timestamp| {
        let mut filter = portcullis::ApiTokenFilter::all();
        filter.unused_since = Some(since);
        let page = on_behalf.list_api_tokens(&filter, None, ALL).await.unwrap();
        page.items.iter().map(|it| it.token.id).collect::<Vec<_>>()
    };
    let now = clock.now().as_unix_millis();
    let at = |millis| Timestamp::from_unix_millis(now + millis).unwrap();
    assert_eq!(unused(at(-3_600_000)).await, []);
    assert_eq!(unused(at(-3_599_999)).await, [never.id]);
    let mut both = [never.id, used.id];
    both.sort();
    assert_eq!(unused(at(1)).await, both);
    assert!(on_behalf.api_token(used.id).await.unwrap().last_use.is_some());
    assert!(on_behalf.api_token(never.id).await.unwrap().last_use.is_none());
}

/// [USE-1]
#[tokio::test]
async fn nothing_is_recorded_where_it_is_off_or_nothing_may_be_changed() {
    for settings in [
        (|builder: EngineBuilder| builder.no_last_use()) as fn(EngineBuilder) -> EngineBuilder,
        |builder| builder.read_only(true),
    ] {
        let world = World::new().await;
        let created = world.credential("telegraf").await;
        let engine = settings(builder(Arc::clone(&world.store))).build().await.unwrap();
        log_in(&engine, "telegraf").await;
        engine.flush_last_uses().await;
        assert_eq!(last_use(&engine, &created).await, None);
    }
    let config = LastUseConfig::default().interval(Duration::ZERO);
    let refused = World::new().await;
    let refused = builder(Arc::clone(&refused.store)).last_use(config).build().await;
    assert!(refused.is_err());
}

/// [USE-3]
#[tokio::test]
async fn a_use_without_room_is_noted_again_and_a_conflict_is_resolved() {
    let clock = Day::new();
    let config = LastUseConfig::default().flush_every(HOUR).max_pending(1);
    let world = World::with(|builder| builder.last_use(config).clock(clock.clone())).await;
    let (one, two) = (world.credential("one").await, world.credential("two").await);
    log_in(&world.engine, "one").await;
    log_in(&world.engine, "two").await;
    world.engine.flush_last_uses().await;
    assert!(last_use(&world.engine, &one).await.is_some());
    assert!(last_use(&world.engine, &two).await.is_none());
    clock.0.advance(HOUR);
    log_in(&world.engine, "two").await;
    world.engine.flush_last_uses().await;
    assert!(last_use(&world.engine, &two).await.is_some());
}
