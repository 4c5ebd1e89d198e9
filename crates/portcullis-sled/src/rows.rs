//! Reading: records, and pages of them.

use portcullis::Id;
use portcullis::store::{Index, Kind, Lookup, Page, PageRequest, Record, StoreError};
use sled::IVec;

use crate::error::{Failure, unreadable};
use crate::trees::{TreeId, Trees};
use crate::{keys, value};

/// Returns the record, if there is one.
pub(crate) fn get(trees: &Trees, lookup: Lookup<'_>) -> Result<Option<Record>, StoreError> {
    match lookup {
        Lookup::Id(kind, id) => by_id(trees, kind, id),
        Lookup::UniqueKey(kind, key) => {
            match trees.of(TreeId::Unique).get(keys::unique(kind, key)).map_err(Failure::from)? {
                None => Ok(None),
                Some(id) => match keys::parse_id(&id) {
                    Some(id) => by_id(trees, kind, id),
                    // No record has the id 0.
                    None => Err(unreadable(kind, Id::from_u64(0))),
                },
            }
        }
    }
}

pub(crate) fn by_id(trees: &Trees, kind: Kind, id: Id) -> Result<Option<Record>, StoreError> {
    match trees.of(TreeId::Records).get(keys::record(kind, id)).map_err(Failure::from)? {
        None => Ok(None),
        Some(value) => match value::read_record(kind, id, &value) {
            Some(record) => Ok(Some(record)),
            None => Err(unreadable(kind, id)),
        },
    }
}

/// Returns a page of the index.
///
/// What cannot be read is logged and left out, so that it does not hide the others.
pub(crate) fn list(trees: &Trees, index: Index, request: PageRequest) -> Result<Page, StoreError> {
    let kind = index.kind();
    // No record has the id 0, so a list from the beginning begins after it.
    let after = request.after.unwrap_or(Id::from_u64(0));
    let (tree, prefix) = match keys::entries_of(index) {
        None => (TreeId::Records, keys::records(kind)),
        Some(prefix) => (TreeId::Index, prefix),
    };
    let (from, to) =
        (keys::entry(prefix.clone(), after), keys::entry(prefix, Id::from_u64(u64::MAX)));
    // The first one is the cursor itself, if it is there.
    let found = trees.of(tree).range(from.as_slice()..=to.as_slice());
    let mut page = Page::default();
    let mut bytes = 0;
    for found in found {
        let (key, value): (IVec, IVec) = found.map_err(Failure::from)?;
        if key == from.as_slice() {
            continue;
        }
        let Some(id) = keys::id_of_entry(&key) else { continue };
        let record = match tree {
            TreeId::Records => value::read_record(kind, id, &value),
            _ => match by_id(trees, kind, id) {
                Ok(record) => record,
                Err(StoreError::Corrupt { .. }) => None,
                Err(error) => return Err(error),
            },
        };
        match record {
            Some(_) if page.records.len() == request.limit.get() || bytes >= Page::BYTES => {
                page.next = page.records.last().map(|last| last.id);
                break;
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
    }
    Ok(page)
}
