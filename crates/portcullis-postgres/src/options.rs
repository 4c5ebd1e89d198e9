//! The options of a store.

use std::fmt;
use std::time::Duration;

use crate::url::DatabaseUrl;

/// The options to open a [`PostgresStore`](crate::PostgresStore) with.
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
/// A value that is out of bounds is an error when the store is opened.
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

/// Omits the password.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("pool_size", &self.pool_size)
            .field("connect_timeout", &self.connect_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("poll_interval", &self.poll_interval)
            .field("changes_retention", &self.changes_retention)
            .field("create", &self.create)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl PostgresOptions {
    /// Sets the password, which applies if the URL has none. Default: the environment variable
    /// `PGPASSWORD`, or else the password file that the URL names as `passfile`, or `PGPASSFILE`, or
    /// `~/.pgpass`.
    pub fn password(self, password: impl Into<String>) -> Self {
        Self { password: Some(password.into()), ..self }
    }

    /// Sets the maximum number of connections, and with it of concurrent calls. Default: 16. From 1 to
    /// 1,000. Each store has one more connection, which polls; all nodes together must stay below the
    /// server's `max_connections`.
    pub fn pool_size(self, pool_size: u32) -> Self {
        Self { pool_size, ..self }
    }

    /// Sets how long connecting to a host may take. A parameter of the URL takes precedence. Default: 5
    /// seconds. From 100 milliseconds to a minute. While no host accepts connections, calls fail as
    /// unavailable after at most twice this time.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        Self { connect_timeout: timeout, ..self }
    }

    /// Sets how long a statement may take, including waits for locks. A parameter of the URL takes
    /// precedence. Default: 10 seconds. From 100 milliseconds to an hour. A connection without a
    /// response after this time, a quarter more and a second counts as broken; a commit on it is
    /// ambiguous.
    pub fn statement_timeout(self, timeout: Duration) -> Self {
        Self { statement_timeout: timeout, ..self }
    }

    /// Sets the pause between polls for the changes of other nodes. Default: 75 milliseconds. From 10
    /// milliseconds to 10 seconds. Changes by this store are announced at once.
    pub fn poll_interval(self, interval: Duration) -> Self {
        Self { poll_interval: interval, ..self }
    }

    /// Sets how long the database retains changes for nodes that are disconnected. A node that is
    /// disconnected for longer must read everything again. Default: an hour. From a second to 30
    /// days. The shortest retention of all nodes applies.
    pub fn changes_retention(self, time: Duration) -> Self {
        Self { changes_retention: time, ..self }
    }

    /// Sets whether a missing store is created, and a store of an older format migrated, which nodes of
    /// older versions cannot read. Default: yes. If off, the database user only needs to read and
    /// write the tables.
    pub fn create(self, create: bool) -> Self {
        Self { create, ..self }
    }

    /// Sets the schema of the tables. Default: `portcullis`. Up to 48 lower-case letters, digits and
    /// underscores, beginning with a letter.
    pub fn schema(self, schema: impl Into<String>) -> Self {
        Self { schema: schema.into(), ..self }
    }

    /// Applies the parameters of the URL.
    pub(crate) fn apply_url(&mut self, url: &DatabaseUrl) {
        let mut options = self.clone();
        if let Some(timeout) = url.connect_timeout {
            options = options.connect_timeout(timeout);
        }
        if let Some(timeout) = url.statement_timeout {
            options = options.statement_timeout(timeout);
        }
        if let Some(size) = url.pool_size {
            options = options.pool_size(size);
        }
        *self = options;
    }

    /// Checks the bounds of all options.
    ///
    /// # Errors
    ///
    /// The option that is out of bounds, its value, and its bounds.
    pub(crate) fn check(&self) -> Result<(), String> {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        check_schema(&self.schema)?;
        if !(1..=1_000).contains(&self.pool_size) {
            return Err(format!("`pool_size` is {}: it is from 1 to 1000", self.pool_size));
        }
        let least = Duration::from_millis(100);
        for (name, value, least, most) in [
            ("connect_timeout", self.connect_timeout, least, Duration::from_secs(60)),
            ("statement_timeout", self.statement_timeout, least, HOUR),
            ("poll_interval", self.poll_interval, least / 10, Duration::from_secs(10)),
            ("changes_retention", self.changes_retention, Duration::from_secs(1), 30 * 24 * HOUR),
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

    /// Returns how long a call may wait for a connection.
    pub(crate) fn pool_wait(&self) -> Duration {
        self.statement_timeout
    }
}

/// Checks the name of a schema, which must need no quotes.
///
/// # Errors
///
/// The names that are allowed.
pub(crate) fn check_schema(schema: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    match schema.starts_with(|c: char| c.is_ascii_lowercase())
        && schema.len() <= 48
        && schema.chars().all(fits)
    {
        true => Ok(()),
        false => {
            Err("the name of a schema is up to 48 lower-case letters, digits and underscores, \
                      and begins with a letter"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_out_of_bounds_is_refused_with_its_bounds() {
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
            (options().changes_retention(short), "`changes_retention`"),
            (options().changes_retention(long), "`changes_retention`"),
            (options().schema("No\"Schema"), "the name of a schema"),
            (options().schema("a".repeat(49)), "the name of a schema"),
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
    fn debug_output_omits_the_password() {
        let shown = format!("{:?}", PostgresOptions::default().password("s3cret"));
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
