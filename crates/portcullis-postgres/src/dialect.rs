//! What is PostgreSQL's own, and would be something else on another engine that speaks its
//! protocol: how a session is set up, how one node waits for another, and how the feed of changes
//! finds out what was committed since it looked the last time.

use std::time::Duration;

use tokio_postgres::Row;

/// The oldest version with all that is used: 64-bit transaction ids as a type.
pub(crate) const OLDEST_VERSION: i32 = 130_000;

/// Begins every transaction that writes.
///
/// Outside of one, a session may not write: the statements of a batch are sent without waiting for
/// the answer to this, and if this should fail, none of them may be carried out on its own.
pub(crate) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// Ends it. The timeout must not strike now: PostgreSQL would only stop waiting for its standbys.
pub(crate) const COMMIT: &str = "SET LOCAL statement_timeout = 0; COMMIT";

pub(crate) const ROLLBACK: &str = "ROLLBACK";

/// Sets up a session. Nothing of it changes what other sessions do.
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

/// Sets up the session that [looks](NEWS) for changes, besides.
///
/// What there is to find is at the end of the index, and statistics of yesterday do not know it. It
/// writes nothing, and is told when the server becomes read-only.
pub(crate) const LOOKING: &str = "SET plan_cache_mode TO force_custom_plan; SET enable_seqscan TO off; \
     RESET default_transaction_read_only";

/// What the server is, and what is there: its version, its encoding, whether there is a schema `$1`,
/// and a table `meta` in it.
pub(crate) const IDENTIFY: &str = "SELECT current_setting('server_version_num')::int, \
         current_setting('server_encoding'), \
         EXISTS (SELECT FROM pg_namespace WHERE nspname = $1), \
         EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = 'meta')";

/// Waits until no other node migrates a store in this database, until the transaction ends.
pub(crate) const LOCK_MIGRATIONS: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
     SELECT pg_advisory_xact_lock(5793171302174064244)";

/// Which [history](History) of which database the connection works on, and whether its operator has
/// made it read-only. A connection to a primary never sees its history change; a standby has none.
pub(crate) const HISTORY: &str = "SELECT concat_ws(' ', \
         (SELECT oid FROM pg_database WHERE datname = current_database()), \
         CASE WHEN has_function_privilege('pg_control_system()', 'execute') \
             THEN (SELECT system_identifier FROM pg_control_system()) END), \
         CASE WHEN NOT pg_is_in_recovery() \
         THEN substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END, \
     (SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_read_only') = 'on'";

/// What was committed since an earlier look, and what the next one needs to know.
///
/// A snapshot is the set of transactions that can be seen. What can be seen now and could not be
/// seen then was committed in between: the changes of transactions that had not begun (`$1` and
/// later) or were under way (`$2`). Nothing has to be waited for. `$3` are the batches that need
/// not be told, `$4` is how many changes are of use.
///
/// `seq` is the order in which the changes of one record were made: a record is locked before its
/// change is noted. It is not the order of commits, which is why nothing is ever read by `seq >`.
pub(crate) const NEWS: &str = "SELECT h.snapshot, h.store, h.trimmed, c.batch, c.kind, c.id, \
         current_setting('default_transaction_read_only') = 'on' AS read_only \
     FROM (SELECT pg_current_snapshot()::text AS snapshot, \
             concat_ws(' ', to_regclass('changes')::oid, \
                 (SELECT value FROM meta WHERE name = 'incarnation')) AS store, \
             (SELECT value FROM meta WHERE name = 'trimmed') AS trimmed) AS h \
     LEFT JOIN (SELECT n.seq, n.batch, n.kind, n.id FROM changes AS n \
             WHERE (n.xid >= $1 OR n.xid = ANY ($2)) AND (n.batch IS NULL OR n.batch <> ALL ($3)) \
             ORDER BY n.seq LIMIT $4) AS c ON true \
     ORDER BY c.seq";

/// Where a feed begins: as [`NEWS`], without changes.
pub(crate) const NOW: &str = "SELECT pg_current_snapshot()::text, \
     concat_ws(' ', to_regclass('changes')::oid, \
         (SELECT value FROM meta WHERE name = 'incarnation')), \
     (SELECT value FROM meta WHERE name = 'trimmed'), \
     current_setting('default_transaction_read_only') = 'on' AS read_only";

/// Lets one node at a time go on.
pub(crate) const MAY_TRIM: &str = "SELECT pg_try_advisory_xact_lock(5793171302174064245)";

/// Deletes at most `$2` of the oldest changes that are older than `$1` seconds, and returns how many
/// it was. What was deleted up to where is noted with it.
pub(crate) const TRIM: &str = "WITH gone AS (DELETE FROM changes AS c USING \
             (SELECT xid, seq, at FROM changes ORDER BY xid, seq LIMIT $2) AS oldest \
             WHERE c.xid = oldest.xid AND c.seq = oldest.seq \
             AND oldest.at < now() - make_interval(secs => $1) RETURNING c.xid), \
         noted AS (UPDATE meta SET value = \
             greatest(value::bigint, (SELECT max(xid) FROM gone))::text \
             WHERE name = 'trimmed' AND EXISTS (SELECT FROM gone)) \
     SELECT count(*) FROM gone";

/// What has become of a database: after a restore, or on a standby that was promoted, it is another
/// history, and transactions have other numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    database: String,
    /// Every promotion begins a new one, with a higher number, in hexadecimal digits.
    timeline: String,
}

impl History {
    /// Reads the answer to [`HISTORY`]. `None` is that of a standby.
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

/// Which transactions can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// The first transaction that had not begun.
    pub(crate) next: i64,
    /// Those before it that were under way, ascending.
    pub(crate) under_way: Vec<i64>,
}

impl Snapshot {
    /// Reads `xmin:xmax:xip,xip…`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':').skip(1);
        let next = parts.next()?.parse().ok()?;
        let under_way = match parts.next()? {
            "" => Vec::new(),
            list => list.split(',').map(|xid| xid.parse().ok()).collect::<Option<_>>()?,
        };
        Some(Self { next, under_way })
    }

    /// Tells whether all that was committed between this snapshot and the later one is still
    /// there, when changes of transactions up to `trimmed` may have been deleted.
    pub(crate) fn reaches(&self, later: &Self, trimmed: i64) -> bool {
        // One that was under way for longer than changes are kept may have been trimmed as soon as
        // it was done.
        let done = |xid: &&i64| !later.under_way.contains(xid);
        let trimmed_since = self.under_way.iter().filter(done).any(|xid| *xid <= trimmed);
        trimmed < self.next && !trimmed_since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(next: i64, under_way: &[i64]) -> Snapshot {
        Snapshot { next, under_way: under_way.to_vec() }
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
    fn snapshots_are_read() {
        assert_eq!(Snapshot::parse("725:725:"), Some(snapshot(725, &[])));
        assert_eq!(Snapshot::parse("3:9:3,7"), Some(snapshot(9, &[3, 7])));
        for text in ["", "1", "1:2", "1:x:", "1:2:x", "1:2:3,"] {
            assert_eq!(Snapshot::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_was_trimmed_is_missed_only_by_who_had_not_seen_it() {
        let then = snapshot(9, &[3, 7]);
        let still = snapshot(20, &[3, 7]);
        assert!(then.reaches(&still, 8));
        assert!(!then.reaches(&still, 9));
        assert!(then.reaches(&snapshot(20, &[7]), 2));
        assert!(!then.reaches(&snapshot(20, &[7]), 3), "3 was done and may be gone");
    }
}
