//! Logins during changes of passwords and statuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis::{AuthorizationId, AuthorizationUpdate, KeepPrevious, Refusal, Status};

use super::arena::{Arena, finish};
use crate::harness::Harness;

/// While the password is changed, a login that finds the old one refused finds the new one accepted,
/// and vice versa. Once the change has returned, the old one is always refused.
pub async fn the_old_password_works_until_the_new_one_does(harness: &Harness, rounds: u32) {
    let arena = Arena::new(harness).await;
    let mut old = "password number 0".to_owned();
    let id = arena.with_password("telegraf", &old).await.id;
    for round in 0..rounds {
        let new = format!("password number {}", round + 1);
        let racing = (0..3).map(|number| {
            let (arena, old, new) = (Arc::clone(&arena), old.clone(), new.clone());
            async move {
                let works = async |password: &str| match arena.login("telegraf", password).await {
                    Ok(_) => true,
                    Err(Refusal::WrongPassword) => false,
                    Err(refusal) => panic!("{refusal:?}"),
                };
                match number {
                    0 => arena.engine().set_password(id, &new).await.expect("setting"),
                    1 if !works(&old).await => assert!(works(&new).await, "neither works"),
                    2 if works(&new).await => assert!(!works(&old).await, "both work"),
                    _ => {}
                }
                if number == 0 {
                    assert!(!works(&old).await, "the old one works after the change");
                    assert!(works(&new).await, "the new one does not work after the change");
                }
            }
        });
        finish(arena.at_once(round, racing)).await;
        assert_eq!(arena.login("telegraf", &old).await.err(), Some(Refusal::WrongPassword));
        assert!(arena.login("telegraf", &new).await.is_ok());
        old = new;
    }
}

/// Continuous logins with the old password keep it being read, hashed and cached while it is changed:
/// from the moment at which the change returns, it is refused. The same holds for a credential that is
/// deactivated or deleted, and for one whose user or org is deactivated. One engine, with its cache.
pub async fn a_change_applies_at_once_in_one_engine(harness: &Harness, rounds: u32) {
    let arena = Arena::of_one_engine(harness).await;
    let mut id = arena.with_password("telegraf", "password 0").await.id;
    for round in 0..rounds {
        let (old, new) = (format!("password {round}"), format!("password {}", round + 1));
        let changed = Arc::new(AtomicBool::new(false));
        let racing = (0..4).map(|number| {
            let (arena, changed) = (Arc::clone(&arena), Arc::clone(&changed));
            let (old, new) = (old.clone(), new.clone());
            async move {
                if number == 0 {
                    match round % 6 {
                        0 | 1 => arena.engine().set_password(id, &new).await.expect("setting"),
                        2 => arena.engine().delete_authorization(id).await.expect("deleting"),
                        _ => switch(&arena, id, round % 6 - 3, Status::Inactive).await,
                    }
                    changed.store(true, Ordering::SeqCst);
                }
                let mut after = 0;
                while after < 3 {
                    let was_changed = changed.load(Ordering::SeqCst);
                    let works = arena.login("telegraf", &old).await.is_ok();
                    assert!(!(was_changed && works), "it works after the change");
                    after += u32::from(was_changed);
                    // A cache hit does not yield to other tasks.
                    tokio::task::yield_now().await;
                }
            }
        });
        finish(arena.at_once(round, racing)).await;
        match round % 6 {
            0 | 1 => {}
            2 => id = arena.with_password("telegraf", &new).await.id,
            _ => {
                switch(&arena, id, round % 6 - 3, Status::Active).await;
                arena.engine().set_password(id, &new).await.expect("setting");
            }
        }
        assert!(arena.login("telegraf", &new).await.is_ok());
    }
}

/// Continuous logins with the old password are accepted while it is rotated, until the previous password is
/// ended, and never after that has returned. One engine, with its cache.
pub async fn a_rotation_has_no_gap_and_its_end_is_final(harness: &Harness, rounds: u32) {
    let arena = Arena::of_one_engine(harness).await;
    let id = arena.with_password("telegraf", "password number 0").await.id;
    let keep: KeepPrevious = "1h".parse().expect("a time");
    for round in 0..rounds {
        let old = format!("password number {round}");
        let new = format!("password number {}", round + 1);
        let ending = Arc::new(AtomicBool::new(false));
        let ended = Arc::new(AtomicBool::new(false));
        let racing = (0..4).map(|number| {
            let (arena, ending, ended) =
                (Arc::clone(&arena), Arc::clone(&ending), Arc::clone(&ended));
            let (old, new) = (old.clone(), new.clone());
            async move {
                if number == 0 {
                    let engine = arena.engine();
                    engine.rotate_password(id, &new, keep).await.expect("rotating");
                    assert!(arena.login("telegraf", &new).await.is_ok(), "the new one is refused");
                    ending.store(true, Ordering::SeqCst);
                    // A further rotation ends it as well.
                    match round % 2 {
                        0 => engine.end_previous_password(id).await.expect("ending"),
                        _ => engine.rotate_password(id, &new, keep).await.expect("rotating"),
                    }
                    ended.store(true, Ordering::SeqCst);
                }
                let mut after = 0;
                while after < 3 {
                    let had_ended = ended.load(Ordering::SeqCst);
                    let works = arena.login("telegraf", &old).await.is_ok();
                    assert!(!(had_ended && works), "it works after its end");
                    assert!(works || ending.load(Ordering::SeqCst), "it is refused before its end");
                    after += u32::from(had_ended);
                    // A cache hit does not yield to other tasks.
                    tokio::task::yield_now().await;
                }
            }
        });
        finish(arena.at_once(round, racing)).await;
        assert!(arena.login("telegraf", &new).await.is_ok());
    }
}

/// Of two passwords that are set concurrently one works afterwards, and none from before.
pub async fn of_two_new_passwords_one_stays(harness: &Harness, rounds: u32) {
    let arena = Arena::new(harness).await;
    let mut before = vec!["password before".to_owned()];
    let id = arena.with_password("telegraf", &before[0]).await.id;
    for round in 0..rounds {
        let new: Vec<_> = ["one", "two"].map(|text| format!("password {text} {round}")).into();
        let setting = new.clone().into_iter().map(|new| {
            let arena = Arc::clone(&arena);
            async move { arena.engine().set_password(id, &new).await }
        });
        for outcome in finish(arena.at_once(round, setting)).await {
            outcome.expect("setting a password");
        }
        let mut works = 0;
        for password in &new {
            works += usize::from(arena.login("telegraf", password).await.is_ok());
        }
        assert_eq!(works, 1);
        for password in &before {
            assert!(arena.login("telegraf", password).await.is_err());
        }
        before = new;
    }
}

/// Once the credential, its user or its org was deactivated, its logins are refused; once all are
/// active again, they succeed.
pub async fn a_deactivated_credential_is_refused(harness: &Harness, rounds: u32) {
    let arena = Arena::new(harness).await;
    let password = "the only password";
    let id = arena.with_password("telegraf", password).await.id;
    for round in 0..rounds {
        let expected = [Refusal::Inactive, Refusal::User, Refusal::Org][(round % 3) as usize];
        let racing = (0..3).map(|number| {
            let arena = Arc::clone(&arena);
            async move {
                if number == 0 {
                    switch(&arena, id, round % 3, Status::Inactive).await;
                    let refusal = arena.login("telegraf", password).await.err();
                    assert_eq!(refusal, Some(expected));
                } else if let Err(refusal) = arena.login("telegraf", password).await {
                    assert_eq!(refusal, expected);
                    // Inactive once, inactive for good.
                    let refusal = arena.login("telegraf", password).await.err();
                    assert_eq!(refusal, Some(expected));
                }
            }
        });
        finish(arena.at_once(round, racing)).await;
        switch(&arena, id, round % 3, Status::Active).await;
        assert!(arena.login("telegraf", password).await.is_ok());
    }
}

/// Changes the status of the credential, its user or its org.
async fn switch(arena: &Arena, id: AuthorizationId, what: u32, status: Status) {
    let engine = arena.engine();
    let switched = match what {
        0 => {
            let update = AuthorizationUpdate::status(status);
            engine.update_authorization(id, update).await.map(drop)
        }
        1 => engine.set_user_status(arena.user.id, status).await.map(drop),
        _ => engine.set_org_status(arena.org.id, status).await.map(drop),
    };
    switched.expect("switching");
}
