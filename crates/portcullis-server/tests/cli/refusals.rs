//! Refusals, whose messages say what to do.

use crate::support::Sandbox;

#[test]
fn only_serve_setup_and_import_create_a_store() {
    let sandbox = Sandbox::new();
    for arguments in [
        "org list",
        "user create ada",
        "bucket list",
        "token list",
        "auth list",
        "auth create --org a --user b c --permission read:tasks --no-password",
        "export",
    ] {
        let error = sandbox.fails(1, arguments);
        let path = sandbox.path("portcullis.db");
        assert!(error.contains(&format!("no store at `{}`", path.display())), "{error}");
        assert!(error.contains("portcullis setup"), "{error}");
    }
    assert_eq!(sandbox.files(), [""; 0]);
}

#[test]
fn an_unsupported_store_is_refused_without_quoting_its_url() {
    let sandbox = Sandbox::new();
    for (url, expected) in [
        ("postgres:ada:s3cret@db/x", "write postgres://USER@HOST/DATABASE"),
        ("mysql://ada:s3cret@db/x", "unknown scheme"),
        ("portcullis.db", "sqlite:portcullis.db"),
        ("sqlite://portcullis.db", "write sqlite:PATH"),
    ] {
        for command in ["serve", "auth list", "export"] {
            let error = sandbox.fails(1, &format!("{command} --store {url}"));
            assert!(error.contains(expected) && !error.contains("s3cret"), "{error}");
        }
    }
    for command in ["setup --org a --user b", "auth list", "import -", "export"] {
        let error = sandbox.fails(1, &format!("{command} --store memory:"));
        assert!(error.contains("a store in memory does not outlive this command"), "{error}");
    }
    assert_eq!(sandbox.files(), [""; 0]);
}

#[test]
fn a_file_that_is_no_store_is_not_changed() {
    let sandbox = Sandbox::new();
    let text = "not a database, and as long as a database ".repeat(50);
    sandbox.write("notes.txt", &text);
    let foreign = rusqlite::Connection::open(sandbox.path("foreign.db")).unwrap();
    foreign.execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    drop(foreign);
    let before = std::fs::read(sandbox.path("foreign.db")).unwrap();
    sandbox.write("snapshot.jsonl", "\n");
    for file in ["notes.txt", "foreign.db"] {
        for command in [
            "org list",
            "serve --listen 127.0.0.1:0",
            "setup --org a --user b",
            "import snapshot.jsonl",
        ] {
            let error = sandbox.fails(1, &format!("{command} --store sqlite:{file}"));
            assert!(error.contains(file) && error.contains("not a Portcullis store"), "{error}");
        }
    }
    assert_eq!(sandbox.read("notes.txt"), text);
    assert_eq!(std::fs::read(sandbox.path("foreign.db")).unwrap(), before);
    let error = sandbox.fails(1, "org list --store sqlite:.");
    assert!(error.contains("directory"), "{error}");
}

#[test]
fn a_locked_file_is_reported() {
    let sandbox = Sandbox::with_store();
    let other = rusqlite::Connection::open(sandbox.path("portcullis.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = sandbox.fails(1, "user create grace");
    assert!(error.contains("locked"), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    sandbox.ok("user create grace");
}

/// [CLI-5]
#[test]
fn a_secret_is_never_an_argument() {
    let sandbox = Sandbox::with_store();
    let create = "auth create --org acme --user ada x --permission read:tasks";
    for arguments in [
        format!("{create} --password s3cret-enough"),
        format!("{create} --password=s3cret-enough"),
        "auth set-password x --password s3cret-enough".to_owned(),
        "check x --permission read:tasks --password s3cret-enough".to_owned(),
    ] {
        let error = sandbox.fails(2, &arguments);
        assert!(error.contains("unexpected argument '--password'"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn help_and_version_are_there_for_every_command() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.ok("--version"), format!("portcullis {}\n", env!("CARGO_PKG_VERSION")));
    let help = sandbox.ok("--help");
    for name in ["PORTCULLIS_STORE", "PORTCULLIS_LISTEN", "PORTCULLIS_LOG", "PORTCULLIS_PASSWORD"] {
        assert!(help.contains(name), "{name}");
    }
    for command in ["serve", "setup", "org", "auth create", "check", "export", "import"] {
        assert!(sandbox.ok(&format!("{command} --help")).contains("Usage: portcullis"));
    }
    sandbox.fails(2, "");
    sandbox.fails(2, "serve --json");
}
