//! Index entries of a record, derived from its body.

use super::{Entity, Tombstone};
use crate::store::{Entry, EntryKey, Kind, Record, StoreError};
use crate::{
    ApiToken, ApiTokenUse, Authorization, AuthorizationUse, Bucket, DatabaseMappings, GrantKey,
    Org, User,
};

impl Entry {
    /// Returns every entry that the record must have, in order and none twice.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`] when the record cannot be read.
    pub fn all_of(record: &Record) -> Result<Vec<Self>, StoreError> {
        let grants = grants_of(record)?;
        let keys = [
            Some(EntryKey::UniqueKey(record.unique_key.as_str().into())),
            record.org.map(EntryKey::Org),
            record.user.map(EntryKey::User),
        ];
        let keys = keys.into_iter().flatten().chain(grants.into_iter().map(EntryKey::Grant));
        Ok(keys.map(|key| Self { kind: record.kind, key, id: record.id }).collect())
    }
}

/// Returns the grant keys that the record was put with; they are derived from its body.
///
/// # Errors
///
/// [`StoreError::Corrupt`] when the record cannot be read.
pub fn grants_of(record: &Record) -> Result<Vec<GrantKey>, StoreError> {
    fn of<E: Entity>(record: &Record) -> Result<Vec<GrantKey>, StoreError> {
        E::from_record(record).map(|entity| entity.grants())
    }
    match record.kind {
        Kind::ApiToken => of::<ApiToken>(record),
        Kind::ApiTokenUse => of::<ApiTokenUse>(record),
        Kind::Authorization => of::<Authorization>(record),
        Kind::AuthorizationUse => of::<AuthorizationUse>(record),
        Kind::Bucket => of::<Bucket>(record),
        Kind::Dbrp => of::<DatabaseMappings>(record),
        Kind::Tombstone => of::<Tombstone>(record),
        Kind::Org => of::<Org>(record),
        Kind::User => of::<User>(record),
    }
}
