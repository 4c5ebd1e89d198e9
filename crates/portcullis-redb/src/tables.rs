//! The tables, in a snapshot and in a write transaction.

use std::cell::OnceCell;
use std::ops::{Bound, ControlFlow};

use portcullis::store::StoreError;
use portcullis::toolkit::ordered::{Keyspace, Read, Scan, Write};
use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase as _, ReadableTable, Table,
    TableDefinition, TableHandle as _, WriteTransaction,
};

type Bytes = &'static [u8];

/// The format that this version writes. Since format 2 there are DBRP mappings, since format 3 last
/// uses of credentials, which an older version would not find when it verifies or copies a store;
/// nothing else has changed.
pub(crate) const FORMAT: u64 = 3;
const FORMAT_KEY: &str = "format";

/// Makes the file a store: no other program has a table of this name.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("portcullis");

/// Returns the table of the keyspace.
pub(crate) const fn definition(keyspace: Keyspace) -> TableDefinition<'static, Bytes, Bytes> {
    TableDefinition::new(match keyspace {
        Keyspace::Records => "records",
        Keyspace::Unique => "unique",
        Keyspace::Index => "index",
    })
}

/// Wraps an error of redb.
pub(crate) fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::backend(error.into())
}

/// The contents of a database.
pub(crate) enum Contents {
    /// Nothing: there is no store in it, and nothing else either.
    Nothing,
    /// A store of this format.
    Format(u64),
    /// Something else.
    Foreign,
}

/// Identifies the contents of the database.
pub(crate) fn identify(database: &Database) -> Result<Contents, redb::Error> {
    let transaction = database.begin_read()?;
    let tables: Vec<String> =
        transaction.list_tables()?.map(|table| table.name().to_owned()).collect();
    if tables.is_empty() {
        return Ok(Contents::Nothing);
    }
    if !tables.iter().any(|name| name == META.name()) {
        return Ok(Contents::Foreign);
    }
    let format = match transaction.open_table(META) {
        Ok(meta) => meta.get(FORMAT_KEY)?.map(|format| format.value()),
        Err(_) => None,
    };
    Ok(format.map_or(Contents::Foreign, Contents::Format))
}

/// Makes the tables of an empty store in the transaction, or makes a store of an older format one of the
/// current format.
pub(crate) fn establish(transaction: &WriteTransaction) -> Result<(), StoreError> {
    let mut meta = transaction.open_table(META).map_err(failed)?;
    meta.insert(FORMAT_KEY, FORMAT).map_err(failed)?;
    Tables::open(transaction).map(drop)
}

/// All tables as of one moment.
pub(crate) struct Snapshot {
    transaction: ReadTransaction,
    /// Opened when they are first read.
    records: OnceCell<ReadOnlyTable<Bytes, Bytes>>,
    unique: OnceCell<ReadOnlyTable<Bytes, Bytes>>,
    index: OnceCell<ReadOnlyTable<Bytes, Bytes>>,
}

impl Snapshot {
    pub(crate) fn of(database: &Database) -> Result<Self, StoreError> {
        let transaction = database.begin_read().map_err(failed)?;
        let (records, unique, index) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Ok(Self { transaction, records, unique, index })
    }

    fn table(&self, keyspace: Keyspace) -> Result<&ReadOnlyTable<Bytes, Bytes>, StoreError> {
        let table = match keyspace {
            Keyspace::Records => &self.records,
            Keyspace::Unique => &self.unique,
            Keyspace::Index => &self.index,
        };
        if let Some(table) = table.get() {
            return Ok(table);
        }
        let opened = self.transaction.open_table(definition(keyspace)).map_err(failed)?;
        Ok(table.get_or_init(|| opened))
    }
}

impl Read for Snapshot {
    fn get<T>(
        &self,
        keyspace: Keyspace,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, StoreError> {
        get(self.table(keyspace)?, key, read)
    }
}

impl Scan for Snapshot {
    fn scan(
        &self,
        keyspace: Keyspace,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        for pair in self.table(keyspace)?.range::<&[u8]>(bounds).map_err(failed)? {
            let (key, value) = pair.map_err(failed)?;
            if visit(key.value(), value.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn get<T>(
    table: &impl ReadableTable<Bytes, Bytes>,
    key: &[u8],
    read: impl FnOnce(&[u8]) -> T,
) -> Result<Option<T>, StoreError> {
    let value = table.get(key).map_err(failed)?;
    Ok(value.map(|value| read(value.value())))
}

/// All tables in a transaction that writes.
pub(crate) struct Tables<'t> {
    records: Table<'t, Bytes, Bytes>,
    unique: Table<'t, Bytes, Bytes>,
    index: Table<'t, Bytes, Bytes>,
}

impl<'t> Tables<'t> {
    /// Opens the tables, and creates those that do not exist.
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        let open = |keyspace| transaction.open_table(definition(keyspace)).map_err(failed);
        Ok(Self {
            records: open(Keyspace::Records)?,
            unique: open(Keyspace::Unique)?,
            index: open(Keyspace::Index)?,
        })
    }
}

impl Read for Tables<'_> {
    fn get<T>(
        &self,
        keyspace: Keyspace,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, StoreError> {
        match keyspace {
            Keyspace::Records => get(&self.records, key, read),
            Keyspace::Unique => get(&self.unique, key, read),
            Keyspace::Index => get(&self.index, key, read),
        }
    }
}

impl Write for Tables<'_> {
    fn put(
        &mut self,
        keyspace: Keyspace,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let table = match keyspace {
            Keyspace::Records => &mut self.records,
            Keyspace::Unique => &mut self.unique,
            Keyspace::Index => &mut self.index,
        };
        match value {
            Some(value) => table.insert(key, value),
            None => table.remove(key),
        }
        .map_err(failed)?;
        Ok(())
    }
}
