//! Ids and times come from the engine's clock and source of random bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use portcullis::store::{MemoryStore, Store};
use portcullis::{AuthorizationUpdate, BuildError, Clock, Random, RandomUnavailable, Timestamp};

use crate::support::{World, builder, name};

/// A clock that advances by a second each time it is read.
#[derive(Debug, Default)]
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        let seconds = self.0.fetch_add(1, Ordering::SeqCst);
        let millis = i64::try_from(seconds * 1_000).unwrap();
        Timestamp::from_unix_millis(1_704_067_200_000 + millis).unwrap()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that stands still.
#[derive(Debug)]
struct Standing;

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        "2024-01-01T00:00:00Z".parse().unwrap()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// Returns each number several times before the next one.
#[derive(Debug)]
struct Repeating {
    drawn: AtomicU64,
    times: u64,
}

impl Random for Repeating {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomUnavailable> {
        let drawn = self.drawn.fetch_add(1, Ordering::SeqCst);
        let number = (drawn / self.times).to_be_bytes();
        buffer.iter_mut().rev().zip(number.iter().rev().cycle()).for_each(|(to, from)| *to = *from);
        Ok(())
    }
}

#[derive(Debug)]
struct Breaking(Arc<AtomicBool>);

impl Random for Breaking {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomUnavailable> {
        match self.0.load(Ordering::SeqCst) {
            true => Err(RandomUnavailable),
            false => portcullis::SystemRandom.fill(buffer),
        }
    }
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new().unwrap())
}

/// [ID-5] [CREATE-6]
#[tokio::test]
async fn times_come_from_the_clock_and_ids_ascend_with_it() {
    let world = World::new().await;
    let engine = builder(world.store.clone()).clock(Ticking::default()).build().await.unwrap();
    let first = engine.create_authorization(world.new_authorization("one")).await.unwrap();
    let second = engine.create_authorization(world.new_authorization("two")).await.unwrap();
    assert!(first.created_at.to_string().starts_with("2024-01-01T00:00:0"));
    assert!(second.created_at > first.created_at && second.id > first.id);
    let update = AuthorizationUpdate::default();
    let updated = engine.update_authorization(first.id, update).await.unwrap();
    assert!(updated.updated_at > second.created_at);
    assert_eq!(updated.created_at, first.created_at);
}

/// [ID-5]
#[tokio::test]
async fn a_taken_id_is_generated_again() {
    let random = Repeating { drawn: AtomicU64::new(0), times: 5 };
    let engine = builder(memory()).clock(Standing).random(random).build().await.unwrap();
    let mut ids = Vec::new();
    for i in 0..20 {
        ids.push(engine.create_org(name(&format!("org-{i}"))).await.unwrap().id);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

/// [ID-5]
#[tokio::test]
async fn no_free_id_is_an_error_and_stores_nothing() {
    let random = Repeating { drawn: AtomicU64::new(0), times: u64::MAX };
    let engine = builder(memory()).clock(Standing).random(random).build().await.unwrap();
    engine.create_org(name("first")).await.unwrap();
    let error = engine.create_org(name("second")).await.unwrap_err();
    assert_eq!(error.message(), "unable to generate valid id");
    assert_eq!(error.kind(), portcullis::ErrorKind::Internal);
    assert!(engine.resolve_org("second").await.is_err());
}

#[tokio::test]
async fn without_randomness_nothing_is_created() {
    let broken = Arc::new(AtomicBool::new(true));
    let builder = || builder(memory()).random(Breaking(Arc::clone(&broken)));
    assert!(matches!(builder().build().await, Err(BuildError::Random(_))));

    broken.store(false, Ordering::SeqCst);
    let engine = builder().build().await.unwrap();
    broken.store(true, Ordering::SeqCst);
    let error = engine.create_org(name("first")).await.unwrap_err();
    assert_eq!(error.kind(), portcullis::ErrorKind::Internal);
    assert!(engine.resolve_org("first").await.is_err());
}

/// A clock that is set to a time and stands still.
#[derive(Debug)]
struct SetTo(Timestamp);

impl Clock for SetTo {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

#[tokio::test]
async fn an_engine_works_whatever_its_clock_is_set_to() {
    for time in [
        "-009999-01-02T01:59:59Z",
        "0000-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999999999Z",
        "1970-01-01T00:00:00Z",
        "2106-02-07T06:28:16Z",
        "2262-04-12T00:00:00Z",
        "9999-12-30T22:00:00.999999999Z",
    ] {
        let time: Timestamp = time.parse().unwrap();
        let world = World::with(|builder| builder.clock(SetTo(time))).await;
        let first = world.credential("first").await;
        let second = world.authorization("second").await;
        assert_ne!(first.id, second.id, "{time}");
        assert_eq!(first.created_at, time);
        let read = world.engine.authorization(first.id).await.unwrap().unwrap();
        assert_eq!(read.created_at, time, "written and read again");
        world.login("first", "first-password").await.unwrap();
        world.login("first", "wrong-password").await.unwrap_err();
        let update = AuthorizationUpdate::description("changed");
        let updated = world.engine.update_authorization(first.id, update).await.unwrap();
        assert_eq!(updated.updated_at, time);
    }
}
