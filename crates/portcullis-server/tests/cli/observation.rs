//! What `serve` shows to whoever watches it: metrics and the audit log.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Sandbox, Server, get};

/// Where the server shows its metrics.
fn metrics_address(sandbox: &Sandbox) -> String {
    let log = sandbox.read("serve.log");
    let (_, rest) = log.split_once("metrics on http://").unwrap();
    rest.split_once("/metrics").unwrap().0.to_owned()
}

#[test]
fn metrics_are_shown_on_an_address_of_their_own() {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, "--store memory: --metrics-listen 127.0.0.1:0");
    assert_eq!(server.lines.len(), 2, "{:?}", server.lines);
    let address = metrics_address(&sandbox);
    let ask = |path| get(TcpStream::connect(&address).unwrap(), path, "");
    assert_eq!(server.get("/legacy/authorizations/secret-1", "wrong-2").0, 401);
    assert_eq!(server.get("/secret-3?p=secret-4", "").0, 404);
    assert_eq!(server.get("/ping", "").0, 204);
    assert_eq!(server.get("/metrics", "").0, 404);

    let (status, text) = ask("/metrics");
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
        assert_eq!(ask(path).0, 404, "{path}");
    }
    server.stop();
}

#[test]
fn the_cache_has_a_size_and_a_time_to_live_with_bounds() {
    let sandbox = Sandbox::with_store();
    for arguments in
        ["--cache-size=-1", "--cache-size=65537", "--time-to-live=1", "--time-to-live=86401"]
    {
        let said = sandbox.fails(2, &format!("serve {arguments}"));
        assert!(said.contains("invalid value"), "{said}");
    }
    let create = "auth create --org acme --user ada --username telegraf --write-bucket telemetry \
                  --password-stdin";
    sandbox.run_with_stdin(create, "telegraf-password\n").ok(create);
    // What is not kept is computed anew, each time.
    for (size, hashes) in [(0, 3), (1, 1)] {
        let options = "--time-to-live 3600 --metrics-listen 127.0.0.1:0";
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
fn metrics_are_off_and_kept_from_other_machines_unless_that_is_allowed() {
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
fn an_audit_log_is_the_owners_only_and_begun_anew_when_told() {
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

#[test]
fn an_audit_log_that_cannot_be_written_is_told_before_a_store_is_created() {
    let sandbox = Sandbox::new();
    let error = sandbox.fails(1, "serve --listen 127.0.0.1:0 --audit-log missing/audit.jsonl");
    assert!(error.contains("--audit-log: cannot open `missing/audit.jsonl`"), "{error}");
    assert_eq!(sandbox.files(), [""; 0]);
}
