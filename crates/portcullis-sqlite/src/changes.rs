//! The numbered changes in the file, which each process that has it open reads and announces.
//!
//! They are written in the transaction of the change. The number of a change is its sequence in the
//! feed, the same in every process.

use portcullis::Id;
use portcullis::store::Kind;
use portcullis::toolkit::{Feed, relational::kind_of_table};
use rusqlite::{Connection, Row};

use crate::tables::Table;

/// The least number of changes that the file keeps: as many as a [`Feed`].
pub(crate) const RETAINED: i64 = Feed::CAPACITY as i64;

/// How many changes are deleted at a time, so that not every commit deletes some.
const TRIM_AT_ONCE: i64 = 1_024;

const NOTE: &str = "INSERT INTO changes (kind, id) VALUES (?1, ?2)";
const LAST: &str = "SELECT coalesce(max(seq), 0) FROM changes";
const AFTER: &str = "SELECT seq, kind, id FROM changes WHERE seq > ?1 ORDER BY seq";
const RECENT: &str = "SELECT seq, kind, id FROM changes ORDER BY seq DESC LIMIT ?1";
const TRIM: &str = "DELETE FROM changes WHERE seq <= ?1";

/// The changes committed after a sequence.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NewChanges {
    /// The changes, in order; `None` if some of them are lost.
    pub(crate) changes: Option<Vec<(Kind, Id)>>,
    /// The sequence of the last one.
    pub(crate) last: i64,
}

/// Logs that the row was inserted. Triggers log updates and deletions.
pub(crate) fn log_insert(connection: &Connection, table: &Table, id: &str) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(NOTE)?;
    insert.execute([table.name, id]).map(drop)
}

/// Returns the sequence of the last change.
pub(crate) fn last(connection: &Connection) -> rusqlite::Result<i64> {
    let mut last = connection.prepare_cached(LAST)?;
    last.query_row([], |row| row.get(0))
}

/// Reads the changes after the sequence.
pub(crate) fn after(connection: &Connection, sequence: i64) -> rusqlite::Result<NewChanges> {
    let mut statement = connection.prepare_cached(AFTER)?;
    let mut rows = statement.query([sequence])?;
    let mut changes = Some(Vec::new());
    let mut last = sequence;
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        changes = match (changes, change(row)) {
            (Some(mut changes), Some(change)) if seq == last.saturating_add(1) => {
                changes.push(change);
                Some(changes)
            }
            _ => None,
        };
        last = seq;
    }
    Ok(NewChanges { changes, last })
}

/// Returns the latest changes without a gap, in order, and the last sequence.
pub(crate) fn recent(connection: &Connection) -> rusqlite::Result<(Vec<(Kind, Id)>, i64)> {
    let mut statement = connection.prepare_cached(RECENT)?;
    let mut rows = statement.query([RETAINED])?;
    let mut changes = Vec::new();
    let mut last: Option<i64> = None;
    let mut next = None;
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        last = last.or(Some(seq));
        match change(row) {
            Some(change) if next.is_none_or(|next| next == seq) => changes.push(change),
            _ => break,
        }
        next = seq.checked_sub(1);
    }
    changes.reverse();
    Ok((changes, last.unwrap_or(0)))
}

/// Deletes old changes whenever the last sequence passes a multiple of [`TRIM_AT_ONCE`]. Never the
/// last change: it holds the number.
pub(crate) fn trim(connection: &Connection, before: i64, last: i64) -> rusqlite::Result<()> {
    if before / TRIM_AT_ONCE != last / TRIM_AT_ONCE {
        let mut delete = connection.prepare_cached(TRIM)?;
        delete.execute([last.saturating_sub(RETAINED)])?;
    }
    Ok(())
}

/// Continues from the sequence if the file ends before it, which means that an older state of the
/// file was restored while it was open.
///
/// The entry names no table, so every process that reads it resyncs.
pub(crate) fn continue_from(connection: &Connection, sequence: i64) -> rusqlite::Result<()> {
    if last(connection)? < sequence {
        let mut skip = connection
            .prepare_cached("INSERT INTO changes (seq, kind, id) VALUES (?1, 'restored', '')")?;
        skip.execute([sequence.saturating_add(1)])?;
    }
    Ok(())
}

fn change(row: &Row<'_>) -> Option<(Kind, Id)> {
    let kind = kind_of_table(row.get_ref(1).ok()?.as_str().ok()?)?;
    let id = Id::from_digits(row.get_ref(2).ok()?.as_bytes().ok()?)?;
    Some((kind, id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::plan;

    fn connection(places: impl IntoIterator<Item = i64>) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        let table = "CREATE TABLE changes (seq INTEGER PRIMARY KEY, kind TEXT, id TEXT)";
        connection.execute_batch(table).unwrap();
        let insert = "INSERT INTO changes (seq, kind, id) VALUES (?1, 'users', ?2)";
        let mut insert = connection.prepare(insert).unwrap();
        for sequence in places {
            insert.execute(rusqlite::params![sequence, format!("{sequence:016x}")]).unwrap();
        }
        drop(insert);
        connection
    }

    fn users(places: impl IntoIterator<Item = u64>) -> Vec<(Kind, Id)> {
        let users = places.into_iter().map(|id| (Kind::User, Id::from_u64(id)));
        users.collect()
    }

    fn news(changes: Option<Vec<(Kind, Id)>>, last: i64) -> NewChanges {
        NewChanges { changes, last }
    }

    #[test]
    fn new_changes_follow_the_sequence_without_a_gap() {
        let connection = connection([5, 6, 7, 9]);
        let after = |sequence| after(&connection, sequence).unwrap();
        assert_eq!(after(3), news(None, 9));
        assert_eq!(after(6), news(None, 9));
        assert_eq!(after(8), news(Some(users([9])), 9));
        assert_eq!(after(9), news(Some(vec![]), 9));
    }

    #[test]
    fn recent_changes_end_at_a_gap() {
        let recent = |places: &[i64]| recent(&connection(places.iter().copied())).unwrap();
        assert_eq!(recent(&[]), (vec![], 0));
        assert_eq!(recent(&[1, 2]), (users([1, 2]), 2));
        assert_eq!(recent(&[5, 7, 8]), (users([7, 8]), 8));
    }

    #[test]
    fn a_change_of_an_unknown_kind_is_not_announced() {
        let connection = connection([1, 2, 3]);
        let unknown = "UPDATE changes SET kind = 'groups' WHERE seq = 2";
        connection.execute(unknown, []).unwrap();
        assert_eq!(after(&connection, 0).unwrap(), news(None, 3));
        assert_eq!(after(&connection, 2).unwrap(), news(Some(users([3])), 3));
        assert_eq!(recent(&connection).unwrap(), (users([3]), 3));
    }

    #[test]
    fn trimming_keeps_what_a_feed_keeps_and_always_the_last() {
        let places = RETAINED + TRIM_AT_ONCE;
        let connection = connection(1..=places);
        let count = || -> i64 {
            connection.query_row("SELECT count(*) FROM changes", [], |row| row.get(0)).unwrap()
        };
        // Not at every commit.
        trim(&connection, places, places + 1).unwrap();
        assert_eq!(count(), places);
        trim(&connection, places - 1, places).unwrap();
        assert_eq!(count(), RETAINED);
        assert_eq!(last(&connection).unwrap(), places);
    }

    #[test]
    fn every_statement_is_a_search_by_sequence() {
        let connection = connection([]);
        let plan = |sql: &str| plan(&connection, sql);
        assert_eq!(plan(NOTE), [""; 0]);
        // One step, to the highest sequence.
        assert_eq!(plan(LAST), ["SEARCH changes"]);
        assert_eq!(plan(AFTER), ["SEARCH changes USING INTEGER PRIMARY KEY (rowid>?)"]);
        assert_eq!(plan(TRIM), ["SEARCH changes USING INTEGER PRIMARY KEY (rowid<?)"]);
        // From the end, and no further than is read.
        assert_eq!(plan(RECENT), ["SCAN changes"]);
    }

    #[test]
    fn an_older_state_counts_on_from_the_newer_one() {
        let connection = connection([1, 2]);
        continue_from(&connection, 2).unwrap();
        assert_eq!(after(&connection, 2).unwrap(), news(Some(vec![]), 2));
        continue_from(&connection, 7).unwrap();
        assert_eq!(after(&connection, 7).unwrap(), news(None, 8));
    }
}
