//! `check`: what it finds, and its exit status.

use serde_json::{Value, json};

use crate::support::{Ran, Sandbox};

const PASSWORD: &str = "s3cret-enough";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_store();
    let create = "auth create --org acme --user ada telegraf --write-bucket telemetry";
    sandbox.run_with_password(create, PASSWORD).ok(create);
    sandbox
}

fn found(ran: &Ran, code: i32) -> Value {
    assert_eq!((ran.code, ran.stderr.as_str()), (code, ""), "{ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// [CLI-2]
#[test]
fn allowed_exits_with_0_and_names_the_grant() {
    let sandbox = sandbox();
    let org = sandbox.json("org list")[0]["id"].as_str().unwrap().to_owned();
    let bucket = sandbox.bucket("telemetry");
    let grant = format!("write:orgs/{org}/buckets/{bucket}");
    for permission in [format!("write:buckets/{bucket}"), grant.clone()] {
        let check = format!("check telegraf --permission {permission} --json");
        let without = found(&sandbox.run(&check), 0);
        assert_eq!(without["passwordChecked"], false);
        let with = found(&sandbox.run_with_password(&check, PASSWORD), 0);
        assert_eq!(with["passwordChecked"], true);
        for finding in [without, with] {
            assert_eq!(finding["allowed"], true);
            assert_eq!(finding["permission"], grant);
            assert_eq!(finding["grantedBy"], grant);
        }
    }
    let text = sandbox.ok(&format!("check telegraf --permission {grant}"));
    assert!(text.starts_with(&format!("allowed        {grant}\n")), "{text}");
    assert!(text.contains("the password was not checked"), "{text}");

    // A grant on all buckets of the org covers one that is named by its id alone.
    let every = format!("--permission read:orgs/{org}/buckets");
    sandbox.ok(&format!("auth set-permissions telegraf {every}"));
    sandbox.ok(&format!("check telegraf --permission read:buckets/{bucket}"));
}

#[test]
fn a_bucket_is_checked_by_name_or_id() {
    let sandbox = sandbox();
    let org = sandbox.json("org list")[0]["id"].as_str().unwrap().to_owned();
    let bucket = sandbox.bucket("telemetry");
    for named in ["telemetry", bucket.as_str()] {
        for (action, code, permission) in [
            ("write", 0, format!("write:orgs/{org}/buckets/{bucket}")),
            ("read", 1, format!("read:orgs/{org}/buckets/{bucket}")),
        ] {
            let check = format!("check telegraf --{action}-bucket {named} --json");
            for ran in [sandbox.run(&check), sandbox.run_with_password(&check, PASSWORD)] {
                assert_eq!(found(&ran, code)["permission"], permission);
            }
        }
    }
    let unknown = sandbox.run("check telegraf --write-bucket nowhere");
    assert_eq!(unknown.code, 2, "{unknown:?}");
    let message = "there is no bucket `nowhere` in the credential's org";
    assert!(unknown.stderr.contains(message), "{unknown:?}");
    let finding = found(&sandbox.run("check x --write-bucket telemetry --json"), 1);
    assert_eq!(finding["permission"], "write on the bucket telemetry");
    let both = "check telegraf --write-bucket telemetry --read-bucket telemetry";
    assert_eq!(sandbox.run(both).code, 2);
}

/// [CLI-2]
#[test]
fn denied_and_wrong_credentials_exit_with_1_and_a_reason() {
    let sandbox = sandbox();
    let [telemetry, events] = ["telemetry", "events"].map(|name| sandbox.bucket(name));
    let write = format!("--permission write:buckets/{telemetry}");
    let reason = |arguments: &str, password: Option<&str>| {
        let arguments = format!("check --json {arguments}");
        let ran = match password {
            Some(password) => sandbox.run_with_password(&arguments, password),
            None => sandbox.run(&arguments),
        };
        let finding = found(&ran, 1);
        assert_eq!(finding["allowed"], false);
        assert!(!ran.stdout.contains("s3cret"), "{ran:?}");
        finding["reason"].as_str().unwrap().to_owned()
    };
    let telegraf = format!("telegraf {write}");
    for (arguments, password, expected) in [
        (&telegraf, Some("s3cret-wrong"), "wrong password"),
        (&format!("unknown {write}"), None, "no authorization has this username"),
        (&format!("unknown {write}"), Some(PASSWORD), "no such username"),
        (
            &format!("telegraf --permission read:buckets/{telemetry}"),
            Some(PASSWORD),
            "only the other action is held",
        ),
        (
            &format!("telegraf --permission write:buckets/{events}"),
            None,
            "on other resources of this type only",
        ),
        (&"telegraf --permission write:tasks".to_owned(), None, "on no resource of this type"),
    ] {
        let reason = reason(arguments, password);
        assert!(reason.contains(expected), "{arguments}: {reason}");
    }
    let stdin = format!("check --json {telegraf} --password-stdin");
    assert_eq!(found(&sandbox.run_with_stdin(&stdin, "no\n"), 1)["reason"], "wrong password");
    let strong = format!("{telegraf} --strong-passwords");
    assert!(reason(&strong, Some(PASSWORD)).contains("too weak"));

    sandbox.ok("user disable ada");
    assert_eq!(reason(&telegraf, None), "its user is inactive");
    assert_eq!(reason(&telegraf, Some(PASSWORD)), "its user is gone or inactive");
    sandbox.ok("user enable ada");
    sandbox.ok("org disable acme");
    assert_eq!(reason(&telegraf, None), "its org is inactive");
    sandbox.ok("auth disable telegraf");
    assert_eq!(reason(&telegraf, None), "the authorization is inactive");
    assert_eq!(reason(&telegraf, Some(PASSWORD)), "the credential is inactive");
}

#[test]
fn a_denial_is_explained_by_the_closest_grants() {
    let sandbox = sandbox();
    let org = sandbox.json("org list")[0]["id"].as_str().unwrap().to_owned();
    let [telemetry, events] = ["telemetry", "events"].map(|name| sandbox.bucket(name));
    let check = |permission: &str| format!("check telegraf --permission {permission}");

    let read = check(&format!("read:buckets/{telemetry}"));
    let expected = format!(
        "denied: it holds write on this bucket, not read: write:orgs/{org}/buckets/{telemetry}"
    );
    for ran in [sandbox.run(&read), sandbox.run_with_password(&read, PASSWORD)] {
        assert_eq!(ran.code, 1);
        let line = ran.stdout.lines().find(|line| line.starts_with("explanation")).unwrap();
        assert!(line.ends_with(&expected), "{ran:?}");
    }
    let other = found(&sandbox.run(&(check(&format!("write:buckets/{events}")) + " --json")), 1);
    assert!(other["explanation"].as_str().unwrap().contains("write on other buckets"), "{other}");

    sandbox.ok("auth disable telegraf");
    let write = check(&format!("write:buckets/{telemetry} --json"));
    let finding = found(&sandbox.run(&write), 1);
    let explanation = finding["explanation"].as_str().unwrap();
    assert!(explanation.starts_with("apart from that: allowed: "), "{finding}");
    // A refused login has no permissions to explain.
    let finding = found(&sandbox.run_with_password(&write, PASSWORD), 1);
    assert_eq!(finding["explanation"], Value::Null);
}

#[test]
fn a_credential_without_a_password_is_noted() {
    let sandbox = Sandbox::with_store();
    sandbox.ok("auth create --no-password --org acme --user ada x --permission read:tasks");
    let check = "check --json x --permission read:tasks";
    let finding = found(&sandbox.run(check), 0);
    assert!(finding["notes"][1].as_str().unwrap().contains("no password"), "{finding}");
    let finding = found(&sandbox.run_with_password(check, PASSWORD), 1);
    assert_eq!(finding["reason"], "no password is set");
}

#[test]
fn an_api_token_is_accepted_as_the_password() {
    let sandbox = Sandbox::with_store();
    let token = sandbox.json("token create --org acme --user ada --permission read:buckets");
    let bucket = sandbox.bucket("telemetry");
    let check = format!("check --json any --permission read:buckets/{bucket}");
    let ran = sandbox.run_with_password(&check, token["token"].as_str().unwrap());
    let finding = found(&ran, 0);
    assert_eq!(finding["tokenID"], token["id"]);
    assert_eq!(finding["grantedBy"], "read:buckets");
}

/// [CLI-2]
#[test]
fn a_check_that_cannot_be_decided_exits_with_2() {
    let sandbox = sandbox();
    let check = "check telegraf --permission write:tasks";
    for arguments in [
        format!("{check} --store sqlite:nowhere.db"),
        format!("{check} --store sled:data"),
        format!("{check} --password-file nowhere"),
        "check telegraf --permission write:pizzas".to_owned(),
        "check --permission write:tasks".to_owned(),
    ] {
        sandbox.fails(2, &arguments);
    }
    assert!(!sandbox.path("nowhere.db").exists());
    sandbox.write("portcullis.db", "not a database, and as long as a database ".repeat(50));
    sandbox.fails(2, check);
}

#[test]
fn a_permission_names_its_resources_by_id_or_name() {
    let sandbox = sandbox();
    sandbox.ok("org create other");
    sandbox.ok("bucket create --org other telemetry");
    let org = sandbox.json("org list")[0]["id"].as_str().unwrap().to_owned();
    let bucket = sandbox.bucket("telemetry");
    let grant = format!("write:orgs/{org}/buckets/{bucket}");
    for text in ["write:buckets/telemetry", "write:orgs/acme/buckets/telemetry"] {
        let finding = found(&sandbox.run(&format!("check telegraf --permission {text} --json")), 0);
        assert_eq!((&finding["permission"], &finding["grantedBy"]), (&json!(grant), &json!(grant)));
    }
    let other =
        sandbox.run("check telegraf --permission write:orgs/other/buckets/telemetry --json");
    assert_eq!(found(&other, 1)["allowed"], false);
    let unknown = sandbox.fails(2, "check telegraf --permission write:buckets/nowhere");
    assert!(unknown.contains("there is no bucket `nowhere` in the org"), "{unknown}");

    let listed = |options: &str| sandbox.json(&format!("auth list {options}"))[0]["token"].clone();
    assert_eq!(listed("--org acme --permission write:buckets/telemetry"), "telegraf");
    assert_eq!(listed("--permission write:orgs/acme/buckets/telemetry"), "telegraf");
    let error = sandbox.fails(1, "auth list --permission write:buckets/telemetry");
    assert!(error.contains("orgs/ORG/buckets/telemetry"), "{error}");

    let create = "auth create reader --org acme --user ada --no-password --permission";
    let created = sandbox.json(&format!("{create} read:buckets/events"));
    assert_eq!(created["permissions"][0]["resource"]["name"], "events");
    let token = "token create --org acme --user ada --permission";
    let created =
        sandbox.json(&format!("{token} read:users/ada --permission write:buckets/events"));
    assert_eq!(created["permissions"][0]["resource"]["name"], "ada");
    assert_eq!(created["permissions"][1]["resource"]["org"], "acme");
}

#[test]
fn a_name_that_is_one_username_and_another_id_is_refused() {
    let sandbox = sandbox();
    let id = sandbox.json("auth show telegraf")["id"].as_str().unwrap().to_owned();
    let create = "auth create --org acme --user ada --no-password --read-bucket telemetry";
    sandbox.ok(&format!("{create} {id}"));
    let error = sandbox.fails(1, &format!("auth delete {id}"));
    assert!(error.contains("--username or --id"), "{error}");
    assert_eq!(sandbox.json(&format!("auth show --username {id}"))["token"], id);
    assert_eq!(sandbox.json(&format!("auth show --id {id}"))["token"], "telegraf");
}

#[test]
fn a_query_is_checked_statement_by_statement() {
    let sandbox = sandbox();
    let create = "auth create --org acme --user ada grafana --read-bucket telemetry";
    sandbox.run_with_password(create, PASSWORD).ok(create);
    let check = |username: &str, options: &str, query: &str| {
        let mut command = sandbox.command(&format!("check {username} --json {options}"));
        let output = command.args(["--query", query]).output().unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    for (username, options, query, code) in [
        ("grafana", "--db telemetry", "SELECT mean(v) FROM cpu; SHOW TAG KEYS", 0),
        ("grafana", "", "SELECT v FROM telemetry..cpu", 0),
        ("grafana", "", "SELECT v FROM cpu", 1),
        ("grafana", "--db telemetry", "SELECT v INTO copy FROM cpu", 1),
        ("grafana", "--db telemetry --rp daily", "SELECT v FROM cpu", 0),
        ("grafana", "--db telemetry --rp daily --upstream-semantics v2", "SELECT v FROM cpu", 1),
        ("grafana", "--db telemetry", "DROP DATABASE telemetry", 1),
        ("telegraf", "--db telemetry", "DELETE FROM cpu", 0),
        ("telegraf", "--db telemetry", "SELECT v FROM cpu", 1),
        ("unknown", "--db telemetry", "SELECT v FROM cpu", 1),
    ] {
        let (got, stdout, stderr) = check(username, options, query);
        assert_eq!((got, stderr.as_str()), (code, ""), "{username} {options} {query}: {stdout}");
        let finding: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((&finding["allowed"], &finding["query"]), (&json!(code == 0), &json!(query)));
        assert_eq!(finding["permission"], Value::Null);
    }
    let (_, stdout, _) = check("grafana", "--db telemetry", "SELECT v FROM cpu; DELETE FROM cpu");
    let finding: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(finding["statement"], 2);
    let reason = "not authorized to execute statement 2, DELETE: it needs write to \"telemetry\"";
    assert_eq!(finding["reason"], reason);
    // Which bucket the database is, and by what.
    sandbox.ok("dbrp create --org acme --bucket telemetry metrics year");
    for (options, code, note) in [
        ("--db telemetry", 0, "the database `telemetry` is the bucket `telemetry` "),
        ("--db metrics", 0, "the database `metrics` is the bucket `telemetry` "),
        (
            "--db metrics --rp year",
            0,
            "the database `metrics` with the retention policy `year` is the bucket `telemetry` ",
        ),
        ("--db elsewhere", 1, "the database `elsewhere` has no bucket of its own"),
    ] {
        let (got, stdout, _) = check("grafana", options, "SELECT v FROM cpu");
        let finding: Value = serde_json::from_str(&stdout).unwrap();
        let found = finding["notes"][1].as_str().unwrap();
        assert_eq!((got, found.starts_with(note)), (code, true), "{options}: {finding}");
        let is_mapped = options.contains("metrics");
        assert_eq!(found.ends_with(", by its DBRP mapping"), is_mapped, "{found}");
        assert_eq!(found.ends_with(", by its name"), code == 0 && !is_mapped, "{found}");
    }
    // No decision.
    let (code, stdout, stderr) = check("grafana", "--db telemetry", "SELECT v");
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    assert!(stderr.contains("found EOF, expected FROM at line 1, char 9"), "{stderr}");
    assert!(sandbox.fails(2, "check grafana --db telemetry").contains("--query"));
    // An inactive credential may make none.
    sandbox.ok("auth disable grafana");
    let (code, stdout, _) = check("grafana", "--db telemetry", "SELECT v FROM cpu");
    assert_eq!(code, 1);
    assert!(stdout.contains("the authorization is inactive"), "{stdout}");
    let params = r#"{"d":{"identifier":"telemetry"}}"#;
    let (code, ..) = check("telegraf", &format!("--params {params}"), "DELETE FROM cpu");
    assert_eq!(code, 1);
}
