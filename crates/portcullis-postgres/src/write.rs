//! Commits a batch as one short transaction.

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use portcullis::store::{Operation, Position, StoreError};
use portcullis::{Random as _, SystemRandom};
use tokio_postgres::Statement;

use crate::announcements::Announcements;
use crate::connection::{Connection, response_within};
use crate::dialect::{BEGIN, COMMIT, ROLLBACK};
use crate::error::{Failure, Retry};
use crate::pool::{Pool, PoolError};
use crate::statements::{self, BatchStatement, Outcome};

/// How often a transaction is attempted that the server rolls back in favour of others.
const MAX_ATTEMPTS: u32 = 10;

/// The longest pause before the second attempt; it doubles before each later one.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// How many statements may be sent before the response to the first one is awaited.
const WINDOW: usize = 64;

/// How many operations of a batch are checked on their own. More than one only if other transactions
/// change the same records at the same time.
const MAX_CHECKS: usize = 32;

/// The outcome of one transaction.
enum Attempt {
    Committed(Position),
    /// Nothing was changed.
    Refused(StoreError),
    /// Nothing was changed: the operation of this number could not be applied. A check of this
    /// operation on its own finds out why, and whether that still holds.
    NotApplied(usize),
    /// Nothing was changed.
    Failed(Failure),
    /// The commit may or may not have happened.
    Ambiguous(Failure),
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What a transaction needs besides a connection.
pub(crate) struct Writer {
    pub(crate) pool: Arc<Pool>,
    pub(crate) announcements: Arc<Announcements>,
}

impl Writer {
    /// Commits all operations or none of them, and retries as often as that may help.
    pub(crate) async fn commit(&self, operations: &[Operation]) -> Result<Position, StoreError> {
        let batch = draw_batch()?;
        let mut isolated = BTreeSet::new();
        let mut checks = 0;
        let mut attempts = 0;
        loop {
            let mut lease = match self.pool.take_to_write().await {
                Ok(lease) => lease,
                Err(PoolError::Closed) => return Err(StoreError::closed()),
                Err(PoolError::Failed(failure)) => return Err(failure.into()),
            };
            let transaction = Transaction {
                connection: lease.for_transaction()?,
                announcements: &self.announcements,
                operations,
                isolated: &isolated,
                batch,
            };
            let attempt = transaction.run().await;
            // Committed, rolled back, or ended with the connection below.
            lease.end_transaction();
            match attempt {
                Attempt::Committed(position) => return Ok(position),
                Attempt::Refused(error) => return Err(error),
                Attempt::NotApplied(number) => {
                    checks += 1;
                    if checks > MAX_CHECKS {
                        let attempts = MAX_ATTEMPTS;
                        let cause =
                            Box::new(Failure::Unusable("other transactions always conflict"));
                        return Err(Failure::RolledBack { attempts, cause }.into());
                    }
                    isolated.insert(number);
                }
                Attempt::Failed(failure) if failure.retry() == Retry::Transaction => {
                    drop(lease);
                    attempts += 1;
                    if attempts == MAX_ATTEMPTS {
                        return Err(
                            Failure::RolledBack { attempts, cause: Box::new(failure) }.into()
                        );
                    }
                    tokio::time::sleep(pause(attempts)).await;
                }
                Attempt::Failed(failure) => {
                    if !lease.release_after(&failure) {
                        return Err(failure.into());
                    }
                }
                Attempt::Ambiguous(failure) => {
                    lease.discard();
                    return Err(StoreError::indeterminate(failure));
                }
            }
        }
    }
}

/// Returns the pause before the next attempt: random, so that conflicting batches differ.
fn pause(attempts: u32) -> Duration {
    let mut random = [0];
    // Without randomness the pauses are equal, which is no worse than no pause.
    let _ = SystemRandom.fill(&mut random);
    let longest = FIRST_PAUSE * 2_u32.saturating_pow(attempts.min(7));
    longest / 2 + longest * u32::from(random[0]) / 512
}

fn draw_batch() -> Result<i64, StoreError> {
    let mut bytes = [0; 8];
    SystemRandom.fill(&mut bytes).map_err(StoreError::unavailable)?;
    Ok(i64::from_be_bytes(bytes))
}

/// One attempt.
struct Transaction<'a> {
    connection: &'a mut Connection,
    announcements: &'a Announcements,
    operations: &'a [Operation],
    /// The operations that are checked on their own, before and after they are applied.
    isolated: &'a BTreeSet<usize>,
    batch: i64,
}

impl Transaction<'_> {
    async fn run(mut self) -> Attempt {
        let planned = match statements::plan(self.operations, self.isolated) {
            Ok(planned) => planned,
            Err(error) => return Attempt::Refused(error),
        };
        let filled = match self.fill(&planned).await {
            Ok(()) if statements::changes(self.operations).next().is_none() => {
                Attempt::Committed(self.announcements.feed().position())
            }
            Ok(()) => return self.commit().await,
            Err(attempt) => attempt,
        };
        let is_over = matches!(&filled, Attempt::Failed(failure) if failure.ends_connection());
        // A failed connection is closed, which ends the transaction as well.
        if !is_over && let Err(failure) = self.connection.run(ROLLBACK).await {
            return match filled {
                // The finding holds even if the rollback fails.
                Attempt::Committed(_) | Attempt::Refused(_) if self.connection.has_ended() => {
                    filled
                }
                _ => Attempt::Failed(failure),
            };
        }
        filled
    }

    /// Begins the transaction and applies all statements.
    async fn fill(&mut self, planned: &[BatchStatement]) -> Result<(), Attempt> {
        let mut prepared = Vec::with_capacity(planned.len());
        for statement in planned {
            // The first time on this connection, this takes a round trip.
            prepared.push(statement.prepare(self.connection).await?);
        }
        let all: Vec<_> = planned.iter().zip(&prepared).collect();
        let is_isolated =
            |(statement, _): &(&BatchStatement, _)| self.isolated.contains(&statement.first());
        let segments: Vec<_> = all.split_inclusive(is_isolated).collect();
        let mut begin = true;
        for segment in segments {
            let (together, isolated) = match segment.split_last() {
                Some((last, before)) if is_isolated(last) => (before, Some(*last)),
                _ => (segment, None),
            };
            let connection = &*self.connection;
            if let Outcome::NotApplied(number) =
                send_all(connection, begin, together, self.batch).await?
            {
                return Err(Attempt::NotApplied(number));
            }
            begin = false;
            if let Some((statement, prepared)) = isolated {
                self.apply_isolated(statement, prepared).await?;
            }
        }
        Ok(())
    }

    async fn apply_isolated(
        &mut self,
        statement: &BatchStatement,
        prepared: &Statement,
    ) -> Result<(), Attempt> {
        let Some(operation) = self.operations.get(statement.first()) else { return Ok(()) };
        if let Some(error) = statements::check_before(self.connection, operation).await? {
            return Err(Attempt::Refused(error));
        }
        let response = statement.run(self.connection.client(), prepared, self.batch);
        match self.connection.within_timeout(response).await? {
            Outcome::Applied => Ok(()),
            Outcome::NotApplied(number) => {
                Err(match statements::check_after(self.connection, operation).await? {
                    Some(error) => Attempt::Refused(error),
                    None => Attempt::NotApplied(number),
                })
            }
        }
    }

    async fn commit(self) -> Attempt {
        let warnings = self.connection.warnings();
        self.announcements.begin_commit(self.batch);
        let failure = match self.connection.run(COMMIT).await {
            Ok(()) if self.connection.warnings() == warnings => {
                let changes = statements::changes(self.operations);
                return Attempt::Committed(self.announcements.committed(self.batch, changes));
            }
            // The wait for the standbys was cancelled: a failover may lose the commit.
            Ok(()) => Failure::Unusable("it may not have reached the standbys"),
            Err(failure) => failure,
        };
        self.announcements.abandon_commit(self.batch);
        match failure.retry() {
            Retry::Transaction => Attempt::Failed(failure),
            Retry::Connection | Retry::Never => Attempt::Ambiguous(failure),
        }
    }
}

type PendingResponse<'a> =
    Pin<Box<dyn Future<Output = Result<Outcome, tokio_postgres::Error>> + Send + 'a>>;

/// A statement that was sent.
enum Sent<'a> {
    Pending(PendingResponse<'a>),
    Received(Result<Outcome, tokio_postgres::Error>),
}

impl<'a> Sent<'a> {
    async fn new(mut response: PendingResponse<'a>) -> Self {
        match poll!(response.as_mut()) {
            Poll::Ready(response) => Self::Received(response),
            Poll::Pending => Self::Pending(response),
        }
    }

    async fn response(self) -> Result<Outcome, tokio_postgres::Error> {
        match self {
            Self::Pending(response) => response.await,
            Self::Received(response) => response,
        }
    }
}

/// Sends the statements without waiting for each response, up to the window, and awaits all
/// responses.
async fn send_all(
    connection: &Connection,
    begin: bool,
    statements: &[(&BatchStatement, &Statement)],
    batch: i64,
) -> Result<Outcome, Failure> {
    let client = connection.client();
    let limit = connection.response_timeout();
    let mut sent = VecDeque::new();
    if begin {
        let begin = async { client.batch_execute(BEGIN).await.map(|()| Outcome::Applied) };
        sent.push_back(Sent::new(Box::pin(begin)).await);
    }
    for (statement, prepared) in statements {
        if sent.len() >= WINDOW
            && let Some(first) = sent.pop_front()
            && let failed @ Outcome::NotApplied(_) =
                response_within(limit, first.response()).await?
        {
            return Ok(failed);
        }
        sent.push_back(Sent::new(Box::pin(statement.run(client, prepared, batch))).await);
    }
    for sent in sent {
        if let failed @ Outcome::NotApplied(_) = response_within(limit, sent.response()).await? {
            return Ok(failed);
        }
    }
    Ok(Outcome::Applied)
}
