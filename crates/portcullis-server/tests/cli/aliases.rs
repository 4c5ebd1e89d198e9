//! Older forms of commands and options. They go on working, and help does not show them.

use crate::support::{Sandbox, Server};

/// Every older form of a command, and the form that replaces it.
const COMMANDS: [(&str, &str); 16] = [
    ("org set-inactive acme", "org disable acme"),
    ("org set-active acme", "org enable acme"),
    ("user set-inactive ada", "user disable ada"),
    ("user set-active ada", "user enable ada"),
    ("auth show --username telegraf", "auth show telegraf"),
    ("auth show --id ID", "auth show ID"),
    ("auth set-inactive --username telegraf", "auth disable telegraf"),
    ("auth set-active --id ID", "auth enable ID"),
    ("auth set-password --username telegraf", "auth set-password telegraf"),
    ("auth set-password --id ID", "auth set-password ID"),
    (
        "auth set-permissions --username telegraf --read-bucket events",
        "auth set-permissions telegraf --read-bucket events",
    ),
    (
        "auth set-permissions --id ID --write-bucket telemetry",
        "auth set-permissions ID --write-bucket telemetry",
    ),
    ("auth list --permits write:buckets", "auth list --permission write:buckets"),
    (
        "check --username telegraf --write-bucket telemetry",
        "check telegraf --write-bucket telemetry",
    ),
    (
        "check --username telegraf --permission write:buckets/BUCKET",
        "check telegraf --permission write:buckets/BUCKET",
    ),
    ("auth delete --id ID", "auth delete ID"),
];

/// Returns a store with the authorization `telegraf`, and the output of the command on it.
fn output(command: &str) -> String {
    let sandbox = Sandbox::with_store();
    let create = "auth create telegraf --org acme --user ada --write-bucket telemetry --json";
    let created = sandbox.run_with_password(create, "s3cret-enough").ok(create);
    let created: serde_json::Value = serde_json::from_str(&created).unwrap();
    let id = created["id"].as_str().unwrap();
    let bucket = sandbox.bucket("telemetry");
    let command = command.replace("ID", id).replace("BUCKET", &bucket);
    let output = sandbox.run_with_password(&command, "s3cret-changed").stdout;
    let ids = ["org list", "user list"].map(|list| sandbox.json(list)[0]["id"].clone());
    let mut output = output.replace(id, "ID").replace(&bucket, "BUCKET");
    for id in ids {
        output = output.replace(id.as_str().unwrap(), "ID");
    }
    let events = sandbox.bucket("events");
    let lines =
        output.lines().filter(|line| !line.starts_with("created") && !line.starts_with("updated"));
    lines.collect::<Vec<_>>().join("\n").replace(&events, "EVENTS")
}

#[test]
fn older_forms_of_commands_do_what_the_forms_that_replace_them_do() {
    for (older, form) in COMMANDS {
        let expected = output(form);
        assert_ne!(expected, "", "{form}");
        assert_eq!(output(older), expected, "{older}");
    }
    let sandbox = Sandbox::with_store();
    let create =
        "auth create --org acme --user ada --username x --no-password --read-bucket events";
    assert_eq!(sandbox.json(create)["token"], "x");
    assert_eq!(sandbox.json("auth delete --username x")["token"], "x");
}

#[test]
fn older_options_of_serve_are_accepted() {
    let sandbox = Sandbox::new();
    let older =
        "--store memory: --throttle off --time-to-live 3600 --outage-grace 60 --cache-size 64";
    Server::start(&sandbox, older).stop();
    for (options, expected) in [
        ("--throttle on", "possible values: off"),
        ("--throttle off --no-throttle", "cannot be used with"),
        ("--time-to-live 1", "invalid value"),
        ("--outage-grace 0", "invalid value"),
        ("--time-to-live 60 --cache-ttl 60", "cannot be used multiple times"),
    ] {
        let error = sandbox.fails(2, &format!("serve {options}"));
        assert!(error.contains(expected), "{options}: {error}");
    }
}

#[test]
fn help_shows_only_the_forms_that_replace_older_ones() {
    let sandbox = Sandbox::new();
    for (command, shown, hidden) in [
        ("org", &["enable", "disable"][..], &["set-active", "set-inactive"][..]),
        ("user", &["enable", "disable"], &["set-active", "set-inactive"]),
        ("auth", &["enable", "disable"], &["set-active", "set-inactive"]),
        ("auth show", &["<NAME>"], &["--username", "--id"]),
        ("auth enable", &["<NAME>"], &["--username", "--id"]),
        ("auth disable", &["<NAME>"], &["--username", "--id"]),
        ("auth delete", &["<NAME>"], &["--username", "--id"]),
        ("auth set-password", &["<NAME>"], &["--username", "--id"]),
        ("auth set-permissions", &["<NAME>"], &["--username", "--id"]),
        ("auth create", &["<USERNAME>"], &["--username"]),
        ("auth list", &["--permission"], &["--permits"]),
        ("check", &["<USERNAME>"], &["--username"]),
        (
            "serve",
            &["--no-throttle", "--cache-ttl", "--stale-if-error", "[default: 64MiB]"],
            &["--throttle ", "--time-to-live", "--outage-grace"],
        ),
    ] {
        let help = sandbox.ok(&format!("{command} --help"));
        for form in shown {
            assert!(help.contains(form), "{command} without {form}: {help}");
        }
        for form in hidden {
            assert!(!help.contains(form), "{command} with {form}: {help}");
        }
    }
}
