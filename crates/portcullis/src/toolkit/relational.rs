//! Parts for stores on SQL databases: a table for each kind, the columns of a record, and the walk
//! over index entries.
//!
//! Each kind has a table of its own with the columns of [`Columns`]. The table `grants` has the
//! columns `kind` (the name of the record's table), `grant_key` and `id`.

use std::fmt::Display;

use thiserror::Error;

use crate::store::{
    Body, Entry, EntryCursor, EntryKey, Kind, Record, Revision, StoreError, UniqueKey,
};
use crate::{Id, Status};

/// Returns the name of the table of the kind: the plural of the kind in snake case, such as
/// `api_tokens`. It is part of the format of stores.
pub const fn table_name(kind: Kind) -> &'static str {
    match kind {
        Kind::ApiToken => "api_tokens",
        Kind::ApiTokenUse => "api_token_uses",
        Kind::Authorization => "authorizations",
        Kind::AuthorizationUse => "authorization_uses",
        Kind::Bucket => "buckets",
        Kind::Dbrp => "dbrps",
        Kind::Tombstone => "deletions",
        Kind::Org => "orgs",
        Kind::User => "users",
    }
}

/// Returns the kind of the records in the table with the name.
pub fn kind_of_table(name: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| table_name(*kind) == name)
}

/// A value for the table of each kind, such as its SQL statements.
#[derive(Clone, Debug)]
pub struct Tables<T>([T; Kind::ALL.len()]);

impl<T> Tables<T> {
    /// Makes the value of each kind from the kind and the name of its table.
    pub fn new(mut make: impl FnMut(Kind, &'static str) -> T) -> Self {
        Self(Kind::ALL.map(|kind| make(kind, table_name(kind))))
    }

    /// Returns the value of the kind.
    pub fn of(&self, kind: Kind) -> &T {
        let [
            api_tokens,
            api_token_uses,
            authorizations,
            authorization_uses,
            buckets,
            dbrps,
            deletions,
            orgs,
            users,
        ] = &self.0;
        match kind {
            Kind::ApiToken => api_tokens,
            Kind::ApiTokenUse => api_token_uses,
            Kind::Authorization => authorizations,
            Kind::AuthorizationUse => authorization_uses,
            Kind::Bucket => buckets,
            Kind::Dbrp => dbrps,
            Kind::Tombstone => deletions,
            Kind::Org => orgs,
            Kind::User => users,
        }
    }

    /// Returns the values in the order of [`Kind::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

/// The columns of a record, as they were read. Ids are 16 hexadecimal digits.
#[derive(Clone, Copy)]
pub struct Columns<'a> {
    /// `id`.
    pub id: &'a [u8],
    /// `revision`: 16 bytes, most significant first.
    pub revision: &'a [u8],
    /// `unique_key`.
    pub unique_key: &'a str,
    /// `org_id`.
    pub org_id: Option<&'a [u8]>,
    /// `user_id`.
    pub user_id: Option<&'a [u8]>,
    /// `status`.
    pub status: &'a str,
    /// `body`.
    pub body: &'a str,
}

impl Columns<'_> {
    /// Makes the record.
    ///
    /// # Errors
    ///
    /// [`UnreadableColumn`] for the first column that holds something else than a store writes.
    pub fn to_record(self, kind: Kind) -> Result<Record, UnreadableColumn> {
        let unreadable = |column| UnreadableColumn { column };
        let id = |column, digits| Id::from_digits(digits).ok_or(unreadable(column));
        let optional_id = |column, digits: Option<_>| digits.map(|it| id(column, it)).transpose();
        let revision = self.revision.try_into().map_err(|_| unreadable("revision"))?;
        Ok(Record {
            kind,
            id: id("id", self.id)?,
            revision: Revision::from_u128(u128::from_be_bytes(revision)),
            unique_key: UniqueKey::new(self.unique_key).map_err(|_| unreadable("unique_key"))?,
            org: optional_id("org_id", self.org_id)?.map(Into::into),
            user: optional_id("user_id", self.user_id)?.map(Into::into),
            status: self.status.parse::<Status>().map_err(|_| unreadable("status"))?,
            body: Body::from(self.body),
        })
    }
}

/// A column of a row does not hold what a store writes. The error never holds the value.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("its column `{column}` cannot be read")]
pub struct UnreadableColumn {
    /// The name of the column.
    pub column: &'static str,
}

impl UnreadableColumn {
    /// Makes the error for a record that was looked up; `id` is `None` if that column cannot be read
    /// either.
    pub fn into_corrupt(self, kind: Kind, id: Option<Id>) -> StoreError {
        // No record has the id 0.
        StoreError::Corrupt { kind, id: id.unwrap_or(Id::from_u64(0)), source: self.into() }
    }
}

/// Logs that a row is left out of a list.
pub fn log_unreadable_row(kind: Kind, id: &str, error: &dyn Display) {
    let id = id.escape_debug();
    tracing::error!(%kind, %id, %error, "a row is left out of a list");
}

/// Which entries of a table: those of one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Unique keys.
    UniqueKey,
    /// Orgs.
    Org,
    /// Users.
    User,
    /// Grant keys, in the table `grants`.
    Grant,
}

impl Section {
    const ALL: [Self; 4] = [Self::UniqueKey, Self::Org, Self::User, Self::Grant];

    /// Returns every section of every table, in the order in which entries are walked.
    pub fn all() -> impl Iterator<Item = (Kind, Self)> {
        Kind::ALL.into_iter().flat_map(|kind| Self::ALL.map(|section| (kind, section)))
    }

    /// Returns the name of the column with the key.
    pub const fn column(self) -> &'static str {
        match self {
            Self::UniqueKey => "unique_key",
            Self::Org => "org_id",
            Self::User => "user_id",
            Self::Grant => "grant_key",
        }
    }

    /// Makes the entry of a row, unless one of its columns cannot be read.
    pub fn entry(self, kind: Kind, key: &str, id: &str) -> Option<Entry> {
        let key = match self {
            Self::UniqueKey => EntryKey::UniqueKey(key.into()),
            Self::Org => EntryKey::Org(Id::from_digits(key.as_bytes())?.into()),
            Self::User => EntryKey::User(Id::from_digits(key.as_bytes())?.into()),
            Self::Grant => EntryKey::Grant(key.parse().ok()?),
        };
        Some(Entry { kind, key, id: Id::from_digits(id.as_bytes())? })
    }
}

/// Where a walk over entries stands: the number of a section in [`Section::all`], and key and id of
/// its last entry, both empty at the beginning of the section.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SectionCursor {
    /// The number of the section.
    pub section: usize,
    /// The key of the last entry.
    pub key: String,
    /// The id of the last entry.
    pub id: String,
}

impl SectionCursor {
    /// Reads the cursor; the beginning where there is none, or none that can be read.
    pub fn from_cursor(cursor: Option<&EntryCursor>) -> Self {
        cursor.and_then(Self::parse).unwrap_or_default()
    }

    fn parse(cursor: &EntryCursor) -> Option<Self> {
        let mut parts = std::str::from_utf8(cursor.as_bytes()).ok()?.splitn(3, ' ');
        let (section, id, key) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { section: section.parse().ok()?, key: key.to_owned(), id: id.to_owned() })
    }

    /// Returns the cursor to hand out.
    pub fn to_cursor(&self) -> EntryCursor {
        let Self { section, key, id } = self;
        EntryCursor::new(format!("{section} {id} {key}").into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_table_and_every_table_its_kind() {
        let tables = Tables::new(|kind, name| (kind, name));
        for (kind, (of, name)) in Kind::ALL.into_iter().zip(tables.iter()) {
            assert_eq!((kind, table_name(kind)), (*of, *name));
            assert_eq!(tables.of(kind), &(*of, *name));
            assert_eq!(kind_of_table(name), Some(kind));
        }
        assert_eq!(kind_of_table("meta"), None);
    }

    #[test]
    fn a_cursor_comes_back_with_whatever_is_in_its_key() {
        let cursor =
            SectionCursor { section: 5, key: "a b\0 c".to_owned(), id: "0c0d000000000001".into() };
        assert!(SectionCursor::from_cursor(Some(&cursor.to_cursor())) == cursor);
        let beginning = SectionCursor::default();
        assert!(SectionCursor::from_cursor(Some(&beginning.to_cursor())) == beginning);
        for unreadable in ["", "5", "5 id", "x id key"] {
            let unreadable = EntryCursor::new(unreadable.as_bytes());
            assert!(SectionCursor::from_cursor(Some(&unreadable)) == beginning);
        }
    }

    #[test]
    fn a_column_that_holds_something_else_is_named_and_not_quoted() {
        let good = Columns {
            id: b"0c0d000000000001",
            revision: &[7; 16],
            unique_key: "telegraf",
            org_id: Some(b"0a11000000000001"),
            user_id: None,
            status: "active",
            body: "{}",
        };
        assert!(good.to_record(Kind::Authorization).is_ok());
        let bad = [
            ("id", Columns { id: b"s3cret", ..good }),
            ("revision", Columns { revision: b"s3cret", ..good }),
            ("unique_key", Columns { unique_key: "", ..good }),
            ("org_id", Columns { org_id: Some(b"s3cret"), ..good }),
            ("user_id", Columns { user_id: Some(b"s3cret"), ..good }),
            ("status", Columns { status: "s3cret", ..good }),
        ];
        for (column, columns) in bad {
            let error = columns.to_record(Kind::Authorization).unwrap_err();
            assert_eq!(error, UnreadableColumn { column });
        }
    }
}
