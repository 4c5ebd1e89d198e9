//! Stores in temporary directories, and records to put there.

use std::path::PathBuf;

use portcullis::store::{
    Batch, Entity as _, Expect, Operation, Revision, Store, StoreError, StoreExt as _,
};
use portcullis::{Id, Name, Org, OrgId, Status, User, UserId};
use portcullis_redb::RedbStore;
use redb::Database;
use tempfile::TempDir;

/// A path with a store, or none yet.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.beside("portcullis.redb")
    }

    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn open(&self) -> RedbStore {
        RedbStore::open(self.path()).unwrap()
    }

    /// The database without the store, which must be closed.
    pub(crate) fn raw(&self) -> Database {
        Database::open(self.path()).unwrap()
    }
}

pub(crate) fn user(id: u64, name: &str) -> Operation {
    let user =
        User { id: UserId::from_u64(id), name: Name::new(name).unwrap(), status: Status::Active };
    let record = user.to_record(Revision::from_u128(id.into())).unwrap();
    Operation::Put { record, grants: user.grants(), expect: Expect::Absent }
}

pub(crate) fn org(id: u64, name: &str) -> Operation {
    let org =
        Org { id: OrgId::from_u64(id), name: Name::new(name).unwrap(), status: Status::Active };
    let record = org.to_record(Revision::from_u128(id.into())).unwrap();
    Operation::Put { record, grants: org.grants(), expect: Expect::Absent }
}

pub(crate) async fn commit(
    store: &RedbStore,
    operations: impl IntoIterator<Item = Operation>,
) -> Result<(), StoreError> {
    store.commit(operations.into_iter().collect::<Batch>()).await.map(drop)
}

pub(crate) async fn has_user(store: &RedbStore, id: u64) -> bool {
    store.find::<User>(Id::from_u64(id)).await.unwrap().is_some()
}
