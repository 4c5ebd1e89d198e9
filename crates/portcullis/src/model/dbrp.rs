//! Mappings of v1 databases and retention policies to buckets ("DBRP mappings").

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

use crate::{Bucket, BucketId, DbrpId, Error, ErrorKind, Id, OrgId};

/// The retention policy of a [virtual mapping](DbrpMapping::is_virtual) whose bucket's name has no
/// slash.
pub(crate) const DEFAULT_POLICY: &str = "autogen";

/// The name of a database or of a retention policy in a mapping: 1 to [`DbrpName::MAX_BYTES`] bytes,
/// compared byte by byte. All characters are printable, none is `/` or `\`, and it is neither `.` nor
/// `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct DbrpName(Arc<str>);

impl DbrpName {
    /// The longest name in bytes.
    pub const MAX_BYTES: usize = 1_024;

    /// Checks the name.
    ///
    /// # Errors
    ///
    /// [`InvalidDbrpName`] when it breaks a rule.
    pub fn new(name: impl Into<Arc<str>>) -> Result<Self, InvalidDbrpName> {
        let name = name.into();
        let is_valid = (1..=Self::MAX_BYTES).contains(&name.len())
            && !matches!(&*name, "." | "..")
            && !name.contains(['/', '\\'])
            && is_printable(&name);
        if is_valid { Ok(Self(name)) } else { Err(InvalidDbrpName) }
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tells whether every character is a letter, mark, number, punctuation, symbol or the space.
fn is_printable(name: &str) -> bool {
    // `escape_debug` escapes every other character, quotes, and a mark at the beginning.
    let preceded = format!("a{}", name.replace(['\'', '"'], "a"));
    preceded.escape_debug().eq(preceded.chars())
}

impl fmt::Display for DbrpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DbrpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for DbrpName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// The error for a text that is no [`DbrpName`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "the name of a database or retention policy has 1 to {} bytes of printable characters, without \
     slashes and backslashes, and is not `.` or `..`",
    DbrpName::MAX_BYTES
)]
pub struct InvalidDbrpName;

/// A mapping: what is read and written in the retention policy of the database is in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DbrpMapping {
    /// Its id; that of the bucket if the mapping is virtual.
    pub id: DbrpId,
    /// The org of the bucket.
    pub org: OrgId,
    /// The name of the database.
    pub database: Arc<str>,
    /// The name of the retention policy.
    pub retention_policy: Arc<str>,
    /// Whether it is also the mapping of requests that name the database alone. Of the mappings of a
    /// database, exactly one is the default; there may be none if all are virtual.
    pub is_default: bool,
    /// Whether it follows from the name of the bucket: the bucket `DB/RP` stands for the retention policy
    /// `RP` of the database `DB`, and the bucket `DB` for `autogen` and for the database alone. It is not
    /// a record, and yields to one for the same retention policy, or for the database alone.
    pub is_virtual: bool,
    /// The bucket.
    pub bucket: BucketId,
}

impl DbrpMapping {
    /// Returns the mapping that follows from the name of the bucket.
    pub(crate) fn of_bucket(bucket: &Bucket) -> Self {
        let name = bucket.name.as_str();
        let (database, policy) = name.split_once('/').unwrap_or((name, DEFAULT_POLICY));
        Self {
            id: bucket.id.untyped().into(),
            org: bucket.org,
            database: database.into(),
            retention_policy: policy.into(),
            is_default: database == name,
            is_virtual: true,
            bucket: bucket.id,
        }
    }
}

/// What a database, or a retention policy of it, leads to
/// ([`Engine::database_bucket`](crate::Engine::database_bucket)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseBucket {
    /// The bucket of its mapping.
    Mapped(BucketId),
    /// It has no mapping, and this bucket has its name.
    Named(BucketId),
    /// It has a mapping, whose bucket does not exist in the org. No other bucket takes its place.
    Dangling,
    /// It has no mapping, and no bucket has its name.
    None,
}

impl DatabaseBucket {
    /// Returns the bucket, if there is one.
    pub const fn bucket(self) -> Option<BucketId> {
        match self {
            Self::Mapped(bucket) | Self::Named(bucket) => Some(bucket),
            Self::Dangling | Self::None => None,
        }
    }
}

/// A new mapping.
#[derive(Clone, Debug)]
pub struct NewDbrp {
    /// The org, in which the bucket must be.
    pub org: OrgId,
    /// The name of the database, which must be a [`DbrpName`].
    pub database: String,
    /// The name of the retention policy, which must be a [`DbrpName`].
    pub retention_policy: String,
    /// Whether it becomes the default of the database. The first mapping of a database always does.
    pub is_default: bool,
    /// The bucket.
    pub bucket: BucketId,
}

/// A change of a mapping. What is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DbrpUpdate {
    /// The name of the retention policy, which must be a [`DbrpName`].
    pub retention_policy: Option<String>,
    /// Whether it is the default of the database. If it no longer is, the other one with the lowest
    /// id becomes the default, usually the oldest; if there is none, it remains the default.
    pub is_default: Option<bool>,
}

/// A filter of mappings: it matches those that match every given field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DbrpFilter {
    /// The org.
    pub org: OrgId,
    /// The id.
    pub id: Option<DbrpId>,
    /// The bucket.
    pub bucket: Option<BucketId>,
    /// The name of the database, compared byte by byte.
    pub database: Option<String>,
    /// The name of the retention policy, compared byte by byte.
    pub retention_policy: Option<String>,
    /// Whether it is the default of its database.
    pub is_default: Option<bool>,
    /// Whether it is virtual.
    pub is_virtual: Option<bool>,
}

impl DbrpFilter {
    /// Matches every mapping of the org.
    pub const fn all(org: OrgId) -> Self {
        Self {
            org,
            id: None,
            bucket: None,
            database: None,
            retention_policy: None,
            is_default: None,
            is_virtual: None,
        }
    }

    /// Tells whether the mapping matches.
    pub fn matches(&self, mapping: &DbrpMapping) -> bool {
        self.org == mapping.org
            && self.id.is_none_or(|id| id == mapping.id)
            && self.bucket.is_none_or(|bucket| bucket == mapping.bucket)
            && self.database.as_deref().is_none_or(|name| name == &*mapping.database)
            && self
                .retention_policy
                .as_deref()
                .is_none_or(|name| name == &*mapping.retention_policy)
            && self.is_default.is_none_or(|is_default| is_default == mapping.is_default)
            && self.is_virtual.is_none_or(|is_virtual| is_virtual == mapping.is_virtual)
    }
}

/// The mappings of a database of an org that are not virtual: one record, so that each retention policy
/// has one mapping, and exactly one mapping is the default, whatever is changed at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseMappings {
    pub(crate) id: Id,
    pub(crate) org: OrgId,
    pub(crate) database: DbrpName,
    pub(crate) policies: PolicyMappings,
}

/// The mapping of a retention policy in a [`DatabaseMappings`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PolicyMapping {
    pub(crate) id: DbrpId,
    pub(crate) retention_policy: DbrpName,
    pub(crate) bucket: BucketId,
    pub(crate) is_default: bool,
}

/// 1 to [`DatabaseMappings::MAX_POLICIES`] mappings, ascending by id: the retention policies differ, and
/// one is the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PolicyMappings(Vec<PolicyMapping>);

impl PolicyMappings {
    /// Checks them.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub(crate) fn new(mut mappings: Vec<PolicyMapping>) -> Result<Self, InvalidMappings> {
        if mappings.len() > DatabaseMappings::MAX_POLICIES {
            return Err(InvalidMappings::TooMany);
        }
        if mappings.iter().filter(|mapping| mapping.is_default).count() != 1 {
            return Err(InvalidMappings::Default);
        }
        mappings.sort_by(|one, other| one.retention_policy.cmp(&other.retention_policy));
        if !mappings.is_sorted_by(|one, next| one.retention_policy < next.retention_policy) {
            return Err(InvalidMappings::SamePolicy);
        }
        mappings.sort_by_key(|mapping| mapping.id);
        if !mappings.is_sorted_by(|one, next| one.id < next.id) {
            return Err(InvalidMappings::SameId);
        }
        Ok(Self(mappings))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &PolicyMapping> {
        self.0.iter()
    }
}

/// Why mappings are not those of a database.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum InvalidMappings {
    #[error("exactly one mapping of a database must be the default")]
    Default,
    #[error("two mappings of a database have the same id")]
    SameId,
    #[error("two mappings of a database have the same retention policy")]
    SamePolicy,
    #[error("a database has at most {} mappings", DatabaseMappings::MAX_POLICIES)]
    TooMany,
}

impl DatabaseMappings {
    /// The most mappings of a database.
    pub const MAX_POLICIES: usize = 1_000;

    /// Makes the mappings of a database with the first one, which is the default. `id` is the id of the
    /// record.
    pub fn new(
        id: Id,
        org: OrgId,
        database: DbrpName,
        mapping: DbrpId,
        retention_policy: DbrpName,
        bucket: BucketId,
    ) -> Self {
        let first = PolicyMapping { id: mapping, retention_policy, bucket, is_default: true };
        Self { id, org, database, policies: PolicyMappings(vec![first]) }
    }

    /// Returns the org.
    pub const fn org(&self) -> OrgId {
        self.org
    }

    /// Returns the database.
    pub const fn database(&self) -> &DbrpName {
        &self.database
    }

    /// Returns the mappings, ascending by id.
    pub fn mappings(&self) -> impl Iterator<Item = DbrpMapping> {
        self.policies.iter().map(|policy| self.view(policy))
    }

    /// Returns the mapping with the id.
    pub fn mapping(&self, id: DbrpId) -> Option<DbrpMapping> {
        self.policies.iter().find(|policy| policy.id == id).map(|policy| self.view(policy))
    }

    /// Returns the bucket of the retention policy, or of the database alone.
    pub fn bucket(&self, retention_policy: Option<&str>) -> Option<BucketId> {
        let found = self.policies.iter().find(|policy| match retention_policy {
            Some(name) => policy.retention_policy.as_str() == name,
            None => policy.is_default,
        });
        found.map(|policy| policy.bucket)
    }

    /// Adds a mapping.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] when the retention policy or the id has a mapping;
    /// [`ErrorKind::Invalid`] when there are [`DatabaseMappings::MAX_POLICIES`].
    pub fn insert(
        &mut self,
        id: DbrpId,
        retention_policy: DbrpName,
        bucket: BucketId,
        is_default: bool,
    ) -> Result<(), Error> {
        let mut all = self.policies.0.clone();
        if is_default {
            all.iter_mut().for_each(|policy| policy.is_default = false);
        }
        all.push(PolicyMapping { id, retention_policy, bucket, is_default });
        self.replace(all)
    }

    /// Changes the mapping with the id, and tells whether there is one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] when another mapping has the retention policy.
    pub fn update(
        &mut self,
        id: DbrpId,
        retention_policy: Option<DbrpName>,
        is_default: Option<bool>,
    ) -> Result<bool, Error> {
        let mut all = self.policies.0.clone();
        let Some(at) = all.iter().position(|policy| policy.id == id) else { return Ok(false) };
        let was_default = all.get(at).is_some_and(|policy| policy.is_default);
        // Of the others, the one with the lowest id.
        let other = (0..all.len()).find(|other| *other != at).unwrap_or(at);
        let default = match is_default {
            Some(true) => Some(at),
            Some(false) if was_default => Some(other),
            _ => None,
        };
        for (place, policy) in all.iter_mut().enumerate() {
            policy.is_default = default.map_or(policy.is_default, |default| default == place);
            if let (true, Some(name)) = (place == at, &retention_policy) {
                policy.retention_policy = name.clone();
            }
        }
        self.replace(all).map(|()| true)
    }

    /// Removes mappings. If the default is among them, the one with the lowest id becomes the default.
    /// Returns `None` if none is left.
    #[must_use]
    pub fn without(mut self, is_removed: impl Fn(&DbrpMapping) -> bool) -> Option<Self> {
        let kept: Vec<bool> = self.mappings().map(|mapping| !is_removed(&mapping)).collect();
        let mut kept = kept.into_iter();
        let all = &mut self.policies.0;
        all.retain(|_| kept.next().unwrap_or(true));
        if !all.iter().any(|policy| policy.is_default) {
            all.first_mut()?.is_default = true;
        }
        Some(self)
    }

    fn replace(&mut self, policies: Vec<PolicyMapping>) -> Result<(), Error> {
        self.policies = PolicyMappings::new(policies).map_err(|error| match error {
            InvalidMappings::TooMany | InvalidMappings::Default => {
                Error::new(ErrorKind::Invalid, error.to_string())
            }
            InvalidMappings::SameId | InvalidMappings::SamePolicy => Error::new(
                ErrorKind::Conflict,
                "another DBRP mapping with same orgID, db, and rp exists",
            ),
        })?;
        Ok(())
    }

    fn view(&self, policy: &PolicyMapping) -> DbrpMapping {
        DbrpMapping {
            id: policy.id,
            org: self.org,
            database: Arc::clone(&self.database.0),
            retention_policy: Arc::clone(&policy.retention_policy.0),
            is_default: policy.is_default,
            is_virtual: false,
            bucket: policy.bucket,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> DbrpName {
        DbrpName::new(name).unwrap()
    }

    fn id(id: u64) -> DbrpId {
        DbrpId::from_u64(id)
    }

    fn bucket(id: u64) -> BucketId {
        BucketId::from_u64(id)
    }

    /// The retention policies, with a `*` at the default.
    fn shown(mappings: &DatabaseMappings) -> String {
        let shown = mappings.mappings().map(|mapping| {
            format!("{}{}", mapping.retention_policy, if mapping.is_default { "*" } else { "" })
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    fn three() -> DatabaseMappings {
        let org = OrgId::from_u64(1);
        let mut mappings =
            DatabaseMappings::new(Id::from_u64(9), org, name("db"), id(10), name("a"), bucket(1));
        mappings.insert(id(11), name("b"), bucket(2), false).unwrap();
        mappings.insert(id(12), name("c"), bucket(1), false).unwrap();
        mappings
    }

    #[test]
    fn names_are_printable_and_have_no_slashes() {
        let longest = "x".repeat(DbrpName::MAX_BYTES);
        for valid in ["a", "-", "a b", "it's \"x\"", "Größe", "e\u{301}", "日本", "...", &longest]
        {
            assert!(DbrpName::new(valid).is_ok(), "{valid:?}");
        }
        let too_long = "x".repeat(DbrpName::MAX_BYTES + 1);
        for invalid in
            ["", ".", "..", "a/b", "a\\b", "a\n", "\0", "a\u{a0}b", "\u{200b}", &too_long]
        {
            assert!(DbrpName::new(invalid).is_err(), "{invalid:?}");
        }
    }

    #[test]
    fn exactly_one_mapping_is_the_default_after_every_change() {
        let mut mappings = three();
        assert_eq!(shown(&mappings), "a* b c");
        mappings.insert(id(13), name("d"), bucket(3), true).unwrap();
        assert_eq!(shown(&mappings), "a b c d*");
        assert!(mappings.update(id(13), None, Some(false)).unwrap());
        assert_eq!(shown(&mappings), "a* b c d");
        assert!(mappings.update(id(10), Some(name("z")), Some(false)).unwrap());
        assert_eq!(shown(&mappings), "z b* c d");
        assert!(mappings.update(id(12), None, Some(false)).unwrap());
        assert_eq!(shown(&mappings), "z b* c d");
        assert!(!mappings.update(id(99), None, Some(true)).unwrap());
        let mappings = mappings.without(|mapping| mapping.id == id(11)).unwrap();
        assert_eq!(shown(&mappings), "z* c d");
        let mappings = mappings.without(|mapping| mapping.bucket == bucket(1)).unwrap();
        assert_eq!(shown(&mappings), "d*");
        let mut mappings = mappings;
        assert!(mappings.update(id(13), None, Some(false)).unwrap());
        assert_eq!(shown(&mappings), "d*", "the only one remains the default");
        assert_eq!(mappings.without(|_| true), None);
    }

    #[test]
    fn a_retention_policy_has_one_mapping() {
        let mut mappings = three();
        for refused in [
            mappings.insert(id(13), name("a"), bucket(3), true),
            mappings.insert(id(10), name("d"), bucket(3), true),
            mappings.update(id(11), Some(name("a")), None).map(drop),
        ] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
        }
        assert_eq!(mappings, three(), "nothing was changed");
        assert_eq!(mappings.bucket(Some("b")), Some(bucket(2)));
        assert_eq!(mappings.bucket(Some("B")), None);
        assert_eq!(mappings.bucket(None), Some(bucket(1)));
    }

    #[test]
    fn a_database_has_a_bounded_number_of_mappings() {
        let mut mappings = three();
        for number in 3..DatabaseMappings::MAX_POLICIES as u64 {
            mappings
                .insert(id(10 + number), name(&format!("rp{number}")), bucket(1), false)
                .unwrap();
        }
        let refused = mappings.insert(id(9), name("last"), bucket(1), false).unwrap_err();
        assert_eq!(refused.message(), "a database has at most 1000 mappings");
    }
}
