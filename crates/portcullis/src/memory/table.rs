//! The rows of one kind and their indexes, in little memory.
//!
//! `benches/memory` allows 700 bytes a record, and `benches/stores` little growth of the time a record
//! with their number. A `BTreeMap` of records and sets of ids by org, user and grant take 750 bytes
//! even with compact bodies, and a list among a million 2.4 times the time a record of one among ten
//! thousand, as each id is looked up.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::hint;
use std::sync::Arc;

use super::sorted::Sorted;
use crate::codec::compact::{compact, username};
use crate::store::{Body, Index, Kind, Page, Record, Revision, UniqueKey};
use crate::{GrantKey, Id, OrgId, Status, UserId};

/// How many rows are allocated at a time.
const CHUNK: usize = 1_024;

/// How many bytes a processor fetches at a time. Another size is correct too.
const CACHE_LINE: usize = 64;

/// A record without its kind.
pub(super) struct Row {
    id: u64,
    /// Two numbers, as a `u128` would be aligned to 16 bytes.
    revision: [u64; 2],
    /// Valid if `has_org` is set; the same holds for the user.
    org: u64,
    user: u64,
    /// `None` if it is the username in the body.
    unique_key: Option<UniqueKey>,
    body: Body,
    /// Shared with the keys of the index: many rows have the same ones.
    grants: Box<[Arc<GrantKey>]>,
    has_org: bool,
    has_user: bool,
    status: Status,
}

impl Row {
    fn new(record: Record, grants: Box<[Arc<GrantKey>]>) -> Self {
        let Record { kind, id, revision, unique_key, org, user, status, body } = record;
        let revision = revision.as_u128();
        let body = compact(kind, body);
        let is_username = username(&body) == Some(unique_key.as_str());
        Self {
            id: id.as_u64(),
            revision: [(revision >> 64) as u64, revision as u64],
            org: org.map_or(0, OrgId::as_u64),
            user: user.map_or(0, UserId::as_u64),
            unique_key: (!is_username).then_some(unique_key),
            body,
            grants,
            has_org: org.is_some(),
            has_user: user.is_some(),
            status,
        }
    }

    /// Loads every cache line of it.
    fn prefetch(&self) {
        let lines = self.body.bytes().chunks(CACHE_LINE).filter_map(|line| line.first());
        let key = self.key().as_bytes().first();
        hint::black_box(lines.chain(key).fold(0, |all, byte| all ^ byte));
    }

    fn key(&self) -> &str {
        match &self.unique_key {
            Some(key) => key.as_str(),
            None => username(&self.body).unwrap_or_default(),
        }
    }

    fn unique_key(&self) -> UniqueKey {
        self.unique_key.clone().unwrap_or_else(|| UniqueKey::of_username(self.key()))
    }

    pub(super) fn revision(&self) -> Revision {
        let [high, low] = self.revision;
        Revision::from_u128((u128::from(high) << 64) | u128::from(low))
    }

    fn org(&self) -> Option<OrgId> {
        self.has_org.then(|| OrgId::from_u64(self.org))
    }

    fn user(&self) -> Option<UserId> {
        self.has_user.then(|| UserId::from_u64(self.user))
    }

    pub(super) fn record(&self, kind: Kind) -> Record {
        Record {
            kind,
            id: Id::from_u64(self.id),
            revision: self.revision(),
            unique_key: self.unique_key(),
            org: self.org(),
            user: self.user(),
            status: self.status,
            body: self.body.clone(),
        }
    }
}

/// The rows of one kind.
#[derive(Default)]
pub(super) struct Table {
    /// In chunks, so that a growing table is not copied. A slot is the number of a row.
    rows: Vec<Vec<Option<Row>>>,
    free: Vec<u32>,
    by_id: Sorted,
    /// By a hash of it. The key of the hash is random, so that names which share a hash cannot be
    /// chosen.
    by_unique_key: Sorted,
    hashing: RandomState,
    by_org: HashMap<OrgId, Sorted>,
    by_user: HashMap<UserId, Sorted>,
    by_grant: HashMap<Arc<GrantKey>, Sorted>,
}

/// So many rows that a slot does not fit would take terabytes.
fn to_slot(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn to_index(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

impl Table {
    pub(super) fn by_id(&self, id: Id) -> Option<&Row> {
        self.row(self.slot_of(id)?)
    }

    pub(super) fn by_unique_key(&self, key: &str) -> Option<&Row> {
        let hash = self.hashing.hash_one(key);
        let same = self.by_unique_key.from((hash, 0)).take_while(|(other, _)| *other == hash);
        let mut rows = same.filter_map(|(_, slot)| self.row(slot));
        rows.find(|row| row.key() == key)
    }

    /// Returns the id of the row with the key.
    pub(super) fn holder_of(&self, key: &UniqueKey) -> Option<Id> {
        Some(Id::from_u64(self.by_unique_key(key.as_str())?.id))
    }

    fn slot_of(&self, id: Id) -> Option<u32> {
        let id = id.as_u64();
        let found = self.by_id.from((id, 0)).next();
        found.filter(|(found, _)| *found == id).map(|(_, slot)| slot)
    }

    fn row(&self, slot: u32) -> Option<&Row> {
        let index = to_index(slot);
        self.rows.get(index / CHUNK)?.get(index % CHUNK)?.as_ref()
    }

    /// Replaces the record with the id by this one, or by none, and updates every index. Returns the
    /// replaced record.
    pub(super) fn replace(
        &mut self,
        kind: Kind,
        id: Id,
        new: Option<(Record, Vec<GrantKey>)>,
    ) -> Option<(Record, Vec<GrantKey>)> {
        let old = self.remove(kind, id);
        if let Some((record, grants)) = new {
            self.insert(record, grants);
        }
        old
    }

    fn insert(&mut self, record: Record, mut grants: Vec<GrantKey>) {
        let slot = self.free.pop().unwrap_or_else(|| self.new_slot());
        let id = record.id.as_u64();
        grants.sort_unstable();
        grants.dedup();
        let grants = grants.into_iter().map(|grant| {
            let held = self.by_grant.get_key_value(&grant).map(|(held, _)| Arc::clone(held));
            let grant = held.unwrap_or_else(|| Arc::new(grant));
            self.by_grant.entry(Arc::clone(&grant)).or_default().insert((id, slot));
            grant
        });
        let row = Row::new(record, grants.collect());
        self.by_id.insert((id, slot));
        let hash = self.hashing.hash_one(row.key());
        self.by_unique_key.insert((hash, slot));
        if let Some(org) = row.org() {
            self.by_org.entry(org).or_default().insert((id, slot));
        }
        if let Some(user) = row.user() {
            self.by_user.entry(user).or_default().insert((id, slot));
        }
        let index = to_index(slot);
        let place = self.rows.get_mut(index / CHUNK).and_then(|it| it.get_mut(index % CHUNK));
        if let Some(place) = place {
            *place = Some(row);
        }
    }

    fn new_slot(&mut self) -> u32 {
        if self.rows.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.rows.push(Vec::with_capacity(CHUNK));
        }
        let before = self.rows.len().saturating_sub(1) * CHUNK;
        let index = self.rows.last_mut().map_or(0, |chunk| {
            chunk.push(None);
            chunk.len() - 1
        });
        to_slot(before + index)
    }

    fn remove(&mut self, kind: Kind, id: Id) -> Option<(Record, Vec<GrantKey>)> {
        let slot = self.slot_of(id)?;
        let index = to_index(slot);
        let row = self.rows.get_mut(index / CHUNK)?.get_mut(index % CHUNK)?.take()?;
        self.free.push(slot);
        let entry = (row.id, slot);
        self.by_id.remove(entry);
        let hash = self.hashing.hash_one(row.key());
        self.by_unique_key.remove((hash, slot));
        if let Some(org) = row.org() {
            remove_from(&mut self.by_org, &org, entry);
        }
        if let Some(user) = row.user() {
            remove_from(&mut self.by_user, &user, entry);
        }
        for grant in &row.grants {
            remove_from(&mut self.by_grant, grant, entry);
        }
        Some((row.record(kind), row.grants.iter().map(|grant| **grant).collect()))
    }

    /// Returns a page of the index, of records with a higher id than this one.
    pub(super) fn page(&self, index: Index, after: Id, limit: usize) -> Page {
        let sorted = match index {
            Index::All(_) => Some(&self.by_id),
            Index::Org(_, org) => self.by_org.get(&org),
            Index::User(_, user) => self.by_user.get(&user),
            Index::Grant(_, grant) => self.by_grant.get(&grant),
        };
        let mut page = Page::default();
        // Nothing comes after the highest id.
        let Some((sorted, first)) = sorted.zip(after.as_u64().checked_add(1)) else { return page };
        let rows = sorted.from((first, 0)).filter_map(|(_, slot)| self.row(slot));
        // One more tells whether there is another page.
        let mut rows = prefetched(rows.take(limit.saturating_add(1)));
        let mut bytes = 0;
        while page.records.len() < limit && bytes < Page::BYTES {
            let Some(row) = rows.next() else { return page };
            bytes += row.body.bytes().len();
            page.records.push(row.record(index.kind()));
        }
        if rows.next().is_some() {
            page.next = page.records.last().map(|last| last.id);
        }
        page
    }
}

/// How many rows are prefetched together.
const PREFETCH: usize = 16;

/// Yields the rows. Each [`PREFETCH`] rows are loaded together, so that the processor waits for memory
/// once, and not for each row, its key and its body: among a million rows these are scattered. Without,
/// a page of a user's records costs 2.0 to 2.4 times as much a record as among ten thousand, and not
/// 1.3 to 1.5 times (`benches/stores`, growth).
fn prefetched<'a>(mut rows: impl Iterator<Item = &'a Row>) -> impl Iterator<Item = &'a Row> {
    let mut fetched = Vec::with_capacity(PREFETCH).into_iter();
    std::iter::from_fn(move || {
        if fetched.len() == 0 {
            let few: Vec<&Row> = rows.by_ref().take(PREFETCH).collect();
            for row in &few {
                row.prefetch();
            }
            fetched = few.into_iter();
        }
        fetched.next()
    })
}

fn remove_from<K: Eq + std::hash::Hash>(
    index: &mut HashMap<K, Sorted>,
    of: &K,
    entry: super::sorted::Entry,
) {
    if let Some(sorted) = index.get_mut(of) {
        sorted.remove(entry);
        if sorted.is_empty() {
            index.remove(of);
        }
    }
}
