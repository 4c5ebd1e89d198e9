//! A failing store: errors, never grants; and ambiguous commits.

use std::sync::Arc;

use portcullis::store::{MemoryStore, Store};
use portcullis::{
    AuthorizationUpdate, Credentials, ErrorKind, Name, NewApiToken, Permission, Principal, Setup,
    Status, presets,
};
use portcullis_testkit::{Call, Fault, Method};

use crate::support::{World, builder, failing, gone_after};

/// [SET-3] [LOGIN-9]
#[tokio::test]
async fn an_outage_grants_nothing_and_reports_no_password_as_wrong() {
    let world = World::new().await;
    let authorization = world.credential("telegraf").await;
    let token = NewApiToken::new(world.org.id, world.user.id, presets::operator());
    let (_, secret) = world.engine.create_api_token(token).await.unwrap();

    let mut outages = 0;
    // The engine reads the store once when it starts; after that each call fails in turn.
    for fails_from in 1..12 {
        let failing = gone_after(&world.store, fails_from);
        let engine = builder(failing).build().await.unwrap();
        let outcomes = [
            engine.authenticate(Credentials::password("telegraf", "telegraf-password")).await,
            engine.authenticate(Credentials::password("telegraf", "wrong")).await,
            engine.authenticate(Credentials::password("unknown", "wrong")).await,
            engine.authenticate(Credentials::token(secret.expose())).await,
            engine.authenticate_caller(Credentials::token(secret.expose())).await,
        ];
        for (i, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(_) => assert!(i != 1 && i != 2, "a wrong password was accepted"),
                Err(error) if error.refusal().is_some() => assert!(i == 1 || i == 2, "{error}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable);
                    outages += 1;
                }
            }
        }
        let update = AuthorizationUpdate::status(Status::Inactive);
        let before = world.engine.authorization(authorization.id).await.unwrap();
        if engine.update_authorization(authorization.id, update).await.is_err() {
            assert_eq!(world.engine.authorization(authorization.id).await.unwrap(), before);
        }
        world
            .engine
            .update_authorization(authorization.id, AuthorizationUpdate::status(Status::Active))
            .await
            .unwrap();
    }
    assert!(outages > 20, "{outages}");
}

/// [CREATE-4] [CREATE-5]
#[tokio::test]
async fn a_creation_that_fails_anywhere_stores_nothing() {
    for fails_from in 1.. {
        let world = World::new().await;
        let all = [presets::operator(), vec![Permission::write(world.resource())]];
        let caller = Principal::trusted(world.org.id, world.user.id, all.concat());
        let failing = gone_after(&world.store, fails_from);
        let engine = builder(failing).build().await.unwrap();
        let new = world.new_authorization("telegraf");
        let outcome = engine.on_behalf_of(&caller).create_authorization(new).await;
        let stored = world.engine.authorization_by_username("telegraf").await.unwrap();
        match outcome {
            Ok(described) => {
                assert_eq!(stored, Some(described.into_value().authorization));
                assert!(fails_from > 4, "the failures were not reached");
                return;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                assert_eq!(stored, None);
            }
        }
    }
}

#[tokio::test]
async fn an_ambiguous_commit_is_resolved_by_its_revision() {
    let world = World::new().await;
    let commits = Call::nth_of(Method::Commit, 1).and_later();
    let forgetful = failing(&world.store, commits, Fault::ResponseLost);
    let engine = builder(forgetful).build().await.unwrap();
    let created = engine.create_authorization(world.new_authorization("telegraf")).await.unwrap();
    engine.set_password(created.id, "long-enough").await.unwrap();
    let read = vec![Permission::read(world.resource())];
    engine.set_permissions(created.id, read.clone()).await.unwrap();
    let stored = world.engine.authorization(created.id).await.unwrap().unwrap();
    assert_eq!(stored.permissions, read);
    assert!(stored.password_hash.is_some());
    engine.delete_authorization(created.id).await.unwrap();
    assert_eq!(world.engine.authorization(created.id).await.unwrap(), None);
}

#[tokio::test]
async fn an_ambiguous_setup_returns_its_token() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new().unwrap());
    let commits = Call::nth_of(Method::Commit, 1).and_later();
    let forgetful = failing(&store, commits, Fault::ResponseLost);
    let engine = builder(forgetful).build().await.unwrap();
    let name = |text| Name::new(text).unwrap();
    let setup = Setup { org: name("acme"), user: name("ada"), buckets: vec![name("telemetry")] };
    let done = engine.setup(setup).await.unwrap();
    let caller =
        engine.authenticate_caller(Credentials::token(done.secret.expose())).await.unwrap();
    assert_eq!(caller.user(), done.user.id);
}
