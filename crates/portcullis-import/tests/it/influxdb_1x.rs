//! `meta.db` of InfluxDB 1.x.

use portcullis::{Action, Credentials, ErrorKind, Permission, Resource, ResourceType};
use portcullis_import::item::{Item, SourcePassword};
use portcullis_import::{Admins, Outcome};

use crate::meta::{
    self, HASH, PASSWORD, bytes, database, number, plain_database, policy, user, user_with,
};
use crate::support::{
    engine, entries, entry, import, items, lines, login, may, notes, options, outcome, planned,
    with_admins,
};

fn usual() -> Vec<u8> {
    let telemetry = database("telemetry", "year", &[policy("autogen", 2), policy("year", 0)]);
    let users = [
        user("reader", false, &[("telemetry", 1)]),
        user("writer", false, &[("telemetry", 2), ("events", 0)]),
        user("both", false, &[("telemetry", 3), ("events", 1)]),
        user("none", false, &[]),
    ];
    meta::file(&[telemetry, plain_database("events")], &users)
}

/// [IMP-1] [IMP-10] [IMP-11] [IMP-12]
#[tokio::test]
async fn users_log_in_with_their_passwords_and_may_do_what_they_might() {
    let engine = engine().await;
    let entries = import(&engine, &usual(), &options()).await;
    assert_eq!(
        lines(&entries),
        [
            "org acme: taken",
            "bucket telemetry/autogen: taken",
            "bucket telemetry/year: taken",
            "database telemetry: taken",
            "shard groups telemetry: not carried",
            "bucket events/autogen: taken",
            "database events: taken",
            "shard groups events: not carried",
            "user ada: taken",
            "credential reader: taken",
            "grant reader/READ on telemetry: taken",
            "credential writer: taken",
            "grant writer/WRITE on telemetry: taken",
            "credential both: taken",
            "grant both/READ on events: taken",
            "grant both/ALL on telemetry: taken",
            "credential none: taken",
        ]
    );
    for (name, telemetry, events) in [
        ("reader", "read", ""),
        ("writer", "write", ""),
        ("both", "read write", "read"),
        ("none", "", ""),
    ] {
        let principal = login(&engine, name, PASSWORD).await.unwrap();
        for policy in [None, Some("autogen"), Some("year")] {
            assert_eq!(may(&engine, &principal, "telemetry", policy).await, telemetry, "{name}");
        }
        assert_eq!(may(&engine, &principal, "events", None).await, events, "{name}");
        assert_eq!(may(&engine, &principal, "other", None).await, "no bucket", "{name}");
        let wrong = login(&engine, name, "wrong-password").await.unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::Unauthorized);
    }
    // The default retention policy is that of the database.
    let org = engine.resolve_org("acme").await.unwrap();
    let year = engine.resolve_bucket(org.id, "telemetry/year").await.unwrap();
    let default = engine.database_bucket(org.id, "telemetry", None).await.unwrap();
    assert_eq!(default.bucket(), Some(year.id));
    assert_eq!(notes(&entries, "credential", "none"), "it has no permission");
    assert_eq!(
        notes(&entries, "shard groups", "telemetry"),
        "2, with the points: InfluxDB keeps them"
    );
}

/// [IMP-3] [IMP-4]
#[tokio::test]
async fn another_import_creates_nothing_and_an_incomplete_one_is_completed() {
    let engine = engine().await;
    let telemetry = plain_database("telemetry");
    let reader = user("reader", false, &[("telemetry", 1)]);
    let first = meta::file(std::slice::from_ref(&telemetry), std::slice::from_ref(&reader));
    import(&engine, &first, &options()).await;
    let second = meta::file(
        &[telemetry, plain_database("events")],
        &[reader, user("writer", false, &[("events", 2)])],
    );
    // A login replaces the hash, which is no other password.
    login(&engine, "reader", PASSWORD).await.unwrap();
    while engine
        .authorization_by_username("reader")
        .await
        .unwrap()
        .unwrap()
        .password_hash
        .unwrap()
        .expose()
        == HASH
    {
        tokio::task::yield_now().await;
    }
    let entries = import(&engine, &second, &options()).await;
    for (kind, name) in [
        ("org", "acme"),
        ("user", "ada"),
        ("bucket", "telemetry/autogen"),
        ("database", "telemetry"),
        ("credential", "reader"),
    ] {
        assert_eq!(outcome(&entries, kind, name), Outcome::AlreadyThere, "{kind} {name}");
    }
    for (kind, name) in
        [("bucket", "events/autogen"), ("database", "events"), ("credential", "writer")]
    {
        assert_eq!(outcome(&entries, kind, name), Outcome::Taken, "{kind} {name}");
    }
    assert!(notes(&entries, "credential", "reader").contains("hashed again at a login"));
    let plan = planned(&engine, &second, &options()).await;
    assert_eq!(plan.new_records(), 0);
    assert_eq!((plan.report().skipped(), plan.report().undecided()), (0, 0));
}

/// [IMP-13]
#[tokio::test]
async fn what_becomes_of_an_administrator_is_never_decided_silently() {
    let file = meta::file(
        &[plain_database("telemetry")],
        &[user("root", true, &[("telemetry", 1)]), user("reader", false, &[("telemetry", 1)])],
    );
    let engine = engine().await;
    let plan = planned(&engine, &file, &options()).await;
    assert_eq!((plan.report().undecided(), plan.report().skipped()), (1, 0));

    let mut plan = planned(&engine, &file, &with_admins(Admins::Skip)).await;
    assert_eq!((plan.report().undecided(), plan.report().skipped()), (0, 0));
    let skipped = entries(&mut plan);
    let root = entry(&skipped, "credential", "root");
    assert!(root.outcome == Outcome::Skipped && root.chosen);
    assert!(!skipped.iter().any(|entry| entry.of.as_deref() == Some("root")));

    let org = plan_and_store(&engine, &file, Admins::OrgOwner).await;
    let root = login(&engine, "root", PASSWORD).await.unwrap();
    let all = Resource::all(ResourceType::Buckets).in_org(root.org());
    assert!(Action::ALL.into_iter().all(|action| root.check(action, &all).is_allowed()));
    let instance = Resource::all(ResourceType::Instance);
    assert!(!root.check(Action::Read, &instance).is_allowed());
    assert_eq!(outcome(&org, "credential", "root"), Outcome::Changed);
}

async fn plan_and_store(
    engine: &portcullis::Engine,
    file: &[u8],
    admins: Admins,
) -> Vec<portcullis_import::Entry> {
    import(engine, file, &with_admins(admins)).await
}

/// [IMP-13]
#[tokio::test]
async fn an_operator_token_is_created_once_and_its_secret_is_in_no_report() {
    let file =
        meta::file(&[plain_database("telemetry")], &[user("root", true, &[("telemetry", 1)])]);
    let engine = engine().await;
    let mut plan = planned(&engine, &file, &with_admins(Admins::OperatorToken)).await;
    plan.store(&engine).await.unwrap();
    let [token] = plan.new_tokens().to_vec().try_into().unwrap();
    assert_eq!(token.name, "root");
    let secret = token.secret.expose().to_owned();
    let operator = engine.authenticate(Credentials::token(&secret)).await.unwrap();
    let everything = Resource::all(ResourceType::Authorizations);
    assert!(operator.check(Action::Write, &everything).is_allowed());
    let report = format!("{:?} {plan:?} {token:?}", entries(&mut plan));
    assert!(!report.contains(&secret) && !report.contains(HASH));

    let root = login(&engine, "root", PASSWORD).await.unwrap();
    assert_eq!(may(&engine, &root, "telemetry", None).await, "read");
    let again = planned(&engine, &file, &with_admins(Admins::OperatorToken)).await;
    assert_eq!((again.new_records(), again.new_tokens().len()), (0, 0));
}

/// [IMP-5]
#[tokio::test]
async fn another_credential_of_the_name_is_kept_and_reported() {
    let engine = engine().await;
    import(&engine, &usual(), &options()).await;
    let mut users = Vec::new();
    for (name, hash, privileges) in [
        ("reader", HASH, &[("telemetry", 3)][..]),
        (
            "writer",
            "$2a$04$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9erFFhGg5Ml6",
            &[("telemetry", 2)],
        ),
        ("new", HASH, &[]),
    ] {
        users.push(user_with(name, hash, false, privileges));
    }
    let telemetry = database("telemetry", "year", &[policy("autogen", 2), policy("year", 0)]);
    let entries = import(&engine, &meta::file(&[telemetry], &users), &options()).await;
    assert_eq!(outcome(&entries, "credential", "reader"), Outcome::Skipped);
    assert!(notes(&entries, "credential", "reader").ends_with("permissions differ"));
    assert!(notes(&entries, "credential", "writer").ends_with("password differ"));
    assert_eq!(outcome(&entries, "credential", "new"), Outcome::Taken);
    let reader = login(&engine, "reader", PASSWORD).await.unwrap();
    assert_eq!(may(&engine, &reader, "telemetry", None).await, "read");
    login(&engine, "writer", PASSWORD).await.unwrap();

    // Other mappings of a database are not replaced either.
    let other = database("telemetry", "autogen", &[policy("autogen", 2), policy("year", 0)]);
    let entries = import(&engine, &meta::file(&[other], &[]), &options()).await;
    assert_eq!(outcome(&entries, "database", "telemetry"), Outcome::Skipped);
}

/// [IMP-6] [IMP-11]
#[tokio::test]
async fn what_the_model_refuses_is_skipped_with_the_reason() {
    let engine = engine().await;
    let databases = [
        plain_database("a/b"),
        plain_database("bad\u{7}"),
        plain_database(""),
        plain_database("twice"),
        plain_database("twice"),
        database("none", "autogen", &[]),
        database("lost", "gone", &[policy("first", 0), policy("second", 0)]),
        database("partly", "good", &[policy("good", 0), policy("b/ad", 0)]),
        plain_database("日本語 🚀"),
    ];
    let long = "x".repeat(portcullis::Username::MAX_BYTES + 1);
    let users = [
        user("", false, &[]),
        user(&long, false, &[]),
        user("twin", false, &[]),
        user("twin", false, &[]),
        user_with("plain", "s3cret", false, &[]),
        user_with("costly", &HASH.replace("$04$", "$31$"), false, &[]),
        user(
            "wide",
            false,
            &[("a/b", 1), ("gone", 2), ("none", 1), ("lost", 3), ("partly", 1), ("twice", 9)],
        ),
        user("日本 'x' \"y\"; DROP", false, &[("日本語 🚀", 3)]),
        user("ctl\u{0}\u{1b}[31m", false, &[]),
    ];
    let entries = import(&engine, &meta::file(&databases, &users), &options()).await;
    let names = |wanted: Outcome, kind: &str| -> Vec<&str> {
        let of = entries.iter().filter(|entry| entry.outcome == wanted && entry.kind == kind);
        of.map(|entry| entry.name.as_str()).collect()
    };
    assert_eq!(names(Outcome::Skipped, "database"), ["a/b", "bad\u{7}", "", "twice"]);
    assert_eq!(names(Outcome::Changed, "database"), ["none", "lost", "partly"]);
    assert_eq!(names(Outcome::Skipped, "credential"), ["", &long, "twin", "plain", "costly"]);
    assert!(notes(&entries, "credential", "plain").starts_with("password hash"), "{entries:?}");
    assert!(!format!("{entries:?}").contains("s3cret"));
    assert_eq!(notes(&entries, "grant", "WRITE on gone"), "there is no such database");
    assert_eq!(outcome(&entries, "grant", "WRITE on gone"), Outcome::NotCarried);
    assert_eq!(outcome(&entries, "grant", "privilege 9 on twice"), Outcome::NotCarried);

    let wide = login(&engine, "wide", PASSWORD).await.unwrap();
    assert_eq!(may(&engine, &wide, "none", None).await, "read");
    assert_eq!(may(&engine, &wide, "lost", None).await, "read write");
    assert_eq!(may(&engine, &wide, "partly", None).await, "read");
    let unicode = login(&engine, "日本 'x' \"y\"; DROP", PASSWORD).await.unwrap();
    assert_eq!(may(&engine, &unicode, "日本語 🚀", None).await, "read write");
    login(&engine, "ctl\u{0}\u{1b}[31m", PASSWORD).await.unwrap();
}

/// [IMP-9]
#[tokio::test]
async fn names_that_are_easily_confused_are_reported() {
    let engine = engine().await;
    let users =
        ["ada", "Ada", "caf\u{e9}", "cafe\u{301}", "bob"].map(|name| user(name, false, &[]));
    let databases = ["cpu", "CPU"].map(plain_database);
    let entries = import(&engine, &meta::file(&databases, &users), &options()).await;
    let confusing: Vec<_> = entries
        .iter()
        .filter(|entry| {
            entry.notes.iter().any(|note| note.contains("only by case or Unicode form"))
        })
        .map(|entry| entry.name.as_str())
        .collect();
    assert_eq!(confusing, ["CPU/autogen", "CPU", "Ada", "cafe\u{301}"]);
    assert!(notes(&entries, "credential", "Ada").contains("`ada`"));
    for name in ["ada", "Ada", "caf\u{e9}", "cafe\u{301}"] {
        login(&engine, name, PASSWORD).await.unwrap();
    }
}

/// What InfluxDB keeps for itself is reported, and no reason to refuse.
/// [IMP-12]
#[tokio::test]
async fn continuous_queries_and_subscriptions_are_not_carried() {
    let subscription =
        bytes(6, [bytes(1, "copy"), bytes(2, "ALL"), bytes(3, "udp://h:1")].concat());
    let subscribed = [policy("autogen", 0), subscription].concat();
    let query = bytes(4, [bytes(1, "cq"), bytes(2, "CREATE CONTINUOUS QUERY ...")].concat());
    let telemetry = [database("telemetry", "autogen", &[subscribed]), query].concat();
    // Fields of a later version are skipped.
    let telemetry = [telemetry, number(99, 1), bytes(100, "new")].concat();
    let file = [meta::file(&[telemetry], &[]), bytes(4, "node"), bytes(11, "node")].concat();
    let engine = engine().await;
    let mut plan = planned(&engine, &file, &options()).await;
    assert_eq!(plan.report().skipped(), 0);
    let entries = entries(&mut plan);
    assert_eq!(outcome(&entries, "continuous query", "telemetry/cq"), Outcome::NotCarried);
    let subscription = "telemetry/autogen/copy";
    assert_eq!(outcome(&entries, "subscription", subscription), Outcome::NotCarried);
}

#[test]
fn users_may_precede_databases() {
    let begin = [number(1, 0), number(2, 35), number(3, 4)].concat();
    let end = [number(7, 0), number(8, 14), number(9, 14)].concat();
    let user = bytes(6, user("reader", false, &[("telemetry", 1)]));
    let database = bytes(5, plain_database("telemetry"));
    let items = items(&[begin, user, database, end].concat()).unwrap();
    let Some(Item::Credential(reader)) = items.last() else { panic!("{items:?}") };
    assert!(matches!(reader.password, SourcePassword::Hash(_)));
    assert_eq!(reader.grants[0].permissions.len(), 1);
    assert!(reader.grants[0].lost.is_none());
    assert!(!format!("{items:?}").contains(HASH));
}

/// A million names are more than the names of buckets.
/// [IMP-8]
#[tokio::test]
async fn many_records_are_stored_in_parts() {
    let users: Vec<_> =
        (0..25_000).map(|n| user(&format!("user-{n}"), false, &[("telemetry", 1)])).collect();
    let file = meta::file(&[plain_database("telemetry")], &users);
    let planning = engine().await;
    let mut plan = planned(&planning, &file, &options()).await;
    assert_eq!(plan.new_records(), 25_000 + 4);
    let storing = engine().await;
    plan.store_in_parts(&storing).await.unwrap();
    let last = login(&storing, "user-24999", PASSWORD).await.unwrap();
    assert_eq!(may(&storing, &last, "telemetry", None).await, "read");
    let permissions = [Permission::read(Resource::all(ResourceType::Buckets))];
    assert!(!last.check(Action::Read, &permissions[0].resource).is_allowed());
    let again = planned(&storing, &file, &options()).await;
    assert_eq!(again.new_records(), 0);
    let total = again.report().total();
    assert_eq!(total.of(Outcome::AlreadyThere), 25_000 + 4);
}
