//! One connection, and what is known of it.

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

use crate::connector::Era;
use crate::dialect::{self, History};
use crate::error::Failure;
use crate::tables::{Ask, Table};
use crate::tls::Tls;

/// Drives the connection on a task of its own, and counts the warnings that it brings.
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
                        // Before the answer that it comes with is passed on.
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

/// A session on the primary.
pub(crate) struct Connection {
    client: Client,
    driver: AbortHandle,
    warnings: Arc<AtomicU64>,
    statements: HashMap<(&'static str, Ask), Statement>,
    answer_timeout: Duration,
    history: History,
    is_read_only: bool,
    made: Instant,
    /// When it was made, in terms of whom one believed to be the primary.
    pub(crate) era: Era,
    /// When it was used last.
    pub(crate) used: Instant,
}

impl Connection {
    /// Connects to a primary, with a session as these statements set it up.
    pub(crate) async fn open(
        config: &Config,
        tls: Option<&Tls>,
        session: &str,
        answer_timeout: Duration,
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
        let made = Instant::now();
        let row = client.query_one(dialect::HISTORY, &[]).await?;
        let history =
            History::read(&row)?.ok_or_else(|| Failure::Lost("it is a standby".into()))?;
        Ok(Self {
            client,
            driver,
            warnings,
            statements: HashMap::new(),
            answer_timeout,
            history,
            is_read_only: row.try_get(2)?,
            made,
            era: Era::default(),
            used: Instant::now(),
        })
    }

    /// Which history of which database it works on.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// Tells whether the database was read-only for its clients when this was made
    /// (`default_transaction_read_only`).
    pub(crate) fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Refuses where it is.
    pub(crate) fn writable(&self) -> Result<(), Failure> {
        if self.is_read_only { Err(Failure::ReadOnly) } else { Ok(()) }
    }

    /// When it was made: what it knows of the database is from after that.
    pub(crate) fn made(&self) -> Instant {
        self.made
    }

    /// What ends it from elsewhere.
    pub(crate) fn end(&self) -> AbortHandle {
        self.driver.clone()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Tells whether it has ended. One that has not may still be dead.
    pub(crate) fn has_ended(&self) -> bool {
        self.client.is_closed()
    }

    /// How many warnings have come so far.
    pub(crate) fn warnings(&self) -> u64 {
        self.warnings.load(Ordering::Acquire)
    }

    /// Ends it without waiting for what it still owes.
    pub(crate) fn abandon(self) {
        self.driver.abort();
    }

    /// Returns the statement, prepared.
    pub(crate) async fn prepared(
        &mut self,
        table: &'static Table,
        ask: Ask,
    ) -> Result<Statement, Failure> {
        let key = (table.name, ask);
        if let Some(statement) = self.statements.get(&key) {
            return Ok(statement.clone());
        }
        let statement = self.answer(self.client.prepare(table.sql(ask))).await?;
        self.statements.insert(key, statement.clone());
        Ok(statement)
    }

    /// How long an answer may take.
    pub(crate) fn answer_limit(&self) -> Duration {
        self.answer_timeout
    }

    /// Carries out statements without parameters, whose rows nobody needs.
    pub(crate) async fn run(&self, sql: &str) -> Result<(), Failure> {
        self.answer(self.client.batch_execute(sql)).await
    }

    /// Asks for rows.
    pub(crate) async fn rows(
        &self,
        statement: &(impl ToStatement + Sync + ?Sized),
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Failure> {
        self.answer(self.client.query(statement, parameters)).await
    }

    /// Asks for a row that is there.
    pub(crate) async fn row(
        &self,
        statement: &(impl ToStatement + Sync + ?Sized),
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Failure> {
        self.answer(self.client.query_one(statement, parameters)).await
    }

    /// Awaits an answer for as long as one may take.
    pub(crate) async fn answer<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        answer_within(self.answer_timeout, answer).await
    }
}

/// Awaits an answer for so long.
pub(crate) async fn answer_within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failure> {
    match timeout(limit, answer).await {
        Ok(answer) => answer.map_err(Failure::from),
        Err(_) => Err(Failure::Silent(limit)),
    }
}
