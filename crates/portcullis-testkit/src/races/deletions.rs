//! A deletion is final, and includes all records that belong to the deleted one.

use std::sync::Arc;

use portcullis::store::{Index, Kind, PageRequest};
use portcullis::{
    AuthorizationUpdate, ErrorKind, NewApiToken, NewAuthorization, OrgId, Permission, Refusal,
    Resource, ResourceType, Status, UserId, Username,
};

use super::arena::{Arena, finish};
use crate::harness::Harness;
use crate::world::name;

/// A deletion succeeds, whatever happens concurrently; the other operations succeed before it or find
/// no record. Afterwards nothing finds the record, and its name is free.
pub async fn a_deleted_authorization_never_comes_back(harness: &Harness, rounds: u32) {
    let arena = Arena::new(harness).await;
    for round in 0..rounds {
        let victim = arena.create("telegraf").await;
        let id = victim.id;
        let racing = (0..5).map(|number| {
            let arena = Arc::clone(&arena);
            async move {
                let engine = arena.engine();
                let outcome = match number {
                    0 => engine.delete_authorization(id).await,
                    1 => {
                        let update = AuthorizationUpdate::description("late");
                        engine.update_authorization(id, update).await.map(drop)
                    }
                    2 => {
                        let update = AuthorizationUpdate::status(Status::Inactive);
                        engine.update_authorization(id, update).await.map(drop)
                    }
                    3 => engine.set_permissions(id, vec![arena.grant()]).await.map(drop),
                    _ => engine.set_password(id, "long enough").await,
                };
                outcome.map_err(|error| (error.kind(), error.message().to_owned()))
            }
        });
        let mut outcomes = finish(arena.at_once(round, racing)).await.into_iter();
        assert_eq!(outcomes.next(), Some(Ok(())));
        let gone = (ErrorKind::NotFound, "authorization not found".to_owned());
        for error in outcomes.filter_map(Result::err) {
            assert_eq!(error, gone);
        }
        arena.assert_absent(&victim).await;
    }
}

/// Of two deletions one succeeds, and the other finds no record.
pub async fn of_two_deletions_one_succeeds(harness: &Harness, rounds: u32) {
    let arena = Arena::new(harness).await;
    for round in 0..rounds {
        let victim = arena.create("telegraf").await;
        let id = victim.id;
        let deleting = (0..2).map(|_| {
            let arena = Arc::clone(&arena);
            async move { arena.engine().delete_authorization(id).await.map_err(|e| e.kind()) }
        });
        let mut outcomes = finish(arena.at_once(round, deleting)).await;
        outcomes.sort_unstable_by_key(Result::is_err);
        assert_eq!(outcomes, [Ok(()), Err(ErrorKind::NotFound)]);
        arena.assert_absent(&victim).await;
    }
}

/// While one is deleted and another one with its name is created, no operation on the old one changes
/// the new one: it has its own permissions and no password, and the old id finds nothing.
pub async fn a_new_authorization_has_nothing_of_the_old_one_of_its_name(
    harness: &Harness,
    rounds: u32,
) {
    let arena = Arena::new(harness).await;
    let every = Resource::all(ResourceType::Tasks);
    for round in 0..rounds {
        let old = arena.with_password("telegraf", "the old password").await;
        let id = old.id;
        let racing = (0..4).map(|number| {
            let arena = Arc::clone(&arena);
            async move {
                let engine = arena.engine();
                let outcome = match number {
                    0 => engine.delete_authorization(id).await,
                    1 => loop {
                        let username = Username::new("telegraf").expect("a username");
                        let grant = [Permission::read(every)];
                        let new = NewAuthorization::new(username, arena.org.id, grant)
                            .for_user(arena.user.id);
                        match engine.create_authorization(new).await {
                            Ok(created) => return Some(created),
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                        }
                        tokio::task::yield_now().await;
                    },
                    2 => engine.set_password(id, "the late password").await,
                    _ => engine.set_permissions(id, vec![arena.grant()]).await.map(drop),
                };
                match outcome {
                    Err(error) if number > 1 => assert_eq!(error.kind(), ErrorKind::NotFound),
                    outcome => outcome.expect("deleting"),
                }
                None
            }
        });
        let outcomes = finish(arena.at_once(round, racing)).await;
        let created = outcomes.into_iter().flatten().next().expect("a new one");
        arena.assert_absent(&old).await;
        assert_eq!(arena.authorizations().await, std::slice::from_ref(&created));
        assert_eq!(created.password_hash, None);
        for password in ["the old password", "the late password"] {
            let refusal = arena.login("telegraf", password).await.err();
            assert_eq!(refusal, Some(Refusal::NoPassword));
        }
        arena.engine().set_password(created.id, "the new password").await.expect("setting");
        let principal = arena.login("telegraf", "the new password").await.expect("the right one");
        assert!(principal.permissions().iter().eq([Permission::read(every)]));
        assert!(arena.login("telegraf", "the old password").await.is_err());
        arena.engine().delete_authorization(created.id).await.expect("deleting");
    }
}

/// Permissions on a bucket are granted before its deletion, or refused.
pub async fn a_bucket_is_granted_before_it_is_gone_or_not_at_all(harness: &Harness, rounds: u32) {
    let arena = Arena::new(harness).await;
    let id = arena.create("telegraf").await.id;
    for round in 0..rounds {
        let before = arena.engine().authorization(id).await.expect("a lookup").expect("a record");
        let bucket = arena.engine().create_bucket(arena.org.id, name("short-lived")).await;
        let bucket = bucket.expect("a bucket").id;
        let grant = Permission::write(Resource::bucket(arena.org.id, bucket));
        let racing = (0..3).map(|number| {
            let arena = Arc::clone(&arena);
            async move {
                let engine = arena.engine();
                let outcome = match number {
                    0 => engine.delete_bucket(bucket).await,
                    1 => engine.set_permissions(id, vec![grant]).await.map(drop),
                    _ => {
                        let username = Username::new("short-lived").expect("a username");
                        let new = NewAuthorization::new(username, arena.org.id, [grant])
                            .for_user(arena.user.id);
                        engine.create_authorization(new).await.map(drop)
                    }
                };
                outcome.map_err(|error| (error.kind(), error.message().to_owned()))
            }
        });
        let outcomes = finish(arena.at_once(round, racing)).await;
        assert_eq!(outcomes[0], Ok(()));
        let refused = (ErrorKind::NotFound, "bucket not found when creating auth".to_owned());
        for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert_eq!(*error, refused);
        }
        let now = arena.engine().authorization(id).await.expect("a lookup").expect("a record");
        let expected = if outcomes[1].is_ok() { vec![grant] } else { before.permissions };
        assert_eq!(now.permissions, expected);
        let created = arena.engine().authorization_by_username("short-lived").await;
        let created = created.expect("a lookup");
        assert_eq!(created.is_some(), outcomes[2].is_ok());
        if let Some(created) = created {
            arena.engine().delete_authorization(created.id).await.expect("deleting");
        }
        // Permanently: no grant on it is accepted any more.
        let late = arena.engine().set_permissions(id, vec![grant]).await.map_err(|e| e.kind());
        assert_eq!(late.err(), Some(ErrorKind::NotFound));
    }
}

/// While an org is deleted, creations in it succeed before the deletion or are refused. Afterwards no
/// record of it is left, its logins are refused, and its usernames are free.
pub async fn nothing_usable_is_left_of_a_deleted_org(harness: &Harness, rounds: u32) {
    let arena = Arena::new(harness).await;
    for round in 0..rounds {
        let org = arena.engine().create_org(name("short-lived")).await.expect("an org").id;
        delete_and_create(&arena, round, Gone::Org, org, arena.user.id).await;
    }
}

/// The same for a user.
pub async fn nothing_usable_is_left_of_a_deleted_user(harness: &Harness, rounds: u32) {
    let arena = Arena::new(harness).await;
    for round in 0..rounds {
        let user = arena.engine().create_user(name("short-lived")).await.expect("a user").id;
        delete_and_create(&arena, round, Gone::User, arena.org.id, user).await;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gone {
    Org,
    User,
}

async fn delete_and_create(arena: &Arc<Arena>, round: u32, gone: Gone, org: OrgId, user: UserId) {
    let grant = Permission::read(Resource::all(ResourceType::Tasks).in_org(org));
    let new = move |username: &str| {
        let username = Username::new(username).expect("a username");
        NewAuthorization::new(username, org, [grant]).for_user(user)
    };
    let password = "of the first";
    let first = arena.engine().create_authorization(new("first")).await.expect("the first");
    arena.engine().set_password(first.id, password).await.expect("setting");
    let racing = (0..5).map(|number| {
        let arena = Arc::clone(arena);
        async move {
            let engine = arena.engine();
            match number {
                0 => {
                    let deleted = match gone {
                        Gone::Org => engine.delete_org(org).await,
                        Gone::User => engine.delete_user(user).await,
                    };
                    deleted.expect("deleting");
                    let refusal = arena.login("first", password).await.err();
                    assert_eq!(refusal, Some(Refusal::UnknownUsername));
                }
                1 | 2 => {
                    // One after another until the first refusal, after which all are refused.
                    let mut refused = false;
                    for i in 0..4 {
                        match engine.create_authorization(new(&format!("late-{number}-{i}"))).await
                        {
                            Ok(created) => {
                                assert!(!refused, "created after a refusal");
                                let set = engine.set_password(created.id, password).await;
                                let kind = set.map_err(|error| error.kind());
                                assert!(matches!(kind, Ok(()) | Err(ErrorKind::NotFound)));
                            }
                            Err(error) => {
                                assert_eq!(error.message(), "unable to create token");
                                refused = true;
                            }
                        }
                    }
                }
                3 => {
                    let token = NewApiToken::new(org, user, vec![grant]);
                    if let Err(error) = engine.create_api_token(token).await {
                        assert_eq!(error.kind(), ErrorKind::NotFound);
                    }
                }
                _ => match arena.login("first", password).await {
                    Ok(_) => {}
                    Err(Refusal::Org) => assert!(gone == Gone::Org),
                    Err(Refusal::User) => assert!(gone == Gone::User),
                    Err(refusal) => assert_eq!(refusal, Refusal::UnknownUsername),
                },
            }
        }
    });
    finish(arena.at_once(round, racing)).await;
    assert_eq!(arena.authorizations().await, []);
    for username in ["first", "late-1-0", "late-2-3"] {
        let refusal = arena.login(username, password).await.err();
        assert_eq!(refusal, Some(Refusal::UnknownUsername));
        let again = arena.create(username).await;
        arena.engine().delete_authorization(again.id).await.expect("deleting");
    }
    assert_left(arena, Kind::ApiToken, 0).await;
    assert_left(arena, Kind::Tombstone, 0).await;
}

async fn assert_left(arena: &Arena, kind: Kind, expected: usize) {
    let page = PageRequest { after: None, limit: std::num::NonZeroUsize::MAX };
    let listed = arena.engine().store().list(Index::All(kind), page).await.expect("a list");
    assert_eq!(listed.records.len(), expected, "{kind} is left");
}

/// Two tasks delete the org and two delete the user of the same authorizations: one of each succeeds,
/// and no record of either is left.
pub async fn orgs_and_users_are_deleted_across_each_other(harness: &Harness, rounds: u32) {
    let arena = Arena::new(harness).await;
    for round in 0..rounds {
        let org = arena.engine().create_org(name("short-lived")).await.expect("an org").id;
        let user = arena.engine().create_user(name("short-lived")).await.expect("a user").id;
        let grant = [Permission::read(Resource::all(ResourceType::Tasks))];
        for (number, (org, user)) in
            (0..).zip([(org, user), (org, arena.user.id), (arena.org.id, user), (org, user)])
        {
            let username = Username::new(format!("name-{number}")).expect("a username");
            let new = NewAuthorization::new(username, org, grant).for_user(user);
            arena.engine().create_authorization(new).await.expect("a new one");
        }
        let deleting = (0..4).map(|number| {
            let arena = Arc::clone(&arena);
            async move {
                let deleted = match number % 2 {
                    0 => arena.engine().delete_org(org).await,
                    _ => arena.engine().delete_user(user).await,
                };
                (number % 2, deleted.map_err(|error| error.kind()))
            }
        });
        let mut outcomes = finish(arena.at_once(round, deleting)).await;
        outcomes.sort_unstable_by_key(|(what, outcome)| (*what, outcome.is_err()));
        let gone = Err(ErrorKind::NotFound);
        assert_eq!(outcomes, [(0, Ok(())), (0, gone), (1, Ok(())), (1, gone)]);
        assert_eq!(arena.authorizations().await, []);
        assert_left(&arena, Kind::Tombstone, 0).await;
    }
}

/// An engine that starts during the deletion of an org completes what it finds: the deletion succeeds
/// all the same, and records of others stay.
pub async fn a_starting_engine_finishes_deletions_and_changes_nothing_else(
    harness: &Harness,
    rounds: u32,
) {
    let arena = Arena::new(harness).await;
    let other = arena.with_password("other", "of the other").await;
    for round in 0..rounds {
        let org = arena.engine().create_org(name("short-lived")).await.expect("an org").id;
        let grant = [Permission::read(Resource::all(ResourceType::Tasks))];
        for number in 0..3 {
            let username = Username::new(format!("name-{number}")).expect("a username");
            let new = NewAuthorization::new(username, org, grant).for_user(arena.user.id);
            arena.engine().create_authorization(new).await.expect("a new one");
        }
        let racing = (0..3).map(|number| {
            let arena = Arc::clone(&arena);
            async move {
                match number {
                    0 => arena.engine().delete_org(org).await.expect("deleting"),
                    1 => drop(arena.start_another().await),
                    _ => {
                        arena.engine().export(std::io::sink()).await.expect("an export");
                    }
                }
            }
        });
        finish(arena.at_once(round, racing)).await;
        let left: Vec<_> = arena.authorizations().await.iter().map(|left| left.id).collect();
        assert_eq!(left, [other.id]);
        assert!(arena.login("other", "of the other").await.is_ok());
        assert_left(&arena, Kind::Tombstone, 0).await;
    }
}
