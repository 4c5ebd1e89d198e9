//! Concurrent creations of a name, and concurrent changes of a record.

use std::sync::Arc;

use portcullis::snapshot::Snapshot;
use portcullis::{AuthorizationUpdate, ErrorKind, ImportError, Precondition, Status};

use super::arena::{Arena, finish};
use crate::harness::Harness;
use crate::world::name;

/// One creation succeeds, all others are conflicts, and one record exists.
pub async fn of_many_creations_of_a_username_one_wins(harness: &Harness, rounds: u32) {
    let arena = Arena::new(harness).await;
    for round in 0..rounds {
        let username = format!("name-{round}");
        let creating = (0..4).map(|number| {
            let (arena, username) = (Arc::clone(&arena), username.clone());
            async move {
                let new = arena.new_authorization(&username).with_description(number.to_string());
                arena.engine().create_authorization(new).await
            }
        });
        let (won, lost): (Vec<_>, Vec<_>) =
            finish(arena.at_once(round, creating)).await.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 3));
        for error in lost.into_iter().filter_map(Result::err) {
            assert_eq!(
                (error.kind(), error.message()),
                (ErrorKind::Conflict, "token already exists")
            );
        }
        let winner = won.into_iter().next().and_then(Result::ok).expect("one that won");
        assert_eq!(arena.authorizations().await, std::slice::from_ref(&winner));
        let found = arena.engine().authorization_by_username(&username).await;
        assert_eq!(found.expect("a lookup").as_ref(), Some(&winner));
        arena.engine().delete_authorization(winner.id).await.expect("deleting");
    }
}

/// The same for users and orgs, and for buckets in their org.
pub async fn a_name_of_an_org_a_user_or_a_bucket_has_one_holder(harness: &Harness, rounds: u32) {
    let arena = Arena::new(harness).await;
    for round in 0..rounds {
        let text = format!("name-{round}");
        let creating = (0..9).map(|number| {
            let (arena, text) = (Arc::clone(&arena), text.clone());
            async move {
                let engine = arena.engine();
                let outcome = match number % 3 {
                    0 => engine.create_user(name(&text)).await.map(drop),
                    1 => engine.create_org(name(&text)).await.map(drop),
                    _ => engine.create_bucket(arena.org.id, name(&text)).await.map(drop),
                };
                (number % 3, outcome.map_err(|error| error.kind()))
            }
        });
        let outcomes = finish(arena.at_once(round, creating)).await;
        for kind in 0..3 {
            let of_kind = || outcomes.iter().filter(|(of, _)| *of == kind).map(|(_, o)| o);
            assert_eq!(of_kind().filter(|outcome| outcome.is_ok()).count(), 1);
            let conflicts = of_kind().filter(|outcome| **outcome == Err(ErrorKind::Conflict));
            assert_eq!(conflicts.count(), 2, "{outcomes:?}");
        }
    }
}

/// Concurrent changes of status, description, permissions and password are all applied.
pub async fn no_change_is_lost(harness: &Harness, rounds: u32) {
    let arena = Arena::new(harness).await;
    let id = arena.with_password("telegraf", "the first password").await.id;
    let all = portcullis::Resource::all(portcullis::ResourceType::Tasks);
    for round in 0..rounds {
        let text = format!("round {round}");
        let permissions = match round % 2 {
            0 => vec![portcullis::Permission::read(all), arena.grant()],
            _ => vec![arena.grant()],
        };
        let status = if round % 2 == 0 { Status::Inactive } else { Status::Active };
        let changing = (0..4).map(|number| {
            let (arena, text) = (Arc::clone(&arena), text.clone());
            let permissions = permissions.clone();
            async move {
                let engine = arena.engine();
                match number {
                    0 => {
                        let update = AuthorizationUpdate::status(status);
                        engine.update_authorization(id, update).await.map(drop)
                    }
                    1 => {
                        let update = AuthorizationUpdate::description(text);
                        engine.update_authorization(id, update).await.map(drop)
                    }
                    2 => engine.set_permissions(id, permissions).await.map(drop),
                    _ => engine.set_password(id, text + " password").await,
                }
            }
        });
        for outcome in finish(arena.at_once(round, changing)).await {
            outcome.expect("a change");
        }
        let now = arena.engine().authorization(id).await.expect("a lookup").expect("a record");
        assert_eq!((now.status, &now.description, &now.permissions), (status, &text, &permissions));
        if status.is_active() {
            let logged_in = arena.login("telegraf", &format!("{text} password")).await;
            assert!(logged_in.is_ok(), "{logged_in:?}");
        }
    }
}

/// Of several operators that have read the same revision, one makes its change, of which nothing is lost.
/// The others make none, and receive the revision that the record has since. Without a precondition, a
/// change beside them is made in any case.
pub async fn of_changes_with_the_same_precondition_one_is_made(harness: &Harness, rounds: u32) {
    let arena = Arena::new(harness).await;
    let id = arena.with_password("telegraf", "the first password").await.id;
    let all = portcullis::Resource::all(portcullis::ResourceType::Tasks);
    let read = async || {
        let found = arena.engine().on_behalf_of_host().authorization(id).await.expect("a record");
        (found.revision.expect("a revision"), found.into_value().authorization)
    };
    for round in 0..rounds {
        let (revision, before) = read().await;
        // In half of the rounds, a change without a precondition may come between.
        let is_disturbed = round % 2 == 1;
        let racing = (0..4 + u32::from(is_disturbed)).map(|number| {
            let arena = Arc::clone(&arena);
            async move {
                let engine = arena.engine();
                let expected = match number {
                    4 => Precondition::none(),
                    _ => Precondition::one_of([revision]),
                };
                let operator = engine.on_behalf_of_host().if_match(&expected);
                let mark = format!("round {round}, operator {number}");
                match number {
                    0 => {
                        let grants = [arena.grant(), portcullis::Permission::read(all)];
                        let grants = grants[..1 + (round as usize / 2) % 2].to_vec();
                        operator.set_permissions(id, grants).await.map(|done| done.revision)
                    }
                    1 => {
                        let password = format!("password of {mark}");
                        operator.set_password(id, password).await.map(|()| None)
                    }
                    _ => {
                        let update = AuthorizationUpdate::description(mark);
                        operator.update_authorization(id, update).await.map(|done| done.revision)
                    }
                }
            }
        });
        let outcomes = finish(arena.at_once(round, racing)).await;
        let won: Vec<_> = (0..4).filter(|number| outcomes[*number].is_ok()).collect();
        assert!(won.len() <= 1 && (is_disturbed || won.len() == 1), "{outcomes:?}");
        for lost in outcomes.iter().take(4).filter_map(|outcome| outcome.as_ref().err()) {
            assert_eq!(lost.kind(), ErrorKind::PreconditionFailed, "{lost:?}");
            assert!(lost.current_revision().is_some_and(|current| current != revision));
        }
        let (now, after) = read().await;
        assert_ne!(now, revision);
        // The record is that of the winner, and of the change beside it.
        let mark = |number: usize| format!("round {round}, operator {number}");
        let expected_description = match (won.first(), is_disturbed) {
            (Some(&number @ 2..), false) => mark(number),
            (_, false) => before.description.clone(),
            (_, true) => mark(4),
        };
        assert_eq!(after.description, expected_description);
        assert!(after.permissions == before.permissions || won == [0], "{won:?}");
        if won == [1] {
            let password = format!("password of {}", mark(1));
            assert!(arena.login("telegraf", &password).await.is_ok());
        } else {
            assert_eq!(after.password_hash, before.password_hash);
        }
        if let [Ok(Some(made)), ..] | [_, _, Ok(Some(made)), ..] | [_, _, _, Ok(Some(made)), ..] =
            outcomes.as_slice()
            && !is_disturbed
        {
            assert_eq!(*made, now);
        }
    }
}

fn snapshot(round: u32, usernames: &[String]) -> Snapshot {
    let lines: String = (0..)
        .zip(usernames)
        .map(|(number, username)| {
            let id = u64::from(round) * 16 + number + 1;
            format!(
                "{{\"type\":\"authorization\",\"id\":\"{id:016x}\",\"token\":\"{username}\",\
                 \"orgID\":\"0000000000000001\",\"userID\":\"0000000000000001\"}}\n"
            )
        })
        .collect();
    Snapshot::read(lines.as_bytes()).expect("a snapshot")
}

/// Of an import and a creation with the same username one succeeds. A refused import leaves no record
/// behind.
pub async fn an_import_is_all_or_nothing_beside_a_creation(harness: &Harness, rounds: u32) {
    let arena = Arena::new(harness).await;
    for round in 0..rounds {
        let names: Vec<_> = ["a", "b", "c"].map(|text| format!("{text}-{round}")).into();
        let racing = [true, false].map(|imports| {
            let (arena, names) = (Arc::clone(&arena), names.clone());
            async move {
                if imports {
                    match arena.engine().import(snapshot(round, &names), false).await {
                        Ok(new) => assert_eq!(new, 3),
                        Err(ImportError::Lines(lines)) => {
                            assert_eq!(lines.iter().map(|l| l.line).collect::<Vec<_>>(), [2]);
                            return false;
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                    return true;
                }
                let new = arena.new_authorization(&names[1]);
                match arena.engine().create_authorization(new).await {
                    Ok(_) => true,
                    Err(error) if error.kind() == ErrorKind::Conflict => false,
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
        let done = finish(arena.at_once(round, racing)).await;
        assert_eq!(done.iter().filter(|won| **won).count(), 1, "import, creation: {done:?}");
        let there = arena.authorizations().await;
        assert_eq!(there.len(), if done[0] { 3 } else { 1 }, "{there:?}");
        for authorization in there {
            arena.engine().delete_authorization(authorization.id).await.expect("deleting");
        }
    }
}

/// Of two imports of the same file one creates all records; the other finds them, or is a conflict.
pub async fn the_same_import_twice_is_one(harness: &Harness, rounds: u32) {
    let arena = Arena::new(harness).await;
    for round in 0..rounds {
        let names: Vec<_> = ["a", "b"].map(|text| format!("{text}-{round}")).into();
        let importing = (0..2).map(|_| {
            let (arena, names) = (Arc::clone(&arena), names.clone());
            async move { arena.engine().import(snapshot(round, &names), false).await }
        });
        let outcomes = finish(arena.at_once(round, importing)).await;
        let brought =
            |new: usize| outcomes.iter().filter(|o| matches!(o, Ok(n) if *n == new)).count();
        let refused = outcomes.iter().filter(|o| matches!(o, Err(ImportError::Lines(_)))).count();
        assert_eq!((brought(2), brought(0) + refused), (1, 1), "{outcomes:?}");
        let there = arena.authorizations().await;
        assert_eq!(there.len(), 2);
        for authorization in there {
            arena.engine().delete_authorization(authorization.id).await.expect("deleting");
        }
    }
}
