//! Secrets that never authenticate, whatever is stored and whatever is cached.

use portcullis::Credentials;
use portcullis::password::PasswordHash;
use portcullis::snapshot::Snapshot;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::World;

/// Imported hashes, with their passwords.
const BCRYPT: (&str, &str) =
    ("imported", "$2b$04$abcdefghijklmnopqrstuu2P8xRWSX2.OqyvLaDeHDR4HSDjn3vSi");
const ARGON2ID: (&str, &str) = (
    "Imp0rted!",
    "$argon2id$v=19$m=8,t=1,p=1$c2l4dGVlbiBieXRlcyBvZg$3YChb7TO9RHOmRBXqY9EgE5voqCE8orTpQtdpvKElh4",
);

/// A world with an API token and authorizations that have a password, an imported hash, or none; all of
/// them are cached as far as they can be.
struct Warm {
    world: World,
    token: String,
    digest: String,
}

impl Warm {
    async fn new() -> Self {
        let world = World::with(|builder| builder.no_throttle().rehash_on_login(false)).await;
        world.credential("telegraf").await;
        world.authorization("passwordless").await;
        for (id, username, hash) in [
            ("1", "argon2id", Some(ARGON2ID.1)),
            ("2", "bcrypt", Some(BCRYPT.1)),
            ("3", "null", None),
        ] {
            let line = format!(
                r#"{{"type":"authorization","id":"{id:0>16}","token":"{username}","orgID":"{}","userID":"{}","passwordHash":{}}}"#,
                world.org.id,
                world.user.id,
                hash.map_or("null".to_owned(), |hash| format!("\"{hash}\"")),
            );
            let snapshot = Snapshot::read(line.as_bytes()).unwrap();
            world.engine.import(snapshot, false).await.unwrap();
        }
        let (token, secret) = world.operator_token().await;
        for _ in 0..2 {
            world.login("telegraf", "telegraf-password").await.unwrap();
            world.login("", secret.expose()).await.unwrap();
            world.login("unknown", secret.expose()).await.unwrap();
            world.engine.authenticate(Credentials::token(secret.expose())).await.unwrap();
            world.engine.authenticate_caller(Credentials::token(secret.expose())).await.unwrap();
        }
        let (token, digest) = (secret.expose().to_owned(), token.digest.to_text());
        Self { world, token, digest }
    }

    /// Whether the secret authenticates: as a password, or as a token in either way.
    async fn authenticates(&self, username: &str, secret: &[u8]) -> bool {
        let engine = &self.world.engine;
        let mut outcomes = vec![engine.authenticate(Credentials::password(username, secret)).await];
        if let Ok(secret) = std::str::from_utf8(secret) {
            outcomes.push(engine.authenticate(Credentials::token(secret)).await);
            outcomes.push(engine.authenticate_caller(Credentials::token(secret)).await);
        }
        outcomes.iter().any(Result::is_ok)
    }
}

/// Names that exist, that do not, that are empty, and any text.
fn usernames() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "telegraf",
            "passwordless",
            "argon2id",
            "bcrypt",
            "null",
            "",
            "unknown"
        ])
        .prop_map(str::to_owned),
        "\\PC{0,20}",
    ]
}

#[test]
fn an_empty_secret_never_authenticates_whatever_is_cached() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let warm = runtime.block_on(Warm::new());
    TestRunner::new(Config::with_cases(200))
        .run(&usernames(), |username| {
            prop_assert!(!runtime.block_on(warm.authenticates(&username, b"")));
            Ok(())
        })
        .unwrap();
    assert!(PasswordHash::parse("").is_err());
    let no_token = r#"{"type":"apiToken","id":"0000000000000009","orgID":"0000000000000009","userID":"0000000000000009","token":""}"#;
    assert!(Snapshot::read(no_token.as_bytes()).is_err());
    let no_hash = r#"{"type":"authorization","id":"0000000000000009","token":"x","orgID":"0000000000000009","userID":"0000000000000009","passwordHash":""}"#;
    assert!(Snapshot::read(no_hash.as_bytes()).is_err());
}

/// [PW-8]
#[test]
fn without_a_password_no_password_authenticates() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let warm = runtime.block_on(Warm::new());
    let secrets = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        prop::sample::select(vec!["null", "None", "telegraf-password", "password"])
            .prop_map(|text| text.as_bytes().to_vec()),
        Just(warm.token.clone().into_bytes()),
    ];
    TestRunner::new(Config::with_cases(200))
        .run(&secrets, |secret| {
            for username in ["passwordless", "null"] {
                let credentials = Credentials::password(username, &secret);
                let outcome = runtime.block_on(warm.world.engine.authenticate(credentials));
                prop_assert!(outcome.is_err(), "{username}");
            }
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn a_stored_hash_or_digest_is_no_password_and_no_token() {
    let warm = Warm::new().await;
    let (world, digest) = (&warm.world, &warm.digest);
    let stored = world.engine.authorization_by_username("telegraf").await.unwrap().unwrap();
    let hash = stored.password_hash.unwrap().expose().to_owned();
    let hexadecimal = digest.strip_prefix("sha256:").unwrap();
    let digits = hexadecimal.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap());
    let bytes: Vec<_> = digits.map(|two| u8::from_str_radix(two, 16).unwrap()).collect();
    let upper = hexadecimal.to_uppercase();
    let hashes = [hash.as_str(), ARGON2ID.1, BCRYPT.1];
    let parts = hashes.iter().flat_map(|hash| hash.split('$'));
    let texts = hashes.into_iter().chain(parts).chain([digest, hexadecimal, &upper, "telegraf"]);
    for secret in texts.map(str::as_bytes).chain([bytes.as_slice()]) {
        for username in ["telegraf", "argon2id", "bcrypt", "passwordless", "unknown", ""] {
            assert!(!warm.authenticates(username, secret).await, "{username} {secret:?}");
        }
    }
    // The hashes are good ones.
    for (username, (password, _)) in [("argon2id", ARGON2ID), ("bcrypt", BCRYPT)] {
        world.login(username, password).await.unwrap();
    }
}

#[tokio::test]
async fn passwords_that_differ_past_byte_72_are_different_ones() {
    let warm = Warm::new().await;
    let id = warm.world.authorization("long").await.id;
    let right = "x".repeat(72);
    warm.world.engine.set_password(id, &right).await.unwrap();
    for _ in 0..2 {
        assert!(warm.world.login("long", &right).await.is_ok());
        for longer in [format!("{right}x"), format!("{right}\0"), right.repeat(2)] {
            assert!(!warm.authenticates("long", longer.as_bytes()).await);
        }
    }
}
