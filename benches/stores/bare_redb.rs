//! redb by hand: the same reads and writes with as little around them as there can be.

use std::hint::black_box;
use std::path::Path;

use portcullis::GrantKey;
use portcullis::store::Record;
use redb::{Database, ReadableDatabase as _, TableDefinition};

use crate::ordered::{
    AUTHORIZATION, Bare, Of, decode, entries, prefix, record_key, unique_key, value,
};

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

const RECORDS: Definition = TableDefinition::new("records");
const UNIQUE: Definition = TableDefinition::new("unique");
const INDEX: Definition = TableDefinition::new("index");

pub(crate) struct BareRedb(Database);

impl BareRedb {
    /// Opens the file of a store.
    pub(crate) fn of_a_store(path: &Path) -> Self {
        let cache = portcullis_redb::RedbOptions::DEFAULT_CACHE_BYTES;
        Self(Database::builder().set_cache_size(cache).open(path).unwrap())
    }
}

impl Bare for BareRedb {
    fn by_id(&self, id: u64) -> usize {
        let records = self.0.begin_read().unwrap().open_table(RECORDS).unwrap();
        decode(records.get(record_key(id).as_slice()).unwrap().unwrap().value());
        1
    }

    fn by_name(&self, name: &str) -> usize {
        let transaction = self.0.begin_read().unwrap();
        let unique = transaction.open_table(UNIQUE).unwrap();
        let id = unique.get(unique_key(name).as_slice()).unwrap().unwrap();
        let records = transaction.open_table(RECORDS).unwrap();
        let key = [&[AUTHORIZATION][..], id.value()].concat();
        decode(records.get(key.as_slice()).unwrap().unwrap().value());
        1
    }

    fn list(&self, of: Of, most: usize) -> usize {
        let transaction = self.0.begin_read().unwrap();
        let index = transaction.open_table(INDEX).unwrap();
        let records = transaction.open_table(RECORDS).unwrap();
        let prefix = prefix(of);
        let end = [prefix.as_slice(), &[0xff; 8]].concat();
        let entries = index.range::<&[u8]>(prefix.as_slice()..=end.as_slice()).unwrap().take(most);
        let found = entries.map(|entry| {
            let (key, _) = entry.unwrap();
            let record = [&[AUTHORIZATION][..], &key.value()[prefix.len()..]].concat();
            decode(records.get(record.as_slice()).unwrap().unwrap().value())
        });
        black_box(found.collect::<Vec<_>>()).len()
    }

    fn create(&self, record: &Record, grants: &[GrantKey]) {
        let id = record.id.as_u64().to_be_bytes();
        let transaction = self.0.begin_write().unwrap();
        {
            let mut records = transaction.open_table(RECORDS).unwrap();
            let value = value(record, grants);
            records.insert(record_key(record.id.as_u64()).as_slice(), value.as_slice()).unwrap();
            let mut unique = transaction.open_table(UNIQUE).unwrap();
            unique.insert(unique_key(record.unique_key.as_str()).as_slice(), &id[..]).unwrap();
            let mut index = transaction.open_table(INDEX).unwrap();
            for entry in entries(record, grants) {
                index.insert(entry.as_slice(), &[][..]).unwrap();
            }
        }
        transaction.commit().unwrap();
    }

    fn patch(&self, record: &Record, grants: &[GrantKey]) {
        let transaction = self.0.begin_write().unwrap();
        let mut records = transaction.open_table(RECORDS).unwrap();
        let value = value(record, grants);
        let before =
            records.insert(record_key(record.id.as_u64()).as_slice(), value.as_slice()).unwrap();
        assert!(before.is_some());
        drop(before);
        drop(records);
        transaction.commit().unwrap();
    }

    fn delete(&self, record: &Record, grants: &[GrantKey]) {
        let transaction = self.0.begin_write().unwrap();
        {
            let mut records = transaction.open_table(RECORDS).unwrap();
            records.remove(record_key(record.id.as_u64()).as_slice()).unwrap();
            let mut unique = transaction.open_table(UNIQUE).unwrap();
            unique.remove(unique_key(record.unique_key.as_str()).as_slice()).unwrap();
            let mut index = transaction.open_table(INDEX).unwrap();
            for entry in entries(record, grants) {
                index.remove(entry.as_slice()).unwrap();
            }
        }
        transaction.commit().unwrap();
    }
}
