//! The settings of a store.

use std::fmt;
use std::time::Duration;

use crate::PostgresStore;
use crate::open::{self, OpenError};
use crate::url::Address;

/// How to open a [`PostgresStore`].
///
/// ```no_run
/// use std::time::Duration;
///
/// use portcullis_postgres::PostgresStore;
///
/// # async fn open() -> Result<(), portcullis_postgres::OpenError> {
/// let store = PostgresStore::options()
///     .pool_size(32)
///     .statement_timeout(Duration::from_secs(5))
///     .create(false)
///     .open("postgres://portcullis@db1,db2/portcullis")
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// What is out of bounds is refused when the store is opened.
#[derive(Clone)]
#[must_use]
pub struct PostgresOptions {
    password: Option<String>,
    pub(crate) pool_size: u32,
    pub(crate) connect_timeout: Duration,
    pub(crate) statement_timeout: Duration,
    pub(crate) poll_interval: Duration,
    pub(crate) changes_retention: Duration,
    pub(crate) create: bool,
    pub(crate) schema: String,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            password: None,
            pool_size: 16,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            poll_interval: Duration::from_millis(75),
            changes_retention: Duration::from_secs(60 * 60),
            create: true,
            schema: "portcullis".to_owned(),
        }
    }
}

/// The password is not shown.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("pool_size", &self.pool_size)
            .field("connect_timeout", &self.connect_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("poll_interval", &self.poll_interval)
            .field("keep_changes", &self.changes_retention)
            .field("create", &self.create)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl PostgresOptions {
    /// Sets the password. By default it is the one in the address, or in the environment variable
    /// `PGPASSWORD`, or in the file that the address names as `passfile`, or `PGPASSFILE`, or in
    /// `~/.pgpass`, whichever comes first.
    pub fn password(self, password: impl Into<String>) -> Self {
        Self { password: Some(password.into()), ..self }
    }

    /// Sets how many connections there may be at a time, besides the one that follows changes, and
    /// with it how many calls can be carried out at a time. Default: 16. From 1 to 1,000; all nodes
    /// together need fewer than the server's `max_connections`.
    pub fn pool_size(self, pool_size: u32) -> Self {
        Self { pool_size, ..self }
    }

    /// Sets how long a host may take to let us in, unless the address says so. Default: 5 seconds.
    /// From 100 milliseconds to a minute. While no host does, calls fail as unavailable after twice
    /// this time at the most.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        Self { connect_timeout: timeout, ..self }
    }

    /// Sets how long a statement may take, waiting for locks included. Default: 10 seconds. From
    /// 100 milliseconds to an hour. A server that has not answered after a quarter more, and a
    /// second, is taken for dead; a commit too, of which nobody knows then whether it happened.
    pub fn statement_timeout(self, timeout: Duration) -> Self {
        Self { statement_timeout: timeout, ..self }
    }

    /// Sets the pause between looks for the changes of other nodes. Default: 75 milliseconds. From
    /// 10 milliseconds to 10 seconds. Changes of this store value are told at once.
    pub fn poll_interval(self, interval: Duration) -> Self {
        Self { poll_interval: interval, ..self }
    }

    /// Sets how long the database keeps notes of changes for nodes that are cut off from it: one
    /// that is for longer has to read everything again. Default: an hour. From a second to 30 days.
    /// The shortest of all nodes counts.
    pub fn changes_retention(self, time: Duration) -> Self {
        Self { changes_retention: time, ..self }
    }

    /// Sets whether a store is created in a database where there is none, and one of an older format
    /// brought up to date, which nodes of older versions do not understand. Default: yes. Where it
    /// is not, the database's user needs no more than to read and write the tables.
    pub fn create(self, create: bool) -> Self {
        Self { create, ..self }
    }

    /// Sets the schema that the tables are in. Default: `portcullis`. Up to 48 lower-case letters,
    /// digits and underscores, beginning with a letter; any other name is refused when the store is
    /// opened.
    pub fn schema(self, schema: impl Into<String>) -> Self {
        Self { schema: schema.into(), ..self }
    }

    /// Opens the store in the database, whose address is
    ///
    /// ```text
    /// postgres://USER[:PASSWORD]@HOST[:PORT][,HOST[:PORT]…]/DATABASE[?NAME=VALUE[&…]]
    /// ```
    ///
    /// Of several hosts the one is taken that can be written to: of several such the one with the latest
    /// timeline, and of those the first. A host is a
    /// name, an IP address or, percent-encoded, the directory of a socket. The names are:
    ///
    /// | name | value |
    /// |---|---|
    /// | `sslmode` | `verify-full`, which is the default (`require` and `verify-ca` mean the same here): the server must prove that it is who was called. `disable`: no TLS. Sockets have none |
    /// | `sslrootcert` | a file of certificates, PEM, that the server's must lead to, or be: a certificate that the server has signed by itself is named here. By default those that the system trusts |
    /// | `sslcert`, `sslkey` | files with our own certificate and its key, PEM |
    /// | `channel_binding` | `prefer`, which is the default: the password is bound to the TLS connection where the server can do that. `require`: only then is it given. `disable` |
    /// | `passfile` | a file of passwords, as `psql` reads it |
    /// | `connect_timeout` | [seconds](PostgresOptions::connect_timeout) |
    /// | `statement_timeout` | [seconds](PostgresOptions::statement_timeout) |
    /// | `pool_size` | [connections](PostgresOptions::pool_size) |
    /// | `application_name` | what the server shows; `portcullis` by default |
    /// | `target_session_attrs` | `read-write`, which it always is |
    ///
    /// It must be called in a tokio runtime with time and I/O enabled, and the store is used in that
    /// one. Before it returns, it has connected and looked at what is there.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(self, address: &str) -> Result<PostgresStore, OpenError> {
        open::open(self, address).await
    }

    /// Gives the store in the database another schema, with everything in it, unless there is one
    /// of that name. Nobody may have it open.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn rename(self, address: &str, schema: &str) -> Result<(), OpenError> {
        open::rename(self, address, schema).await
    }

    /// Deletes the store in the database, with everything in it. There need not be one.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn remove(self, address: &str) -> Result<(), OpenError> {
        open::remove(self, address).await
    }

    /// Takes over what the address says.
    pub(crate) fn heed(&mut self, address: &Address) {
        let mut options = self.clone();
        if let Some(timeout) = address.connect_timeout {
            options = options.connect_timeout(timeout);
        }
        if let Some(timeout) = address.statement_timeout {
            options = options.statement_timeout(timeout);
        }
        if let Some(size) = address.pool_size {
            options = options.pool_size(size);
        }
        *self = options;
    }

    /// Refuses what is out of bounds, and says what the bounds are.
    ///
    /// # Errors
    ///
    /// Which setting is wrong, its value, and what it may be.
    pub(crate) fn check(&self) -> Result<(), String> {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        if !(1..=1_000).contains(&self.pool_size) {
            return Err(format!("`pool_size` is {}: it is from 1 to 1000", self.pool_size));
        }
        let least = Duration::from_millis(100);
        for (name, value, least, most) in [
            ("connect_timeout", self.connect_timeout, least, Duration::from_secs(60)),
            ("statement_timeout", self.statement_timeout, least, HOUR),
            ("poll_interval", self.poll_interval, least / 10, Duration::from_secs(10)),
            ("keep_changes", self.changes_retention, Duration::from_secs(1), 30 * 24 * HOUR),
        ] {
            if !(least..=most).contains(&value) {
                return Err(format!("`{name}` is {value:?}: it is from {least:?} to {most:?}"));
            }
        }
        Ok(())
    }

    pub(crate) fn given_password(&self) -> Option<Vec<u8>> {
        self.password.as_ref().map(|password| password.clone().into_bytes())
    }

    /// How long a call may wait for a connection that others use.
    pub(crate) fn pool_wait(&self) -> Duration {
        self.statement_timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_refused_with_the_bounds() {
        let options = PostgresOptions::default;
        assert_eq!(options().check(), Ok(()));
        let (short, long) = (Duration::ZERO, Duration::MAX);
        for (options, name) in [
            (options().pool_size(0), "`pool_size` is 0: it is from 1 to 1000"),
            (options().pool_size(1_001), "`pool_size` is 1001"),
            (options().connect_timeout(short), "`connect_timeout` is 0ns: it is from 100ms to 60s"),
            (options().connect_timeout(long), "`connect_timeout`"),
            (options().statement_timeout(short), "`statement_timeout`"),
            (options().statement_timeout(long), "`statement_timeout`"),
            (options().poll_interval(short), "`poll_interval` is 0ns: it is from 10ms to 10s"),
            (options().poll_interval(long), "`poll_interval`"),
            (options().changes_retention(short), "`keep_changes`"),
            (options().changes_retention(long), "`keep_changes`"),
        ] {
            let error = options.check().unwrap_err();
            assert!(error.starts_with(name), "{error}");
        }
        for edge in [
            options().pool_size(1).connect_timeout(Duration::from_millis(100)),
            options().pool_size(1_000).connect_timeout(Duration::from_secs(60)),
        ] {
            assert_eq!(edge.check(), Ok(()));
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        let shown = format!("{:?}", PostgresOptions::default().password("s3cret"));
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
