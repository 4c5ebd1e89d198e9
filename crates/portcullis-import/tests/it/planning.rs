//! What the planner decides, for any format.

use portcullis::{Action, Credentials, Id, ResourceType, Status, TokenSecret};
use portcullis_import::item::{
    BucketItem, CredentialItem, DatabaseItem, GrantItem, Item, Key, NotCarried, OrgItem,
    PermissionItem, PermissionOrg, PolicyItem, SourcePassword, SourceToken, TokenItem, UserItem,
};
use portcullis_import::{Options, Outcome, PlanError, StorePlanError, plan};

use crate::meta::HASH;
use crate::support::{
    Items, engine, entry, import_items, lines, login, may, notes, options, outcome,
};

fn id(number: u64) -> Option<Id> {
    Some(Id::from_u64(number))
}

fn org(number: u64, name: &str) -> Item {
    let (key, id, name) = (Key(number), id(number), name.to_owned());
    Item::Org(OrgItem { key, id, name, status: Status::Active })
}

fn user(number: u64, name: &str) -> Item {
    let (key, id, name) = (Key(number), id(number), name.to_owned());
    Item::User(UserItem { key, id, name, status: Status::Active })
}

fn bucket(number: u64, org: Option<u64>, name: &str) -> Item {
    let (key, id, name) = (Key(number), id(number), name.to_owned());
    Item::Bucket(BucketItem { key, id, org: org.map(Key), name })
}

/// Read and write on the bucket in the credential's org.
fn grant(bucket: u64) -> GrantItem {
    let permission = |action| PermissionItem {
        action,
        resource_type: ResourceType::Buckets,
        id: Some(Key(bucket)),
        org: PermissionOrg::Own,
    };
    let permissions = Action::ALL.map(permission).to_vec();
    GrantItem { shown: format!("bucket {bucket}"), permissions, lost: None }
}

fn credential(number: Option<u64>, name: &str) -> CredentialItem {
    CredentialItem {
        id: number.and_then(id),
        username: name.to_owned(),
        org: Some(Key(1)),
        user: Some(Key(2)),
        status: Status::Active,
        description: "a description".to_owned(),
        password: SourcePassword::Plain("s3cret-enough".to_owned().into()),
        grants: vec![grant(3)],
        is_admin: false,
        created_at: None,
        updated_at: None,
        changes: Vec::new(),
    }
}

fn token(number: u64, secret: SourceToken) -> TokenItem {
    TokenItem {
        id: id(number),
        org: Some(Key(1)),
        user: Some(Key(2)),
        status: Status::Active,
        description: format!("token {number}"),
        secret,
        grants: vec![grant(3)],
    }
}

fn plain(secret: &str) -> SourceToken {
    SourceToken::Plain(secret.to_owned().into())
}

fn tenants() -> Vec<Item> {
    vec![org(1, "acme"), user(2, "ada"), bucket(3, Some(1), "telemetry")]
}

fn with(items: impl IntoIterator<Item = Item>) -> Vec<Item> {
    tenants().into_iter().chain(items).collect()
}

fn database(name: &str, policies: Vec<PolicyItem>) -> Item {
    let name = name.to_owned();
    Item::Database(DatabaseItem { org: Some(Key(1)), name, policies, notes: Vec::new() })
}

fn policy(number: u64, name: &str, is_default: bool) -> PolicyItem {
    PolicyItem { id: id(number), name: name.to_owned(), bucket: Key(3), is_default }
}

/// [IMP-2]
#[tokio::test]
async fn ids_of_the_file_are_kept_where_they_are_free() {
    let engine = engine().await;
    let items = with([
        database("db", vec![policy(4, "rp", true)]),
        Item::Credential(credential(Some(5), "telegraf")),
        Item::Token(token(6, plain("op-token-7f3a"))),
    ]);
    let entries = import_items(&engine, items.clone(), &Options::default()).await.unwrap();
    assert!(entries.iter().all(|entry| entry.outcome == Outcome::Taken), "{entries:?}");
    for (kind, name, number) in [
        ("org", "acme", 1),
        ("user", "ada", 2),
        ("bucket", "telemetry", 3),
        ("credential", "telegraf", 5),
        ("API token", "token 6", 6),
    ] {
        assert_eq!(entry(&entries, kind, name).id, id(number), "{kind}");
    }
    let acme = engine.resolve_org("acme").await.unwrap();
    let mappings = engine.database_mappings(acme.id, "db").await.unwrap().unwrap();
    assert!(mappings.mapping(Id::from_u64(4).into()).is_some());
    let again = import_items(&engine, items, &Options::default()).await.unwrap();
    assert!(again.iter().all(|e| matches!(e.outcome, Outcome::AlreadyThere) || e.kind == "grant"));

    // Other records of the same ids, under other names.
    let items = [
        org(1, "acme"),
        user(2, "ada"),
        bucket(3, Some(1), "telemetry"),
        bucket(7, Some(1), "events"),
        database("other", vec![policy(4, "rp", true)]),
        Item::Credential(credential(Some(5), "grafana")),
        Item::Credential(credential(Some(0), "zero")),
        Item::Token(token(6, plain("op-token-8a2b"))),
    ];
    let entries = import_items(&engine, items, &Options::default()).await.unwrap();
    for (kind, name) in
        [("credential", "grafana"), ("credential", "zero"), ("API token", "token 6")]
    {
        let entry = entry(&entries, kind, name);
        assert_eq!(entry.outcome, Outcome::Changed);
        assert!(entry.notes[0].contains("is not free"), "{entry:?}");
        assert!(entry.id.is_some_and(|id| id.as_u64() > 1_000));
    }
    assert_eq!(login(&engine, "grafana", "s3cret-enough").await.unwrap().org(), org_id(1));
}

fn org_id(number: u64) -> portcullis::OrgId {
    portcullis::OrgId::from_u64(number)
}

/// [IMP-3] [IMP-4]
#[tokio::test]
async fn orgs_users_and_buckets_that_are_there_are_used() {
    let engine = engine().await;
    let there = engine.create_org(portcullis_testkit::world::name("acme")).await.unwrap();
    engine.create_user(portcullis_testkit::world::name("ada")).await.unwrap();
    let telemetry = portcullis_testkit::world::name("telemetry");
    let bucket = engine.create_bucket(there.id, telemetry).await.unwrap();
    let items = with([Item::Credential(credential(Some(5), "telegraf"))]);
    let entries = import_items(&engine, items, &Options::default()).await.unwrap();
    assert_eq!(
        lines(&entries),
        [
            "org acme: already there",
            "user ada: already there",
            "bucket telemetry: already there",
            "credential telegraf: taken",
            "grant telegraf/bucket 3: taken",
        ]
    );
    assert!(notes(&entries, "bucket", "telemetry").ends_with(&format!("is {} here", bucket.id)));
    let telegraf = login(&engine, "telegraf", "s3cret-enough").await.unwrap();
    assert_eq!(may(&engine, &telegraf, "telemetry", None).await, "read write");
}

/// [IMP-1]
#[tokio::test]
async fn what_has_no_org_or_user_needs_one_that_is_named() {
    let engine = engine().await;
    let homeless = || {
        Item::Credential(CredentialItem {
            org: None,
            user: None,
            grants: Vec::new(),
            ..credential(None, "x")
        })
    };
    let nothing = import_items(&engine, [homeless()], &Options::default()).await;
    assert!(matches!(nothing, Err(PlanError::OrgRequired)));
    let mut org_alone = Options::default();
    org_alone.org = Some("acme".to_owned());
    let nothing = import_items(&engine, [homeless()], &org_alone).await;
    assert!(matches!(nothing, Err(PlanError::UserRequired)));
    let mut empty = options();
    empty.org = Some(String::new());
    let nothing = import_items(&engine, [homeless()], &empty).await;
    assert!(matches!(nothing, Err(PlanError::Name { .. })));
    let entries = import_items(&engine, [homeless()], &options()).await.unwrap();
    assert!(notes(&entries, "org", "acme").starts_with("created"));
    assert!(notes(&entries, "user", "ada").starts_with("created"));

    // By id, and from the file itself.
    let acme = engine.resolve_org("acme").await.unwrap();
    let mut by_id = options();
    by_id.org = Some(acme.id.to_string());
    let entries = import_items(&engine, [homeless()], &by_id).await.unwrap();
    assert_eq!(outcome(&entries, "credential", "x"), Outcome::AlreadyThere);
    let engine = crate::support::engine().await;
    let items = [org(1, "acme"), user(2, "ada"), homeless()];
    import_items(&engine, items, &options()).await.unwrap();
    assert_eq!(login(&engine, "x", "s3cret-enough").await.unwrap().org(), org_id(1));
}

/// What refers to something that is skipped is skipped, and no other record takes its place.
/// [IMP-6]
#[tokio::test]
async fn what_belongs_to_something_that_is_skipped_is_skipped_with_it() {
    let engine = engine().await;
    let items = [
        org(1, ""),
        org(8, "good"),
        org(9, "good"),
        user(2, &"x".repeat(5_000)),
        user(7, "ada"),
        bucket(3, Some(1), "telemetry"),
        bucket(4, Some(8), "one"),
        bucket(5, Some(8), "one"),
        Item::Credential(credential(None, "no org")),
        Item::Credential(CredentialItem { org: Some(Key(8)), ..credential(None, "no user") }),
        Item::Credential(CredentialItem {
            org: Some(Key(8)),
            user: Some(Key(7)),
            grants: vec![grant(3), grant(4), grant(99)],
            ..credential(None, "partly")
        }),
        Item::Token(token(6, plain("op-token-7f3a"))),
        Item::NotCarried(NotCarried {
            kind: "dashboard".to_owned(),
            name: "d".to_owned(),
            why: "there are none".to_owned(),
            is_skipped: false,
        }),
    ];
    let entries = import_items(&engine, items, &Options::default()).await.unwrap();
    let skipped: Vec<_> =
        lines(&entries).into_iter().filter(|l| l.ends_with(": skipped")).collect();
    assert_eq!(
        skipped,
        [
            "org : skipped".to_owned(),
            "org good: skipped".to_owned(),
            format!("user {}: skipped", "x".repeat(5_000)),
            "bucket telemetry: skipped".to_owned(),
            "bucket one: skipped".to_owned(),
            "credential no org: skipped".to_owned(),
            "credential no user: skipped".to_owned(),
            "grant partly/bucket 3: skipped".to_owned(),
            "grant partly/bucket 99: skipped".to_owned(),
            "API token token 6: skipped".to_owned(),
        ]
    );
    assert_eq!(outcome(&entries, "credential", "partly"), Outcome::Changed);
    let partly = engine.authorization_by_username("partly").await.unwrap().unwrap();
    assert_eq!(partly.permissions.len(), 2);
}

/// [IMP-14]
#[tokio::test]
async fn plain_passwords_are_hashed_and_short_ones_work_and_are_reported() {
    let engine = engine().await;
    let with_password = |name: &str, password: &str| {
        let password = SourcePassword::Plain(password.to_owned().into());
        Item::Credential(CredentialItem { password, ..credential(None, name) })
    };
    let long = "x".repeat(5_000);
    let mut items = with([
        with_password("usual", "s3cret-enough"),
        with_password("short", "abc"),
        with_password("empty", ""),
        with_password("long", &long),
    ]);
    let none = CredentialItem { password: SourcePassword::None, ..credential(None, "without") };
    items.push(Item::Credential(none));
    let entries = import_items(&engine, items.clone(), &Options::default()).await.unwrap();
    for (name, expected) in [
        ("usual", Outcome::Taken),
        ("short", Outcome::Taken),
        ("empty", Outcome::Skipped),
        ("long", Outcome::Skipped),
        ("without", Outcome::Taken),
    ] {
        assert_eq!(outcome(&entries, "credential", name), expected, "{name}");
    }
    let note = notes(&entries, "credential", "short");
    assert!(note.contains("works, and would be refused today"), "{note}");
    assert_eq!(notes(&entries, "credential", "usual"), "");
    login(&engine, "short", "abc").await.unwrap();
    login(&engine, "without", "").await.unwrap_err();
    assert!(!format!("{entries:?} {items:?}").contains("s3cret"));

    // The same password is the same, though its hash has another salt; another one is not.
    let again = import_items(&engine, items, &Options::default()).await.unwrap();
    assert_eq!(outcome(&again, "credential", "usual"), Outcome::AlreadyThere);
    let other = with([with_password("usual", "another-s3cret")]);
    let again = import_items(&engine, other, &Options::default()).await.unwrap();
    assert!(notes(&again, "credential", "usual").ends_with("password differ"));
    login(&engine, "usual", "s3cret-enough").await.unwrap();
}

#[tokio::test]
async fn api_tokens_come_with_their_secret_or_its_digest() {
    let engine = engine().await;
    let digest = SourceToken::Digest(TokenSecret::new("digested").digest());
    let items = with([
        Item::Token(token(6, plain("plain"))),
        Item::Token(token(7, digest)),
        Item::Token(token(8, plain("plain"))),
        Item::Token(token(9, plain(""))),
        Item::Token(token(10, SourceToken::Unusable("it is hashed".to_owned()))),
    ]);
    let entries = import_items(&engine, items, &Options::default()).await.unwrap();
    for secret in ["plain", "digested"] {
        engine.authenticate(Credentials::token(secret)).await.unwrap();
    }
    assert_eq!(notes(&entries, "API token", "token 10"), "it is hashed");
    for name in ["token 8", "token 9", "token 10"] {
        assert_eq!(outcome(&entries, "API token", name), Outcome::Skipped, "{name}");
    }
    let other = TokenItem { grants: Vec::new(), ..token(6, plain("plain")) };
    let entries =
        import_items(&engine, with([Item::Token(other)]), &Options::default()).await.unwrap();
    assert!(notes(&entries, "API token", "token 6").ends_with("permissions differ"));
}

/// Permissions on what is not a bucket, and on what another record here may be.
/// [IMP-6]
#[tokio::test]
async fn permissions_name_the_records_here() {
    let engine = engine().await;
    let permission = |resource_type, id: Option<u64>, org| PermissionItem {
        action: Action::Read,
        resource_type,
        id: id.map(Key),
        org,
    };
    let cases = [
        (permission(ResourceType::Orgs, Some(1), PermissionOrg::Any), true),
        (permission(ResourceType::Orgs, Some(77), PermissionOrg::Any), false),
        (permission(ResourceType::Users, Some(2), PermissionOrg::Any), true),
        (permission(ResourceType::Users, Some(77), PermissionOrg::Any), false),
        (permission(ResourceType::Tasks, Some(77), PermissionOrg::Key(Key(1))), true),
        (permission(ResourceType::Tasks, None, PermissionOrg::Key(Key(77))), false),
        (permission(ResourceType::Authorizations, Some(5), PermissionOrg::Own), false),
        (permission(ResourceType::Dashboards, Some(0), PermissionOrg::Own), false),
        (permission(ResourceType::Buckets, None, PermissionOrg::Own), true),
    ];
    let grants = cases.iter().enumerate().map(|(number, (permission, _))| GrantItem {
        shown: number.to_string(),
        permissions: vec![*permission],
        lost: None,
    });
    let credential = CredentialItem { grants: grants.collect(), ..credential(None, "telegraf") };
    let entries = import_items(&engine, with([Item::Credential(credential)]), &Options::default())
        .await
        .unwrap();
    for (number, (_, is_carried)) in cases.iter().enumerate() {
        let expected = if *is_carried { Outcome::Taken } else { Outcome::Skipped };
        assert_eq!(outcome(&entries, "grant", &number.to_string()), expected, "{number}");
    }
}

/// A database has one default, and each retention policy one mapping.
/// [IMP-11]
#[tokio::test]
async fn mappings_that_contradict_each_other_are_made_consistent() {
    let engine = engine().await;
    let lost = PolicyItem { bucket: Key(99), ..policy(20, "lost", false) };
    let items = with([
        database("none", vec![policy(10, "b", false), policy(11, "a", false)]),
        database("two", vec![policy(12, "a", true), policy(13, "b", true)]),
        database("same", vec![policy(14, "a", true), policy(15, "a", false)]),
        database("half", vec![policy(16, "a", true), lost.clone()]),
        database("all", vec![lost]),
        database("most", (100..1_101).map(|n| policy(n, &n.to_string(), n == 100)).collect()),
    ]);
    let entries = import_items(&engine, items, &Options::default()).await.unwrap();
    for (name, expected) in [
        ("none", Outcome::Changed),
        ("two", Outcome::Changed),
        ("same", Outcome::Changed),
        ("half", Outcome::Changed),
        ("all", Outcome::Skipped),
        ("most", Outcome::Skipped),
    ] {
        assert_eq!(outcome(&entries, "database", name), expected, "{name}");
    }
    let org = engine.resolve_org("acme").await.unwrap();
    for (name, default) in [("none", "a"), ("two", "a"), ("same", "a"), ("half", "a")] {
        let mappings = engine.database_mappings(org.id, name).await.unwrap().unwrap();
        let found: Vec<_> = mappings.mappings().filter(|m| m.is_default).collect();
        assert_eq!(&*found[0].retention_policy, default, "{name}");
        assert_eq!(found.len(), 1, "{name}");
    }
}

/// A record that appears between plan and commit is a conflict, and nothing is stored.
/// [IMP-3]
#[tokio::test]
async fn a_plan_that_no_longer_fits_stores_nothing() {
    let engine = engine().await;
    let hash = SourcePassword::Hash(HASH.to_owned().into());
    let telegraf = CredentialItem { password: hash, ..credential(None, "telegraf") };
    let mut source = Items::new(with([Item::Credential(telegraf)]));
    let mut planned = plan(&mut source, &engine, &Options::default()).await.unwrap();
    let first = plan(&mut Items::new([user(2, "ada")]), &engine, &Options::default()).await;
    first.unwrap().store(&engine).await.unwrap();
    // The same record is no conflict, another one is.
    engine.create_org(portcullis_testkit::world::name("acme")).await.unwrap();
    let error = planned.store(&engine).await.unwrap_err();
    assert!(matches!(&error, StorePlanError::Refused(lines) if lines.len() == 1), "{error}");
    assert!(engine.authorization_by_username("telegraf").await.unwrap().is_none());
}
