//! The configuration file.

use serde_json::Value;

use crate::support::{Ran, Sandbox, Server};

fn show(sandbox: &Sandbox, arguments: &str, variables: &[(&str, &str)]) -> Vec<Value> {
    let mut command = sandbox.command(&format!("config show --json {arguments}"));
    command.envs(variables.iter().copied());
    let ran: Ran = command.output().unwrap().into();
    serde_json::from_str(&ran.ok(arguments)).unwrap()
}

fn option(options: &[Value], name: &str) -> (String, String) {
    let found = options.iter().find(|option| option["option"] == name).unwrap();
    let text = |member: &str| found[member].as_str().unwrap_or("-").to_owned();
    (text("value"), text("from"))
}

/// [CONFIG-2] [CONFIG-6]
#[test]
fn the_command_line_comes_before_the_environment_the_file_and_the_default() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.toml",
        "store = 'sqlite:file.db'\naudit-log = 'file.jsonl'\n[server]\nlisten = '127.0.0.1:1'\n\
         max-connections = 7\n[logins]\ncache-size = '1GiB'\n",
    );
    let options = show(&sandbox, "--config p.toml", &[]);
    for (name, value, from) in [
        ("store", "sqlite:file.db", "p.toml:1"),
        ("audit-log", "file.jsonl", "p.toml:2"),
        ("server.listen", "127.0.0.1:1", "p.toml:4"),
        ("server.max-connections", "7", "p.toml:5"),
        ("server.read-only", "false", "default"),
        ("server.metrics-listen", "-", "default"),
        ("logins.cache-size", "1GiB", "p.toml:7"),
        ("logins.login-queue", "4096", "default"),
    ] {
        assert_eq!(option(&options, name), (value.to_owned(), from.to_owned()), "{name}");
    }
    let environment = [
        ("PORTCULLIS_CONFIG", "p.toml"),
        ("PORTCULLIS_LISTEN", "127.0.0.1:2"),
        ("PORTCULLIS_STORE", "sqlite:environment.db"),
    ];
    let options = show(&sandbox, "--audit-log option.jsonl", &environment);
    for (name, value, from) in [
        ("store", "sqlite:environment.db", "PORTCULLIS_STORE"),
        ("audit-log", "option.jsonl", "option"),
        ("server.listen", "127.0.0.1:2", "PORTCULLIS_LISTEN"),
        ("server.max-connections", "7", "p.toml:5"),
    ] {
        assert_eq!(option(&options, name), (value.to_owned(), from.to_owned()), "{name}");
    }

    // `serve` itself.
    let server = Server::start(&sandbox, "--config p.toml --store redb:option.redb");
    assert!(sandbox.path("option.redb").exists() && !sandbox.path("file.db").exists());
    assert!(sandbox.path("file.jsonl").exists(), "the audit log of the file");
    server.stop();
    let error = sandbox.fails(1, "serve --config p.toml --listen 192.0.2.1:1");
    assert!(error.contains("--listen 192.0.2.1:1 can be reached"), "{error}");
}

/// [CONFIG-2]
#[test]
fn options_of_the_file_and_the_command_line_are_checked_as_a_whole() {
    let sandbox = Sandbox::new();
    sandbox.write("p.toml", "[server]\nallow-plaintext = true\n[logins]\ncache-ttl = 1\n");
    let error = sandbox.fails(2, "serve --config p.toml --cache-ttl 5 --tls-cert c --tls-key k");
    assert!(error.contains("cannot be used with"), "{error}");
    assert!(error.contains("note: --allow-plaintext is from p.toml:2"), "{error}");
    let error = sandbox.fails(2, "serve --config p.toml");
    assert!(error.contains("note: --cache-ttl is from p.toml:4"), "{error}");
    // An option that needs another is given by the command line, the other by the file.
    sandbox.write("p.toml", "[gateway]\nupstream = 'http://127.0.0.1:1'\n");
    let error = sandbox.fails(1, "serve --config p.toml --upstream-token-file none");
    assert!(error.contains("--upstream-token-file"), "{error}");
    sandbox.write("p.toml", "[gateway]\nupstream-org = 'acme'\n");
    let error = sandbox.fails(2, "serve --config p.toml");
    assert!(error.contains("--upstream <URL>") && error.contains("p.toml"), "{error}");
    // The array of the file is replaced.
    sandbox.write("p.toml", "[server]\ntrusted-proxy = ['10.0.0.1', '10.0.0.2']\n");
    let proxies = option(&show(&sandbox, "--config p.toml", &[]), "server.trusted-proxy");
    assert_eq!(proxies.0, "10.0.0.1, 10.0.0.2");
    assert_eq!(sandbox.files(), ["p.toml"], "something was created");
}

/// [CONFIG-3] [CONFIG-4]
#[test]
fn a_refused_file_is_wrong_usage_and_every_mistake_has_its_line() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.toml",
        "store = 'postgres://ada:s3cret@db/x'\n[server]\nlissten = 's3cret'\nread-only = 1\n",
    );
    for command in ["serve", "config check", "config show", "org list"] {
        let error = sandbox.fails(2, &format!("{command} --config p.toml"));
        let lines: Vec<_> = error.lines().collect();
        assert_eq!(lines.len(), 3, "{error}");
        assert!(lines[0].starts_with("error: p.toml:1: `store` contains a password"), "{error}");
        assert_eq!(
            lines[1],
            "error: p.toml:3: there is no option `lissten`: did you mean `listen` in `[server]`?"
        );
        assert!(lines[2].starts_with("error: p.toml:4: `read-only` is either"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
    sandbox.write("p.toml", "[server\nlisten = 's3cret'\n");
    let error = sandbox.fails(2, "serve --config p.toml");
    assert!(error.starts_with("error: p.toml:1: this is not TOML"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
    let error = sandbox.fails(2, "serve --config none.toml");
    assert!(error.starts_with("error: --config: cannot read `none.toml`"), "{error}");
    // Help needs no file.
    sandbox.ok("serve --help --config none.toml");
    sandbox.ok("completions bash --config none.toml");
}

/// [CONFIG-5]
#[test]
fn other_commands_read_the_store_and_the_audit_log_from_the_file() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.toml",
        "store = 'sqlite:here.db'\naudit-log = 'audit.jsonl'\n[server]\nread-only = true\n",
    );
    sandbox.ok("setup --org acme --user ada --config p.toml");
    assert!(sandbox.path("here.db").exists());
    sandbox.ok("--config p.toml org create umbrella");
    assert!(sandbox.read("audit.jsonl").contains("umbrella"));
    assert!(sandbox.ok("org list --config p.toml").contains("umbrella"));
    let error = sandbox.fails(1, "org list --config p.toml --store sqlite:other.db");
    assert!(error.contains("other.db"), "{error}");
}

/// [CONFIG-6]
#[test]
fn a_check_covers_the_files_that_are_named_and_show_has_no_password() {
    let sandbox = Sandbox::new();
    let error = sandbox.fails(1, "config check");
    assert!(error.contains("there is no file to check"), "{error}");
    sandbox.write("p.toml", "[server]\nlisten = '0.0.0.0:1'\nallow-plaintext = true\n");
    assert_eq!(sandbox.ok("config check --config p.toml"), "p.toml: 2 options, no mistake\n");
    assert_eq!(sandbox.json("config check --config p.toml")["options"], 2);
    for (text, expected) in [
        ("[server]\nlisten = '0.0.0.0:1'", "--allow-plaintext"),
        ("[server]\naudit-required = true", "--audit-log"),
        ("[tls]\ntls-cert = 'none.pem'\ntls-key = 'none.pem'", "--tls-cert"),
        ("[gateway]\nupstream = 'http://db'\nupstream-token-file = 'none'", "none"),
        ("[gateway]\nupstream = 'http://ada:s3cret@db'", "--upstream"),
        ("store = 'nonsense'", "--store"),
        ("[clients]\ninfluxdb-version = 'a b'", "--influxdb-version"),
    ] {
        sandbox.write("p.toml", text);
        let error = sandbox.fails(1, "config check --config p.toml");
        assert!(error.contains(expected) && !error.contains("s3cret"), "{text}: {error}");
        let shown = sandbox.ok("config show --config p.toml");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    let shown = sandbox.ok("config show --store postgres://ada:s3cret@db/x");
    assert!(shown.contains("postgres://db:5432/x") && !shown.contains("s3cret"), "{shown}");
}

/// [CONFIG-1]
#[test]
fn the_example_is_a_valid_file_with_the_defaults() {
    let sandbox = Sandbox::new();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/portcullis.example.toml");
    sandbox.ok(&format!("config check --config {example}"));
    let values = |options: Vec<Value>| -> Vec<_> {
        options
            .into_iter()
            .map(|option| (option["option"].clone(), option["value"].clone()))
            .collect()
    };
    let example = show(&sandbox, &format!("--config {example}"), &[]);
    assert_eq!(values(example), values(show(&sandbox, "", &[])));
}

/// [CONFIG-7]
#[cfg(unix)]
#[test]
fn a_running_server_does_not_read_the_file_again() {
    let sandbox = Sandbox::new();
    sandbox.write("p.toml", "audit-log = 'one.jsonl'\n");
    let server = Server::start(&sandbox, "--config p.toml");
    sandbox.write("p.toml", "audit-log = 'two.jsonl'\nnonsense = 1\n");
    std::fs::remove_file(sandbox.path("one.jsonl")).unwrap();
    server.signal("HUP");
    crate::support::wait_until("the audit log is reopened", || sandbox.path("one.jsonl").exists());
    assert!(!sandbox.path("two.jsonl").exists());
    server.stop();
}
