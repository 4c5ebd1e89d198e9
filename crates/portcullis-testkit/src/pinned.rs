//! Records for files that later versions must still be able to open.

use portcullis::store::{Kind, Record, Revision, UniqueKey};
use portcullis::{GrantKey, Id, OrgId, Status, UserId};

/// Returns a record of each kind of format 1 of every store, with its grant keys. They never change.
///
/// # Panics
///
/// Never.
pub fn pinned_records() -> Vec<(Record, Vec<GrantKey>)> {
    let digest = "sha256:f3a82bb1b392249af55a9326b16fcbaf533f566113f01bc4afdaf209ea9d53ad";
    let hash = "$2b$04$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9erFFhGg5Ml6";
    let record = |kind, id: u64, key: &str, body: &str| Record {
        kind,
        id: Id::from_u64(id),
        revision: Revision::from_u128(u128::from(id) + 10),
        unique_key: UniqueKey::new(key).expect("a key"),
        org: None,
        user: None,
        status: Status::Active,
        body: body.into(),
    };
    let org = Some(OrgId::from_u64(1));
    let user = Some(UserId::from_u64(2));
    let records = [
        record(
            Kind::Org,
            1,
            "acme",
            r#"{"v":1,"id":"0000000000000001","name":"acme","status":"active"}"#,
        ),
        Record {
            status: Status::Inactive,
            ..record(
                Kind::User,
                2,
                "ada",
                r#"{"v":1,"id":"0000000000000002","name":"ada","status":"inactive"}"#,
            )
        },
        Record {
            org,
            ..record(
                Kind::Bucket,
                3,
                "0000000000000001/telemetry/raw",
                r#"{"v":1,"id":"0000000000000003","orgID":"0000000000000001","name":"telemetry/raw"}"#,
            )
        },
        Record {
            org,
            user,
            ..record(
                Kind::ApiToken,
                4,
                digest,
                &format!(
                    r#"{{"v":1,"id":"0000000000000004","tokenDigest":"{digest}","status":"active","description":"ops","orgID":"0000000000000001","userID":"0000000000000002","permissions":["read:users"]}}"#
                ),
            )
        },
        Record {
            org,
            user,
            status: Status::Inactive,
            revision: Revision::from_u128(1),
            ..record(
                Kind::Authorization,
                0xffff_ffff_ffff_fff5,
                "it's",
                &format!(
                    r#"{{"v":1,"id":"fffffffffffffff5","token":"it's","status":"inactive","description":"dashboards","orgID":"0000000000000001","userID":"0000000000000002","permissions":["read:buckets/0000000000000003"],"passwordHash":"{hash}","createdAt":"2024-01-02T03:04:05Z","updatedAt":"2024-02-02T03:04:05Z"}}"#
                ),
            )
        },
        record(
            Kind::Tombstone,
            6,
            "org/0000000000000009",
            r#"{"v":1,"id":"0000000000000006","gone":{"org":"0000000000000009"}}"#,
        ),
    ];
    let grants = |record: &Record| match record.kind {
        Kind::Authorization => vec![grant_key("read:buckets/0000000000000003")],
        _ => Vec::new(),
    };
    records.into_iter().map(|record| (record.clone(), grants(&record))).collect()
}

/// Returns the record of DBRP mappings with its grant keys, for files of the formats that have them.
/// It never changes.
///
/// # Panics
///
/// Never.
pub fn pinned_dbrp() -> (Record, Vec<GrantKey>) {
    let body = concat!(
        r#"{"v":1,"id":"0000000000000007","orgID":"0000000000000001","database":"telemetry","#,
        r#""mappings":[{"id":"0000000000000008","retentionPolicy":"raw","#,
        r#""bucketID":"0000000000000003","default":true}]}"#
    );
    let record = Record {
        kind: Kind::Dbrp,
        id: Id::from_u64(7),
        revision: Revision::from_u128(17),
        unique_key: UniqueKey::new("0000000000000001/telemetry").expect("a key"),
        org: Some(OrgId::from_u64(1)),
        user: None,
        status: Status::Active,
        body: body.into(),
    };
    let grants = ["read:buckets/0000000000000003", "read:dbrp/0000000000000008"].map(grant_key);
    (record, grants.into())
}

/// Returns the records of last uses, for files of the formats that have them. They never change.
///
/// # Panics
///
/// Never.
pub fn pinned_uses() -> Vec<(Record, Vec<GrantKey>)> {
    let record = |kind, id: u64, last: &str| {
        Record {
        kind,
        id: Id::from_u64(id),
        revision: Revision::from_u128(u128::from(id) + 20),
        unique_key: UniqueKey::new(format!("{id:016x}")).expect("a key"),
        org: Some(OrgId::from_u64(1)),
        user: Some(UserId::from_u64(2)),
        status: Status::Active,
        body: format!(
            r#"{{"v":1,"id":"{id:016x}","orgID":"0000000000000001","userID":"0000000000000002",{last}}}"#
        )
        .as_str()
        .into(),
    }
    };
    let of_authorization = concat!(
        r#""lastUsedAt":"2026-01-02T03:04:05.006Z","lastUsedFrom":"192.0.2.7","#,
        r#""previousUsedAt":"2026-01-01T00:00:00Z""#
    );
    let of_token = r#""lastUsedAt":"2026-01-02T03:04:05Z""#;
    let records = [
        record(Kind::ApiTokenUse, 4, of_token),
        record(Kind::AuthorizationUse, 0xffff_ffff_ffff_fff5, of_authorization),
    ];
    records.into_iter().map(|record| (record, Vec::new())).collect()
}

fn grant_key(permission: &str) -> GrantKey {
    GrantKey::of(permission.parse().expect("a permission"))
}
