//! Checkpoints: copying the write-ahead log into the file.
//!
//! SQLite makes one by itself when the log has [`LOG_PAGES`] pages. The committer makes a complete
//! one when nothing was written for [`AFTER_IDLE`], and when the store is closed.

use std::time::Duration;

use rusqlite::Connection;

/// How long nothing must have been written before the log is copied into the file and emptied.
pub(crate) const AFTER_IDLE: Duration = Duration::from_secs(1);

/// The length of the log, in pages, at which a commit copies it into the file. A page that many
/// changes write is copied once. With a fourth of this length, one create in a hundred took 12 ms.
const LOG_PAGES: u32 = 4_000;

/// How many bytes of the log stay on the disk after a checkpoint: all that it grows to, as a sync of
/// a file that grows takes longer.
const LOG_BYTES: u32 = 20 << 20;

/// Sets the limits of the log on a connection that writes.
pub(crate) fn set_limits(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)
}

/// Copies the whole log into the file and empties it. Returns false, without waiting, if another
/// connection reads from the log.
///
/// After it, deleted data is gone from the disk, and a copy of the file alone is complete.
pub(crate) fn truncate_log(
    connection: &Connection,
    busy_timeout_afterwards: Duration,
) -> rusqlite::Result<bool> {
    connection.busy_timeout(Duration::ZERO)?;
    let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
    let busy: rusqlite::Result<i64> = connection.query_row(sql, [], |row| row.get(0));
    connection.busy_timeout(busy_timeout_afterwards)?;
    Ok(busy? == 0)
}
