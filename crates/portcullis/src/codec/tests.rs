//! Snapshots of the format, and records that do not keep to it.

use std::fmt::Debug;

use super::*;
use crate::password::PasswordHash;
use crate::{
    AllowedNetworks, ApiToken, ApiTokenId, Authorization, AuthorizationId, Bucket, BucketId,
    DatabaseMappings, DbrpId, DbrpName, Name, Org, PreviousPassword, Timestamp, TokenSecret, User,
    Username,
};

fn authorization() -> Authorization {
    Authorization {
        id: AuthorizationId::from_u64(0x0d0d_0000_0000_0001),
        username: Username::new("grafana").unwrap(),
        status: Status::Inactive,
        description: "dashboards".to_owned(),
        org: OrgId::from_u64(1),
        user: UserId::from_u64(2),
        permissions: vec![
            "read:orgs/0000000000000001/buckets/0000000000000003".parse().unwrap(),
            "write:instance".parse().unwrap(),
        ],
        password_hash: Some(
            PasswordHash::parse("$2b$04$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9erFFhGg5Ml6")
                .unwrap(),
        ),
        created_at: "2024-01-02T03:04:05.000000006Z".parse().unwrap(),
        updated_at: "2024-02-02T03:04:05Z".parse().unwrap(),
        expires_at: None,
        allowed_networks: AllowedNetworks::default(),
        password_set_at: None,
        password_expires_at: None,
        previous_password: None,
        password_history: Vec::new(),
    }
}

/// Asserts the exact body, and that reading it gives the same back.
fn assert_format<E: Entity + PartialEq + Debug>(entity: E, body: &str, key: &str) {
    let record = entity.to_record(Revision::from_u128(1)).unwrap();
    assert_eq!(&*record.body, body);
    assert_eq!(record.unique_key.as_str(), key);
    assert_eq!(E::from_record(&record).unwrap(), entity);
}

#[test]
fn snapshot_of_an_authorization() {
    assert_format(
        authorization(),
        r#"{"v":1,"id":"0d0d000000000001","token":"grafana","status":"inactive","description":"dashboards","orgID":"0000000000000001","userID":"0000000000000002","permissions":["read:orgs/0000000000000001/buckets/0000000000000003","write:instance"],"passwordHash":"$2b$04$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9erFFhGg5Ml6","createdAt":"2024-01-02T03:04:05.000000006Z","updatedAt":"2024-02-02T03:04:05Z"}"#,
        "grafana",
    );
    let grants = authorization().grants();
    let grants: Vec<_> = grants.iter().map(GrantKey::to_string).collect();
    assert_eq!(grants, ["read:buckets/0000000000000003", "write:instance"]);
}

#[test]
fn snapshot_of_an_authorization_without_a_password() {
    assert_format(
        Authorization { password_hash: None, permissions: Vec::new(), ..authorization() },
        r#"{"v":1,"id":"0d0d000000000001","token":"grafana","status":"inactive","description":"dashboards","orgID":"0000000000000001","userID":"0000000000000002","permissions":[],"createdAt":"2024-01-02T03:04:05.000000006Z","updatedAt":"2024-02-02T03:04:05Z"}"#,
        "grafana",
    );
}

#[test]
fn snapshot_of_an_authorization_with_the_members_of_its_life() {
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let hash = authorization().password_hash.unwrap();
    let set = Authorization {
        password_set_at: Some(time("2024-03-02T03:04:05Z")),
        password_history: vec![hash.clone()],
        ..authorization()
    };
    let body = r#"{"v":1,"id":"0d0d000000000001","token":"grafana","status":"inactive","description":"dashboards","orgID":"0000000000000001","userID":"0000000000000002","permissions":["read:orgs/0000000000000001/buckets/0000000000000003","write:instance"],"passwordHash":"$2b$04$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9erFFhGg5Ml6","createdAt":"2024-01-02T03:04:05.000000006Z","updatedAt":"2024-02-02T03:04:05Z","passwordSetAt":"2024-03-02T03:04:05Z"%}"#;
    let history =
        r#","passwordHistory":["$2b$04$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9erFFhGg5Ml6"]"#;
    assert_format(set.clone(), &body.replace('%', history), "grafana");

    let restricted = Authorization {
        expires_at: Some(time("2034-01-02T03:04:05Z")),
        password_expires_at: Some(time("2025-01-02T03:04:05Z")),
        allowed_networks: AllowedNetworks::parse(["10.0.0.0/8", "::1"]).unwrap(),
        previous_password: Some(Box::new(PreviousPassword {
            hash,
            set_at: Some(time("2024-01-02T03:04:05Z")),
            ends_at: time("2024-03-03T03:04:05Z"),
            ends_when_new_is_used: true,
        })),
        ..set.clone()
    };
    let members = r#","expiresAt":"2034-01-02T03:04:05Z","passwordExpiresAt":"2025-01-02T03:04:05Z","allowedNetworks":["10.0.0.0/8","::1"],"previousPassword":{"hash":"$2b$04$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9erFFhGg5Ml6","setAt":"2024-01-02T03:04:05Z","endsAt":"2024-03-03T03:04:05Z","endsWhenNewIsUsed":true}"#;
    let body = body.replace("\"v\":1", "\"v\":2").replace('%', &format!("{members}{history}"));
    assert_format(restricted, &body, "grafana");
}

/// [EXP-10]
#[test]
fn every_member_that_restricts_a_credential_makes_its_body_unreadable_for_older_versions() {
    let time = || "2034-01-02T03:04:05Z".parse::<Timestamp>().unwrap();
    let networks = || AllowedNetworks::parse(["10.0.0.0/8"]).unwrap();
    let previous = PreviousPassword {
        hash: authorization().password_hash.unwrap(),
        set_at: None,
        ends_at: time(),
        ends_when_new_is_used: false,
    };
    for restricted in [
        Authorization { expires_at: Some(time()), ..authorization() },
        Authorization { password_expires_at: Some(time()), ..authorization() },
        Authorization { allowed_networks: networks(), ..authorization() },
        Authorization { previous_password: Some(Box::new(previous)), ..authorization() },
    ] {
        let record = restricted.to_record(Revision::from_u128(1)).unwrap();
        assert!(record.body.starts_with(r#"{"v":2,"#), "{}", &*record.body);
        assert_eq!(Authorization::from_record(&record).unwrap(), restricted);
    }
}

#[test]
fn snapshot_of_an_api_token() {
    let token = ApiToken {
        id: ApiTokenId::from_u64(4),
        digest: TokenSecret::new("op-token-7f3a").digest(),
        status: Status::Active,
        description: String::new(),
        org: OrgId::from_u64(1),
        user: UserId::from_u64(2),
        permissions: vec!["read:users".parse().unwrap()],
        expires_at: None,
        allowed_networks: AllowedNetworks::default(),
    };
    let digest = token.digest.to_text();
    let restricted = ApiToken {
        expires_at: Some("2034-01-02T03:04:05Z".parse().unwrap()),
        allowed_networks: AllowedNetworks::parse(["10.0.0.0/8"]).unwrap(),
        ..token.clone()
    };
    assert_format(
        restricted,
        &format!(
            r#"{{"v":2,"id":"0000000000000004","tokenDigest":"{digest}","status":"active","description":"","orgID":"0000000000000001","userID":"0000000000000002","permissions":["read:users"],"expiresAt":"2034-01-02T03:04:05Z","allowedNetworks":["10.0.0.0/8"]}}"#
        ),
        &digest,
    );
    assert_format(
        token,
        &format!(
            r#"{{"v":1,"id":"0000000000000004","tokenDigest":"{digest}","status":"active","description":"","orgID":"0000000000000001","userID":"0000000000000002","permissions":["read:users"]}}"#
        ),
        &digest,
    );
}

#[test]
fn snapshots_of_tenants_and_deletions() {
    let name = |name: &str| Name::new(name).unwrap();
    assert_format(
        User { id: UserId::from_u64(2), name: name("ada"), status: Status::Active },
        r#"{"v":1,"id":"0000000000000002","name":"ada","status":"active"}"#,
        "ada",
    );
    assert_format(
        Org { id: OrgId::from_u64(1), name: name("acme"), status: Status::Inactive },
        r#"{"v":1,"id":"0000000000000001","name":"acme","status":"inactive"}"#,
        "acme",
    );
    assert_format(
        Bucket { id: BucketId::from_u64(3), org: OrgId::from_u64(1), name: name("a/b") },
        r#"{"v":1,"id":"0000000000000003","orgID":"0000000000000001","name":"a/b"}"#,
        "0000000000000001/a/b",
    );
    assert_format(
        Tombstone { id: Id::from_u64(4), gone: DeletedTenant::Org(OrgId::from_u64(1)) },
        r#"{"v":1,"id":"0000000000000004","gone":{"org":"0000000000000001"}}"#,
        "org/0000000000000001",
    );
    assert_format(
        Tombstone { id: Id::from_u64(5), gone: DeletedTenant::User(UserId::from_u64(1)) },
        r#"{"v":1,"id":"0000000000000005","gone":{"user":"0000000000000001"}}"#,
        "user/0000000000000001",
    );
}

#[test]
fn snapshot_of_the_mappings_of_a_database() {
    let name = |name: &str| DbrpName::new(name).unwrap();
    let (org, bucket) = (OrgId::from_u64(1), BucketId::from_u64(3));
    let mapping = DbrpId::from_u64(8);
    let mut mappings = DatabaseMappings::new(
        Id::from_u64(7),
        org,
        name("telemetry"),
        mapping,
        name("raw"),
        bucket,
    );
    mappings.insert(DbrpId::from_u64(9), name("year"), bucket, false).unwrap();
    assert_format(
        mappings.clone(),
        r#"{"v":1,"id":"0000000000000007","orgID":"0000000000000001","database":"telemetry","mappings":[{"id":"0000000000000008","retentionPolicy":"raw","bucketID":"0000000000000003","default":true},{"id":"0000000000000009","retentionPolicy":"year","bucketID":"0000000000000003","default":false}]}"#,
        "0000000000000001/telemetry",
    );
    let grants: Vec<_> = mappings.grants().iter().map(GrantKey::to_string).collect();
    let expected = [
        "read:buckets/0000000000000003",
        "read:dbrp/0000000000000008",
        "read:dbrp/0000000000000009",
    ];
    assert_eq!(grants, expected);

    let good = mappings.to_record(Revision::from_u128(1)).unwrap();
    for (member, other) in [
        ("\"default\":false", "\"default\":true"),
        ("\"default\":true", "\"default\":false"),
        ("\"year\"", "\"raw\""),
        ("0000000000000009", "0000000000000008"),
        ("\"telemetry\"", "\"tele/metry\""),
    ] {
        let body = good.body.replace(member, other);
        let record = Record { body: body.into(), ..good.clone() };
        assert!(DatabaseMappings::from_record(&record).is_err(), "{other}");
    }
}

#[test]
fn snapshot_of_last_uses() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let (org, user) = (OrgId::from_u64(1), UserId::from_u64(2));
    let from = "192.0.2.7".parse().unwrap();
    let last = crate::LastUse::new(at("2026-01-02T03:04:05.006Z"), Some(from));
    let previous_at = Some(at("2026-01-01T00:00:00Z"));
    assert_format(
        crate::AuthorizationUse {
            id: AuthorizationId::from_u64(3),
            org,
            user,
            last: crate::LastUse { previous_at, ..last },
        },
        r#"{"v":1,"id":"0000000000000003","orgID":"0000000000000001","userID":"0000000000000002","lastUsedAt":"2026-01-02T03:04:05.006Z","lastUsedFrom":"192.0.2.7","previousUsedAt":"2026-01-01T00:00:00Z"}"#,
        "0000000000000003",
    );
    let last = crate::LastUse::new(at("2026-01-02T03:04:05Z"), None);
    assert_format(
        crate::ApiTokenUse { id: ApiTokenId::from_u64(3), org, user, last },
        r#"{"v":1,"id":"0000000000000003","orgID":"0000000000000001","userID":"0000000000000002","lastUsedAt":"2026-01-02T03:04:05Z"}"#,
        "0000000000000003",
    );
}

#[test]
fn a_record_that_contradicts_its_body_is_corrupt() {
    let good = authorization().to_record(Revision::from_u128(1)).unwrap();
    let bad = [
        ("kind", Record { kind: Kind::User, ..good.clone() }),
        ("id", Record { id: Id::from_u64(9), ..good.clone() }),
        ("unique key", Record { unique_key: UniqueKey::new("x").unwrap(), ..good.clone() }),
        ("org", Record { org: None, ..good.clone() }),
        ("user", Record { user: Some(UserId::from_u64(9)), ..good.clone() }),
        ("status", Record { status: Status::Active, ..good.clone() }),
    ];
    for (field, record) in bad {
        let error = Authorization::from_record(&record).unwrap_err();
        let StoreError::Corrupt { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source.to_string(), format!("its body contradicts its {field}"));
    }
}

#[test]
fn a_body_that_cannot_be_read_is_corrupt_and_not_quoted() {
    let good = authorization().to_record(Revision::from_u128(1)).unwrap();
    for body in [
        String::new(),
        "null".to_owned(),
        good.body.trim_end_matches('}').to_owned(),
        good.body.replace("\"v\":1", "\"v\":3"),
        good.body.replace("\"v\":1,", ""),
        good.body.replace("$2b$04$", "$2b$99$"),
        good.body.replace("\"inactive\"", "\"$2b$04$fVervtjyD90Q\""),
        "\"$2b$04$fVervtjyD90Q\"".to_owned(),
    ] {
        let error = Authorization::from_record(&Record { body: body.into(), ..good.clone() });
        let Err(StoreError::Corrupt { source, .. }) = &error else { panic!("{error:?}") };
        assert!(!format!("{source} {error:?}").contains('$'), "{error:?}");
    }
}

#[test]
fn members_added_later_are_ignored_by_this_version() {
    let good = authorization().to_record(Revision::from_u128(1)).unwrap();
    let body = good.body.replace("{\"v\":1,", "{\"v\":1,\"later\":[1],");
    let read = Authorization::from_record(&Record { body: body.into(), ..good }).unwrap();
    assert_eq!(read, authorization());
}
