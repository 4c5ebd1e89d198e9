//! Export and import; an invalid snapshot is refused as a whole, with every invalid line.

use portcullis::snapshot::{InvalidSnapshot, Snapshot};
use portcullis::{Credentials, ImportError, NewApiToken, presets};

use crate::support::World;

async fn export(world: &World) -> String {
    let mut out = Vec::new();
    world.engine.export(&mut out).await.unwrap();
    String::from_utf8(out).unwrap()
}

fn refused(text: &str) -> Vec<String> {
    match Snapshot::read(text.as_bytes()) {
        Err(InvalidSnapshot::Lines(lines)) => lines.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?} for {text}"),
    }
}

/// [SNAP-5] [SNAP-7] [SNAP-9]
#[tokio::test]
async fn an_export_imports_completely_and_again_changes_nothing() {
    let world = World::new().await;
    world.credential("telegraf").await;
    world.authorization("passwordless").await;
    let token =
        NewApiToken::new(world.org.id, world.user.id, presets::operator()).with_description("d");
    let (_, secret) = world.engine.create_api_token(token).await.unwrap();
    let text = export(&world).await;
    assert_eq!(text.lines().count(), 1 + 6 + 1);
    assert!(!text.contains(secret.expose()));

    let fresh = World::new().await;
    fresh.engine.delete_org(fresh.org.id).await.unwrap();
    fresh.engine.delete_user(fresh.user.id).await.unwrap();
    let snapshot = Snapshot::read(text.as_bytes()).unwrap();
    assert_eq!(snapshot.len(), 6);
    assert_eq!(fresh.engine.import(snapshot.clone(), true).await.unwrap(), 6);
    assert_eq!(export(&fresh).await.lines().count(), 2);
    assert_eq!(fresh.engine.import(snapshot.clone(), false).await.unwrap(), 6);
    assert_eq!(export(&fresh).await, text);
    assert_eq!(fresh.engine.import(snapshot, false).await.unwrap(), 0);
    assert!(fresh.login("telegraf", "telegraf-password").await.is_ok());
    assert!(fresh.engine.authenticate_caller(Credentials::token(secret.expose())).await.is_ok());
}

/// [SNAP-7] [SNAP-8]
#[tokio::test]
async fn a_line_that_conflicts_with_a_record_refuses_all() {
    let world = World::new().await;
    let there = world.authorization("telegraf").await;
    let before = export(&world).await;
    let line = |id: &str, token: &str| {
        format!(
            "{{\"type\":\"authorization\",\"id\":\"{id}\",\"token\":\"{token}\",\"orgID\":\"{}\",\"userID\":\"{}\"}}\n",
            world.org.id, world.user.id
        )
    };
    let text = [
        line("0000000000000001", "good"),
        line("0000000000000002", "telegraf"),
        line(&there.id.to_string(), "other"),
    ]
    .concat();
    let snapshot = Snapshot::read(text.as_bytes()).unwrap();
    let Err(ImportError::Lines(lines)) = world.engine.import(snapshot, false).await else {
        panic!("not refused");
    };
    let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            format!("line 2: authorization 0000000000000002: its name belongs to {}", there.id),
            format!("line 3: authorization {} exists already and differs", there.id),
        ]
    );
    assert_eq!(export(&world).await, before);
}

/// [SNAP-1] [SNAP-2] [SNAP-3] [SNAP-6] [SNAP-8]
#[test]
fn every_invalid_line_is_reported_with_its_reason() {
    let user = r#"{"type":"user","id":"0000000000000001","name":"ada","status":"active"}"#;
    let cases = [
        ("{", "line 1: EOF while parsing"),
        ("hello", "line 1: not a JSON object"),
        (r#"["user","0000000000000001","ada"]"#, "line 1: not a JSON object"),
        ("{}", "line 1: missing field `type`"),
        (r#"{"type":"session"}"#, "line 1: unknown variant `session`"),
        (r#"{"type":"user","id":"1","name":"ada"}"#, "line 1: id must have a length of 16 bytes"),
        (r#"{"type":"user","id":"0000000000000001","name":""}"#, "line 1: a name must be between"),
        (r#"{"type":"user","id":"0000000000000001"}"#, "line 1: missing field `name`"),
        (
            r#"{"type":"user","id":"0000000000000001","name":"a","extra":1}"#,
            "line 1: unknown field `extra`",
        ),
        (
            r#"{"type":"user","id":"0000000000000001","name":"a","name":"b"}"#,
            "line 1: duplicate field `name`",
        ),
        (
            r#"{"type":"user","id":"0000000000000001","name":"a","status":"Active"}"#,
            "line 1: unknown variant `Active`",
        ),
        (
            r#"{"type":"apiToken","id":"0000000000000001","orgID":"0000000000000001","userID":"0000000000000001"}"#,
            "line 1: missing `tokenDigest` (or `token`)",
        ),
        (
            r#"{"type":"apiToken","id":"0000000000000001","orgID":"0000000000000001","userID":"0000000000000001","token":""}"#,
            "line 1: `token` must not be empty",
        ),
        (
            r#"{"type":"authorization","id":"0000000000000001","token":"a","orgID":"0000000000000001","userID":"0000000000000001","permissions":[{"action":"read","resource":{"type":"pizzas"}}]}"#,
            "line 1: invalid resource type for permission",
        ),
        (
            r#"{"type":"authorization","id":"0000000000000001","token":"a","orgID":"0000000000000001","userID":"0000000000000001","passwordHash":"plain-text"}"#,
            "line 1: password hash: neither an Argon2id PHC string nor bcrypt",
        ),
        (
            r#"{"type":"authorization","id":"0000000000000001","token":"a","orgID":"0000000000000001","userID":"0000000000000001","password":"plain-text"}"#,
            "line 1: unknown field `password`",
        ),
        (
            r#"{"type":"authorization","id":"0000000000000001","token":867530986753091,"orgID":"0000000000000001","userID":"0000000000000001"}"#,
            "line 1: invalid type: integer, expected a string",
        ),
        (r#"{"type":"snapshot","version":3}"#, "line 1: version 3 is not known here"),
        (r#"{"type":"snapshot","version":2}"#, "line 1: the last line is missing"),
        (r#"{"type":"snapshot","version":1}"#, "line 1: the last line is missing"),
    ];
    for (text, expected) in cases {
        let lines = refused(text);
        assert!(lines[0].starts_with(expected), "{text}: {lines:?}");
        assert!(!lines.concat().contains("plain-text"), "{lines:?}");
    }
    let twice = format!("{user}\n{user}\n");
    assert_eq!(refused(&twice), ["line 2: user 0000000000000001 is on line 1 already"]);
    let same_name = format!("{user}\n{}\n", user.replace("0001", "0002"));
    assert_eq!(refused(&same_name), ["line 2: user 0000000000000002 has the same name as line 1"]);
    let both = format!("{{\n{user}\nx\n");
    assert_eq!(refused(&both).len(), 2);
}

/// [SNAP-4]
#[tokio::test]
async fn a_snapshot_that_was_cut_or_changed_is_refused() {
    let world = World::new().await;
    world.authorization("telegraf").await;
    let text = export(&world).await;
    assert!(Snapshot::read(text.as_bytes()).is_ok());

    let lines: Vec<_> = text.lines().collect();
    let without_last = lines[..lines.len() - 1].join("\n");
    assert!(refused(&without_last)[0].contains("the last line is missing"));
    let without_one: Vec<_> = [&lines[..2], &lines[3..]].concat();
    assert!(refused(&without_one.join("\n"))[0].contains("`count` is 4 and there are 3 records"));
    let changed = text.replace("telegraf", "telegrag");
    assert!(refused(&changed)[0].contains("`sha256` does not fit"));
    let more = format!("{text}{}\n", lines[1]);
    assert!(refused(&more)[0].contains("there must be nothing after the line `end`"));
    let half = text.get(..text.len() / 2).unwrap();
    assert!(!refused(half).is_empty());
}

/// [SNAP-1] [SNAP-2] [SNAP-4] [SNAP-5]
#[test]
fn hand_written_lines_need_no_frame_and_have_defaults() {
    let text = concat!(
        r#"{"name":"ada","id":"0000000000000001","type":"user"}"#,
        "\r\n\n",
        r#"{"type":"apiToken","id":"0000000000000002","orgID":"0000000000000009","userID":"0000000000000001","token":"plain"}"#,
        "\n",
        r#"{"type":"authorization","id":"0000000000000003","token":"x","orgID":"0000000000000009","userID":"0000000000000001","passwordHash":null}"#,
    );
    let snapshot = Snapshot::read(text.as_bytes()).unwrap();
    assert_eq!(snapshot.len(), 3);
    let shown = format!("{:?}", snapshot.records().collect::<Vec<_>>());
    assert!(shown.contains("0001-01-01T00:00:00Z"), "{shown}");
    assert!(!shown.contains("plain"), "{shown}");
    assert!(Snapshot::read(&b""[..]).unwrap().is_empty());
}

/// [SNAP-1] [SNAP-11]
#[tokio::test]
async fn a_member_that_version_1_does_not_have_makes_it_version_2() {
    let first = |text: &str| text.lines().next().unwrap().to_owned();
    let world = World::new().await;
    world.authorization("passwordless").await;
    assert_eq!(first(&export(&world).await), r#"{"type":"snapshot","version":1}"#);

    let token = concat!(
        r#"{"type":"apiToken","id":"0000000000000002","orgID":"0000000000000009","userID":"0000000000000001","status":"active","description":"","permissions":[],"#,
        r#""tokenDigest":"sha256:f3a82bb1b392249af55a9326b16fcbaf533f566113f01bc4afdaf209ea9d53ad","expiresAt":"2034-01-02T03:04:05Z","allowedNetworks":["10.0.0.0/8","::1"]}"#
    );
    let begin = r#"{"type":"authorization","id":"0000000000000003","token":"x","orgID":"0000000000000009","userID":"0000000000000001","status":"active","description":"","permissions":[],"createdAt":"2024-01-02T03:04:05Z","updatedAt":"2024-01-02T03:04:05Z""#;
    let members = [
        r#""passwordSetAt":"2024-01-02T03:04:05Z""#,
        r#""expiresAt":"2034-01-02T03:04:05Z""#,
        r#""passwordExpiresAt":"2034-01-02T03:04:05Z""#,
        r#""allowedNetworks":["10.0.0.0/8"]"#,
        r#""previousPassword":{"hash":"$2b$04$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9erFFhGg5Ml6","setAt":"2024-01-02T03:04:05Z","endsAt":"2024-01-03T03:04:05Z","endsWhenNewIsUsed":true}"#,
        r#""passwordHistory":["$2b$04$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9erFFhGg5Ml6"]"#,
    ];
    let lines = members.iter().map(|member| format!("{begin},{member}}}"));
    let all = format!("{begin},{}}}", members.join(","));
    for line in lines.chain([token.to_owned(), all]) {
        let world = World::new().await;
        let snapshot = Snapshot::read(line.as_bytes()).unwrap();
        world.engine.import(snapshot, false).await.unwrap();
        let text = export(&world).await;
        assert_eq!(first(&text), r#"{"type":"snapshot","version":2}"#, "{line}");
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        assert!(Snapshot::read(text.as_bytes()).is_ok());
        let unknown = line.replace("\"setAt\"", "\"later\":1,\"setAt\"");
        assert!(unknown == line || !refused(&unknown).is_empty());
    }
}
