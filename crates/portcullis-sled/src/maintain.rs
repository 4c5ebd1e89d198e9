//! Verifying, repairing, backing up.

use std::num::NonZeroUsize;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use portcullis::Id;
use portcullis::store::{
    Entry, EntryCursor, EntryKey, EntryPage, Index, Kind, MaintenanceStore, Page, StoreError,
    grants_of,
};
use portcullis::toolkit::{pages, run_blocking};
use tokio::sync::OwnedMutexGuard;

use crate::committer::SledCommitter;
use crate::error::Failure;
use crate::open::Location;
use crate::shared::{Shared, State};
use crate::trees::{TreeId, Trees};
use crate::unfinished::Unfinished;
use crate::write_set::{WriteBuilder, index_entries};
use crate::{SledStore, keys, rows};

/// The most problems that are returned.
const MAX_PROBLEMS: usize = 100;

/// How many records are copied at a time.
const PAGE: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

#[async_trait]
impl MaintenanceStore for SledStore {
    /// Reads every page of every tree; each has a checksum. A key that is not that of a record is
    /// reported as well.
    async fn check_files(&self) -> Result<Vec<String>, StoreError> {
        self.shared
            .read_blocking(|trees| {
                let pairs = TreeId::ALL
                    .into_iter()
                    .flat_map(|tree| trees.of(tree).iter().map(move |pair| (tree, pair)));
                let problems = pairs.filter_map(|(tree, pair)| match pair {
                    Err(error) => Some(format!("tree {tree:?}: {error}")),
                    // No list contains it.
                    Ok((key, _))
                        if tree == TreeId::Records && keys::parse_record(&key).is_none() =>
                    {
                        Some("a record has a key that cannot be read".to_owned())
                    }
                    Ok(_) => None,
                });
                Ok(problems.take(MAX_PROBLEMS).collect())
            })
            .await
    }

    async fn entries(
        &self,
        after: Option<EntryCursor>,
        limit: NonZeroUsize,
    ) -> Result<EntryPage, StoreError> {
        self.shared.read_blocking(move |trees| entries(trees, after, limit.get())).await
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
        let to = std::path::absolute(to).map_err(Failure::from)?;
        if to.symlink_metadata().is_ok() {
            return Err(StoreError::backend(format!("there is something at `{}`", to.display())));
        }
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
        shared: &Shared,
        to: &Path,
        cache_bytes: u64,
        backup: &Weak<()>,
    ) -> Result<Self, StoreError> {
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(".unfinished");
        let unfinished = Unfinished(to.with_file_name(name));
        let opened = Location::open(&unfinished.0, true, cache_bytes);
        let (location, trees, created) = opened.map_err(StoreError::backend)?;
        if !created {
            return Err(StoreError::backend(format!(
                "`{}` is left over from a backup that failed: delete it",
                location.display_path().display()
            )));
        }
        let copy = Self { unfinished, location, trees, to: to.to_owned() };
        for kind in Kind::ALL {
            let read = |request| {
                shared.read(|state| rows::list(state.trees()?, Index::All(kind), request))
            };
            for page in pages(PAGE, read) {
                if backup.strong_count() == 0 {
                    return Err(StoreError::unavailable("the backup was given up"));
                }
                copy.copy_page(page?)?;
            }
        }
        Ok(copy)
    }

    fn copy_page(&self, page: Page) -> Result<(), StoreError> {
        if page.unreadable > 0 {
            return Err(StoreError::backend(
                "there are records that cannot be read, and a backup without them would be none: \
                 verify the store",
            ));
        }
        let mut builder = WriteBuilder::on(&self.trees);
        for record in &page.records {
            builder.put(record, &grants_of(record).unwrap_or_default())?;
        }
        Ok(self.trees.write(&builder.into_write_set())?)
    }

    fn remove(&self, kind: Kind, id: Id) -> Result<(), StoreError> {
        let mut builder = WriteBuilder::on(&self.trees);
        builder.remove(kind, id)?;
        Ok(self.trees.write(&builder.into_write_set())?)
    }

    /// Copies the record as it is now, if it still exists.
    fn copy_record(&self, shared: &Shared, kind: Kind, id: Id) -> Result<(), StoreError> {
        let record = shared.read(|state| rows::by_id(state.trees()?, kind, id))?;
        let mut builder = WriteBuilder::on(&self.trees);
        if let Some(record) = record {
            builder.put(&record, &grants_of(&record).unwrap_or_default())?;
        }
        Ok(self.trees.write(&builder.into_write_set())?)
    }

    fn finish(self) -> Result<(), StoreError> {
        let Self { unfinished, location, trees, to } = self;
        trees.make_durable()?;
        drop(trees);
        drop(location);
        Ok(unfinished.rename_to(&to).map_err(Failure::from)?)
    }
}

/// Builds new trees of entries beside those in use, and switches to them in one step.
fn rebuild(committer: &mut SledCommitter) -> Result<(), StoreError> {
    let (unique, index) = committer.shared().read(|state| {
        let trees = state.trees()?;
        let (unique, index) = trees.next_entries()?;
        for kind in Kind::ALL {
            for page in pages(PAGE, |page| rows::list(trees, Index::All(kind), page)) {
                for record in &page?.records {
                    let key = keys::unique(kind, record.unique_key.as_str());
                    // A record that has the key already has the lower id.
                    if unique.get(&key).map_err(Failure::from)?.is_none() {
                        let id = record.id.as_u64().to_be_bytes();
                        unique.insert(key, &id).map_err(Failure::from)?;
                    }
                    for entry in index_entries(record, &grants_of(record).unwrap_or_default()) {
                        index.insert(entry, &[]).map_err(Failure::from)?;
                    }
                }
            }
        }
        trees.make_durable()?;
        Ok::<_, StoreError>((unique, index))
    })?;
    committer.shared().write(|state| match state {
        State::Open(trees) => Ok(trees.take_next_entries(unique, index)?),
        State::Broken(_) | State::Closed => state.trees().map(drop),
    })
}

/// Returns a page of entries: first unique keys, then the others. A cursor is the number of the tree and
/// the last key.
fn entries(
    trees: &Trees,
    after: Option<EntryCursor>,
    limit: usize,
) -> Result<EntryPage, StoreError> {
    let (mut tree, mut from) = match after.as_ref().and_then(|at| at.as_bytes().split_first()) {
        None => (TreeId::Unique, Bound::Unbounded),
        Some((0, key)) => (TreeId::Unique, Bound::Excluded(key.to_vec())),
        Some((_, key)) => (TreeId::Index, Bound::Excluded(key.to_vec())),
    };
    let mut page = EntryPage::default();
    let mut seen = 0;
    loop {
        for pair in trees.of(tree).range::<Vec<u8>, _>((from, Bound::Unbounded)) {
            let (key, value) = pair.map_err(Failure::from)?;
            let entry = match tree {
                TreeId::Unique => keys::parse_unique(&key).and_then(|(kind, text)| {
                    let key = EntryKey::UniqueKey(text.into());
                    Some(Entry { kind, key, id: keys::parse_id(&value)? })
                }),
                _ => keys::parse_entry(&key),
            };
            match entry {
                Some(entry) => page.entries.push(entry),
                None => page.unreadable += 1,
            }
            seen += 1;
            if seen == limit {
                let mut cursor = vec![u8::from(tree == TreeId::Index)];
                cursor.extend(key.as_ref());
                page.next = Some(EntryCursor::new(cursor));
                return Ok(page);
            }
        }
        if tree == TreeId::Index {
            return Ok(page);
        }
        (tree, from) = (TreeId::Index, Bound::Unbounded);
    }
}
