//! Formats that have names and passwords, and no permissions.

use portcullis::{Credentials, Engine, Permission, Resource};
use portcullis_import::{Entry, Format, Options, PlanError, plan};

use crate::meta::{self, HASH, PASSWORD};
use crate::support::{engine, entries, file, lines, login, notes, options};

fn with_buckets(read: &[&str], write: &[&str]) -> Options {
    let mut options = options();
    options.read_buckets = read.iter().map(|&name| name.to_owned()).collect();
    options.write_buckets = write.iter().map(|&name| name.to_owned()).collect();
    options
}

async fn import(
    engine: &Engine,
    format: Format,
    content: &str,
    options: &Options,
) -> Result<Vec<Entry>, PlanError> {
    let file = file(content.as_bytes());
    let mut plan = plan(&mut *format.open(file.path())?, engine, options).await?;
    plan.store(engine).await.unwrap();
    Ok(entries(&mut plan))
}

/// The permissions of the credential, with the names of buckets.
async fn permissions(engine: &Engine, username: &str) -> Vec<String> {
    let there = engine.authorization_by_username(username).await.unwrap().unwrap();
    let mut shown = Vec::new();
    for Permission { action, resource: Resource { id, .. } } in there.permissions {
        let bucket = engine.directory().bucket(id.unwrap().into()).await.unwrap().unwrap();
        shown.push(format!("{action}:{}", bucket.name));
    }
    shown
}

/// [IMP-27] [IMP-32]
#[tokio::test]
async fn credentials_of_a_password_file_may_do_what_the_operator_names() {
    let engine = engine().await;
    let content = format!("ada:{HASH}\nbob:{HASH}\n");
    let options = with_buckets(&["telemetry", "shared"], &["telemetry", "telemetry"]);
    let report = import(&engine, Format::Htpasswd, &content, &options).await.unwrap();
    assert_eq!(
        lines(&report),
        [
            "org acme: taken",
            "bucket telemetry: taken",
            "bucket shared: taken",
            "user ada: taken",
            "credential ada: taken",
            "credential bob: taken",
        ]
    );
    assert!(notes(&report, "bucket", "shared").contains("created"));
    let expected = ["read:telemetry", "read:shared", "write:telemetry"];
    for name in ["ada", "bob"] {
        assert_eq!(permissions(&engine, name).await, expected);
        login(&engine, name, PASSWORD).await.unwrap();
    }

    let again = import(&engine, Format::Htpasswd, &content, &options).await.unwrap();
    assert!(again.iter().all(|entry| entry.outcome.as_str() == "already there"), "{again:?}");
}

/// [IMP-32]
#[tokio::test]
async fn credentials_without_named_buckets_log_in_and_have_no_permission() {
    let engine = engine().await;
    let content = format!(r#"{{"name":"ada","password_hash":"{HASH}","policies":["team"]}}"#);
    let report = import(&engine, Format::VaultUserpass, &content, &options()).await.unwrap();
    assert!(notes(&report, "credential", "ada").contains("no permission"));
    assert!(lines(&report).contains(&"grant ada/policy team: not carried".to_owned()));
    assert!(permissions(&engine, "ada").await.is_empty());
    login(&engine, "ada", PASSWORD).await.unwrap();
}

/// [IMP-29] [IMP-14]
#[tokio::test]
async fn plain_passwords_and_bearer_tokens_of_vmauth_work() {
    let engine = engine().await;
    let content = "users:\n- {username: ada, password: short}\n- {username: bob}\n- {bearer_token: \
                   abc-0123456789, name: agent}\n";
    let options = with_buckets(&[], &["telemetry"]);
    let report = import(&engine, Format::Vmauth, content, &options).await.unwrap();
    assert_eq!(
        lines(&report)[3..],
        ["credential ada: taken", "credential bob: skipped", "API token agent: taken"]
    );
    assert!(notes(&report, "credential", "ada").contains("would be refused today"));
    assert!(notes(&report, "credential", "bob").contains("empty"));
    assert!(notes(&report, "API token", "agent").contains("its secret is short"));
    login(&engine, "ada", "short").await.unwrap();
    assert_eq!(permissions(&engine, "ada").await, ["write:telemetry"]);
    engine.authenticate(Credentials::token("abc-0123456789")).await.unwrap();
}

/// [IMP-32]
#[tokio::test]
async fn a_format_with_permissions_refuses_buckets() {
    let engine = engine().await;
    let options = with_buckets(&["telemetry"], &[]);
    let file = file(&meta::file(&[meta::plain_database("telemetry")], &[]));
    let mut source = Format::Influxdb1x.open(file.path()).unwrap();
    let error = plan(&mut *source, &engine, &options).await.unwrap_err();
    assert!(matches!(error, PlanError::HasGrants), "{error}");
}
