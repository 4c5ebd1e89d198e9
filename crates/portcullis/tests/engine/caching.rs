//! The cache and dropped futures, and its limits during an outage.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use portcullis::store::{
    Batch, BoxStream, Change, Index, Lookup, Lookups, Page, PageRequest, Position, Record, Store,
    StoreError,
};
use portcullis::{
    Action, AuthorizationUpdate, Credentials, Engine, Error, ErrorKind, Permission, Principal,
    Status, TokenSecret,
};
use portcullis_testkit::{Call, Fault, Faults, FaultyStore, async_trait};

use crate::support::{ManualClock, World, builder};

/// How a change feed behaves.
#[derive(Clone, Copy, Debug)]
enum FeedIs {
    /// It reports everything.
    Good,
    /// It reports nothing and does not end.
    Silent,
    /// It ends at once.
    Short,
    /// It cannot be opened.
    Broken,
}

/// A store that yields before and after each call, with another feed.
#[derive(Debug)]
pub(crate) struct Hesitant {
    store: Arc<dyn Store>,
    feed: FeedIs,
}

impl Hesitant {
    pub(crate) fn over(store: &Arc<dyn Store>) -> Arc<dyn Store> {
        Self::with_feed(store, FeedIs::Good)
    }

    fn with_feed(store: &Arc<dyn Store>, feed: FeedIs) -> Arc<dyn Store> {
        Arc::new(Self { store: Arc::clone(store), feed })
    }

    async fn call<T>(&self, call: impl Future<Output = T>) -> T {
        tokio::task::yield_now().await;
        let result = call.await;
        tokio::task::yield_now().await;
        result
    }
}

#[async_trait]
impl Store for Hesitant {
    async fn get(&self, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
        self.call(self.store.get(lookup)).await
    }

    async fn get_many(&self, lookups: Lookups<'_>) -> Result<Vec<Option<Record>>, StoreError> {
        self.call(self.store.get_many(lookups)).await
    }

    async fn list(&self, index: Index, page: PageRequest) -> Result<Page, StoreError> {
        self.call(self.store.list(index, page)).await
    }

    async fn commit(&self, batch: Batch) -> Result<Position, StoreError> {
        self.call(self.store.commit(batch)).await
    }

    async fn position(&self) -> Result<Position, StoreError> {
        self.store.position().await
    }

    async fn watch(
        &self,
        after: Position,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
        match self.feed {
            FeedIs::Good => self.store.watch(after).await,
            FeedIs::Silent => Ok(stream::pending().boxed()),
            FeedIs::Short => Ok(stream::empty().boxed()),
            FeedIs::Broken => Err(StoreError::unavailable("no feed")),
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

/// Polls the future whenever it wakes, at most `polls` times, and drops it then.
async fn give_up_after<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = Box::pin(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.poll_unpin(context) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Credentials of every kind, and an engine on a store that yields.
struct Trial {
    world: World,
    engine: Engine,
    secret: TokenSecret,
}

const RIGHT: &str = "telegraf-password";

impl Trial {
    async fn new() -> Self {
        let world = World::new().await;
        world.credential("telegraf").await;
        let (_, secret) = world.operator_token().await;
        let store = Hesitant::over(&world.store);
        let engine = builder(store).no_throttle().build().await.unwrap();
        Self { world, engine, secret }
    }

    async fn login(&self, password: &str) -> Result<Principal, Error> {
        self.engine.authenticate(Credentials::password("telegraf", password)).await
    }

    /// Asserts that the right secrets are admitted with the stored permissions, and others are not.
    async fn assert_right(&self, polls: u32) {
        for time in 0..2 {
            let what = format!("after {polls} polls, time {time}");
            let principal = self.login(RIGHT).await.unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(principal.check(Action::Write, &self.world.resource()).is_allowed(), "{what}");
            assert!(!principal.check(Action::Read, &self.world.resource()).is_allowed(), "{what}");
            assert!(self.login("wrong").await.is_err(), "{what}");
            assert!(self.login(self.secret.expose()).await.is_err(), "{what}");
            let token = Credentials::token(self.secret.expose());
            assert!(self.engine.authenticate(token).await.is_ok(), "{what}");
            assert!(self.engine.authenticate(Credentials::token(RIGHT)).await.is_err(), "{what}");
        }
    }
}

#[tokio::test]
async fn a_login_that_is_dropped_at_any_await_leaves_nothing_half_done() {
    let logins = [("telegraf", true), ("telegraf", false), ("unknown", true), ("unknown", false)];
    for (username, right) in logins {
        let mut ended = false;
        for polls in 1..60 {
            // The cache is empty again.
            let trial = Trial::new().await;
            let password = match (username, right) {
                (_, false) => "wrong",
                ("telegraf", true) => RIGHT,
                _ => trial.secret.expose(),
            };
            let login = trial.engine.authenticate(Credentials::password(username, password));
            let outcome = give_up_after(polls, login).await;
            if let Some(outcome) = &outcome {
                assert_eq!(outcome.is_ok(), right, "{username}");
            }
            trial.assert_right(polls).await;
            // A change since then takes effect, whatever was read before.
            let off = AuthorizationUpdate::status(Status::Inactive);
            let id = trial.engine.authorization_by_username("telegraf").await.unwrap().unwrap().id;
            trial.engine.update_authorization(id, off).await.unwrap();
            assert!(trial.login(RIGHT).await.is_err(), "after {polls} polls");
            ended = outcome.is_some();
            if ended {
                assert!(polls > 2, "{username} waited nowhere");
                break;
            }
        }
        assert!(ended, "{username} never ended");
    }
}

/// A change that is dropped has been made or not, and logins agree with the stored record from that
/// moment on.
#[tokio::test]
async fn a_change_that_is_dropped_at_any_await_is_not_missed() {
    for change in 0..4 {
        let mut ended = false;
        for polls in 1..60 {
            let trial = Trial::new().await;
            trial.assert_right(0).await;
            let engine = &trial.engine;
            let id = engine.authorization_by_username("telegraf").await.unwrap().unwrap().id;
            let outcome = match change {
                0 => give_up_after(polls, engine.set_password(id, "another-password")).await,
                1 => {
                    let off = AuthorizationUpdate::status(Status::Inactive);
                    let update = engine.update_authorization(id, off);
                    give_up_after(polls, update).await.map(|done| done.map(drop))
                }
                2 => {
                    let read = vec![Permission::read(trial.world.resource())];
                    let update = engine.set_permissions(id, read);
                    give_up_after(polls, update).await.map(|done| done.map(drop))
                }
                _ => give_up_after(polls, engine.delete_authorization(id)).await,
            };
            let stored = trial.world.engine.authorization(id).await.unwrap();
            let login = trial.login(RIGHT).await;
            let writes = login.is_ok_and(|principal| {
                principal.check(Action::Write, &trial.world.resource()).is_allowed()
            });
            let done = match (change, &stored) {
                (0, Some(_)) => trial.login("another-password").await.is_ok(),
                (1, Some(stored)) => !stored.status.is_active(),
                (2, Some(stored)) => {
                    stored.permissions != [Permission::write(trial.world.resource())]
                }
                (3, stored) => stored.is_none(),
                _ => panic!("deleted"),
            };
            assert_eq!(writes, !done, "change {change}, {polls} polls");
            if let Some(outcome) = outcome {
                outcome.unwrap();
                assert!(done, "change {change}");
                ended = true;
                break;
            }
        }
        assert!(ended, "change {change} never ended");
    }
}

#[tokio::test]
async fn in_an_outage_no_cache_entry_is_valid_for_longer_than_max_staleness() {
    for feed in [FeedIs::Good, FeedIs::Silent, FeedIs::Short, FeedIs::Broken] {
        let world = World::new().await;
        let authorization = world.credential("telegraf").await;
        let (_, secret) = world.operator_token().await;
        let faults = Faults::new();
        let faulty: Arc<dyn Store> = Arc::new(FaultyStore::new(world.store.clone(), &faults));
        let clock = ManualClock::new();
        let store = Hesitant::with_feed(&faulty, feed);
        let engine = builder(store).clock(clock.clone()).build().await.unwrap();
        let login_all = async || {
            let token = Credentials::token(secret.expose());
            [
                engine.authenticate(Credentials::password("telegraf", RIGHT)).await,
                engine.authenticate(Credentials::password("unknown", secret.expose())).await,
                engine.authenticate(token).await,
                engine.authenticate_caller(Credentials::token(secret.expose())).await,
            ]
        };
        for outcome in login_all().await {
            assert!(outcome.is_ok(), "{feed:?}");
        }
        faults.fail(Call::nth(1).and_later(), Fault::Unavailable);
        // Another process changes it meanwhile, without an event here.
        let off = AuthorizationUpdate::status(Status::Inactive);
        world.engine.update_authorization(authorization.id, off).await.unwrap();

        // If the feed reports that nothing else has changed, the time to live is the bound.
        clock.advance_past(match feed {
            FeedIs::Good => Duration::from_secs(60),
            FeedIs::Silent | FeedIs::Short | FeedIs::Broken => Duration::from_secs(2),
        });
        for outcome in login_all().await {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable, "{feed:?}");
        }
        let wrong = engine.authenticate(Credentials::password("telegraf", "wrong")).await;
        assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Unavailable, "{feed:?}");
        faults.reset();
        let [telegraf, others @ ..] = login_all().await;
        assert_eq!(telegraf.unwrap_err().kind(), ErrorKind::Unauthorized, "{feed:?}");
        assert!(others.iter().all(Result::is_ok), "{feed:?}");
    }
}
