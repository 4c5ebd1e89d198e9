//! `verify`, `backup`, `restore`, `migrate`, and stores on redb and sled.

use rusqlite::Connection;
use serde_json::json;

use crate::support::Sandbox;

/// Returns a store with an authorization.
fn sandbox_with_store_at(store: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(&format!("setup --store {store} --org acme --user ada --bucket telemetry"));
    let create = format!(
        "auth create --store {store} --org acme --user ada telegraf --write-bucket \
         telemetry"
    );
    sandbox.run_with_password(&create, "s3cret-enough").ok(&create);
    sandbox
}

fn damage(sandbox: &Sandbox, sql: &str) {
    Connection::open(sandbox.path("portcullis.db")).unwrap().execute_batch(sql).unwrap();
}

/// [CLI-2]
#[test]
fn a_sound_store_is_reported_as_sound() {
    for store in ["sqlite:portcullis.db", "redb:portcullis.redb", "sled:portcullis.sled"] {
        let sandbox = sandbox_with_store_at(store);
        let text = sandbox.ok(&format!("verify --store {store}"));
        assert!(text.ends_with("sound\n"), "{text}");
        let report = sandbox.json(&format!("verify --store {store}"));
        assert_eq!(report["sound"], true);
        assert_eq!(report["records"]["authorization"], 1);
        assert_eq!((&report["damages"], &report["dangling"]), (&json!(0), &json!(0)));
        assert_eq!(report["findings"], json!([]));
    }
}

#[test]
fn damage_is_named_and_repaired_after_a_backup() {
    let sandbox = sandbox_with_store_at("sqlite:portcullis.db");
    damage(&sandbox, "DELETE FROM grants");
    let ran = sandbox.run("verify");
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("is not found by its grant write:buckets/"), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("damaged\n"));

    let report = sandbox.json("verify --repair --backup kept.db");
    assert_eq!((&report["sound"], &report["backup"]), (&json!(true), &json!("sqlite:kept.db")));
    sandbox.ok("verify");
    // The backup is what there was before.
    assert_eq!(sandbox.run("verify --store sqlite:kept.db").code, 1);

    let text = sandbox.ok("verify --repair");
    assert!(text.contains("sqlite:portcullis.db.before-repair-20"), "{text}");
    assert_eq!(sandbox.run("verify --repair --backup kept.db").code, 2);
}

#[test]
fn what_cannot_be_repaired_is_kept_and_reported() {
    let sandbox = sandbox_with_store_at("sqlite:portcullis.db");
    damage(&sandbox, "UPDATE authorizations SET body = '{}'");
    let ran = sandbox.run("verify --repair");
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("its body cannot be read"), "{}", ran.stdout);
    assert_eq!(sandbox.run("migrate --from sqlite:portcullis.db --to sled:new").code, 1);
    assert!(!sandbox.path("new").exists());
}

#[test]
fn references_to_records_that_do_not_exist_are_notes() {
    let sandbox = sandbox_with_store_at("sqlite:portcullis.db");
    damage(&sandbox, "DELETE FROM orgs");
    let text = sandbox.ok("verify");
    assert!(text.contains("note: authorization"), "{text}");
    assert!(text.contains("which does not exist"), "{text}");
}

/// [CLI-2]
#[test]
fn what_cannot_be_verified_is_neither_sound_nor_damaged() {
    let sandbox = Sandbox::new();
    for store in ["sqlite:none.db", "redb:none.redb", "sled:none"] {
        assert_eq!(sandbox.run(&format!("verify --store {store}")).code, 2);
    }
    sandbox.write("letter", "dear all");
    assert_eq!(sandbox.run("verify --store sqlite:letter").code, 2);
    assert!(sandbox.files() == ["letter"]);
}

#[test]
fn a_backup_is_restored_only_where_nothing_exists() {
    for (store, path) in [
        ("sqlite:portcullis.db", "portcullis.db"),
        ("redb:portcullis.redb", "portcullis.redb"),
        ("sled:data", "data"),
    ] {
        let sandbox = sandbox_with_store_at(store);
        let before = sandbox.ok(&format!("export --store {store}"));
        let written = sandbox.ok(&format!("backup --store {store} monday"));
        assert!(written.starts_with("backup written: "), "{written}");
        assert_eq!(sandbox.run(&format!("backup --store {store} monday")).code, 1);
        sandbox.ok(&format!("org create --store {store} later"));

        let restore = format!("restore --store {store} monday");
        let ran = sandbox.run(&restore);
        assert_eq!(ran.code, 1);
        assert!(ran.stderr.contains("move it out of the way"), "{}", ran.stderr);
        std::fs::rename(sandbox.path(path), sandbox.path("old")).unwrap();
        sandbox.ok(&restore);
        assert_eq!(sandbox.ok(&format!("export --store {store}")), before);
        sandbox.ok(&format!("verify --store {store}"));
    }
}

#[test]
fn a_damaged_backup_is_not_restored() {
    let sandbox = sandbox_with_store_at("sqlite:portcullis.db");
    damage(&sandbox, "UPDATE authorizations SET body = '{}'");
    sandbox.ok("backup monday.db");
    let ran = sandbox.run("restore --store sqlite:new.db monday.db");
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("the backup is damaged"), "{}", ran.stderr);
    assert!(!sandbox.path("new.db").exists());
}

#[test]
fn a_store_moves_to_another_kind_and_back_unchanged() {
    for kind in ["redb", "sled"] {
        a_store_moves_there_and_back(kind);
    }
}

fn a_store_moves_there_and_back(kind: &str) {
    let sandbox = sandbox_with_store_at("sqlite:portcullis.db");
    let before = sandbox.ok("export");
    let there = sandbox.json(&format!("migrate --from sqlite:portcullis.db --to {kind}:data"));
    assert_eq!(sandbox.ok(&format!("export --store {kind}:data")), before);
    let back = sandbox.json(&format!("migrate --from {kind}:data --to sqlite:back.db"));
    assert_eq!(there["sha256"], back["sha256"]);
    assert_eq!(there["records"], back["records"]);
    assert_eq!(sandbox.ok("export --store sqlite:back.db"), before);
    sandbox.ok("verify --store sqlite:back.db");
    sandbox.ok(&format!("verify --store {kind}:data"));

    let ran = sandbox.run(&format!("migrate --from sqlite:portcullis.db --to {kind}:data"));
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("there is something at `data`"), "{}", ran.stderr);
    assert_eq!(sandbox.files(), ["back.db", "data", "portcullis.db"]);
}

#[test]
fn an_import_creates_a_store_of_any_kind() {
    for kind in ["redb", "sled"] {
        an_import_creates_a_store(kind);
    }
}

fn an_import_creates_a_store(kind: &str) {
    let sandbox = sandbox_with_store_at("sqlite:portcullis.db");
    let snapshot = sandbox.ok("export");
    sandbox.write("snapshot.jsonl", &snapshot);
    sandbox.ok(&format!("import --store {kind}:data snapshot.jsonl"));
    assert_eq!(sandbox.ok(&format!("export --store {kind}:data")), snapshot);
    let again = sandbox.json(&format!("import --store {kind}:data snapshot.jsonl"));
    assert_eq!(again["imported"], 0);
}
