//! A compact encoding of bodies for records in memory: numbers in place of their text, and no names
//! of members.
//!
//! It never leaves the process, so the encoding may change at any time. It is some 330 bytes
//! shorter than the JSON, of the 700 that `benches/memory` allows for a record with all indexes.

use serde::{Deserialize, Serialize};

use super::bodies::previous_password;
use super::{Entity, from_text};
use crate::password::PasswordHash;
use crate::store::{Body, Kind, UniqueKey};
use crate::{
    Action, AllowedNetworks, Authorization, Id, Permission, PreviousPassword, Resource,
    ResourceType, Status, Timestamp,
};

// The encoding begins with a byte with these flags, three ids, two times, and the username; then come
// the description, the permissions, the costs and the text of the hash, and the members that only some
// have: two times, and the JSON of the rest. Texts have their lengths in front of them.
const IS_ACTIVE: u8 = 1;
const HAS_HASH: u8 = 2;
const HAS_COSTS: u8 = 4;
const HAS_PASSWORD_SET_AT: u8 = 8;
const HAS_EXPIRES_AT: u8 = 16;
const HAS_RARE: u8 = 32;

/// Where the username is.
const USERNAME: usize = 1 + 3 * 8 + 2 * 12;

// A permission begins with a byte: these, and above them the number of the type.
const IS_WRITE: u8 = 1;
const HAS_ID: u8 = 2;
const HAS_ORG: u8 = 4;
const TYPE_SHIFT: u32 = 3;

/// The members that few authorizations have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Rare {
    #[serde(skip_serializing_if = "Option::is_none")]
    password_expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "AllowedNetworks::is_empty")]
    allowed_networks: AllowedNetworks,
    #[serde(with = "previous_password", skip_serializing_if = "Option::is_none")]
    previous_password: Option<Box<PreviousPassword>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    password_history: Vec<PasswordHash>,
}

/// Returns the body in the compact encoding, if it is that of an authorization in canonical form; of
/// any other the text could not be restored.
pub(crate) fn compact(kind: Kind, body: Body) -> Body {
    if kind == Kind::Authorization
        && body.compact().is_none()
        && let Ok(authorization) = from_text(&body)
        && let Some(bytes) = write(&authorization)
        && *text_of(&bytes) == *body
    {
        return Body::from_compact(bytes.into(), text_of);
    }
    body
}

/// Returns the username of a compact body.
pub(crate) fn username(body: &Body) -> Option<&str> {
    Reader(body.compact()?.get(USERNAME..)?).text()
}

/// Decodes a compact body. A username that equals the key shares its text.
pub(super) fn authorization(bytes: &[u8], key: &UniqueKey) -> Option<Authorization> {
    read(bytes, Some(key))
}

/// Returns the JSON.
fn text_of(compact: &[u8]) -> Box<str> {
    let authorization = read(compact, None);
    let text = authorization.and_then(|it| serde_json::to_string(&it.to_body()).ok());
    // What `write` encodes can be decoded.
    text.unwrap_or_default().into_boxed_str()
}

fn write(authorization: &Authorization) -> Option<Vec<u8>> {
    let Authorization {
        id,
        username,
        status,
        description,
        org,
        user,
        permissions,
        password_hash,
        created_at,
        updated_at,
        expires_at,
        allowed_networks,
        password_set_at,
        password_expires_at,
        previous_password,
        password_history,
    } = authorization;
    let rare = Rare {
        password_expires_at: *password_expires_at,
        allowed_networks: allowed_networks.clone(),
        previous_password: previous_password.clone(),
        password_history: password_history.clone(),
    };
    let has_rare = rare != Rare::default();
    let mut bytes = Vec::with_capacity(256);
    let flag = |set, flag| if set { flag } else { 0 };
    let costs = password_hash.as_ref().and_then(PasswordHash::costs);
    bytes.push(
        flag(status.is_active(), IS_ACTIVE)
            | flag(password_hash.is_some(), HAS_HASH)
            | flag(costs.is_some(), HAS_COSTS)
            | flag(password_set_at.is_some(), HAS_PASSWORD_SET_AT)
            | flag(expires_at.is_some(), HAS_EXPIRES_AT)
            | flag(has_rare, HAS_RARE),
    );
    for id in [id.untyped(), org.untyped(), user.untyped()] {
        bytes.extend(id.as_u64().to_ne_bytes());
    }
    write_time(&mut bytes, *created_at);
    write_time(&mut bytes, *updated_at);
    write_text(&mut bytes, username.as_str())?;
    write_text(&mut bytes, description)?;
    bytes.extend(u32::try_from(permissions.len()).ok()?.to_ne_bytes());
    for Permission { action, resource: Resource { resource_type, id, org } } in permissions {
        bytes.push(
            flag(*action == Action::Write, IS_WRITE)
                | flag(id.is_some(), HAS_ID)
                | flag(org.is_some(), HAS_ORG)
                | (*resource_type as u8) << TYPE_SHIFT,
        );
        for id in [*id, org.map(|org| org.untyped())].into_iter().flatten() {
            bytes.extend(id.as_u64().to_ne_bytes());
        }
    }
    if let Some((memory_kib, others)) = costs {
        bytes.extend(memory_kib.to_ne_bytes());
        bytes.extend(others);
    }
    if let Some(hash) = password_hash {
        write_text(&mut bytes, hash.expose())?;
    }
    for time in [password_set_at, expires_at].into_iter().flatten() {
        write_time(&mut bytes, *time);
    }
    if has_rare {
        write_text(&mut bytes, &serde_json::to_string(&rare).ok()?)?;
    }
    Some(bytes)
}

fn write_time(bytes: &mut Vec<u8>, time: Timestamp) {
    let (seconds, nanoseconds) = time.parts();
    bytes.extend(seconds.to_ne_bytes());
    bytes.extend(nanoseconds.to_ne_bytes());
}

fn write_text(bytes: &mut Vec<u8>, text: &str) -> Option<()> {
    bytes.extend(u32::try_from(text.len()).ok()?.to_ne_bytes());
    bytes.extend(text.as_bytes());
    Some(())
}

fn read(bytes: &[u8], key: Option<&UniqueKey>) -> Option<Authorization> {
    let mut reader = Reader(bytes);
    let flags = reader.byte()?;
    let (id, org, user) = (reader.id()?, reader.id()?, reader.id()?);
    let (created_at, updated_at) = (reader.time()?, reader.time()?);
    let username = super::username(reader.text()?, key)?;
    let description = reader.text()?.to_owned();
    let count = reader.length()?;
    let mut permissions = Vec::with_capacity(count.min(bytes.len()));
    for _ in 0..count {
        permissions.push(reader.permission()?);
    }
    let has = |flag: u8| flags & flag != 0;
    let password_hash = if has(HAS_HASH) { Some(reader.hash(flags)?) } else { None };
    let password_set_at = if has(HAS_PASSWORD_SET_AT) { Some(reader.time()?) } else { None };
    let expires_at = if has(HAS_EXPIRES_AT) { Some(reader.time()?) } else { None };
    let rare: Rare = match has(HAS_RARE) {
        true => serde_json::from_str(reader.text()?).ok()?,
        false => Rare::default(),
    };
    Some(Authorization {
        id: id.into(),
        username,
        status: if has(IS_ACTIVE) { Status::Active } else { Status::Inactive },
        description,
        org: org.into(),
        user: user.into(),
        permissions,
        password_hash,
        created_at,
        updated_at,
        expires_at,
        allowed_networks: rare.allowed_networks,
        password_set_at,
        password_expires_at: rare.password_expires_at,
        previous_password: rare.previous_password,
        password_history: rare.password_history,
    })
}

/// The rest of the bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        let [byte] = self.take()?;
        Some(byte)
    }

    fn id(&mut self) -> Option<Id> {
        Some(Id::from_u64(u64::from_ne_bytes(self.take()?)))
    }

    fn time(&mut self) -> Option<Timestamp> {
        let seconds = i64::from_ne_bytes(self.take()?);
        Timestamp::from_parts(seconds, i32::from_ne_bytes(self.take()?))
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(u32::from_ne_bytes(self.take()?)).ok()
    }

    fn permission(&mut self) -> Option<Permission> {
        let first = self.byte()?;
        let action = if first & IS_WRITE == 0 { Action::Read } else { Action::Write };
        let resource_type = *ResourceType::ALL.get(usize::from(first >> TYPE_SHIFT))?;
        let id = if first & HAS_ID == 0 { None } else { Some(self.id()?) };
        let org = if first & HAS_ORG == 0 { None } else { Some(self.id()?.into()) };
        Some(Permission::new(action, Resource { resource_type, id, org }))
    }

    fn hash(&mut self, flags: u8) -> Option<PasswordHash> {
        if flags & HAS_COSTS == 0 {
            return PasswordHash::parse(self.text()?).ok();
        }
        let costs = (u32::from_ne_bytes(self.take()?), self.take()?);
        PasswordHash::with_costs(self.text()?, costs)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.length()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

/// Authorizations of every shape, for tests of parsers.
#[cfg(test)]
pub(super) mod strategy {
    use proptest::prelude::*;

    use super::*;
    use crate::permission::strategy::permission;
    use crate::{AuthorizationId, OrgId, UserId, Username};

    pub(in super::super) const HASHES: [&str; 3] = [
        "$argon2id$v=19$m=19456,t=2,p=1$bm90IGEgcmVhbCBzYWx0IQ$bm90IGEgcmVhbCBoYXNoIGF0IGFsbCwgYnV0IGxvbmcu",
        "$argon2id$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$2b$04$fVervtjyD90Q9bqnQzgeHeG2Z3shVkpd4l/yrOWDD9erFFhGg5Ml6",
    ];

    fn time() -> impl Strategy<Value = Timestamp> {
        let text = (-9_998..=9_999, 0..1_000_000_000_u32).prop_map(|(year, nanoseconds)| {
            let sign = if year < 0 { "-00" } else { "" };
            format!("{sign}{:04}-02-03T04:05:06.{nanoseconds:09}Z", i32::abs(year))
        });
        text.prop_filter_map("a time", |text| text.parse().ok())
    }

    fn hash() -> impl Strategy<Value = PasswordHash> {
        prop::sample::select(HASHES.to_vec()).prop_map(|hash| PasswordHash::parse(hash).unwrap())
    }

    /// Half of them are empty.
    fn rare() -> impl Strategy<Value = Rare> {
        let networks = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1"];
        let networks = prop::sample::subsequence(networks.to_vec(), 0..4);
        let previous = (hash(), prop::option::of(time()), time(), any::<bool>()).prop_map(
            |(hash, set_at, ends_at, ends_when_new_is_used)| PreviousPassword {
                hash,
                set_at,
                ends_at,
                ends_when_new_is_used,
            },
        );
        let members = (
            prop::option::of(time()),
            networks,
            prop::option::of(previous),
            prop::collection::vec(hash(), 0..3),
        );
        prop::option::of(members).prop_map(|members| {
            members.map_or_else(Rare::default, |(end, networks, previous, history)| Rare {
                password_expires_at: end,
                allowed_networks: AllowedNetworks::parse(networks).unwrap(),
                previous_password: previous.map(Box::new),
                password_history: history,
            })
        })
    }

    pub(in super::super) fn authorization() -> impl Strategy<Value = Authorization> {
        let ids = (1..=u64::MAX, 1..=u64::MAX, 1..=u64::MAX);
        let permissions = prop::collection::vec(permission(), 0..20);
        let hash = prop::option::of(hash());
        let texts = ("\\PC{1,40}", any::<String>());
        let times = (time(), time(), prop::option::of(time()), prop::option::of(time()));
        (ids, texts, permissions, hash, times, any::<bool>(), rare()).prop_map(
            |(ids, (name, description), permissions, hash, times, active, rare)| Authorization {
                id: AuthorizationId::from_u64(ids.0),
                username: Username::new(name).unwrap(),
                status: if active { Status::Active } else { Status::Inactive },
                description,
                org: OrgId::from_u64(ids.1),
                user: UserId::from_u64(ids.2),
                permissions,
                password_hash: hash,
                created_at: times.0,
                updated_at: times.1,
                expires_at: times.3,
                allowed_networks: rare.allowed_networks,
                password_set_at: times.2,
                password_expires_at: rare.password_expires_at,
                previous_password: rare.previous_password,
                password_history: rare.password_history,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::strategy::{HASHES, authorization};
    use super::*;
    use crate::store::{Record, Revision};

    /// The length of the compact encoding, if the body has one.
    fn compact_length(kind: Kind, body: &str) -> Option<usize> {
        compact(kind, body.into()).compact().map(|bytes| bytes.len())
    }

    proptest! {
        #[test]
        fn a_body_comes_back_byte_by_byte_and_is_decoded_alike(authorization in authorization()) {
            let record = authorization.to_record(Revision::from_u128(1)).unwrap();
            let body = compact(record.kind, record.body.clone());
            prop_assert!(body.compact().is_some());
            prop_assert_eq!(&*body, &*record.body);
            prop_assert_eq!(username(&body), Some(authorization.username.as_str()));
            let same = Record { body, ..record };
            prop_assert_eq!(Authorization::from_record(&same).unwrap(), authorization);
            let unique_key = UniqueKey::new("another").unwrap();
            let other = Record { unique_key, ..same };
            prop_assert!(Authorization::from_record(&other).is_err());
        }

        #[test]
        fn truncated_or_changed_bytes_cause_no_panic(
            authorization in authorization(),
            cut in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bytes = write(&authorization).unwrap();
            let at = cut.index(bytes.len());
            prop_assert_eq!(read(&bytes[..at], None), None);
            bytes[at] = byte;
            let _ = read(&bytes, None);
        }
    }

    #[test]
    fn a_body_that_is_not_canonical_stays_a_text() {
        let body = r#"{"v":1,"id":"0c0d000000000001","token":"telegraf","status":"active","description":"","orgID":"0a11000000000001","userID":"0a5e000000000001","permissions":["read:buckets"],"createdAt":"2024-01-02T03:04:05Z","updatedAt":"2024-02-02T03:04:05Z"}"#;
        assert!(compact_length(Kind::Authorization, body).is_some());
        for other in [
            body.replace("\"v\":1", "\"v\":1,\"later\":[1]"),
            body.replace("\"v\":1", "\"v\": 1"),
            body.replace("0c0d", "0C0D"),
            body.replace("05Z", "05.0Z"),
            body.replace("read:buckets", "read:bucket"),
            format!("{body} "),
            String::new(),
        ] {
            assert_ne!(other, body);
            assert_eq!(compact_length(Kind::Authorization, &other), None, "{other}");
        }
        assert_eq!(compact_length(Kind::ApiToken, body), None);
    }

    #[test]
    fn the_time_of_a_password_and_the_end_take_12_bytes_each_and_nothing_if_they_are_not_there() {
        let plain = r#"{"v":1,"id":"0c0d000000000001","token":"telegraf","status":"active","description":"","orgID":"0a11000000000001","userID":"0a5e000000000001","permissions":["read:buckets"],"createdAt":"2024-01-02T03:04:05Z","updatedAt":"2024-02-02T03:04:05Z"}"#;
        let with = |version, members: &str| {
            let body =
                plain.replace("\"v\":1", version).replace("05Z\"}", &format!("05Z\"{members}}}"));
            compact_length(Kind::Authorization, &body).unwrap()
        };
        let length = with("\"v\":1", "");
        let text = "telegraf".len() + 4;
        assert_eq!(length, USERNAME + text + 4 + 4 + 1);
        let set = r#","passwordSetAt":"2024-01-02T03:04:05.123456789Z""#;
        assert_eq!(with("\"v\":1", set), length + 12);
        let end = r#","expiresAt":"2034-01-02T03:04:05Z""#;
        assert_eq!(with("\"v\":2", end), length + 12);
    }

    #[test]
    fn it_takes_less_than_half() {
        let body = format!(
            r#"{{"v":1,"id":"0c0d000000000001","token":"telegraf-0000001","status":"active","description":"agents of site 17","orgID":"0a11000000000001","userID":"0a5e000000000001","permissions":["read:orgs/0a11000000000001/buckets/0b0c000000000001","write:orgs/0a11000000000001/buckets/0b0c000000000001"],"passwordHash":"{}","createdAt":"2024-01-02T03:04:05Z","updatedAt":"2024-02-02T03:04:05Z"}}"#,
            HASHES[0]
        );
        let bytes = compact_length(Kind::Authorization, &body).unwrap();
        assert!(bytes * 2 < body.len(), "{bytes} of {}", body.len());
    }
}
