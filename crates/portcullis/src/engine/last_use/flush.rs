//! Writing the last uses that were noted.

use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, RandomState};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{LastUses, Noted};
use crate::Id;
use crate::model::{ApiTokenUse, AuthorizationUse, LastUse};
use crate::store::{
    Batch, Entity, Expect, Kind, Lookup, Lookups, Operation, Record, Revision, StoreError,
    StoreExt, put,
};
use crate::sync::lock;

/// How many uses are written in one commit: few enough that other commits do not wait for long.
const BATCH: usize = 256;

/// How often a use is written again after its record was changed meanwhile.
const TRIES: u32 = 3;

/// A task that writes noted uses from time to time, until this is dropped.
#[derive(Debug)]
pub(in crate::engine) struct Flusher(JoinHandle<()>);

impl Flusher {
    pub(in crate::engine) fn start(uses: &Arc<LastUses>) -> Self {
        let (every, uses) = (uses.config.flush_every, Arc::downgrade(uses));
        let jitter = RandomState::new();
        Self(tokio::spawn(async move {
            for turn in 0_u64.. {
                tokio::time::sleep(jittered(every, jitter.hash_one(turn))).await;
                let Some(uses) = uses.upgrade() else { return };
                uses.flush().await;
            }
        }))
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// From three to five quarters of the duration: engines that start together do not write together.
fn jittered(every: Duration, random: u64) -> Duration {
    let part = u32::try_from(random >> 32 & 0xffff).unwrap_or(0);
    every / 4 * 3 + every / 2 * part / 0x1_0000
}

/// A use with its key.
type Used = ((Kind, Id), Noted);

impl LastUses {
    /// Writes what is noted. While the store fails it stays noted, the newest use of each credential.
    pub(in crate::engine) async fn flush(&self) {
        let Ok(_permit) = self.flushing.acquire().await else { return };
        let noted = mem::take(&mut *lock(&self.noted));
        let mut uses: Vec<Used> = noted.into_iter().collect();
        uses.sort_unstable_by_key(|(key, _)| *key);
        while !uses.is_empty() {
            let some = uses.split_off(uses.len().saturating_sub(BATCH));
            if let Err(error) = self.write(&some).await {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::debug!(cause, "cannot write last uses yet: {error}");
                self.put_back(uses.into_iter().chain(some));
                return;
            }
            // Other tasks run in between.
            tokio::task::yield_now().await;
        }
    }

    /// Notes again what was not written, except where a later use is noted.
    fn put_back(&self, uses: impl Iterator<Item = Used>) {
        let mut noted = lock(&self.noted);
        for (key, used) in uses {
            let is_full = noted.len() >= self.config.max_pending;
            match noted.entry(key) {
                Entry::Occupied(mut later) => later.get_mut().merge(&used),
                Entry::Vacant(_) if is_full => self.metrics.dropped.increment(1),
                Entry::Vacant(entry) => {
                    entry.insert(used);
                }
            }
        }
    }

    /// Writes the uses, unless they are written.
    ///
    /// # Errors
    ///
    /// When the store fails. Some of them may be written.
    async fn write(&self, uses: &[Used]) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        let (mut written, mut skipped) = (0, 0);
        for of_kind in uses.chunk_by(|((one, _), _), ((other, _), _)| one == other) {
            let Some(((kind, _), _)) = of_kind.first() else { continue };
            let ids: Vec<Id> = of_kind.iter().map(|((_, id), _)| *id).collect();
            let found = match self.store.get_many(Lookups::Ids(*kind, &ids)).await {
                Err(StoreError::Corrupt { .. }) => return self.write_each(uses).await,
                found => found?,
            };
            for (used, found) in of_kind.iter().zip(found) {
                match self.operations(used, found)? {
                    Some(operations) => {
                        operations.into_iter().for_each(|operation| batch.push(operation));
                        written += 1;
                    }
                    None => skipped += 1,
                }
            }
        }
        if !commit(self, batch).await? {
            // One of them was changed meanwhile, or its credential is gone.
            return self.write_each(uses).await;
        }
        self.metrics.written.increment(written);
        self.metrics.skipped.increment(skipped);
        Ok(())
    }

    async fn write_each(&self, uses: &[Used]) -> Result<(), StoreError> {
        for used in uses {
            self.write_one(used).await?;
        }
        Ok(())
    }

    async fn write_one(&self, used: &Used) -> Result<(), StoreError> {
        let ((kind, id), _) = *used;
        for _ in 0..TRIES {
            let found = match self.store.get(Lookup::Id(kind, id)).await {
                // Without its revision it cannot be replaced.
                Err(StoreError::Corrupt { .. }) => break,
                found => found?,
            };
            let Some(operations) = self.operations(used, found)? else {
                self.metrics.skipped.increment(1);
                return Ok(());
            };
            if commit(self, operations.into_iter().collect()).await? {
                self.metrics.written.increment(1);
                return Ok(());
            }
        }
        self.metrics.dropped.increment(1);
        Ok(())
    }

    /// Returns the operations that write the use in place of the record that was found; `None` if that
    /// is too recent.
    fn operations(
        &self,
        ((kind, id), used): &Used,
        found: Option<Record>,
    ) -> Result<Option<[Operation; 2]>, StoreError> {
        let (kind, id) = (*kind, *id);
        let Some(of) = kind.of_used_credential() else { return Ok(None) };
        let mut last = used.last;
        let mut expect = Expect::Absent;
        if let Some(record) = found {
            expect = Expect::Revision(record.revision);
            // One that cannot be read is replaced.
            if let Some(stored) = last_use_of(&record) {
                if self.is_recent(&stored, &last) {
                    return Ok(None);
                }
                last.previous_at = last.previous_at.max(stored.previous_at);
            }
        }
        let revision = Revision::generate(self.random.as_ref()).map_err(StoreError::backend)?;
        let Noted { org, user, .. } = *used;
        let put = match kind {
            Kind::ApiTokenUse => {
                put(&ApiTokenUse { id: id.into(), org, user, last }, revision, expect)?
            }
            _ => put(&AuthorizationUse { id: id.into(), org, user, last }, revision, expect)?,
        };
        // A deleted credential does not get its last use back.
        Ok(Some([Operation::Require { kind: of, id }, put]))
    }

    /// Tells whether the stored use is not older than the interval, so that this one is not written:
    /// another engine has written it, or this one before it restarted. One from the future, which a
    /// wrong clock has left, is not recent.
    fn is_recent(&self, stored: &LastUse, used: &LastUse) -> bool {
        let apart = used.at.as_unix_millis().abs_diff(stored.at.as_unix_millis());
        u128::from(apart) < self.config.interval.as_millis()
            && used.previous_at <= stored.previous_at
    }
}

/// Commits the batch; false if a record is not as it was read, or a credential does not exist.
async fn commit(uses: &LastUses, batch: Batch) -> Result<bool, StoreError> {
    if batch.is_empty() {
        return Ok(true);
    }
    match uses.store.commit_resolving(batch).await {
        Ok(()) => Ok(true),
        Err(
            StoreError::Conflict { .. }
            | StoreError::Missing { .. }
            | StoreError::AlreadyExists { .. },
        ) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the last use that the record holds.
pub(in crate::engine) fn last_use_of(record: &Record) -> Option<LastUse> {
    match record.kind {
        Kind::ApiTokenUse => ApiTokenUse::from_record(record).ok().map(|used| used.last),
        Kind::AuthorizationUse => AuthorizationUse::from_record(record).ok().map(|used| used.last),
        _ => None,
    }
}
