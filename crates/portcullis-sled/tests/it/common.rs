//! Stores in temporary directories, and records to put there.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use portcullis::store::{
    Batch, Entity as _, Expect, Operation, Revision, Store, StoreError, StoreExt as _,
};
use portcullis::{Id, Name, Org, OrgId, Status, User, UserId};
use portcullis_sled::SledStore;
use sled::Db;
use tempfile::TempDir;

/// A directory with a store in it, or none yet.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.beside("portcullis.sled")
    }

    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn open(&self) -> SledStore {
        SledStore::open(self.path()).unwrap()
    }

    /// The database without the store, which must be closed: sled's own threads let go of its lock
    /// only some time after that.
    pub(crate) fn raw(&self) -> Db {
        let began = Instant::now();
        loop {
            match sled::open(self.path()) {
                Ok(database) => return database,
                Err(error) if error.to_string().contains("acquire lock") => {
                    assert!(began.elapsed() < Duration::from_secs(10), "{error}");
                    thread::yield_now();
                }
                Err(error) => panic!("{error}"),
            }
        }
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
    store: &SledStore,
    operations: impl IntoIterator<Item = Operation>,
) -> Result<(), StoreError> {
    store.commit(operations.into_iter().collect::<Batch>()).await.map(drop)
}

pub(crate) async fn has_user(store: &SledStore, id: u64) -> bool {
    store.find::<User>(Id::from_u64(id)).await.unwrap().is_some()
}
