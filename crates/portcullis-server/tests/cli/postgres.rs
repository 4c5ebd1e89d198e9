//! The commands on a store in PostgreSQL.

use portcullis_testkit::postgres::{Database, Server as Postgres, absent, server};

use crate::support::{Sandbox, Server, wait_until};

fn with_database(test: impl FnOnce(&Sandbox, &Database, &str)) {
    let Some(server) = server() else { return };
    let database = server.database();
    let store = format!("--store {}", database.url());
    test(&Sandbox::new(), &database, &store);
}

#[test]
fn a_store_is_set_up_by_setup_and_served_by_serve() {
    with_database(|sandbox, database, store| {
        let refused = sandbox.run(&format!("serve --listen 127.0.0.1:0 {store}"));
        assert_eq!(refused.code, 1);
        assert!(refused.stderr.contains("portcullis setup"), "{}", refused.stderr);
        let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'portcullis%'";
        assert_eq!(database.run(schemas), "0", "serve has created something");
        let refused = sandbox.run(&format!("org list {store}"));
        assert_eq!(refused.code, 1);

        sandbox.ok(&format!("setup --org acme --user ada --bucket telemetry {store}"));
        assert!(sandbox.ok(&format!("org list {store}")).contains("acme"));
        assert_eq!(sandbox.run(&format!("setup --org x --user y {store}")).code, 1);
        let sound = sandbox.ok(&format!("verify {store}"));
        assert!(sound.contains("sound"), "{sound}");
        let repaired = sandbox.ok(&format!("verify --repair --without-backup {store}"));
        assert!(repaired.contains("sound"), "{repaired}");
        for files in ["backup x.db", "restore x.db", "verify --repair"] {
            let refused = sandbox.run(&format!("{files} {store}"));
            assert_ne!(refused.code, 0);
            assert!(refused.stderr.contains("pg_dump"), "{}", refused.stderr);
        }

        let server = Server::start(sandbox, store);
        // The server must be notified of a change by another process.
        sandbox.ok(&format!("user create bob {store}"));
        assert!(sandbox.ok(&format!("user list {store}")).contains("bob"));
        server.stop();
        assert_eq!(sandbox.files(), ["serve.log"]);
        assert!(!sandbox.read("serve.log").contains("ERROR"));
    });
}

#[test]
fn a_store_is_migrated_there_and_back() {
    with_database(|_, database, store| {
        let sandbox = Sandbox::with_store();
        let url = database.url();
        let before = sandbox.ok("export");
        let there = sandbox.ok(&format!("migrate --from sqlite:portcullis.db --to {url}"));
        assert!(there.contains("SHA-256"), "{there}");
        assert_eq!(sandbox.ok(&format!("export {store}")), before);
        let again = sandbox.run(&format!("migrate --from sqlite:portcullis.db --to {url}"));
        assert_eq!(again.code, 1);
        assert!(again.stderr.contains("already"), "{}", again.stderr);
        let back = sandbox.ok(&format!("migrate --from {url} --to sled:back.sled"));
        assert!(back.contains("SHA-256"), "{back}");
        assert_eq!(sandbox.ok("export --store sled:back.sled"), before);
        let schemas = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'portcullis%'";
        assert_eq!(database.run(schemas), "portcullis");
    });
}

#[test]
fn a_snapshot_is_imported_into_a_new_database() {
    with_database(|_, database, store| {
        let sandbox = Sandbox::with_store();
        let snapshot = sandbox.ok("export");
        sandbox.write("snapshot.jsonl", &snapshot);
        sandbox.ok(&format!("import --dry-run snapshot.jsonl {store}"));
        assert_eq!(
            database.run("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'portcullis%'"),
            "0"
        );
        sandbox.ok(&format!("import snapshot.jsonl {store}"));
        assert_eq!(sandbox.ok(&format!("export {store}")), snapshot);
        let again = sandbox.ok(&format!("import snapshot.jsonl {store}"));
        assert!(again.contains("there already"), "{again}");

        sandbox.write("bad.jsonl", snapshot.replacen("acme", "acmf", 1));
        let other = server().unwrap().database();
        let refused = sandbox.run(&format!("import bad.jsonl --store {}", other.url()));
        assert_eq!(refused.code, 1);
        assert_eq!(
            other.run("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'portcullis%'"),
            "0"
        );
    });
}

/// Waits until the response of `/ready` has the status and the state.
fn wait_until_ready_is(server: &Server, status: u16, state: &str) {
    wait_until(&format!("{status} and {state}"), || {
        let (found, body) = server.get("/ready", "");
        found == status && body.contains(&format!("\"state\": \"{state}\""))
    });
}

/// [OUTAGE-2]
#[test]
fn without_its_database_a_server_refuses_logins_unless_stale_ones_are_allowed() {
    if absent().is_some() || std::env::var_os("PORTCULLIS_TEST_POSTGRES_URL").is_some() {
        // This test ends the database, so it needs its own.
        return;
    }
    let postgres = Postgres::start(&[]).unwrap();
    let port = postgres.port();
    let store = format!("--store postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable");
    let (with, without) = (Sandbox::new(), Sandbox::new());
    with.ok(&format!("setup --org acme --user ada --bucket telemetry {store}"));
    for username in ["telegraf", "uncached"] {
        let create = format!(
            "auth create --org acme --user ada {username} --write-bucket telemetry {store}"
        );
        with.run_with_password(&create, "s3cret-enough").ok(&create);
    }
    let stale = Server::start(&with, &format!("--stale-if-error 600 {store}"));
    let refusing = Server::start(&without, &store);
    let login =
        |server: &Server, credentials: &str| server.get("/forward-auth?check=none", credentials).0;
    for server in [&stale, &refusing] {
        assert_eq!(login(server, "telegraf:s3cret-enough"), 204);
        wait_until_ready_is(server, 200, "fresh");
        // Stale logins are accepted only after the first event of the change feed.
        wait_until("an event of the feed", || {
            !server.get("/ready", "").1.contains("\"feedAgeSeconds\": null")
        });
    }

    drop(postgres);
    wait_until_ready_is(&refusing, 503, "unavailable");
    // An entry that was read after the feed's last event is valid for two seconds.
    wait_until("logins are refused", || login(&refusing, "telegraf:s3cret-enough") == 503);
    wait_until_ready_is(&stale, 200, "stale_if_error");
    assert_eq!(login(&stale, "telegraf:s3cret-enough"), 204);
    for others in ["telegraf:wrong", "uncached:s3cret-enough", "unknown:s3cret-enough"] {
        assert_eq!(login(&stale, others), 503, "{others}");
    }
    for (sandbox, line) in
        [(&with, "cached logins are admitted without it"), (&without, "are refused as unavailable")]
    {
        wait_until(line, || sandbox.read("serve.log").matches(line).count() == 1);
    }
}

#[test]
fn no_output_shows_the_password_of_a_database() {
    let sandbox = Sandbox::new();
    for url in [
        "postgres://ada:s3cret@127.0.0.1:1/x?sslmode=disable",
        "postgres://ada:s3cret@127.0.0.1:1/x?sslmode=s3cret",
        "postgres://ada:s3?cret@127.0.0.1:1/x",
    ] {
        for command in ["org list", "serve --listen 127.0.0.1:0", "verify", "export"] {
            let ran = sandbox.run(&format!("{command} --store {url}"));
            assert_ne!(ran.code, 0);
            for output in [&ran.stdout, &ran.stderr] {
                assert!(!output.contains("s3") && !output.contains("cret"), "{command}: {output}");
            }
        }
    }
}

#[test]
fn with_a_read_only_database_logins_succeed_and_changes_are_503_until_it_is_writable() {
    with_database(|sandbox, database, store| {
        sandbox.ok(&format!("setup --org acme --user ada --bucket telemetry {store}"));
        let token = sandbox.json(&format!("token create --org acme --user ada --operator {store}"));
        let token = token["token"].as_str().unwrap();
        let set = |value: &str| {
            let name = database.name();
            let set = format!("ALTER DATABASE {name} SET default_transaction_read_only TO {value}");
            database.run(&format!("BEGIN READ WRITE; {set}; COMMIT"));
        };
        set("on");
        let server = Server::start(sandbox, store);
        let (status, buckets) = server.get("/api/v2/buckets", token);
        assert_eq!(status, 200, "{buckets}");
        let buckets: serde_json::Value = serde_json::from_str(&buckets).unwrap();
        let bucket = &buckets["buckets"][0];
        let body = serde_json::json!({
            "token": "telegraf",
            "orgID": bucket["orgID"],
            "permissions": [{
                "action": "write",
                "resource": { "type": "buckets", "orgID": bucket["orgID"], "id": bucket["id"] },
            }],
        });
        let create = || server.post("/private/legacy/authorizations", token, &body.to_string());
        for _ in 0..2 {
            let response = create();
            assert_eq!(response.status, 503, "{response:?}");
            assert_eq!(server.get("/api/v2/buckets", token).0, 200);
        }
        assert!(sandbox.read("serve.log").contains("the database is read-only"));
        set("off");
        let response = create();
        assert_eq!(response.status, 201, "{response:?}");
        server.stop();
    });
}
