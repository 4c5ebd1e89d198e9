//! `serve`: first start, lines on standard output, signals.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use portcullis_sqlite::SqliteStore;

use crate::support::{Sandbox, Server};

/// The time that requests in flight get at the end.
const SHUTDOWN: Duration = Duration::from_secs(10);

fn mode(sandbox: &Sandbox, name: &str) -> u32 {
    fs::metadata(sandbox.path(name)).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_store_is_set_up_once_and_its_token_written_to_a_file() {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, "");
    let file = sandbox.path("operator-token");
    assert_eq!(
        server.lines,
        [
            format!("operator token written to {}", file.display()),
            format!("listening on http://{}", server.address),
        ]
    );
    assert_eq!(mode(&sandbox, "operator-token"), 0o600);
    assert_eq!(mode(&sandbox, "portcullis.db"), 0o600);

    let token = sandbox.read("operator-token");
    let token = token.trim_end();
    let (status, body) = server.get("/api/v2/orgs?org=default", token);
    assert_eq!(status, 200, "{body}");
    assert_eq!(server.get("/api/v2/orgs", "wrong").0, 401);
    assert_eq!(server.get("/ping", "").0, 204);
    assert_eq!(server.get("/nowhere", "").0, 404);
    let log = sandbox.read("serve.log");
    assert!(!log.contains(token) && !log.contains('\u{1b}'), "{log}");
    server.stop();
    assert_eq!(sandbox.json("user list")[0]["name"], "admin");
    assert_eq!(sandbox.json("bucket list --org default")[0]["name"], "default");

    fs::remove_file(&file).unwrap();
    let server = Server::start(&sandbox, "");
    assert_eq!(server.lines.len(), 1, "{:?}", server.lines);
    assert_eq!(server.get("/api/v2/orgs", token).0, 200);
    server.stop();
    assert!(!file.exists());
}

#[test]
fn an_empty_store_is_set_up() {
    let sandbox = Sandbox::new();
    drop(SqliteStore::open(sandbox.path("portcullis.db")).unwrap());
    let server = Server::start(&sandbox, "");
    assert_eq!(server.lines.len(), 2, "{:?}", server.lines);
    server.stop();

    let sandbox = Sandbox::with_store();
    let server = Server::start(&sandbox, "");
    assert_eq!(server.lines.len(), 1, "{:?}", server.lines);
    server.stop();
    assert_eq!(sandbox.files(), ["portcullis.db", "serve.log"]);
}

#[test]
fn the_token_goes_beside_the_store_and_for_memory_into_the_current_directory() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("data")).unwrap();
    Server::start(&sandbox, "--store sqlite:data/p.db").stop();
    assert!(sandbox.path("data/operator-token").exists());

    let server = Server::start(&sandbox, "--store memory:");
    let token = sandbox.read("operator-token");
    assert_eq!(server.get("/api/v2/me", token.trim_end()).0, 200);
    server.stop();
    assert_eq!(sandbox.files(), ["data", "operator-token", "serve.log"]);
}

/// [CLI-1]
#[test]
fn the_environment_supplies_missing_options() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command("serve");
    command.env("PORTCULLIS_STORE", "memory:").env("PORTCULLIS_LISTEN", "0.0.0.0:0");
    let refused = command.output().unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("--listen 0.0.0.0:0"), "{error}");
    assert_eq!(refused.status.code(), Some(1));

    sandbox.ok("setup --store sqlite:other.db --org acme --user ada");
    let mut command = sandbox.command("org list --json");
    let listed = command.env("PORTCULLIS_STORE", "sqlite:other.db").output().unwrap();
    assert!(listed.status.success());
    command.env("PORTCULLIS_LOG", "not=a=filter");
    assert_eq!(command.output().unwrap().status.code(), Some(1));
}

#[test]
fn other_machines_are_admitted_only_if_that_is_allowed() {
    let sandbox = Sandbox::new();
    let error = sandbox.fails(1, "serve --listen 0.0.0.0:0");
    assert!(error.contains("--allow-plaintext"), "{error}");
    assert_eq!(sandbox.files(), [""; 0], "nothing may be created before");
    let server = Server::start(&sandbox, "--listen 0.0.0.0:0 --allow-plaintext --no-throttle");
    assert!(server.address.starts_with("0.0.0.0:"));
    server.stop();
}

#[test]
fn a_port_in_use_is_reported_before_anything_is_created() {
    let sandbox = Sandbox::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = sandbox.fails(1, &format!("serve --listen {address}"));
    assert!(error.contains(&format!("cannot listen on {address}")), "{error}");
    assert_eq!(sandbox.files(), [""; 0]);
}

#[test]
fn connections_without_a_request_do_not_delay_the_end() {
    for signal in ["TERM", "INT"] {
        let sandbox = Sandbox::new();
        let server = Server::start(&sandbox, "--store memory:");
        let _unused = server.connect();
        let mut idle = server.connect();
        idle.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut head = String::new();
        BufReader::new(&idle).read_line(&mut head).unwrap();
        assert!(head.starts_with("HTTP/1.1 204"), "{head}");

        let begin = Instant::now();
        server.signal(signal);
        let (status, rest) = server.wait();
        assert_eq!((status.code(), rest.as_str()), (Some(0), ""));
        // They do not get the time of requests in flight.
        assert!(begin.elapsed() < SHUTDOWN / 2, "{:?}", begin.elapsed());
    }
}

/// Begins a request, and returns once the server waits for its body.
fn begin_request(server: &Server, token: &str, length: usize) -> TcpStream {
    let mut stream = server.connect();
    write!(
        stream,
        "POST /legacy/authorizations HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\
         Authorization: Token {token}\r\nContent-Length: {length}\r\n\r\n"
    )
    .unwrap();
    let mut head = [0; 25];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[test]
fn a_request_in_flight_is_finished_at_the_end() {
    let sandbox = Sandbox::with_store();
    let token = sandbox.json("token create --org acme --user ada --operator");
    let org = sandbox.json("org list")[0]["id"].as_str().unwrap().to_owned();
    let body = format!(
        r#"{{"token":"late","orgID":"{org}","permissions":[{{"action":"read","resource":{{"type":"buckets"}}}}]}}"#
    );
    let server = Server::start(&sandbox, "");
    let mut stream = begin_request(&server, token["token"].as_str().unwrap(), body.len());
    server.signal("TERM");
    server.wait_until_closed();
    stream.write_all(body.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 201"), "{response}");
    assert_eq!(server.wait().0.code(), Some(0));
    assert_eq!(sandbox.json("auth list")[0]["token"], "late");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let sandbox = Sandbox::with_store();
    let token = sandbox.json("token create --org acme --user ada --operator");
    let server = Server::start(&sandbox, "");
    let _stream = begin_request(&server, token["token"].as_str().unwrap(), 100);
    let begin = Instant::now();
    server.signal("TERM");
    server.wait_until_closed();
    server.signal("TERM");
    assert_eq!(server.wait().0.code(), Some(128 + 15));
    // The request in flight does not get its time.
    assert!(begin.elapsed() < SHUTDOWN / 2, "{:?}", begin.elapsed());
}

/// The longest time that a server uses cached entries without an event of the change feed, and as long
/// again for a slow machine.
const MAX_STALENESS: Duration = Duration::from_secs(4);

/// [CLI-7]
#[test]
fn commands_work_while_a_server_runs_and_it_applies_their_changes() {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, "");
    let token = sandbox.json("token create --org default --user admin --operator");
    let secret = token["token"].as_str().unwrap();
    assert_eq!(server.get("/api/v2/orgs", secret).0, 200);
    sandbox.ok(&format!("token revoke {}", token["id"].as_str().unwrap()));
    // The server is notified of the change a moment later, and uses its cache until then.
    let revoked = Instant::now();
    while server.get("/api/v2/orgs", secret).0 != 401 {
        assert!(revoked.elapsed() < MAX_STALENESS, "a revoked token is still accepted");
    }
    server.stop();
}

#[test]
fn a_reverse_proxy_gets_decisions_and_refusals_name_the_client() {
    let sandbox = Sandbox::with_store();
    sandbox.run_with_stdin(
        "auth create --org acme --user ada telegraf --write-bucket telemetry \
         --password-stdin",
        "telegraf-password\n",
    );
    let server = Server::start(
        &sandbox,
        "--trusted-proxy 127.0.0.0/8 --trusted-proxy 10.0.0.1 \
         --forward-auth-uri-header X-Forwarded-Uri",
    );
    for (headers, status) in [
        ("X-Forwarded-Uri: /write?db=telemetry&u=telegraf&p=telegraf-password", 204),
        ("X-Forwarded-Uri: /write?db=events&u=telegraf&p=telegraf-password", 403),
        ("X-Original-URI: /write?db=telemetry&u=telegraf&p=telegraf-password", 401),
        ("X-Forwarded-Uri: /write?db=telemetry&u=telegraf&p=wrong", 401),
    ] {
        let mut stream = server.connect();
        write!(
            stream,
            "GET /forward-auth HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.1\r\n{headers}\r\n\r\n"
        )
        .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{headers}: {response}");
    }
    server.stop();
    let log = sandbox.read("serve.log");
    let refused = "INFO portcullis::login: login refused address=192.0.2.1 scheme=\"url\" \
                   reason=\"wrong password\" username=\"telegraf\"";
    assert!(log.contains(refused), "{log}");
    assert!(!log.contains("telegraf-password"), "{log}");

    for arguments in ["--trusted-proxy proxy", "--forward-auth-uri-header a:b"] {
        let error = sandbox.fails(2, &format!("serve {arguments}"));
        assert!(error.contains("invalid value"), "{error}");
    }
}

/// [OUTAGE-2]
#[test]
fn stale_if_error_is_in_seconds_and_ready_has_the_state() {
    let sandbox = Sandbox::new();
    for seconds in ["0", "86401", "1.5", "-1"] {
        let refused = sandbox.run(&format!("serve --stale-if-error={seconds}"));
        assert_eq!(refused.code, 2, "{seconds}");
        assert!(refused.stderr.contains("--stale-if-error"), "{}", refused.stderr);
    }
    let server = Server::start(&sandbox, "--store memory: --stale-if-error 60");
    let (status, ready) = server.get("/ready", "");
    assert_eq!(status, 200);
    assert!(ready.contains("\"state\": \"fresh\""), "{ready}");
    server.stop();
}

#[test]
fn repeated_half_sent_requests_keep_no_client_out() {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, "--store memory: --max-connections 8");
    let crowd: Vec<_> = (0..40)
        .map(|_| {
            let address = server.address.clone();
            std::thread::spawn(move || {
                while let Ok(mut stream) = TcpStream::connect(&address) {
                    let _ = stream.write_all(b"GET / HT");
                    let _ = stream.read(&mut [0]);
                }
            })
        })
        .collect();
    let begin = Instant::now();
    for _ in 0..5 {
        assert_eq!(server.get("/health", "").0, 200);
    }
    let took = begin.elapsed();
    server.stop();
    for member in crowd {
        member.join().unwrap();
    }
    // Without eviction, each would wait for the 15 seconds that a head may take.
    assert!(took < Duration::from_secs(20), "five requests took {took:?}");
}

/// [ADDR-4]
#[test]
fn missing_and_too_wide_trusted_proxies_are_warned_about() {
    let sandbox = Sandbox::new();
    let request =
        "GET /ping HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: close\r\n\r\n";
    for (arguments, ignored, too_wide) in [
        ("", 1, 0),
        ("--trusted-proxy 10.0.0.0/8", 1, 0),
        ("--trusted-proxy 127.0.0.1", 0, 0),
        ("--trusted-proxy 0.0.0.0/0", 0, 1),
    ] {
        let server = Server::start(&sandbox, &format!("--store memory: {arguments}"));
        for _ in 0..3 {
            let mut stream = server.connect();
            stream.write_all(request.as_bytes()).unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
        }
        server.stop();
        let log = sandbox.read("serve.log");
        assert_eq!(log.matches("`X-Forwarded-For` is ignored").count(), ignored, "{log}");
        let warning = "--trusted-proxy 0.0.0.0/0 trusts clients as well";
        assert_eq!(log.matches(warning).count(), too_wide, "{log}");
    }
}
