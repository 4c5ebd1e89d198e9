//! One connection, its session, and the state of the database when it was made.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::Severity;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Row, Statement, ToStatement};

use crate::dialect::{self, History};
use crate::error::Failure;
use crate::tables::{Query, Table};
use crate::tls::Tls;

/// Drives the connection in a task of its own, and counts the warnings that arrive.
fn drive<S, T>(
    mut connection: tokio_postgres::Connection<S, T>,
    warnings: Arc<AtomicU64>,
) -> AbortHandle
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let driver = async move {
        loop {
            match poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notice(notice))) => {
                    if notice.parsed_severity() == Some(Severity::Warning) {
                        // Before the response that it belongs to is passed on.
                        warnings.fetch_add(1, Ordering::AcqRel);
                    }
                    tracing::debug!(severity = notice.severity(), "{}", notice.message());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::debug!(error = %Failure::from(error), "a connection has ended");
                    break;
                }
                None => break,
            }
        }
    };
    tokio::spawn(driver).abort_handle()
}

/// A period in which one host was the primary. Connections belong to one, and are unusable in the
/// next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Generation(u64);

impl Generation {
    /// Begins the next one.
    pub(crate) fn advance(&mut self) {
        self.0 += 1;
    }
}

/// A session on the primary.
pub(crate) struct Connection {
    client: Client,
    driver: AbortHandle,
    warnings: Arc<AtomicU64>,
    statements: HashMap<(&'static str, Query), Statement>,
    response_timeout: Duration,
    history: History,
    is_read_only: bool,
    created_at: Instant,
    /// The generation in which it was made.
    pub(crate) generation: Generation,
    /// When it returned to the pool last.
    pub(crate) last_used: Instant,
}

impl Connection {
    /// Connects to a primary, and sets the session up with these statements.
    pub(crate) async fn open(
        config: &Config,
        tls: Option<&Tls>,
        session: &str,
        response_timeout: Duration,
    ) -> Result<Self, Failure> {
        let warnings = Arc::new(AtomicU64::new(0));
        let (client, driver) = match tls {
            Some(tls) if config.get_ssl_mode() != SslMode::Disable => {
                let (client, connection) = config.connect(tls.clone()).await?;
                (client, drive(connection, Arc::clone(&warnings)))
            }
            _ => {
                let (client, connection) = config.connect(NoTls).await?;
                (client, drive(connection, Arc::clone(&warnings)))
            }
        };
        client.batch_execute(session).await?;
        let created_at = Instant::now();
        let row = client.query_one(dialect::HISTORY, &[]).await?;
        let history =
            History::read(&row)?.ok_or_else(|| Failure::Disconnected("it is a standby".into()))?;
        Ok(Self {
            client,
            driver,
            warnings,
            statements: HashMap::new(),
            response_timeout,
            history,
            is_read_only: row.try_get(2)?,
            created_at,
            generation: Generation::default(),
            last_used: Instant::now(),
        })
    }

    /// Returns the history of the database.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// Tells whether the database was read-only for its clients when this was made
    /// (`default_transaction_read_only`).
    pub(crate) fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Returns an error if it was.
    pub(crate) fn writable(&self) -> Result<(), Failure> {
        if self.is_read_only { Err(Failure::ReadOnly) } else { Ok(()) }
    }

    /// Returns when it was made: its state of the database is later than that.
    pub(crate) fn created_at(&self) -> Instant {
        self.created_at
    }

    /// Returns a handle that aborts the connection.
    pub(crate) fn abort_handle(&self) -> AbortHandle {
        self.driver.clone()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Tells whether it has ended. One that has not may be broken all the same.
    pub(crate) fn has_ended(&self) -> bool {
        self.client.is_closed()
    }

    /// Returns how many warnings have arrived.
    pub(crate) fn warnings(&self) -> u64 {
        self.warnings.load(Ordering::Acquire)
    }

    /// Ends it without waiting for pending responses.
    pub(crate) fn abort(self) {
        self.driver.abort();
    }

    /// Returns the prepared statement, and prepares it the first time.
    pub(crate) async fn prepared(
        &mut self,
        table: &'static Table,
        query: Query,
    ) -> Result<Statement, Failure> {
        let key = (table.name, query);
        if let Some(statement) = self.statements.get(&key) {
            return Ok(statement.clone());
        }
        let statement = self.within_timeout(self.client.prepare(table.sql(query))).await?;
        self.statements.insert(key, statement.clone());
        Ok(statement)
    }

    /// Returns how long a response may take.
    pub(crate) fn response_timeout(&self) -> Duration {
        self.response_timeout
    }

    /// Executes statements without parameters, and discards their rows.
    pub(crate) async fn run(&self, sql: &str) -> Result<(), Failure> {
        self.within_timeout(self.client.batch_execute(sql)).await
    }

    /// Queries rows.
    pub(crate) async fn rows(
        &self,
        statement: &(impl ToStatement + Sync + ?Sized),
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Failure> {
        self.within_timeout(self.client.query(statement, parameters)).await
    }

    /// Queries exactly one row.
    pub(crate) async fn row(
        &self,
        statement: &(impl ToStatement + Sync + ?Sized),
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Failure> {
        self.within_timeout(self.client.query_one(statement, parameters)).await
    }

    /// Awaits a response, at most for the response timeout.
    pub(crate) async fn within_timeout<T>(
        &self,
        response: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        response_within(self.response_timeout, response).await
    }
}

/// Awaits a response, at most for the limit.
pub(crate) async fn response_within<T>(
    limit: Duration,
    response: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failure> {
    match timeout(limit, response).await {
        Ok(response) => response.map_err(Failure::from),
        Err(_) => Err(Failure::TimedOut(limit)),
    }
}
