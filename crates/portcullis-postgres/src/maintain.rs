//! Verifies and repairs a store. Backups are left to PostgreSQL's own tools.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use portcullis::store::{
    EntryCursor, EntryPage, Index, Kind, MaintenanceStore, PageRequest, StoreError, grants_of,
};
use portcullis::toolkit::relational::{Section, SectionCursor, table_name};
use tokio_postgres::types::ToSql;

use crate::PostgresStore;
use crate::connection::{Connection, response_within};
use crate::dialect::{BEGIN, COMMIT, ROLLBACK};
use crate::error::Failure;
use crate::escape;
use crate::rows::{self, ReadError};
use crate::tables::TABLES;

/// The most problems that are returned.
const MAX_PROBLEMS: usize = 100;

/// How many records are read at a time.
const PAGE: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// How long the maintenance of a large store may take.
const MAINTENANCE_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

#[async_trait]
impl MaintenanceStore for PostgresStore {
    /// Checks that every index and trigger exists and is enabled. If the extension `amcheck` is
    /// installed in the database and may be used, also checks that the indexes match the tables.
    async fn check_files(&self) -> Result<Vec<String>, StoreError> {
        self.read(|connection| Box::pin(async { Ok(check(connection).await?) })).await
    }

    /// Grants are a table of entries. All other entries are columns of the records' tables, which
    /// PostgreSQL indexes itself.
    async fn entries(
        &self,
        after: Option<EntryCursor>,
        limit: NonZeroUsize,
    ) -> Result<EntryPage, StoreError> {
        self.read(move |connection| {
            let after = after.clone();
            Box::pin(async move { Ok(entries(connection, after.as_ref(), limit.get()).await?) })
        })
        .await
    }

    /// Rebuilds PostgreSQL's own indexes as well, for which the database user must own the tables.
    /// Reads and commits wait meanwhile.
    async fn rebuild_entries(&self) -> Result<(), StoreError> {
        let mut lease = self.pool.take_to_write().await?;
        // On any failure the connection ends, and the transaction with it.
        rebuild(lease.for_transaction()?).await?;
        lease.end_transaction();
        Ok(())
    }

    /// Not supported: always returns an error.
    async fn back_up(&self, _: &Path) -> Result<(), StoreError> {
        self.refuse_if_closed()?;
        let schema = &self.schema;
        Err(StoreError::backend(format!(
            "this store makes no backups: use `pg_dump --schema={schema}`, or continuous archiving"
        )))
    }
}

const INVALID_INDEXES: &str = "SELECT c.relname::text FROM pg_index AS i \
     JOIN pg_class AS c ON c.oid = i.indexrelid \
     WHERE c.relnamespace = current_schema()::regnamespace AND NOT (i.indisvalid AND i.indisready)";

const INDEXES: &str = "SELECT c.relname::text FROM pg_class AS c \
     WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'i' ORDER BY 1";

const TRIGGERS: &str = "SELECT t.tgname::text FROM pg_trigger AS t \
     JOIN pg_class AS c ON c.oid = t.tgrelid \
     WHERE c.relnamespace = current_schema()::regnamespace AND t.tgenabled <> 'D'";

/// Selects the schema of `amcheck`, if it is installed and may be used.
const AMCHECK: &str = "SELECT quote_ident(n.nspname) FROM pg_extension AS e \
     JOIN pg_namespace AS n ON n.oid = e.extnamespace \
     JOIN pg_proc AS p ON p.pronamespace = n.oid \
     WHERE e.extname = 'amcheck' AND p.proname = 'bt_index_check' AND p.pronargs = 2 \
     AND has_function_privilege(p.oid, 'execute')";

async fn check(connection: &mut Connection) -> Result<Vec<String>, Failure> {
    let mut problems = Vec::new();
    for index in names(connection, INVALID_INDEXES).await? {
        problems.push(format!("the index `{index}` is not valid"));
    }
    let indexes = names(connection, INDEXES).await?;
    let triggers = names(connection, TRIGGERS).await?;
    let mut expected = vec!["grants_pkey".to_owned(), "grants_by_id".to_owned()];
    expected.push("changes_pkey".to_owned());
    for table in TABLES.iter() {
        let name = table.name;
        for suffix in ["pkey", "by_unique_key", "by_org", "by_user"] {
            expected.push(format!("{name}_{suffix}"));
        }
        for trigger in [format!("{name}_change"), format!("{name}_truncation")] {
            if !triggers.contains(&trigger) {
                problems.push(format!("the trigger `{trigger}` is missing or disabled"));
            }
        }
    }
    for index in expected.iter().filter(|index| !indexes.contains(index)) {
        problems.push(format!("the index `{index}` is missing"));
    }
    if let Some(amcheck) = names(connection, AMCHECK).await?.first() {
        for index in &indexes {
            let check = format!(
                "BEGIN; SET LOCAL statement_timeout = 0; \
                         SELECT {amcheck}.bt_index_check('\"{index}\"'::regclass, true); {COMMIT}"
            );
            let checked =
                response_within(MAINTENANCE_TIMEOUT, connection.client().batch_execute(&check))
                    .await;
            match checked {
                Ok(()) => {}
                Err(failure) if failure.ends_connection() => return Err(failure),
                Err(failure) => {
                    connection.run(ROLLBACK).await?;
                    problems.push(format!("the index `{index}`: {failure}"));
                }
            }
        }
    } else {
        tracing::info!(
            "the extension `amcheck` is not installed: indexes are not compared with tables"
        );
    }
    problems.truncate(MAX_PROBLEMS);
    Ok(problems)
}

async fn names(connection: &Connection, sql: &str) -> Result<Vec<String>, Failure> {
    let rows = connection.rows(sql, &[]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

async fn rebuild(connection: &mut Connection) -> Result<(), StoreError> {
    let all: Vec<_> = TABLES.iter().map(|table| table.name).chain(["grants"]).collect();
    let lock = format!(
        "{BEGIN}; SET LOCAL statement_timeout = 0; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE; \
         DELETE FROM grants",
        all.join(", ")
    );
    let run = async |connection: &Connection, sql: &str| {
        response_within(MAINTENANCE_TIMEOUT, connection.client().batch_execute(sql)).await
    };
    run(connection, &lock).await?;
    for table in &all {
        run(connection, &format!("REINDEX TABLE {table}")).await?;
    }
    for table in TABLES.iter() {
        let insert = format!(
            "INSERT INTO grants (kind, grant_key, id) SELECT '{}', g.grant_key, g.id \
             FROM unnest($1::text[], $2::text[]) AS g (id, grant_key) ON CONFLICT DO NOTHING",
            table.name
        );
        let insert = connection.within_timeout(connection.client().prepare(&insert)).await?;
        let mut after = None;
        loop {
            let request = PageRequest { after, limit: PAGE };
            let page = match rows::list(connection, Index::All(table.kind), request).await {
                Ok(page) => page,
                Err(ReadError::Failed(failure)) => return Err(failure.into()),
                Err(ReadError::Refused(error)) => return Err(error),
            };
            let (mut ids, mut keys) = (Vec::new(), Vec::new());
            for record in &page.records {
                for key in grants_of(record).unwrap_or_default() {
                    ids.push(record.id.to_string());
                    keys.push(key.to_string());
                }
            }
            if !ids.is_empty() {
                let parameters: [&(dyn ToSql + Sync); 2] = [&ids, &keys];
                let inserted = connection.client().execute(&insert, &parameters);
                response_within(MAINTENANCE_TIMEOUT, inserted).await?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    // If this commit is ambiguous, nothing is lost: the rebuild can be repeated.
    connection.run(COMMIT).await.map_err(StoreError::indeterminate)
}

/// Selects key and id of the entries after the key `$1` and the id `$2`, in order.
fn entries_sql(kind: Kind, section: Section) -> String {
    let (table, column) = (table_name(kind), section.column());
    match section {
        Section::Grant => format!(
            "SELECT {column}, id FROM grants WHERE kind = '{table}' \
             AND ({column}, id) > ($1, $2) ORDER BY {column}, id"
        ),
        // In the order of ids: a unique key may exceed the size of an index entry, so that only its
        // digest is indexed. The key of the last entry is not needed then.
        Section::UniqueKey | Section::Org | Section::User => format!(
            "SELECT {column}, id FROM {table} WHERE {column} IS NOT NULL AND id > $2 \
             AND $1::text IS NOT NULL ORDER BY id"
        ),
    }
}

/// Reads one section of one table after the other.
async fn entries(
    connection: &mut Connection,
    after: Option<&EntryCursor>,
    limit: usize,
) -> Result<EntryPage, Failure> {
    let mut page = EntryPage::default();
    if after.is_none() {
        page.unreadable = count_grants_without_table(connection).await?;
    }
    let mut cursor = SectionCursor::from_cursor(after);
    for (number, (kind, section)) in Section::all().enumerate().skip(cursor.section) {
        let room = limit - page.entries.len();
        let sql = format!("{} LIMIT {room}", entries_sql(kind, section));
        loop {
            let rows = connection.rows(&sql, &[&cursor.key, &cursor.id]).await?;
            let Some(last) = rows.last() else { break };
            for row in &rows {
                let (key, id): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
                match escape::unescape(key).and_then(|key| section.entry(kind, &key, id)) {
                    Some(entry) => page.entries.push(entry),
                    None => page.unreadable += 1,
                }
            }
            cursor = SectionCursor { section: number, key: last.try_get(0)?, id: last.try_get(1)? };
            if page.entries.len() >= limit {
                page.next = Some(cursor.to_cursor());
                return Ok(page);
            }
            if rows.len() < room {
                break;
            }
        }
        cursor = SectionCursor::default();
    }
    Ok(page)
}

/// Returns how many grants name a table that does not exist.
async fn count_grants_without_table(connection: &Connection) -> Result<usize, Failure> {
    let names: Vec<_> = TABLES.iter().map(|table| table.name).collect();
    let count = "SELECT count(*) FROM grants WHERE kind <> ALL ($1)";
    let count: i64 = connection.row(count, &[&names]).await?.try_get(0)?;
    Ok(usize::try_from(count).unwrap_or(0))
}
