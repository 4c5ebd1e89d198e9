//! Commands on a server: the same output and the same exit status as on its store.

use std::fmt::Write as _;

use crate::support::{Ran, Sandbox, Server};

/// Commands in this order, on the store and on the server. `@` begins the id of the last record of the
/// kind that was created.
const COMMANDS: [&str; 58] = [
    "org list",
    "org create umbra",
    "org create umbra",
    "org disable umbra",
    "org list --json",
    "org enable nowhere",
    "user create grace",
    "user disable grace",
    "user enable grace --json",
    "user list --output csv",
    "bucket create --org acme weather",
    "bucket create --org acme weather",
    "bucket create --org nowhere weather",
    "bucket list",
    "bucket list --org acme --json",
    "dbrp create --org acme --bucket telemetry metrics",
    "dbrp create --org acme --bucket weather metrics week --default",
    "dbrp create --org acme --bucket weather metrics week",
    "dbrp list",
    "dbrp list --org acme --no-virtual --json",
    "dbrp show --org acme metrics/week",
    "dbrp update --org acme metrics/autogen --default",
    "dbrp delete --org acme metrics/autogen",
    "dbrp show --org acme metrics/autogen",
    "auth create telegraf --org acme --user ada --write-bucket telemetry --no-password",
    "auth create telegraf --org acme --user ada --write-bucket telemetry --no-password",
    "auth create größe&co --org acme --user grace --read-bucket weather --inactive --description x --no-password",
    "auth show telegraf",
    "auth show größe&co --json",
    "auth show unknown",
    "auth set-permissions telegraf --read-bucket telemetry --write-bucket telemetry --permission read:orgs/acme/tasks",
    "auth list",
    "auth list --org acme --status inactive --json",
    "auth list --user ada --can-write telemetry --org acme --output csv",
    "auth list --limit 1 --json",
    "auth enable größe&co",
    "auth disable größe&co",
    "check telegraf --write-bucket telemetry",
    "check telegraf --write-bucket weather --json",
    "check größe&co --read-bucket weather",
    "check unknown --read-bucket weather",
    "check telegraf --permission read:orgs/acme/tasks",
    "check telegraf --db telemetry --query SELECT/**/v/**/FROM/**/cpu",
    "check telegraf --db metrics --query SELECT/**/v/**/FROM/**/cpu --json",
    "auth create visitor --org acme --user ada --read-bucket telemetry --no-password --expires 2100-01-01T00:00:00Z --allow-network 10.1.2.3/8",
    "auth show visitor --json",
    "auth list --expires-before 2101-01-01T00:00:00Z",
    "check visitor --read-bucket telemetry --source 192.0.2.1",
    "auth restrict visitor --expires 2101-01-01T00:00:00Z --allow-network ::1",
    "auth restrict visitor --expires 2000-01-01T00:00:00Z",
    "auth restrict visitor --password-expires 1d",
    "auth restrict visitor --expires never --any-network",
    "auth end-previous visitor",
    "auth end-previous nothing",
    "auth delete visitor --yes",
    "auth delete größe&co",
    "bucket delete --org acme weather",
    "user delete grace",
];

/// Replaces what differs between two runs: ids and times, each by the number of its first appearance.
pub(crate) fn normalized(text: &str, seen: &mut Vec<String>) -> String {
    let mut shown = String::new();
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-:.".contains(c);
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        for piece in word.split_inclusive(':') {
            let id = piece.trim_end_matches(':');
            let is_id = id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit());
            if is_id {
                let at = seen.iter().position(|other| other == id).unwrap_or_else(|| {
                    seen.push(id.to_owned());
                    seen.len() - 1
                });
                let _ = write!(shown, "<id {at}>{}", &piece[id.len()..]);
            } else {
                shown.push_str(piece);
            }
        }
        let next = after.chars().next();
        shown.extend(next);
        rest = &after[next.map_or(0, char::len_utf8)..];
    }
    let is_time = |line: &&str| {
        ["created", "updated", "\"createdAt\"", "\"updatedAt\""]
            .iter()
            .any(|name| line.trim_start().starts_with(name))
    };
    let lines: Vec<&str> =
        shown.lines().map(|line| if is_time(&line) { "<time>" } else { line }).collect();
    lines.join("\n")
}

/// The times of a CSV line differ as well; they are its last two values.
fn without_times(command: &str, text: &str) -> String {
    if !(command.starts_with("auth") && command.contains("csv")) {
        return text.to_owned();
    }
    let cut = |line: &str| line.rsplitn(3, ',').last().unwrap().to_owned();
    text.lines().map(cut).collect::<Vec<_>>().join("\n")
}

fn shown(command: &str, ran: &Ran, seen: &mut Vec<String>) -> String {
    let stdout = normalized(&without_times(command, &ran.stdout), seen);
    format!("{command}\nexit {}\n{stdout}\n", ran.code)
}

/// Starts a server with a store that is set up, and returns it with a file that has its operator token.
pub(crate) fn served(store: &str) -> (Sandbox, Server) {
    let sandbox = Sandbox::new();
    let setup = format!("setup --store {store} --org acme --user ada --bucket telemetry --json");
    let done: serde_json::Value = serde_json::from_str(&sandbox.ok(&setup)).unwrap();
    sandbox.write("token", format!("{}\n", done["token"].as_str().unwrap()));
    let server = Server::start(&sandbox, &format!("--store {store}"));
    (sandbox, server)
}

/// [REM-2]
#[test]
fn commands_on_a_server_have_the_output_and_the_exit_status_of_those_on_its_store() {
    let local = Sandbox::new();
    local.ok("setup --store sled:s.sled --org acme --user ada --bucket telemetry");
    let (remote, server) = served("sled:s.sled");
    let url = format!("http://{}", server.address);
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for command in COMMANDS {
        let on_store = local.run(&format!("{command} --store sled:s.sled"));
        let on_server = remote.run(&format!("{command} --url {url} --token-file token"));
        assert_eq!(
            shown(command, &on_server, &mut there),
            shown(command, &on_store, &mut here),
            "{on_server:?} {on_store:?}"
        );
    }
    server.stop();
}

/// [REM-4]
#[test]
fn a_password_is_set_on_a_server_and_a_token_is_created_and_revoked() {
    let (sandbox, server) = served("sqlite:s.db");
    let on = format!("--url http://{} --token-file token", server.address);
    let create =
        format!("auth create telegraf --org acme --user ada --write-bucket telemetry {on}");
    let created = sandbox.run_with_password(&create, "corr\"ect\\ häs s3cret").ok(&create);
    assert!(created.contains("password") && created.contains("set"), "{created}");
    let check = "check telegraf --write-bucket telemetry --store sqlite:s.db";
    assert_eq!(sandbox.run_with_password(check, "corr\"ect\\ häs s3cret").code, 0);
    assert_eq!(sandbox.run_with_password(check, "wrong").code, 1);
    let refused = sandbox.run_with_password(
        &format!("check telegraf --write-bucket telemetry {on}"),
        "corr\"ect\\ häs s3cret",
    );
    let refused = refused.fails(2, "a password on a server");
    assert!(refused.contains("only in a store") && !refused.contains("s3cret"), "{refused}");

    let token = sandbox.json(&format!("token create --org acme --user ada --read-all {on}"));
    let (id, secret) = (token["id"].as_str().unwrap(), token["token"].as_str().unwrap());
    sandbox.write("reader", secret);
    let reader = format!("--url http://{} --token-file reader", server.address);
    sandbox.ok(&format!("org list {reader}"));
    let refused = sandbox.fails(1, &format!("org create umbra {reader}"));
    assert!(refused.contains("401") && !refused.contains(secret), "{refused}");
    sandbox.ok(&format!("token revoke {id} {on}"));
    let refused = sandbox.fails(1, &format!("org list {reader}"));
    assert!(refused.contains("401 (unauthorized)"), "{refused}");
    server.stop();
}

/// [REM-1] [REM-3]
#[test]
fn a_server_and_a_store_exclude_each_other_and_no_token_is_sent_in_the_open() {
    let sandbox = Sandbox::with_store();
    sandbox.write("token", "pcl_s3cret\n");
    let url = "--url http://127.0.0.1:9 --token-file token";
    for (code, arguments, part) in [
        (2, format!("org list --store sqlite:portcullis.db {url}"), "exclude each other"),
        (2, format!("export {url}"), "`export` does not work on a server"),
        (2, format!("backup copy.db {url}"), "`backup` does not work on a server"),
        (2, format!("serve {url}"), "`serve` does not work on a server"),
        (2, "org list --token-file token".to_owned(), "--url or --profile"),
        (1, "org list --url http://192.0.2.1 --token-file token".to_owned(), "--allow-http"),
        (1, "org list --url http://ada:s3cret@db --token-file token".to_owned(), "--url"),
        (1, "org list --url http://127.0.0.1:9".to_owned(), "PORTCULLIS_TOKEN"),
        (1, format!("org list {url}"), "cannot connect to http://127.0.0.1:9"),
        (1, "org list --profile eu".to_owned(), "there is no profile `eu`"),
    ] {
        let error = sandbox.fails(code, &arguments);
        assert!(error.contains(part) && !error.contains("s3cret"), "{arguments}: {error}");
    }
}

/// [REM-5]
#[test]
fn a_login_stores_a_profile_once_the_server_accepts_the_token() {
    let (sandbox, server) = served("sqlite:s.db");
    let url = format!("http://{}", server.address);
    sandbox.write("wrong", "pcl_wr0ng\n");
    let refused = sandbox.fails(1, &format!("login --url {url} --token-file wrong"));
    assert!(refused.contains("401") && !refused.contains("wr0ng"), "{refused}");
    assert_eq!(sandbox.ok("profiles --json"), "[]\n");
    let login = sandbox.json(&format!("login --profile eu --url {url} --token-file token"));
    assert_eq!((login["profile"].as_str(), login["user"].as_str()), (Some("eu"), Some("ada")));
    let secret = sandbox.read("token");
    let listed = sandbox.ok("profiles");
    assert!(listed.contains("eu") && !listed.contains(secret.trim()), "{listed}");
    assert!(sandbox.ok("--profile eu org list").contains("acme"));
    sandbox.ok("logout --profile eu");
    assert!(sandbox.fails(1, "--profile eu org list").contains("there is no profile `eu`"));
    server.stop();
}

/// [ETAG-3] [ETAG-8]
#[test]
fn an_authorization_is_changed_only_with_the_tag_that_was_shown() {
    let (sandbox, server) = served("sled:s.sled");
    let local = Sandbox::new();
    local.ok("setup --store sled:s.sled --org acme --user ada --bucket telemetry");
    let on_server = format!("--url http://{} --token-file token", server.address);
    for (sandbox, on) in [(&local, "--store sled:s.sled"), (&sandbox, on_server.as_str())] {
        let create = "auth create --org acme --user ada --read-bucket telemetry --no-password";
        sandbox.ok(&format!("{create} telegraf {on}"));
        let shown = sandbox.json(&format!("auth show telegraf {on}"));
        assert!(shown.get("tag").is_none(), "{shown}");
        let tag = || {
            let shown = sandbox.json(&format!("auth show telegraf --tag {on}"));
            shown["tag"].as_str().unwrap().to_owned()
        };
        let first = tag();
        assert!(sandbox.ok(&format!("auth show telegraf --tag {on}")).contains(&first));
        sandbox.ok(&format!("auth disable telegraf --if-match {first} {on}"));
        let second = tag();
        for change in [
            "auth enable telegraf",
            "auth set-permissions telegraf --write-bucket telemetry",
            "auth set-password telegraf --generate",
            "auth restrict telegraf --expires 2100-01-01T00:00:00Z",
            "auth delete telegraf --yes",
        ] {
            let refused = sandbox.fails(1, &format!("{change} --if-match {first} {on}"));
            assert!(refused.contains("it was changed meanwhile"), "{change}: {refused}");
        }
        assert_eq!(tag(), second);
        sandbox.fails(2, &format!("auth enable telegraf --if-match 1 {on}"));
        sandbox.ok(&format!("auth delete telegraf --yes --if-match {second} {on}"));
        sandbox.fails(1, &format!("auth show telegraf --tag {on}"));
    }
    server.stop();
}
