//! What is specific to PostgreSQL among engines with its wire protocol: how a session is set up, how
//! nodes wait for each other, and how the change feed finds what was committed since the last poll.

use std::time::Duration;

use tokio_postgres::Row;

/// The oldest supported version: the first with a type for 64-bit transaction ids.
pub(crate) const OLDEST_VERSION: i32 = 130_000;

/// Begins every transaction that writes.
///
/// Sessions are read-only outside of transactions: the statements of a batch are sent without waiting
/// for the response to this one, and must not be executed on their own if it fails.
pub(crate) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// Ends it. No timeout may apply: it would only cancel PostgreSQL's wait for the standbys.
pub(crate) const COMMIT: &str = "SET LOCAL statement_timeout = 0; COMMIT";

pub(crate) const ROLLBACK: &str = "ROLLBACK";

/// Returns the statements that set a session up. They affect no other session.
pub(crate) fn session(schema: &str, statement_timeout: Duration) -> String {
    let limit = statement_timeout.as_millis();
    format!(
        "SET search_path TO \"{schema}\"; \
         SET client_min_messages TO warning; \
         SET statement_timeout TO {limit}; \
         SET lock_timeout TO {limit}; \
         SET idle_in_transaction_session_timeout TO {}; \
         SET default_transaction_read_only TO on; \
         SET jit TO off; \
         SET portcullis.session TO node; \
         SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') = 'off'",
        2 * limit
    )
}

/// Also sets up the session that [polls](POLL) for changes.
///
/// The changes to find are at the end of the index, which the planner's statistics do not cover yet.
/// The session writes nothing, and reports when the server becomes read-only.
pub(crate) const POLL_SESSION: &str = "SET plan_cache_mode TO force_custom_plan; SET enable_seqscan TO off; \
     RESET default_transaction_read_only";

/// Selects the server's version and encoding, whether there is a schema `$1`, and whether it has a
/// table `meta`.
pub(crate) const IDENTIFY: &str = "SELECT current_setting('server_version_num')::int, \
         current_setting('server_encoding'), \
         EXISTS (SELECT FROM pg_namespace WHERE nspname = $1), \
         EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = 'meta')";

/// Waits for migrations by other nodes in this database, and locks them out in this transaction.
pub(crate) const LOCK_MIGRATIONS: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
     SELECT pg_advisory_xact_lock(5793171302174064244)";

/// Selects the [history](History) and the database of the connection, and whether the database is
/// read-only by configuration. The history of a connection to a primary never changes; a standby has
/// none.
pub(crate) const HISTORY: &str = "SELECT concat_ws(' ', \
         (SELECT oid FROM pg_database WHERE datname = current_database()), \
         CASE WHEN has_function_privilege('pg_control_system()', 'execute') \
             THEN (SELECT system_identifier FROM pg_control_system()) END), \
         CASE WHEN NOT pg_is_in_recovery() \
         THEN substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END, \
     (SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_read_only') = 'on'";

/// Selects what was committed since an earlier poll, and what the next poll needs.
///
/// A snapshot is the set of visible transactions. What is visible now and was not at the earlier poll
/// was committed in between: the changes of transactions that had not begun (`$1` and later) or were
/// in progress (`$2`). No wait is needed. `$3` are the batches to skip, `$4` is the most changes to
/// select.
///
/// `seq` is the order in which the changes of one record were made, because a record is locked before
/// its change is recorded. It is not the order of commits: never read by `seq >`.
pub(crate) const POLL: &str = "SELECT h.snapshot, h.store, h.trimmed, c.batch, c.kind, c.id, \
         current_setting('default_transaction_read_only') = 'on' AS read_only \
     FROM (SELECT pg_current_snapshot()::text AS snapshot, \
             concat_ws(' ', to_regclass('changes')::oid, \
                 (SELECT value FROM meta WHERE name = 'incarnation')) AS store, \
             (SELECT value FROM meta WHERE name = 'trimmed') AS trimmed) AS h \
     LEFT JOIN (SELECT n.seq, n.batch, n.kind, n.id FROM changes AS n \
             WHERE (n.xid >= $1 OR n.xid = ANY ($2)) AND (n.batch IS NULL OR n.batch <> ALL ($3)) \
             ORDER BY n.seq LIMIT $4) AS c ON true \
     ORDER BY c.seq";

/// Selects the state that a feed begins with: as [`POLL`], without changes.
pub(crate) const POLL_START: &str = "SELECT pg_current_snapshot()::text, \
     concat_ws(' ', to_regclass('changes')::oid, \
         (SELECT value FROM meta WHERE name = 'incarnation')), \
     (SELECT value FROM meta WHERE name = 'trimmed'), \
     current_setting('default_transaction_read_only') = 'on' AS read_only";

/// Locks the trimming of changes in this transaction, and returns false if another node does it.
pub(crate) const MAY_TRIM: &str = "SELECT pg_try_advisory_xact_lock(5793171302174064245)";

/// Deletes at most `$2` of the oldest changes that are older than `$1` seconds, and returns how many.
/// The same statement records up to which transaction changes were deleted.
pub(crate) const TRIM: &str = "WITH gone AS (DELETE FROM changes AS c USING \
             (SELECT xid, seq, at FROM changes ORDER BY xid, seq LIMIT $2) AS oldest \
             WHERE c.xid = oldest.xid AND c.seq = oldest.seq \
             AND oldest.at < now() - make_interval(secs => $1) RETURNING c.xid), \
         noted AS (UPDATE meta SET value = \
             greatest(value::bigint, (SELECT max(xid) FROM gone))::text \
             WHERE name = 'trimmed' AND EXISTS (SELECT FROM gone)) \
     SELECT count(*) FROM gone";

/// A history of a database. A restore, or the promotion of a standby, begins another one, with other
/// transaction numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    database: String,
    /// A hexadecimal number, which every promotion increments.
    timeline: String,
}

impl History {
    /// Reads the row of [`HISTORY`]. `None` for a standby.
    pub(crate) fn read(row: &Row) -> Result<Option<Self>, tokio_postgres::Error> {
        let (database, timeline): (_, Option<_>) = (row.try_get(0)?, row.try_get(1)?);
        Ok(timeline.map(|timeline| Self { database, timeline }))
    }

    /// Tells whether a primary with this history was replaced by one with the other.
    pub(crate) fn is_before(&self, other: &Self) -> bool {
        self.database == other.database && self.timeline < other.timeline
    }

    #[cfg(test)]
    pub(crate) fn new(database: &str, timeline: u32) -> Self {
        Self { database: database.to_owned(), timeline: format!("{timeline:08X}") }
    }
}

/// The set of transactions that are visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// The first transaction that had not begun.
    pub(crate) next: i64,
    /// The earlier ones that were in progress, ascending.
    pub(crate) in_progress: Vec<i64>,
}

impl Snapshot {
    /// Parses `xmin:xmax:xip,xip…`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':').skip(1);
        let next = parts.next()?.parse().ok()?;
        let in_progress = match parts.next()? {
            "" => Vec::new(),
            list => list.split(',').map(|xid| xid.parse().ok()).collect::<Option<_>>()?,
        };
        Some(Self { next, in_progress })
    }

    /// Tells whether all changes that were committed between this snapshot and the later one are
    /// retained, although changes of transactions up to `trimmed` may have been deleted.
    pub(crate) fn reaches(&self, later: &Self, trimmed: i64) -> bool {
        // A transaction in progress for longer than the retention may have been trimmed as soon
        // as it was committed.
        let is_done = |xid: &&i64| !later.in_progress.contains(xid);
        let trimmed_since = self.in_progress.iter().filter(is_done).any(|xid| *xid <= trimmed);
        trimmed < self.next && !trimmed_since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(next: i64, in_progress: &[i64]) -> Snapshot {
        Snapshot { next, in_progress: in_progress.to_vec() }
    }

    #[test]
    fn a_primary_is_replaced_by_a_later_timeline_of_the_same_database() {
        let old = History::new("a", 9);
        assert!(old.is_before(&History::new("a", 16)));
        assert!(!old.is_before(&old));
        assert!(!History::new("a", 16).is_before(&old));
        assert!(!old.is_before(&History::new("b", 16)));
    }

    #[test]
    fn snapshots_are_parsed() {
        assert_eq!(Snapshot::parse("725:725:"), Some(snapshot(725, &[])));
        assert_eq!(Snapshot::parse("3:9:3,7"), Some(snapshot(9, &[3, 7])));
        for text in ["", "1", "1:2", "1:x:", "1:2:x", "1:2:3,"] {
            assert_eq!(Snapshot::parse(text), None, "{text}");
        }
    }

    #[test]
    fn trimming_loses_only_changes_that_the_snapshot_has_not_seen() {
        let then = snapshot(9, &[3, 7]);
        let still = snapshot(20, &[3, 7]);
        assert!(then.reaches(&still, 8));
        assert!(!then.reaches(&still, 9));
        assert!(then.reaches(&snapshot(20, &[7]), 2));
        assert!(!then.reaches(&snapshot(20, &[7]), 3), "3 has ended and may be trimmed");
    }
}
