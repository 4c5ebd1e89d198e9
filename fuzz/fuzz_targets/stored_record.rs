//! Records as stores return them. The first byte chooses the kind, the rest is the body. Decoding never
//! panics; a decoded body becomes a record that decodes to the same entity, is encoded the same from
//! then on, and is corrupt as soon as a column contradicts the body. Errors do not quote the body.

#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use portcullis::store::{Entity, Kind, Record, Revision, StoreError, Tombstone, UniqueKey};
use portcullis::{
    ApiToken, Authorization, Bucket, DatabaseMappings, Id, Org, OrgId, Status, Timestamp, User,
    UserId,
};
use portcullis_fuzz::{CANARY, text};

fuzz_target!(|data: &[u8]| {
    let Some((kind, body)) = data.split_first() else { return };
    let Some(body) = text(body) else { return };
    match kind.wrapping_sub(b'0') % 7 {
        0 => check::<Authorization>(body),
        1 => check::<ApiToken>(body),
        2 => check::<Bucket>(body),
        3 => check::<Tombstone>(body),
        4 => check::<Org>(body),
        5 => check::<User>(body),
        _ => check::<DatabaseMappings>(body),
    }
});

fn check<E: Entity + PartialEq + Debug>(body: &str) {
    let revision = Revision::from_u128(7);
    let Ok(entity) = serde_json::from_str(body).map(E::from_body) else {
        let error = E::from_record(&record_of_nothing(E::KIND, body)).expect_err("unreadable");
        assert!(!shown(&error).contains(CANARY), "{}", shown(&error));
        return;
    };
    let canonical = entity.to_record(revision).expect("what can be read can be written");
    let record = Record { body: body.into(), ..canonical.clone() };
    assert_eq!(E::from_record(&record).expect("the body as it came"), entity);
    let again = E::from_record(&canonical).expect("the body as it is written");
    assert_eq!(again, entity);
    assert_eq!(again.to_record(revision).expect("a record"), canonical);
    assert_eq!(again.grants(), entity.grants());

    let other_id = Id::from_u64(record.id.as_u64().wrapping_add(1));
    let other_kind = if E::KIND == Kind::User { Kind::Org } else { Kind::User };
    let other_status = match record.status {
        Status::Active => Status::Inactive,
        Status::Inactive => Status::Active,
    };
    let other_org = record.org.map_or(Some(OrgId::from_u64(1)), |_| None);
    let other_user = record.user.map_or(Some(UserId::from_u64(1)), |_| None);
    let other_key = format!("{}x", record.unique_key.as_str());
    let mut contradictions = vec![
        Record { kind: other_kind, ..record.clone() },
        Record { id: other_id, ..record.clone() },
        Record { org: other_org, ..record.clone() },
        Record { user: other_user, ..record.clone() },
        Record { status: other_status, ..record.clone() },
    ];
    contradictions.extend(
        UniqueKey::new(other_key).map(|unique_key| Record { unique_key, ..record.clone() }),
    );
    for record in contradictions {
        let error = E::from_record(&record).expect_err("a contradiction");
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    }
    assert_timestamps_come_back(body);
}

fn record_of_nothing(kind: Kind, body: &str) -> Record {
    Record {
        kind,
        id: Id::from_u64(1),
        revision: Revision::from_u128(1),
        unique_key: UniqueKey::new("x").expect("a key"),
        org: None,
        user: None,
        status: Status::Active,
        body: body.into(),
    }
}

/// The whole text that an operator could read about it.
fn shown(error: &StoreError) -> String {
    let mut text = format!("{error:?} {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Times keep their nanoseconds, and their order when they are compared.
fn assert_timestamps_come_back(body: &str) {
    let Ok(serde_json::Value::Object(members)) = serde_json::from_str(body) else { return };
    for name in ["createdAt", "updatedAt"] {
        let time = members.get(name).and_then(|time| time.as_str()?.parse::<Timestamp>().ok());
        if let Some(time) = time {
            assert_eq!(time.to_string().parse::<Timestamp>().ok(), Some(time));
        }
    }
}
