//! The schema of a store: its format and its migrations.

use std::time::Duration;

use crate::connection::{Connection, response_within};
use crate::dialect::{self, BEGIN, COMMIT};
use crate::error::Failure;
use crate::tables::{Query, TABLES};

/// Each migrates a schema from the format of its index to the next format.
const MIGRATIONS: [&str; 3] = [
    include_str!("migrations/0001_records.sql"),
    include_str!("migrations/0002_dbrps.sql"),
    include_str!("migrations/0003_uses.sql"),
];

/// The format that this version reads and writes.
pub(crate) const FORMAT: i64 = MIGRATIONS.len() as i64;

/// How long a migration may take, and the wait for one by another node.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// The state of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SchemaState {
    /// It does not exist.
    Absent,
    /// It is not a store.
    Foreign,
    /// It is a store of this format.
    Store { format: i64 },
    /// The database cannot hold a store, for this reason.
    Unsuitable(&'static str),
}

/// Returns the state of the schema.
pub(crate) async fn identify(
    connection: &Connection,
    schema: &str,
) -> Result<SchemaState, Failure> {
    let row = connection.row(dialect::IDENTIFY, &[&schema]).await?;
    let (version, encoding): (i32, &str) = (row.try_get(0)?, row.try_get(1)?);
    if version < dialect::OLDEST_VERSION {
        return Ok(SchemaState::Unsuitable("its server is older than PostgreSQL 13: upgrade it"));
    }
    if encoding != "UTF8" {
        return Ok(SchemaState::Unsuitable("its encoding is not UTF8: create one that has it"));
    }
    Ok(match (row.try_get(2)?, row.try_get(3)?) {
        (false, _) => SchemaState::Absent,
        (true, false) => SchemaState::Foreign,
        (true, true) => match format(connection).await? {
            Some(format) => SchemaState::Store { format },
            None => SchemaState::Foreign,
        },
    })
}

/// Returns the format that the schema declares, if any.
async fn format(connection: &Connection) -> Result<Option<i64>, Failure> {
    let rows = connection.rows("SELECT value FROM meta WHERE name = 'format'", &[]).await?;
    let text: Option<&str> = rows.first().map(|row| row.try_get(0)).transpose()?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// Creates or migrates the store, and tells whether it was created. If several nodes do so at once,
/// this is true in one of them.
pub(crate) async fn migrate(connection: &Connection, schema: &str) -> Result<bool, Failure> {
    let run = async |sql: &str| {
        response_within(MIGRATION_TIMEOUT, connection.client().batch_execute(sql)).await
    };
    run(BEGIN).await?;
    run(dialect::LOCK_MIGRATIONS).await?;
    // Migrations by other nodes are visible from here on.
    let format = match identify(connection, schema).await? {
        SchemaState::Absent => {
            run(&format!("CREATE SCHEMA \"{schema}\"")).await?;
            0
        }
        SchemaState::Store { format } => format,
        SchemaState::Foreign | SchemaState::Unsuitable(_) => FORMAT,
    };
    let done = usize::try_from(format).unwrap_or(MIGRATIONS.len());
    // All in one transaction: no store is created in part.
    for migration in MIGRATIONS.iter().skip(done) {
        run(migration).await?;
    }
    if format < FORMAT {
        run(&format!("UPDATE meta SET value = '{FORMAT}' WHERE name = 'format'")).await?;
    }
    run(COMMIT).await?;
    Ok(format == 0)
}

/// Checks that all tables exist and may be used, by preparing statements on them.
pub(crate) async fn check(connection: &mut Connection) -> Result<(), Failure> {
    for table in TABLES.iter() {
        for query in [Query::ById, Query::OfGrant, Query::Insert, Query::Update, Query::Delete] {
            connection.prepared(table, query).await?;
        }
    }
    Ok(())
}
