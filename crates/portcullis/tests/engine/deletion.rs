//! A deleted user or org leaves no usable credential, also after a crash during the deletion.

use std::num::NonZeroUsize;
use std::sync::Arc;

use futures_util::StreamExt as _;
use portcullis::store::{Index, Kind, MemoryStore, Store, StoreExt};
use portcullis::{Credentials, Engine, ErrorKind, NewApiToken, presets};

use crate::support::{World, builder, gone_after, name};

async fn count(store: &dyn Store, kind: Kind) -> usize {
    let pages = store.pages(Index::All(kind), NonZeroUsize::MAX);
    pages.map(|page| page.unwrap().records).concat().await.len()
}

/// Adds so many authorizations, and one API token, of the user in the org.
async fn crowd(world: &World, authorizations: usize) {
    for i in 0..authorizations {
        world.authorization(&format!("name-{i}")).await;
    }
    let token = NewApiToken::new(world.org.id, world.user.id, presets::operator());
    world.engine.create_api_token(token).await.unwrap();
}

async fn assert_nothing_left(store: &dyn Store, buckets: usize) {
    for (kind, left) in [
        (Kind::Authorization, 0),
        (Kind::ApiToken, 0),
        (Kind::Tombstone, 0),
        (Kind::Bucket, buckets),
    ] {
        assert_eq!(count(store, kind).await, left, "{kind}");
    }
}

/// [TENANT-1] [TENANT-4]
#[tokio::test]
async fn a_deleted_user_takes_its_credentials_along() {
    let world = World::new().await;
    crowd(&world, 1_100).await;
    world.engine.delete_user(world.user.id).await.unwrap();
    assert_nothing_left(world.store.as_ref(), 1).await;
    let again = world.engine.create_user(name("ada")).await.unwrap();
    assert_ne!(again.id, world.user.id);
    let error = world.engine.delete_user(world.user.id).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, "user not found"));
}

/// [TENANT-1] [TENANT-5]
#[tokio::test]
async fn a_deleted_org_takes_its_credentials_and_buckets_along() {
    let world = World::new().await;
    crowd(&world, 10).await;
    world.engine.delete_org(world.org.id).await.unwrap();
    assert_nothing_left(world.store.as_ref(), 0).await;
}

/// [TENANT-2] [TENANT-3]
#[tokio::test]
async fn an_interrupted_deletion_leaves_no_usable_credential_and_is_finished_at_the_next_start() {
    for fails_from in 1.. {
        let world = World::new().await;
        world.credential("telegraf").await;
        crowd(&world, 3).await;
        // The engine reads the store once when it starts.
        let failing = gone_after(&world.store, fails_from);
        let engine: Engine = builder(failing).build().await.unwrap();
        let outcome = engine.delete_org(world.org.id).await;

        let org_is_gone = world.engine.directory().org(world.org.id).await.unwrap().is_none();
        if org_is_gone {
            assert!(world.login("telegraf", "telegraf-password").await.is_err());
            let error = world.engine.create_authorization(world.new_authorization("late")).await;
            assert_eq!(error.unwrap_err().message(), "unable to create token");
            let _restarted = builder(Arc::clone(&world.store)).build().await.unwrap();
            assert_nothing_left(world.store.as_ref(), 0).await;
        } else {
            assert!(outcome.is_err());
            assert_eq!(count(world.store.as_ref(), Kind::Authorization).await, 4);
        }
        if outcome.is_ok() {
            assert!(fails_from > 5, "the failures were not reached");
            return;
        }
    }
}

/// [ID-6]
#[tokio::test]
async fn an_org_and_a_user_of_the_same_id_are_deleted_each_on_its_own() {
    let world = World::new().await;
    let lines = concat!(
        r#"{"type":"org","id":"0000000000000001","name":"one"}"#,
        "\n",
        r#"{"type":"user","id":"0000000000000001","name":"one"}"#,
    );
    let snapshot = portcullis::snapshot::Snapshot::read(lines.as_bytes()).unwrap();
    world.engine.import(snapshot, false).await.unwrap();
    // The deletion is interrupted after the commit that removes the org.
    let failing = gone_after(&world.store, 3);
    let engine: Engine = builder(failing).build().await.unwrap();
    assert!(engine.delete_org("0000000000000001".parse().unwrap()).await.is_err());
    assert_eq!(count(world.store.as_ref(), Kind::Tombstone).await, 1);
    world.engine.delete_user("0000000000000001".parse().unwrap()).await.unwrap();
    let _restarted = builder(Arc::clone(&world.store)).build().await.unwrap();
    assert_eq!(count(world.store.as_ref(), Kind::Tombstone).await, 0);
    assert!(world.engine.resolve_org("one").await.is_err());
    assert!(world.engine.resolve_user("one").await.is_err());
}

/// [TENANT-2]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_created_for_an_org_that_is_being_deleted() {
    for _ in 0..300 {
        let world = Arc::new(World::new().await);
        let creating = {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                for i in 0..20 {
                    let new = world.new_authorization(&format!("name-{i}"));
                    if world.engine.create_authorization(new).await.is_err() {
                        return;
                    }
                }
            })
        };
        world.engine.delete_org(world.org.id).await.unwrap();
        creating.await.unwrap();
        assert_nothing_left(world.store.as_ref(), 0).await;
    }
}

#[tokio::test]
async fn a_store_is_set_up_once() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new().unwrap());
    let engine = builder(Arc::clone(&store)).build().await.unwrap();
    let setup = portcullis::Setup {
        org: name("default"),
        user: name("admin"),
        buckets: vec![name("default"), name("more")],
    };
    let twice = portcullis::Setup { buckets: vec![name("x"), name("x")], ..setup.clone() };
    let error = engine.setup(twice).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(count(store.as_ref(), Kind::Org).await, 0);

    let done = engine.setup(setup.clone()).await.unwrap();
    assert_eq!(done.buckets.len(), 2);
    assert!(engine.authenticate_caller(Credentials::token(done.secret.expose())).await.is_ok());
    let error = engine.setup(setup).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}
