//! A read-only engine, for the time while its store is copied.

use std::sync::Arc;

use portcullis::snapshot::Snapshot;
use portcullis::{
    AuthorizationUpdate, Credentials, ErrorKind, NewApiToken, Permission, Setup, Status, presets,
};
use portcullis_testkit::{Call, Counts, Fault, InstrumentedStore, Method};

use crate::support::{World, builder, failing, name};

/// [HTTP-18]
#[tokio::test]
async fn a_read_only_engine_accepts_logins_and_refuses_every_change() {
    let world = World::new().await;
    let id = world.credential("telegraf").await.id;
    let token = NewApiToken::new(world.org.id, world.user.id, presets::operator());
    let (api_token, secret) = world.engine.create_api_token(token.clone()).await.unwrap();
    // A hash that a login would replace: `secret-pass-1`, with bcrypt of cost 4.
    let weak = format!(
        r#"{{"type":"authorization","id":"0000000000000007","token":"weak","orgID":"{}","userID":"{}","status":"active","description":"","permissions":[],"passwordHash":"$2b$04$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9erFFhGg5Ml6","createdAt":"2020-01-01T00:00:00Z","updatedAt":"2020-01-01T00:00:00Z"}}"#,
        world.org.id, world.user.id
    );
    let weak = Snapshot::read(weak.as_bytes()).unwrap();
    world.engine.import(weak, false).await.unwrap();
    // An interrupted deletion, which an engine finishes when it starts.
    let bob = world.engine.create_user(name("bob")).await.unwrap().id;
    let of_bob = world.new_authorization("of-bob").for_user(bob);
    world.engine.create_authorization(of_bob).await.unwrap();
    let cut =
        failing(&world.store, Call::nth_of(Method::Commit, 2).and_later(), Fault::Unavailable);
    builder(cut).build().await.unwrap().delete_user(bob).await.unwrap_err();

    let counts = Counts::new();
    let counted = Arc::new(InstrumentedStore::new(Arc::clone(&world.store), &counts));
    let engine = builder(counted).read_only(true).build().await.unwrap();

    for (username, password) in [("telegraf", "telegraf-password"), ("weak", "secret-pass-1")] {
        let credentials = Credentials::password(username, password);
        engine.authenticate(credentials).await.unwrap();
    }
    engine.authenticate(Credentials::token(secret.expose())).await.unwrap();

    let off = Status::Inactive;
    let (org, user, bucket) = (world.org.id, world.user.id, world.bucket.id);
    let grant = vec![Permission::read(world.resource())];
    let setup = Setup { org: name("x"), user: name("x"), buckets: Vec::new() };
    let outcomes = [
        engine.create_authorization(world.new_authorization("new")).await.map(drop),
        engine.update_authorization(id, AuthorizationUpdate::status(off)).await.map(drop),
        engine.set_permissions(id, grant).await.map(drop),
        engine.set_password(id, "another-password").await,
        engine.delete_authorization(id).await,
        engine.create_org(name("x")).await.map(drop),
        engine.create_user(name("x")).await.map(drop),
        engine.create_bucket(org, name("x")).await.map(drop),
        engine.set_org_status(org, off).await.map(drop),
        engine.set_user_status(user, off).await.map(drop),
        engine.delete_org(org).await,
        engine.delete_user(user).await,
        engine.delete_bucket(bucket).await,
        engine.create_api_token(token).await.map(drop),
        engine.revoke_api_token(api_token.id).await,
    ];
    for (number, outcome) in outcomes.into_iter().enumerate() {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{number}: {error}");
        assert_eq!(error.message(), "read-only: nothing can be changed here now", "{number}");
    }
    assert_eq!(engine.setup(setup).await.unwrap_err().kind(), ErrorKind::Conflict);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(counts.of(Method::Commit), 0);
    let warm = engine.hash_pool().computations();
    engine.authenticate(Credentials::password("telegraf", "telegraf-password")).await.unwrap();
    assert_eq!(engine.hash_pool().computations(), warm, "what was refused was forgotten");
}
