//! `serve --upstream`: the gateway's options, its line on standard output, and its start without a database.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::support::{Sandbox, Server, get};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// [GATE-14] [GATE-17]
#[test]
fn the_gateway_starts_without_the_database_and_readiness_does_not_depend_on_it() {
    let sandbox = Sandbox::new();
    sandbox.write("password", "upstream-s3cret\n");
    let (upstream, port) = (free_port(), free_port());
    let server = Server::start(
        &sandbox,
        &format!(
            "--store memory: --upstream http://127.0.0.1:{upstream} --gateway-listen 127.0.0.1:{port} \
             --upstream-username admin --upstream-password-file password"
        ),
    );
    assert_eq!(server.get("/ready", "").0, 200);
    let gateway = || TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (status, body) = get(gateway(), "/ping", "");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("the database is unavailable, try again later"), "{body}");
    assert_eq!(get(gateway(), "/query?q=SHOW+DATABASES", "wrong").0, 401);
    assert_eq!(get(gateway(), "/api/v2/orgs", "").0, 404, "the API is not served there");
    server.signal("TERM");
    let (status, rest) = server.wait();
    assert!(status.success());
    assert_eq!(rest, format!("gateway on http://127.0.0.1:{port}\n"));
    let log = sandbox.read("serve.log");
    assert!(log.contains(&format!("http://127.0.0.1:{upstream} does not respond")), "{log}");
    assert!(!log.contains("upstream-s3cret"), "{log}");
}

#[test]
fn what_is_wrong_with_an_option_of_the_gateway_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write("empty", "");
    sandbox.write("two", "first\nsecond\n");
    let serve = "serve --store memory: --listen 127.0.0.1:0";
    for (options, expected) in [
        ("--upstream db:8086", "--upstream"),
        ("--upstream http://ada:s3cret@db", "--upstream"),
        ("--upstream http://db --gateway-listen 0.0.0.0:0", "--gateway-listen 0.0.0.0:0"),
        ("--upstream http://db --upstream-token-file missing", "--upstream-token-file"),
        ("--upstream http://db --upstream-token-file empty", "--upstream-token-file"),
        ("--upstream http://db --upstream-token-file two", "--upstream-token-file"),
        ("--upstream https://db --upstream-ca empty", "--upstream-ca"),
    ] {
        let error = sandbox.fails(1, &format!("{serve} {options}"));
        assert!(error.contains(expected), "{options}: {error}");
        assert!(!error.contains("s3cret") && !error.contains("second"), "{options}: {error}");
    }
    for options in [
        "--gateway-listen 127.0.0.1:0",
        "--upstream-token-file empty",
        "--upstream http://db --upstream-username ada",
        "--upstream http://db --upstream-password-file empty",
        "--upstream http://db --upstream-timeout 0",
        "--upstream http://db --gateway-max-body 1PB",
    ] {
        sandbox.fails(2, &format!("{serve} {options}"));
    }
}

/// An upstream that responds to one request with 204, and returns its `Authorization`.
fn authorization_of_one(upstream: &TcpListener, port: u16) -> String {
    std::thread::scope(|scope| {
        let client = scope.spawn(move || get(connect(port), "/ping", ""));
        let (stream, _) = upstream.accept().unwrap();
        let mut lines = BufReader::new(&stream).lines().map(Result::unwrap);
        let head: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        (&stream).write_all(b"HTTP/1.1 204 x\r\nConnection: close\r\n\r\n").unwrap();
        assert_eq!(client.join().unwrap().0, 204);
        let found = head.iter().find_map(|line| line.strip_prefix("authorization: "));
        found.unwrap().to_owned()
    })
}

fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).unwrap()
}

/// [GATE-4]
#[test]
fn the_gateways_credentials_are_read_again_at_sighup() {
    let sandbox = Sandbox::new();
    sandbox.write("token", "first\n");
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free_port();
    let server = Server::start(
        &sandbox,
        &format!(
            "--store memory: --upstream http://{} --gateway-listen 127.0.0.1:{port} \
             --upstream-token-file token",
            upstream.local_addr().unwrap()
        ),
    );
    assert_eq!(authorization_of_one(&upstream, port), "Token first");
    let reload = |content, logged| {
        sandbox.write("token", content);
        server.signal("HUP");
        while !sandbox.read("serve.log").contains(logged) {
            std::thread::yield_now();
        }
    };
    reload("second\n", "reloaded the gateway's credentials");
    assert_eq!(authorization_of_one(&upstream, port), "Token second");
    reload("", "cannot reload the gateway's credentials, and what was loaded before stays in use");
    assert_eq!(authorization_of_one(&upstream, port), "Token second");
    server.signal("TERM");
    assert!(server.wait().0.success());
}
