//! Ends and networks at the command line.

use serde_json::{Value, json};

use crate::support::Sandbox;

const PASSWORD: &str = "s3cret-enough";
const END: &str = "2100-01-01T00:00:00Z";

fn found(sandbox: &Sandbox, code: i32, arguments: &str) -> Value {
    let ran = sandbox.run_with_password(&format!("{arguments} --json"), PASSWORD);
    assert_eq!((ran.code, ran.stderr.as_str()), (code, ""), "{ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// [EXP-11] [NET-2]
#[test]
fn ends_and_networks_are_set_shown_listed_and_removed() {
    let sandbox = Sandbox::with_store();
    let create = "auth create --org acme --user ada --write-bucket telemetry --no-password";
    sandbox.ok(&format!("{create} plain"));
    let plain = sandbox.ok("auth show plain");
    assert!(!plain.contains("expires") && !plain.contains("networks"), "{plain}");
    sandbox.ok(&format!("{create} visitor --expires {END} --allow-network 10.1.2.3/8"));
    let shown = sandbox.ok("auth show visitor");
    assert!(shown.contains("expires") && shown.contains(END), "{shown}");
    assert!(shown.contains("allowed networks") && shown.contains("10.0.0.0/8"), "{shown}");

    let names = |arguments: &str| {
        let listed = sandbox.json(arguments);
        let listed = listed.as_array().unwrap().iter();
        listed.map(|one| one["token"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("auth list --expires-before 2100-01-01T00:00:01Z"), ["visitor"]);
    assert!(names(&format!("auth list --expires-before {END}")).is_empty());
    assert!(names("auth list --expires-before 90d").is_empty());
    sandbox.ok("auth restrict plain --expires 30d");
    assert_eq!(names("auth list --expires-before 90d"), ["plain"]);

    sandbox.ok("auth restrict visitor --expires never");
    let shown = sandbox.json("auth show visitor");
    assert_eq!(
        (&shown["expiresAt"], &shown["allowedNetworks"]),
        (&Value::Null, &json!(["10.0.0.0/8"]))
    );
    sandbox.ok("auth restrict visitor --any-network");
    assert_eq!(sandbox.json("auth show visitor").get("allowedNetworks"), None);

    for (arguments, message) in [
        ("auth restrict visitor --expires 2000-01-01T00:00:00Z", "must be in the future"),
        ("auth restrict visitor --password-expires 1d", "no password is set"),
    ] {
        let error = sandbox.run(arguments);
        assert!(error.code != 0 && error.stderr.contains(message), "{error:?}");
    }
    for arguments in [
        "auth restrict visitor",
        "auth restrict visitor --expires tomorrow",
        "auth restrict visitor --allow-network office",
        "auth restrict visitor --any-network --allow-network ::1",
    ] {
        let error = sandbox.run(arguments);
        assert!(error.code == 2 && error.stderr.contains("error"), "{error:?}");
    }

    let token = sandbox.json(&format!(
        "token create --org acme --user ada --member --expires {END} --allow-network ::1"
    ));
    assert_eq!((&token["expiresAt"], &token["allowedNetworks"]), (&json!(END), &json!(["::1"])));
    let id = token["id"].as_str().unwrap();
    let changed = sandbox.json(&format!("token restrict {id} --expires never --any-network"));
    assert_eq!((changed.get("expiresAt"), changed.get("allowedNetworks")), (None, None));
}

/// [EXP-5] [NET-3]
#[test]
fn check_observes_ends_and_the_source() {
    let sandbox = Sandbox::with_store();
    let create = "auth create --org acme --user ada telegraf --write-bucket telemetry";
    sandbox.run_with_password(create, PASSWORD).ok(create);
    sandbox.ok("auth restrict telegraf --allow-network 10.0.0.0/8");
    let check = "check telegraf --write-bucket telemetry";
    assert_eq!(found(&sandbox, 0, &format!("{check} --source 10.1.2.3"))["allowed"], true);
    for source in ["", " --source 192.0.2.1"] {
        let refused = found(&sandbox, 1, &format!("{check}{source}"));
        assert_eq!(refused["reason"], "the credential may not be used from this address");
    }
    let without = sandbox.json(check);
    assert_eq!(without["allowed"], true);
    assert!(without["notes"].to_string().contains("only from 10.0.0.0/8"), "{without}");
    let refused = sandbox.run(&format!("{check} --source 192.0.2.1"));
    let reason = "the authorization may not be used from 192.0.2.1";
    assert!(refused.code == 1 && refused.stdout.contains(reason), "{refused:?}");

    sandbox.ok("auth restrict telegraf --any-network --expires 1s");
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let refused = found(&sandbox, 1, check);
    assert_eq!(refused["reason"], "the credential or its password has expired");
    let ran = sandbox.run(check);
    assert!(ran.code == 1 && ran.stdout.contains("the authorization expired at"), "{ran:?}");
}
