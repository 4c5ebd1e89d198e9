//! Logins that wait, their lines in the log, and the login history.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Sandbox, Server};

/// How many lines of the log hold the text.
fn lines(sandbox: &Sandbox, text: &str) -> usize {
    sandbox.read("serve.log").lines().filter(|line| line.contains(text)).count()
}

#[test]
fn temporary_refusals_are_logged_and_not_once_for_each_request() {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox, "--store memory: --login-queue 1 --login-wait 1");
    let login =
        |name: usize| server.get("/forward-auth?check=none", &format!("name-{name}:guess")).0;
    let began = std::time::Instant::now();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let requests: Vec<_> = (0..60).map(|name| scope.spawn(move || login(name))).collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect()
    });
    let count = |status| statuses.iter().filter(|found| **found == status).count();
    assert_eq!(count(401) + count(503), 60, "{statuses:?}");
    assert!(count(503) > 0, "{statuses:?}");
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    let logged = lines(&sandbox, "503: too many logins at once");
    assert!((1..=seconds).contains(&logged), "{logged} lines in {seconds} s");

    let throttled = (0..30).map(|_| login(1_000)).filter(|status| *status == 429).count();
    assert!(throttled >= 10);
    let logged = lines(&sandbox, "429: too many failed logins");
    assert!((1..throttled).contains(&logged), "{logged} lines of {throttled}");
    server.stop();
}

/// [QUEUE-8]
#[test]
fn the_login_history_outlives_a_restart_in_a_file_of_its_owner() {
    let sandbox = Sandbox::with_store();
    let create = "auth create --org acme --user ada telegraf --write-bucket telemetry";
    sandbox.run_with_password(create, "s3cret-enough").ok(create);
    let login = |server: &Server| server.get("/forward-auth?check=none", "telegraf:s3cret-enough");
    let file = sandbox.path("portcullis.db-logins");

    let server = Server::start(&sandbox, "");
    assert!(!file.exists());
    assert_eq!(login(&server).0, 204);
    server.stop();
    let saved = fs::read(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    for secret in [&b"telegraf"[..], b"s3cret-enough", b"127.0.0.1"] {
        assert!(!saved.windows(secret.len()).any(|part| part == secret));
    }

    // A history is kept over a restart without logins, and a damaged one is replaced.
    Server::start(&sandbox, "").stop();
    assert_eq!(fs::read(&file).unwrap(), saved);
    fs::write(&file, &saved[..saved.len() - 1]).unwrap();
    let server = Server::start(&sandbox, "");
    assert_eq!(login(&server).0, 204);
    assert_eq!(lines(&sandbox, "is damaged, and a new one begins"), 1);
    server.stop();
    assert_eq!(fs::read(&file).unwrap().len(), saved.len());

    // A typo does not replace another file, such as a text or the store.
    sandbox.write("notes.txt", "notes");
    let store = fs::read(sandbox.path("portcullis.db")).unwrap();
    for other in ["notes.txt", "portcullis.db", "."] {
        let arguments = format!("serve --listen 127.0.0.1:0 --login-history {other}");
        let error = sandbox.fails(1, &arguments);
        assert!(error.contains("--login-history: `"), "{error}");
    }
    assert_eq!(sandbox.read("notes.txt"), "notes");
    assert_eq!(fs::read(sandbox.path("portcullis.db")).unwrap(), store);

    // At another path.
    let server = Server::start(&sandbox, "--store memory: --login-history history");
    server.stop();
    assert!(!sandbox.path("history").exists(), "nothing has logged in");
}

/// [QUEUE-1]
#[test]
fn the_login_queue_has_bounds() {
    let sandbox = Sandbox::with_store();
    for arguments in ["--login-queue 0", "--login-queue 65537", "--login-wait 0", "--login-wait 61"]
    {
        let error = sandbox.fails(2, &format!("serve {arguments}"));
        assert!(error.contains("invalid value"), "{error}");
    }
}

#[test]
fn options_for_forward_auth_are_checked_at_the_start() {
    let sandbox = Sandbox::with_store();
    for (arguments, code, expected) in [
        ("--forward-auth-org nowhere", 1, "--forward-auth-org: there is no org \"nowhere\""),
        ("--influxdb-version 1.8\u{e4}", 1, "--influxdb-version"),
        ("--influxdb-build OSS", 2, "--influxdb-version"),
        ("--upstream-semantics v3", 2, "invalid value"),
    ] {
        let error = sandbox.fails(code, &format!("serve --listen 127.0.0.1:0 {arguments}"));
        assert!(error.contains(expected), "{error}");
    }
    let org = sandbox.json("org list")[0]["id"].as_str().unwrap().to_owned();
    for org in ["acme", &org] {
        let arguments = format!("--forward-auth-org {org} --influxdb-version 1.8.10");
        let server = Server::start(&sandbox, &arguments);
        assert_eq!(server.get("/ping", "").0, 204);
        server.stop();
    }
}

/// [USE-3] [USE-6] [CLI-13]
#[test]
fn what_servers_have_recorded_of_last_uses_is_listed() {
    let sandbox = Sandbox::with_store();
    for name in ["telegraf", "grafana"] {
        let create = format!("auth create --org acme --user ada {name} --write-bucket telemetry");
        sandbox.run_with_password(&create, "s3cret-enough").ok(&create);
    }
    let before = sandbox.ok("auth list");
    assert!(!sandbox.ok("auth list --unused-for 0s").contains("LAST USED"), "no column is empty");
    let server = Server::start(&sandbox, "");
    assert_eq!(server.get("/forward-auth?check=none", "telegraf:s3cret-enough").0, 204);
    server.stop();

    let listed = |options: &str| -> Vec<(String, bool)> {
        let list = sandbox.json(&format!("auth list {options}"));
        let rows = list.as_array().unwrap().iter();
        rows.map(|row| (row["token"].as_str().unwrap().to_owned(), row["lastUsedAt"].is_string()))
            .collect()
    };
    let (telegraf, grafana) = ("telegraf".to_owned(), "grafana".to_owned());
    assert_eq!(listed("--unused-for 0s"), [(telegraf.clone(), true), (grafana.clone(), false)]);
    assert_eq!(listed("--unused-for 1d"), []);
    assert_eq!(
        listed("--unused-since 2999-01-01T00:00:00Z --username grafana"),
        [(grafana, false)]
    );
    assert_eq!(sandbox.ok("auth list"), before, "other lists are as they were");
    let table = sandbox.ok("auth list --unused-for 0s");
    assert!(table.lines().next().unwrap().contains("LAST USED"), "{table}");
    assert!(table.contains("127.0.0.1"), "{table}");
    let csv = sandbox.ok("auth list --unused-for 0s --output csv");
    assert!(csv.lines().next().unwrap().ends_with(",lastUsedAt,lastUsedFrom"), "{csv}");
    let one = sandbox.ok("auth show telegraf");
    assert!(one.contains("last used from"), "{one}");
    assert!(!sandbox.ok("auth show grafana").contains("last used"));
    let error = sandbox.fails(2, "auth list --unused-for 3months");
    assert!(error.contains("is not a duration such as 90d"), "{error}");
    sandbox.fails(2, "auth list --unused-for 1d --unused-since 2026-01-01T00:00:00Z");
    for value in ["0s", "32d", "never"] {
        sandbox.fails(2, &format!("serve --last-use-interval {value}"));
    }

    let server = Server::start(&sandbox, "--last-use-interval off");
    assert_eq!(server.get("/forward-auth?check=none", "grafana:s3cret-enough").0, 204);
    server.stop();
    assert!(!sandbox.ok("auth show grafana").contains("last used"));
    assert!(sandbox.ok("verify").contains("authorization use 1"), "{}", sandbox.ok("verify"));
}
