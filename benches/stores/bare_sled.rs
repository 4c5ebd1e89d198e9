//! sled by hand: the same reads and writes with as little around them as there can be.

use std::fs::File;
use std::hint::black_box;
use std::path::Path;

use portcullis::store::Record;
use portcullis::{Authorization, GrantKey, OrgId, UserId};
use portcullis_benches::data;
use sled::Transactional as _;
use sled::transaction::ConflictableTransactionError;

/// The kind of the records, as the store numbers it, and what is behind it in an entry.
const AUTHORIZATION: u8 = 2;
const ORG: u8 = 1;
const USER: u8 = 2;
const GRANT: u8 = 3;

/// How long a value is before the first text: flags, revision, ids, a length.
const HEAD: usize = 42;

/// The three trees that a store has.
pub(crate) struct BareSled {
    db: sled::Db,
    records: sled::Tree,
    unique: sled::Tree,
    index: sled::Tree,
    log: File,
}

/// Whose records.
#[derive(Clone, Copy)]
pub(crate) enum Of {
    Org(OrgId),
    User(UserId),
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

    pub(crate) fn by_id(&self, id: u64) -> usize {
        let value = self.records.get(record_key(id)).unwrap().unwrap();
        decode(&value);
        1
    }

    pub(crate) fn by_name(&self, name: &str) -> usize {
        let id = self.unique.get(unique_key(name)).unwrap().unwrap();
        let value = self.records.get([&[AUTHORIZATION][..], &id].concat()).unwrap().unwrap();
        decode(&value);
        1
    }

    /// Scans the index and gets each record; returns how many there were.
    pub(crate) fn list(&self, of: Of, most: usize) -> usize {
        let prefix = prefix(of);
        let entries = self.index.scan_prefix(&prefix).take(most);
        let found = entries.map(|entry| {
            let (key, _) = entry.unwrap();
            let record = [&[AUTHORIZATION][..], &key[prefix.len()..]].concat();
            decode(&self.records.get(record).unwrap().unwrap())
        });
        black_box(found.collect::<Vec<_>>()).len()
    }

    /// Puts the record and its entries in one transaction, and makes it durable.
    pub(crate) fn create(&self, record: &Record, grants: &[GrantKey]) {
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

    /// Puts the record in place of another one with the same entries.
    pub(crate) fn patch(&self, record: &Record, grants: &[GrantKey]) {
        let value = value(record, grants);
        self.records.insert(record_key(record.id.as_u64()), value).unwrap().unwrap();
        self.make_durable();
    }

    /// Removes the record and its entries.
    pub(crate) fn delete(&self, record: &Record, grants: &[GrantKey]) {
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

    fn make_durable(&self) {
        self.db.flush().unwrap();
        self.log.sync_data().unwrap();
    }
}

/// By what the record is found: its owners and its grants.
fn entries(record: &Record, grants: &[GrantKey]) -> Vec<Vec<u8>> {
    let id = record.id.as_u64().to_be_bytes();
    let of = [Of::Org(record.org.unwrap()), Of::User(record.user.unwrap())];
    let owners = of.map(|of| [prefix(of), id.to_vec()].concat());
    let by_grant = grants.iter().map(|grant| {
        let grant = grant.to_string();
        [&[AUTHORIZATION, GRANT][..], grant.as_bytes(), &[0], &id].concat()
    });
    owners.into_iter().chain(by_grant).collect()
}

fn record_key(id: u64) -> Vec<u8> {
    [&[AUTHORIZATION][..], &id.to_be_bytes()].concat()
}

fn unique_key(name: &str) -> Vec<u8> {
    [&[AUTHORIZATION][..], name.as_bytes()].concat()
}

fn prefix(of: Of) -> Vec<u8> {
    let (tag, id) = match of {
        Of::Org(org) => (ORG, org.as_u64()),
        Of::User(user) => (USER, user.as_u64()),
    };
    [&[AUTHORIZATION, tag][..], &id.to_be_bytes()].concat()
}

/// As many bytes as the store writes, the body last.
fn value(record: &Record, grants: &[GrantKey]) -> Vec<u8> {
    let mut value = vec![0; HEAD];
    value.extend(record.unique_key.as_str().as_bytes());
    for grant in grants {
        value.extend(grant.to_string().as_bytes());
    }
    value.extend(record.body.as_bytes());
    value
}

fn decode(value: &[u8]) -> Authorization {
    // No text before it has a brace in it, and no length a quote behind one.
    let body = value[HEAD..].windows(2).position(|two| two == b"{\"").unwrap();
    let body = std::str::from_utf8(&value[HEAD + body..]).unwrap();
    black_box(data::parse(body))
}
