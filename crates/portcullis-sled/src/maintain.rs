//! Verifying, repairing, backing up.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use portcullis::Id;
use portcullis::store::{
    EntryCursor, EntryPage, Index, Kind, Lookup, MaintenanceStore, Page, Record, StoreError,
    grants_of,
};
use portcullis::toolkit::ordered::{self, Keyspace, Overlay, replace};
use portcullis::toolkit::{SharedDatabase, Unfinished, pages, run_blocking};
use tokio::sync::OwnedMutexGuard;

use crate::SledStore;
use crate::committer::SledCommitter;
use crate::open::Location;
use crate::trees::Trees;

/// How many records are copied at a time.
const PAGE: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

#[async_trait]
impl MaintenanceStore for SledStore {
    /// Reads every page of every tree; each has a checksum. A key that is not that of a record is
    /// reported as well.
    async fn check_files(&self) -> Result<Vec<String>, StoreError> {
        self.shared.read_blocking(check_files).await
    }

    async fn entries(
        &self,
        after: Option<EntryCursor>,
        limit: NonZeroUsize,
    ) -> Result<EntryPage, StoreError> {
        let read = move |trees: &Trees| ordered::entries(trees, after.as_ref(), limit.get());
        self.shared.read_blocking(read).await
    }

    /// Commits wait meanwhile, reads do not.
    async fn rebuild_entries(&self) -> Result<(), StoreError> {
        self.refuse_if_read_only()?;
        self.writer.call(rebuild).await
    }

    /// The copy is a directory. Commits wait only while records that changed during the copying are
    /// copied again. Backups are made one at a time. A backup whose future is dropped is made in full
    /// or not at all.
    async fn back_up(&self, to: &Path) -> Result<(), StoreError> {
        let to = to.to_owned();
        // Moves along with the copy: the next backup begins when this one is done, or is cancelled
        // and its files are removed.
        let turn = Arc::clone(&self.backups).lock_owned().await;
        // Dropped with this future, which cancels the backup.
        let alive = Arc::new(());
        let backup = Arc::downgrade(&alive);
        let collect_for = Weak::clone(&backup);
        self.writer
            .call(move |committer| {
                committer.begin_backup(collect_for);
                Ok(())
            })
            .await?;
        let (shared, cache_bytes) = (Arc::clone(&self.shared), self.cache_bytes);
        let copied = run_blocking(move || {
            let copy = Copy::of(&shared, &to, cache_bytes, &backup)?;
            Ok(Begun { copy, turn })
        })
        .await;
        // On the writer's thread, where nothing changes meanwhile.
        let caught_up = self
            .writer
            .call(move |committer| {
                let changed = committer.end_backup();
                let begun = copied?;
                // All of them are removed first: a name may have passed from one to another.
                for (kind, id) in &changed {
                    begun.copy.remove(*kind, *id)?;
                }
                for (kind, id) in &changed {
                    begun.copy.copy_record(committer.shared(), *kind, *id)?;
                }
                Ok(begun)
            })
            .await;
        let done = run_blocking(move || {
            let Begun { copy, turn } = caught_up?;
            let done = copy.finish();
            drop(turn);
            done
        })
        .await;
        drop(alive);
        done
    }
}

/// An unfinished backup. Its files are removed before the next backup begins.
struct Begun {
    copy: Copy,
    turn: OwnedMutexGuard<()>,
}

/// A copy in a directory beside its final path.
struct Copy {
    unfinished: Unfinished,
    location: Location,
    trees: Trees,
    to: PathBuf,
}

impl Copy {
    fn of(
        shared: &SharedDatabase<Trees>,
        to: &Path,
        cache_bytes: u64,
        backup: &Weak<()>,
    ) -> Result<Self, StoreError> {
        let (to, unfinished) = Unfinished::backup_directory(to)?;
        let opened = Location::open(unfinished.path(), true, cache_bytes);
        let (location, trees, _created) = opened.map_err(StoreError::backend)?;
        let copy = Self { unfinished, location, trees, to };
        for kind in Kind::ALL {
            let read = |page| shared.read(|trees| ordered::list(trees, Index::All(kind), page));
            for page in pages(PAGE, read) {
                if backup.strong_count() == 0 {
                    return Err(StoreError::unavailable("the backup was given up"));
                }
                copy.copy_page(&page?)?;
            }
        }
        Ok(copy)
    }

    fn copy_page(&self, page: &Page) -> Result<(), StoreError> {
        if page.unreadable > 0 {
            return Err(StoreError::backend(
                "there are records that cannot be read, and a backup without them would be none: \
                 verify the store",
            ));
        }
        self.write(|copy| page.records.iter().try_for_each(|record| put(copy, record)))
    }

    fn remove(&self, kind: Kind, id: Id) -> Result<(), StoreError> {
        self.write(|copy| replace(copy, kind, id, None))
    }

    /// Copies the record as it is now, if it still exists.
    fn copy_record(
        &self,
        shared: &SharedDatabase<Trees>,
        kind: Kind,
        id: Id,
    ) -> Result<(), StoreError> {
        let record = shared.read(|trees| ordered::get(trees, Lookup::Id(kind, id)))?;
        self.write(|copy| record.iter().try_for_each(|record| put(copy, record)))
    }

    fn write(
        &self,
        change: impl FnOnce(&mut Overlay<'_, Trees>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut edits = Overlay::on(&self.trees);
        change(&mut edits)?;
        Ok(self.trees.write(&edits.into_edits())?)
    }

    fn finish(self) -> Result<(), StoreError> {
        let Self { unfinished, location, trees, to } = self;
        trees.make_durable()?;
        drop(trees);
        drop(location);
        unfinished.rename_to(&to).map_err(StoreError::backend)
    }
}

fn put(copy: &mut Overlay<'_, Trees>, record: &Record) -> Result<(), StoreError> {
    let grants = grants_of(record).unwrap_or_default();
    replace(copy, record.kind, record.id, Some((record, &grants)))
}

fn check_files(trees: &Trees) -> Result<Vec<String>, StoreError> {
    let problem = |keyspace| match ordered::unreadable_keys(trees, keyspace) {
        Ok(problem) => problem,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            Some(format!("tree {keyspace:?}: {}", cause.unwrap_or_else(|| error.to_string())))
        }
    };
    Ok(Keyspace::ALL.into_iter().filter_map(problem).collect())
}

/// Builds new trees of entries beside those in use, and switches to them in one step.
fn rebuild(committer: &mut SledCommitter) -> Result<(), StoreError> {
    let entries = committer.shared().read(|trees| {
        let mut entries = trees.next_entries()?;
        ordered::rebuild(trees, &mut entries)?;
        trees.make_durable()?;
        Ok(entries)
    })?;
    committer.shared().write(|trees| Ok(trees.take_next_entries(entries)?))
}
