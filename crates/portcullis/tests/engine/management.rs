//! Creating, changing and granting, and the permissions these need.

use std::num::NonZeroUsize;

use portcullis::{
    Authorization, AuthorizationId, Bucket, BucketId, ErrorKind, NewAuthorization, Org, OrgId,
    Permission, Principal, Resource, StaticDirectory, Status, User, UserId, Username,
};
use portcullis_testkit::HookedDirectory;

use crate::support::{World, builder, name, permission};

pub(crate) fn caller(world: &World, permissions: &[Permission]) -> Principal {
    Principal::trusted(world.org.id, world.user.id, permissions.iter().copied())
}

/// What an owner of the authorization holds: its org's authorizations, its user, its bucket.
pub(crate) fn owner(world: &World) -> Vec<Permission> {
    let authorizations = Resource::all(portcullis::ResourceType::Authorizations);
    let resources =
        [authorizations.in_org(world.org.id), Resource::user(world.user.id), world.resource()];
    resources.into_iter().flat_map(|r| [Permission::read(r), Permission::write(r)]).collect()
}

#[tokio::test]
async fn creation_stores_every_part_and_ids_ascend() {
    let world = World::new().await;
    let new =
        world.new_authorization("telegraf").with_description("d").with_status(Status::Inactive);
    let first = world.engine.create_authorization(new).await.unwrap();
    let stored = world.engine.authorization(first.id).await.unwrap().unwrap();
    assert_eq!(stored, first);
    assert_eq!((stored.description.as_str(), stored.status), ("d", Status::Inactive));
    assert_eq!(stored.created_at, stored.updated_at);
    assert_eq!(stored.password_hash, None);
    assert!(first.id > AuthorizationId::from_u64(1_000));
    let found = world.engine.authorization_by_username("telegraf").await.unwrap();
    assert_eq!(found, Some(first));
}

/// [AUTH-1] [CREATE-2]
#[tokio::test]
async fn what_cannot_be_created_is_refused_and_leaves_nothing() {
    let world = World::new().await;
    world.authorization("taken").await;
    let other = OrgId::from_u64(77);
    let new = |permissions: Vec<Permission>| {
        let username = Username::new("telegraf").unwrap();
        NewAuthorization::new(username, world.org.id, permissions).for_user(world.user.id)
    };
    let bucket = permission("read:buckets/0000000000000fff");
    let cases = [
        (new(vec![]), ErrorKind::Invalid, "authorization must include permissions"),
        (new(vec![permission("read:instance")]), ErrorKind::Forbidden, "authorizations cannot be"),
        (
            new(vec![Permission::read(Resource::bucket(other, world.bucket.id))]),
            ErrorKind::Invalid,
            "permission read:orgs/000000000000004d/buckets/",
        ),
        (new(vec![bucket]), ErrorKind::NotFound, "bucket not found when creating auth"),
        (world.new_authorization("taken"), ErrorKind::Conflict, "token already exists"),
        (
            world.new_authorization("telegraf").for_user(UserId::from_u64(5)),
            ErrorKind::Invalid,
            "unable to create token",
        ),
        (
            new(vec![Permission::read(
                Resource::all(portcullis::ResourceType::Buckets)
                    .with_id(portcullis::Id::from_u64(0)),
            )]),
            ErrorKind::Invalid,
            "invalid id for permission: invalid ID",
        ),
    ];
    for (new, kind, message) in cases {
        let error = world.engine.create_authorization(new).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().starts_with(message), "{error}");
    }
    assert_eq!(world.engine.authorization_by_username("telegraf").await.unwrap(), None);
}

/// [CALLER-3] [REPLACE-2]
#[tokio::test]
async fn replacing_permissions_grants_no_more_than_the_caller_holds() {
    let world = World::new().await;
    let target = world.authorization("telegraf").await;
    let owner = caller(&world, &owner(&world));
    let on_behalf = world.engine.on_behalf_of(&owner);

    let read = Permission::read(world.resource());
    let described = on_behalf.set_permissions(target.id, vec![read]).await.unwrap();
    assert_eq!(described.authorization.permissions, [read]);
    assert_eq!(described.resources[0].name, Some(name("telemetry")));
    assert!(described.authorization.updated_at >= target.updated_at);

    let other_bucket = world.engine.create_bucket(world.org.id, name("other")).await.unwrap();
    let other = Permission::read(Resource::bucket(world.org.id, other_bucket.id));
    let error = on_behalf.set_permissions(target.id, vec![read, other]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    let everything = Principal::trusted(
        world.org.id,
        world.user.id,
        [permission("read:instance"), permission("write:instance")],
    );
    let on_behalf = world.engine.on_behalf_of(&everything);
    for (permissions, kind) in [
        (vec![], ErrorKind::Invalid),
        (vec![permission("read:instance")], ErrorKind::Forbidden),
        (vec![permission("read:orgs/0000000000000001/buckets")], ErrorKind::Invalid),
        (vec![permission("read:buckets/0000000000000fff")], ErrorKind::NotFound),
    ] {
        let error = on_behalf.set_permissions(target.id, permissions).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    let stored = world.engine.authorization(target.id).await.unwrap().unwrap();
    assert_eq!(stored.permissions, [read]);
}

/// [CALLER-4]
#[tokio::test]
async fn naming_a_foreign_resource_under_ones_own_org_grants_nothing() {
    let world = World::new().await;
    let engine = &world.engine;
    let globex = engine.create_org(name("globex")).await.unwrap();
    let bob = engine.create_user(name("bob")).await.unwrap();
    let own = engine.create_bucket(globex.id, name("own")).await.unwrap();
    let foreign = world.authorization("foreign").await;
    // Bob owns the org globex, and his own user.
    let held =
        [portcullis::presets::owner_of_org(globex.id), portcullis::presets::user_self(bob.id)];
    let bob_himself = Principal::trusted(globex.id, bob.id, held.concat());
    let on_behalf = engine.on_behalf_of(&bob_himself);
    let create = |username: &str, permissions: Vec<Permission>| {
        let new = NewAuthorization::new(Username::new(username).unwrap(), globex.id, permissions);
        on_behalf.create_authorization(new)
    };
    let in_globex =
        |text: &str, id: String| permission(&format!("{text}{id}")).resource.in_org(globex.id);

    let fine = [Permission::write(Resource::bucket(globex.id, own.id))];
    let mine = create("mine", fine.to_vec()).await.unwrap().authorization.id;
    for resource in [
        in_globex("write:buckets/", world.bucket.id.to_string()),
        in_globex("write:users/", world.user.id.to_string()),
        in_globex("write:authorizations/", foreign.id.to_string()),
        in_globex("write:orgs/", world.org.id.to_string()),
        in_globex("write:tasks/", world.bucket.id.to_string()),
    ] {
        let grant = Permission::write(resource);
        let message = format!("permission {grant} is not allowed: {grant} is unauthorized");
        let error = create("mallory", vec![grant]).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Forbidden, message.as_str()));
        let error = on_behalf.set_permissions(mine, vec![grant]).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Forbidden, message.as_str()));
    }
    assert_eq!(engine.authorization(mine).await.unwrap().unwrap().permissions, fine);
}

/// [GET-3] [CREATE-4]
#[tokio::test]
async fn a_missing_name_drops_nothing_else_of_a_permission() {
    let world = World::new().await;
    let target = world.authorization("telegraf").await;
    world.engine.delete_bucket(world.bucket.id).await.unwrap();
    let owner = caller(&world, &owner(&world));
    let described = world.engine.on_behalf_of(&owner).authorization(target.id).await.unwrap();
    assert_eq!(described.resources[0].name, None);
    assert_eq!(described.resources[0].org, Some(name("acme")));
}

/// [TENANT-6]
#[tokio::test]
async fn a_host_with_its_own_directory_manages_its_own_tenants() {
    let world = World::new().await;
    let (org, user, bucket) = (OrgId::from_u64(11), UserId::from_u64(12), BucketId::from_u64(13));
    let directory = StaticDirectory::new()
        .with_org(Org { id: org, name: name("host-org"), status: Status::Active })
        .with_user(User { id: user, name: name("host-user"), status: Status::Active })
        .with_bucket(Bucket { id: bucket, org, name: name("host-bucket") });
    let engine = builder(world.store.clone()).directory(directory).build().await.unwrap();

    let error = engine.create_user(name("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let write = Permission::write(Resource::bucket(org, bucket));
    let new = NewAuthorization::new(Username::new("telegraf").unwrap(), org, [write]);
    let created: Authorization = engine.create_authorization(new.for_user(user)).await.unwrap();
    engine.set_password(created.id, "long-enough").await.unwrap();
    let credentials = portcullis::Credentials::password("telegraf", "long-enough");
    assert!(engine.authenticate(credentials).await.is_ok());
    assert_eq!(engine.resolve_bucket(org, "host-bucket").await.unwrap().id, bucket);
    assert_eq!(engine.resolve_user("host-user").await.unwrap().id, user);
    assert_eq!(engine.resolve_org(&org.to_string()).await.unwrap().id, org);
}

#[tokio::test]
async fn messages_of_a_hosts_directory_are_only_logged() {
    let world = World::new().await;
    world.credential("telegraf").await;
    let directory = HookedDirectory(|method: &str| {
        let kind = match method {
            "user_by_name" => ErrorKind::Invalid,
            _ => ErrorKind::Unavailable,
        };
        Err(portcullis::Error::new(kind, "db-7.internal is on strike"))
    });
    let engine = builder(world.store.clone()).directory(directory).build().await.unwrap();
    let credentials = portcullis::Credentials::password("telegraf", "telegraf-password");
    for (error, kind) in [
        (engine.authenticate(credentials).await.unwrap_err(), ErrorKind::Unavailable),
        (engine.resolve_user("ada").await.unwrap_err(), ErrorKind::Internal),
    ] {
        assert_eq!(error.kind(), kind);
        assert!(!error.message().contains("db-7"), "{error}");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("db-7"), "{source}");
    }
}

/// However few records a store returns at a time.
#[tokio::test]
async fn a_directory_lists_at_most_the_limit() {
    let engine = World::new().await.engine;
    for i in 1..300 {
        engine.create_org(name(&format!("org-{i}"))).await.unwrap();
    }
    let orgs = async |limit| {
        engine.directory().orgs(None, NonZeroUsize::new(limit).unwrap()).await.unwrap().len()
    };
    assert_eq!(
        [orgs(1).await, orgs(200).await, orgs(300).await, orgs(900).await],
        [1, 200, 300, 300]
    );
}

/// [PW-6]
#[tokio::test]
async fn a_hash_that_is_set_takes_the_place_of_the_password() {
    let world = World::new().await;
    let id = world.credential("telegraf").await.id;
    let other = world.credential("other").await;
    let other = world.engine.authorization(other.id).await.unwrap().unwrap();
    let hash = other.password_hash.unwrap();
    world.engine.set_password_hash(id, hash.clone()).await.unwrap();
    for (password, is_right) in [("other-password", true), ("telegraf-password", false)] {
        let credentials = portcullis::Credentials::password("telegraf", password);
        assert_eq!(world.engine.authenticate(credentials).await.is_ok(), is_right, "{password}");
    }
    let missing = world.engine.set_password_hash(AuthorizationId::from_u64(7), hash).await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
}
