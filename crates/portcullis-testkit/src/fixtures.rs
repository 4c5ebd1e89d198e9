//! Records for tests.
//!
//! ```
//! use portcullis::store::{Batch, MemoryStore, Store};
//! use portcullis_testkit::fixtures::{self, Sample};
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let store = MemoryStore::new()?;
//! let telegraf = Sample::authorization(1)
//!     .with_key("telegraf")
//!     .in_org(7)
//!     .granting([fixtures::grant(0)]);
//! store.commit(Batch::new().with(telegraf.create())).await?;
//!
//! let renamed = telegraf.revised().with_key("collector");
//! store.commit(Batch::new().with(renamed.replace(&telegraf))).await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use portcullis::store::{Expect, Kind, Operation, Record, Revision, UniqueKey};
use portcullis::{
    Action, BucketId, GrantKey, Id, OrgId, Permission, Resource, ResourceType, Status, UserId,
};

/// A record with its grant keys.
///
/// Its [revision](Sample::revision) is computed from its content: equal samples have equal revisions,
/// and different samples have different ones, in every run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sample {
    /// Its kind.
    pub kind: Kind,
    /// Its id.
    pub id: Id,
    /// Its unique key.
    pub key: Arc<str>,
    /// The org it is in.
    pub org: Option<OrgId>,
    /// The user it belongs to.
    pub user: Option<UserId>,
    /// Whether it is active.
    pub status: Status,
    /// JSON without a particular meaning.
    pub body: Arc<str>,
    /// Its grant keys.
    pub grants: Vec<GrantKey>,
    /// How often it was [revised](Sample::revised).
    pub generation: u64,
}

impl Sample {
    /// A record of the kind with the id and a unique key of its own.
    pub fn of(kind: Kind, id: u64) -> Self {
        Self {
            kind,
            id: Id::from_u64(id),
            key: format!("{kind} {id:016x}").into(),
            org: None,
            user: None,
            status: Status::Active,
            body: format!(r#"{{"v":1,"id":"{id:016x}"}}"#).into(),
            grants: Vec::new(),
            generation: 0,
        }
    }

    /// An API token.
    pub fn api_token(id: u64) -> Self {
        Self::of(Kind::ApiToken, id)
    }

    /// An authorization.
    pub fn authorization(id: u64) -> Self {
        Self::of(Kind::Authorization, id)
    }

    /// A bucket.
    pub fn bucket(id: u64) -> Self {
        Self::of(Kind::Bucket, id)
    }

    /// A deletion in progress.
    pub fn deletion(id: u64) -> Self {
        Self::of(Kind::Tombstone, id)
    }

    /// An organization.
    pub fn org(id: u64) -> Self {
        Self::of(Kind::Org, id)
    }

    /// A user.
    pub fn user(id: u64) -> Self {
        Self::of(Kind::User, id)
    }

    /// Sets the unique key.
    #[must_use]
    pub fn with_key(self, key: impl Into<Arc<str>>) -> Self {
        let key = key.into();
        Self { key, ..self }
    }

    /// Sets the org.
    #[must_use]
    pub fn in_org(self, org: u64) -> Self {
        let org = Some(OrgId::from_u64(org));
        Self { org, ..self }
    }

    /// Sets the user.
    #[must_use]
    pub fn of_user(self, user: u64) -> Self {
        let user = Some(UserId::from_u64(user));
        Self { user, ..self }
    }

    /// Makes it inactive.
    #[must_use]
    pub fn inactive(self) -> Self {
        let status = Status::Inactive;
        Self { status, ..self }
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(self, body: impl Into<Arc<str>>) -> Self {
        let body = body.into();
        Self { body, ..self }
    }

    /// Sets the grant keys.
    #[must_use]
    pub fn granting(self, grants: impl IntoIterator<Item = GrantKey>) -> Self {
        let grants = grants.into_iter().collect();
        Self { grants, ..self }
    }

    /// Returns the same record with the next revision, to replace this one.
    #[must_use]
    pub fn revised(&self) -> Self {
        let generation = self.generation + 1;
        Self { generation, ..self.clone() }
    }

    /// Returns the revision of the record.
    pub fn revision(&self) -> Revision {
        let half = |salt: u64| {
            let mut hasher = DefaultHasher::new();
            (salt, self).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        Revision::from_u128(half(0) << 64 | half(1))
    }

    /// Returns the record.
    ///
    /// # Panics
    ///
    /// If the key is empty or too long.
    pub fn record(&self) -> Record {
        Record {
            kind: self.kind,
            id: self.id,
            revision: self.revision(),
            unique_key: UniqueKey::new(Arc::clone(&self.key)).expect("a valid unique key"),
            org: self.org,
            user: self.user,
            status: self.status,
            body: (&*self.body).into(),
        }
    }

    /// Creates it.
    ///
    /// # Panics
    ///
    /// If the key is empty or too long.
    pub fn create(&self) -> Operation {
        self.put(Expect::Absent)
    }

    /// Replaces the other.
    ///
    /// # Panics
    ///
    /// If the key is empty or too long.
    pub fn replace(&self, other: &Self) -> Operation {
        self.put(Expect::Revision(other.revision()))
    }

    /// Puts it with this expectation.
    ///
    /// # Panics
    ///
    /// If the key is empty or too long.
    pub fn put(&self, expect: Expect) -> Operation {
        Operation::Put { record: self.record(), grants: self.grants.clone(), expect }
    }

    /// Deletes it with this revision.
    pub fn delete(&self) -> Operation {
        Operation::Delete { kind: self.kind, id: self.id, expect: self.revision() }
    }

    /// Requires a record with its kind and id.
    pub fn require(&self) -> Operation {
        Operation::Require { kind: self.kind, id: self.id }
    }
}

/// Returns the grant key with the number. Numbers below 100 have different keys, of every form.
pub fn grant(number: u64) -> GrantKey {
    let action = Action::ALL[usize::from(number % 2 == 1)];
    // Ids and orgs over the whole range detect a store that treats them as signed.
    let id = u64::MAX - number;
    let resource = match number / 2 % 5 {
        0 => Resource::bucket(OrgId::from_u64(1), BucketId::from_u64(id)),
        1 => Resource::all(ResourceType::Buckets).in_org(OrgId::from_u64(id)),
        2 => Resource::user(UserId::from_u64(number + 1)),
        3 => Resource::all(ResourceType::Tasks).in_org(OrgId::from_u64(number + 1)),
        _ => match number / 10 {
            0 => Resource::all(ResourceType::Buckets),
            1 => Resource::all(ResourceType::Instance),
            _ => Resource::all(ResourceType::Dashboards).with_id(Id::from_u64(id)),
        },
    };
    GrantKey::of(Permission::new(action, resource))
}

/// Different names that could be confused with each other, or with something other than a name.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        // Case.
        "telegraf",
        "Telegraf",
        "TELEGRAF",
        "stra\u{df}e",
        "STRASSE",
        "strasse",
        "STRA\u{1e9e}E",
        "i",
        "I",
        "\u{130}",
        "\u{131}",
        "k",
        "K",
        "\u{212a}", // the sign for kelvin
        "\u{3c3}",
        "\u{3c2}",
        "\u{3a3}",
        // Unicode forms of the same text.
        "\u{e9}",
        "e\u{301}",
        "e",
        "\u{fb01}",
        "fi",
        "\u{c5}",
        "\u{212b}", // the sign for angstrom
        "A\u{30a}",
        "\u{d55c}",
        "\u{1112}\u{1161}\u{11ab}",
        "x\u{b2}",
        "x2",
        "x\u{662}",
        "\u{ff41}",
        // Blanks, and characters that look like a blank or are invisible.
        " ",
        "  ",
        "\t",
        "\n",
        "\r\n",
        "\u{a0}",
        "\u{3000}",
        "\u{feff}",
        "\u{200b}",
        " telegraf",
        "telegraf ",
        "telegraf  ",
        "telegraf\t",
        "telegraf\n",
        "telegraf\r\n",
        "\u{feff}telegraf",
        "tele\u{200b}graf",
        "tele\u{200d}graf",
        "tele\u{ad}graf",
        "tele graf",
        // NUL.
        "\0",
        "\0\0",
        "telegraf\0",
        "telegraf\0\0",
        "telegraf\0a",
        "telegraf\0b",
        "\0telegraf",
        // Letters that look alike, directions, emoji.
        "admin",
        "\u{430}dmin",
        "\u{202e}admin",
        "admin\u{200f}",
        "\u{645}\u{62f}\u{64a}\u{631}",
        "\u{5e9}\u{5dc}\u{5d5}\u{5dd}",
        "\u{1f469}",
        "\u{1f469}\u{200d}\u{1f4bb}",
        "\u{1f469}\u{1f3fd}\u{200d}\u{1f4bb}",
        "\u{2764}",
        "\u{2764}\u{fe0f}",
        "\u{fffd}",
        "\u{10ffff}",
        "\u{e000}",
        // Patterns, quotes, escapes, separators, numbers.
        "%",
        "%%",
        "_",
        "____",
        "t%",
        "t_legraf",
        "tele*",
        "[a-z]",
        "\\",
        "\\0",
        "\\%",
        "'",
        "''",
        "\"",
        "`",
        "' OR '1'='1",
        "'; DROP TABLE records; --",
        "$1",
        "?1",
        ":name",
        "@name",
        "NULL",
        "null",
        "nil",
        "0",
        "00",
        "1",
        "01",
        "+1",
        "1.0",
        "1e0",
        "0x31",
        "true",
        "{}",
        "[]",
        "a/b",
        "a:b",
        "a/",
        "../a",
        "a&b=c",
        "a+b",
        "a%20b",
        "a b",
    ]
    .map(String::from)
    .into();
    // Around likely limits of the length, differing in the last byte only.
    for length in [255, 256, 1_024, 2_704, 4_096, 8_191] {
        for end in ["", "a", "b"] {
            names.push("x".repeat(length) + end);
        }
    }
    names.push("ä".repeat(200));
    names
}

/// Texts that are no unique key in these tests, for lookups.
pub fn odd_texts() -> Vec<String> {
    let mut texts = names();
    texts.push(String::new());
    texts.push("x".repeat(UniqueKey::MAX_BYTES + 1));
    texts.push("x".repeat(64 * 1024));
    texts.push("\0".repeat(64 * 1024));
    texts.push("ä".repeat(512 * 1024));
    texts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_have_their_own_grant_keys() {
        let keys: BTreeSet<_> = (0..100).map(grant).collect();
        let texts: BTreeSet<_> = keys.iter().map(ToString::to_string).collect();
        assert_eq!((keys.len(), texts.len()), (100, 100));
    }

    #[test]
    fn names_differ() {
        let names = names();
        let set: BTreeSet<_> = names.iter().collect();
        assert_eq!(set.len(), names.len());
    }

    #[test]
    fn a_revision_follows_from_the_content() {
        let sample = Sample::authorization(1);
        assert_eq!(sample.revision(), sample.clone().revision());
        let others = [
            sample.revised(),
            sample.clone().with_key("k"),
            sample.clone().in_org(1),
            sample.clone().of_user(1),
            sample.clone().inactive(),
            sample.clone().with_body("{}"),
            sample.clone().granting([grant(0)]),
            Sample::authorization(2),
            Sample::user(1),
        ];
        for other in others {
            assert_ne!(sample.revision(), other.revision(), "{other:?}");
        }
    }
}
