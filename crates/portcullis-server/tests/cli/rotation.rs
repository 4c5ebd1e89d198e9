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
