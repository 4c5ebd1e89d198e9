//! A very simple store that survives being closed, has several handles, and has one fault on request.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::stream::{self, BoxStream, StreamExt};
use portcullis::store::{
    Batch, Change, Duplicate, Expect, Index, Kind, Lookup, Lookups, Operation, Page, PageRequest,
    Position, Record, Store, StoreError, UniqueKey,
};
use portcullis::{GrantKey, Id, OrgId, SystemRandom};
use portcullis_testkit::{Capabilities, Fixture, async_trait};
use tokio::sync::{Semaphore, watch};

/// A fault of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    // Reading.
    CutsBodies,
    CutsKeys,
    FailsOnLongKeys,
    FailsOnOddKeys,
    FoldsCase,
    ForgetsUsers,
    LeavesOutTheMissing,
    MatchesPatterns,
    NormalizesKeys,
    ReadsAnOlderState,
    ReadsManyInOrderOfId,
    ReadsManyOneByOne,
    StopsAtNul,
    TrimsBodies,
    TrimsKeys,
    // Listing.
    EndsAfterOnePage,
    IncludesTheCursor,
    IgnoresTheLimit,
    KeepsGrants,
    KeepsOrgs,
    ListsAllKinds,
    ListsDeleted,
    ListsInOrderOfCreation,
    SignsIds,
    SkipsOneRecord,
    // Writing.
    ChecksAgainstTheStateBefore,
    ChecksThenActs,
    CollidesWithItself,
    DeletesNothing,
    ForgetsRenames,
    IgnoresRequirements,
    IgnoresRevisionOfDelete,
    IgnoresRevisionOfPut,
    KeepsKeysOfDeleted,
    KeepsChangesBeforeARefusal,
    OverwritesTakenIds,
    PutsInPlaceOfNothing,
    RefusesEmptyBatches,
    SharesKeysBetweenKinds,
    StartsAtTheEnd,
    ReportsIdForKey,
    WritesOneByOne,
    // Being dropped.
    AnnouncesAfterAnAwait,
    KeepsTheLockWhenDropped,
    StopsHalfWayWhenDropped,
    // Reporting.
    AnnouncesBackwards,
    AnnouncesOnlyTheFirst,
    AnnouncesRefused,
    ResumesOneLate,
    ForgetsTheBacklog,
    IgnoresTheIncarnation,
    IsFreshBeforeItsTime,
    IsFreshBeforeChanges,
    IsFreshOnce,
    IsNeverFresh,
    IsNeverFreshWhileWriting,
    MovesWithoutChange,
    Resyncs,
    ReportsNothing,
    // Being closed.
    WorksWhenClosed,
    ClosesOnlyOnce,
    DoesNotEndStreams,
    ForgetsEverything,
    ForgetsGrants,
    ForgetsTheLog,
    // With other handles.
    CachesReads,
    ClosesAllHandles,
    ReportsOnlyItsOwn,
    ReportsOthersLate,
}

/// The capabilities of the store.
pub(crate) const CAPABILITIES: Capabilities =
    Capabilities { survives_reopen: true, shared_between_handles: true };

/// The fixture of a store with the fault, or without one.
pub(crate) fn place(fault: Option<Fault>) -> Place {
    let incarnation = Position::new_incarnation(&SystemRandom).unwrap();
    let data = Data { incarnation, ..Data::default() };
    Place(Arc::new(Disk {
        data: Mutex::new(data),
        turn: Semaphore::new(1),
        wake: watch::Sender::new(()),
        handles: AtomicU64::new(0),
        closed: watch::Sender::new(false),
        fault,
    }))
}

/// The data.
pub(crate) struct Place(Arc<Disk>);

/// What the handles share.
struct Disk {
    data: Mutex<Data>,
    /// One writer at a time.
    turn: Semaphore,
    wake: watch::Sender<()>,
    handles: AtomicU64,
    /// Only for handles that close all others.
    closed: watch::Sender<bool>,
    fault: Option<Fault>,
}

#[derive(Clone, Default)]
struct Data {
    incarnation: u128,
    rows: BTreeMap<(Kind, Id), Row>,
    keys: HashMap<(Kind, String), Id>,
    /// Each change, and the handle that made it.
    log: Vec<(Kind, Id, u64)>,
    created: u64,
    deleted: Vec<Row>,
}

#[derive(Clone)]
struct Row {
    record: Record,
    grants: Vec<GrantKey>,
    orgs: BTreeSet<OrgId>,
    created: u64,
    before: Option<Record>,
}

#[async_trait]
impl Fixture for Place {
    async fn store(&self) -> Arc<dyn Store> {
        Arc::new(Naive::open(&self.0))
    }

    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        let mut data = self.0.data.lock().unwrap();
        match self.0.fault {
            Some(Fault::ForgetsEverything) => {
                data.rows.clear();
                data.keys.clear();
            }
            Some(Fault::ForgetsGrants) => {
                for row in data.rows.values_mut() {
                    row.grants.clear();
                }
            }
            Some(Fault::ForgetsTheLog) => data.log.clear(),
            _ => {}
        }
        drop(data);
        Some(Arc::new(Naive::open(&self.0)))
    }

    async fn second_handle(&self) -> Option<Arc<dyn Store>> {
        Some(Arc::new(Naive::open(&self.0)))
    }
}

type Cache = HashMap<(Kind, Id), Option<Record>>;

/// One handle.
#[derive(Clone)]
struct Naive {
    disk: Arc<Disk>,
    number: u64,
    closed: watch::Sender<bool>,
    cache: Arc<Mutex<Cache>>,
    reads: Arc<AtomicU64>,
}

impl std::fmt::Debug for Naive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Naive({})", self.number)
    }
}

impl Naive {
    fn open(disk: &Arc<Disk>) -> Self {
        let closed = match disk.fault {
            Some(Fault::ClosesAllHandles) => disk.closed.clone(),
            _ => watch::Sender::new(false),
        };
        Self {
            disk: Arc::clone(disk),
            number: disk.handles.fetch_add(1, Ordering::Relaxed),
            closed,
            cache: Arc::default(),
            reads: Arc::default(),
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.disk.fault == Some(fault)
    }

    /// Locks the data of an open store.
    fn data(&self) -> Result<MutexGuard<'_, Data>, StoreError> {
        let data = self.disk.data.lock().unwrap();
        if *self.closed.borrow() && !self.has(Fault::WorksWhenClosed) {
            return Err(StoreError::closed());
        }
        Ok(data)
    }

    /// Applies the batch, in one step or with pauses.
    async fn write(self, operations: Vec<Operation>) -> Result<Position, StoreError> {
        let turn = match self.disk.fault {
            Some(Fault::ChecksThenActs) => None,
            _ => Some(self.disk.turn.acquire().await.unwrap()),
        };
        tokio::task::yield_now().await;
        if let (Some(_), true) = (&turn, self.has(Fault::KeepsTheLockWhenDropped)) {
            turn.unwrap().forget();
            pause().await;
            self.disk.turn.add_permits(1);
        }
        let before = self.data()?.clone_if(&[
            self.has(Fault::ChecksAgainstTheStateBefore),
            self.has(Fault::ChecksThenActs),
        ]);
        if self.has(Fault::ChecksThenActs) {
            let mut scratch = before.expect("a clone");
            scratch.apply_all(operations.clone(), self.disk.fault, None)?;
            pause().await;
            return self.act_all(&operations);
        }
        if self.has(Fault::WritesOneByOne) || self.has(Fault::StopsHalfWayWhenDropped) {
            // The refusals are correct at least.
            let mut scratch = self.data()?.clone();
            scratch.apply_all(operations.clone(), None, None)?;
            for operation in &operations {
                self.data()?.act(operation.clone(), None);
                pause().await;
            }
            return Ok(self.announce(&mut *self.data()?, &operations));
        }
        if !self.has(Fault::AnnouncesAfterAnAwait) {
            return self.apply(&mut *self.data()?, &operations, before.as_ref());
        }
        self.data()?.apply_all(operations.clone(), None, None)?;
        pause().await;
        Ok(self.announce(&mut *self.data()?, &operations))
    }

    fn apply(
        &self,
        data: &mut Data,
        operations: &[Operation],
        before: Option<&Data>,
    ) -> Result<Position, StoreError> {
        let response = data.apply_all(operations.to_vec(), self.disk.fault, before);
        if response.is_err() && self.has(Fault::AnnouncesRefused) {
            self.announce(data, operations);
        }
        response?;
        Ok(self.announce(data, operations))
    }

    fn act_all(&self, operations: &[Operation]) -> Result<Position, StoreError> {
        let mut data = self.data()?;
        for operation in operations {
            data.act(operation.clone(), self.disk.fault);
        }
        Ok(self.announce(&mut data, operations))
    }

    fn announce(&self, data: &mut Data, operations: &[Operation]) -> Position {
        let mut changes: Vec<_> = operations
            .iter()
            .filter_map(|operation| match operation {
                Operation::Put { record, .. } => Some((record.kind, record.id, self.number)),
                Operation::Delete { kind, id, .. } => Some((*kind, *id, self.number)),
                _ => None,
            })
            .collect();
        match self.disk.fault {
            Some(Fault::ReportsNothing) => changes.clear(),
            Some(Fault::AnnouncesBackwards) => changes.reverse(),
            Some(Fault::AnnouncesOnlyTheFirst) => changes.truncate(1),
            _ => {}
        }
        data.log.extend(changes);
        self.disk.wake.send_replace(());
        data.position()
    }
}

/// Long enough for other tasks to intervene, so that the faults show every time.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

impl Data {
    fn clone_if(&self, conditions: &[bool]) -> Option<Self> {
        conditions.contains(&true).then(|| self.clone())
    }

    fn position(&self) -> Position {
        Position::new(self.incarnation, self.log.len() as u128)
    }

    /// Applies all operations, or none.
    fn apply_all(
        &mut self,
        mut operations: Vec<Operation>,
        fault: Option<Fault>,
        look_at: Option<&Self>,
    ) -> Result<(), StoreError> {
        if fault == Some(Fault::StartsAtTheEnd) {
            operations.reverse();
        }
        let mut undo = Vec::new();
        for operation in operations {
            if let Err(error) = look_at.unwrap_or(self).check(&operation, fault) {
                if fault != Some(Fault::KeepsChangesBeforeARefusal) {
                    for (place, row) in undo.into_iter().rev() {
                        self.set(place, row, fault);
                    }
                }
                return Err(error);
            }
            undo.extend(self.act(operation, fault));
        }
        Ok(())
    }

    fn check(&self, operation: &Operation, fault: Option<Fault>) -> Result<(), StoreError> {
        match operation {
            Operation::Put { record, expect, .. } => {
                let (kind, id) = (record.kind, record.id);
                match (expect, self.rows.get(&(kind, id))) {
                    (Expect::Absent, Some(_)) if fault != Some(Fault::OverwritesTakenIds) => {
                        let duplicate = Duplicate::Id;
                        return Err(StoreError::AlreadyExists { kind, id, duplicate });
                    }
                    (Expect::Revision(_), None) if fault != Some(Fault::PutsInPlaceOfNothing) => {
                        return Err(StoreError::Missing { kind, id });
                    }
                    (Expect::Revision(expected), Some(row))
                        if row.record.revision != *expected
                            && fault != Some(Fault::IgnoresRevisionOfPut) =>
                    {
                        return Err(StoreError::Conflict { kind, id });
                    }
                    _ => {}
                }
                let holder = self.keys.get(&key_of(kind, record.unique_key.as_str(), fault));
                if holder
                    .is_some_and(|holder| *holder != id || fault == Some(Fault::CollidesWithItself))
                {
                    let duplicate = match fault {
                        Some(Fault::ReportsIdForKey) => Duplicate::Id,
                        _ => Duplicate::UniqueKey,
                    };
                    return Err(StoreError::AlreadyExists { kind, id, duplicate });
                }
            }
            Operation::Delete { kind, id, expect } => {
                let (kind, id) = (*kind, *id);
                match self.rows.get(&(kind, id)) {
                    None if fault != Some(Fault::DeletesNothing) => {
                        return Err(StoreError::Missing { kind, id });
                    }
                    Some(row)
                        if row.record.revision != *expect
                            && fault != Some(Fault::IgnoresRevisionOfDelete) =>
                    {
                        return Err(StoreError::Conflict { kind, id });
                    }
                    _ => {}
                }
            }
            Operation::Require { kind, id } => {
                let there = self.rows.contains_key(&(*kind, *id));
                if !there && fault != Some(Fault::IgnoresRequirements) {
                    return Err(StoreError::Missing { kind: *kind, id: *id });
                }
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    }

    /// Applies an operation; returns the previous record.
    fn act(
        &mut self,
        operation: Operation,
        fault: Option<Fault>,
    ) -> Option<((Kind, Id), Option<Row>)> {
        let (place, row) = match operation {
            Operation::Put { mut record, grants, .. } => {
                match fault {
                    Some(Fault::CutsBodies) => {
                        let cut: String = record.body.chars().take(65_535).collect();
                        record.body = cut.into();
                    }
                    Some(Fault::TrimsBodies) => record.body = record.body.trim().into(),
                    Some(Fault::ForgetsUsers) => record.user = None,
                    _ => {}
                }
                let place = (record.kind, record.id);
                let old = self.rows.get(&place);
                let mut row = Row {
                    grants,
                    orgs: record.org.into_iter().collect(),
                    created: old.map_or(self.created, |old| old.created),
                    before: old.map(|old| old.record.clone()),
                    record,
                };
                self.created += 1;
                match (fault, old) {
                    (Some(Fault::KeepsGrants), Some(old)) => row.grants.extend(&old.grants),
                    (Some(Fault::KeepsOrgs), Some(old)) => row.orgs.extend(&old.orgs),
                    _ => {}
                }
                (place, Some(row))
            }
            Operation::Delete { kind, id, .. } => ((kind, id), None),
            _ => return None,
        };
        Some((place, self.set(place, row, fault)))
    }

    fn set(
        &mut self,
        place @ (kind, id): (Kind, Id),
        row: Option<Row>,
        fault: Option<Fault>,
    ) -> Option<Row> {
        let old = self.rows.remove(&place);
        let keeps = match row {
            Some(_) => fault == Some(Fault::ForgetsRenames),
            None => fault == Some(Fault::KeepsKeysOfDeleted),
        };
        if let Some(old) = old.as_ref().filter(|_| !keeps) {
            let key = key_of(kind, old.record.unique_key.as_str(), fault);
            self.keys.remove(&key);
        }
        if row.is_none() && fault == Some(Fault::ListsDeleted) {
            self.deleted.extend(old.clone());
        }
        if let Some(row) = row {
            let key = key_of(kind, row.record.unique_key.as_str(), fault);
            self.keys.insert(key, id);
            self.rows.insert(place, row);
        }
        old
    }
}

/// Returns what two keys have in common if the store confuses them.
fn key_of(kind: Kind, key: &str, fault: Option<Fault>) -> (Kind, String) {
    let key = match fault {
        Some(Fault::CutsKeys) => key.chars().take(2_704).collect(),
        Some(Fault::FoldsCase) => key.to_ascii_lowercase(),
        Some(Fault::NormalizesKeys) => key.replace("e\u{301}", "\u{e9}"),
        Some(Fault::StopsAtNul) => key.split('\0').next().unwrap().into(),
        Some(Fault::TrimsKeys) => key.trim_end_matches(' ').into(),
        _ => key.into(),
    };
    match fault {
        Some(Fault::SharesKeysBetweenKinds) => (Kind::User, key),
        _ => (kind, key),
    }
}

impl Naive {
    fn find(&self, data: &Data, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
        let place = match lookup {
            Lookup::Id(kind, id) => Some((kind, id)),
            Lookup::UniqueKey(_, key) if key.contains('\0') && self.has(Fault::FailsOnOddKeys) => {
                return Err(StoreError::backend("a key with a NUL"));
            }
            Lookup::UniqueKey(_, key)
                if key.len() > UniqueKey::MAX_BYTES && self.has(Fault::FailsOnLongKeys) =>
            {
                return Err(StoreError::backend("a key that is too long"));
            }
            Lookup::UniqueKey(kind, key) => {
                let id = data.keys.get(&key_of(kind, key, self.disk.fault));
                let pattern = key.strip_suffix('%');
                let pattern = pattern.filter(|_| self.has(Fault::MatchesPatterns));
                let like = pattern.and_then(|beginning| {
                    let mut keys = data.keys.iter();
                    keys.find(|((of, it), _)| *of == kind && it.starts_with(beginning))
                });
                id.or(like.map(|(_, id)| id)).map(|id| (kind, *id))
            }
        };
        let Some(place) = place else { return Ok(None) };
        let found = data.rows.get(&place).map(|row| row.record.clone());
        if self.has(Fault::ReadsAnOlderState) && self.reads.fetch_add(1, Ordering::Relaxed) % 4 == 3
        {
            return Ok(data.rows.get(&place).and_then(|row| row.before.clone()));
        }
        if self.has(Fault::CachesReads) {
            let mut cache = self.cache.lock().unwrap();
            return Ok(cache.entry(place).or_insert(found).clone());
        }
        Ok(found)
    }
}

#[async_trait]
impl Store for Naive {
    async fn get(&self, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
        let data = self.data()?;
        self.find(&data, lookup)
    }

    async fn get_many(&self, lookups: Lookups<'_>) -> Result<Vec<Option<Record>>, StoreError> {
        if self.has(Fault::ReadsManyOneByOne) {
            let mut found = Vec::new();
            for lookup in lookups.iter() {
                found.push(self.get(lookup).await?);
                tokio::task::yield_now().await;
            }
            return Ok(found);
        }
        let data = self.data()?;
        let found = lookups.iter().map(|lookup| self.find(&data, lookup));
        match self.disk.fault {
            Some(Fault::LeavesOutTheMissing) => {
                found.filter(|record| !matches!(record, Ok(None))).collect()
            }
            Some(Fault::ReadsManyInOrderOfId) => {
                let mut found = found.collect::<Result<Vec<_>, _>>()?;
                found.sort_by_key(|record| record.as_ref().map(|record| record.id));
                Ok(found)
            }
            _ => found.collect(),
        }
    }

    async fn list(&self, index: Index, page: PageRequest) -> Result<Page, StoreError> {
        let data = self.data()?;
        let after = page.after.unwrap_or(Id::from_u64(0));
        let (from, to) = (Id::from_u64(0), Id::from_u64(u64::MAX));
        let kinds = match self.disk.fault {
            Some(Fault::ListsAllKinds) => (Kind::ApiToken, Kind::User),
            _ => (index.kind(), index.kind()),
        };
        let rows = data.rows.range((kinds.0, from)..=(kinds.1, to));
        let deleted = data.deleted.iter();
        let deleted = deleted.filter(|row| row.record.kind == index.kind());
        let mut rows: Vec<&Row> = rows
            .map(|(_, row)| row)
            .chain(deleted)
            .filter(|row| match index {
                Index::All(_) => true,
                Index::Org(_, org) => row.orgs.contains(&org),
                Index::User(_, user) => row.record.user == Some(user),
                Index::Grant(_, grant) => row.grants.contains(&grant),
            })
            .filter(|row| row.record.id > after)
            .collect();
        let limit = page.limit.get();
        match self.disk.fault {
            Some(Fault::IncludesTheCursor) if page.after.is_some() => {
                rows.extend(data.rows.get(&(index.kind(), after)));
                rows.sort_by_key(|row| row.record.id);
            }
            Some(Fault::ListsDeleted) => rows.sort_by_key(|row| row.record.id),
            Some(Fault::ListsInOrderOfCreation) => rows.sort_by_key(|row| row.created),
            Some(Fault::SignsIds) => rows.sort_by_key(|row| row.record.id.as_u64().cast_signed()),
            Some(Fault::SkipsOneRecord) if page.after.is_some() && rows.len() > 5 => {
                rows.remove(0);
            }
            _ => {}
        }
        let more = rows.len() > limit && !self.has(Fault::EndsAfterOnePage);
        if !self.has(Fault::IgnoresTheLimit) {
            rows.truncate(limit);
        }
        let records: Vec<_> = rows.iter().map(|row| row.record.clone()).collect();
        let next = records.last().map(|last| last.id).filter(|_| more);
        Ok(Page { records, next, ..Page::default() })
    }

    async fn commit(&self, batch: Batch) -> Result<Position, StoreError> {
        let operations = batch.into_operations()?;
        drop(self.data()?);
        if operations.is_empty() && self.has(Fault::RefusesEmptyBatches) {
            return Err(StoreError::backend("nothing to do"));
        }
        let written = self.clone().write(operations);
        match self.disk.fault {
            // In the caller's future, and dropped with it.
            Some(
                Fault::AnnouncesAfterAnAwait
                | Fault::KeepsTheLockWhenDropped
                | Fault::StopsHalfWayWhenDropped,
            ) => written.await,
            _ => tokio::spawn(written).await.unwrap(),
        }
    }

    async fn position(&self) -> Result<Position, StoreError> {
        let mut data = self.data()?;
        if self.has(Fault::MovesWithoutChange) {
            data.log.push((Kind::User, Id::from_u64(1), self.number));
        }
        Ok(data.position())
    }

    async fn watch(
        &self,
        after: Position,
    ) -> Result<BoxStream<'static, Result<Change, StoreError>>, StoreError> {
        let data = self.data()?;
        let mut cursor = usize::try_from(after.sequence()).ok();
        if self.has(Fault::ForgetsTheLog) {
            cursor = cursor.map(|cursor| cursor.min(data.log.len()));
        }
        if self.has(Fault::ResumesOneLate) {
            cursor = cursor.map(|cursor| (cursor + 1).min(data.log.len()));
        }
        let own = after.incarnation() == data.incarnation || self.has(Fault::IgnoresTheIncarnation);
        let good = own && cursor.is_some_and(|cursor| cursor <= data.log.len());
        let watcher = Watcher {
            store: self.clone(),
            cursor: cursor.filter(|_| good && !self.has(Fault::Resyncs)),
            fresh: None,
            wake: self.disk.wake.subscribe(),
            closed: self.closed.subscribe(),
        };
        Ok(stream::unfold(watcher, |mut watcher| async {
            let changes = watcher.next().await?;
            Some((stream::iter(changes).map(Ok), watcher))
        })
        .flatten()
        .boxed())
    }

    async fn close(&self) -> Result<(), StoreError> {
        let _data = self.disk.data.lock().unwrap();
        if self.closed.send_replace(true) && self.has(Fault::ClosesOnlyOnce) {
            return Err(StoreError::backend("it is closed already"));
        }
        Ok(())
    }
}

struct Watcher {
    store: Naive,
    cursor: Option<usize>,
    fresh: Option<Instant>,
    wake: watch::Receiver<()>,
    closed: watch::Receiver<bool>,
}

impl Watcher {
    const FRESH_EVERY: Duration = Duration::from_millis(20);

    async fn next(&mut self) -> Option<Vec<Change>> {
        let fault = self.store.disk.fault;
        loop {
            self.wake.mark_unchanged();
            if *self.closed.borrow_and_update() && fault != Some(Fault::DoesNotEndStreams) {
                return None;
            }
            let events = self.poll();
            if !events.is_empty() {
                return Some(events);
            }
            match fault {
                Some(Fault::ReportsOthersLate) => {
                    tokio::time::sleep(Duration::from_millis(1_500)).await;
                }
                _ => tokio::select! {
                    _ = self.wake.changed() => {}
                    _ = self.closed.changed() => {}
                    () = tokio::time::sleep(Self::FRESH_EVERY) => {}
                },
            }
        }
    }

    fn poll(&mut self) -> Vec<Change> {
        let fault = self.store.disk.fault;
        let now = Instant::now();
        let data = self.store.disk.data.lock().unwrap();
        let Some(cursor) = self.cursor else {
            self.cursor = Some(data.log.len());
            let position = data.position();
            return vec![Change::Resync { position }];
        };
        let mut events: Vec<_> = (cursor + 1..)
            .zip(data.log.iter().skip(cursor).take(100))
            .filter(|(_, (.., handle))| {
                fault != Some(Fault::ReportsOnlyItsOwn) || *handle == self.store.number
            })
            .map(|(place, &(kind, id, _))| {
                let position = Position::new(data.incarnation, place as u128);
                Change::Changed { kind, id, position }
            })
            .collect();
        let behind = data.log.len() - cursor;
        self.cursor = Some(cursor + behind.min(100));
        if behind > 10_000 && fault == Some(Fault::ForgetsTheBacklog) {
            self.cursor = Some(data.log.len());
            events.clear();
        }
        let due = match self.fresh {
            None => true,
            Some(fresh) => now.duration_since(fresh) >= Self::FRESH_EVERY,
        };
        let tells = match fault {
            Some(Fault::IsNeverFresh) => false,
            Some(Fault::IsFreshOnce) => self.fresh.is_none(),
            Some(Fault::IsNeverFreshWhileWriting) => {
                data.log.len() < 5
                    || behind == 0 && {
                        // Like a store that waits for a pause between two commits.
                        self.fresh.is_none_or(|fresh| now.duration_since(fresh).as_secs() > 60)
                    }
            }
            _ => true,
        };
        // After changes as well, like a store under constant load.
        if (due || behind > 0) && tells && behind <= 100 {
            self.fresh = Some(now);
            let as_of = match fault {
                Some(Fault::IsFreshBeforeItsTime) => now + Duration::from_secs(3_600),
                _ => now,
            };
            match fault {
                Some(Fault::IsFreshBeforeChanges) => events.insert(0, Change::Fresh { as_of }),
                _ => events.push(Change::Fresh { as_of }),
            }
        }
        events
    }
}
