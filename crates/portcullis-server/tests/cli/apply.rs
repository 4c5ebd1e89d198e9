//! `portcullis apply`: records become what a file says, in a store and on a server.

use serde_json::Value;

use crate::remote::{normalized, served};
use crate::support::{Ran, Sandbox, Server};

const FILE: &str = "
users:
- name: ada
- name: grace
  status: inactive
orgs:
- name: acme
  managed: true
  buckets: [telemetry, weather]
  dbrps:
  - {database: metrics, bucket: telemetry}
  - {database: metrics, retentionPolicy: week, bucket: weather, default: true}
  credentials:
  - username: telegraf
    user: ada
    description: agents
    write: [telemetry]
    passwordFile: secrets/telegraf
  - username: größe&co
    user: grace
    status: inactive
    read: all
    passwordEnv: GRAFANA_PASSWORD
    permissions: ['read:orgs/acme/tasks']
";

/// Passwords are in no output: all of them have this.
const SECRET: &str = "s3cret";

/// A sandbox with the file and its passwords.
fn prepare(sandbox: &Sandbox) {
    std::fs::create_dir_all(sandbox.path("files/secrets")).unwrap();
    sandbox.write("files/secrets/telegraf", format!("{SECRET}-of-telegraf\n"));
    sandbox.write("files/credentials.yaml", FILE);
}

fn run(sandbox: &Sandbox, arguments: &str) -> Ran {
    let mut command = sandbox.command(arguments);
    let ran: Ran =
        command.env("GRAFANA_PASSWORD", format!("{SECRET}-of-grafana")).output().unwrap().into();
    assert!(!format!("{ran:?}").contains(SECRET), "{ran:?}");
    ran
}

/// What lists show of the store or the server.
fn content(sandbox: &Sandbox, on: &str) -> String {
    let lists = ["org list", "user list", "bucket list", "dbrp list --no-virtual", "auth list"];
    let mut seen = Vec::new();
    let list = |list: &&str| normalized(&sandbox.ok(&format!("{list} --json {on}")), &mut seen);
    lists.iter().map(list).collect()
}

/// [APPLY-3] [APPLY-7] [APPLY-8] [APPLY-9]
#[test]
fn a_file_has_the_same_outcome_in_a_store_and_on_a_server() {
    let local = Sandbox::new();
    local.ok("setup --store sqlite:s.db --org acme --user ada --bucket telemetry");
    let (remote, server) = served("sled:s.sled");
    let on_server = format!("--url http://{} --token-file token", server.address);
    let both = [(&local, "--store sqlite:s.db"), (&remote, on_server.as_str())];
    for (sandbox, _) in both {
        prepare(sandbox);
    }
    let apply = "apply -f files/credentials.yaml";
    // The same on both, but for notes on passwords.
    let same = |arguments: &str, code: i32| -> String {
        let [here, there] = both.map(|(sandbox, on)| {
            let ran = run(sandbox, &format!("{arguments} {on}"));
            assert_eq!((ran.code, ran.stderr.as_str()), (code, ""), "{arguments} {on}: {ran:?}");
            let lines = ran.stdout.lines().filter(|line| !line.starts_with("note: "));
            lines.collect::<Vec<_>>().join("\n")
        });
        assert_eq!(here, there, "{arguments}");
        let [here, there] = both.map(|(sandbox, on)| content(sandbox, on));
        assert_eq!(here, there, "{arguments}");
        here
    };
    let before = same(&format!("{apply} --diff"), 2);
    let after = same(apply, 0);
    assert_ne!(before, after);
    assert!(after.contains("größe&co") && after.contains("weather"), "{after}");
    assert_eq!(same(&format!("{apply} --diff"), 0), after);
    assert_eq!(same(apply, 0), after);

    // Another change than that of the file.
    for command in [
        "auth create extra --org acme --user ada --read-bucket weather --no-password",
        "auth set-permissions telegraf --write-bucket weather",
        "bucket create --org acme extra",
        "dbrp create --org acme --bucket extra extra",
        "user enable grace",
    ] {
        for (sandbox, on) in both {
            sandbox.ok(&format!("{command} {on}"));
        }
    }
    let shown = run(&local, &format!("{apply} --diff --store sqlite:s.db")).stdout;
    assert!(shown.contains("not in the file: 3 records of managed orgs"), "{shown}");
    same(&format!("{apply} --prune --diff"), 2);
    assert_ne!(same(apply, 0), after);
    assert_eq!(same(&format!("{apply} --prune"), 0), after);
    assert_eq!(same(&format!("{apply} --prune --diff"), 0), after);

    let document: Value =
        serde_json::from_str(&run(&local, &format!("{apply} --json --store sqlite:s.db")).stdout)
            .unwrap();
    assert_eq!((&document["applied"], &document["changes"]), (&true.into(), &Value::Array(vec![])));
    server.stop();
}

/// [APPLY-6]
#[test]
fn a_password_is_set_only_if_it_is_another_one_and_on_a_server_on_request() {
    let (sandbox, server) = served("sqlite:s.db");
    prepare(&sandbox);
    let on_server = format!("--url http://{} --token-file token", server.address);
    let apply = "apply -f files/credentials.yaml";
    let logs_in = |password: &str| {
        let check = "check telegraf --write-bucket telemetry --store sqlite:s.db";
        sandbox.run_with_password(check, password).code == 0
    };
    assert_eq!(run(&sandbox, &format!("{apply} {on_server}")).code, 0);
    assert!(logs_in("s3cret-of-telegraf"));

    sandbox.write("files/secrets/telegraf", "s3cret-of-telegraf-2");
    let kept = run(&sandbox, &format!("{apply} {on_server}")).ok("apply");
    let note =
        "note: the password of `telegraf` cannot be compared, and stays: --set-passwords sets it";
    assert!(kept.contains("nothing changed") && kept.contains(note), "{kept}");
    assert!(logs_in("s3cret-of-telegraf"));
    let set = run(&sandbox, &format!("{apply} --set-passwords {on_server}")).ok("apply");
    assert!(set.contains("2 records changed") && !set.contains("note"), "{set}");
    assert!(logs_in("s3cret-of-telegraf-2") && !logs_in("s3cret-of-telegraf"));

    // A store compares.
    let store = "--store sqlite:s.db";
    let same = run(&sandbox, &format!("{apply} --set-passwords {store}")).ok("apply");
    assert!(same.contains("nothing changed") && !same.contains("note"), "{same}");
    sandbox.write("files/secrets/telegraf", "s3cret-of-telegraf-3");
    let set = run(&sandbox, &format!("{apply} {store}")).ok("apply");
    assert!(set.contains("1 record changed"), "{set}");
    assert!(logs_in("s3cret-of-telegraf-3"));

    // A hash is for a store.
    let hash = "$2b$04$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234";
    sandbox.write(
        "files/hash.yaml",
        format!("orgs:\n- name: acme\n  credentials:\n  - {{username: hashed, user: ada, read: all, passwordHash: {hash}}}\n"),
    );
    let refused = run(&sandbox, &format!("apply -f files/hash.yaml {on_server}")).fails(1, "hash");
    assert!(refused.contains("hash.yaml:4:"), "{refused}");
    assert!(refused.contains("a server accepts no hashes") && !refused.contains(hash), "{refused}");
    assert_eq!(run(&sandbox, &format!("apply -f files/hash.yaml {store}")).code, 0);
    server.stop();
}

/// [APPLY-5]
#[test]
fn an_apply_that_fails_half_way_says_so_and_the_next_one_finishes() {
    let sandbox = Sandbox::with_store();
    let token = sandbox.json("token create --org acme --user ada --operator");
    sandbox.write("token", token["token"].as_str().unwrap());
    prepare(&sandbox);
    let server = Server::start(&sandbox, "--strong-passwords");
    let on = format!("--url http://{} --token-file token", server.address);
    let apply = format!("apply -f files/credentials.yaml {on}");
    // Only the server has its rules for passwords.
    let failed = run(&sandbox, &apply).fails(1, &apply);
    assert!(failed.contains("steps are made; apply the file again to finish"), "{failed}");
    assert!(failed.contains("the password of `telegraf` is not set"), "{failed}");
    assert!(failed.contains("at least three of the following"), "{failed}");
    let before = run(&sandbox, &format!("{apply} --strong-passwords"));
    assert!(before.stderr.contains("credentials.yaml:"), "{before:?}");
    sandbox.write("files/secrets/telegraf", "S3cret-of-telegraf");
    let mut finish = sandbox.command(&apply);
    let finished: Ran =
        finish.env("GRAFANA_PASSWORD", "S3cret-of-grafana").output().unwrap().into();
    let finished = finished.ok(&apply);
    assert!(finished.contains("telegraf") && finished.contains("größe&co"), "{finished}");
    let mut again = sandbox.command(&format!("{apply} --diff"));
    let again: Ran = again.env("GRAFANA_PASSWORD", "S3cret-of-grafana").output().unwrap().into();
    assert_eq!(again.code, 0, "{again:?}");
    server.stop();
}

/// [APPLY-2] [APPLY-6]
#[test]
fn mistakes_are_reported_together_and_nothing_is_changed() {
    let sandbox = Sandbox::with_store();
    let on = "--store sqlite:portcullis.db";
    let before = content(&sandbox, on);
    sandbox.write(
        "bad.yaml",
        "users:\n- name: grace\norgs:\n- name: acme\n  credentials:\n\
         \x20 - {username: a, user: nowhere, read: [nothing], passwordFile: missing}\n",
    );
    let error = sandbox.fails(1, "apply -f bad.yaml");
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "error: bad.yaml:6:25: there is no user `nowhere`: add it to `users`",
            "bad.yaml:6:41: there is no bucket `nothing` in the org `acme`: add it to `buckets`",
        ]
    );
    assert!(
        lines[2].starts_with("bad.yaml:6:65: cannot read the password from `missing`"),
        "{error}"
    );
    assert_eq!(lines[3..], ["nothing was changed"]);
    sandbox.write("inline.yaml", "users:\n- name: grace\n  password: s3cret\n");
    let error = sandbox.fails(1, "apply -f inline.yaml --diff");
    assert!(
        error.starts_with("error: inline.yaml:3:3: `password`: no secret is in this file"),
        "{error}"
    );
    assert!(!error.contains("s3cret"), "{error}");
    assert_eq!(content(&sandbox, on), before);
    sandbox.fails(1, "apply -f none.yaml");
    sandbox.fails(2, "apply");
    sandbox.fails(2, "apply -f bad.yaml --output csv");
    // Standard input.
    let ran = sandbox.run_with_stdin("apply -f -", "users: [{name: grace}]");
    assert_eq!(
        ran.ok("apply -f -").lines().last(),
        Some("1 record changed, 0 are as the file says")
    );
}

/// The blocks of YAML in a document.
fn blocks(document: &str) -> Vec<&str> {
    let blocks = document.split("```yaml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

/// [APPLY-1]
#[test]
fn the_examples_of_the_documentation_are_applied() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/desired-state.md");
    let document = std::fs::read_to_string(path).unwrap();
    let [example, ansible, kubernetes] = blocks(&document)[..] else { panic!("three examples") };
    let ansible: Value = serde_saphyr::from_str(ansible).unwrap();
    let tasks = ansible[0]["tasks"].as_array().unwrap();
    let playbook = tasks[0]["ansible.builtin.copy"]["content"].as_str().unwrap();
    let [config, job] = kubernetes.split("---\n").collect::<Vec<_>>()[..] else {
        panic!("two documents")
    };
    let config: Value = serde_saphyr::from_str(config).unwrap();
    let mounted = config["data"]["credentials.yaml"].as_str().unwrap();
    let sandbox = Sandbox::with_store();
    std::fs::create_dir(sandbox.path("secrets")).unwrap();
    sandbox.write("secrets/telegraf", "password-of-telegraf");
    let secrets = sandbox.path("secrets").into_os_string().into_string().unwrap();
    let mounted = mounted.replace("/run/secrets/passwords", &secrets);
    assert!(mounted.contains(&secrets), "{mounted}");

    let job: Value = serde_saphyr::from_str(job).unwrap();
    let arguments = &job["spec"]["template"]["spec"]["containers"][0]["args"];
    let arguments: Vec<&str> =
        arguments.as_array().unwrap().iter().map(|argument| argument.as_str().unwrap()).collect();
    let cluster = arguments.join(" ");
    let cluster = cluster.split(" --url").next().unwrap().to_owned();
    let ansible: Vec<String> = tasks[1..]
        .iter()
        .map(|task| task["ansible.builtin.command"]["cmd"].as_str().unwrap())
        .map(|command| command.strip_prefix("portcullis ").unwrap().to_owned())
        .collect();
    let apply = |text: &str, command: &str| {
        sandbox.write("credentials.yaml", text);
        let command = command.replace("/etc/portcullis/", "");
        let mut command = sandbox.command(&command);
        for name in ["GRAFANA_PASSWORD", "TELEGRAF_PASSWORD"] {
            command.env(name, "password-of-telegraf");
        }
        Ran::from(command.output().unwrap())
    };
    for (text, show, change) in [
        (example, "apply -f credentials.yaml --prune --diff", "apply -f credentials.yaml --prune"),
        (playbook, &ansible[0], &ansible[1]),
        (&mounted, &format!("{cluster} --diff"), &cluster),
    ] {
        let shown = apply(text, show);
        // The Job has the same credentials as the playbook.
        assert_eq!(shown.code, if text == mounted { 0 } else { 2 }, "{shown:?}");
        assert_eq!(apply(text, change).code, 0);
        assert_eq!(apply(text, show).code, 0);
    }
    assert_eq!(sandbox.json("auth list").as_array().unwrap().len(), 1);
}
