//! What makes a schema of a database a store of ours: its format, its migrations.

use std::time::Duration;

use crate::connection::{Connection, answer_within};
use crate::dialect::{self, BEGIN, COMMIT};
use crate::error::Failure;
use crate::tables::{Ask, TABLES};

/// Each brings a schema from the format of its index to the next.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001_records.sql")];

/// The format that this version reads and writes.
pub(crate) const FORMAT: i64 = MIGRATIONS.len() as i64;

/// How long a migration may take, and waiting for another node's.
const MIGRATION: Duration = Duration::from_secs(24 * 60 * 60);

/// What a schema is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// None at all.
    Absent,
    /// One of something else.
    Foreign,
    /// A store of the format.
    Store { format: i64 },
    /// In a database that cannot be used, for the reason given.
    Unsuitable(&'static str),
}

/// Looks what the schema is.
pub(crate) async fn identify(connection: &Connection, schema: &str) -> Result<Found, Failure> {
    let row = connection.row(dialect::IDENTIFY, &[&schema]).await?;
    let (version, encoding): (i32, &str) = (row.try_get(0)?, row.try_get(1)?);
    if version < dialect::OLDEST_VERSION {
        return Ok(Found::Unsuitable("its server is older than PostgreSQL 13: upgrade it"));
    }
    if encoding != "UTF8" {
        return Ok(Found::Unsuitable("its encoding is not UTF8: create one that has it"));
    }
    Ok(match (row.try_get(2)?, row.try_get(3)?) {
        (false, _) => Found::Absent,
        (true, false) => Found::Foreign,
        (true, true) => match format(connection).await? {
            Some(format) => Found::Store { format },
            None => Found::Foreign,
        },
    })
}

/// Returns the format that the schema says it has, unless it says none.
async fn format(connection: &Connection) -> Result<Option<i64>, Failure> {
    let rows = connection.rows("SELECT value FROM meta WHERE name = 'format'", &[]).await?;
    let text: Option<&str> = rows.first().map(|row| row.try_get(0)).transpose()?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// Makes what is absent or older a store of today's format, and tells whether there was none before.
/// Of several nodes that do so at once, one is told so.
pub(crate) async fn migrate(connection: &Connection, schema: &str) -> Result<bool, Failure> {
    let run =
        async |sql: &str| answer_within(MIGRATION, connection.client().batch_execute(sql)).await;
    let mut created = false;
    loop {
        run(BEGIN).await?;
        run(dialect::LOCK_MIGRATIONS).await?;
        // What another node has done meanwhile is seen from here on.
        let format = match identify(connection, schema).await? {
            Found::Absent => {
                run(&format!("CREATE SCHEMA \"{schema}\"")).await?;
                0
            }
            Found::Store { format } => format,
            Found::Foreign | Found::Unsuitable(_) => FORMAT,
        };
        let index = usize::try_from(format).ok();
        let Some(migration) = index.and_then(|index| MIGRATIONS.get(index)) else {
            run(COMMIT).await?;
            return Ok(created);
        };
        run(migration).await?;
        let next = format + 1;
        run(&format!("UPDATE meta SET value = '{next}' WHERE name = 'format'")).await?;
        run(COMMIT).await?;
        created |= format == 0;
    }
}

/// Finds out whether every table is there as it should be, and may be used.
pub(crate) async fn check(connection: &mut Connection) -> Result<(), Failure> {
    for table in TABLES.iter() {
        for ask in [Ask::ById, Ask::OfGrant, Ask::Insert, Ask::Update, Ask::Delete] {
            connection.prepared(table, ask).await?;
        }
    }
    Ok(())
}
