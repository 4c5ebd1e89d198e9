//! Setting up a store: once, whatever else happens at the same time.

use std::sync::Arc;

use portcullis::store::{Index, Kind, MemoryStore, PageRequest, Store};
use portcullis::{Credentials, ErrorKind, Setup, TokenSecret};
use tokio::sync::Barrier;

use crate::support::{builder, name};

fn setup(number: usize) -> Setup {
    let name = |what: &str| name(&format!("{what}-{number}"));
    Setup { org: name("org"), user: name("user"), buckets: vec![name("bucket")] }
}

async fn count(store: &dyn Store, kind: Kind) -> usize {
    let request = PageRequest { after: None, limit: 1_000.try_into().unwrap() };
    store.list(Index::All(kind), request).await.unwrap().records.len()
}

/// [SETUP-3]
#[tokio::test(flavor = "multi_thread")]
async fn of_setups_at_the_same_time_one_succeeds_on_any_node() {
    for _ in 0..100 {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new().unwrap());
        let start = Arc::new(Barrier::new(6));
        let mut racers = Vec::new();
        for number in 0..6 {
            // Each on a node of its own.
            let engine = builder(Arc::clone(&store)).build().await.unwrap();
            let start = Arc::clone(&start);
            racers.push(tokio::spawn(async move {
                start.wait().await;
                engine.setup(setup(number)).await
            }));
        }
        let mut winners = 0;
        for racer in racers {
            match racer.await.unwrap() {
                Ok(done) => {
                    winners += 1;
                    let engine = builder(Arc::clone(&store)).build().await.unwrap();
                    let token = Credentials::token(done.secret.expose());
                    assert!(engine.authenticate_caller(token).await.is_ok());
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
            }
        }
        assert_eq!(winners, 1);
        for kind in [Kind::Org, Kind::User, Kind::Bucket, Kind::ApiToken] {
            assert_eq!(count(store.as_ref(), kind).await, 1, "{kind}");
        }
    }
}

/// [SETUP-3]
#[tokio::test]
async fn a_store_that_was_emptied_is_set_up_again() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new().unwrap());
    let engine = builder(Arc::clone(&store)).build().await.unwrap();
    assert!(engine.is_setup_allowed().await.unwrap());
    for number in 0..3 {
        let done = engine.setup(setup(number)).await.unwrap();
        assert!(!engine.is_setup_allowed().await.unwrap());
        engine.delete_org(done.org.id).await.unwrap();
        engine.delete_user(done.user.id).await.unwrap();
        assert!(engine.is_setup_allowed().await.unwrap());
        if number == 1 {
            let _restarted = builder(Arc::clone(&store)).build().await.unwrap();
        }
    }
}

/// [SETUP-2]
#[tokio::test]
async fn a_client_may_choose_a_secret_that_cannot_be_guessed() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new().unwrap());
    let engine = builder(Arc::clone(&store)).build().await.unwrap();
    let by_client = async |secret: &str| {
        engine.setup_by_client(setup(0), Some(TokenSecret::new(secret)), None).await
    };
    for bad in ["short", "fifteen-letters", "with a blank in the middle", "with-ä-in-the-middle-"]
    {
        let error = by_client(bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
    }
    assert!(by_client(&"x".repeat(513)).await.is_err());
    assert!(engine.is_setup_allowed().await.unwrap());
    let done = by_client("my-super-secret-auth-token").await.unwrap();
    assert_eq!(done.secret.expose(), "my-super-secret-auth-token");
    let token = Credentials::token("my-super-secret-auth-token");
    assert_eq!(engine.authenticate_caller(token).await.unwrap().user(), done.user.id);
}
