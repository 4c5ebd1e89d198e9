//! Reading: records, pages of them, and pages of entries.

use std::ops::{Bound, ControlFlow};

use thiserror::Error;

use super::{Keyspace, Read, Scan, keys, value};
use crate::Id;
use crate::store::{
    Entry, EntryCursor, EntryKey, EntryPage, Index, Kind, Lookup, Page, PageRequest, Record,
    StoreError,
};

#[derive(Debug, Error)]
#[error("its value is not one that this version writes")]
struct UnreadableValue;

/// Makes the error for a record whose value cannot be read.
pub(super) fn unreadable(kind: Kind, id: Id) -> StoreError {
    StoreError::Corrupt { kind, id, source: UnreadableValue.into() }
}

/// Returns the record, if there is one.
///
/// # Errors
///
/// [`StoreError::Corrupt`] for a record whose value cannot be read, and those of the engine.
pub fn get(tables: &impl Read, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
    match lookup {
        Lookup::Id(kind, id) => by_id(tables, kind, id),
        Lookup::UniqueKey(kind, key) => {
            match tables.get(Keyspace::Unique, &keys::unique(kind, key), keys::parse_id)? {
                None => Ok(None),
                Some(Some(id)) => by_id(tables, kind, id),
                // No record has the id 0.
                Some(None) => Err(unreadable(kind, Id::from_u64(0))),
            }
        }
    }
}

fn by_id(tables: &impl Read, kind: Kind, id: Id) -> Result<Option<Record>, StoreError> {
    let read = |value: &[u8]| value::read_record(kind, id, value);
    match tables.get(Keyspace::Records, &keys::record(kind, id), read)? {
        None => Ok(None),
        Some(record) => record.map(Some).ok_or_else(|| unreadable(kind, id)),
    }
}

/// Returns a page of the index.
///
/// A record that cannot be read is logged and left out, so that it does not hide the others.
///
/// # Errors
///
/// Those of the engine.
pub fn list(tables: &impl Scan, index: Index, request: PageRequest) -> Result<Page, StoreError> {
    let kind = index.kind();
    let (keyspace, prefix) = match keys::entries_of(index) {
        None => (Keyspace::Records, keys::records(kind)),
        Some(prefix) => (Keyspace::Index, prefix),
    };
    // No record has the id 0, so a list from the beginning begins after it.
    let from = keys::with_id(prefix.clone(), request.after.unwrap_or(Id::from_u64(0)));
    let to = keys::with_id(prefix, Id::from_u64(u64::MAX));
    let mut page = Page::default();
    let mut bytes = 0;
    let bounds = (Bound::Excluded(from.as_slice()), Bound::Included(to.as_slice()));
    tables.scan(keyspace, bounds, |key, value| {
        let Some(id) = keys::last_id(key) else { return Ok(ControlFlow::Continue(())) };
        let record = match keyspace {
            Keyspace::Records => value::read_record(kind, id, value),
            _ => match by_id(tables, kind, id) {
                Ok(record) => record,
                Err(StoreError::Corrupt { .. }) => None,
                Err(error) => return Err(error),
            },
        };
        match record {
            Some(_) if page.records.len() == request.limit.get() || bytes >= Page::BYTES => {
                page.next = page.records.last().map(|last| last.id);
                return Ok(ControlFlow::Break(()));
            }
            Some(record) => {
                bytes += record.body.len();
                page.records.push(record);
            }
            None => {
                page.unreadable += 1;
                tracing::error!(%kind, %id, "a record is left out of a list: it cannot be read");
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(page)
}

/// Returns a page of entries: first unique keys, then the others. A cursor is the number of the keyspace
/// and the last key.
///
/// # Errors
///
/// Those of the engine.
pub fn entries(
    tables: &impl Scan,
    after: Option<&EntryCursor>,
    limit: usize,
) -> Result<EntryPage, StoreError> {
    let (first, mut last) = match after.and_then(|cursor| cursor.as_bytes().split_first()) {
        None => (0, None),
        Some((number, key)) => (*number, Some(key)),
    };
    let mut page = EntryPage::default();
    let mut seen = 0;
    for (number, keyspace) in (0..).zip([Keyspace::Unique, Keyspace::Index]) {
        if number < first {
            continue;
        }
        let from = last.take().map_or(Bound::Unbounded, Bound::Excluded);
        tables.scan(keyspace, (from, Bound::Unbounded), |key, value| {
            match entry(keyspace, key, value) {
                Some(entry) => page.entries.push(entry),
                None => page.unreadable += 1,
            }
            seen += 1;
            if seen < limit {
                return Ok(ControlFlow::Continue(()));
            }
            page.next = Some(EntryCursor::new([&[number], key].concat()));
            Ok(ControlFlow::Break(()))
        })?;
        if page.next.is_some() {
            break;
        }
    }
    Ok(page)
}

fn entry(keyspace: Keyspace, key: &[u8], value: &[u8]) -> Option<Entry> {
    match keyspace {
        Keyspace::Unique => {
            let (kind, text) = keys::parse_unique(key)?;
            let key = EntryKey::UniqueKey(text.into());
            Some(Entry { kind, key, id: keys::parse_id(value)? })
        }
        _ => keys::parse_entry(key),
    }
}

/// Reads the whole keyspace, and describes how many records have a key that cannot be read: no list
/// contains them.
///
/// # Errors
///
/// Those of the engine.
pub fn unreadable_keys(
    tables: &impl Scan,
    keyspace: Keyspace,
) -> Result<Option<String>, StoreError> {
    let mut unreadable = 0;
    tables.scan(keyspace, (Bound::Unbounded, Bound::Unbounded), |key, _| {
        if keyspace == Keyspace::Records && keys::parse_record(key).is_none() {
            unreadable += 1;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((unreadable > 0).then(|| format!("{unreadable} records have a key that cannot be read")))
}
