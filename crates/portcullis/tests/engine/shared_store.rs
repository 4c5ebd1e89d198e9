//! A store that two engines share, and whose change feed the test writes.

use std::ops::Deref;
use std::sync::Arc;
use std::task::Context;

use futures_util::{StreamExt, stream};
use portcullis::store::{
    Batch, BoxStream, Change, Index, Lookup, Lookups, MemoryStore, Page, PageRequest, Position,
    Record, Store, StoreError,
};
use portcullis::toolkit::Feed;
use portcullis::{Authorization, CacheConfig, Clock, Engine, async_trait};
use tokio::sync::watch;

use crate::support::{ManualClock, World};

/// The store with an org, a user, a bucket and the authorization `telegraf`, which were created by the
/// engine of another process, without events.
pub(crate) struct SharedStore {
    world: World,
    feed: Arc<Feed>,
    followers: Followers,
    /// The engine of the other process.
    pub(crate) other: Engine,
    pub(crate) telegraf: Authorization,
}

impl Deref for SharedStore {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl SharedStore {
    pub(crate) async fn new() -> Self {
        let feed = Feed::of_shared_store(7, 0);
        let store = ScriptedStore::new(&feed);
        let followers = store.followers();
        let world = World::on(Arc::new(store), |builder| builder.cache(CacheConfig::off())).await;
        let telegraf = world.credential("telegraf").await;
        Self { other: world.engine.clone(), world, feed, followers, telegraf }
    }

    /// Adds events to the feed, and waits until every engine has applied them.
    pub(crate) async fn apply(&self, add: impl FnOnce(&Feed)) {
        self.followers.apply(|| add(&self.feed)).await;
    }

    /// Reports that the feed is complete until the clock's time.
    pub(crate) async fn fresh(&self, clock: &ManualClock) {
        let now = clock.instant();
        self.apply(|feed| feed.fresh(now)).await;
    }
}

/// A store whose feed the test writes.
#[derive(Debug)]
pub(crate) struct ScriptedStore {
    store: MemoryStore,
    feed: Arc<Feed>,
    followers: Followers,
}

impl ScriptedStore {
    pub(crate) fn new(feed: &Arc<Feed>) -> Self {
        let followers = Followers(Arc::new(watch::Sender::default()));
        Self { store: MemoryStore::new().unwrap(), feed: Arc::clone(feed), followers }
    }

    pub(crate) fn followers(&self) -> Followers {
        self.followers.clone()
    }
}

/// The engines that follow a feed: for each stream, how often it was polled without having an event.
/// An engine polls again only when it has applied the event before.
#[derive(Clone, Debug)]
pub(crate) struct Followers(Arc<watch::Sender<Vec<u64>>>);

impl Followers {
    /// Adds events, and waits until every follower has applied them.
    pub(crate) async fn apply(&self, add: impl FnOnce()) {
        let mut idle = self.0.subscribe();
        let before = idle.borrow_and_update().clone();
        add();
        let applied = |now: &Vec<u64>| before.iter().zip(now).all(|(before, now)| before < now);
        idle.wait_for(applied).await.unwrap();
    }

    fn follow(
        &self,
        mut changes: BoxStream<'static, Result<Change, StoreError>>,
    ) -> BoxStream<'static, Result<Change, StoreError>> {
        let number = self.0.borrow().len();
        self.0.send_modify(|idle| idle.push(0));
        let follower = Follower { followers: self.clone(), number };
        let next = move |context: &mut Context<'_>| {
            let next = changes.poll_next_unpin(context);
            if next.is_pending() {
                follower.followers.0.send_modify(|idle| idle[follower.number] += 1);
            }
            next
        };
        stream::poll_fn(next).boxed()
    }
}

/// One stream; it is not waited for once it was dropped.
struct Follower {
    followers: Followers,
    number: usize,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.followers.0.send_modify(|idle| idle[self.number] = u64::MAX);
    }
}

#[async_trait]
impl Store for ScriptedStore {
    async fn get(&self, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
        self.store.get(lookup).await
    }

    async fn get_many(&self, lookups: Lookups<'_>) -> Result<Vec<Option<Record>>, StoreError> {
        self.store.get_many(lookups).await
    }

    async fn list(&self, index: Index, page: PageRequest) -> Result<Page, StoreError> {
        self.store.list(index, page).await
    }

    async fn commit(&self, batch: Batch) -> Result<Position, StoreError> {
        self.store.commit(batch).await
    }

    async fn position(&self) -> Result<Position, StoreError> {
        Ok(self.feed.position())
    }

    async fn watch(
        &self,
        after: Position,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
        Ok(self.followers.follow(self.feed.watch(after)))
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}
