//! Orgs, users and buckets: names, status, renaming, and what a deletion would delete.

use portcullis::{
    AuthorizationId, BucketId, BucketUpdate, DatabaseBucket, Deletion, DeletionPreview, ErrorKind,
    NewDbrp, OrgId, Permission, Principal, Resource, ResourceType, StaticDirectory, Status,
    TenantUpdate, UserId,
};

use crate::management::caller;
use crate::support::{World, builder, name, permission};

/// [TENANT-7]
#[tokio::test]
async fn a_new_name_counts_at_once_and_frees_the_former_one() {
    let world = World::new().await;
    let engine = &world.engine;
    let renamed =
        engine.update_org(world.org.id, TenantUpdate::name(name("globex"))).await.unwrap();
    assert_eq!((renamed.id, renamed.status), (world.org.id, Status::Active));
    assert_eq!(engine.resolve_org("globex").await.unwrap(), renamed);
    assert!(engine.resolve_org("acme").await.is_err());
    let again = engine.create_org(name("acme")).await.unwrap();
    let taken = engine.update_org(again.id, TenantUpdate::name(name("globex"))).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Conflict);
    assert_eq!(taken.message(), "organization with name globex already exists");
    let same = engine.update_org(again.id, TenantUpdate::name(name("acme"))).await.unwrap();
    assert_eq!(same, again, "its own name is free");

    let ada = world.user.id;
    let both = TenantUpdate { name: Some(name("bob")), status: Some(Status::Inactive) };
    let user = engine.update_user(ada, both).await.unwrap();
    assert_eq!((user.name.as_str(), user.status), ("bob", Status::Inactive));
    let nothing = engine.update_user(ada, TenantUpdate::default()).await.unwrap();
    assert_eq!(nothing, user);
    let missing = engine.update_user(UserId::from_u64(5), TenantUpdate::default()).await;
    assert_eq!(missing.unwrap_err().message(), "user not found");
}

/// [TENANT-7]
#[tokio::test]
async fn a_renamed_bucket_keeps_its_permissions_and_is_found_by_its_new_name_at_once() {
    let world = World::new().await;
    let (engine, org, bucket) = (&world.engine, world.org.id, world.bucket.id);
    world.credential("telegraf").await;
    let found = async |database: &str| engine.database_bucket(org, database, None).await.unwrap();
    assert_eq!(found("telemetry").await, DatabaseBucket::Named(bucket));
    assert_eq!(found("events").await, DatabaseBucket::None);
    assert_eq!(engine.bucket_id(org, "telemetry").await.unwrap(), Some(bucket));

    let renamed = engine.update_bucket(bucket, BucketUpdate::name(name("events"))).await.unwrap();
    assert_eq!((renamed.org, renamed.name.as_str()), (org, "events"));
    assert_eq!(found("telemetry").await, DatabaseBucket::None);
    assert_eq!(found("events").await, DatabaseBucket::Named(bucket));
    assert_eq!(engine.bucket_id(org, "telemetry").await.unwrap(), None);
    let principal = world.login("telegraf", "telegraf-password").await.unwrap();
    assert!(principal.check(portcullis::Action::Write, &world.resource()).is_allowed());

    engine.create_bucket(org, name("telemetry")).await.unwrap();
    let taken = engine.update_bucket(bucket, BucketUpdate::name(name("telemetry"))).await;
    assert_eq!(taken.unwrap_err().message(), "bucket name is not unique");
}

/// [CALLER-7]
#[tokio::test]
async fn write_on_a_bucket_alone_is_not_enough_to_rename_it() {
    let world = World::new().await;
    let bucket = world.resource();
    let held = [Permission::read(bucket), Permission::write(bucket)];
    let writer = caller(&world, &held);
    let on_behalf = world.engine.on_behalf_of(&writer);
    let rename = |to: &str| BucketUpdate::name(name(to));
    let refused = on_behalf.update_bucket(world.bucket.id, rename("secrets")).await.unwrap_err();
    let expected = format!("write:orgs/{}/dbrp is unauthorized", world.org.id);
    assert_eq!((refused.kind(), refused.message()), (ErrorKind::Unauthorized, &*expected));
    // Clients send the name again with every change.
    let same = on_behalf.update_bucket(world.bucket.id, rename("telemetry")).await.unwrap();
    assert_eq!(same.into_value(), world.bucket);
    for resource_type in [ResourceType::Buckets, ResourceType::Dbrp] {
        let all = Permission::write(Resource::all(resource_type).in_org(world.org.id));
        let manager = caller(&world, &[held[0], held[1], all]);
        let on_behalf = world.engine.on_behalf_of(&manager);
        on_behalf.update_bucket(world.bucket.id, rename(resource_type.as_str())).await.unwrap();
    }
}

/// [CALLER-6]
#[tokio::test]
async fn a_bucket_that_a_caller_may_not_read_does_not_exist_for_it() {
    let world = World::new().await;
    let (bucket, resource) = (world.bucket.id, world.resource());
    let powerless = caller(&world, &[]);
    let reader = caller(&world, &[Permission::read(resource)]);
    let writer = caller(&world, &[Permission::write(resource)]);
    let rename = || BucketUpdate::name(name("x"));
    let write = format!("write:orgs/{}/buckets/{bucket} is unauthorized", world.org.id);
    for (who, update, delete) in [
        (&powerless, "bucket not found", Some("bucket not found")),
        (&reader, write.as_str(), Some(write.as_str())),
        (&writer, "bucket not found", None),
    ] {
        let on_behalf = world.engine.on_behalf_of(who);
        let error = on_behalf.update_bucket(bucket, rename()).await.unwrap_err();
        assert_eq!(error.message(), update);
        let previewed = on_behalf.preview_deletion(Deletion::Bucket(bucket)).await;
        assert_eq!(previewed.err().map(|error| error.to_string()).as_deref(), delete);
        let deleted = on_behalf.delete_bucket(bucket).await;
        assert_eq!(deleted.err().map(|error| error.to_string()).as_deref(), delete);
    }
    let gone = world.engine.on_behalf_of(&writer).delete_bucket(bucket).await.unwrap_err();
    assert_eq!(gone.message(), "bucket not found");
}

/// [CALLER-6]
#[tokio::test]
async fn an_org_or_user_that_a_caller_may_not_change_is_refused_whether_it_exists_or_not() {
    let world = World::new().await;
    let powerless = caller(&world, &[permission("read:orgs"), permission("read:users")]);
    let on_behalf = world.engine.on_behalf_of(&powerless);
    let off = || TenantUpdate::status(Status::Inactive);
    for id in [world.org.id, OrgId::from_u64(5)] {
        let message = format!("write:orgs/{id} is unauthorized");
        assert_eq!(on_behalf.update_org(id, off()).await.unwrap_err().message(), message);
        assert_eq!(on_behalf.delete_org(id).await.unwrap_err().message(), message);
        let preview = on_behalf.preview_deletion(Deletion::Org(id)).await;
        assert_eq!(preview.unwrap_err().message(), message);
    }
    for id in [world.user.id, UserId::from_u64(5)] {
        let message = format!("write:users/{id} is unauthorized");
        assert_eq!(on_behalf.update_user(id, off()).await.unwrap_err().message(), message);
        assert_eq!(on_behalf.delete_user(id).await.unwrap_err().message(), message);
    }
    let operator = caller(&world, &portcullis::presets::operator());
    let on_behalf = world.engine.on_behalf_of(&operator);
    let missing = on_behalf.update_org(OrgId::from_u64(5), off()).await.unwrap_err();
    assert_eq!(missing.message(), "organization not found");
}

/// [TENANT-6]
#[tokio::test]
async fn with_a_directory_of_the_host_nothing_of_it_is_changed() {
    let world = World::new().await;
    let directory = StaticDirectory::new()
        .with_org(world.org.clone())
        .with_user(world.user.clone())
        .with_bucket(world.bucket.clone());
    let store = std::sync::Arc::clone(&world.store);
    let engine = builder(store).directory(directory).build().await.unwrap();
    let (org, user, bucket) = (world.org.id, world.user.id, world.bucket.id);
    let off = || TenantUpdate::status(Status::Inactive);
    let outcomes = [
        engine.update_org(org, off()).await.map(drop),
        engine.update_user(user, off()).await.map(drop),
        engine.update_bucket(bucket, BucketUpdate::name(name("x"))).await.map(drop),
        engine.delete_bucket(bucket).await,
        engine.preview_deletion(Deletion::Org(org)).await.map(drop),
        engine.preview_deletion(Deletion::User(user)).await.map(drop),
        engine.preview_deletion(Deletion::Bucket(bucket)).await.map(drop),
    ];
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().ends_with("are managed by the embedding server"), "{error}");
    }
    assert!(!engine.is_setup_allowed().await.unwrap());
}

/// Counts as `(authorizations, API tokens, buckets, DBRP mappings, grants)`.
fn counts(preview: DeletionPreview) -> (u64, u64, u64, u64, u64) {
    assert!(preview.is_complete);
    let DeletionPreview { authorizations, api_tokens, buckets, dbrps, grants, .. } = preview;
    (authorizations, api_tokens, buckets, dbrps, grants)
}

/// [DRYRUN-2]
#[tokio::test]
async fn a_preview_counts_what_its_deletion_deletes_and_changes_nothing() {
    let world = World::new().await;
    let (engine, org, user) = (&world.engine, world.org.id, world.user.id);
    let resource = world.resource();
    let mapping = async |database: &str, policy: &str| {
        let (database, retention_policy) = (database.to_owned(), policy.to_owned());
        let bucket = world.bucket.id;
        let new = NewDbrp { org, database, retention_policy, is_default: false, bucket };
        engine.create_dbrp(new).await.unwrap()
    };
    let first = mapping("db", "one").await;
    mapping("db", "two").await;
    mapping("other", "one").await;
    // Two grants of the bucket in v1 credentials, two in a token of another org and user.
    let (read, write) = (Permission::read(resource), Permission::write(resource));
    let both = world.credential_with("both", [read, write]).await;
    let other_org = engine.create_org(name("globex")).await.unwrap();
    let other_user = engine.create_user(name("bob")).await.unwrap();
    let held = [
        read,
        permission(&format!("write:buckets/{}", world.bucket.id)),
        permission(&format!("read:users/{user}")),
        permission(&format!("read:orgs/{org}/tasks")),
        permission(&format!("write:orgs/{org}")),
        permission("read:buckets"),
    ];
    let new = portcullis::NewApiToken::new(other_org.id, other_user.id, held.to_vec());
    let (token, _) = engine.create_api_token(new).await.unwrap();
    let own = engine.create_api_token(world.new_token(vec![read])).await.unwrap().0;

    let preview = async |deletion| counts(engine.preview_deletion(deletion).await.unwrap());
    assert_eq!(preview(Deletion::Bucket(world.bucket.id)).await, (0, 0, 1, 3, 5));
    assert_eq!(preview(Deletion::User(user)).await, (1, 1, 0, 0, 1));
    // Three permissions of the other org's token name the org: one bucket, its tasks, itself.
    assert_eq!(preview(Deletion::Org(org)).await, (1, 1, 1, 3, 3));
    assert_eq!(preview(Deletion::Org(other_org.id)).await, (0, 1, 0, 0, 0));
    assert_eq!(preview(Deletion::Dbrp(org, first.id)).await, (0, 0, 0, 1, 0));
    assert_eq!(preview(Deletion::Authorization(both.id)).await, (1, 0, 0, 0, 0));
    assert_eq!(preview(Deletion::ApiToken(own.id)).await, (0, 1, 0, 0, 0));

    for (deletion, message) in [
        (Deletion::Org(OrgId::from_u64(5)), "organization not found"),
        (Deletion::User(UserId::from_u64(5)), "user not found"),
        (Deletion::Bucket(BucketId::from_u64(5)), "bucket not found"),
        (Deletion::Authorization(AuthorizationId::from_u64(5)), "authorization not found"),
        (Deletion::Dbrp(other_org.id, first.id), "unable to find DBRP"),
    ] {
        let error = engine.preview_deletion(deletion).await.unwrap_err();
        assert_eq!(error.message(), message);
    }
    // Nothing was changed.
    assert_eq!(engine.authorization(both.id).await.unwrap().unwrap().permissions, [read, write]);
    assert!(engine.api_token(token.id).await.unwrap().is_some());
    engine.delete_org(org).await.unwrap();
    assert!(engine.authorization(both.id).await.unwrap().is_none());
    assert!(engine.api_token(own.id).await.unwrap().is_none());
}

/// [DRYRUN-2]
#[tokio::test]
async fn a_preview_needs_what_its_deletion_needs() {
    let world = World::new().await;
    let authorization = world.authorization("telegraf").await;
    let (token, _) = world.engine.create_api_token(world.new_token(vec![])).await.unwrap();
    let nothing: Principal = caller(&world, &[]);
    let on_behalf = world.engine.on_behalf_of(&nothing);
    for deletion in [
        Deletion::ApiToken(token.id),
        Deletion::Authorization(authorization.id),
        Deletion::Org(world.org.id),
        Deletion::User(world.user.id),
    ] {
        let error = on_behalf.preview_deletion(deletion).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{deletion:?}");
    }
}
