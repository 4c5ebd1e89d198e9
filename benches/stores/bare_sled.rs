//! sled by hand: the same reads and writes with as little around them as there can be.

use std::fs::File;
use std::hint::black_box;
use std::path::Path;

use portcullis::GrantKey;
use portcullis::store::Record;
use sled::Transactional as _;
use sled::transaction::ConflictableTransactionError;

use crate::ordered::{
    AUTHORIZATION, Bare, Of, decode, entries, prefix, record_key, unique_key, value,
};

/// The three trees that a store has.
pub(crate) struct BareSled {
    db: sled::Db,
    records: sled::Tree,
    unique: sled::Tree,
    index: sled::Tree,
    log: File,
}

impl BareSled {
    /// Opens the directory of a store, or begins one.
    pub(crate) fn of_a_store(path: &Path) -> Self {
        let config = sled::Config::new().path(path).flush_every_ms(None);
        let db = config.cache_capacity(portcullis_sled::SledOptions::DEFAULT_CACHE_BYTES).open();
        let db = db.unwrap();
        let tree = |name| db.open_tree(name).unwrap();
        let log = File::open(path.join("db")).unwrap();
        let (records, unique, index) = (tree("records"), tree("unique.1"), tree("index.1"));
        Self { db, records, unique, index, log }
    }

    fn make_durable(&self) {
        self.db.flush().unwrap();
        self.log.sync_data().unwrap();
    }
}

impl Bare for BareSled {
    fn by_id(&self, id: u64) -> usize {
        let value = self.records.get(record_key(id)).unwrap().unwrap();
        decode(&value);
        1
    }

    fn by_name(&self, name: &str) -> usize {
        let id = self.unique.get(unique_key(name)).unwrap().unwrap();
        let value = self.records.get([&[AUTHORIZATION][..], &id].concat()).unwrap().unwrap();
        decode(&value);
        1
    }

    fn list(&self, of: Of, most: usize) -> usize {
        let prefix = prefix(of);
        let entries = self.index.scan_prefix(&prefix).take(most);
        let found = entries.map(|entry| {
            let (key, _) = entry.unwrap();
            let record = [&[AUTHORIZATION][..], &key[prefix.len()..]].concat();
            decode(&self.records.get(record).unwrap().unwrap())
        });
        black_box(found.collect::<Vec<_>>()).len()
    }

    fn create(&self, record: &Record, grants: &[GrantKey]) {
        let id = record.id.as_u64().to_be_bytes();
        let entries = entries(record, grants);
        [&self.records, &self.unique, &self.index]
            .as_slice()
            .transaction(|views| {
                views[0].insert(record_key(record.id.as_u64()), value(record, grants))?;
                views[1].insert(unique_key(record.unique_key.as_str()), &id)?;
                for entry in &entries {
                    views[2].insert(entry.as_slice(), &[])?;
                }
                Ok::<_, ConflictableTransactionError<()>>(())
            })
            .unwrap();
        self.make_durable();
    }

    fn patch(&self, record: &Record, grants: &[GrantKey]) {
        let value = value(record, grants);
        self.records.insert(record_key(record.id.as_u64()), value).unwrap().unwrap();
        self.make_durable();
    }

    fn delete(&self, record: &Record, grants: &[GrantKey]) {
        let entries = entries(record, grants);
        [&self.records, &self.unique, &self.index]
            .as_slice()
            .transaction(|views| {
                views[0].remove(record_key(record.id.as_u64()))?;
                views[1].remove(unique_key(record.unique_key.as_str()))?;
                for entry in &entries {
                    views[2].remove(entry.as_slice())?;
                }
                Ok::<_, ConflictableTransactionError<()>>(())
            })
            .unwrap();
        self.make_durable();
    }
}
