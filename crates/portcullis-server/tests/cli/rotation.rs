//! Rotation at the command line.

use crate::support::Sandbox;

/// [ROTATE-11]
#[test]
fn a_password_is_rotated_and_the_previous_one_ended() {
    let sandbox = Sandbox::with_store();
    let create = "auth create --org acme --user ada telegraf --write-bucket telemetry";
    sandbox.run_with_password(create, "the-old-password").ok(create);
    let logs_in = |password: &str| {
        let check = "check telegraf --write-bucket telemetry";
        let ran = sandbox.run_with_password(check, password);
        assert!(ran.code <= 1, "{ran:?}");
        ran.code == 0
    };
    let shown = sandbox.json("auth show telegraf");
    assert_eq!((shown.get("passwordSetAt"), shown.get("previousPassword")), (None, None));
    let rotate = "auth rotate telegraf";
    let rotated = sandbox.run_with_password(rotate, "the-new-password").ok(rotate);
    assert!(rotated.contains("previous password") && rotated.contains("works until"), "{rotated}");
    assert!(logs_in("the-old-password") && logs_in("the-new-password"));
    let shown = sandbox.json("auth show telegraf");
    let (set_at, previous) = (&shown["passwordSetAt"], &shown["previousPassword"]);
    assert!(previous["endsAt"].as_str() > set_at.as_str(), "{shown}");
    assert_eq!(previous.get("endsOnUse"), None);
    sandbox.ok("auth end-previous telegraf");
    assert!(!logs_in("the-old-password") && logs_in("the-new-password"));
    assert_eq!(sandbox.json("auth show telegraf").get("previousPassword"), None);

    let rotate = "auth rotate telegraf --keep-previous 7d --until-used";
    let rotated = sandbox.run_with_password(rotate, "the-newest-password").ok(rotate);
    assert!(rotated.contains("or when the new one is used"), "{rotated}");
    // A check is no login: it ends nothing.
    assert!(logs_in("the-newest-password") && logs_in("the-new-password"));
    // A time that is not valid, and a credential that does not exist.
    let error = sandbox.fails(2, "auth rotate telegraf --keep-previous 91d --generate");
    assert!(error.contains("from 1 second to 90 days"), "{error}");
    let error = sandbox.fails(1, "auth end-previous nothing");
    assert!(error.contains("there is no authorization"), "{error}");
}

/// [PW-15] [PW-16] [PW-18] [PW-19]
#[test]
fn rules_for_passwords_are_options() {
    let sandbox = Sandbox::with_store();
    std::fs::write(sandbox.path("common"), "password123\nqwertyuiop\n").unwrap();
    let create = "auth create --org acme --user ada --write-bucket telemetry";
    let long = "correct horse battery";
    for (options, password, message) in [
        ("--password-block-list common", "Password123", "in a list of common passwords"),
        ("--password-policy nist", "short-enough", "between 15 and 256 characters"),
        ("--password-policy strong", "alllowercase", "three of the following"),
    ] {
        let ran = sandbox.run_with_password(&format!("{create} telegraf {options}"), password);
        assert!(ran.code == 1 && ran.stderr.contains(message), "{options}: {ran:?}");
        sandbox.fails(1, "auth show telegraf");
    }
    let options = "--password-policy nist --password-max-age 90d --password-block-list common";
    let created = format!("{create} telegraf {options}");
    sandbox.run_with_password(&created, long).ok(&created);
    assert!(sandbox.json("auth show telegraf")["passwordExpiresAt"].is_string());
    let again = sandbox.run_with_password("auth set-password telegraf --password-history 2", long);
    assert!(again.code == 1 && again.stderr.contains("one of the last 2"), "{again:?}");
    for options in [
        "--password-policy none",
        "--password-policy nist --strong-passwords",
        "--password-block-list nowhere",
        "--password-max-age 0s",
        "--password-history 25",
    ] {
        sandbox.fails(2, &format!("{create} ada --generate {options}"));
    }
}
