//! The commands on a store in PostgreSQL.

use portcullis_testkit::postgres::{Database, server};

use crate::support::{Sandbox, Server};

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
        // Another process changes what the server must hear of.
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

#[test]
fn nothing_that_is_said_shows_the_password() {
    let sandbox = Sandbox::new();
    for url in [
        "postgres://ada:s3cret@127.0.0.1:1/x?sslmode=disable",
        "postgres://ada:s3cret@127.0.0.1:1/x?sslmode=s3cret",
        "postgres://ada:s3?cret@127.0.0.1:1/x",
    ] {
        for command in ["org list", "serve --listen 127.0.0.1:0", "verify", "export"] {
            let ran = sandbox.run(&format!("{command} --store {url}"));
            assert_ne!(ran.code, 0);
            for said in [&ran.stdout, &ran.stderr] {
                assert!(!said.contains("s3") && !said.contains("cret"), "{command}: {said}");
            }
        }
    }
}
