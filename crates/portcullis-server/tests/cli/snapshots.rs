//! `export` and `import`: everything out and back in, all or nothing.

use serde_json::json;

use crate::support::Sandbox;

const USER: &str = r#"{"type":"user","id":"0000000000000001","name":"ada","status":"active"}"#;

fn authorization(rest: &str) -> String {
    format!(
        r#"{{"type":"authorization","id":"0000000000000002","token":"x","orgID":"0000000000000003","userID":"0000000000000001"{rest}}}"#
    )
}

#[test]
fn an_import_restores_everything_and_a_second_one_changes_nothing() {
    let sandbox = Sandbox::with_store();
    let create = "auth create --org acme --user ada telegraf --write-bucket telemetry";
    sandbox.run_with_password(create, "s3cret-enough").ok(create);
    let snapshot = sandbox.ok("export");
    assert_eq!(sandbox.ok("export --json"), snapshot);
    sandbox.write("snapshot.jsonl", &snapshot);

    let new = "--store sqlite:new.db snapshot.jsonl";
    let done = |imported: u64, unchanged: u64, dry_run: bool| json!({"imported": imported, "unchanged": unchanged, "dryRun": dry_run});
    assert_eq!(sandbox.json(&format!("import --dry-run {new}")), done(6, 0, true));
    assert_eq!(sandbox.files(), ["portcullis.db", "snapshot.jsonl"]);
    assert_eq!(sandbox.json(&format!("import {new}")), done(6, 0, false));
    assert_eq!(sandbox.files(), ["new.db", "portcullis.db", "snapshot.jsonl"]);
    assert_eq!(sandbox.ok("export --store sqlite:new.db"), snapshot);
    assert_eq!(sandbox.json(&format!("import {new}")), done(0, 6, false));

    let stdin = "import --store sqlite:piped.db -";
    sandbox.run_with_stdin(stdin, &snapshot).ok(stdin);
    assert_eq!(sandbox.ok("export --store sqlite:piped.db"), snapshot);
    let bucket = sandbox.bucket("telemetry");
    let check =
        format!("check --store sqlite:piped.db telegraf --permission write:buckets/{bucket}");
    sandbox.run_with_password(&check, "s3cret-enough").ok(&check);

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = std::fs::metadata(sandbox.path("new.db")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
}

/// Returns invalid snapshots with their names and errors.
fn bad_snapshots(good: &str) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let bytes = |text: String| text.into_bytes();
    let lines: Vec<_> = good.lines().collect();
    let other_id = USER.replace("0001", "0009");
    let other_name = authorization("").replace("0002", "0008");
    vec![
        ("empty", Vec::new(), "the snapshot is empty"),
        ("garbage", bytes(format!("{USER}\nhello\n")), "line 2: "),
        ("binary", vec![0xff, 0xfe, b'\n'], "line 1: not UTF-8"),
        ("truncated", bytes(lines[..3].join("\n")), "line 3: the last line is missing"),
        ("half a line", bytes(good[..good.len() / 2].to_owned()), "line "),
        ("changed", bytes(good.replace("acme", "acne")), "`sha256` does not fit"),
        (
            "same id",
            bytes(format!("{USER}\n{USER}\n")),
            "line 2: user 0000000000000001 is on line 1",
        ),
        ("same name", bytes(format!("{USER}\n{other_id}\n")), "has the same name as line 1"),
        (
            "same username",
            bytes(format!("{}\n{other_name}\n", authorization(""))),
            "line 2: authorization 0000000000000008 has the same name as line 1",
        ),
        ("unknown type", b"{\"type\":\"session\"}".to_vec(), "line 1: unknown variant"),
        ("unknown member", bytes(USER.replace("status", "state")), "line 1: unknown field `state`"),
        ("bad id", bytes(USER.replace("0001", "001")), "line 1: id must have a length of 16"),
        (
            "plain password",
            bytes(authorization(r#","password":"s3cret-plain""#)),
            "line 1: unknown field `password`",
        ),
        (
            "plain password as hash",
            bytes(authorization(r#","passwordHash":"s3cret-plain""#)),
            "line 1: password hash",
        ),
        (
            "costly hash",
            bytes(authorization(
                r#","passwordHash":"$argon2id$v=19$m=4000000,t=2,p=1$c29tZXNhbHQ$s3cretAAAAAAAAAAAAAAAA""#,
            )),
            "line 1: ",
        ),
        ("too long", vec![b' '; 16 * 1024 * 1024 + 1], "line 1: longer than"),
    ]
}

#[test]
fn a_bad_snapshot_leaves_a_store_unchanged_and_creates_none() {
    let sandbox = Sandbox::with_store();
    let good = sandbox.ok("export");
    let files = ["bad.jsonl", "portcullis.db"];
    for (kind, content, expected) in bad_snapshots(&good) {
        sandbox.write("bad.jsonl", content);
        for options in ["", "--dry-run", "--store sqlite:new.db", "--store sqlite:new.db --dry-run"]
        {
            let error = sandbox.fails(1, &format!("import bad.jsonl {options}"));
            assert!(error.contains(expected), "{kind}: {error}");
            assert!(error.contains("nothing was imported"), "{kind}: {error}");
            assert!(!error.contains("s3cret"), "{kind}: {error}");
            assert!(error.len() < 1_000, "{kind}: {error}");
        }
        assert_eq!(sandbox.files(), files, "{kind}");
    }
    assert_eq!(sandbox.ok("export"), good);
}

#[test]
fn every_refused_line_is_named_also_conflicts_with_the_store() {
    let sandbox = Sandbox::with_store();
    let before = sandbox.ok("export");
    let there = sandbox.json("user list")[0]["id"].as_str().unwrap().to_owned();
    let lines = [
        USER.replace("ada", "new"),
        USER.replace("0001", "0002"),
        // In this order: an id may hold `ada`.
        USER.replace("ada", "renamed").replace("0000000000000001", &there),
    ];
    sandbox.write("snapshot.jsonl", lines.join("\n"));
    for options in ["--dry-run", ""] {
        let error = sandbox.fails(1, &format!("import snapshot.jsonl {options}"));
        assert_eq!(
            error,
            format!(
                "line 2: user 0000000000000002: its name belongs to {there}\n\
                 line 3: user {there} exists already and differs\n\
                 error: 2 lines of the snapshot are refused: nothing was imported\n"
            )
        );
    }
    assert_eq!(sandbox.ok("export"), before);

    sandbox.write("snapshot.jsonl", format!("{{\n{USER}\nhello\n"));
    let error = sandbox.fails(1, "import --store sqlite:new.db snapshot.jsonl");
    assert!(error.contains("line 1: ") && error.contains("line 3: "), "{error}");
    assert!(!sandbox.path("new.db").exists());
}

#[test]
fn nothing_is_left_where_no_store_can_be_created() {
    let sandbox = Sandbox::new();
    sandbox.write("snapshot.jsonl", USER);
    let error = sandbox.fails(1, "import --store sqlite:no/such/directory.db snapshot.jsonl");
    assert!(error.contains("cannot create `no/such/directory.db`"), "{error}");
    let error = sandbox.fails(1, "import nowhere.jsonl");
    assert!(error.contains("cannot open `nowhere.jsonl`"), "{error}");
    assert_eq!(sandbox.files(), ["snapshot.jsonl"]);
}

#[test]
fn nothing_is_imported_beside_the_files_of_an_earlier_store() {
    let sandbox = Sandbox::with_store();
    let snapshot = sandbox.ok("export");
    sandbox.write("snapshot.jsonl", &snapshot);
    for left_over in ["new.db-wal", "new.db-shm", "new.db-journal"] {
        sandbox.write(left_over, "what an earlier store left");
        let error = sandbox.fails(1, "import --store sqlite:new.db snapshot.jsonl");
        assert!(error.contains(left_over) && error.contains("left over"), "{error}");
        assert!(!sandbox.path("new.db").exists());
        assert_eq!(sandbox.read(left_over), "what an earlier store left");
        std::fs::remove_file(sandbox.path(left_over)).unwrap();
    }
    sandbox.ok("import --store sqlite:new.db snapshot.jsonl");
}

#[test]
fn an_export_fails_at_a_record_that_cannot_be_read() {
    let sandbox = Sandbox::with_store();
    sandbox.ok("auth create --org acme --user ada x --read-bucket telemetry --no-password");
    let file = rusqlite::Connection::open(sandbox.path("portcullis.db")).unwrap();
    for broken in ["org_id = 'zz'", "body = x'ff00'", "body = '{'"] {
        let kept: (String, String) = file
            .query_row("SELECT org_id, body FROM authorizations", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        file.execute(&format!("UPDATE authorizations SET {broken}"), []).unwrap();
        let ran = sandbox.run("export");
        assert_eq!(ran.code, 1, "{broken}");
        let error = &ran.stderr;
        assert!(error.contains("cannot be read") || error.contains("corrupt"), "{broken}: {error}");
        // What was written so far is no whole snapshot.
        assert!(!ran.stdout.contains("\"type\":\"end\""), "{broken}");
        let restore = "UPDATE authorizations SET org_id = ?1, body = ?2";
        file.execute(restore, [kept.0, kept.1]).unwrap();
        sandbox.ok("export");
    }
}
