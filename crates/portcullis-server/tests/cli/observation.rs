//! Metrics and the audit log of `serve`.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Sandbox, Server, get};

/// Returns the address of the server's metrics.
fn metrics_address(sandbox: &Sandbox) -> String {
    let log = sandbox.read("serve.log");
    let (_, rest) = log.split_once("metrics on http://").unwrap();
    rest.split_once("/metrics").unwrap().0.to_owned()
}

#[test]
fn metrics_are_served_on_an_address_of_their_own() {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, "--store memory: --metrics-listen 127.0.0.1:0");
    assert_eq!(server.lines.len(), 2, "{:?}", server.lines);
    let address = metrics_address(&sandbox);
    let get_metrics = |path| get(TcpStream::connect(&address).unwrap(), path, "");
    assert_eq!(server.get("/legacy/authorizations/secret-1", "wrong-2").0, 401);
    assert_eq!(server.get("/secret-3?p=secret-4", "").0, 404);
    assert_eq!(server.get("/ping", "").0, 204);
    assert_eq!(server.get("/metrics", "").0, 404);

    let (status, text) = get_metrics("/metrics");
    assert_eq!(status, 200);
    for line in [
        "# TYPE portcullis_http_requests_total counter",
        r#"portcullis_http_requests_total{route="authorizations",status="401"} 1"#,
        r#"portcullis_http_requests_total{route="operations",status="204"} 1"#,
        r#"portcullis_http_requests_total{route="other",status="404"} 2"#,
        r#"portcullis_http_request_duration_seconds_count{route="other"} 2"#,
        r#"portcullis_connections_accepted_total{listener="api"} 4"#,
        r#"portcullis_connections{listener="metrics"} 1"#,
    ] {
        assert!(text.lines().any(|shown| shown == line), "no {line} in {text}");
    }
    assert!(!text.contains("secret-") && !text.contains("wrong-2"), "{text}");
    for path in ["/", "/metrics/", "/legacy/authorizations", "/debug/pprof"] {
        assert_eq!(get_metrics(path).0, 404, "{path}");
    }
    server.stop();
}

#[test]
fn the_cache_has_a_size_and_a_time_to_live_with_bounds() {
    let sandbox = Sandbox::with_store();
    for arguments in [
        "--cache-size=-1",
        "--cache-size=65537",
        "--cache-size=65GiB",
        "--cache-size=1MB",
        "--cache-ttl=1",
        "--cache-ttl=86401",
    ] {
        let error = sandbox.fails(2, &format!("serve {arguments}"));
        assert!(error.contains("invalid value"), "{error}");
    }
    let create = "auth create --org acme --user ada telegraf --write-bucket telemetry \
                  --password-stdin";
    sandbox.run_with_stdin(create, "telegraf-password\n").ok(create);
    // Without a cache, each login computes a hash.
    for (size, hashes) in [("0", 3), ("1", 1), ("1MiB", 1)] {
        let options = "--cache-ttl 3600 --metrics-listen 127.0.0.1:0";
        let server = Server::start(&sandbox, &format!("--cache-size {size} {options}"));
        for _ in 0..3 {
            let credentials = "telegraf:telegraf-password";
            assert_eq!(server.get("/forward-auth?permission=write:buckets", credentials).0, 403);
        }
        let metrics = TcpStream::connect(metrics_address(&sandbox)).unwrap();
        let text = get(metrics, "/metrics", "").1;
        let line = format!("portcullis_hashes_total {hashes}");
        assert!(text.lines().any(|shown| shown == line), "{size}: no {line} in {text}");
        server.stop();
    }
}

#[test]
fn metrics_are_off_and_kept_from_other_machines_by_default() {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, "--store memory:");
    assert!(!sandbox.read("serve.log").contains("metrics"));
    server.stop();
    let sandbox = Sandbox::new();
    let error = sandbox.fails(1, "serve --metrics-listen 0.0.0.0:0");
    assert!(error.contains("--metrics-listen 0.0.0.0:0 can be reached"), "{error}");
    assert_eq!(sandbox.files(), [""; 0]);
    Server::start(&sandbox, "--store memory: --allow-plaintext --metrics-listen 0.0.0.0:0").stop();
}

#[test]
fn an_audit_log_is_readable_only_by_its_owner_and_reopened_on_hangup() {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, "--store memory: --audit-log audit.jsonl");
    let path = sandbox.path("audit.jsonl");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::rename(&path, sandbox.path("audit.jsonl.1")).unwrap();
    server.signal("HUP");
    while !path.exists() {
        std::thread::yield_now();
    }
    server.stop();
}

/// [CLI-8]
#[test]
fn an_audit_log_that_cannot_be_written_is_reported_before_a_store_is_created() {
    let sandbox = Sandbox::new();
    let error = sandbox.fails(1, "serve --listen 127.0.0.1:0 --audit-log missing/audit.jsonl");
    assert!(error.contains("--audit-log: cannot open `missing/audit.jsonl`"), "{error}");
    assert_eq!(sandbox.files(), [""; 0]);
}

fn audit_lines(sandbox: &Sandbox, name: &str) -> Vec<serde_json::Value> {
    sandbox.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// [CLI-8]
#[test]
fn changes_by_commands_are_audited_beside_those_by_a_server() {
    let sandbox = Sandbox::with_store();
    let server = Server::start(&sandbox, "--audit-log audit.jsonl");
    let run = |arguments: &str| {
        let mut command = sandbox.command(arguments);
        command.env("PORTCULLIS_AUDIT_LOG", sandbox.path("audit.jsonl"));
        command.env("PORTCULLIS_PASSWORD", "s3cret-enough");
        crate::support::Ran::from(command.output().unwrap()).ok(arguments)
    };
    run("org list");
    assert_eq!(audit_lines(&sandbox, "audit.jsonl").len(), 0);
    run("token create --org acme --user ada --operator");
    run("auth create --org acme --user ada telegraf --read-bucket telemetry");
    run("auth set-password telegraf");
    run("org create other --audit-log audit.jsonl");
    run("backup monday.db");
    run("restore --store sqlite:restored.db monday.db");
    run("verify --repair");
    let lines = audit_lines(&sandbox, "audit.jsonl");
    let actions: Vec<_> = lines.iter().map(|line| line["action"].as_str().unwrap()).collect();
    assert_eq!(
        actions,
        ["create", "create", "setPassword", "setPassword", "create", "backUp", "restore", "repair"],
        "{lines:?}"
    );
    let uid = std::process::Command::new("id").arg("-u").output().unwrap();
    let uid = String::from_utf8(uid.stdout).unwrap();
    for line in &lines {
        assert_eq!(line["actor"]["kind"], "command", "{line}");
        assert_eq!(line["actor"]["osUser"], uid.trim(), "{line}");
        assert_eq!(line["outcome"], "done", "{line}");
    }
    server.stop();

    let before = sandbox.ok("export");
    let nowhere = "token create --org acme --user ada --operator --audit-log missing/audit.jsonl";
    let error = sandbox.fails(1, nowhere);
    assert!(error.contains("--audit-log: cannot open `missing/audit.jsonl`"), "{error}");
    assert!(error.contains("nothing was changed"), "{error}");
    assert_eq!(sandbox.ok("export"), before);
}

#[test]
fn an_audit_log_that_is_no_file_is_refused_and_does_not_hang() {
    let sandbox = Sandbox::new();
    let pipe = sandbox.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    let error = sandbox.fails(1, "serve --listen 127.0.0.1:0 --audit-log pipe");
    assert!(error.contains("`pipe`: it is not a regular file"), "{error}");
    assert_eq!(sandbox.files(), ["pipe"]);
    let error = sandbox.fails(1, "serve --listen 127.0.0.1:0 --audit-required");
    assert!(error.contains("give --audit-log PATH"), "{error}");
}

#[test]
fn the_memory_of_a_server_is_not_written_to_core_dumps() {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, "--store memory:");
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    server.stop();
}

/// [LIMIT-1] [LIMIT-6]
#[test]
fn a_credential_is_limited_by_options_and_named_in_the_metrics() {
    let sandbox = Sandbox::with_store();
    let refused = sandbox.fails(2, "serve --credential-rate 100");
    assert!(refused.contains("such as 100/s, 600/m or 1000/h"), "{refused}");
    sandbox.fails(2, "serve --credential-burst 5");
    sandbox.fails(2, "serve --credential-in-flight 0");
    let create = "auth create --org acme --user ada telegraf --write-bucket telemetry \
                  --password-stdin --json";
    let created = sandbox.run_with_stdin(create, "telegraf-password\n").ok(create);
    let created: serde_json::Value = serde_json::from_str(&created).unwrap();
    let id = created["id"].as_str().unwrap();
    sandbox.write(
        "p.toml",
        "[server]\nmetrics-listen = '127.0.0.1:0'\n[logins]\ncredential-rate = '2/h'\n\
         credential-burst = 2\ncredential-in-flight = 5\n",
    );
    let server = Server::start(&sandbox, "--config p.toml");
    let decide =
        || server.get("/forward-auth?permission=write:buckets", "telegraf:telegraf-password").0;
    assert_eq!([decide(), decide(), decide(), decide()], [403, 403, 429, 429]);
    let metrics = TcpStream::connect(metrics_address(&sandbox)).unwrap();
    let text = get(metrics, "/metrics", "").1;
    for line in [
        r#"portcullis_credential_limited_total{limit="rate"} 2"#.to_owned(),
        r#"portcullis_credential_limited_total{limit="in_flight"} 0"#.to_owned(),
        format!(r#"portcullis_credential_limited_most{{credential="{id}"}} 2"#),
    ] {
        assert!(text.lines().any(|shown| shown == line), "no {line} in {text}");
    }
    server.stop();
}
