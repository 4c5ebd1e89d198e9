//! Migrations to PostgreSQL while logins go on: the old server is read-only, and the new store
//! appears when it is complete.

use std::process::Stdio;

use portcullis::store::{Batch, Entity, Expect, Operation, Revision, Store};
use portcullis::{Id, Name, Status, User};
use portcullis_sqlite::SqliteStore;
use portcullis_testkit::postgres::{Database, server};
use serde_json::Value;

use crate::support::{Sandbox, Server, wait_until};

/// Returns the statuses of five logins: right, wrong password, unknown, inactive, and a token.
fn logins(server: &Server, token: &str) -> Vec<u16> {
    [
        "telegraf:s3cret-enough",
        "telegraf:wrong",
        "unknown:s3cret-enough",
        "inactive:s3cret-enough",
        token,
    ]
    .map(|credentials| server.get("/forward-auth?check=none", credentials).0)
    .into()
}

/// Returns a store with two authorizations, one inactive, and the operator token.
fn sandbox_with_logins() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, "");
    server.stop();
    let token = sandbox.read("operator-token").trim_end().to_owned();
    for username in ["telegraf", "inactive"] {
        let create =
            format!("auth create --org default --user admin {username} --write-bucket default");
        sandbox.run_with_password(&create, "s3cret-enough").ok(&create);
    }
    sandbox.ok("auth disable inactive");
    (sandbox, token)
}

/// [HTTP-18]
#[test]
fn a_read_only_server_accepts_logins_and_changes_nothing() {
    let (sandbox, token) = sandbox_with_logins();
    let before = sandbox.ok("export");
    let server = Server::start(&sandbox, "--read-only");
    assert_eq!(server.lines.len(), 1, "{:?}", server.lines);
    assert_eq!(logins(&server, &token), [204, 401, 401, 401, 204]);
    let authorizations = "/legacy/authorizations";
    let (status, list) = server.get(authorizations, &token);
    assert_eq!(status, 200);
    let list: Value = serde_json::from_str(&list).unwrap();
    let first = list["authorizations"][0].clone();
    let path = format!("{authorizations}/{}", first["id"].as_str().unwrap());
    let mut new = first;
    new["token"] = "another".into();
    for (method, path, body) in [
        ("POST", authorizations, new.to_string()),
        ("PATCH", &path, r#"{"description": "x"}"#.to_owned()),
        ("DELETE", &path, String::new()),
        ("POST", &format!("{path}/password"), r#"{"password": "another-one"}"#.to_owned()),
        ("PUT", &format!("{path}/permissions"), new.to_string()),
    ] {
        let response = server.send(method, path, &token, &body);
        assert_eq!(response.status, 503, "{method} {path}: {response:?}");
        let body: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(body["code"], "unavailable");
        assert_eq!(body["message"], "read-only: nothing can be changed here now");
    }
    assert_eq!(server.get("/ready", "").0, 200);
    assert_eq!(logins(&server, &token), [204, 401, 401, 401, 204]);
    server.stop();
    assert_eq!(sandbox.ok("export"), before);
}

#[test]
fn a_read_only_server_creates_and_sets_up_nothing() {
    let sandbox = Sandbox::new();
    let refused = sandbox.run("serve --read-only --listen 127.0.0.1:0");
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("there is no store at"), "{}", refused.stderr);
    assert_eq!(sandbox.files(), [""; 0]);
    drop(SqliteStore::open(sandbox.path("portcullis.db")).unwrap());
    let refused = sandbox.run("serve --read-only --listen 127.0.0.1:0");
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("is not set up"), "{}", refused.stderr);
}

#[test]
fn a_store_is_migrated_to_postgresql_while_its_server_accepts_logins() {
    let Some(postgres) = server() else { return };
    let database = postgres.database();
    let (sandbox, token) = sandbox_with_logins();
    let old = Server::start(&sandbox, "--read-only");
    let expected = [204, 401, 401, 401, 204];
    assert_eq!(logins(&old, &token), expected);
    let migrate = format!("migrate --from sqlite:portcullis.db --to {}", database.url());
    let report = sandbox.json(&migrate);
    assert_eq!(report["records"]["authorization"], 2);
    assert_eq!(report["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(logins(&old, &token), expected);

    // Both servers run at the same time, until every client uses the new one.
    let new = Sandbox::new();
    let on_new = format!("--store {}", database.url());
    let server = Server::start(&new, &on_new);
    assert_eq!(logins(&server, &token), expected);
    assert_eq!(logins(&old, &token), expected);
    assert_eq!(new.ok(&format!("export {on_new}")), sandbox.ok("export"));
    new.ok(&format!("auth enable inactive {on_new}"));
    assert_eq!(new.ok(&format!("verify {on_new}")).lines().last(), Some("sound"));
    server.stop();
    old.stop();
}

/// Adds so many users that a copy takes a while.
fn fill(sandbox: &Sandbox, users: u64) {
    let store = SqliteStore::open(sandbox.path("portcullis.db")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let numbers: Vec<_> = (1..=users).collect();
        for numbers in numbers.chunks(1_000) {
            let mut batch = Batch::new();
            for &number in numbers {
                let name = Name::new(format!("user-{number}")).unwrap();
                let id = Id::from_u64(number).into();
                let user = User { id, name, status: Status::Active };
                let record = user.to_record(Revision::from_u128(number.into())).unwrap();
                batch.push(Operation::Put { record, grants: Vec::new(), expect: Expect::Absent });
            }
            store.commit(batch).await.unwrap();
        }
        store.close().await.unwrap();
    });
}

/// Returns the schemas of stores in the database.
fn schemas(database: &Database) -> String {
    database.run("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'portcullis%'")
}

#[test]
fn a_killed_migration_leaves_no_store_and_the_next_one_reports_what_is_left() {
    let Some(postgres) = server() else { return };
    let database = postgres.database();
    let sandbox = Sandbox::with_store();
    fill(&sandbox, 20_000);
    let migrate = format!("migrate --from sqlite:portcullis.db --to {}", database.url());
    let mut child = sandbox.command(&migrate).stdout(Stdio::null()).spawn().unwrap();
    wait_until("the migration has begun", || !schemas(&database).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(schemas(&database), "portcullis_unfinished");

    // No server opens it as a store.
    let serve = format!("serve --listen 127.0.0.1:0 --store {}", database.url());
    assert!(sandbox.fails(1, &serve).contains("there is no store in"));
    let refused = sandbox.fails(1, &migrate);
    let remedy = "DROP SCHEMA portcullis_unfinished CASCADE";
    assert!(refused.contains(remedy), "{refused}");
    database.run(remedy);
    assert_eq!(sandbox.json(&migrate)["records"]["user"], 20_001);
    assert_eq!(schemas(&database), "portcullis");
}

/// A restore that is killed at any moment leaves the whole store or none, and another one succeeds.
#[test]
fn a_killed_restore_leaves_no_incomplete_store() {
    let sandbox = Sandbox::with_store();
    fill(&sandbox, 20_000);
    sandbox.ok("backup backup.db");
    for moment in 0..4 {
        let store = format!("restored-{moment}.db");
        let restore = format!("restore backup.db --store sqlite:{store}");
        let mut child = sandbox.command(&restore).stdout(Stdio::null()).spawn().unwrap();
        let unfinished = |size: u64| {
            let unfinished = unfinished_stores(&sandbox);
            unfinished.iter().any(|path| path.metadata().is_ok_and(|file| file.len() >= size))
        };
        // When it has begun, and when a part is written.
        while !unfinished(moment * 500_000) && !sandbox.path(&store).exists() {
            assert!(child.try_wait().unwrap().is_none_or(|status| status.success()), "it failed");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if sandbox.path(&store).exists() {
            assert_eq!(
                sandbox.ok(&format!("verify --store sqlite:{store}")).lines().last(),
                Some("sound")
            );
            continue;
        }
        assert_eq!(sandbox.json(&restore)["records"]["user"], 20_001);
        for left in unfinished_stores(&sandbox) {
            std::fs::remove_dir_all(left.parent().unwrap()).unwrap();
        }
    }
}

/// Returns the databases of restores that are not finished.
fn unfinished_stores(sandbox: &Sandbox) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(sandbox.path(".")).unwrap();
    let names = entries.map(|entry| entry.unwrap().path());
    let new = |path: &std::path::PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".portcullis-new-"))
    };
    names.filter(new).map(|path| path.join("store")).collect()
}
