//! Verifying, repairing, backing up, compacting.

use std::num::NonZeroUsize;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use portcullis::store::{EntryCursor, EntryPage, MaintenanceStore, StoreError};
use portcullis::toolkit::ordered::{self, Keyspace, Scan as _, Write as _};
use portcullis::toolkit::{Unfinished, catch_panic, run_blocking};
use redb::{Database, DatabaseError, StorageError};

use crate::RedbStore;
use crate::open::Location;
use crate::tables::{Snapshot, Tables, establish, failed};

#[async_trait]
impl MaintenanceStore for RedbStore {
    /// Checks the checksum of every page and which pages are in use. Reads and commits wait meanwhile.
    /// A key that is not that of a record is reported as well.
    async fn check_files(&self) -> Result<Vec<String>, StoreError> {
        let shared = Arc::clone(&self.shared);
        run_blocking(move || {
            let mut problems = shared.write(check_integrity)?;
            let read = |database: &Database| {
                ordered::unreadable_keys(&Snapshot::of(database)?, Keyspace::Records)
            };
            problems.extend(shared.read(read)?);
            Ok(problems)
        })
        .await
    }

    async fn entries(
        &self,
        after: Option<EntryCursor>,
        limit: NonZeroUsize,
    ) -> Result<EntryPage, StoreError> {
        let read = move |database: &Database| {
            ordered::entries(&Snapshot::of(database)?, after.as_ref(), limit.get())
        };
        self.shared.read_blocking(read).await
    }

    /// Commits wait meanwhile, reads do not.
    async fn rebuild_entries(&self) -> Result<(), StoreError> {
        self.refuse_if_read_only()?;
        self.writer.call(|committer| committer.rebuild()).await
    }

    /// Copies one snapshot into a new file, without the space that is free in this one. Backups are made
    /// one at a time. A backup whose future is dropped is made in full or not at all.
    async fn back_up(&self, to: &Path) -> Result<(), StoreError> {
        let (to, location) = (to.to_owned(), self.location.clone());
        let shared = Arc::clone(&self.shared);
        let work = move |is_alive: &dyn Fn() -> bool| {
            let snapshot = shared.read(Snapshot::of)?;
            catch_panic(|| copy(&snapshot, &location, &to, is_alive))
        };
        self.backups.run(work).await
    }
}

impl RedbStore {
    /// Moves records to the beginning of the file and shortens it; tells whether it became shorter.
    /// Reads and commits wait meanwhile: for large files some seconds.
    ///
    /// # Errors
    ///
    /// [`StoreError::ReadOnly`]; [`StoreError::Unavailable`] when the store is closed;
    /// [`StoreError::Backend`] when redb fails, or while a backup is made.
    pub async fn compact(&self) -> Result<bool, StoreError> {
        self.refuse_if_read_only()?;
        let shared = Arc::clone(&self.shared);
        run_blocking(move || shared.write(|database| database.compact().map_err(failed))).await
    }
}

fn check_integrity(database: &mut Database) -> Result<Vec<String>, StoreError> {
    match database.check_integrity() {
        Ok(true) => Ok(Vec::new()),
        Ok(false) => Ok(vec!["pages were marked wrongly as used or free: repaired".to_owned()]),
        Err(DatabaseError::Storage(StorageError::Corrupted(problem))) => Ok(vec![problem]),
        Err(error) => Err(failed(error)),
    }
}

/// Writes the snapshot to a file that appears at the path when it is complete.
fn copy(
    snapshot: &Snapshot,
    location: &Location,
    to: &Path,
    is_alive: impl Fn() -> bool,
) -> Result<(), StoreError> {
    let (to, unfinished, file) = Unfinished::backup_file(to)?;
    let synced = file.try_clone().map_err(StoreError::backend)?;
    let database = location.database(file).map_err(failed)?;
    let transaction = database.begin_write().map_err(failed)?;
    establish(&transaction)?;
    let mut tables = Tables::open(&transaction)?;
    for keyspace in Keyspace::ALL {
        snapshot.scan(keyspace, (Bound::Unbounded, Bound::Unbounded), |key, value| {
            if !is_alive() {
                return Err(StoreError::unavailable("the backup was given up"));
            }
            tables.put(keyspace, key, Some(value))?;
            Ok(ControlFlow::Continue(()))
        })?;
    }
    drop(tables);
    transaction.commit().map_err(failed)?;
    database.close().map_err(failed)?;
    synced.sync_all().and_then(|()| unfinished.link_to(&to)).map_err(StoreError::backend)
}
