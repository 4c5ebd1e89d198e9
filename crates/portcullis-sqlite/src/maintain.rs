//! Verifying, repairing, backing up.

use std::num::NonZeroUsize;
use std::path::Path;

use async_trait::async_trait;
use portcullis::store::{
    EntryCursor, EntryPage, Index, Kind, MaintenanceStore, StoreError, grants_of,
};
use portcullis::toolkit::relational::{Section, SectionCursor, table_name};
use portcullis::toolkit::{Unfinished, pages};
use rusqlite::{Connection, params};

use crate::error::Failure;
use crate::open::Location;
use crate::tables::TABLES;
use crate::{SqliteStore, rows, schema};

/// The most problems that are returned.
const MAX_PROBLEMS: usize = 100;

/// How many records are read at a time.
const PAGE: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

#[async_trait]
impl MaintenanceStore for SqliteStore {
    /// SQLite's `integrity_check`, and whether every index and trigger is there. This reads the
    /// whole file.
    async fn check_files(&self) -> Result<Vec<String>, StoreError> {
        self.readers.read(|connection| Ok(check(connection).map_err(Failure::from)?)).await
    }

    async fn entries(
        &self,
        after: Option<EntryCursor>,
        limit: NonZeroUsize,
    ) -> Result<EntryPage, StoreError> {
        let read = move |connection: &Connection| {
            Ok(entries(connection, after.as_ref(), limit.get()).map_err(Failure::from)?)
        };
        self.readers.read(read).await
    }

    /// SQLite's own indexes are rebuilt as well, and missing indexes and triggers of the schema are
    /// created. Commits wait meanwhile, reads do not.
    async fn rebuild_entries(&self) -> Result<(), StoreError> {
        self.refuse_if_read_only()?;
        self.writer.call(|committer| committer.in_transaction(rebuild)).await
    }

    /// The copy is a file with mode 0600 without remains of deleted data. It has an incarnation of its
    /// own, so positions of this store are foreign to it. Commits do not wait; another backup does. A
    /// backup whose future is dropped is made in full or not at all.
    async fn back_up(&self, to: &Path) -> Result<(), StoreError> {
        self.refuse_if_closed()?;
        let (location, to) = (self.location.clone(), to.to_owned());
        self.backups.run(move |is_alive| back_up(&location, &to, is_alive)).await
    }
}

fn check(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut check = connection.prepare(&format!("PRAGMA integrity_check({MAX_PROBLEMS})"))?;
    let found = check.query_map([], |row| row.get(0))?;
    let mut problems: Vec<String> = found.collect::<rusqlite::Result<_>>()?;
    problems.retain(|problem| problem != "ok");
    for (kind, name, _) in missing_objects(connection)? {
        problems.push(format!("the {kind} `{name}` is missing or not as it should be"));
    }
    problems.truncate(MAX_PROBLEMS);
    Ok(problems)
}

/// Returns kind, name and statement of each index and trigger that is missing or different.
fn missing_objects(connection: &Connection) -> rusqlite::Result<Vec<(String, String, String)>> {
    let mut new = Connection::open_in_memory()?;
    schema::migrate_all(&mut new)?;
    let mut all = new.prepare(
        "SELECT type, name, sql FROM sqlite_schema
         WHERE type IN ('index', 'trigger') AND sql IS NOT NULL",
    )?;
    let all = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut same =
        connection.prepare("SELECT 1 FROM sqlite_schema WHERE name = ?1 AND sql = ?2")?;
    let mut missing = Vec::new();
    for object in all {
        let object: (String, String, String) = object?;
        if !same.exists([&object.1, &object.2])? {
            missing.push(object);
        }
    }
    Ok(missing)
}

fn rebuild(connection: &Connection) -> Result<(), StoreError> {
    let sql = |error| StoreError::from(Failure::from(error));
    for (kind, name, create) in missing_objects(connection).map_err(sql)? {
        connection
            .execute_batch(&format!("DROP {kind} IF EXISTS {name}; {create}"))
            .map_err(sql)?;
    }
    connection.execute_batch("REINDEX; DELETE FROM grants;").map_err(sql)?;
    for table in TABLES.iter() {
        let mut grant = connection.prepare_cached(&table.grant).map_err(sql)?;
        let all = pages(PAGE, |page| rows::list(connection, Index::All(table.kind), page));
        for page in all {
            for record in &page?.records {
                for key in grants_of(record).unwrap_or_default() {
                    let added = grant.execute(params![record.id.to_string(), key.to_string()]);
                    added.map_err(sql)?;
                }
            }
        }
    }
    Ok(())
}

/// Key and id of the entries after the key `?1` and the id `?2`, in their order.
fn entries_sql(kind: Kind, section: Section) -> String {
    let (table, key) = (table_name(kind), section.column());
    let from = match section {
        Section::Grant => format!("grants WHERE kind = '{table}'"),
        Section::UniqueKey | Section::Org | Section::User => {
            format!("{table} WHERE {key} IS NOT NULL")
        }
    };
    format!(
        "SELECT {key}, id FROM {from} AND {key} >= ?1 AND ({key}, id) > (?1, ?2) ORDER BY {key}, id"
    )
}

/// Returns a page of the entries, one section after the other.
fn entries(
    connection: &Connection,
    after: Option<&EntryCursor>,
    limit: usize,
) -> rusqlite::Result<EntryPage> {
    let mut page = EntryPage::default();
    if after.is_none() {
        page.unreadable = of_no_table(connection)?;
    }
    let mut cursor = SectionCursor::from_cursor(after);
    for (number, (kind, section)) in Section::all().enumerate().skip(cursor.section) {
        let mut statement = connection.prepare_cached(&entries_sql(kind, section))?;
        let mut rows = statement.query([&cursor.key, &cursor.id])?;
        while let Some(row) = rows.next()? {
            let columns = (row.get_ref(0)?.as_str(), row.get_ref(1)?.as_str());
            let (Ok(key), Ok(id)) = columns else {
                page.unreadable += 1;
                continue;
            };
            let Some(entry) = section.entry(kind, key, id) else {
                page.unreadable += 1;
                continue;
            };
            page.entries.push(entry);
            // Only after an entry that can be read, so that each other one is counted once.
            if page.entries.len() == limit {
                let next = SectionCursor { section: number, key: key.into(), id: id.into() };
                page.next = Some(next.to_cursor());
                return Ok(page);
            }
        }
        cursor = SectionCursor::default();
    }
    Ok(page)
}

/// Counts the grants of tables that do not exist.
fn of_no_table(connection: &Connection) -> rusqlite::Result<usize> {
    let names = Kind::ALL.map(|kind| format!("'{}'", table_name(kind)));
    let names = names.join(", ");
    let sql = format!("SELECT count(*) FROM grants WHERE kind NOT IN ({names})");
    let count: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Uses `VACUUM INTO`, which reads one snapshot while other connections write. The online backup API
/// would restart at every commit of another process, and copy the remains of deleted data.
fn back_up(location: &Location, to: &Path, is_alive: impl Fn() -> bool) -> Result<(), StoreError> {
    // SQLite writes into a file that is there, if it is empty.
    let (to, unfinished, file) = Unfinished::backup_file(to)?;
    let copy = || -> rusqlite::Result<()> {
        let path = unfinished.path();
        let text = path.to_str().ok_or_else(|| rusqlite::Error::InvalidPath(path.to_owned()))?;
        location.connect()?.execute("VACUUM INTO ?1", [text])?;
        let copy = Connection::open(path)?;
        copy.execute_batch(
            "PRAGMA journal_mode = MEMORY;
             UPDATE meta SET value = lower(hex(randomblob(16))) WHERE name = 'incarnation';",
        )?;
        copy.close().map_err(|(_, error)| error)
    };
    copy().map_err(Failure::from)?;
    if !is_alive() {
        return Err(StoreError::unavailable("the backup was given up"));
    }
    file.sync_all().and_then(|()| unfinished.link_to(&to)).map_err(StoreError::backend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::plan;

    #[test]
    fn entries_are_walked_in_the_order_of_their_index() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate_all(&mut connection).unwrap();
        for (kind, section) in Section::all() {
            let plan = plan(&connection, &entries_sql(kind, section));
            let [step] = plan.as_slice() else { panic!("{plan:?}") };
            assert!(step.starts_with("SEARCH "), "{step}");
        }
    }
}
