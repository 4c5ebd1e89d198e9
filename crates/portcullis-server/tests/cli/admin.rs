//! The commands that manage records.

use serde_json::json;

use crate::support::Sandbox;

#[test]
fn setup_shows_everything_once_and_works_once() {
    let sandbox = Sandbox::new();
    let done = sandbox.json("setup --org acme --user ada --bucket telemetry --bucket events");
    assert_eq!(done["org"]["name"], "acme");
    assert_eq!(done["user"]["name"], "ada");
    assert_eq!(done["buckets"][1]["name"], "events");
    assert_eq!(done["buckets"][1]["orgID"], done["org"]["id"]);
    let token = done["token"].as_str().unwrap();
    assert!(token.starts_with("pcl_"));
    assert_eq!(sandbox.json("token list")[0]["id"], done["tokenID"]);
    assert!(!sandbox.ok("token list --json").contains(token));

    let error = sandbox.fails(1, "setup --org other --user other");
    assert_eq!(error, "error: this store has been set up already\n");
    let text = sandbox.ok("setup --store sqlite:other.db --org acme --user ada");
    assert!(text.contains("operator token  pcl_"), "{text}");
}

/// [CLI-4]
#[test]
fn orgs_users_and_buckets_come_and_go_by_id_and_name() {
    let sandbox = Sandbox::with_store();
    for kind in ["org", "user"] {
        let created = sandbox.json(&format!("{kind} create x"));
        assert_eq!(created["status"], "active");
        let id = created["id"].as_str().unwrap();
        assert_eq!(sandbox.json(&format!("{kind} disable {id}"))["status"], "inactive");
        assert_eq!(sandbox.json(&format!("{kind} enable x"))["status"], "active");
        let error = sandbox.fails(1, &format!("{kind} create x"));
        assert!(error.contains("already exists"), "{error}");
        assert_eq!(sandbox.json(&format!("{kind} list")).as_array().unwrap().len(), 2);
        assert_eq!(sandbox.json(&format!("{kind} delete x"))["id"], id);
        let error = sandbox.fails(1, &format!("{kind} delete x"));
        assert_eq!(error, format!("error: there is no {kind} `x`\n"));
    }
    sandbox.ok("org create other");
    let bucket = sandbox.json("bucket create --org other telemetry");
    assert_eq!(bucket["org"], "other");
    assert_eq!(sandbox.json("bucket list").as_array().unwrap().len(), 3);
    assert_eq!(sandbox.json("bucket list --org other").as_array().unwrap().len(), 1);
    let id = bucket["id"].as_str().unwrap();
    let error = sandbox.fails(1, &format!("bucket delete --org acme {id}"));
    assert!(error.contains("there is no bucket"), "{error}");
    sandbox.ok(&format!("bucket delete --org other {id}"));
    sandbox.fails(2, "bucket create telemetry");
    let table = sandbox.ok("bucket list --org acme");
    let mut rows: Vec<_> = table.lines().map(|line| &line[18..]).collect();
    assert_eq!(rows.remove(0), "NAME       ORG");
    rows.sort_unstable();
    assert_eq!(rows, ["events     acme", "telemetry  acme"]);
}

#[test]
fn mappings_come_and_go_by_id_and_name() {
    let sandbox = Sandbox::with_store();
    let telemetry = sandbox.bucket("telemetry");
    let first = sandbox.json("dbrp create --org acme --bucket telemetry db");
    let org = sandbox.json("org list")[0]["id"].clone();
    let id = first["id"].as_str().unwrap();
    assert_eq!(
        first,
        json!({
            "id": id, "database": "db", "retention_policy": "autogen", "default": true,
            "virtual": false, "orgID": org, "org": "acme", "bucketID": telemetry,
            "bucket": "telemetry",
        })
    );
    let year = format!("dbrp create --org acme --bucket {telemetry} --default db year");
    assert_eq!(sandbox.json(&year)["default"], true);
    let error = sandbox.fails(1, &year);
    assert_eq!(error, "error: another DBRP mapping with same orgID, db, and rp exists\n");
    assert_eq!(sandbox.json(&format!("dbrp show --org acme {id}"))["default"], false);
    let changed = sandbox.json("dbrp update --org acme db/year --default=false");
    assert_eq!(changed["default"], false);
    let renamed = sandbox.json("dbrp update --org acme db/year --retention-policy decade");
    assert_eq!(renamed["retention_policy"], "decade");
    let default = sandbox.json(&format!("dbrp update --org acme {id} --default"));
    assert_eq!(default["default"], true);
    sandbox.fails(2, "dbrp update --org acme db/decade");

    assert_eq!(sandbox.json("dbrp list").as_array().unwrap().len(), 4);
    let explicit = sandbox.json("dbrp list --org acme --database db --no-virtual");
    assert_eq!(explicit.as_array().unwrap().len(), 2);
    let table = sandbox.ok("dbrp list --org acme --database telemetry");
    let rows: Vec<_> = table.lines().map(|line| &line[18..]).collect();
    assert_eq!(
        rows,
        [
            "DATABASE   RETENTION POLICY  DEFAULT  VIRTUAL  BUCKET     ORG",
            "telemetry  autogen           yes      yes      telemetry  acme",
        ]
    );
    assert_eq!(sandbox.json("dbrp delete --org acme db/autogen")["id"], id);
    for (missing, message) in [
        ("db/autogen".to_owned(), "there is no mapping of `db/autogen` in the org".to_owned()),
        (id.to_owned(), format!("there is no mapping with the id {id} in the org")),
        (
            "db".to_owned(),
            "`db` is neither an id nor DATABASE/RETENTION_POLICY: see `dbrp list`".to_owned(),
        ),
    ] {
        let error = sandbox.fails(1, &format!("dbrp delete --org acme {missing}"));
        assert_eq!(error, format!("error: {message}\n"));
    }
    let error = sandbox.fails(1, "dbrp delete --org acme telemetry/autogen");
    assert!(error.contains("follows from the name of its bucket"), "{error}");

    // A query is decided by the bucket of the mapping.
    let create = "auth create reader --org acme --user ada --no-password --read-bucket telemetry";
    sandbox.ok(create);
    for (database, code) in [("db", 0), ("telemetry", 0), ("other", 1)] {
        let mut check = sandbox.command(&format!("check reader --db {database} --query"));
        let checked = check.arg("SHOW MEASUREMENTS").output().unwrap();
        assert_eq!(checked.status.code(), Some(code), "{database}: {checked:?}");
    }
    let snapshot = sandbox.ok("export");
    assert!(snapshot.contains(r#""type":"dbrp""#), "{snapshot}");
}

#[test]
fn tokens_are_created_with_presets_and_permissions_and_revoked() {
    let sandbox = Sandbox::with_store();
    let create = |what: &str| sandbox.json(&format!("token create --org acme --user ada {what}"));
    let count = |token: &serde_json::Value| token["permissions"].as_array().unwrap().len();
    for (preset, permissions) in
        [("--operator", 44), ("--owner", 44), ("--member", 22), ("--read-all", 22)]
    {
        assert_eq!(count(&create(preset)), permissions, "{preset}");
    }
    let some = create("--permission read:orgs --permission write:buckets --description ci");
    assert_eq!(count(&some), 2);
    assert_eq!(some["description"], "ci");
    assert_eq!(count(&create("--owner --permission write:users")), 45);
    sandbox.fails(2, "token create --org acme --user ada");
    sandbox.fails(2, "token create --org acme --user ada --operator --owner");
    let error = sandbox.fails(1, "token create --org acme --user ada --permission read:instance");
    assert!(error.contains("instance"), "{error}");

    assert_eq!(sandbox.json("token list").as_array().unwrap().len(), 7);
    let id = some["id"].as_str().unwrap();
    let revoked = sandbox.json(&format!("token revoke {id}"));
    assert_eq!(revoked["id"], id);
    assert!(revoked.get("token").is_none());
    let error = sandbox.fails(1, &format!("token revoke {id}"));
    assert_eq!(error, format!("error: there is no API token {id}\n"));
}

/// [CLI-3] [CLI-4] [CLI-6]
#[test]
fn an_authorization_lives_from_create_to_delete() {
    let sandbox = Sandbox::with_store();
    let [telemetry, events] = ["telemetry", "events"].map(|name| sandbox.bucket(name));
    let org = sandbox.json("org list")[0]["id"].clone();
    let created = sandbox.json(&format!(
        "auth create --org acme --user ada telegraf --description agents --inactive \
         --no-password --read-bucket telemetry --read-bucket {events} --write-bucket telemetry \
         --permission write:buckets/{telemetry} --permission read:tasks"
    ));
    let resource = |id: &str, name: &str| json!({"type": "buckets", "id": id, "orgID": org, "name": name, "org": "acme"});
    assert_eq!(
        created["permissions"],
        json!([
            {"action": "write", "resource": resource(&telemetry, "telemetry")},
            {"action": "read", "resource": {"type": "tasks"}},
            {"action": "read", "resource": resource(&telemetry, "telemetry")},
            {"action": "read", "resource": resource(&events, "events")},
        ])
    );
    for (member, value) in [
        ("token", json!("telegraf")),
        ("status", json!("inactive")),
        ("description", json!("agents")),
        ("orgID", org.clone()),
        ("org", json!("acme")),
        ("user", json!("ada")),
        ("hasPassword", json!(false)),
    ] {
        assert_eq!(created[member], value, "{member}");
    }
    let id = created["id"].as_str().unwrap();
    assert_eq!(sandbox.json("auth show telegraf"), created);
    assert_eq!(sandbox.json(&format!("auth show {id}")), created);
    let active = sandbox.json("auth enable telegraf");
    assert_eq!(active["status"], "active");
    let inactive = sandbox.json(&format!("auth disable {id}"));
    assert_eq!(inactive["status"], "inactive");
    let changed = sandbox.json("auth set-permissions telegraf --read-bucket events");
    assert_eq!(changed["permissions"].as_array().unwrap().len(), 1);
    let deleted = sandbox.json(&format!("auth delete {id}"));
    assert_eq!(deleted["token"], "telegraf");
    let error = sandbox.fails(1, "auth show telegraf");
    assert_eq!(error, "error: there is no authorization for `telegraf`\n");

    for target in ["", "--id 0000000000000001 x", "--id 0000000000000001 --username x", "x y"] {
        sandbox.fails(2, &format!("auth delete {target}"));
    }
    sandbox.fails(2, "auth create --org acme --user ada x --no-password");
    sandbox.fails(2, "auth create --org acme --user ada x --permission write:pizzas");
}

#[test]
fn a_list_has_the_authorizations_that_match_every_option() {
    let sandbox = Sandbox::with_store();
    sandbox.ok("user create grace");
    sandbox.ok("org create other");
    let create = |rest: &str| sandbox.ok(&format!("auth create --no-password {rest}"));
    create("--org acme --user ada one --write-bucket telemetry");
    create("--org acme --user grace two --permission write:buckets");
    create("--org acme --user ada three --read-bucket telemetry --inactive");
    create("--org other --user ada four --permission read:buckets");
    let listed = |options: &str| -> Vec<String> {
        let list = sandbox.json(&format!("auth list {options}"));
        let rows = list.as_array().unwrap().iter();
        rows.map(|row| row["token"].as_str().unwrap().to_owned()).collect()
    };
    let telemetry = sandbox.bucket("telemetry");
    let writes = format!("--permission write:buckets/{telemetry}");
    assert_eq!(listed(""), ["one", "two", "three", "four"]);
    assert_eq!(listed("--org acme"), ["one", "two", "three"]);
    assert_eq!(listed("--user ada"), ["one", "three", "four"]);
    assert_eq!(listed("--user ada --org acme --status active"), ["one"]);
    assert_eq!(listed(&writes), ["one", "two"]);
    assert_eq!(listed(&format!("{writes} --user grace")), ["two"]);
    assert_eq!(listed("--username four"), ["four"]);
    assert_eq!(listed("--username four --org acme"), [""; 0]);
    assert_eq!(listed("--id 0000000000000001"), [""; 0]);
    let error = sandbox.fails(1, "auth list --org nowhere");
    assert_eq!(error, "error: there is no org `nowhere`\n");
}

/// [CLI-5]
#[test]
fn passwords_come_from_stdin_a_file_or_the_environment() {
    let sandbox = Sandbox::with_store();
    let create = "auth create --org acme --user ada --write-bucket telemetry --json";
    let check = |username: &str, password: &str| {
        let arguments = format!("check {username} --permission write:tasks --json");
        let ran = sandbox.run_with_password(&arguments, password);
        assert_eq!(ran.code, 1);
        // The permission is not held, so the reason shows whether the password was right.
        !ran.stdout.contains("wrong password")
    };
    let stdin = format!("{create} stdin --password-stdin");
    sandbox.run_with_stdin(&stdin, "from-stdin\r\nnot this\n").ok(&stdin);
    assert!(check("stdin", "from-stdin") && !check("stdin", "from-stdin\r"));

    sandbox.write("secret", "from a file\n");
    sandbox.ok(&format!("{create} file --password-file secret"));
    assert!(check("file", "from a file"));

    sandbox.run_with_password(&format!("{create} env"), "from-env").ok("env");
    assert!(check("env", "from-env"));

    let set = "auth set-password env --password-file secret";
    sandbox.run_with_password(set, "not-this").ok(set);
    assert!(check("env", "from a file") && !check("env", "from-env"));

    // Neither a terminal for a prompt nor a source of the password.
    let error = sandbox.fails(1, &format!("{create} none"));
    assert!(error.contains("--password-stdin"), "{error}");
    sandbox.fails(2, &format!("{create} none --password-stdin --no-password"));
    sandbox.fails(2, &format!("{create} none --password-stdin --password-file secret"));
    let error = sandbox.fails(1, &format!("{create} none --password-file nowhere"));
    assert!(error.contains("`nowhere`"), "{error}");
}

#[test]
fn a_password_that_breaks_the_rules_creates_and_changes_nothing() {
    let sandbox = Sandbox::with_store();
    let create = "auth create --org acme --user ada --write-bucket telemetry telegraf";
    for (options, password, rule) in [
        ("", "short", "between 8 and 72"),
        ("", &*"x".repeat(73), "between 8 and 72"),
        ("", &*"x".repeat(9_000), "between 8 and 72"),
        ("--strong-passwords", "alllowercase", "three of the following"),
    ] {
        let ran = sandbox.run_with_password(&format!("{create} {options}"), password);
        let error = ran.fails(1, options);
        assert!(error.contains(rule) && !error.contains(password), "{error}");
    }
    assert_eq!(sandbox.json("auth list"), json!([]));

    sandbox.run_with_password(create, "s3cret-enough").ok(create);
    let set = "auth set-password telegraf --password-stdin";
    sandbox.run_with_stdin(set, "short\n").fails(1, set);
    sandbox.run_with_stdin(set, "").fails(1, set);
    let login = "check telegraf --permission write:buckets --json";
    let ran = sandbox.run_with_password(login, "s3cret-enough");
    assert!(!ran.stdout.contains("wrong password"), "{ran:?}");

    let error = sandbox.run_with_password(create, "s3cret-enough").fails(1, create);
    assert_eq!(error, "error: there is an authorization for `telegraf` already\n");
}

#[test]
fn names_cannot_control_a_terminal() {
    let sandbox = Sandbox::with_store();
    let name = "a\u{1b}[2J\u{202e}\nb";
    let created = sandbox.command("user create").arg(name).output().unwrap();
    assert!(created.status.success());
    let text = sandbox.ok("user list");
    assert!(text.contains("a\\u{1b}[2J\\u{202e}\\nb"), "{text}");
    assert_eq!(sandbox.json("user list")[1]["name"], name);
    let again = sandbox.command("user create").arg(name).output().unwrap();
    let error = String::from_utf8(again.stderr).unwrap();
    assert!(error.contains("already exists") && !error.contains('\u{1b}'), "{error:?}");
}

/// Runs the command with a standard output that has no reader.
fn unread(sandbox: &Sandbox, arguments: &str) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran = sandbox.command(arguments).stdout(writer).output().unwrap();
    (ran.status.code(), String::from_utf8(ran.stderr).unwrap())
}

#[test]
fn a_reader_that_goes_away_is_not_reported() {
    let sandbox = Sandbox::with_store();
    for arguments in ["export", "auth list", "token list --json"] {
        assert_eq!(unread(&sandbox, arguments), (Some(1), String::new()), "{arguments}");
    }
    // The exit status is the result.
    let create = "auth create --no-password --org acme --user ada x";
    sandbox.ok(&format!("{create} --permission read:tasks"));
    let check = "check x --permission read:tasks";
    assert_eq!(unread(&sandbox, check), (Some(0), String::new()));

    let lost = "token create --org acme --user ada --operator";
    for arguments in [lost, "setup --store sqlite:new.db --org acme --user ada"] {
        let (code, error) = unread(&sandbox, arguments);
        assert_eq!(code, Some(1));
        assert!(error.contains("could not be shown"), "{error}");
        assert!(!error.contains("pcl_"), "{error}");
    }
}
