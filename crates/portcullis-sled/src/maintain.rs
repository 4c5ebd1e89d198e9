//! Verifying, repairing, backing up.

use std::fs;
use std::num::NonZeroUsize;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use portcullis::Id;
use portcullis::store::{
    Entry, EntryCursor, EntryKey, EntryPage, Index, Kind, Maintain, Page, StoreError, grants_of,
};
use portcullis::toolkit::{pages, run_blocking};
use tokio::sync::OwnedMutexGuard;

use crate::committer::SledCommitter;
use crate::edits::{Draft, index_entries};
use crate::error::Failure;
use crate::open::Location;
use crate::shared::{Shared, State};
use crate::trees::{Trees, Which, sync_directory};
use crate::{SledStore, keys, rows};

/// How many complaints are returned.
const COMPLAINTS: usize = 100;

/// How many records are copied at a time.
const PAGE: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

#[async_trait]
impl Maintain for SledStore {
    /// Reads every page of every tree; each has a checksum. A key that no record has is a complaint
    /// as well.
    async fn check_files(&self) -> Result<Vec<String>, StoreError> {
        self.shared
            .read_blocking(|trees| {
                let pairs = Which::ALL
                    .into_iter()
                    .flat_map(|which| trees.of(which).iter().map(move |pair| (which, pair)));
                let complaints = pairs.filter_map(|(which, pair)| match pair {
                    Err(error) => Some(format!("tree {which:?}: {error}")),
                    // No list would ever come across it.
                    Ok((key, _))
                        if which == Which::Records && keys::parse_record(&key).is_none() =>
                    {
                        Some("a record has a key that cannot be read".to_owned())
                    }
                    Ok(_) => None,
                });
                Ok(complaints.take(COMPLAINTS).collect())
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
        self.refuse_if_still()?;
        self.writer.call(rebuild).await
    }

    /// The copy is a directory. Commits wait only while what changed during the copying is copied
    /// again. One backup is made at a time, others wait for it. One whose future is dropped is made in
    /// full or not at all.
    async fn back_up(&self, to: &Path) -> Result<(), StoreError> {
        let to = std::path::absolute(to).map_err(Failure::from)?;
        if to.symlink_metadata().is_ok() {
            return Err(StoreError::backend(format!("there is something at `{}`", to.display())));
        }
        // Goes from hand to hand with the copy: the next backup begins when this one is done, or
        // given up and removed.
        let turn = Arc::clone(&self.backups).lock_owned().await;
        // Dropped with this future, which tells the others that it is not wanted any more.
        let wanted = Arc::new(());
        let backup = Arc::downgrade(&wanted);
        let noted_for = Weak::clone(&backup);
        self.writer
            .call(move |committer| {
                committer.begin_to_note(noted_for);
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
        let finished = self
            .writer
            .call(move |committer| {
                let noted = committer.end_noting();
                let begun = copied?;
                // First all of them out of the way: names may have passed from one to another.
                for (kind, id) in &noted {
                    begun.copy.remove(*kind, *id)?;
                }
                for (kind, id) in &noted {
                    begun.copy.take_again(committer.shared(), *kind, *id)?;
                }
                Ok(begun)
            })
            .await;
        let done = run_blocking(move || {
            let Begun { copy, turn } = finished?;
            let done = copy.finish();
            drop(turn);
            done
        })
        .await;
        drop(wanted);
        done
    }
}

/// A copy whose backup is not done. It is removed before the turn goes to the next.
struct Begun {
    copy: Copy,
    turn: OwnedMutexGuard<()>,
}

/// A copy that is being made, in a directory beside its place.
struct Copy {
    unfinished: Unfinished,
    location: Location,
    trees: Trees,
}

/// Removed with what is in it, unless it has got its name.
struct Unfinished {
    path: std::path::PathBuf,
    place: std::path::PathBuf,
    done: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.done {
            // It has a name that nobody takes for a backup.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
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
        let unfinished =
            Unfinished { path: to.with_file_name(name), place: to.to_owned(), done: false };
        let opened = Location::open(&unfinished.path, true, cache_bytes);
        let (location, trees, created) = opened.map_err(StoreError::backend)?;
        if !created {
            return Err(StoreError::backend(format!(
                "`{}` is left over from a backup that failed: delete it",
                location.place().display()
            )));
        }
        let copy = Self { unfinished, location, trees };
        for kind in Kind::ALL {
            let read = |request| {
                shared.read(|state| rows::list(state.trees()?, Index::All(kind), request))
            };
            for page in pages(PAGE, read) {
                if backup.strong_count() == 0 {
                    return Err(StoreError::unavailable("the backup was given up"));
                }
                copy.take(page?)?;
            }
        }
        Ok(copy)
    }

    fn take(&self, page: Page) -> Result<(), StoreError> {
        if page.unreadable > 0 {
            return Err(StoreError::backend(
                "there are records that cannot be read, and a backup without them would be none: \
                 verify the store",
            ));
        }
        let mut draft = Draft::on(&self.trees);
        for record in &page.records {
            draft.put(record, &grants_of(record).unwrap_or_default())?;
        }
        Ok(self.trees.write(&draft.into_edits())?)
    }

    fn remove(&self, kind: Kind, id: Id) -> Result<(), StoreError> {
        let mut draft = Draft::on(&self.trees);
        draft.remove(kind, id)?;
        Ok(self.trees.write(&draft.into_edits())?)
    }

    /// Copies what has become of the record.
    fn take_again(&self, shared: &Shared, kind: Kind, id: Id) -> Result<(), StoreError> {
        let record = shared.read(|state| rows::by_id(state.trees()?, kind, id))?;
        let mut draft = Draft::on(&self.trees);
        if let Some(record) = record {
            draft.put(&record, &grants_of(&record).unwrap_or_default())?;
        }
        Ok(self.trees.write(&draft.into_edits())?)
    }

    fn finish(self) -> Result<(), StoreError> {
        let Self { mut unfinished, location, trees } = self;
        trees.make_durable()?;
        drop(trees);
        drop(location);
        let give_name = || -> Result<(), Failure> {
            // Renaming over a directory that is not empty fails, and an empty one is no loss.
            fs::rename(&unfinished.path, &unfinished.place)?;
            Ok(unfinished.place.parent().map_or(Ok(()), sync_directory)?)
        };
        give_name()?;
        unfinished.done = true;
        Ok(())
    }
}

/// Makes new trees of entries beside those in use, and takes them at one blow.
fn rebuild(committer: &mut SledCommitter) -> Result<(), StoreError> {
    let (unique, index) = committer.shared().read(|state| {
        let trees = state.trees()?;
        let (unique, index) = trees.next_entries()?;
        for kind in Kind::ALL {
            for page in pages(PAGE, |page| rows::list(trees, Index::All(kind), page)) {
                for record in &page?.records {
                    let key = keys::unique(kind, record.unique_key.as_str());
                    // The one that has it already has the lower id.
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

/// First the unique keys, then the others. A cursor is the number of the tree and the last key.
fn entries(
    trees: &Trees,
    after: Option<EntryCursor>,
    limit: usize,
) -> Result<EntryPage, StoreError> {
    let (mut which, mut from) = match after.as_ref().and_then(|at| at.as_bytes().split_first()) {
        None => (Which::Unique, Bound::Unbounded),
        Some((0, key)) => (Which::Unique, Bound::Excluded(key.to_vec())),
        Some((_, key)) => (Which::Index, Bound::Excluded(key.to_vec())),
    };
    let mut page = EntryPage::default();
    let mut seen = 0;
    loop {
        for pair in trees.of(which).range::<Vec<u8>, _>((from, Bound::Unbounded)) {
            let (key, value) = pair.map_err(Failure::from)?;
            let entry = match which {
                Which::Unique => keys::parse_unique(&key).and_then(|(kind, text)| {
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
                let mut cursor = vec![u8::from(which == Which::Index)];
                cursor.extend(key.as_ref());
                page.next = Some(EntryCursor::new(cursor));
                return Ok(page);
            }
        }
        if which == Which::Index {
            return Ok(page);
        }
        (which, from) = (Which::Index, Bound::Unbounded);
    }
}
