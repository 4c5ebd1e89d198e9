//! A compact encoding of bodies for records in memory: numbers in place of their text, and no names
//! of members.
//!
//! It never leaves the process, so the encoding may change at any time.

use std::fmt;
use std::sync::Arc;

use super::{Entity, fast_json, from_text, username};
use crate::password::PasswordHash;
use crate::store::{Body, Kind, UniqueKey};
use crate::{Action, Authorization, Id, Permission, Resource, ResourceType, Status, Timestamp};

/// The body of an authorization; it stands for exactly one text. Cheap to clone.
///
/// A byte with [flags](HAS_HASH), three ids, two times, and the username; then the description, the
/// permissions, the costs and the text of the hash. Texts have their lengths in front of them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Compact(Arc<[u8]>);

const IS_ACTIVE: u8 = 1;
const HAS_HASH: u8 = 2;
const HAS_COSTS: u8 = 4;

/// Where the username is.
const USERNAME: usize = 1 + 3 * 8 + 2 * 12;

// A permission begins with a byte: these, and above them the number of the type.
const IS_WRITE: u8 = 1;
const HAS_ID: u8 = 2;
const HAS_ORG: u8 = 4;
const TYPE_SHIFT: u32 = 3;

impl Compact {
    /// Returns `None` if the body is not that of an authorization in canonical form: the text could
    /// not be restored.
    pub(crate) fn new(kind: Kind, text: &str) -> Option<Self> {
        if kind != Kind::Authorization {
            return None;
        }
        let authorization = fast_json::authorization(text, None);
        let authorization = authorization.or_else(|| from_text(text).ok())?;
        let compact = Self(write(&authorization)?.into());
        (*text_of(&compact.0) == *text).then_some(compact)
    }

    /// Returns the bytes of a body that has them already.
    pub(crate) fn of(body: &Body) -> Option<Self> {
        body.compact().map(|bytes| Self(Arc::clone(bytes)))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The username.
    pub(crate) fn username(&self) -> &str {
        let rest = self.0.get(USERNAME..).unwrap_or_default();
        // What `write` encodes can be decoded.
        Reader(rest).text().unwrap_or_default()
    }

    /// Decodes it. A username that equals the key shares its text.
    pub(super) fn authorization(&self, key: &UniqueKey) -> Option<Authorization> {
        read(&self.0, Some(key))
    }
}

impl From<Compact> for Body {
    fn from(compact: Compact) -> Self {
        Self::from_compact(compact.0, text_of)
    }
}

/// Returns the JSON.
fn text_of(compact: &[u8]) -> Box<str> {
    let authorization = read(compact, None);
    let text = authorization.and_then(|it| serde_json::to_string(&it.to_body()).ok());
    // What `write` encodes can be decoded.
    text.unwrap_or_default().into_boxed_str()
}

/// It may hold a password hash, so it is not shown.
impl fmt::Debug for Compact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compact({} bytes)", self.0.len())
    }
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
    } = authorization;
    let mut bytes = Vec::with_capacity(256);
    let flag = |set, flag| if set { flag } else { 0 };
    let costs = password_hash.as_ref().and_then(PasswordHash::costs);
    bytes.push(
        flag(status.is_active(), IS_ACTIVE)
            | flag(password_hash.is_some(), HAS_HASH)
            | flag(costs.is_some(), HAS_COSTS),
    );
    for id in [id.untyped(), org.untyped(), user.untyped()] {
        bytes.extend(id.as_u64().to_ne_bytes());
    }
    for time in [created_at, updated_at] {
        let (seconds, nanoseconds) = time.parts();
        bytes.extend(seconds.to_ne_bytes());
        bytes.extend(nanoseconds.to_ne_bytes());
    }
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
    Some(bytes)
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
    let username = username(reader.text()?, key)?;
    let description = reader.text()?.to_owned();
    let count = reader.length()?;
    let mut permissions = Vec::with_capacity(count.min(bytes.len()));
    for _ in 0..count {
        permissions.push(reader.permission()?);
    }
    Some(Authorization {
        id: id.into(),
        username,
        status: if flags & IS_ACTIVE == 0 { Status::Inactive } else { Status::Active },
        description,
        org: org.into(),
        user: user.into(),
        permissions,
        password_hash: if flags & HAS_HASH == 0 { None } else { Some(reader.hash(flags)?) },
        created_at,
        updated_at,
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

    pub(in super::super) fn authorization() -> impl Strategy<Value = Authorization> {
        let ids = (1..=u64::MAX, 1..=u64::MAX, 1..=u64::MAX);
        let permissions = prop::collection::vec(permission(), 0..20);
        let hash = prop::option::of(prop::sample::select(HASHES.to_vec()));
        let texts = ("\\PC{1,40}", any::<String>());
        (ids, texts, permissions, hash, (time(), time()), any::<bool>()).prop_map(
            |(ids, (name, description), permissions, hash, times, active)| Authorization {
                id: AuthorizationId::from_u64(ids.0),
                username: Username::new(name).unwrap(),
                status: if active { Status::Active } else { Status::Inactive },
                description,
                org: OrgId::from_u64(ids.1),
                user: UserId::from_u64(ids.2),
                permissions,
                password_hash: hash.map(|hash| PasswordHash::parse(hash).unwrap()),
                created_at: times.0,
                updated_at: times.1,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::strategy::{HASHES, authorization};
    use super::*;
    use crate::store::{Body, Record, Revision};

    proptest! {
        #[test]
        fn a_body_comes_back_byte_by_byte_and_is_decoded_alike(authorization in authorization()) {
            let record = authorization.to_record(Revision::from_u128(1)).unwrap();
            let compact = Compact::new(Kind::Authorization, &record.body).unwrap();
            prop_assert_eq!(&*text_of(compact.bytes()), &*record.body);
            prop_assert_eq!(compact.username(), authorization.username.as_str());
            let body = Body::from(compact);
            prop_assert!(body == record.body);
            let same = Record { body: body.clone(), ..record.clone() };
            prop_assert_eq!(Authorization::from_record(&same).unwrap(), authorization);
            let unique_key = UniqueKey::new("another").unwrap();
            let other = Record { body, unique_key, ..record };
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
        assert!(Compact::new(Kind::Authorization, body).is_some());
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
            assert_eq!(Compact::new(Kind::Authorization, &other), None, "{other}");
        }
        assert_eq!(Compact::new(Kind::ApiToken, body), None);
    }

    #[test]
    fn it_takes_less_than_half() {
        let body = format!(
            r#"{{"v":1,"id":"0c0d000000000001","token":"telegraf-0000001","status":"active","description":"agents of site 17","orgID":"0a11000000000001","userID":"0a5e000000000001","permissions":["read:orgs/0a11000000000001/buckets/0b0c000000000001","write:orgs/0a11000000000001/buckets/0b0c000000000001"],"passwordHash":"{}","createdAt":"2024-01-02T03:04:05Z","updatedAt":"2024-02-02T03:04:05Z"}}"#,
            HASHES[0]
        );
        let compact = Compact::new(Kind::Authorization, &body).unwrap();
        let bytes = compact.bytes().len();
        assert!(bytes * 2 < body.len(), "{bytes} of {}", body.len());
    }
}
