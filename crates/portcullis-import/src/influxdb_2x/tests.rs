use std::io::Cursor as Memory;

use super::*;
use crate::bolt::writer::{self, Node, Tree};

const ORG: &str = "0000000000000001";
const ADA: &str = "0000000000000011";
const BUCKET: &str = "0000000000000021";
const SYSTEM: &str = "0000000000000022";
const DELETED: &str = "00000000000000ff";
const HASH: &str = "$2a$10$PgvhXFogiRsXVHQxcHKEMOBRqI7yhTfiDMIQIKx1FaLMdM6LN0ND6";

/// Buckets of a file by name, with their keys and values.
type Buckets<'a> = Vec<(&'a str, Vec<(String, String)>)>;

fn file(buckets: Buckets<'_>) -> Vec<u8> {
    let mut root = Tree::new();
    for (_, name, is_required) in PARTS {
        if is_required {
            root.insert(name.into(), Node::Bucket(Tree::new()));
        }
    }
    for (name, records) in buckets {
        let records = records.into_iter();
        let tree = records.map(|(key, value)| (key.into_bytes(), Node::Bytes(value.into_bytes())));
        root.insert(name.into(), Node::Bucket(tree.collect()));
    }
    writer::file(4_096, &root)
}

fn read(file: &[u8]) -> Result<Vec<Item>, SourceError> {
    let mut source = Influxdb2x::read(Path::new("influxd.bolt"), Memory::new(file.to_vec()))?;
    std::iter::from_fn(|| source.next().transpose()).collect()
}

fn records<const N: usize>(records: [(&str, &str); N]) -> Vec<(String, String)> {
    records.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
}

/// An org with a user, a bucket and a system bucket, as the first ones of an InfluxDB.
fn tenants() -> Buckets<'static> {
    let bucket = |kind: u8, name: &str| {
        format!(r#"{{"id":"x","orgID":"{ORG}","type":{kind},"name":"{name}","description":""}}"#)
    };
    vec![
        ("organizationsv1", records([(ORG, r#"{"id":"1","name":"acme","description":"d"}"#)])),
        (
            "usersv1",
            records([
                (ADA, r#"{"name":"ada","status":"inactive"}"#),
                ("0000000000000012", r#"{"name":"bob"}"#),
            ]),
        ),
        ("bucketsv1", records([(BUCKET, &bucket(0, "telemetry")), (SYSTEM, &bucket(1, "_tasks"))])),
    ]
}

fn authorization(token: &str, permissions: &str) -> String {
    format!(
        r#"{{"id":"x","token":"{token}","status":"active","description":"of {token}","orgID":"{ORG}","userID":"{ADA}","permissions":{permissions},"createdAt":"2021-09-28T08:55:25.75109-04:00","updatedAt":"2021-09-28T12:55:26Z"}}"#
    )
}

/// The items of an InfluxDB with these buckets besides those of [`tenants`].
fn items(buckets: Buckets<'static>) -> Vec<Item> {
    let before = read(&file(tenants())).unwrap().len();
    let all = tenants().into_iter().chain(buckets).collect();
    read(&file(all)).unwrap().split_off(before)
}

fn not_carried(items: &[Item]) -> Vec<String> {
    let show = |item: &Item| match item {
        Item::NotCarried(NotCarried { kind, name, why, is_skipped }) => {
            Some(format!("{kind} {name}{}: {why}", if *is_skipped { " skipped" } else { "" }))
        }
        _ => None,
    };
    items.iter().filter_map(show).collect()
}

/// [IMP-22]
#[test]
fn orgs_users_and_buckets_keep_their_ids_and_system_buckets_stay() {
    let items = read(&file(tenants())).unwrap();
    let shown: Vec<String> = items
        .iter()
        .map(|item| match item {
            Item::Org(item) => format!("org {} {:?} {}", item.name, item.id, item.status),
            Item::User(item) => format!("user {} {:?} {}", item.name, item.id, item.status),
            Item::Bucket(item) => format!("bucket {} {:?} {:?}", item.name, item.id, item.org),
            Item::NotCarried(item) => format!("{} {} {}", item.kind, item.name, item.is_skipped),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "org acme Some(0000000000000001) active",
            "user ada Some(0000000000000011) inactive",
            "user bob Some(0000000000000012) active",
            "bucket telemetry Some(0000000000000021) Some(Key(1))",
            "system bucket _tasks false",
        ]
    );
}

/// [IMP-22]
#[test]
fn a_record_that_cannot_be_read_is_skipped_without_its_content() {
    let items = read(&file(vec![
        (
            "organizationsv1",
            records([
                (ORG, r#"{"name":7}"#),
                ("short", r#"{"name":"x"}"#),
                ("0000000000000000", "{}"),
                ("0000000000000009", ""),
            ]),
        ),
        (
            "authorizationsv1",
            records([(DELETED, r#"{"token":["CANARY-7f3a"],"orgID":"CANARY-7f3a"}"#)]),
        ),
    ]))
    .unwrap();
    assert_eq!(
        not_carried(&items),
        [
            "org 0000000000000000 skipped: its key is not an id",
            "org 0000000000000001 skipped: its record has an unexpected value at byte 9",
            "org short skipped: its key is not an id",
            "API token 00000000000000ff skipped: its record has an unexpected value at byte 9",
        ]
    );
    assert_eq!(items.len(), 4);
}

/// [IMP-23]
#[test]
fn mappings_are_grouped_by_database_and_the_default_is_the_one_of_its_bucket() {
    let mapping = |database: &str, policy: &str, bucket: &str, default: bool| {
        format!(
            r#"{{"id":"x","database":"{database}","retention_policy":"{policy}","default":{default},"virtual":false,"orgID":"{ORG}","bucketID":"{bucket}"}}"#
        )
    };
    let items = items(vec![
        ("dbrpdefaultv1", records([("0000000000000001m", "0000000000000032")])),
        (
            "dbrpv1",
            records([
                ("0000000000000031", &mapping("m", "year", BUCKET, true)),
                ("0000000000000032", &mapping("m", "week", BUCKET, false)),
                ("0000000000000033", &mapping("m", "gone", DELETED, false)),
                ("0000000000000034", &mapping("a", "autogen", BUCKET, true)),
            ]),
        ),
    ]);
    let [Item::NotCarried(gone), Item::Database(first), Item::Database(second)] = &*items else {
        panic!("{items:?}")
    };
    assert_eq!((&*gone.kind, &*gone.name), ("database mapping", "m/gone"));
    let shown = |item: &DatabaseItem| {
        let policies = item.policies.iter();
        let policies: Vec<_> =
            policies.map(|policy| (policy.name.clone(), policy.is_default)).collect();
        (item.name.clone(), item.org, policies)
    };
    let org = Some(Key(1));
    assert_eq!(shown(first), ("a".into(), org, vec![("autogen".into(), true)]));
    let policies = vec![("year".into(), false), ("week".into(), true)];
    assert_eq!(shown(second), ("m".into(), org, policies));
}

fn credentials(items: &[Item]) -> Vec<&CredentialItem> {
    items
        .iter()
        .filter_map(|item| match item {
            Item::Credential(item) => Some(item),
            _ => None,
        })
        .collect()
}

/// [IMP-24]
#[test]
fn credentials_have_the_passwords_of_their_ids_and_times_of_their_records() {
    let items = items(vec![
        (
            "legacy/authorizationsv1",
            records([
                ("0000000000000041", &authorization("telegraf", "[]")),
                ("0000000000000043", &authorization("without", "null")),
                ("0000000000000045", &authorization("empty", "[]")),
                ("0000000000000046", &authorization("x", "[]").replace(ADA, DELETED)),
                ("0000000000000047", &authorization("last", "[]").replace("active", "inactive")),
            ]),
        ),
        (
            "legacy/authorizationPasswordv1",
            records([
                ("0000000000000040", HASH),
                ("0000000000000041", HASH),
                ("0000000000000042", HASH),
                ("0000000000000045", ""),
                ("0000000000000047", HASH),
                ("0000000000000049", HASH),
            ]),
        ),
    ]);
    let found = credentials(&items);
    let shown: Vec<_> = found
        .iter()
        .map(|item| {
            let hash = match &item.password {
                SourcePassword::Hash(hash) => hash.expose(),
                _ => "",
            };
            (item.username.as_str(), hash, item.status)
        })
        .collect();
    let active = Status::Active;
    assert_eq!(
        shown,
        [
            ("telegraf", HASH, active),
            ("without", "", active),
            ("empty", "", active),
            ("last", HASH, Status::Inactive),
        ]
    );
    let first = found[0];
    assert_eq!(first.id, Some(Id::from_u64(0x41)));
    assert_eq!((first.org, first.user), (Some(Key(1)), Some(Key(0x11))));
    assert_eq!(first.description, "of telegraf");
    assert_eq!(first.created_at.unwrap().to_string(), "2021-09-28T12:55:25.75109Z");
    assert_eq!(first.updated_at.unwrap().to_string(), "2021-09-28T12:55:26Z");
    assert_eq!(
        not_carried(&items),
        [
            "credential x: its user 00000000000000ff was deleted",
            "passwords without credential 3: InfluxDB kept them after their credentials were deleted",
        ]
    );
    assert!(!format!("{items:?}").contains(HASH));
}

/// [IMP-24]
#[test]
fn grants_are_on_resources_and_those_on_deleted_or_unknown_ones_are_lost() {
    let permissions = format!(
        r#"[
            {{"action":"read","resource":{{"type":"buckets","id":"{BUCKET}","orgID":"{ORG}"}}}},
            {{"action":"write","resource":{{"type":"buckets","id":"{BUCKET}","orgID":"{ORG}"}}}},
            {{"action":"read","resource":{{"type":"buckets","id":"{SYSTEM}","orgID":"{ORG}"}}}},
            {{"action":"read","resource":{{"type":"buckets","id":"{DELETED}","orgID":"{ORG}"}}}},
            {{"action":"write","resource":{{"type":"buckets","orgID":"{DELETED}"}}}},
            {{"action":"read","resource":{{"type":"engines","orgID":"{ORG}"}}}},
            {{"action":"create","resource":{{"type":"buckets"}}}},
            {{"action":"read","resource":{{"type":"tasks","id":"x"}}}},
            {{}},
            {{"action":"write","resource":{{"type":"orgs","id":"{ORG}"}}}},
            {{"action":"write","resource":{{"type":"tasks","name":"ignored"}}}}
        ]"#
    );
    let authorizations = records([("0000000000000041", &authorization("a", &permissions))]);
    let items = items(vec![("legacy/authorizationsv1", authorizations)]);
    let grants: Vec<_> = credentials(&items)[0]
        .grants
        .iter()
        .map(|grant| (grant.shown.as_str(), grant.permissions.len(), grant.lost.as_deref()))
        .collect();
    assert_eq!(
        grants,
        [
            ("read,write:orgs/0000000000000001/buckets/0000000000000021", 2, None),
            ("read:orgs/0000000000000001/buckets/0000000000000022", 1, None),
            (
                "read:orgs/0000000000000001/buckets/00000000000000ff",
                0,
                Some("the bucket 00000000000000ff was deleted")
            ),
            (
                "write:orgs/00000000000000ff/buckets",
                0,
                Some("the org 00000000000000ff was deleted")
            ),
            (
                "read:orgs/0000000000000001/engines",
                0,
                Some("Portcullis has no such type of resources")
            ),
            ("create:buckets", 0, Some("there is no such action")),
            ("read:tasks/x", 0, Some("id must have a length of 16 bytes")),
            (":", 0, Some("there is no such action")),
            ("write:orgs/0000000000000001", 1, None),
            ("write:tasks", 1, None),
        ]
    );
}

/// [IMP-25]
#[test]
fn api_tokens_have_their_secret_or_its_sha_256_hash() {
    let digest = "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg=";
    let hashed = |hash: &str| {
        authorization("", "[]").replace(r#""token":"""#, &format!(r#""hashedToken":"{hash}""#))
    };
    let both = authorization("plain", "[]")
        .replace(r#""status""#, &format!(r#""hashedToken":"$influxdb2-sha256${digest}","status""#));
    let items = items(vec![(
        "authorizationsv1",
        records([
            ("0000000000000051", &authorization("plain", "[]")),
            ("0000000000000052", &hashed(&format!("$influxdb2-sha256${digest}"))),
            (
                "0000000000000053",
                &hashed(
                    "$influxdb2-sha512$7iaw3Ur350mqGo7jwQrpkj9hiYB3Lkc_iBml1JQODbJ6wYX4oOHV-E-IvIh_1nsUNzLDBMxfqa2Ob1f1ACio_w==",
                ),
            ),
            ("0000000000000054", &hashed("$influxdb2-sha256$bm9wZQ==")),
            ("0000000000000055", &hashed("$argon2id$x")),
            ("0000000000000056", &authorization("", "[]")),
            ("0000000000000057", &both),
        ]),
    )]);
    let shown: Vec<String> = items
        .iter()
        .map(|item| match item {
            Item::Token(TokenItem { secret, .. }) => match secret {
                SourceToken::Plain(secret) => secret.expose().to_owned(),
                SourceToken::Digest(digest) => digest.to_text(),
                SourceToken::Unusable(why) => why.clone(),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(shown[0], "plain");
    // SHA-256 of `test`.
    assert_eq!(shown[1], "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
    assert!(shown[2].contains("SHA-512"));
    assert_eq!(shown[3], "its hash is damaged");
    assert!(shown[4].contains("unknown kind"));
    assert_eq!(shown[5], "InfluxDB has no secret of it");
    assert_eq!(shown[6], "plain");
}

/// [IMP-22]
#[test]
fn what_stays_in_influxdb_is_reported_by_number_or_name() {
    let membership = |kind: &str, resource: &str| {
        format!(
            r#"{{"userID":"{ADA}","userType":"owner","mappingType":"user","resourceType":"{kind}","resourceID":"{resource}"}}"#
        )
    };
    let items = items(vec![
        (
            "userresourcemappingsv1",
            records([("a", &membership("orgs", ORG)), ("b", &membership("tasks", DELETED))]),
        ),
        ("userspasswordv1", records([(ADA, HASH), (DELETED, HASH)])),
        ("tasksv1", records([("a", "1"), ("b", "2")])),
        ("dashboardsv2", records([])),
    ]);
    assert_eq!(
        not_carried(&items),
        [
            "membership ada is owner of acme: it is for InfluxDB's user interface: here permissions are those of API tokens",
            "password of a user ada: it is for InfluxDB's user interface",
            "password of a user 00000000000000ff: it is for InfluxDB's user interface",
            "tasks 2: InfluxDB keeps them",
        ]
    );
}

/// [IMP-21]
#[test]
fn another_file_is_refused_as_what_it_is() {
    let message = |file: &[u8]| read(file).unwrap_err().to_string();
    assert_eq!(message(b"SQLite format 3\0"), "`influxd.bolt`: the file is not a file of bbolt");
    let other = writer::file(4_096, &Tree::from([(b"raft".to_vec(), Node::Bucket(Tree::new()))]));
    assert_eq!(
        message(&other),
        "`influxd.bolt`: the file is of bbolt, but not of InfluxDB 2.x: it has no bucket \
         `organizationsv1`"
    );
    let whole = file(tenants());
    let cut = message(&whole[..whole.len() - 1]);
    assert!(cut.contains("the file is cut off: it has "), "{cut}");
    let mut damaged = whole;
    damaged[2 * 4_096 + 8] = 9;
    let damaged = message(&damaged);
    assert!(damaged.starts_with("`influxd.bolt`, page 2: the page is damaged"), "{damaged}");
}

/// [IMP-26]
#[test]
fn a_file_that_a_program_has_open_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("influxd.bolt");
    std::fs::write(&path, file(tenants())).unwrap();
    let influxd = File::options().read(true).write(true).open(&path).unwrap();
    influxd.lock().unwrap();
    let refused = Influxdb2x::open(&path).err().unwrap().to_string();
    assert!(refused.contains("stop it, or import a copy"), "{refused}");
    influxd.unlock().unwrap();
    let reading = Influxdb2x::open(&path).unwrap();
    // InfluxDB cannot change the file meanwhile, and another import can read it.
    assert!(influxd.try_lock().is_err());
    assert!(Influxdb2x::open(&path).is_ok());
    drop(reading);
    assert!(influxd.try_lock().is_ok());
    let directory = Influxdb2x::open(dir.path()).err().unwrap().to_string();
    assert!(directory.contains("this is a directory"), "{directory}");
}
