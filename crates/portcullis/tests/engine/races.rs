//! Concurrent operations: exact outcomes, many rounds.

use std::sync::Arc;

use portcullis::{AuthorizationUpdate, ErrorKind, Permission, Principal, Resource, Status};

use crate::support::{World, name};

const ROUNDS: usize = 1_000;

/// [AUTH-3] [AUTH-4]
#[tokio::test(flavor = "multi_thread")]
async fn of_concurrent_creations_of_a_name_one_wins() {
    let world = Arc::new(World::new().await);
    for round in 0..ROUNDS / 10 {
        let creating = (0..8).map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let new = world.new_authorization(&format!("name-{round}"));
                world.engine.create_authorization(new).await
            })
        });
        let outcomes = futures_util::future::join_all(creating).await;
        let (won, lost): (Vec<_>, Vec<_>) =
            outcomes.into_iter().map(Result::unwrap).partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 7));
        assert!(lost.into_iter().all(|lost| lost.unwrap_err().kind() == ErrorKind::Conflict));
    }
}

/// [PATCH-4]
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_record_never_comes_back_and_no_update_is_lost() {
    let world = Arc::new(World::new().await);
    for round in 0..ROUNDS {
        let id = world.authorization(&format!("name-{round}")).await.id;
        let spawn = |update: AuthorizationUpdate| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.engine.update_authorization(id, update).await })
        };
        let status = spawn(AuthorizationUpdate::status(Status::Inactive));
        let description = spawn(AuthorizationUpdate::description("changed"));
        let both = (status.await.unwrap(), description.await.unwrap());
        assert!(both.0.is_ok() && both.1.is_ok());
        let now = world.engine.authorization(id).await.unwrap().unwrap();
        assert_eq!((now.status, now.description.as_str()), (Status::Inactive, "changed"));

        let patch = spawn(AuthorizationUpdate::description("late"));
        let password = {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.engine.set_password(id, "long-enough").await })
        };
        world.engine.delete_authorization(id).await.unwrap();
        let (patched, set) = (patch.await.unwrap(), password.await.unwrap());
        for kind in [patched.map(drop), set].into_iter().filter_map(Result::err).map(|e| e.kind()) {
            assert_eq!(kind, ErrorKind::NotFound);
        }
        assert_eq!(world.engine.authorization(id).await.unwrap(), None);
        let name = format!("name-{round}");
        assert_eq!(world.engine.authorization_by_username(&name).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_shown_with_the_permissions_it_has_and_their_names() {
    let world = Arc::new(World::new().await);
    let id = world.authorization("telegraf").await.id;
    let all = [portcullis::presets::operator(), vec![Permission::write(world.resource())]].concat();
    let caller = Principal::trusted(world.org.id, world.user.id, all);
    let read = Permission::read(Resource::org(world.org.id));
    let write = Permission::write(world.resource());
    for _ in 0..ROUNDS {
        let replacing = {
            let (world, caller) = (Arc::clone(&world), caller.clone());
            tokio::spawn(async move {
                let on_behalf = world.engine.on_behalf_of(&caller);
                on_behalf.set_permissions(id, vec![read, write]).await.unwrap();
                on_behalf.set_permissions(id, vec![write]).await.unwrap();
            })
        };
        let update = AuthorizationUpdate::description("d");
        let shown = world.engine.on_behalf_of(&caller).update_authorization(id, update).await;
        let shown = shown.unwrap();
        let names: Vec<_> = shown.resources.iter().map(|r| r.name.clone()).collect();
        let name_in = |permission| name(if permission == read { "acme" } else { "telemetry" });
        let permissions = shown.authorization.permissions.iter().copied();
        assert_eq!(names, permissions.map(|p| Some(name_in(p))).collect::<Vec<_>>());
        replacing.await.unwrap();
    }
}

/// [CACHE-2]
#[tokio::test(flavor = "multi_thread")]
async fn an_old_password_never_works_once_the_change_has_returned() {
    let world = Arc::new(World::new().await);
    let id = world.credential("telegraf").await.id;
    let mut old = "telegraf-password".to_owned();
    for round in 0..ROUNDS {
        let new = format!("password-{round}");
        let racing = {
            let (world, old) = (Arc::clone(&world), old.clone());
            tokio::spawn(async move { world.login("telegraf", &old).await.is_ok() })
        };
        world.engine.set_password(id, &new).await.unwrap();
        assert!(world.login("telegraf", &old).await.is_err());
        assert!(world.login("telegraf", &new).await.is_ok());
        racing.await.unwrap();
        assert!(world.login("telegraf", &old).await.is_err());
        old = new;
    }
}
