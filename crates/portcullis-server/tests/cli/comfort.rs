//! Completions, manual pages, forms of output, filters of lists, and generated passwords.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Ran, Sandbox};

/// [CLI-9]
#[test]
fn completions_are_scripts_that_the_shell_accepts() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = sandbox.ok(&format!("completions {shell}"));
        assert!(script.contains("set-permissions") && script.contains("stale-if-error"), "{shell}");
        sandbox.write(shell, &script);
    }
    let bash = Command::new("bash").arg("-n").arg(sandbox.path("bash")).status();
    // Without a bash there is nothing to check.
    assert!(bash.is_err() || bash.unwrap().success());
    let error = sandbox.fails(2, "completions tcsh");
    assert!(error.contains("possible values"), "{error}");
}

/// [CLI-9]
#[test]
fn manual_pages_are_written_one_by_one_or_all_into_a_directory() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("man1")).unwrap();
    assert_eq!(sandbox.ok("man --directory man1"), "");
    let mut pages: Vec<_> = std::fs::read_dir(sandbox.path("man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    assert!(pages.len() > 40, "{pages:?}");
    for page in ["portcullis.1", "portcullis-serve.1", "portcullis-auth-set-password.1"] {
        assert!(pages.iter().any(|found| found == page), "{page}");
    }
    assert_eq!(sandbox.ok("man"), sandbox.read("man1/portcullis.1"));
    let create = sandbox.ok("man auth create");
    assert_eq!(create, sandbox.read("man1/portcullis-auth-create.1"));
    assert!(create.starts_with(".ie") || create.contains(".TH"), "{create}");
    assert!(sandbox.fails(1, "man auth nonsense").contains("there is no such command"));
    assert!(sandbox.fails(1, "man --directory none").contains("cannot write `none/"));
}

fn with_authorizations() -> Sandbox {
    let sandbox = Sandbox::with_store();
    sandbox.ok("user create bob");
    for (name, rest) in [
        ("telegraf", "--user ada --write-bucket telemetry --description =1+2,\"x\""),
        ("grafana", "--user ada --read-bucket telemetry --read-bucket events"),
        ("backup", "--user bob --read-bucket events --inactive"),
    ] {
        sandbox.ok(&format!("auth create {name} --org acme --no-password {rest}"));
    }
    sandbox
}

/// [CLI-10]
#[test]
fn lists_are_written_as_csv_with_every_value_in_full() {
    let sandbox = with_authorizations();
    let csv = sandbox.ok("auth list --output csv");
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(
        lines[0],
        "id,token,status,description,orgID,org,userID,user,permissions,hasPassword,createdAt,updatedAt"
    );
    assert_eq!(lines.len(), 4);
    let telegraf = lines.iter().find(|line| line.contains("telegraf")).unwrap();
    assert!(telegraf.contains(",active,\"=1+2,\"\"x\"\"\","), "{telegraf}");
    let grafana = lines.iter().find(|line| line.contains("grafana")).unwrap();
    assert_eq!(grafana.matches("read:orgs/").count(), 2, "{grafana}");
    for (command, names) in [
        ("org list", "id,name,status"),
        ("user list", "id,name,status"),
        ("bucket list", "id,orgID,org,name"),
        ("dbrp list", "id,database,retention_policy,default,virtual,orgID,org,bucketID,bucket"),
        ("token list", "id,status,description,orgID,org,userID,user,permissions"),
        ("config show", "option,value,from"),
    ] {
        let csv = sandbox.ok(&format!("{command} --output csv"));
        assert_eq!(csv.lines().next(), Some(names), "{command}");
        assert!(csv.lines().count() > 1, "{command}");
        let table = sandbox.ok(&format!("{command} --output table"));
        assert_eq!(table, sandbox.ok(command), "{command}");
        let json = sandbox.ok(&format!("{command} --output json"));
        assert_eq!(json, sandbox.ok(&format!("{command} --json")), "{command}");
    }
    let token = sandbox.ok("token create --org acme --user ada --owner --output csv");
    let (names, values) = token.split_once('\n').unwrap();
    assert!(names.ends_with(",token"), "{names}");
    let secret = values.trim_end().rsplit(',').next().unwrap();
    assert!(secret.len() > 40, "{values}");

    for command in ["export", "verify", "backup x", "check telegraf --read-bucket events"] {
        let error = sandbox.fails(2, &format!("{command} --output csv"));
        assert!(error.contains("--output csv"), "{command}: {error}");
    }
    assert!(!sandbox.path("x").exists());
    for options in ["--output csv --json", "--output yaml"] {
        sandbox.fails(2, &format!("org list {options}"));
    }
    for form in ["--json", "--output json", "--output csv"] {
        assert!(sandbox.fails(2, &format!("serve {form}")).contains("neither --json"), "{form}");
    }
}

/// [CLI-13]
#[test]
fn a_list_has_the_filters_of_the_api_and_can_be_continued() {
    let sandbox = with_authorizations();
    let names = |arguments: &str| -> Vec<String> {
        let listed = sandbox.json(&format!("auth list {arguments}"));
        let names = listed.as_array().unwrap().iter();
        names.map(|one| one["token"].as_str().unwrap().to_owned()).collect()
    };
    let (telemetry, events) = (sandbox.bucket("telemetry"), sandbox.bucket("events"));
    for (arguments, expected) in [
        ("--org acme --can-read events".to_owned(), &["grafana", "backup"][..]),
        (format!("--can-read {events}"), &["grafana", "backup"]),
        ("--org acme --can-write telemetry".to_owned(), &["telegraf"]),
        (format!("--can-write {telemetry} --status inactive"), &[]),
        ("--org acme --can-read events --user bob".to_owned(), &["backup"]),
        ("--limit 3".to_owned(), &["telegraf", "grafana", "backup"]),
    ] {
        let mut found = names(&arguments);
        let mut expected: Vec<_> = expected.iter().map(|name| (*name).to_owned()).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{arguments}");
    }
    let error = sandbox.fails(1, "auth list --can-write telemetry");
    assert!(error.contains("give --org"), "{error}");
    sandbox.fails(2, "auth list --can-write telemetry --can-read telemetry");
    sandbox.fails(2, "auth list --limit 0");

    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let ran = sandbox.run(&format!("auth list --json --limit 1 {after}"));
        assert_eq!(ran.code, 0, "{ran:?}");
        let listed: Value = serde_json::from_str(&ran.stdout).unwrap();
        all.push(listed[0]["token"].as_str().unwrap().to_owned());
        match ran.stderr.trim_end().strip_prefix("there are more: ") {
            Some(next) => after = next.to_owned(),
            None => break assert_eq!(ran.stderr, ""),
        }
    }
    assert_eq!(all, names(""));
}

/// [CLI-11]
#[test]
fn a_generated_password_is_shown_once_and_logs_in() {
    let sandbox = Sandbox::with_store();
    let create = "auth create telegraf --org acme --user ada --write-bucket telemetry";
    let ran = sandbox.run(&format!("{create} --generate --strong-passwords --json"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stderr, "the generated password has 24 characters and a strength of 138 bits\n");
    let created: Value = serde_json::from_str(&ran.stdout).unwrap();
    let first = created["password"].as_str().unwrap().to_owned();
    assert_eq!(first.len(), 24);
    let check = "check telegraf --write-bucket telemetry";
    assert_eq!(sandbox.run_with_password(check, &first).code, 0);
    assert!(!sandbox.ok("auth show telegraf --json").contains(&first));

    let ran = sandbox.run("auth set-password telegraf --generate");
    let line = ran.stdout.lines().find(|line| line.starts_with("generated password ")).unwrap();
    let second = line.rsplit(' ').next().unwrap().to_owned();
    assert!(ran.stdout.contains("shown only once"), "{ran:?}");
    assert_eq!(sandbox.run_with_password(check, &first).code, 1);
    assert_eq!(sandbox.run_with_password(check, &second).code, 0);

    let ran = sandbox.run("auth set-password telegraf --generate --output csv");
    let (names, values) = ran.stdout.split_once('\n').unwrap();
    assert!(names.ends_with(",password"), "{names}");
    let third = values.trim_end().rsplit(',').next().unwrap().to_owned();
    // The option comes before the environment.
    let ran = sandbox.run_with_password("auth set-password telegraf --generate", &third);
    assert!(ran.stdout.contains("generated password"), "{ran:?}");
    assert_eq!(sandbox.run_with_password(check, &third).code, 1);
    for other in ["--password-stdin", "--password-file x"] {
        sandbox.fails(2, &format!("auth set-password telegraf --generate {other}"));
    }
    sandbox.fails(2, &format!("{create} --generate --no-password"));

    // A secret that nothing can show is an error, with what to do.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = sandbox.command("auth set-password telegraf --generate");
    let ran: Ran = command.stdout(Stdio::from(writer)).output().unwrap().into();
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("could not be shown"), "{ran:?}");
}
