//! From one machine to PostgreSQL while logins go on: the old server is read-only, and the new
//! store is there when it is whole.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use portcullis::store::{Batch, Entity, Expect, Operation, Revision, Store};
use portcullis::{Id, Name, Status, User};
use portcullis_sqlite::SqliteStore;
use portcullis_testkit::postgres::{Database, server};
use serde_json::Value;

use crate::support::{Sandbox, Server};

/// Sends a body, and returns the status and the answer.
fn send(server: &Server, method: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
    let mut stream = server.connect();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
         Authorization: Token {token}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

/// What a server answers to those who log in.
fn logins(server: &Server, token: &str) -> Vec<u16> {
    [
        "telegraf:s3cret-enough",
        "telegraf:wrong",
        "nobody:s3cret-enough",
        "inactive:s3cret-enough",
        token,
    ]
    .map(|credentials| server.get("/forward-auth?check=none", credentials).0)
    .into()
}

/// A store in which some can log in, and the operator token.
fn furnished() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, "");
    server.stop();
    let token = sandbox.read("operator-token").trim_end().to_owned();
    for username in ["telegraf", "inactive"] {
        let create = format!(
            "auth create --org default --user admin --username {username} --write-bucket default"
        );
        sandbox.run_with_password(&create, "s3cret-enough").ok(&create);
    }
    sandbox.ok("auth set-inactive --username inactive");
    (sandbox, token)
}

#[test]
fn a_read_only_server_lets_in_and_changes_nothing() {
    let (sandbox, token) = furnished();
    let before = sandbox.ok("export");
    let server = Server::start(&sandbox, "--read-only");
    assert_eq!(server.lines.len(), 1, "{:?}", server.lines);
    assert_eq!(logins(&server, &token), [204, 401, 401, 401, 204]);
    let authorizations = "/legacy/authorizations";
    let (status, list) = send(&server, "GET", authorizations, &token, "");
    assert_eq!(status, 200);
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
        let (status, answer) = send(&server, method, path, &token, &body);
        assert_eq!(status, 503, "{method} {path}: {answer}");
        assert_eq!(answer["code"], "unavailable");
        assert_eq!(answer["message"], "read-only: nothing can be changed here now");
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
    assert!(refused.stderr.contains("nobody has set up the store"), "{}", refused.stderr);
}

#[test]
fn a_store_is_migrated_to_postgresql_while_its_server_lets_in() {
    let Some(postgres) = server() else { return };
    let database = postgres.database();
    let (sandbox, token) = furnished();
    let old = Server::start(&sandbox, "--read-only");
    let expected = [204, 401, 401, 401, 204];
    assert_eq!(logins(&old, &token), expected);
    let migrate = format!("migrate --from sqlite:portcullis.db --to {}", database.url());
    let said = sandbox.json(&migrate);
    assert_eq!(said["records"]["authorization"], 2);
    assert_eq!(said["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(logins(&old, &token), expected);

    // Both serve at the same time, until the last client has gone over.
    let new = Sandbox::new();
    let on_new = format!("--store {}", database.url());
    let server = Server::start(&new, &on_new);
    assert_eq!(logins(&server, &token), expected);
    assert_eq!(logins(&old, &token), expected);
    assert_eq!(new.ok(&format!("export {on_new}")), sandbox.ok("export"));
    new.ok(&format!("auth set-active --username inactive {on_new}"));
    assert_eq!(new.ok(&format!("verify {on_new}")).lines().last(), Some("sound"));
    server.stop();
    old.stop();
}

/// So many that copying them takes a while.
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

/// The schemas of stores in the database.
fn schemas(database: &Database) -> String {
    database.run("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'portcullis%'")
}

#[test]
fn a_migration_that_is_killed_leaves_no_store_and_says_what_is_left() {
    let Some(postgres) = server() else { return };
    let database = postgres.database();
    let sandbox = Sandbox::with_store();
    fill(&sandbox, 20_000);
    let migrate = format!("migrate --from sqlite:portcullis.db --to {}", database.url());
    let mut child = sandbox.command(&migrate).stdout(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while schemas(&database).is_empty() {
        assert!(began.elapsed() < Duration::from_secs(60));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(schemas(&database), "portcullis_unfinished");

    // Nobody takes it for a store.
    let serve = format!("serve --listen 127.0.0.1:0 --store {}", database.url());
    assert!(sandbox.fails(1, &serve).contains("there is no store in"));
    let refused = sandbox.fails(1, &migrate);
    let remedy = "DROP SCHEMA portcullis_unfinished CASCADE";
    assert!(refused.contains(remedy), "{refused}");
    database.run(remedy);
    assert_eq!(sandbox.json(&migrate)["records"]["user"], 20_001);
    assert_eq!(schemas(&database), "portcullis");
}

/// At whatever moment: what is there afterwards is the whole store, or none, and another restore
/// succeeds.
#[test]
fn a_restore_that_is_killed_leaves_no_half_store() {
    let sandbox = Sandbox::with_store();
    fill(&sandbox, 20_000);
    sandbox.ok("backup backup.db");
    for moment in 0..4 {
        let store = format!("restored-{moment}.db");
        let restore = format!("restore backup.db --store sqlite:{store}");
        let mut child = sandbox.command(&restore).stdout(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        let unfinished = |size: u64| {
            let workshops = unfinished_stores(&sandbox);
            workshops.iter().any(|path| path.metadata().is_ok_and(|file| file.len() >= size))
        };
        // When it has begun, and when some of it is written.
        while !unfinished(moment * 500_000) && !sandbox.path(&store).exists() {
            assert!(began.elapsed() < Duration::from_secs(60));
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

/// The databases of restores that have not come to their end.
fn unfinished_stores(sandbox: &Sandbox) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(sandbox.path(".")).unwrap();
    let names = entries.map(|entry| entry.unwrap().path());
    let new = |path: &std::path::PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".portcullis-new-"))
    };
    names.filter(new).map(|path| path.join("store")).collect()
}
