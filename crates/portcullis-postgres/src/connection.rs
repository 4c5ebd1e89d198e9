//! One connection: making it, and what is known of it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::Severity;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Row, Statement, ToStatement};

use crate::dialect;
use crate::error::Failure;
use crate::tables::{Ask, Table};
use crate::tls::Tls;

/// How to connect, and to whom.
pub(crate) struct Connector {
    hosts: Vec<Host>,
    /// The host that let us in the last time, which is asked first.
    preferred: AtomicUsize,
    tls: Option<Tls>,
    connect_timeout: Duration,
    answer_timeout: Duration,
    session: String,
}

/// One host, and what is said to it.
pub(crate) struct Host {
    /// Its name and port, for messages.
    pub(crate) name: String,
    pub(crate) config: Config,
}

impl Connector {
    pub(crate) fn new(
        hosts: Vec<Host>,
        tls: Option<Tls>,
        schema: &str,
        connect_timeout: Duration,
        statement_timeout: Duration,
    ) -> Self {
        Self {
            hosts,
            preferred: AtomicUsize::new(0),
            tls,
            connect_timeout,
            // After the server has had its chance to say what is wrong.
            answer_timeout: statement_timeout + statement_timeout / 4 + Duration::from_secs(1),
            session: dialect::session(schema, statement_timeout),
        }
    }

    /// Connects to the first host that is there and can be written to. This takes no longer than
    /// hosts × time-out.
    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut refusals = Vec::new();
        for number in 0..self.hosts.len() {
            let number = (first + number) % self.hosts.len();
            let Some(host) = self.hosts.get(number) else { continue };
            let failure = match timeout(self.connect_timeout, self.connect_to(host)).await {
                Ok(Ok(connection)) => {
                    self.preferred.store(number, Ordering::Relaxed);
                    return Ok(connection);
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Silent(self.connect_timeout),
            };
            tracing::debug!(host = host.name, %failure, "cannot connect");
            refusals.push((host.name.as_str(), failure));
        }
        // The others, if any, are standbys or gone; all of it tells more than one.
        let all: Vec<_> =
            refusals.iter().map(|(host, failure)| format!("{host}: {failure}")).collect();
        match refusals.into_iter().next() {
            Some((host, failure)) if all.len() == 1 => {
                Err(Failure::Connect { host: host.to_owned(), cause: Box::new(failure) })
            }
            _ => Err(Failure::Connect {
                host: "any host".to_owned(),
                cause: Box::new(Failure::Lost(all.join("; "))),
            }),
        }
    }

    async fn connect_to(&self, host: &Host) -> Result<Connection, Failure> {
        let warnings = Arc::new(AtomicU64::new(0));
        let (client, driver) = match &self.tls {
            Some(tls) if host.config.get_ssl_mode() != SslMode::Disable => {
                let (client, connection) = host.config.connect(tls.clone()).await?;
                (client, drive(connection, Arc::clone(&warnings)))
            }
            _ => {
                let (client, connection) = host.config.connect(NoTls).await?;
                (client, drive(connection, Arc::clone(&warnings)))
            }
        };
        client.batch_execute(&self.session).await?;
        Ok(Connection {
            client,
            driver,
            warnings,
            statements: HashMap::new(),
            answer_timeout: self.answer_timeout,
            used: Instant::now(),
        })
    }
}

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
    /// When it was used last.
    pub(crate) used: Instant,
}

impl Connection {
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
