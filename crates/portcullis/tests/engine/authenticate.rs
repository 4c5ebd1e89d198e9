//! The results of logins, and their costs.

use portcullis::password::{HashParams, HashPool, Password, PasswordPolicy};
use portcullis::store::{Batch, Entity, Expect, Operation};
use portcullis::{
    Action, Authorization, AuthorizationUpdate, Credentials, ErrorKind, Refusal, Status,
};

use crate::support::{World, cheap_hashing};

async fn refusal(world: &World, username: &str, password: &str) -> Refusal {
    let error = world.login(username, password).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Unauthorized, "Unauthorized"));
    error.refusal().unwrap()
}

#[tokio::test]
async fn the_right_password_is_admitted_with_its_permissions() {
    let world = World::new().await;
    world.credential("telegraf").await;
    let principal = world.login("telegraf", "telegraf-password").await.unwrap();
    assert!(principal.check(Action::Write, &world.resource()).is_allowed());
    assert!(!principal.check(Action::Read, &world.resource()).is_allowed());
    assert_eq!((principal.org(), principal.user()), (world.org.id, world.user.id));
}

/// [LOGIN-5] [LOGIN-8]
#[tokio::test]
async fn every_refusal_has_its_reason_for_the_operator_and_one_response_for_the_client() {
    let world = World::new().await;
    world.credential("telegraf").await;
    world.authorization("passwordless").await;
    let inactive = world.credential("inactive").await;
    let off = AuthorizationUpdate::status(Status::Inactive);
    world.engine.update_authorization(inactive.id, off).await.unwrap();

    assert_eq!(refusal(&world, "telegraf", "wrong").await, Refusal::WrongPassword);
    assert_eq!(refusal(&world, "Telegraf", "telegraf-password").await, Refusal::UnknownUsername);
    assert_eq!(refusal(&world, "telegraf ", "telegraf-password").await, Refusal::UnknownUsername);
    assert_eq!(refusal(&world, "passwordless", "whatever-1").await, Refusal::NoPassword);
    assert_eq!(refusal(&world, "inactive", "inactive-password").await, Refusal::Inactive);
    world.engine.set_user_status(world.user.id, Status::Inactive).await.unwrap();
    assert_eq!(refusal(&world, "telegraf", "telegraf-password").await, Refusal::User);
    world.engine.set_user_status(world.user.id, Status::Active).await.unwrap();
    world.engine.set_org_status(world.org.id, Status::Inactive).await.unwrap();
    assert_eq!(refusal(&world, "telegraf", "telegraf-password").await, Refusal::Org);
}

/// [PW-12]
#[tokio::test]
async fn every_login_by_name_costs_exactly_one_hash() {
    let world = World::new().await;
    world.credential("telegraf").await;
    world.authorization("passwordless").await;
    let inactive = world.credential("inactive").await;
    let off = AuthorizationUpdate::status(Status::Inactive);
    world.engine.update_authorization(inactive.id, off).await.unwrap();
    let too_long = "x".repeat(Password::MAX_BYTES + 1);
    for (username, password) in [
        ("telegraf", "telegraf-password"),
        ("telegraf", "wrong"),
        ("telegraf", ""),
        ("telegraf", &too_long),
        ("unknown", "whatever"),
        ("unknown", ""),
        ("unknown", &too_long),
        ("", "whatever"),
        ("passwordless", "whatever"),
        ("inactive", "inactive-password"),
        ("inactive", "wrong"),
    ] {
        let before = world.engine.hash_pool().computations();
        let _ = world.login(username, password).await;
        let computed = world.engine.hash_pool().computations() - before;
        assert_eq!(computed, 1, "{username:?} {:.20?}", password);
    }
}

/// [LOGIN-6] [PW-8]
#[tokio::test]
async fn an_empty_or_unset_password_key_or_hash_never_authenticates() {
    let world = World::with(|builder| builder.password_policy(PasswordPolicy::strong())).await;
    // A record with the hash of the empty password, which only an import could bring.
    let pool = HashPool::start(cheap_hashing(), std::sync::Arc::new(portcullis::SystemRandom));
    let empty = pool.unwrap().hash(&Password::new("").unwrap()).await.unwrap();
    let authorization = world.authorization("empty").await;
    let mut stored = world.engine.authorization(authorization.id).await.unwrap().unwrap();
    stored.password_hash = Some(empty);
    replace(&world, stored).await;

    for username in ["empty", "", "unknown"] {
        assert!(world.login(username, "").await.is_err(), "{username:?}");
    }
    for token in ["", " "] {
        assert!(world.engine.authenticate(Credentials::token(token)).await.is_err());
        assert!(world.engine.authenticate_caller(Credentials::token(token)).await.is_err());
    }
}

/// [HTTP-5]
#[tokio::test]
async fn a_username_and_a_password_authenticate_no_caller() {
    let world = World::new().await;
    world.credential("telegraf").await;
    let credentials = Credentials::password("telegraf", "telegraf-password");
    assert!(world.engine.authenticate(credentials).await.is_ok());
    let error = world.engine.authenticate_caller(credentials).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Unauthorized, "unauthorized access"));
}

/// Replaces the stored authorization, without the engine's checks.
async fn replace(world: &World, authorization: Authorization) {
    use portcullis::store::{Revision, StoreExt};

    let id = authorization.id.untyped();
    let (_, revision) = world.store.find::<Authorization>(id).await.unwrap().unwrap();
    let record = authorization.to_record(Revision::from_u128(7)).unwrap();
    let put = Operation::Put { record, grants: Vec::new(), expect: Expect::Revision(revision) };
    world.store.commit(Batch::new().with(put)).await.unwrap();
}

/// [LOGIN-5] [LOGIN-6]
#[tokio::test]
async fn an_api_token_is_a_password_for_unknown_names_only_and_costs_no_hash() {
    let world = World::new().await;
    world.credential("telegraf").await;
    let (token, secret) = world.operator_token().await;
    let before = world.engine.hash_pool().computations();
    for username in ["", "unknown"] {
        assert!(world.login(username, secret.expose()).await.is_ok());
    }
    assert!(world.engine.authenticate(Credentials::token(secret.expose())).await.is_ok());
    assert_eq!(world.engine.hash_pool().computations(), before);
    assert!(world.login("telegraf", secret.expose()).await.is_err());

    world.engine.set_api_token_status(token.id, Status::Inactive).await.unwrap();
    assert_eq!(refusal(&world, "unknown", secret.expose()).await, Refusal::Inactive);
    world.engine.set_api_token_status(token.id, Status::Active).await.unwrap();
    world.engine.revoke_api_token(token.id).await.unwrap();
    assert_eq!(refusal(&world, "unknown", secret.expose()).await, Refusal::UnknownUsername);
}

/// [SETPW-3]
#[tokio::test]
async fn a_new_password_replaces_the_old_one_at_once_and_leaves_updated_at_alone() {
    let world = World::new().await;
    let before = world.credential("telegraf").await;
    world.engine.set_password(before.id, "another-password").await.unwrap();
    assert!(world.login("telegraf", "telegraf-password").await.is_err());
    assert!(world.login("telegraf", "another-password").await.is_ok());
    let after = world.engine.authorization(before.id).await.unwrap().unwrap();
    assert_eq!(after.updated_at, before.updated_at);
}

/// [SETPW-3]
#[tokio::test]
async fn a_refused_password_leaves_the_old_one() {
    let world = World::new().await;
    let id = world.credential("telegraf").await.id;
    for refused in [&b""[..], b"short", &[b'x'; 73], &[b'x'; Password::MAX_BYTES + 1]] {
        let error = world.engine.set_password(id, refused).await.unwrap_err();
        assert_eq!(error.message(), "passwords must be between 8 and 72 characters long");
    }
    assert!(world.login("telegraf", "telegraf-password").await.is_ok());
}

/// [PW-4]
#[tokio::test]
async fn in_strong_mode_a_stored_weak_password_must_be_changed() {
    let world = World::with(|builder| builder.password_policy(PasswordPolicy::strong())).await;
    let id = world.authorization("weak").await.id;
    let weak = Password::new("weakweakweak").unwrap();
    let hash = world.engine.hash_pool().hash(&weak).await.unwrap();
    let mut stored = world.engine.authorization(id).await.unwrap().unwrap();
    stored.password_hash = Some(hash);
    replace(&world, stored).await;
    assert_eq!(refusal(&world, "weak", "weakweakweak").await, Refusal::PasswordChangeRequired);
    world.engine.set_password(id, "Str0ng-enough").await.unwrap();
    assert!(world.login("weak", "Str0ng-enough").await.is_ok());
}

/// [DELETE-1]
#[tokio::test]
async fn a_deleted_authorization_leaves_nothing_to_a_new_one_of_its_name() {
    let world = World::new().await;
    let id = world.credential("telegraf").await.id;
    world.engine.delete_authorization(id).await.unwrap();
    assert_eq!(refusal(&world, "telegraf", "telegraf-password").await, Refusal::UnknownUsername);
    let again = world.authorization("telegraf").await;
    assert_ne!(again.id, id);
    assert_eq!(refusal(&world, "telegraf", "telegraf-password").await, Refusal::NoPassword);
}

#[tokio::test]
async fn many_logins_at_once_are_refused_with_a_retry_time_and_not_as_wrong() {
    let world = World::new().await;
    world.credential("telegraf").await;
    let hashing =
        cheap_hashing().params(HashParams::new(19_456, 2, 1).unwrap()).threads(1).queue(1);
    let builder = portcullis::Engine::builder(world.store.clone()).hashing(hashing);
    let engine = builder.build().await.unwrap();
    let names: Vec<_> = (0..8).map(|number| format!("unknown-{number}")).collect();
    let login = |name| engine.authenticate(Credentials::password(name, "whatever"));
    let outcomes = futures_util::future::join_all(names.iter().map(|name| login(name))).await;
    let kinds: Vec<_> = outcomes.into_iter().map(|o| o.unwrap_err()).collect();
    assert!(kinds.iter().any(|error| error.kind() == ErrorKind::Unauthorized));
    let busy: Vec<_> = kinds.iter().filter(|e| e.kind() == ErrorKind::Unavailable).collect();
    assert!(!busy.is_empty());
    assert!(busy.iter().all(|error| error.retry_after().is_some()));
}

#[tokio::test]
async fn no_debug_output_holds_a_secret() {
    let world = World::new().await;
    let authorization = world.credential("telegraf").await;
    let (token, secret) = world.operator_token().await;
    let stored = world.engine.authorization(authorization.id).await.unwrap().unwrap();
    let credentials = Credentials::password("telegraf", "telegraf-password");
    let principal = world.engine.authenticate(credentials).await.unwrap();
    let record = stored.to_record(portcullis::store::Revision::from_u128(1)).unwrap();
    let printed = format!(
        "{stored:?} {token:?} {secret:?} {credentials:?} {principal:?} {record:?} {:?} {:?}",
        Credentials::token(secret.expose()),
        world.engine,
    );
    let hash = stored.password_hash.as_ref().unwrap().expose();
    for secret in ["telegraf-password", secret.expose(), hash, &token.digest.to_text()] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
